use proptest::prelude::*;

use super::*;

const HERE: NamespaceId = NamespaceId::from_bytes([1; 16]);
const THERE: NamespaceId = NamespaceId::from_bytes([2; 16]);
const READ: Permission = Permission::StudyView;

/// The flags and their defaults, as the reference lists them.
const FLAGS: &str = include_str!("flags.txt");

#[derive(Debug, Clone, Copy)]
enum Scope {
    Here,
    There,
    Everywhere,
}

fn principal(administrator: bool, said: &[(Permission, Scope, Setting)]) -> Principal {
    let mut principal = Principal::new(UserId::from_bytes([9; 16]), "somebody");
    principal.administrator = administrator;
    for &(permission, scope, setting) in said {
        let mut template = Template::default();
        if !template.set(permission, Some(setting)) {
            let set = FlagSet::from_iter([permission]);
            match setting {
                Setting::Permit => principal.everywhere.permitted = principal.everywhere.permitted.union(&set),
                Setting::Deny => principal.everywhere.denied = principal.everywhere.denied.union(&set),
            }
            continue;
        }
        match scope {
            Scope::Here => principal.add(HERE, &template.rights()),
            Scope::There => principal.add(THERE, &template.rights()),
            Scope::Everywhere => principal.everywhere.add(&template.rights()),
        }
    }
    principal
}

#[test]
fn the_flags_are_those_of_the_reference() {
    let listed: Vec<(&str, &str)> = FLAGS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    assert_eq!(listed.len(), 201);
    for (number, (name, defaults)) in listed.iter().enumerate() {
        let permission = Permission::ALL[number];
        assert_eq!(permission.name(), *name);
        let given = BuiltIn::ALL.map(|role| if permission.is_default_of(role) { '1' } else { '0' });
        assert_eq!(given.iter().collect::<String>(), *defaults, "{name}");
        assert!(!permission.is_of_installation());
    }
    let ours = &Permission::ALL[201..];
    assert_eq!(ours.iter().filter(|ours| ours.is_of_installation()).count(), 7);
    let is_default = |permission: &&Permission| BuiltIn::ALL.iter().any(|&role| permission.is_default_of(role));
    let defaults: Vec<_> = ours.iter().filter(is_default).collect();
    assert!(defaults.iter().all(|permission| !permission.is_of_installation()));
}

#[test]
fn decisions() {
    use Scope::{Everywhere, Here, There};
    use Setting::{Deny, Permit};
    let delete = Permission::StudyDelete;
    // Rights of StudyView; then whether it is permitted here, there, everywhere.
    for (administrator, said, expected) in [
        (false, &[][..], [false, false, false]),
        (false, &[(READ, Here, Permit)], [true, false, false]),
        (false, &[(READ, Everywhere, Permit)], [true, true, true]),
        (
            false,
            &[(READ, Here, Permit), (READ, There, Permit)],
            [true, true, false],
        ),
        (
            false,
            &[(READ, Here, Permit), (READ, Here, Deny)],
            [false, false, false],
        ),
        (
            false,
            &[(READ, Here, Deny), (READ, Here, Permit)],
            [false, false, false],
        ),
        (
            false,
            &[(READ, Everywhere, Permit), (READ, Here, Deny)],
            [false, true, false],
        ),
        (
            false,
            &[(READ, Here, Permit), (READ, Everywhere, Deny)],
            [false, false, false],
        ),
        (false, &[(delete, Everywhere, Permit)], [false, false, false]),
        (
            false,
            &[(READ, Here, Permit), (delete, Everywhere, Deny)],
            [true, false, false],
        ),
        (true, &[], [true, true, true]),
        (true, &[(READ, Here, Deny)], [false, true, false]),
        (true, &[(READ, Everywhere, Deny)], [false, false, false]),
        (true, &[(delete, Everywhere, Deny)], [true, true, true]),
    ] {
        let principal = principal(administrator, said);
        let objects = [Object::Namespace(HERE), Object::Namespace(THERE), Object::System];
        let decided = objects.map(|object| match authorize(Some(&principal), READ, object) {
            Ok(granted) => {
                assert_eq!(
                    (granted.user(), granted.permission(), granted.object()),
                    (principal.user, READ, object)
                );
                true
            }
            Err(denied) => {
                assert_eq!(denied, Denied::Forbidden(READ));
                false
            }
        });
        assert_eq!(decided, expected, "administrator: {administrator}, {said:?}");
    }
}

#[test]
fn nobody_and_the_suspended_may_do_nothing() {
    let suspended = Principal {
        suspended: true,
        ..principal(true, &[(READ, Scope::Everywhere, Setting::Permit)])
    };
    for &permission in Permission::ALL {
        for object in [Object::Namespace(HERE), Object::System] {
            assert_eq!(authorize(None, permission, object), Err(Denied::Unauthenticated));
            assert_eq!(authorize(Some(&suspended), permission, object), Err(Denied::Suspended));
        }
        assert_eq!(authorize_each(None, permission, []), Err(Denied::Unauthenticated));
        assert_eq!(authorize_each(Some(&suspended), permission, []), Err(Denied::Suspended));
    }
}

#[test]
fn one_permission_gives_no_other() {
    for &given in Permission::ALL {
        let principal = principal(false, &[(given, Scope::Everywhere, Setting::Permit)]);
        for &asked in Permission::ALL {
            assert_eq!(
                authorize(Some(&principal), asked, Object::System).is_ok(),
                asked == given
            );
        }
    }
}

#[test]
fn each_gives_what_may_be_seen() {
    let principal = principal(false, &[(READ, Scope::There, Setting::Permit)]);
    let granted = authorize_each(Some(&principal), READ, [HERE, THERE]).unwrap();
    assert_eq!(
        granted.iter().map(Granted::object).collect::<Vec<_>>(),
        [Object::Namespace(THERE)]
    );
}

#[test]
fn a_grant_covers_its_own_only() {
    let principal = principal(true, &[]);
    let here = authorize(Some(&principal), READ, Object::Namespace(HERE)).unwrap();
    assert!(here.covers(READ, HERE));
    assert!(!here.covers(READ, THERE) && !here.covers(Permission::StudyDelete, HERE));
    assert!(
        authorize(Some(&principal), READ, Object::System)
            .unwrap()
            .covers(READ, THERE)
    );
}

#[test]
fn modifiers_narrow() {
    let edit = Permission::AnnotationEdit;
    let only_own = Permission::AnnotationEditOnlyOwn;
    let (study, approved) = (Permission::StudyEdit, Permission::StudyEditApproved);
    let traits = |own, approved| Traits {
        own,
        approved,
        frozen: false,
    };
    for (given, asked, traits, expected) in [
        (&[edit][..], edit, traits(false, None), true),
        (&[edit, only_own], edit, traits(false, None), false),
        (&[edit, only_own], edit, traits(true, None), true),
        (&[only_own], edit, traits(true, None), false),
        (&[study], study, traits(false, None), true),
        (&[study], study, traits(false, Some(true)), true),
        (&[study, approved], study, traits(false, Some(true)), true),
        (&[study, approved], study, traits(false, Some(false)), false),
        (&[approved], study, traits(true, Some(true)), false),
    ] {
        let said: Vec<_> = given
            .iter()
            .map(|&given| (given, Scope::Here, Setting::Permit))
            .collect();
        let decided = authorize_one(Some(&principal(false, &said)), asked, HERE, traits);
        assert_eq!(decided.is_ok(), expected, "{given:?} {traits:?}");
        assert!(authorize_one(Some(&principal(true, &[])), asked, HERE, traits).is_ok());
    }
    // What is denied is not unsaid.
    let said = [
        (study, Scope::Here, Setting::Permit),
        (approved, Scope::Here, Setting::Deny),
    ];
    assert!(authorize_one(Some(&principal(false, &said)), study, HERE, traits(true, Some(true))).is_err());
}

#[test]
fn of_two_field_rights_the_narrower_counts() {
    let mut one = Template::default();
    assert!(one.set_field("patient_name", FieldRight::ReadOnly));
    assert!(one.set_field("customfield_7", FieldRight::Hidden));
    assert!(!one.set_field("patient_shoe_size", FieldRight::Hidden));
    assert!(!one.set_field("customfield_", FieldRight::Hidden));
    let mut other = Template::default();
    assert!(other.set_field("patient_name", FieldRight::Required));
    let mut principal = Principal::new(UserId::from_bytes([9; 16]), "somebody");
    principal.add(HERE, &one.rights());
    principal.add(HERE, &other.rights());
    assert_eq!(principal.fields(HERE).of("patient_name"), FieldRight::ReadOnly);
    assert_eq!(principal.fields(HERE).of("customfield_7"), FieldRight::Hidden);
    assert_eq!(principal.fields(HERE).of("patientid"), FieldRight::Full);
    assert_eq!(principal.fields(THERE).of("patient_name"), FieldRight::Full);
    for letter in ["F", "H", "O", "R"] {
        assert_eq!(FieldRight::from_letter(letter).unwrap().letter(), letter);
    }
    assert_eq!(FieldRight::from_letter("f"), None);
}

#[test]
fn names_round_trip_and_debug_shows_no_name() {
    for &permission in Permission::ALL {
        assert_eq!(Permission::from_name(permission.name()), Some(permission));
        assert_eq!(
            serde_json::to_string(&permission).unwrap(),
            format!("\"{}\"", permission.name())
        );
    }
    assert_eq!(Permission::from_name("study_everything"), None);
    assert!(!format!("{:?}", principal(false, &[])).contains("somebody"));
}

fn any_permission() -> impl Strategy<Value = Permission> {
    (0..Permission::ALL.len()).prop_map(|number| Permission::ALL[number])
}

fn any_said() -> impl Strategy<Value = Vec<(Permission, Scope, Setting)>> {
    let scope = prop_oneof![Just(Scope::Here), Just(Scope::There), Just(Scope::Everywhere)];
    let setting = prop_oneof![3 => Just(Setting::Permit), 1 => Just(Setting::Deny)];
    let permission = prop_oneof![any_permission(), Just(READ), Just(Permission::StudyEdit)];
    prop::collection::vec((permission, scope, setting), 0..24)
}

proptest! {
    #[test]
    fn sets_are_sets(one in prop::collection::btree_set(any_permission(), 0..40),
                     other in prop::collection::btree_set(any_permission(), 0..40)) {
        let set: FlagSet = one.iter().copied().collect();
        let second: FlagSet = other.iter().copied().collect();
        prop_assert_eq!(set.iter().collect::<std::collections::BTreeSet<_>>(), one.clone());
        prop_assert_eq!(set.union(&second).iter().count(), one.union(&other).count());
        prop_assert_eq!(set.without(&second).iter().count(), one.difference(&other).count());
        prop_assert_eq!(set.is_empty(), one.is_empty());
        let mut emptied = set;
        one.iter().for_each(|&permission| emptied.remove(permission));
        prop_assert!(emptied.is_empty());
    }

    /// The bits decide like the list of what was said, read one by one.
    #[test]
    fn decisions_are_those_of_the_list(said in any_said(), administrator: bool, permission in any_permission()) {
        let principal = principal(administrator, &said);
        for (namespace, own) in [(HERE, 0), (THERE, 1)] {
            let touches = |scope: Scope| match scope {
                Scope::Here => own == 0,
                Scope::There => own == 1,
                Scope::Everywhere => true,
            };
            let mut lines = said.iter().filter(|(said, scope, _)| {
                *said == permission && (touches(*scope) || permission.is_of_installation())
            });
            let denied = lines.clone().any(|(_, _, setting)| *setting == Setting::Deny);
            let permitted = administrator || lines.any(|(_, _, setting)| *setting == Setting::Permit);
            let decided = authorize(Some(&principal), permission, Object::Namespace(namespace)).is_ok();
            prop_assert_eq!(decided, permitted && !denied);
        }
    }

    /// A deny never gives anything, and a permit never takes anything away.
    #[test]
    fn denies_only_take_and_permits_only_give(said in any_said(), more in any_permission(), asked in any_permission()) {
        let may = |said: &[(Permission, Scope, Setting)]| principal(false, said).has(asked, HERE);
        let with = |setting| {
            let mut longer = said.clone();
            longer.push((more, Scope::Here, setting));
            longer
        };
        prop_assert!(!may(&with(Setting::Deny)) || may(&said));
        prop_assert!(may(&with(Setting::Permit)) || !may(&said));
    }
}
