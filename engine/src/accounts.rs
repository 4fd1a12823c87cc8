//! Accounts, namespaces and users: the rows of the catalogue that everything else hangs on.
//!
//! The catalogue is one small ledger in the PHI root. Names of namespaces and users are sealed under the record key. A
//! change and its audit leaf commit together (invariant 8). One change follows another: each is decided upon what the one
//! before it left, and memory follows the commit even if whoever asked went away.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{AccountId, NamespaceId, ObjectId, UserId};
use septum_core::seal::{ObjectContext, Part, open_record, seal_record};
use septum_storage::RowKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::detached::detached;
use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger};
use crate::pipeline::messages::Source;
use crate::records::{decode, encode};

/// A tenant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
}

/// A space in which a study UID is unique; owned by one account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Namespace {
    /// Its id, as in URLs.
    pub id: NamespaceId,
    /// The account that owns it.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Issuer of Patient ID assumed where a dataset names none.
    pub default_issuer: String,
}

/// A person or script that signs in.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name it signs in with.
    pub name: String,
    /// Argon2id in PHC string form.
    pub password_hash: String,
    /// May do everything.
    pub administrator: bool,
}

/// The catalogue in memory: small, read at every request, written through.
pub struct Accounts {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    state: Arc<RwLock<State>>,
    /// Held from a change's decision until memory says what it committed.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What a change writes, and what it means for memory.
struct Change<T> {
    kind: RowKind,
    id: [u8; 16],
    record: Vec<u8>,
    event: Event,
    /// The record itself: what comes back.
    made: Arc<T>,
}

#[derive(Default)]
struct State {
    accounts: HashMap<AccountId, Arc<Account>>,
    namespaces: HashMap<NamespaceId, Arc<Namespace>>,
    users: HashMap<String, Arc<User>>,
}

fn record_context(id: &[u8; 16]) -> ObjectContext {
    ObjectContext::without_pixels(Part::Record, *id, ObjectId::from_bytes(*id))
}

fn event(
    action: &'static str,
    kind: ObjectKind,
    id: &[u8; 16],
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

impl<T: Serialize> Change<T> {
    fn of(kind: RowKind, id: [u8; 16], event: Event, made: T) -> Self {
        Self {
            kind,
            id,
            record: encode(&made),
            event,
            made: Arc::new(made),
        }
    }
}

impl Accounts {
    /// Reads the catalogue; makes the first account, namespace and nothing else when it is empty.
    pub async fn open(ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Result<Arc<Self>> {
        let accounts = Self {
            ledger,
            keyring,
            state: Arc::default(),
            turn: Arc::default(),
        };
        let mut state = State::default();
        for account in accounts.load::<Account>(RowKind::Account)? {
            state.accounts.insert(account.id, Arc::new(account));
        }
        for namespace in accounts.load::<Namespace>(RowKind::Namespace)? {
            state.namespaces.insert(namespace.id, Arc::new(namespace));
        }
        for user in accounts.load::<User>(RowKind::User)? {
            state.users.insert(user.name.clone(), Arc::new(user));
        }
        let first = state.namespaces.is_empty();
        *accounts.write()? = state;
        if first {
            let account = match accounts.accounts()?.into_iter().next() {
                Some(account) => account,
                None => accounts.create_account("Default", None).await?,
            };
            accounts.create_namespace(account.id, "Default", "", None).await?;
        }
        Ok(Arc::new(accounts))
    }

    fn read(&self) -> Result<std::sync::RwLockReadGuard<'_, State>> {
        self.state.read().map_err(|_| EngineError::Panicked)
    }

    fn write(&self) -> Result<std::sync::RwLockWriteGuard<'_, State>> {
        self.state.write().map_err(|_| EngineError::Panicked)
    }

    fn load<T: DeserializeOwned>(&self, kind: RowKind) -> Result<Vec<T>> {
        let prefix = kind.key(&[]);
        crate::scan::rows(self.ledger.shard(), prefix.clone())
            .map(|row| {
                let (key, sealed) = row?;
                let id: [u8; 16] = key[prefix.len()..]
                    .try_into()
                    .map_err(|_| EngineError::Corrupt("catalogue key"))?;
                let record = open_record(self.keyring.record_key(), &record_context(&id), &sealed)?;
                decode(&record, "catalogue record")
            })
            .collect()
    }

    /// Commits what `decide` makes of the state, and then tells memory by `keep`.
    async fn change<T: Send + Sync + 'static>(
        &self,
        decide: impl FnOnce(&State) -> Result<Change<T>> + Send + 'static,
        keep: impl FnOnce(&mut State, Arc<T>) + Send + 'static,
    ) -> Result<Arc<T>> {
        let (ledger, keyring, state) = (
            Arc::clone(&self.ledger),
            Arc::clone(&self.keyring),
            Arc::clone(&self.state),
        );
        let turn = Arc::clone(&self.turn);
        detached(async move {
            let _turn = turn.lock().await;
            let change = decide(&*state.read().map_err(|_| EngineError::Panicked)?)?;
            let context = record_context(&change.id);
            let sealed = seal_record(keyring.suite(), keyring.record_key(), &context, &change.record)?;
            ledger
                .commit(|staging| {
                    staging.put(change.kind.key(&[&change.id]), sealed);
                    staging.audit(change.event);
                    Ok(())
                })
                .await?;
            keep(
                &mut *state.write().map_err(|_| EngineError::Panicked)?,
                Arc::clone(&change.made),
            );
            Ok(change.made)
        })
        .await
    }

    /// Makes an account with its keys. `source` is who asked, none for the system itself: here and below.
    pub async fn create_account(&self, name: &str, source: Option<&Source>) -> Result<Arc<Account>> {
        let account = Account {
            id: AccountId::random(),
            name: name.to_owned(),
        };
        self.keyring.create_account(account.id).await?;
        let id = *account.id.as_bytes();
        let event = event("account.create", ObjectKind::Account, &id, source, Some(account.id));
        let decide = move |_: &State| Ok(Change::of(RowKind::Account, id, event, account));
        let keep = |state: &mut State, account: Arc<Account>| drop(state.accounts.insert(account.id, account));
        self.change(decide, keep).await
    }

    /// Makes a namespace in an account.
    pub async fn create_namespace(
        &self,
        account: AccountId,
        name: &str,
        default_issuer: &str,
        source: Option<&Source>,
    ) -> Result<Arc<Namespace>> {
        let namespace = Namespace {
            id: NamespaceId::random(),
            account,
            name: name.to_owned(),
            default_issuer: default_issuer.to_owned(),
        };
        let id = *namespace.id.as_bytes();
        let event = event("namespace.create", ObjectKind::Namespace, &id, source, Some(account));
        let decide = move |state: &State| {
            if !state.accounts.contains_key(&account) {
                return Err(EngineError::NotFound);
            }
            Ok(Change::of(RowKind::Namespace, id, event, namespace))
        };
        let keep = |state: &mut State, namespace: Arc<Namespace>| {
            state.namespaces.insert(namespace.id, namespace);
        };
        self.change(decide, keep).await
    }

    /// Makes a user, or replaces the one of that name.
    pub async fn put_user(
        &self,
        name: &str,
        password_hash: String,
        administrator: bool,
        source: Option<&Source>,
    ) -> Result<Arc<User>> {
        let (name, source) = (name.to_owned(), source.cloned());
        let decide = move |state: &State| {
            let id = state.users.get(&name).map_or_else(UserId::random, |user| user.id);
            let event = event("user.save", ObjectKind::User, id.as_bytes(), source.as_ref(), None);
            let user = User {
                id,
                name,
                password_hash,
                administrator,
            };
            Ok(Change::of(RowKind::User, *id.as_bytes(), event, user))
        };
        let keep = |state: &mut State, user: Arc<User>| drop(state.users.insert(user.name.clone(), user));
        self.change(decide, keep).await
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Result<Option<Arc<User>>> {
        Ok(self.read()?.users.get(name).cloned())
    }

    /// Whether nobody can sign in yet.
    pub fn has_no_user(&self) -> Result<bool> {
        Ok(self.read()?.users.is_empty())
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

    /// All accounts, by id.
    pub fn accounts(&self) -> Result<Vec<Arc<Account>>> {
        let mut accounts: Vec<_> = self.read()?.accounts.values().cloned().collect();
        accounts.sort_by_key(|account| account.id);
        Ok(accounts)
    }
}
