//! Roles: templates of three-valued flags and field rights.

use std::collections::BTreeMap;

use super::fields::{FieldRight, FieldRights};
use super::flags::Permission;
use super::rights::{FlagSet, Rights};

/// The roles that every new account has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum BuiltIn {
    /// Runs the account.
    Administrator = 0,
    /// Works in it.
    User = 1,
    /// A patient, with what is their own.
    Phr = 2,
    /// Whoever came by a link.
    Anonymous = 3,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::User, Self::Phr, Self::Anonymous];

    /// The name in the account.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::User => "User",
            Self::Phr => "PHR",
            Self::Anonymous => "Anonymous",
        }
    }

    /// What it permits.
    pub fn template(self) -> Template {
        let flags = Permission::ALL
            .iter()
            .filter(|permission| permission.is_default_of(self));
        Template {
            flags: flags.map(|&permission| (permission, Setting::Permit)).collect(),
            fields: FieldRights::default(),
        }
    }
}

/// What a role says of a permission it names. One that it does not name is unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Setting {
    /// Permits, unless another role denies.
    Permit,
    /// Denies, whatever other roles permit.
    Deny,
}

/// What a role says. A new one says nothing, so it permits nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Template {
    flags: BTreeMap<Permission, Setting>,
    fields: FieldRights,
}

impl Template {
    /// What is said of a permission.
    pub fn get(&self, permission: Permission) -> Option<Setting> {
        self.flags.get(&permission).copied()
    }

    /// Says something of a permission, or nothing any more; `false` where no role may hold it.
    pub fn set(&mut self, permission: Permission, setting: Option<Setting>) -> bool {
        if permission.is_of_installation() {
            return false;
        }
        match setting {
            Some(setting) => self.flags.insert(permission, setting),
            None => self.flags.remove(&permission),
        };
        true
    }

    /// Says something of a field; `false` where it is none.
    pub fn set_field(&mut self, field: &str, right: FieldRight) -> bool {
        self.fields.set(field, right)
    }

    /// What is said of fields.
    pub fn fields(&self) -> &FieldRights {
        &self.fields
    }

    /// The role's rights in its scope.
    pub fn rights(&self) -> Rights {
        let those = |wanted: Setting| -> FlagSet {
            let named = self.flags.iter().filter(|(_, setting)| **setting == wanted);
            named.map(|(&permission, _)| permission).collect()
        };
        Rights {
            permitted: those(Setting::Permit),
            denied: those(Setting::Deny),
            fields: self.fields.clone(),
        }
    }
}

/// Permissions that narrow another one: whoever has one of these has the wider one for some objects only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modifiers {
    /// Only what the user made.
    pub only_own: Option<Permission>,
    /// What is approved.
    pub approved: Option<Permission>,
    /// What is not approved yet.
    pub unapproved: Option<Permission>,
}

impl Modifiers {
    /// The modifiers of a permission, which are named like it with `_only_own`, `_approved` or `_unapproved` behind.
    pub fn of(permission: Permission) -> Self {
        let named = |ending: &str| Permission::from_name(&format!("{}{ending}", permission.name()));
        Self {
            only_own: named("_only_own"),
            approved: named("_approved"),
            unapproved: named("_unapproved"),
        }
    }
}
