//! One entrypoint, declared: where it is, who may, what it takes. Routing, checks and documentation read this.

use futures_util::future::LocalBoxFuture;
use septum_core::access::Permission;
use septum_engine::accounts::documents::Kind;

use super::ask::Ask;
use super::fault::Outcome;

/// What a call is about: found before the handler runs, and asked for the permission there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Nothing in particular; the handler asks for itself where it shows anything.
    None,
    /// The account that a parameter names.
    Account(&'static str),
    /// The group that `uuid` names.
    Group,
    /// The location that `uuid` names.
    Location,
    /// The role that `uuid` names.
    Role,
    /// The account's document that `uuid` names.
    Document(Kind),
    /// The study's document that `uuid` names.
    StudyDocument(Kind),
    /// The study that `uuid`, `study_id` or `study_uid` names.
    Study,
}

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Everybody.
    Public,
    /// Whoever is signed in.
    SignedIn,
    /// Whoever has one of these permissions where the subject is.
    AnyOf(&'static [Permission]),
    /// Who runs the installation.
    Installation(Permission),
}

/// Answers a call.
pub type Handler = for<'a> fn(&'a Ask) -> LocalBoxFuture<'a, Outcome>;

/// A handler as the table takes it.
macro_rules! run {
    ($handler:path) => {
        |ask| Box::pin($handler(ask))
    };
}
pub(super) use run;

/// One entrypoint.
pub struct Entry {
    /// Its path behind the base, without the first slash.
    pub path: &'static str,
    /// Its name in metrics.
    pub name: String,
    /// Its name in the audit log.
    pub action: String,
    /// GET is refused.
    pub post_only: bool,
    /// Who may.
    pub rule: Rule,
    /// What it is about.
    pub subject: Subject,
    /// What must be given; `(a|b&c)` are alternatives.
    pub required: &'static str,
    /// What may be given; a trailing `*` stands for any ending.
    pub optional: &'static str,
    /// Error tokens beside those of every call.
    pub errors: &'static str,
    /// Whoever came by a link may call, too.
    pub for_guests: bool,
    /// Answers.
    pub run: Handler,
}

impl Entry {
    /// An entrypoint for whoever is signed in.
    pub fn new(path: &'static str, run: Handler) -> Self {
        let letters = |path: &str, separator: &str| path.replace(['/', '_'], separator);
        Self {
            path,
            name: format!("v3_{}", letters(path, "_")),
            action: format!("api.{}", letters(path, ".").replace("i18next", "words")),
            post_only: false,
            rule: Rule::SignedIn,
            subject: Subject::None,
            required: "",
            optional: "",
            errors: "",
            for_guests: false,
            run,
        }
    }

    /// For everybody.
    pub fn public(self) -> Self {
        Self {
            rule: Rule::Public,
            for_guests: true,
            ..self
        }
    }

    /// Not with GET.
    pub fn post_only(self) -> Self {
        Self {
            post_only: true,
            ..self
        }
    }

    /// For whoever has one of these permissions where the subject is.
    pub fn on(self, subject: Subject, permissions: &'static [Permission]) -> Self {
        Self {
            rule: Rule::AnyOf(permissions),
            subject,
            // Their role says what they may.
            for_guests: true,
            ..self
        }
    }

    /// For whoever is signed in and may see the subject at all.
    pub fn about(self, subject: Subject) -> Self {
        Self { subject, ..self }
    }

    /// For whoever came by a link, too: it shows nothing but what the link opens, and changes nothing.
    pub fn guests_too(self) -> Self {
        Self {
            for_guests: true,
            ..self
        }
    }

    /// For who runs the installation.
    pub fn installation(self, permission: Permission) -> Self {
        Self {
            rule: Rule::Installation(permission),
            ..self
        }
    }

    /// What must be given.
    pub fn needs(self, required: &'static str) -> Self {
        Self { required, ..self }
    }

    /// What may be given.
    pub fn takes(self, optional: &'static str) -> Self {
        Self { optional, ..self }
    }

    /// Error tokens.
    pub fn fails(self, errors: &'static str) -> Self {
        Self { errors, ..self }
    }

    /// The first part of the path: what its calls are about.
    pub fn object(&self) -> &'static str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Parameters that are missing, by name; of alternatives the first one's.
    pub fn missing(&self, is_given: impl Fn(&str) -> bool) -> Vec<String> {
        let mut missing = Vec::new();
        for term in self.required.split_whitespace() {
            let inner = term.trim_start_matches('(').trim_end_matches(')');
            let absent = |alternative: &str| -> Vec<String> {
                let names = alternative.split('&').filter(|name| !is_given(name));
                names.map(str::to_owned).collect()
            };
            let mut choices = inner.split('|').map(absent);
            let first = choices.next().unwrap_or_default();
            if !first.is_empty() && !choices.any(|absent| absent.is_empty()) {
                missing.extend(first);
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_told_apart() {
        let entry = Entry::new("x/y", |_| Box::pin(async { Ok(super::super::reply::Reply::done()) }))
            .needs("name (uuid|study_uid&storage_namespace)");
        for (given, expected) in [
            (&[][..], "name uuid"),
            (&["name"], "uuid"),
            (&["name", "uuid"], ""),
            (&["name", "study_uid"], "uuid"),
            (&["name", "study_uid", "storage_namespace"], ""),
        ] {
            assert_eq!(
                entry.missing(|name| given.contains(&name)).join(" "),
                expected,
                "{given:?}"
            );
        }
    }
}
