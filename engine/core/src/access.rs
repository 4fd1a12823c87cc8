//! Permissions and the one decision function.
//!
//! Default deny (invariant 8): nothing is permitted that no grant permits, and an explicit deny beats every permit, an
//! administrator's too. [`authorize`] alone makes [`Granted`]; whoever hands out data asks for a [`Granted`], so a handler
//! that forgot to ask does not compile.

use crate::ids::{NamespaceId, UserId};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What may be done: one for each family of routes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum Permission { $($(#[$doc])* #[serde(rename = $text)] $name),+ }

        impl Permission {
            /// Every permission.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The name in roles, settings and documents.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text),+ }
            }

            /// The permission of a name; `None` where there is none.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$name),)+ _ => None }
            }
        }
    };
}

permissions! {
    /// Store instances.
    StudyStore = "study.store",
    /// Read metadata, frames and instances, with corrections applied.
    StudyRead = "study.read",
    /// Read instances as they came in, before corrections.
    StudyReadOriginal = "study.read-original",
    /// Search studies, series and instances.
    StudySearch = "study.search",
    /// Download studies as archives.
    StudyExport = "study.export",
    /// Delete studies, series and instances.
    StudyDelete = "study.delete",
    /// Correct patient and study data.
    StudyCorrect = "study.correct",
    /// Move studies between namespaces.
    StudyMove = "study.move",
    /// Share studies with other accounts or by link.
    StudyShare = "study.share",
    /// Read the change feed.
    ChangesRead = "changes.read",
    /// Read the exception list.
    ExceptionsRead = "exceptions.read",
    /// Accept, move or reject held studies.
    ExceptionsResolve = "exceptions.resolve",
    /// Read the audit log and its proofs.
    AuditRead = "audit.read",
    /// Read metrics.
    MetricsRead = "metrics.read",
    /// Read the state of the installation.
    StatusRead = "status.read",
    /// Create, change and suspend users and their roles.
    UsersManage = "users.manage",
    /// Create, change and delete accounts and namespaces.
    NamespacesManage = "namespaces.manage",
    /// Rotate and destroy keys.
    KeysManage = "keys.manage",
    /// Everything else of the installation: settings, jobs, backups.
    Administer = "administer",
}

/// What something is to be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Object {
    /// All that lies in one namespace.
    Namespace(NamespaceId),
    /// The installation as a whole, all namespaces included.
    System,
}

/// How far a grant reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// One namespace.
    Namespace(NamespaceId),
    /// The installation as a whole, all namespaces included.
    Everywhere,
}

/// What a grant does. A flag that is unset in a role is no grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Permits, unless something denies.
    Permit,
    /// Denies, whatever permits.
    Deny,
}

/// One line of a principal's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Grant {
    /// What.
    pub permission: Permission,
    /// Where.
    pub scope: Scope,
    /// Permitted or denied.
    pub effect: Effect,
}

/// Who asks: a user with the rights of all roles, as read when the request came in.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user: UserId,
    /// The sign-in name, for the user's own eyes: never logged.
    pub name: String,
    /// Has a permit for everything everywhere.
    pub administrator: bool,
    /// May do nothing, whatever the grants say.
    pub suspended: bool,
    /// The grants of all roles.
    pub grants: Vec<Grant>,
}

impl Principal {
    /// An active user without any right.
    pub fn new(user: UserId, name: impl Into<String>) -> Self {
        Self {
            user,
            name: name.into(),
            administrator: false,
            suspended: false,
            grants: Vec::new(),
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
    /// No grant permits, or one denies.
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
    let mut permitted = principal.administrator;
    for grant in principal.grants.iter().filter(|grant| grant.permission == permission) {
        match grant.effect {
            Effect::Deny if touches(grant.scope, object) => return Err(Denied::Forbidden(permission)),
            Effect::Permit if contains(grant.scope, object) => permitted = true,
            _ => {}
        }
    }
    let granted = Granted {
        user: principal.user,
        permission,
        object,
    };
    if permitted {
        Ok(granted)
    } else {
        Err(Denied::Forbidden(permission))
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

/// Whether the scope holds all of the object.
fn contains(scope: Scope, object: Object) -> bool {
    match (scope, object) {
        (Scope::Everywhere, _) => true,
        (Scope::Namespace(scope), Object::Namespace(object)) => scope == object,
        (Scope::Namespace(_), Object::System) => false,
    }
}

/// Whether the scope holds any of the object.
fn touches(scope: Scope, object: Object) -> bool {
    object == Object::System || contains(scope, object)
}

#[cfg(test)]
mod tests;
