//! The documents say all that there is, and nothing else.

use std::collections::{BTreeSet, HashSet};

use serde_json::Value;

use super::*;
use crate::routes;

#[test]
fn every_route_is_described_and_every_description_has_a_route() {
    let routes: BTreeSet<&str> = routes::all().iter().map(|route| route.name).collect();
    let described: BTreeSet<&str> = descriptions::all().map(|description| description.name).collect();
    assert_eq!(descriptions::all().count(), described.len(), "a description twice");
    let undescribed: Vec<_> = routes.difference(&described).collect();
    assert!(
        undescribed.is_empty(),
        "describe them in docs/descriptions.rs: {undescribed:?}"
    );
    let gone: Vec<_> = described.difference(&routes).collect();
    assert!(gone.is_empty(), "descriptions without a route: {gone:?}");
}

#[test]
fn every_part_of_a_path_is_described() {
    for route in routes::all() {
        let (_, names) = operations::plain_path(&route.path);
        for name in names {
            assert!(
                parameters::PATH.iter().any(|parameter| parameter.name == name),
                "describe {name} of {} in docs/parameters.rs",
                route.path
            );
        }
    }
    assert_eq!(
        operations::plain_path("/a/{b}/c/{d:.*}"),
        ("/a/{b}/c/{d}".to_owned(), vec!["b", "d"])
    );
}

#[test]
fn operations_are_sound() {
    let operations = operations::all();
    assert_eq!(operations.len(), routes::all().len());
    let mut ids = HashSet::new();
    for operation in &operations {
        assert!(ids.insert(operation.id.clone()), "{} twice", operation.id);
        assert!(
            !operation.id.ends_with(|end: char| end.is_ascii_digit()),
            "{} needs a name that says where it leads",
            operation.id
        );
        for status in &operation.problems {
            assert!(schemas::problem(*status).is_some(), "{status} is no status of problems");
        }
        let description = operation.description;
        assert!(!description.replies.is_empty() && !description.summary.is_empty());
        // What an address says by itself needs no body.
        let says_all = operation.route.path.ends_with("/accept");
        let changes_without_body = operation.route.method == "POST" && description.body.is_empty();
        assert!(!changes_without_body || says_all, "{} has no body", description.name);
    }
}

#[test]
fn references_lead_somewhere() {
    let document = openapi::document();
    let mut values = vec![&document];
    let mut num_references = 0;
    while let Some(value) = values.pop() {
        match value {
            Value::Array(items) => values.extend(items),
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    num_references += 1;
                    let pointer = reference.strip_prefix('#').expect("inside the document");
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                values.extend(members.values());
            }
            _ => {}
        }
    }
    assert!(num_references > 500);
}

#[test]
fn problems_of_the_engine_are_described() {
    use crate::http::problem::Problem;
    use septum_engine::EngineError;
    for error in [
        EngineError::NotFound,
        EngineError::Conflict("no"),
        EngineError::NotAcceptable("no".to_owned()),
        EngineError::Overloaded { retry_after_seconds: 1 },
        EngineError::Panicked,
        EngineError::AuditUnavailable,
        EngineError::Quarantined,
        EngineError::Corrupt("row"),
    ] {
        let status = Problem::from(error).status().as_u16();
        assert!(schemas::problem(status).is_some(), "{status}");
    }
}

/// Everything in the statement that comes from tables is really there.
#[test]
fn the_statement_holds_the_tables() {
    use septum_core::dicom::{TransferSyntax, refused_sop_classes};
    let text = conformance::body();
    for syntax in TransferSyntax::all() {
        assert!(text.contains(syntax.uid()));
    }
    for (uid, name) in refused_sop_classes() {
        assert!(text.contains(uid) && text.contains(name));
    }
    for word in [
        "PatientID",
        "ISO 2022 IR 87",
        "GB18030",
        "A900H",
        "limits.instance",
        "image/jls",
        "B000H",
        "B007H",
        "JPEG Extended (Process 2 &amp; 4)",
        "LUT Data (0028,3006)",
    ] {
        assert!(text.contains(word), "{word}");
    }
    let row_of = |uid: &str| {
        let start = text.find(&format!("<code>{uid}</code>")).expect("there");
        text[start..].split("</tr>").next().unwrap_or_default().to_owned()
    };
    assert!(row_of("1.2.840.10008.1.2.4.94").contains("class=\"no\""));
    assert!(!row_of("1.2.840.10008.1.2.4.50").contains("class=\"no\""));
}

#[test]
fn pages_have_no_scripts_and_lead_to_their_own_anchors() {
    for text in [page::body(), conformance::body()] {
        for forbidden in ["<script", "style=", "onclick", "<img", "http://", "https://cdn"] {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        for link in text.split("href=\"#").skip(1) {
            let name = link.split('"').next().expect("an end");
            assert!(text.contains(&format!("id=\"{name}\"")), "{name}");
        }
    }
}
