//! Changing who belongs where.

use std::sync::Arc;

use septum_core::audit::ObjectKind;
use septum_core::ids::{NamespaceId, RoleId, UserId};

use super::Accounts;
use super::changes::{Step, Turn, conflict, event};
use super::model::{Membership, NamespaceKind, Properties};
use crate::error::{EngineError, Result};
use crate::pipeline::messages::Source;
use crate::services::now_ms;

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

impl Accounts {
    /// Makes a user a member.
    ///
    /// # Errors
    /// [`conflict::MEMBER`].
    pub async fn add_membership(&self, new: NewMembership, source: Option<&Source>) -> Result<Arc<Membership>> {
        let turn = self.turn().await;
        self.user_by_id(new.user)?;
        if self.membership(new.user, new.namespace).is_ok() {
            return Err(EngineError::Conflict(conflict::MEMBER));
        }
        self.save_membership(turn, "membership.create", new_membership(new), source)
            .await
    }

    async fn save_membership(
        &self,
        turn: Turn,
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
        self.commit(turn, vec![Step::Membership(Arc::clone(&membership))], events)
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
        let turn = self.turn().await;
        let mut membership = Membership::clone(&*self.membership(user, namespace)?);
        edit(&mut membership);
        self.save_membership(turn, "membership.edit", membership, source).await
    }

    /// Ends a membership; of an account, those in its groups and locations too.
    pub async fn delete_membership(&self, user: UserId, namespace: NamespaceId, source: Option<&Source>) -> Result<()> {
        let turn = self.turn().await;
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
        self.commit(turn, steps, vec![event]).await
    }
}

pub(super) fn new_membership(new: NewMembership) -> Membership {
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
