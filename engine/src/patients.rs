//! Patient keys and their aliases (invariant 10).
//!
//! A patient key is (issuer, else the namespace's default issuer, Patient ID). Two keys that are one person's are merged
//! by an alias from one to the other, as HL7 A40 does; taking the alias away undoes it. Keys are tokens everywhere but
//! inside the sealed alias record. Aliases are few and live in memory, written through the catalogue's ledger with their
//! audit leaf. One change follows another: each is decided upon what the one before it left, and memory follows the commit
//! even if whoever asked went away.
//!
//! Row: `patient alias` namespace ‖ token of the merged key → sealed [`Alias`].

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{NamespaceId, ObjectId};
use septum_core::seal::{AccountKeys, ObjectContext, Part, Token, TokenDomain, open_record, seal_record, token_of};
use septum_storage::RowKind;
use serde::{Deserialize, Serialize};

use crate::accounts::Namespace;
use crate::detached::detached;
use crate::error::{EngineError, Result};
use crate::keyring::Keyring;
use crate::ledger::{Event, Ledger};
use crate::pipeline::messages::Source;
use crate::records::{decode, encode};
use crate::services::now_ms;

const MERGE: Action = Action::new("patient.merge");
const UNMERGE: Action = Action::new("patient.unmerge");

/// Longest chain of aliases that is followed; merging never makes a longer one.
const CHAIN_MAX: usize = 32;

/// Who a patient is, as a dataset or a person says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatientKey {
    /// Issuer of Patient ID; empty for the namespace's default.
    pub issuer: String,
    /// Patient ID.
    pub id: String,
}

/// An alias as sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Alias {
    /// The merged key.
    pub from: PatientKey,
    /// The key it is an alias of.
    pub into: PatientKey,
    /// Token of `into`.
    pub into_token: Token,
    /// When, milliseconds since 1970.
    pub time_ms: i64,
}

/// The token of a patient key.
pub fn patient_token(account: &AccountKeys, namespace: &Namespace, issuer: &[u8], id: &[u8]) -> Token {
    let issuer = if issuer.is_empty() {
        namespace.default_issuer.as_bytes()
    } else {
        issuer
    };
    token_of(account.index_key(), TokenDomain::Patient, namespace.id, &[issuer, id])
}

/// By namespace and token of the merged key.
#[derive(Default)]
struct Aliases(HashMap<(NamespaceId, Token), Alias>);

/// All aliases.
pub struct Patients {
    ledger: Arc<Ledger>,
    keyring: Arc<Keyring>,
    aliases: Arc<RwLock<Aliases>>,
    /// Held from a change's decision until memory says what it committed.
    turn: Arc<tokio::sync::Mutex<()>>,
}

fn alias_key(namespace: NamespaceId, from: &Token) -> Vec<u8> {
    RowKind::PatientAlias.key(&[namespace.as_bytes(), from.as_bytes()])
}

fn alias_context(namespace: NamespaceId, from: &Token) -> ObjectContext {
    ObjectContext::without_pixels(
        Part::Record,
        *namespace.as_bytes(),
        ObjectId::from_bytes(*from.as_bytes()),
    )
}

impl Patients {
    /// Reads the aliases.
    pub fn open(ledger: Arc<Ledger>, keyring: Arc<Keyring>) -> Result<Self> {
        let mut aliases = Aliases::default();
        for row in crate::scan::rows(ledger.shard(), RowKind::PatientAlias.key(&[])) {
            let (row_key, sealed) = row?;
            let corrupt = || EngineError::Corrupt("patient alias");
            let place: &[u8; 32] = row_key
                .get(1..)
                .and_then(|key| key.try_into().ok())
                .ok_or_else(corrupt)?;
            let (namespace, from) = place.split_at(16);
            let namespace = NamespaceId::from_bytes(namespace.try_into().map_err(|_| corrupt())?);
            let from = Token::from_bytes(from.try_into().map_err(|_| corrupt())?);
            let plain = open_record(keyring.record_key(), &alias_context(namespace, &from), &sealed)?;
            aliases.0.insert((namespace, from), decode(&plain, "patient alias")?);
        }
        Ok(Self {
            ledger,
            keyring,
            aliases: Arc::new(RwLock::new(aliases)),
            turn: Arc::default(),
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Aliases> {
        self.aliases.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The key that a key stands for: itself where it was never merged.
    pub fn canonical(&self, namespace: NamespaceId, patient: Token) -> Token {
        self.read().canonical(namespace, patient)
    }

    /// The aliases of a namespace, in no order.
    pub fn list(&self, namespace: NamespaceId) -> Vec<Alias> {
        let aliases = self.read();
        let of_namespace = aliases.0.iter().filter(|((of, _), _)| *of == namespace);
        of_namespace.map(|(_, alias)| alias.clone()).collect()
    }

    /// Merges `from` into `into`: whatever arrives for either is one patient's from now on.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] where both are one patient already, or the chain would be too long.
    pub async fn merge(
        &self,
        namespace: &Namespace,
        from: PatientKey,
        into: PatientKey,
        source: &Source,
    ) -> Result<()> {
        let account = self.keyring.account(namespace.account)?;
        let token = |key: &PatientKey| patient_token(&account, namespace, key.issuer.as_bytes(), key.id.as_bytes());
        let (from_token, into_token) = (token(&from), token(&into));
        self.alias(namespace, (from_token, from), (into_token, into), source)
            .await
    }

    /// Makes two keys one patient's, by their tokens: nothing happens where they are already.
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub async fn join(
        &self,
        namespace: &Namespace,
        from: (Token, PatientKey),
        into: (Token, PatientKey),
        source: &Source,
    ) -> Result<()> {
        if self.is_one(namespace.id, from.0, into.0) {
            return Ok(());
        }
        // Of a key that was merged before, the key it stands for is the one to be joined.
        let from = (self.canonical(namespace.id, from.0), from.1);
        self.alias(namespace, from, into, source).await
    }

    /// Whether two keys are one patient's.
    pub fn is_one(&self, namespace: NamespaceId, one: Token, other: Token) -> bool {
        one == other || self.canonical(namespace, one) == self.canonical(namespace, other)
    }

    async fn alias(
        &self,
        namespace: &Namespace,
        (from_token, from): (Token, PatientKey),
        (into_token, into): (Token, PatientKey),
        source: &Source,
    ) -> Result<()> {
        let place = (namespace.id, from_token);
        let alias = Alias {
            from,
            into,
            into_token,
            time_ms: now_ms(),
        };
        let sealed = seal_record(
            self.keyring.suite(),
            self.keyring.record_key(),
            &alias_context(namespace.id, &from_token),
            &encode(&alias),
        )?;
        let decide = move |aliases: &Aliases| aliases.may_merge(place, into_token).map(|()| (place, Some(sealed)));
        let keep = move |aliases: &mut Aliases| drop(aliases.0.insert(place, alias));
        self.change(decide, event(MERGE, namespace, source), keep).await
    }

    /// Undoes the merge of `from`.
    ///
    /// # Errors
    /// [`EngineError::NotFound`] where it was not merged.
    pub async fn unmerge(&self, namespace: &Namespace, from: &PatientKey, source: &Source) -> Result<()> {
        let account = self.keyring.account(namespace.account)?;
        let token = patient_token(&account, namespace, from.issuer.as_bytes(), from.id.as_bytes());
        let place = (namespace.id, token);
        let decide = move |aliases: &Aliases| match aliases.0.contains_key(&place) {
            true => Ok((place, None)),
            false => Err(EngineError::NotFound),
        };
        let keep = move |aliases: &mut Aliases| drop(aliases.0.remove(&place));
        self.change(decide, event(UNMERGE, namespace, source), keep).await
    }

    /// Commits the row that `decide` makes of the aliases, none to take it away, and then tells memory by `keep`.
    async fn change(
        &self,
        decide: impl FnOnce(&Aliases) -> Result<((NamespaceId, Token), Option<Vec<u8>>)> + Send + 'static,
        event: Event,
        keep: impl FnOnce(&mut Aliases) + Send + 'static,
    ) -> Result<()> {
        let (ledger, aliases, turn) = (
            Arc::clone(&self.ledger),
            Arc::clone(&self.aliases),
            Arc::clone(&self.turn),
        );
        detached(async move {
            let _turn = turn.lock().await;
            let known = || aliases.read().unwrap_or_else(std::sync::PoisonError::into_inner);
            let ((namespace, from), sealed) = decide(&known())?;
            ledger
                .commit(|staging| {
                    match sealed {
                        Some(sealed) => staging.put(alias_key(namespace, &from), sealed),
                        None => staging.delete(alias_key(namespace, &from)),
                    }
                    staging.audit(event);
                    Ok(())
                })
                .await?;
            keep(&mut aliases.write().unwrap_or_else(std::sync::PoisonError::into_inner));
            Ok(())
        })
        .await
    }
}

impl Aliases {
    fn canonical(&self, namespace: NamespaceId, patient: Token) -> Token {
        let mut patient = patient;
        for _ in 0..CHAIN_MAX {
            match self.0.get(&(namespace, patient)) {
                Some(alias) => patient = alias.into_token,
                None => break,
            }
        }
        patient
    }

    fn may_merge(&self, (namespace, from): (NamespaceId, Token), into: Token) -> Result<()> {
        if self.canonical(namespace, from) == self.canonical(namespace, into) {
            return Err(EngineError::Conflict("both are the same patient already"));
        }
        if self.0.contains_key(&(namespace, from)) {
            return Err(EngineError::Conflict("the patient was merged before"));
        }
        if self.depth(namespace, into) + 1 >= CHAIN_MAX {
            return Err(EngineError::Conflict("too many merges in a row"));
        }
        Ok(())
    }

    fn depth(&self, namespace: NamespaceId, patient: Token) -> usize {
        let mut patient = patient;
        (0..CHAIN_MAX)
            .find(|_| match self.0.get(&(namespace, patient)) {
                Some(alias) => {
                    patient = alias.into_token;
                    false
                }
                None => true,
            })
            .unwrap_or(CHAIN_MAX)
    }
}

fn event(action: Action, namespace: &Namespace, source: &Source) -> Event {
    Event {
        actor: Actor::User(source.user),
        action,
        object: ObjectRef::One(ObjectKind::Namespace, *namespace.id.as_bytes()),
        outcome: Outcome::Success,
        source: source.address,
        account: Some(namespace.account),
    }
}
