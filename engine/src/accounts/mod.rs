//! Accounts, namespaces, users, roles and memberships: the rows of the catalogue that everything else hangs on.
//!
//! The catalogue is one small ledger in the PHI root. Everything a row says is sealed under the record key. A change and
//! its audit leaf commit together (invariant 8). All of it is in memory too, read at every request, written through.
//!
//! | part | owns |
//! |---|---|
//! | [`model`] | what there is |
//! | [`changes`], [`tenants`], [`people`], [`memberships`] | changing it, one at a time |
//! | [`sessions`] | who is signed in |
//! | [`documents`] | small records of any other kind |
//!
//! Invariant: a principal is made of the catalogue as it is when the request comes in. Every change gives the catalogue a
//! new number, and a principal made at another number is not used.

mod changes;
pub mod documents;
mod memberships;
pub mod model;
mod people;
mod rows;
pub mod sessions;
mod state;
mod tenants;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use septum_core::access::{BuiltIn, Principal};
use septum_core::ids::{AccountId, NamespaceId, RoleId, UnitId, UserId};

use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::ledger::Ledger;

pub use changes::conflict;
pub use memberships::NewMembership;
pub use model::{Account, Guest, Membership, Namespace, NamespaceKind, Properties, Role, User};
pub use people::NewUser;
pub use tenants::NewUnit;

use documents::Documents;
use sessions::Sessions;
use state::State;

/// The catalogue in memory: small, read at every request, written through.
pub struct Accounts {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    state: Arc<RwLock<State>>,
    /// Held while a change is checked, committed and shown.
    changing: Arc<tokio::sync::Mutex<()>>,
    principals: RwLock<HashMap<UserId, (u64, Arc<Principal>)>>,
    /// Who is signed in.
    pub sessions: Sessions,
    /// Small records of any other kind.
    pub documents: Documents,
}

impl Accounts {
    /// Reads the catalogue; makes the first account, namespace and nothing else when it is empty.
    pub async fn open(ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let (shard, keys) = (ledger.shard(), &*keyring);
        let mut state = State::default();
        for account in rows::load::<Account>(shard, keys)? {
            state.accounts.insert(account.id, Arc::new(account));
        }
        for namespace in rows::load::<Namespace>(shard, keys)? {
            state.namespaces.insert(namespace.id, Arc::new(namespace));
        }
        for user in rows::load::<User>(shard, keys)? {
            state.put_user(Arc::new(user));
        }
        for role in rows::load::<Role>(shard, keys)? {
            state.roles.insert(role.id, Arc::new(role));
        }
        for membership in rows::load::<Membership>(shard, keys)? {
            let key = (membership.user, membership.namespace);
            state.memberships.insert(key, Arc::new(membership));
        }
        let first = state.namespaces.is_empty();
        let accounts = Self {
            sessions: Sessions::open(Arc::clone(&ledger), Arc::clone(&keyring))?,
            documents: Documents::new(Arc::clone(&ledger), Arc::clone(&keyring)),
            ledger,
            keyring,
            state: Arc::new(RwLock::new(state)),
            changing: Arc::default(),
            principals: RwLock::default(),
        };
        if first {
            let account = match accounts.accounts()?.into_iter().next() {
                Some(account) => account,
                None => accounts.create_account("Default", None).await?,
            };
            accounts.create_namespace(account.id, "Default", "", None).await?;
        }
        accounts.complete().await?;
        Ok(Arc::new(accounts))
    }

    fn read(&self) -> Result<std::sync::RwLockReadGuard<'_, State>> {
        self.state.read().map_err(|_| EngineError::Panicked)
    }

    /// The user of that sign-in name, whatever its case.
    pub fn user(&self, name: &str) -> Result<Option<Arc<User>>> {
        let state = self.read()?;
        let id = state
            .logins
            .get(name)
            .or_else(|| state.logins.get(&name.to_lowercase()));
        Ok(id.and_then(|id| state.users.get(id)).cloned())
    }

    /// The user of that id.
    pub fn user_by_id(&self, id: UserId) -> Result<Arc<User>> {
        self.read()?.users.get(&id).cloned().ok_or(EngineError::NotFound)
    }

    /// Whether nobody can sign in yet.
    pub fn has_no_user(&self) -> Result<bool> {
        Ok(self.read()?.users.is_empty())
    }

    /// A user with the rights of all roles, as they are now.
    pub fn principal(&self, user: UserId) -> Result<Arc<Principal>> {
        let state = self.read()?;
        let known = self.principals.read().map_err(|_| EngineError::Panicked)?;
        if let Some((generation, principal)) = known.get(&user)
            && *generation == state.generation
        {
            return Ok(Arc::clone(principal));
        }
        drop(known);
        let found = state.users.get(&user).ok_or(EngineError::NotFound)?;
        let principal = Arc::new(state.principal(found));
        let mut known = self.principals.write().map_err(|_| EngineError::Panicked)?;
        known.retain(|_, (generation, _)| *generation == state.generation);
        known.insert(user, (state.generation, Arc::clone(&principal)));
        Ok(principal)
    }

    /// The namespace of that id.
    pub fn namespace(&self, id: NamespaceId) -> Result<Arc<Namespace>> {
        self.read()?.namespaces.get(&id).cloned().ok_or(EngineError::NotFound)
    }

    /// All namespaces, by id, so that the order never changes.
    pub fn namespaces(&self) -> Result<Vec<Arc<Namespace>>> {
        let mut namespaces: Vec<_> = self.read()?.namespaces.values().cloned().collect();
        namespaces.sort_by_key(|namespace| namespace.id);
        Ok(namespaces)
    }

    /// Whether a namespace is the own one of a guest, who came by a link.
    pub fn is_of_guest(&self, namespace: &Namespace) -> bool {
        match namespace.kind {
            NamespaceKind::Personal(user) => self.user_by_id(user).is_ok_and(|user| user.guest.is_some()),
            _ => false,
        }
    }

    /// The namespace of a group or location.
    pub fn unit(&self, unit: UnitId) -> Result<Arc<Namespace>> {
        let state = self.read()?;
        let found = state
            .namespaces
            .values()
            .find(|namespace| namespace.unit() == Some(unit));
        found.cloned().ok_or(EngineError::NotFound)
    }

    /// The account of that id.
    pub fn account(&self, id: AccountId) -> Result<Arc<Account>> {
        self.read()?.accounts.get(&id).cloned().ok_or(EngineError::NotFound)
    }

    /// An account's own namespace.
    pub fn namespace_of(&self, account: AccountId) -> Result<Arc<Namespace>> {
        let state = self.read()?;
        let mut all = state.namespaces.values();
        all.find(|namespace| namespace.account == account && namespace.kind == NamespaceKind::Account)
            .cloned()
            .ok_or(EngineError::NotFound)
    }

    /// All accounts of tenants, by id.
    pub fn accounts(&self) -> Result<Vec<Arc<Account>>> {
        let state = self.read()?;
        let tenants = state.accounts.values().filter(|account| !account.personal);
        let mut accounts: Vec<_> = tenants.cloned().collect();
        accounts.sort_by_key(|account| account.id);
        Ok(accounts)
    }

    /// The role of that id.
    pub fn role(&self, id: RoleId) -> Result<Arc<Role>> {
        self.read()?.roles.get(&id).cloned().ok_or(EngineError::NotFound)
    }

    /// An account's roles, by name.
    pub fn roles(&self, account: AccountId) -> Result<Vec<Arc<Role>>> {
        let state = self.read()?;
        let mut roles: Vec<_> = state
            .roles
            .values()
            .filter(|role| role.account == account)
            .cloned()
            .collect();
        roles.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        Ok(roles)
    }

    /// An account's built-in role.
    pub fn built_in(&self, account: AccountId, wanted: BuiltIn) -> Result<Arc<Role>> {
        self.read()?
            .built_in(account, wanted)
            .cloned()
            .ok_or(EngineError::NotFound)
    }

    /// What a user is in a namespace.
    pub fn membership(&self, user: UserId, namespace: NamespaceId) -> Result<Arc<Membership>> {
        let state = self.read()?;
        let found = state.memberships.get(&(user, namespace));
        found.cloned().ok_or(EngineError::NotFound)
    }

    /// The role that a membership gives in its own namespace.
    pub fn role_of(&self, membership: &Membership) -> Result<Option<Arc<Role>>> {
        Ok(self.read()?.role_of(membership).cloned())
    }

    /// The memberships of a namespace, by user.
    pub fn members(&self, namespace: NamespaceId) -> Result<Vec<Arc<Membership>>> {
        self.memberships(|membership| membership.namespace == namespace)
    }

    /// The memberships of a user, by namespace.
    pub fn memberships_of(&self, user: UserId) -> Result<Vec<Arc<Membership>>> {
        self.memberships(|membership| membership.user == user)
    }

    fn memberships(&self, wanted: impl Fn(&Membership) -> bool) -> Result<Vec<Arc<Membership>>> {
        let state = self.read()?;
        let mut found: Vec<_> = state
            .memberships
            .values()
            .filter(|membership| wanted(membership))
            .cloned()
            .collect();
        found.sort_by_key(|membership| (membership.namespace, membership.user));
        Ok(found)
    }
}
