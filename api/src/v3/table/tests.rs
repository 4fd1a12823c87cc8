//! The table is sound.

use std::collections::HashSet;

use super::*;
use crate::v3::entry::Rule;

/// The vendor's client asks for the engine and for ids before it signs in.
const PUBLIC: [&str; 12] = [
    "session/login",
    "session/oauth/token",
    "session/uuid",
    "namespace/engine/fqdn",
    "link/session",
    "link/status",
    "terminology/list",
    "terminology/tags",
    "terminology/i18next",
    "user/invite/accept",
    "user/password/lost",
    "user/password/reset",
];

#[test]
fn every_row_is_sound() {
    let mut seen = HashSet::new();
    for entry in all() {
        assert!(seen.insert(entry.path), "{} twice", entry.path);
        assert!(
            septum_core::audit::Action::parse(&entry.action).is_some(),
            "{}",
            entry.action
        );
        let is_public = entry.rule == Rule::Public;
        assert_eq!(is_public, PUBLIC.contains(&entry.path), "{}", entry.path);
        if let Rule::AnyOf(permissions) = entry.rule {
            assert!(!permissions.is_empty() && entry.subject != S::None, "{}", entry.path);
        }
        // What names the subject must be asked for.
        let names: &[&str] = match entry.subject {
            S::None | S::Study => &[],
            S::Account(parameter) => &[parameter],
            _ => &["uuid"],
        };
        for name in names {
            assert!(
                entry.required.split(' ').any(|term| term == *name),
                "{} needs {name}",
                entry.path
            );
        }
    }
    assert!(seen.len() > 100, "{}", seen.len());
}
