//! The catalogue in memory.

use std::collections::HashMap;
use std::sync::Arc;

use septum_core::access::{BuiltIn, Principal, Rights};
use septum_core::ids::{AccountId, NamespaceId, RoleId, UserId};

use super::model::{Account, Membership, Namespace, NamespaceKind, Role, User};

/// What is known, and its number: it grows with every change.
#[derive(Default)]
pub(super) struct State {
    pub(super) generation: u64,
    pub(super) accounts: HashMap<AccountId, Arc<Account>>,
    pub(super) namespaces: HashMap<NamespaceId, Arc<Namespace>>,
    pub(super) users: HashMap<UserId, Arc<User>>,
    pub(super) logins: HashMap<String, UserId>,
    pub(super) roles: HashMap<RoleId, Arc<Role>>,
    pub(super) memberships: HashMap<(UserId, NamespaceId), Arc<Membership>>,
}

impl State {
    pub(super) fn put_user(&mut self, user: Arc<User>) {
        if let Some(before) = self.users.get(&user.id) {
            self.logins.remove(&before.name);
        }
        self.logins.insert(user.name.clone(), user.id);
        self.users.insert(user.id, user);
    }

    /// The built-in role of an account, as it is now.
    pub(super) fn built_in(&self, account: AccountId, wanted: BuiltIn) -> Option<&Arc<Role>> {
        let mut roles = self.roles.values();
        roles.find(|role| role.account == account && role.built_in == Some(wanted))
    }

    /// The role that a membership gives in its own namespace.
    pub(super) fn role_of(&self, membership: &Membership) -> Option<&Arc<Role>> {
        let namespace = self.namespaces.get(&membership.namespace)?;
        let named = membership.role.or(namespace.default_role);
        let named = named.and_then(|role| self.roles.get(&role));
        named.or_else(|| self.built_in(namespace.account, BuiltIn::User))
    }

    /// The user's rights as they are now.
    pub(super) fn principal(&self, user: &User) -> Principal {
        let mut principal = Principal::new(user.id, user.name.clone());
        principal.administrator = user.administrator;
        principal.suspended = user.disabled;
        if let Some(guest) = &user.guest {
            principal.add(guest.namespace, &guest.template.rights());
            return principal;
        }
        let mine = self
            .memberships
            .values()
            .filter(|membership| membership.user == user.id);
        for membership in mine.filter(|membership| !membership.disabled) {
            let Some(namespace) = self.namespaces.get(&membership.namespace) else {
                continue;
            };
            let rights = self.role_of(membership).map(|role| role.template.rights());
            principal.add(namespace.id, &rights.clone().unwrap_or_default());
            if membership.global && namespace.kind == NamespaceKind::Account {
                let role = membership.global_role.and_then(|role| self.roles.get(&role));
                let rights = role.map(|role| role.template.rights()).or(rights).unwrap_or_default();
                self.add_units(&mut principal, namespace.account, &rights);
            }
        }
        if let Some(own) = user.personal {
            principal.add(own, &BuiltIn::Phr.template().rights());
        }
        principal
    }

    fn add_units(&self, principal: &mut Principal, account: AccountId, rights: &Rights) {
        let of_account = self
            .namespaces
            .values()
            .filter(|namespace| namespace.account == account);
        for namespace in of_account {
            match namespace.kind {
                NamespaceKind::Group(_) | NamespaceKind::Location(_) | NamespaceKind::Plain => {
                    principal.add(namespace.id, rights);
                }
                NamespaceKind::Account | NamespaceKind::Personal(_) => {}
            }
        }
    }
}
