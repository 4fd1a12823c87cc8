//! Permissions, roles and the one decision function.
//!
//! Default deny (invariant 8): nothing is permitted that no role permits, and an explicit deny beats every permit, an
//! administrator's too. [`authorize`] alone makes [`Granted`]; whoever hands out data asks for a [`Granted`], so a handler
//! that forgot to ask does not compile.
//!
//! A role is a [`Template`]: each permission permitted, denied or left unset, and rights of single fields. A user has a
//! role per membership; all roles that reach one namespace add up to its [`Rights`].

mod fields;
mod flags;
mod rights;
mod role;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{NamespaceId, UserId};

pub use fields::{CUSTOM_FIELD, FieldRight, FieldRights, STUDY_FIELDS};
pub use flags::Permission;
pub use rights::{FlagSet, Rights};
pub use role::{BuiltIn, Modifiers, Setting, Template};

/// What something is to be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Object {
    /// All that lies in one namespace.
    Namespace(NamespaceId),
    /// The installation as a whole, all namespaces included.
    System,
}

/// What is known of a single thing inside a namespace, for permissions that reach some things only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traits {
    /// The user who asks made it.
    pub own: bool,
    /// Whether it is approved; `None` where that says nothing about it.
    pub approved: Option<bool>,
    /// It is a frozen study or belongs to one: nobody may change it, administrators neither.
    pub frozen: bool,
}

/// Who asks: a user with the rights of all roles, as they stand when the request came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// The sign-in name, for the user's own eyes: never logged.
    pub name: String,
    /// Has a permit for everything everywhere.
    pub administrator: bool,
    /// May do nothing, whatever the roles say.
    pub suspended: bool,
    /// Rights that reach everywhere.
    pub everywhere: Rights,
    /// Rights by namespace.
    pub namespaces: BTreeMap<NamespaceId, Arc<Rights>>,
}

impl Principal {
    /// An active user without any right.
    pub fn new(user: UserId, name: impl Into<String>) -> Self {
        Self {
            user,
            name: name.into(),
            administrator: false,
            suspended: false,
            everywhere: Rights::default(),
            namespaces: BTreeMap::new(),
        }
    }

    /// Adds a role's rights in a namespace.
    pub fn add(&mut self, namespace: NamespaceId, rights: &Rights) {
        let known = self.namespaces.entry(namespace).or_default();
        Arc::make_mut(known).add(rights);
    }

    /// Whether a role reaches the namespace, or everything does: whoever has none must not learn that it exists.
    pub fn reaches(&self, namespace: NamespaceId) -> bool {
        self.administrator || self.namespaces.contains_key(&namespace)
    }

    /// Whether `permission` is given in `namespace`: to show flags, never to hand out data.
    pub fn has(&self, permission: Permission, namespace: NamespaceId) -> bool {
        authorize(Some(self), permission, Object::Namespace(namespace)).is_ok()
    }

    /// Whether any role permits or denies `permission` in `namespace`.
    fn is_named(&self, permission: Permission, namespace: NamespaceId) -> bool {
        let here = self.namespaces.get(&namespace).map(Arc::as_ref);
        let mut all = here.into_iter().chain([&self.everywhere]);
        all.any(|rights| rights.permitted.contains(permission) || rights.denied.contains(permission))
    }

    /// How the fields of studies in `namespace` may be used. An administrator's use is not narrowed.
    pub fn fields(&self, namespace: NamespaceId) -> FieldRights {
        let mut fields = self.everywhere.fields.clone();
        if let Some(rights) = self.namespaces.get(&namespace) {
            fields.narrow(&rights.fields);
        }
        if self.administrator {
            FieldRights::default()
        } else {
            fields
        }
    }
}

impl std::fmt::Debug for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Principal")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Proof that [`authorize`] said yes: who, what, upon what. Nothing else can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the grant is to be shown to whoever hands out data"]
pub struct Granted {
    user: UserId,
    permission: Permission,
    object: Object,
}

impl Granted {
    /// Who was authorised.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// What was permitted.
    pub fn permission(&self) -> Permission {
        self.permission
    }

    /// Upon what.
    pub fn object(&self) -> Object {
        self.object
    }

    /// Whether this permits `permission` in `namespace`: what a store checks before it hands out data.
    pub fn covers(&self, permission: Permission, namespace: NamespaceId) -> bool {
        let object_covers = match self.object {
            Object::System => true,
            Object::Namespace(granted) => granted == namespace,
        };
        self.permission == permission && object_covers
    }
}

/// Why [`authorize`] said no. To the outside, [`Denied::Forbidden`] in a namespace must look like an absent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody is signed in.
    #[error("not signed in")]
    Unauthenticated,
    /// The user is suspended.
    #[error("the user is suspended")]
    Suspended,
    /// No role permits, or one denies.
    #[error("the permission `{}` is missing", .0.name())]
    Forbidden(Permission),
}

/// The one decision: explicit deny, then permit, then default deny.
///
/// For [`Object::System`] a permit must reach everywhere, and a deny anywhere denies: the whole includes its parts.
///
/// # Errors
/// [`Denied`], where it is not permitted.
pub fn authorize(principal: Option<&Principal>, permission: Permission, object: Object) -> Result<Granted, Denied> {
    let principal = principal.ok_or(Denied::Unauthenticated)?;
    if principal.suspended {
        return Err(Denied::Suspended);
    }
    let everywhere = &principal.everywhere;
    let (permitted, denied) = match object {
        Object::Namespace(namespace) => {
            let here = principal.namespaces.get(&namespace);
            let says = |set: fn(&Rights) -> &FlagSet| here.is_some_and(|rights| set(rights).contains(permission));
            (says(|rights| &rights.permitted), says(|rights| &rights.denied))
        }
        Object::System => {
            let mut all = principal.namespaces.values();
            (false, all.any(|rights| rights.denied.contains(permission)))
        }
    };
    let is_permitted = principal.administrator || permitted || everywhere.permitted.contains(permission);
    if !is_permitted || denied || everywhere.denied.contains(permission) {
        return Err(Denied::Forbidden(permission));
    }
    Ok(Granted {
        user: principal.user,
        permission,
        object,
    })
}

/// [`authorize`] for one thing inside a namespace, with the permissions that narrow this one ([`Modifiers`]).
///
/// `…_only_own` takes away what others made; where there are `…_approved` and `…_unapproved`, the one that fits must be
/// given too, unless no role says anything of either: then nothing is narrowed. An administrator's own permit is not
/// narrowed, since all flags hold for it; but what changes a study is not permitted upon a frozen one to anybody.
///
/// # Errors
/// As [`authorize`].
pub fn authorize_one(
    principal: Option<&Principal>,
    permission: Permission,
    namespace: NamespaceId,
    traits: Traits,
) -> Result<Granted, Denied> {
    let object = Object::Namespace(namespace);
    let granted = authorize(principal, permission, object)?;
    if traits.frozen && permission.changes_study() {
        return Err(Denied::Forbidden(permission));
    }
    let modifiers = Modifiers::of(permission);
    let is_administrator = principal.is_some_and(|principal| principal.administrator);
    let has = |permission| authorize(principal, permission, object).is_ok();
    if modifiers.only_own.is_some_and(has) && !traits.own && !is_administrator {
        return Err(Denied::Forbidden(permission));
    }
    let needed = match traits.approved {
        Some(true) => modifiers.approved,
        Some(false) => modifiers.unapproved,
        None => None,
    };
    let is_named = |modifier: Option<Permission>| {
        modifier.is_some_and(|modifier| principal.is_some_and(|principal| principal.is_named(modifier, namespace)))
    };
    match needed {
        Some(needed) if !has(needed) && (is_named(modifiers.approved) || is_named(modifiers.unapproved)) => {
            Err(Denied::Forbidden(needed))
        }
        _ => Ok(granted),
    }
}

/// The grants for those of `namespaces` in which `permission` is given: for answers over everything a user may see.
///
/// # Errors
/// [`Denied::Unauthenticated`] and [`Denied::Suspended`]; no namespace at all is an empty list.
pub fn authorize_each(
    principal: Option<&Principal>,
    permission: Permission,
    namespaces: impl IntoIterator<Item = NamespaceId>,
) -> Result<Vec<Granted>, Denied> {
    let mut granted = Vec::new();
    for namespace in namespaces {
        match authorize(principal, permission, Object::Namespace(namespace)) {
            Ok(grant) => granted.push(grant),
            Err(Denied::Forbidden(_)) => {}
            Err(denied) => return Err(denied),
        }
    }
    match principal {
        None => Err(Denied::Unauthenticated),
        Some(principal) if principal.suspended => Err(Denied::Suspended),
        Some(_) => Ok(granted),
    }
}

#[cfg(test)]
mod tests;
