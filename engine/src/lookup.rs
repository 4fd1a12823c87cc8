//! Exact lookups: which studies have a Patient ID or Accession Number, by blind index token.
//!
//! A lookup row holds nothing but its key: namespace ‖ attribute ‖ token ‖ the study row's key from the token on. What it
//! shows a thief is that two studies of one namespace share a value (invariant 3). Values are tokens of the trimmed text
//! in the form in which searches compare it.

use septum_core::ids::NamespaceId;
use septum_core::query::columns::{Column, CompiledPredicates};
use septum_core::query::normalized;
use septum_core::seal::{AccountKeys, Token, TokenDomain, token};
use serde_json::{Map, Value};

use crate::columns::row_key_of;
use crate::error::Result;
use crate::ledger::Staging;
use crate::records::key;

/// An attribute that studies can be looked up by. The number is part of the key.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Attribute {
    PatientId = 1,
    AccessionNumber = 2,
}

impl Attribute {
    const ALL: [Self; 2] = [Self::AccessionNumber, Self::PatientId];

    fn column(self) -> Column {
        match self {
            Self::PatientId => Column::PatientId,
            Self::AccessionNumber => Column::AccessionNumber,
        }
    }

    fn domain(self) -> TokenDomain {
        match self {
            Self::PatientId => TokenDomain::PatientId,
            Self::AccessionNumber => TokenDomain::Accession,
        }
    }

    fn token(self, account: &AccountKeys, namespace: NamespaceId, value: &str) -> Token {
        let value = normalized(value.trim());
        token(account.index_key(), self.domain(), namespace, value.as_bytes())
    }
}

/// The lookup rows of a study with these attributes.
pub fn rows(
    account: &AccountKeys,
    namespace: NamespaceId,
    study_row_key: &[u8],
    attributes: &Map<String, Value>,
) -> Result<Vec<Vec<u8>>> {
    let place = row_key_of(study_row_key)?;
    let mut rows = Vec::new();
    for attribute in Attribute::ALL {
        let values = attributes
            .get(&format!("{:08X}", attribute.column().tag()))
            .and_then(|attribute| attribute.get("Value"))
            .and_then(Value::as_array);
        for value in values.into_iter().flatten().filter_map(Value::as_str) {
            if value.trim().is_empty() {
                continue;
            }
            let token = attribute.token(account, namespace, value);
            let mut row = key::lookups(namespace, attribute as u8, &token);
            row.extend_from_slice(&place);
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Stages what a study can be looked up by; what it was found by `before`, if it was there, and is no more goes.
pub fn restage(
    staging: &mut Staging<'_>,
    account: &AccountKeys,
    namespace: NamespaceId,
    study_row_key: &[u8],
    before: Option<&Map<String, Value>>,
    after: &Map<String, Value>,
) -> Result<()> {
    let wanted = rows(account, namespace, study_row_key, after)?;
    if let Some(before) = before {
        let known = rows(account, namespace, study_row_key, before)?;
        for row in known.into_iter().filter(|row| !wanted.contains(row)) {
            staging.delete(row);
        }
    }
    for row in wanted {
        staging.put(row, Vec::new());
    }
    Ok(())
}

/// Prefixes of the lookup rows that hold every study which can match; none where no attribute is asked for exactly.
pub fn prefixes(
    account: &AccountKeys,
    namespace: NamespaceId,
    predicates: &CompiledPredicates,
) -> Option<Vec<Vec<u8>>> {
    Attribute::ALL.into_iter().find_map(|attribute| {
        let values = predicates.exact_values(attribute.column())?;
        let prefix = |value: &str| {
            let token = attribute.token(account, namespace, value);
            key::lookups(namespace, attribute as u8, &token)
        };
        Some(values.into_iter().map(prefix).collect())
    })
}
