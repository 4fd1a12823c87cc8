//! Changing the catalogue: one change at a time is checked against what is there, committed with its audit leaves, and
//! then shown. Memory follows the commit even if whoever asked went away.

use std::sync::Arc;

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{AccountId, NamespaceId, RoleId, UserId};
use septum_storage::RowKind;

use super::Accounts;
use super::model::{Account, Membership, Namespace, Properties, Role, User};
use super::rows::{Record, seal, text};
use super::state::State;
use crate::detached::detached;
use crate::error::{EngineError, Result};
use crate::ledger::Event;
use crate::pipeline::messages::Source;

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

/// One step of a change.
pub(super) enum Step {
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

pub(super) fn event(
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

/// Refuses a share code that somebody else has.
pub(super) fn check_share_code(state: &State, own: &[u8; 16], properties: &Properties) -> Result<()> {
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

/// The right to change the catalogue, from the decision until memory says what was committed.
pub(super) type Turn = tokio::sync::OwnedMutexGuard<()>;

impl Accounts {
    /// Waits for the changes before this one.
    pub(super) async fn turn(&self) -> Turn {
        Arc::clone(&self.changing).lock_owned().await
    }

    pub(super) async fn commit(&self, turn: Turn, steps: Vec<Step>, events: Vec<Event>) -> Result<()> {
        let rows = steps
            .iter()
            .map(|step| step.row(&self.keyring))
            .collect::<Result<Vec<_>>>()?;
        let (ledger, state) = (Arc::clone(&self.ledger), Arc::clone(&self.state));
        detached(async move {
            let _turn = turn;
            ledger
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
            let mut state = state.write().map_err(|_| EngineError::Panicked)?;
            steps.into_iter().for_each(|step| step.show(&mut state));
            state.generation += 1;
            Ok(())
        })
        .await
    }
}
