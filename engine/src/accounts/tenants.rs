//! Changing accounts and namespaces.

use std::sync::Arc;

use septum_core::access::BuiltIn;
use septum_core::audit::ObjectKind;
use septum_core::ids::{AccountId, NamespaceId, RoleId, UnitId, UserId};

use super::Accounts;
use super::changes::{Step, check_share_code, conflict, event};
use super::memberships::{NewMembership, new_membership};
use super::model::{Account, Namespace, NamespaceKind, Properties, Role};
use super::rows::text;
use crate::error::{EngineError, Result};
use crate::pipeline::messages::Source;
use crate::services::now_ms;

/// A group or location to be made: `kind` gives its id.
pub struct NewUnit {
    /// Whose it is.
    pub kind: NamespaceKind,
    /// Its name.
    pub name: String,
    /// The role of members that have none of their own.
    pub default_role: Option<RoleId>,
    /// The doors' fields.
    pub properties: Properties,
}

fn built_in_roles(account: AccountId) -> impl Iterator<Item = Arc<Role>> {
    BuiltIn::ALL.into_iter().map(move |built_in| {
        Arc::new(Role {
            id: RoleId::random(),
            account,
            name: built_in.name().to_owned(),
            description: String::new(),
            built_in: Some(built_in),
            template: built_in.template(),
            created_ms: now_ms(),
            properties: Properties::new(),
            settings: Properties::new(),
        })
    })
}

impl Accounts {
    /// What catalogues of earlier versions lack: built-in roles, and which namespace is an account's own.
    pub(super) async fn complete(&self) -> Result<()> {
        let turn = self.turn().await;
        let mut steps = Vec::new();
        for account in self.accounts()? {
            if self.roles(account.id)?.is_empty() {
                steps.extend(built_in_roles(account.id).map(Step::Role));
            }
            let namespaces = self.namespaces()?;
            let of_account = || namespaces.iter().filter(|namespace| namespace.account == account.id);
            if !of_account().any(|namespace| namespace.kind == NamespaceKind::Account)
                && let Some(first) = of_account().find(|namespace| namespace.kind == NamespaceKind::Plain)
            {
                let mut own = Namespace::clone(first);
                own.kind = NamespaceKind::Account;
                steps.push(Step::Namespace(Arc::new(own)));
            }
        }
        if steps.is_empty() {
            return Ok(());
        }
        let events = self.accounts()?.into_iter().map(|account| {
            let object = (ObjectKind::Account, account.id.as_bytes());
            event("account.complete", object, None, Some(account.id))
        });
        let events = events.collect();
        self.commit(turn, steps, events).await
    }

    /// Makes an account with its keys and built-in roles, without a namespace. `source` is who asked, none for the system
    /// itself: here and below.
    pub async fn create_account(&self, name: &str, source: Option<&Source>) -> Result<Arc<Account>> {
        let turn = self.turn().await;
        let account = new_account(name, false);
        self.keyring.create_account(account.id).await?;
        let mut steps = vec![Step::Account(Arc::clone(&account))];
        steps.extend(built_in_roles(account.id).map(Step::Role));
        let object = (ObjectKind::Account, account.id.as_bytes());
        let event = event("account.create", object, source, Some(account.id));
        self.commit(turn, steps, vec![event]).await?;
        Ok(account)
    }

    /// Makes an account with its keys, built-in roles and its own namespace; its first member, if any, is an
    /// administrator of it.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`].
    pub async fn add_account(
        &self,
        name: &str,
        (properties, settings): (Properties, Properties),
        first_member: Option<UserId>,
        source: Option<&Source>,
    ) -> Result<(Arc<Account>, Arc<Namespace>)> {
        let turn = self.turn().await;
        if self.accounts()?.iter().any(|account| account.name == name) {
            return Err(EngineError::Conflict(conflict::NAME_TAKEN));
        }
        let mut account = Account::clone(&new_account(name, false));
        account.properties = properties;
        account.settings = settings;
        let account = Arc::new(account);
        self.keyring.create_account(account.id).await?;
        let namespace = new_namespace(account.id, name, NamespaceKind::Account);
        let roles: Vec<_> = built_in_roles(account.id).collect();
        let administrator = roles.iter().find(|role| role.built_in == Some(BuiltIn::Administrator));
        let mut steps = vec![
            Step::Account(Arc::clone(&account)),
            Step::Namespace(Arc::clone(&namespace)),
        ];
        if let (Some(user), Some(role)) = (first_member, administrator) {
            let membership = new_membership(NewMembership {
                user,
                namespace: namespace.id,
                role: Some(role.id),
                properties: Properties::new(),
            });
            steps.push(Step::Membership(Arc::new(membership)));
        }
        steps.extend(roles.into_iter().map(Step::Role));
        let object = (ObjectKind::Account, account.id.as_bytes());
        let event = event("account.create", object, source, Some(account.id));
        self.commit(turn, steps, vec![event]).await?;
        Ok((account, namespace))
    }

    /// Changes an account. Its namespace takes the account's name.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`], [`conflict::VANITY_TAKEN`].
    pub async fn edit_account(
        &self,
        id: AccountId,
        source: Option<&Source>,
        edit: impl FnOnce(&mut Account),
    ) -> Result<Arc<Account>> {
        let turn = self.turn().await;
        let mut account = Account::clone(&*self.account(id)?);
        edit(&mut account);
        let vanity = text(&account.properties, "vanity");
        for other in self.accounts()?.iter().filter(|other| other.id != id) {
            if other.name == account.name {
                return Err(EngineError::Conflict(conflict::NAME_TAKEN));
            }
            if !vanity.is_empty() && text(&other.properties, "vanity") == vanity {
                return Err(EngineError::Conflict(conflict::VANITY_TAKEN));
            }
        }
        let account = Arc::new(account);
        let mut steps = vec![Step::Account(Arc::clone(&account))];
        if let Ok(namespace) = self.namespace_of(id)
            && namespace.name != account.name
        {
            let mut namespace = Namespace::clone(&namespace);
            namespace.name = account.name.clone();
            steps.push(Step::Namespace(Arc::new(namespace)));
        }
        let event = event("account.edit", (ObjectKind::Account, id.as_bytes()), source, Some(id));
        self.commit(turn, steps, vec![event]).await?;
        Ok(account)
    }

    /// Removes an account with its namespaces, roles and memberships. The caller made sure that nothing is stored in it.
    pub async fn delete_account(&self, id: AccountId, source: Option<&Source>) -> Result<()> {
        let turn = self.turn().await;
        self.account(id)?;
        let mut steps = vec![Step::NoAccount(id)];
        for role in self.roles(id)? {
            steps.push(Step::NoRole(role.id));
        }
        for namespace in self.namespaces()?.iter().filter(|namespace| namespace.account == id) {
            for membership in self.members(namespace.id)? {
                steps.push(Step::NoMembership(membership.user, namespace.id));
            }
            steps.push(Step::NoNamespace(namespace.id));
        }
        let object = (ObjectKind::Account, id.as_bytes());
        let event = event("account.delete", object, source, Some(id));
        self.commit(turn, steps, vec![event]).await
    }

    /// Makes a namespace in an account: its own where it has none yet, else one that is nobody's in particular.
    pub async fn create_namespace(
        &self,
        account: AccountId,
        name: &str,
        default_issuer: &str,
        source: Option<&Source>,
    ) -> Result<Arc<Namespace>> {
        let turn = self.turn().await;
        self.account(account)?;
        let kind = match self.namespace_of(account) {
            Ok(_) => NamespaceKind::Plain,
            Err(_) => NamespaceKind::Account,
        };
        let mut namespace = Namespace::clone(&new_namespace(account, name, kind));
        namespace.default_issuer = default_issuer.to_owned();
        let namespace = Arc::new(namespace);
        let object = (ObjectKind::Namespace, namespace.id.as_bytes());
        let event = event("namespace.create", object, source, Some(account));
        self.commit(turn, vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
            .await?;
        Ok(namespace)
    }

    /// Makes a group or location with its namespace.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`], [`conflict::SHARE_CODE_TAKEN`].
    pub async fn add_unit(&self, account: AccountId, new: NewUnit, source: Option<&Source>) -> Result<Arc<Namespace>> {
        let turn = self.turn().await;
        self.account(account)?;
        let mut namespace = Namespace::clone(&new_namespace(account, &new.name, new.kind));
        namespace.default_role = new.default_role;
        namespace.properties = new.properties;
        self.check_namespace(&namespace)?;
        let namespace = Arc::new(namespace);
        let object = (ObjectKind::Namespace, namespace.id.as_bytes());
        let event = event("namespace.create", object, source, Some(account));
        self.commit(turn, vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
            .await?;
        Ok(namespace)
    }

    fn check_namespace(&self, namespace: &Namespace) -> Result<()> {
        let state = self.read()?;
        let is_same_kind = |other: &Namespace| {
            std::mem::discriminant(&other.kind) == std::mem::discriminant(&namespace.kind)
                && other.account == namespace.account
                && other.id != namespace.id
        };
        let mut others = state.namespaces.values().filter(|other| is_same_kind(other));
        if others.any(|other| other.name == namespace.name) {
            return Err(EngineError::Conflict(conflict::NAME_TAKEN));
        }
        check_share_code(&state, namespace.id.as_bytes(), &namespace.properties)
    }

    /// Changes a namespace.
    ///
    /// # Errors
    /// As [`Self::add_unit`].
    pub async fn edit_namespace(
        &self,
        id: NamespaceId,
        source: Option<&Source>,
        edit: impl FnOnce(&mut Namespace),
    ) -> Result<Arc<Namespace>> {
        let turn = self.turn().await;
        let mut namespace = Namespace::clone(&*self.namespace(id)?);
        edit(&mut namespace);
        self.check_namespace(&namespace)?;
        let namespace = Arc::new(namespace);
        let object = (ObjectKind::Namespace, id.as_bytes());
        let event = event("namespace.edit", object, source, Some(namespace.account));
        self.commit(turn, vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
            .await?;
        Ok(namespace)
    }

    /// Removes a namespace and its memberships. The caller made sure that nothing is stored in it.
    pub async fn delete_namespace(&self, id: NamespaceId, source: Option<&Source>) -> Result<()> {
        let turn = self.turn().await;
        let namespace = self.namespace(id)?;
        let mut steps = vec![Step::NoNamespace(id)];
        for membership in self.members(id)? {
            steps.push(Step::NoMembership(membership.user, id));
        }
        let object = (ObjectKind::Namespace, id.as_bytes());
        let event = event("namespace.delete", object, source, Some(namespace.account));
        self.commit(turn, steps, vec![event]).await
    }
}

pub(super) fn new_account(name: &str, personal: bool) -> Arc<Account> {
    Arc::new(Account {
        id: AccountId::random(),
        name: name.to_owned(),
        personal,
        created_ms: now_ms(),
        properties: Properties::new(),
        settings: Properties::new(),
    })
}

pub(super) fn new_namespace(account: AccountId, name: &str, kind: NamespaceKind) -> Arc<Namespace> {
    Arc::new(Namespace {
        id: NamespaceId::random(),
        account,
        name: name.to_owned(),
        default_issuer: String::new(),
        kind,
        default_role: None,
        created_ms: now_ms(),
        properties: Properties::new(),
        settings: Properties::new(),
    })
}

impl NamespaceKind {
    /// A new group.
    pub fn new_group() -> Self {
        Self::Group(UnitId::random())
    }

    /// A new location.
    pub fn new_location() -> Self {
        Self::Location(UnitId::random())
    }
}
