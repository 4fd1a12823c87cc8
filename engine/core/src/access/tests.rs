use super::*;

const HERE: NamespaceId = NamespaceId::from_bytes([1; 16]);
const THERE: NamespaceId = NamespaceId::from_bytes([2; 16]);
const READ: Permission = Permission::StudyRead;

fn principal(administrator: bool, grants: &[(Permission, Scope, Effect)]) -> Principal {
    let grant = |&(permission, scope, effect)| Grant {
        permission,
        scope,
        effect,
    };
    let grants = grants.iter().map(grant).collect();
    Principal {
        administrator,
        grants,
        ..Principal::new(UserId::from_bytes([9; 16]), "somebody")
    }
}

#[test]
fn decisions() {
    use Effect::{Deny, Permit};
    use Scope::Everywhere;
    let (here, there) = (Scope::Namespace(HERE), Scope::Namespace(THERE));
    // Rights of StudyRead; then whether it is permitted here, there, everywhere.
    for (administrator, grants, expected) in [
        (false, &[][..], [false, false, false]),
        (false, &[(READ, here, Permit)], [true, false, false]),
        (false, &[(READ, Everywhere, Permit)], [true, true, true]),
        (
            false,
            &[(READ, here, Permit), (READ, there, Permit)],
            [true, true, false],
        ),
        (
            false,
            &[(READ, here, Permit), (READ, here, Deny)],
            [false, false, false],
        ),
        (
            false,
            &[(READ, here, Deny), (READ, here, Permit)],
            [false, false, false],
        ),
        (
            false,
            &[(READ, Everywhere, Permit), (READ, here, Deny)],
            [false, true, false],
        ),
        (
            false,
            &[(READ, here, Permit), (READ, Everywhere, Deny)],
            [false, false, false],
        ),
        (
            false,
            &[(Permission::StudyDelete, Everywhere, Permit)],
            [false, false, false],
        ),
        (
            false,
            &[(READ, here, Permit), (Permission::StudyDelete, Everywhere, Deny)],
            [true, false, false],
        ),
        (true, &[], [true, true, true]),
        (true, &[(READ, here, Deny)], [false, true, false]),
        (true, &[(READ, Everywhere, Deny)], [false, false, false]),
        (true, &[(Permission::StudyDelete, Everywhere, Deny)], [true, true, true]),
    ] {
        let principal = principal(administrator, grants);
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
        assert_eq!(decided, expected, "administrator: {administrator}, {grants:?}");
    }
}

#[test]
fn nobody_and_the_suspended_may_do_nothing() {
    let suspended = Principal {
        suspended: true,
        ..principal(true, &[(READ, Scope::Everywhere, Effect::Permit)])
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
        let principal = principal(false, &[(given, Scope::Everywhere, Effect::Permit)]);
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
    let principal = principal(false, &[(READ, Scope::Namespace(THERE), Effect::Permit)]);
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
fn names_round_trip_and_debug_shows_no_name() {
    for &permission in Permission::ALL {
        assert_eq!(Permission::from_name(permission.name()), Some(permission));
        assert_eq!(
            serde_json::to_string(&permission).unwrap(),
            format!("\"{}\"", permission.name())
        );
    }
    assert_eq!(Permission::from_name("study.everything"), None);
    assert!(!format!("{:?}", principal(false, &[])).contains("somebody"));
}
