//! Changing users and roles.

use std::sync::Arc;

use septum_core::access::Template;
use septum_core::audit::ObjectKind;
use septum_core::ids::{AccountId, NamespaceId, RoleId, UserId};

use super::Accounts;
use super::changes::{Step, Turn, check_share_code, conflict, event};
use super::model::{Guest, NamespaceKind, Properties, Role, User};
use super::tenants::{new_account, new_namespace};
use crate::error::{EngineError, Result};
use crate::pipeline::messages::Source;
use crate::services::now_ms;

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

impl Accounts {
    /// Makes a user, or gives the one of that name a password.
    pub async fn put_user(
        &self,
        name: &str,
        password_hash: String,
        administrator: bool,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let turn = self.turn().await;
        let known = self.user(name)?;
        let mut user = known.map_or_else(|| new_user(name), |user| User::clone(&user));
        user.password_hash = password_hash;
        user.administrator = administrator;
        self.save_user(turn, "user.save", user, Vec::new(), source).await
    }

    async fn save_user(
        &self,
        turn: Turn,
        action: &'static str,
        user: User,
        mut steps: Vec<Step>,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let user = Arc::new(user);
        steps.push(Step::User(Arc::clone(&user)));
        let event = event(action, (ObjectKind::User, user.id.as_bytes()), source, None);
        self.commit(turn, steps, vec![event]).await?;
        Ok(user)
    }

    /// Makes a user with a namespace of their own.
    ///
    /// # Errors
    /// [`conflict::LOGIN_TAKEN`], [`conflict::SHARE_CODE_TAKEN`].
    pub async fn add_user(&self, new: NewUser, source: Option<&Source>) -> Result<Arc<User>> {
        let turn = self.turn().await;
        let mut user = new_user(&new.name);
        if self.user(&user.name)?.is_some() {
            return Err(EngineError::Conflict(conflict::LOGIN_TAKEN));
        }
        user.password_hash = new.password_hash;
        (user.first, user.last) = new.full_name;
        user.properties = new.properties;
        check_share_code(&*self.read()?, user.id.as_bytes(), &user.properties)?;
        let steps = self.personal(&mut user).await?;
        self.save_user(turn, "user.create", user, steps, source).await
    }

    /// Makes a guest: somebody without a password, who may do what `template` says in the namespace given, or else in one
    /// of their own.
    pub async fn add_guest(
        &self,
        template: Template,
        into: Option<NamespaceId>,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let turn = self.turn().await;
        let mut user = new_user("");
        user.name = format!("guest {}", user.id);
        let steps = match into {
            Some(_) => Vec::new(),
            None => self.personal(&mut user).await?,
        };
        let namespace = into.or(user.personal).ok_or(EngineError::NotFound)?;
        user.guest = Some(Guest { namespace, template });
        self.save_user(turn, "guest.create", user, steps, source).await
    }

    /// Makes sure that a user has a namespace of their own.
    pub async fn with_namespace(&self, user: UserId) -> Result<Arc<User>> {
        let known = self.user_by_id(user)?;
        if known.personal.is_some() {
            return Ok(known);
        }
        let turn = self.turn().await;
        let mut user = User::clone(&*self.user_by_id(user)?);
        if user.personal.is_some() {
            return Ok(Arc::new(user));
        }
        let steps = self.personal(&mut user).await?;
        self.save_user(turn, "user.complete", user, steps, None).await
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
        let turn = self.turn().await;
        let mut user = User::clone(&*self.user_by_id(id)?);
        edit(&mut user);
        if self.user(&user.name)?.is_some_and(|other| other.id != id) {
            return Err(EngineError::Conflict(conflict::LOGIN_TAKEN));
        }
        check_share_code(&*self.read()?, id.as_bytes(), &user.properties)?;
        self.save_user(turn, "user.edit", user, Vec::new(), source).await
    }

    /// Removes a user with their memberships. Their own namespace stays as long as something is stored in it.
    pub async fn delete_user(&self, id: UserId, source: Option<&Source>) -> Result<()> {
        let turn = self.turn().await;
        self.user_by_id(id)?;
        let mut steps = vec![Step::NoUser(id)];
        for membership in self.memberships_of(id)? {
            steps.push(Step::NoMembership(id, membership.namespace));
        }
        let event = event("user.delete", (ObjectKind::User, id.as_bytes()), source, None);
        self.commit(turn, steps, vec![event]).await
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
        let turn = self.turn().await;
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
        self.save_role(turn, "role.create", role, source).await
    }

    async fn save_role(
        &self,
        turn: Turn,
        action: &'static str,
        role: Role,
        source: Option<&Source>,
    ) -> Result<Arc<Role>> {
        let role = Arc::new(role);
        let object = (ObjectKind::Role, role.id.as_bytes());
        let event = event(action, object, source, Some(role.account));
        self.commit(turn, vec![Step::Role(Arc::clone(&role))], vec![event])
            .await?;
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
        let turn = self.turn().await;
        let mut role = Role::clone(&*self.role(id)?);
        edit(&mut role);
        let mut others = self.roles(role.account)?.into_iter().filter(|other| other.id != id);
        if others.any(|other| other.name == role.name) {
            return Err(EngineError::Conflict(conflict::NAME_TAKEN));
        }
        self.save_role(turn, "role.edit", role, source).await
    }

    /// Removes a role that nobody has.
    ///
    /// # Errors
    /// [`conflict::IN_USE`]; built-in roles always are.
    pub async fn delete_role(&self, id: RoleId, source: Option<&Source>) -> Result<()> {
        let turn = self.turn().await;
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
        self.commit(turn, vec![Step::NoRole(id)], vec![event]).await
    }
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
        guest: None,
    }
}
