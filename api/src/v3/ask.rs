//! One call on its way through a handler: who asks, for what, with which parameters.

use std::net::IpAddr;
use std::sync::Arc;

use septum_core::access::{Granted, Object, Permission, Principal, Traits, authorize, authorize_one};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome as AuditOutcome};
use septum_core::ids::{AccountId, DocumentId, NamespaceId, RoleId, UserId};
use septum_engine::accounts::documents::Document;
use septum_engine::accounts::{Account, Accounts, Namespace, Role, User};
use septum_engine::ledger::Event;
use septum_engine::pipeline::messages::Source;
use septum_engine::services::Services;

use super::entry::Entry;
use super::fault::{Fault, Outcome};
use super::lists::{Fields, Wanted};
use super::parameters::Parameters;
use super::study_id::StudyName;
use crate::app::App;
use crate::auth::SignedIn;

/// What a call is about, once found.
#[derive(Clone, Default)]
pub enum Target {
    /// Nothing in particular.
    #[default]
    None,
    /// An account with its own namespace.
    Account(Arc<Account>, Arc<Namespace>),
    /// A group's or location's namespace, and its account's.
    Unit(Arc<Namespace>, Arc<Namespace>),
    /// A role, and its account's namespace.
    Role(Arc<Role>, Arc<Namespace>),
    /// A document, and the namespace its rights come from.
    Document(Box<Document>, Arc<Namespace>),
    /// A study that may or may not be there yet, and the namespace its patient data is seen in.
    Study(StudyName, Arc<Namespace>),
}

/// One call.
pub struct Ask {
    /// Shared state.
    pub app: Arc<App>,
    /// What is called.
    pub entry: &'static Entry,
    /// With what.
    pub parameters: Parameters,
    /// Who asks.
    pub signed_in: Option<SignedIn>,
    /// About what.
    pub target: Target,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// `https://host:port` as the client used it.
    pub base_url: String,
}

impl Ask {
    /// What the engine's parts share.
    pub fn services(&self) -> &Arc<Services> {
        &self.app.archive.services
    }

    /// The catalogue.
    pub fn accounts(&self) -> &Arc<Accounts> {
        &self.app.archive.services.accounts
    }

    /// A parameter that must be given.
    pub fn required(&self, name: &str) -> &str {
        self.parameters.required(name)
    }

    /// Who asks.
    ///
    /// # Errors
    /// 401 where nobody does.
    pub fn principal(&self) -> Outcome<&Arc<Principal>> {
        let signed_in = self.signed_in.as_ref().ok_or(Fault::Unauthenticated)?;
        Ok(&signed_in.principal)
    }

    /// The user who asks.
    ///
    /// # Errors
    /// 401 where nobody does.
    pub fn user(&self) -> Outcome<Arc<User>> {
        Ok(self.accounts().user_by_id(self.principal()?.user)?)
    }

    /// Who asks, for change records.
    ///
    /// # Errors
    /// 401 where nobody does.
    pub fn source(&self) -> Outcome<Source> {
        Ok(Source {
            user: self.principal()?.user,
            address: self.address,
        })
    }

    /// Asks for a permission in a namespace. Whoever does not reach it does not learn that it exists.
    ///
    /// # Errors
    /// `NOT_FOUND`, `NOT_PERMITTED`.
    pub fn authorize(&self, permission: Permission, namespace: NamespaceId) -> Outcome<Granted> {
        let principal = self.principal()?;
        authorize(Some(principal), permission, Object::Namespace(namespace))
            .map_err(|denied| self.refused(namespace, denied.into()))
    }

    /// Asks for a permission upon one thing in a namespace, which `…_only_own` and the like narrow.
    ///
    /// # Errors
    /// As [`Self::authorize`].
    pub fn authorize_one(&self, permission: Permission, namespace: NamespaceId, traits: Traits) -> Outcome<Granted> {
        let principal = self.principal()?;
        authorize_one(Some(principal), permission, namespace, traits)
            .map_err(|denied| self.refused(namespace, denied.into()))
    }

    /// "Not yours" looks like "not there".
    pub fn refused(&self, namespace: NamespaceId, fault: Fault) -> Fault {
        let reaches = self
            .signed_in
            .as_ref()
            .is_some_and(|signed_in| signed_in.principal.reaches(namespace));
        if reaches { fault } else { Fault::not_found() }
    }

    /// Whether the caller runs the installation.
    pub fn is_sysadmin(&self) -> bool {
        self.signed_in.as_ref().is_some_and(|signed_in| {
            authorize(Some(&signed_in.principal), Permission::Administer, Object::System).is_ok()
        })
    }

    /// The account the call is about, and its own namespace.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is about none.
    pub fn account(&self) -> Outcome<(&Arc<Account>, &Arc<Namespace>)> {
        match &self.target {
            Target::Account(account, namespace) => Ok((account, namespace)),
            _ => Err(Fault::not_found()),
        }
    }

    /// The group's or location's namespace the call is about.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is about none.
    pub fn unit(&self) -> Outcome<&Arc<Namespace>> {
        match &self.target {
            Target::Unit(unit, _) => Ok(unit),
            _ => Err(Fault::not_found()),
        }
    }

    /// The role the call is about.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is about none.
    pub fn role(&self) -> Outcome<&Arc<Role>> {
        match &self.target {
            Target::Role(role, _) => Ok(role),
            _ => Err(Fault::not_found()),
        }
    }

    /// The document the call is about, and the namespace its rights come from.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is about none.
    pub fn document(&self) -> Outcome<(&Document, &Arc<Namespace>)> {
        match &self.target {
            Target::Document(document, namespace) => Ok((document, namespace)),
            _ => Err(Fault::not_found()),
        }
    }

    /// The study the call is about, and the namespace its patient data is seen in.
    ///
    /// # Errors
    /// `NOT_FOUND` where it is about none.
    pub fn study(&self) -> Outcome<(&StudyName, &Arc<Namespace>)> {
        match &self.target {
            Target::Study(study, namespace) => Ok((study, namespace)),
            _ => Err(Fault::not_found()),
        }
    }

    /// A role of an account that a parameter names.
    ///
    /// # Errors
    /// `ROLE_NAMESPACE_MISMATCH` about `INCOMPATIBLE_ROLE` where it is none of the account's.
    pub fn role_of(&self, name: &str, account: AccountId) -> Outcome<Option<RoleId>> {
        let Some(text) = self.parameters.text(name) else {
            return Ok(None);
        };
        let role = uuid(text)
            .map(RoleId::from_bytes)
            .and_then(|id| self.accounts().role(id).ok());
        match role {
            Some(role) if role.account == account => Ok(Some(role.id)),
            _ => Err(Fault::about("ROLE_NAMESPACE_MISMATCH", "INCOMPATIBLE_ROLE")),
        }
    }

    /// A user that a parameter names.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`.
    pub fn user_named(&self, name: &str) -> Outcome<Arc<User>> {
        let id = uuid(self.required(name)).map(UserId::from_bytes);
        id.and_then(|id| self.accounts().user_by_id(id).ok())
            .ok_or_else(|| Fault::new("USER_NOT_FOUND"))
    }

    /// What a list is asked for.
    ///
    /// # Errors
    /// See [`Wanted::read`]; `FILTER_NOT_FOUND` where a saved filter is not the caller's.
    pub fn wanted(&self, fields: Fields) -> Outcome<Wanted> {
        let zone = match &self.signed_in {
            Some(_) => super::values::text(&self.user()?.properties, "time_zone").to_owned(),
            None => String::new(),
        };
        let saved = self.saved_filter()?;
        Wanted::read(&self.parameters, &saved, fields, Some(&zone))
    }

    fn saved_filter(&self) -> Outcome<Vec<(String, String)>> {
        use septum_engine::accounts::documents::Kind;
        let Some(text) = self.parameters.text("filter_id") else {
            return Ok(Vec::new());
        };
        let id = uuid(text).map(DocumentId::from_bytes);
        let found = id.and_then(|id| self.accounts().documents.get(Kind::Filter, id).ok());
        let own = found.filter(|found| {
            self.principal()
                .is_ok_and(|principal| principal.user == found.created_by)
        });
        let document = own.ok_or_else(|| Fault::new("FILTER_NOT_FOUND"))?;
        let pairs = document.body.get("configuration").and_then(|value| value.as_object());
        let pairs = pairs.into_iter().flatten().map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.strip_prefix("filter.").unwrap_or(name).to_owned(), text)
        });
        Ok(pairs.collect())
    }

    /// Audits that something is read, before it is.
    ///
    /// # Errors
    /// 503 where the audit log takes nothing: then nothing is read (invariant 8).
    pub async fn audit(&self, object: ObjectRef, account: Option<AccountId>) -> Outcome<()> {
        let actor = match &self.signed_in {
            Some(signed_in) => Actor::User(signed_in.principal.user),
            None => Actor::Anonymous,
        };
        let event = Event {
            actor,
            action: Action::parse(&self.entry.action).unwrap_or(Action::new("api.call")),
            object,
            outcome: AuditOutcome::Success,
            source: self.address,
            account,
        };
        Ok(self.app.archive.audit.note(event).await?)
    }

    /// Audits that a namespace's contents are read.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub async fn audit_namespace(&self, namespace: &Namespace) -> Outcome<()> {
        let object = ObjectRef::One(ObjectKind::Namespace, *namespace.id.as_bytes());
        self.audit(object, Some(namespace.account)).await
    }
}

/// An id in an answer or parameter: 32 hexadecimal digits, hyphens allowed.
pub fn uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    DocumentId::parse(&digits).map(|id| *id.as_bytes())
}
