//! What the catalogue holds.

use septum_core::access::{BuiltIn, Template};
use septum_core::ids::{AccountId, NamespaceId, RoleId, UnitId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What has no meaning to the engine: the doors' own fields, by name.
pub type Properties = Map<String, Value>;

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// One user's own, made for nothing but the keys of their namespace.
    #[serde(default)]
    pub personal: bool,
    /// When it was made, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: i64,
    /// The doors' fields.
    #[serde(default)]
    pub properties: Properties,
    /// Its settings by name.
    #[serde(default)]
    pub settings: Properties,
}

/// Whose a namespace is within its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceKind {
    /// Nobody's in particular.
    #[default]
    Plain,
    /// The account's own.
    Account,
    /// A group's.
    Group(UnitId),
    /// A location's.
    Location(UnitId),
    /// A user's own: their personal health record.
    Personal(UserId),
}

/// A space in which a study UID is unique; owned by one account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id, as in URLs.
    pub id: NamespaceId,
    /// The account that owns it.
    pub account: AccountId,
    /// Its name; of a group or location, that one's.
    pub name: String,
    /// Issuer of Patient ID assumed where a dataset names none.
    pub default_issuer: String,
    /// Whose it is.
    #[serde(default)]
    pub kind: NamespaceKind,
    /// The role of members that have none of their own.
    #[serde(default)]
    pub default_role: Option<RoleId>,
    /// When it was made, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: i64,
    /// The doors' fields.
    #[serde(default)]
    pub properties: Properties,
    /// Its settings by name.
    #[serde(default)]
    pub settings: Properties,
}

impl Namespace {
    /// The group or location whose it is.
    pub fn unit(&self) -> Option<UnitId> {
        match self.kind {
            NamespaceKind::Group(unit) | NamespaceKind::Location(unit) => Some(unit),
            _ => None,
        }
    }
}

/// A person or script that signs in.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name it signs in with: an e-mail address in lower case.
    pub name: String,
    /// Argon2id in PHC string form.
    pub password_hash: String,
    /// May do everything.
    pub administrator: bool,
    /// May do nothing.
    #[serde(default)]
    pub disabled: bool,
    /// First name.
    #[serde(default)]
    pub first: String,
    /// Last name.
    #[serde(default)]
    pub last: String,
    /// Their own namespace, once made.
    #[serde(default)]
    pub personal: Option<NamespaceId>,
    /// When it was made, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: i64,
    /// The doors' fields.
    #[serde(default)]
    pub properties: Properties,
    /// Their settings by name.
    #[serde(default)]
    pub settings: Properties,
    /// Came by a link: may do this, and nothing else.
    #[serde(default)]
    pub guest: Option<Guest>,
}

/// What somebody who came by a link may do.
#[derive(Clone, Serialize, Deserialize)]
pub struct Guest {
    /// Where.
    pub namespace: NamespaceId,
    /// What.
    pub template: Template,
}

impl User {
    /// How people call them.
    pub fn full_name(&self) -> String {
        match (self.first.as_str(), self.last.as_str()) {
            ("", "") => self.name.clone(),
            (first, last) => format!("{first} {last}").trim().to_owned(),
        }
    }
}

/// A role of an account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    /// Its id.
    pub id: RoleId,
    /// The account that has it.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// The built-in role it is, so that it cannot be deleted.
    #[serde(default)]
    pub built_in: Option<BuiltIn>,
    /// What it says.
    pub template: Template,
    /// When it was made, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: i64,
    /// The doors' fields.
    #[serde(default)]
    pub properties: Properties,
    /// Its settings by name.
    #[serde(default)]
    pub settings: Properties,
}

/// What a user is in a namespace: of an account, a group or a location.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Membership {
    /// The user.
    pub user: UserId,
    /// The namespace.
    pub namespace: NamespaceId,
    /// The role, or the namespace's default.
    pub role: Option<RoleId>,
    /// Gives nothing at the moment.
    #[serde(default)]
    pub disabled: bool,
    /// Of an account: reaches its groups and locations too, in this role or the one named.
    #[serde(default)]
    pub global: bool,
    /// The role in groups and locations, where it is another one.
    #[serde(default)]
    pub global_role: Option<RoleId>,
    /// Since when, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: i64,
    /// The doors' fields.
    #[serde(default)]
    pub properties: Properties,
    /// Its settings by name.
    #[serde(default)]
    pub settings: Properties,
}
