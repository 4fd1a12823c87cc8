//! Changing the catalogue: one change at a time is checked against what is there, committed with its audit leaves, and
//! then shown.

use std::sync::Arc;

use septum_core::access::{BuiltIn, Template};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{AccountId, NamespaceId, RoleId, UnitId, UserId};
use septum_storage::RowKind;

use super::Accounts;
use super::model::{Account, Membership, Namespace, NamespaceKind, Properties, Role, User};
use super::rows::{Record, seal, text};
use super::state::State;
use crate::error::{EngineError, Result};
use crate::ledger::Event;
use crate::pipeline::messages::Source;
use crate::services::now_ms;

/// Why a change contradicts what is there: the texts of [`EngineError::Conflict`].
pub mod conflict {
    /// Another account, namespace or role of that place has the name.
    pub const NAME_TAKEN: &str = "the name is taken";
    /// Another user signs in with that name.
    pub const LOGIN_TAKEN: &str = "the sign-in name is taken";
    /// Another namespace or user has the share code.
    pub const SHARE_CODE_TAKEN: &str = "the share code is taken";
    /// Another account has the vanity name.
    pub const VANITY_TAKEN: &str = "the vanity name is taken";
    /// Something refers to it.
    pub const IN_USE: &str = "it is in use";
    /// The user is a member already.
    pub const MEMBER: &str = "the user is a member already";
}

/// A user to be made.
pub struct NewUser {
    /// The sign-in name.
    pub name: String,
    /// Argon2id in PHC string form.
    pub password_hash: String,
    /// First and last name.
    pub full_name: (String, String),
    /// The doors' fields.
    pub properties: Properties,
}

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

/// A membership to be made.
pub struct NewMembership {
    /// Who.
    pub user: UserId,
    /// Where.
    pub namespace: NamespaceId,
    /// As what.
    pub role: Option<RoleId>,
    /// The doors' fields.
    pub properties: Properties,
}

/// One step of a change.
enum Step {
    NoAccount(AccountId),
    Account(Arc<Account>),
    Namespace(Arc<Namespace>),
    User(Arc<User>),
    Role(Arc<Role>),
    Membership(Arc<Membership>),
    NoNamespace(NamespaceId),
    NoUser(UserId),
    NoRole(RoleId),
    NoMembership(UserId, NamespaceId),
}

impl Step {
    fn row(&self, keyring: &crate::keyring::Keyring) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        fn put<T: Record>(keyring: &crate::keyring::Keyring, record: &T) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
            Ok((T::ROWS.key(&[&record.key()]), Some(seal(keyring, record)?)))
        }
        match self {
            Self::Account(account) => put(keyring, &**account),
            Self::Namespace(namespace) => put(keyring, &**namespace),
            Self::User(user) => put(keyring, &**user),
            Self::Role(role) => put(keyring, &**role),
            Self::Membership(membership) => put(keyring, &**membership),
            Self::NoAccount(id) => Ok((RowKind::Account.key(&[id.as_bytes()]), None)),
            Self::NoNamespace(id) => Ok((RowKind::Namespace.key(&[id.as_bytes()]), None)),
            Self::NoUser(id) => Ok((RowKind::User.key(&[id.as_bytes()]), None)),
            Self::NoRole(id) => Ok((RowKind::Role.key(&[id.as_bytes()]), None)),
            Self::NoMembership(user, namespace) => {
                let key = RowKind::Membership.key(&[user.as_bytes(), namespace.as_bytes()]);
                Ok((key, None))
            }
        }
    }

    fn show(self, state: &mut State) {
        match self {
            Self::Account(account) => {
                state.accounts.insert(account.id, account);
            }
            Self::Namespace(namespace) => {
                state.namespaces.insert(namespace.id, namespace);
            }
            Self::User(user) => state.put_user(user),
            Self::Role(role) => {
                state.roles.insert(role.id, role);
            }
            Self::Membership(membership) => {
                let key = (membership.user, membership.namespace);
                state.memberships.insert(key, membership);
            }
            Self::NoAccount(id) => {
                state.accounts.remove(&id);
            }
            Self::NoNamespace(id) => {
                state.namespaces.remove(&id);
            }
            Self::NoUser(id) => {
                if let Some(user) = state.users.remove(&id) {
                    state.logins.remove(&user.name);
                }
            }
            Self::NoRole(id) => {
                state.roles.remove(&id);
            }
            Self::NoMembership(user, namespace) => {
                state.memberships.remove(&(user, namespace));
            }
        }
    }
}

fn event(
    action: &'static str,
    (kind, id): (ObjectKind, &[u8; 16]),
    source: Option<&Source>,
    account: Option<AccountId>,
) -> Event {
    Event {
        actor: source.map_or(Actor::System, |source| Actor::User(source.user)),
        action: Action::new(action),
        object: ObjectRef::One(kind, *id),
        outcome: Outcome::Success,
        source: source.and_then(|source| source.address),
        account,
    }
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

/// Refuses a share code that somebody else has.
fn check_share_code(state: &State, own: &[u8; 16], properties: &Properties) -> Result<()> {
    let code = text(properties, "share_code");
    if code.is_empty() {
        return Ok(());
    }
    let namespaces = state
        .namespaces
        .values()
        .map(|namespace| (namespace.id.as_bytes(), &namespace.properties));
    let users = state.users.values().map(|user| (user.id.as_bytes(), &user.properties));
    let taken = namespaces
        .chain(users)
        .any(|(id, properties)| id != own && text(properties, "share_code") == code);
    if taken {
        return Err(EngineError::Conflict(conflict::SHARE_CODE_TAKEN));
    }
    Ok(())
}

impl Accounts {
    async fn commit(&self, steps: Vec<Step>, events: Vec<Event>) -> Result<()> {
        let rows = steps
            .iter()
            .map(|step| step.row(&self.keyring))
            .collect::<Result<Vec<_>>>()?;
        self.ledger
            .commit(|staging| {
                for (key, value) in rows {
                    match value {
                        Some(value) => staging.put(key, value),
                        None => staging.delete(key),
                    }
                }
                events.into_iter().for_each(|event| staging.audit(event));
                Ok(())
            })
            .await?;
        let mut state = self.write()?;
        steps.into_iter().for_each(|step| step.show(&mut state));
        state.generation += 1;
        Ok(())
    }

    /// What catalogues of earlier versions lack: built-in roles, and which namespace is an account's own.
    pub(super) async fn complete(&self) -> Result<()> {
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
        self.commit(steps, events).await
    }

    /// Makes an account with its keys and built-in roles, without a namespace. `source` is who asked, none for the system
    /// itself: here and below.
    pub async fn create_account(&self, name: &str, source: Option<&Source>) -> Result<Arc<Account>> {
        let _changing = self.changing.lock().await;
        let account = new_account(name, false);
        self.keyring.create_account(account.id).await?;
        let mut steps = vec![Step::Account(Arc::clone(&account))];
        steps.extend(built_in_roles(account.id).map(Step::Role));
        let object = (ObjectKind::Account, account.id.as_bytes());
        let event = event("account.create", object, source, Some(account.id));
        self.commit(steps, vec![event]).await?;
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
        let _changing = self.changing.lock().await;
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
        self.commit(steps, vec![event]).await?;
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
        let _changing = self.changing.lock().await;
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
        self.commit(steps, vec![event]).await?;
        Ok(account)
    }

    /// Removes an account with its namespaces, roles and memberships. The caller made sure that nothing is stored in it.
    pub async fn delete_account(&self, id: AccountId, source: Option<&Source>) -> Result<()> {
        let _changing = self.changing.lock().await;
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
        self.commit(steps, vec![event]).await
    }

    /// Makes a namespace in an account: its own where it has none yet, else one that is nobody's in particular.
    pub async fn create_namespace(
        &self,
        account: AccountId,
        name: &str,
        default_issuer: &str,
        source: Option<&Source>,
    ) -> Result<Arc<Namespace>> {
        let _changing = self.changing.lock().await;
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
        self.commit(vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
            .await?;
        Ok(namespace)
    }

    /// Makes a group or location with its namespace.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`], [`conflict::SHARE_CODE_TAKEN`].
    pub async fn add_unit(&self, account: AccountId, new: NewUnit, source: Option<&Source>) -> Result<Arc<Namespace>> {
        let _changing = self.changing.lock().await;
        self.account(account)?;
        let mut namespace = Namespace::clone(&new_namespace(account, &new.name, new.kind));
        namespace.default_role = new.default_role;
        namespace.properties = new.properties;
        self.check_namespace(&namespace)?;
        let namespace = Arc::new(namespace);
        let object = (ObjectKind::Namespace, namespace.id.as_bytes());
        let event = event("namespace.create", object, source, Some(account));
        self.commit(vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
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
        let _changing = self.changing.lock().await;
        let mut namespace = Namespace::clone(&*self.namespace(id)?);
        edit(&mut namespace);
        self.check_namespace(&namespace)?;
        let namespace = Arc::new(namespace);
        let object = (ObjectKind::Namespace, id.as_bytes());
        let event = event("namespace.edit", object, source, Some(namespace.account));
        self.commit(vec![Step::Namespace(Arc::clone(&namespace))], vec![event])
            .await?;
        Ok(namespace)
    }

    /// Removes a namespace and its memberships. The caller made sure that nothing is stored in it.
    pub async fn delete_namespace(&self, id: NamespaceId, source: Option<&Source>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let namespace = self.namespace(id)?;
        let mut steps = vec![Step::NoNamespace(id)];
        for membership in self.members(id)? {
            steps.push(Step::NoMembership(membership.user, id));
        }
        let object = (ObjectKind::Namespace, id.as_bytes());
        let event = event("namespace.delete", object, source, Some(namespace.account));
        self.commit(steps, vec![event]).await
    }

    /// Makes a user, or gives the one of that name a password.
    pub async fn put_user(
        &self,
        name: &str,
        password_hash: String,
        administrator: bool,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let _changing = self.changing.lock().await;
        let known = self.user(name)?;
        let mut user = known.map_or_else(|| new_user(name), |user| User::clone(&user));
        user.password_hash = password_hash;
        user.administrator = administrator;
        self.save_user("user.save", user, Vec::new(), source).await
    }

    async fn save_user(
        &self,
        action: &'static str,
        user: User,
        mut steps: Vec<Step>,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let user = Arc::new(user);
        steps.push(Step::User(Arc::clone(&user)));
        let event = event(action, (ObjectKind::User, user.id.as_bytes()), source, None);
        self.commit(steps, vec![event]).await?;
        Ok(user)
    }

    /// Makes a user with a namespace of their own.
    ///
    /// # Errors
    /// [`conflict::LOGIN_TAKEN`], [`conflict::SHARE_CODE_TAKEN`].
    pub async fn add_user(&self, new: NewUser, source: Option<&Source>) -> Result<Arc<User>> {
        let _changing = self.changing.lock().await;
        let mut user = new_user(&new.name);
        if self.user(&user.name)?.is_some() {
            return Err(EngineError::Conflict(conflict::LOGIN_TAKEN));
        }
        user.password_hash = new.password_hash;
        (user.first, user.last) = new.full_name;
        user.properties = new.properties;
        check_share_code(&*self.read()?, user.id.as_bytes(), &user.properties)?;
        let steps = self.personal(&mut user).await?;
        self.save_user("user.create", user, steps, source).await
    }

    /// Makes sure that a user has a namespace of their own.
    pub async fn with_namespace(&self, user: UserId) -> Result<Arc<User>> {
        let known = self.user_by_id(user)?;
        if known.personal.is_some() {
            return Ok(known);
        }
        let _changing = self.changing.lock().await;
        let mut user = User::clone(&*self.user_by_id(user)?);
        if user.personal.is_some() {
            return Ok(Arc::new(user));
        }
        let steps = self.personal(&mut user).await?;
        self.save_user("user.complete", user, steps, None).await
    }

    /// A namespace of the user's own, under keys of their own.
    async fn personal(&self, user: &mut User) -> Result<Vec<Step>> {
        let account = new_account("", true);
        self.keyring.create_account(account.id).await?;
        let namespace = new_namespace(account.id, "", NamespaceKind::Personal(user.id));
        user.personal = Some(namespace.id);
        Ok(vec![Step::Account(account), Step::Namespace(namespace)])
    }

    /// Changes a user.
    ///
    /// # Errors
    /// As [`Self::add_user`].
    pub async fn edit_user(
        &self,
        id: UserId,
        source: Option<&Source>,
        edit: impl FnOnce(&mut User),
    ) -> Result<Arc<User>> {
        let _changing = self.changing.lock().await;
        let mut user = User::clone(&*self.user_by_id(id)?);
        edit(&mut user);
        if self.user(&user.name)?.is_some_and(|other| other.id != id) {
            return Err(EngineError::Conflict(conflict::LOGIN_TAKEN));
        }
        check_share_code(&*self.read()?, id.as_bytes(), &user.properties)?;
        self.save_user("user.edit", user, Vec::new(), source).await
    }

    /// Removes a user with their memberships. Their own namespace stays as long as something is stored in it.
    pub async fn delete_user(&self, id: UserId, source: Option<&Source>) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.user_by_id(id)?;
        let mut steps = vec![Step::NoUser(id)];
        for membership in self.memberships_of(id)? {
            steps.push(Step::NoMembership(id, membership.namespace));
        }
        let event = event("user.delete", (ObjectKind::User, id.as_bytes()), source, None);
        self.commit(steps, vec![event]).await
    }

    /// Makes a role. One that the account has already under this name and that says the same is that role: a request that
    /// was sent twice makes one.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`].
    pub async fn add_role(
        &self,
        account: AccountId,
        name: &str,
        fill: impl FnOnce(&mut Role),
        source: Option<&Source>,
    ) -> Result<Arc<Role>> {
        let _changing = self.changing.lock().await;
        self.account(account)?;
        let mut role = Role {
            id: RoleId::random(),
            account,
            name: name.to_owned(),
            description: String::new(),
            built_in: None,
            template: Template::default(),
            created_ms: now_ms(),
            properties: Properties::new(),
            settings: Properties::new(),
        };
        fill(&mut role);
        if let Some(same) = self.roles(account)?.into_iter().find(|known| known.name == name) {
            let is_same = same.built_in.is_none()
                && (&same.template, &same.properties, &same.settings)
                    == (&role.template, &role.properties, &role.settings);
            return if is_same {
                Ok(same)
            } else {
                Err(EngineError::Conflict(conflict::NAME_TAKEN))
            };
        }
        self.save_role("role.create", role, source).await
    }

    async fn save_role(&self, action: &'static str, role: Role, source: Option<&Source>) -> Result<Arc<Role>> {
        let role = Arc::new(role);
        let object = (ObjectKind::Role, role.id.as_bytes());
        let event = event(action, object, source, Some(role.account));
        self.commit(vec![Step::Role(Arc::clone(&role))], vec![event]).await?;
        Ok(role)
    }

    /// Changes a role.
    ///
    /// # Errors
    /// [`conflict::NAME_TAKEN`].
    pub async fn edit_role(
        &self,
        id: RoleId,
        source: Option<&Source>,
        edit: impl FnOnce(&mut Role),
    ) -> Result<Arc<Role>> {
        let _changing = self.changing.lock().await;
        let mut role = Role::clone(&*self.role(id)?);
        edit(&mut role);
        let mut others = self.roles(role.account)?.into_iter().filter(|other| other.id != id);
        if others.any(|other| other.name == role.name) {
            return Err(EngineError::Conflict(conflict::NAME_TAKEN));
        }
        self.save_role("role.edit", role, source).await
    }

    /// Removes a role that nobody has.
    ///
    /// # Errors
    /// [`conflict::IN_USE`]; built-in roles always are.
    pub async fn delete_role(&self, id: RoleId, source: Option<&Source>) -> Result<()> {
        let _changing = self.changing.lock().await;
        let role = self.role(id)?;
        let is_used = {
            let state = self.read()?;
            let mut members = state.memberships.values();
            let mut namespaces = state.namespaces.values();
            role.built_in.is_some()
                || members.any(|member| member.role == Some(id) || member.global_role == Some(id))
                || namespaces.any(|namespace| namespace.default_role == Some(id))
        };
        if is_used {
            return Err(EngineError::Conflict(conflict::IN_USE));
        }
        let object = (ObjectKind::Role, id.as_bytes());
        let event = event("role.delete", object, source, Some(role.account));
        self.commit(vec![Step::NoRole(id)], vec![event]).await
    }

    /// Makes a user a member.
    ///
    /// # Errors
    /// [`conflict::MEMBER`].
    pub async fn add_membership(&self, new: NewMembership, source: Option<&Source>) -> Result<Arc<Membership>> {
        let _changing = self.changing.lock().await;
        self.user_by_id(new.user)?;
        if self.membership(new.user, new.namespace).is_ok() {
            return Err(EngineError::Conflict(conflict::MEMBER));
        }
        self.save_membership("membership.create", new_membership(new), source)
            .await
    }

    async fn save_membership(
        &self,
        action: &'static str,
        membership: Membership,
        source: Option<&Source>,
    ) -> Result<Arc<Membership>> {
        let namespace = self.namespace(membership.namespace)?;
        let membership = Arc::new(membership);
        let events = vec![
            event(
                action,
                (ObjectKind::User, membership.user.as_bytes()),
                source,
                Some(namespace.account),
            ),
            event(
                action,
                (ObjectKind::Namespace, namespace.id.as_bytes()),
                source,
                Some(namespace.account),
            ),
        ];
        self.commit(vec![Step::Membership(Arc::clone(&membership))], events)
            .await?;
        Ok(membership)
    }

    /// Changes a membership.
    pub async fn edit_membership(
        &self,
        (user, namespace): (UserId, NamespaceId),
        source: Option<&Source>,
        edit: impl FnOnce(&mut Membership),
    ) -> Result<Arc<Membership>> {
        let _changing = self.changing.lock().await;
        let mut membership = Membership::clone(&*self.membership(user, namespace)?);
        edit(&mut membership);
        self.save_membership("membership.edit", membership, source).await
    }

    /// Ends a membership; of an account, those in its groups and locations too.
    pub async fn delete_membership(&self, user: UserId, namespace: NamespaceId, source: Option<&Source>) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.membership(user, namespace)?;
        let whose = self.namespace(namespace)?;
        let mut steps = vec![Step::NoMembership(user, namespace)];
        if whose.kind == NamespaceKind::Account {
            for other in self.memberships_of(user)? {
                let is_inside = self
                    .namespace(other.namespace)
                    .is_ok_and(|other| other.account == whose.account);
                if is_inside && other.namespace != namespace {
                    steps.push(Step::NoMembership(user, other.namespace));
                }
            }
        }
        let object = (ObjectKind::User, user.as_bytes());
        let event = event("membership.delete", object, source, Some(whose.account));
        self.commit(steps, vec![event]).await
    }
}

fn new_account(name: &str, personal: bool) -> Arc<Account> {
    Arc::new(Account {
        id: AccountId::random(),
        name: name.to_owned(),
        personal,
        created_ms: now_ms(),
        properties: Properties::new(),
        settings: Properties::new(),
    })
}

fn new_namespace(account: AccountId, name: &str, kind: NamespaceKind) -> Arc<Namespace> {
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

fn new_user(name: &str) -> User {
    User {
        id: UserId::random(),
        name: name.to_lowercase(),
        password_hash: String::new(),
        administrator: false,
        disabled: false,
        first: String::new(),
        last: String::new(),
        personal: None,
        created_ms: now_ms(),
        properties: Properties::new(),
        settings: Properties::new(),
    }
}

fn new_membership(new: NewMembership) -> Membership {
    Membership {
        user: new.user,
        namespace: new.namespace,
        role: new.role,
        disabled: false,
        global: false,
        global_role: None,
        created_ms: now_ms(),
        properties: new.properties,
        settings: Properties::new(),
    }
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
