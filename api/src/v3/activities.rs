//! `/activity/*`: what waits for somebody. What is known here is studies that wait for the caller's approval.

use std::sync::Arc;

use septum_core::access::Permission;
use septum_engine::accounts::Namespace;
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::shares::{self, Offer};
use super::study_record::{Records, Stored};
use super::{times, users};

/// What activities may be filtered and sorted by.
const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("type", Compare::Text),
    ("created", Compare::Time),
    ("created_by", Compare::Text),
    ("study_id", Compare::Text),
    ("namespace_id", Compare::Text),
    ("priority", Compare::Number),
];

/// The namespaces in which the caller approves, of one account where one is asked for.
fn namespaces(ask: &Ask) -> Outcome<Vec<Arc<Namespace>>> {
    let principal = ask.principal()?;
    let account = match ask.parameters.text("account_id") {
        None => None,
        Some(text) => Some(uuid(text).ok_or_else(Fault::not_found)?),
    };
    let mut all = ask.accounts().namespaces()?;
    all.retain(|namespace| {
        account.is_none_or(|account| *namespace.account.as_bytes() == account)
            && principal.has(Permission::StudyApprove, namespace.id)
    });
    Ok(all)
}

fn shown(
    ask: &Ask,
    namespace: &Arc<Namespace>,
    offer: &Offer,
    records: &mut Records<'_>,
) -> Outcome<Option<Map<String, Value>>> {
    let Some(study) = offer.study(ask)? else {
        return Ok(None);
    };
    let stored = Stored::of(ask.services(), &study)?;
    let author = ask.accounts().user_by_id(offer.document.created_by).ok();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    put("uuid", offer.document.id.to_string().into());
    put("type", "STUDY_APPROVE".into());
    put(
        "created",
        times::written(offer.document.created_ms).map_or(Value::Null, Value::from),
    );
    put("created_by", json!(author.map(|author| author.full_name())));
    put("priority", json!(0));
    put("study_id", offer.theirs.to_string().into());
    put("namespace_id", namespace.id.to_string().into());
    put("namespace_name", users::namespace_name(ask, namespace)?.into());
    put("share_message", offer.message().into());
    put("approval_reason", "S".into());
    put("mwl_orders", json!([]));
    put("study", records.make(&offer.theirs, namespace, Some(&stored))?.into());
    Ok(Some(fields))
}

async fn all(ask: &Ask) -> Outcome<Vec<Map<String, Value>>> {
    let mut records = Records::new(ask);
    let mut rows = Vec::new();
    for namespace in namespaces(ask)? {
        let offers = shares::offers(ask, &namespace)?;
        if !offers.is_empty() {
            ask.audit_namespace(&namespace).await?;
        }
        for offer in offers {
            rows.extend(shown(ask, &namespace, &offer, &mut records)?);
        }
    }
    rows.sort_by(|one, other| other["created"].as_str().cmp(&one["created"].as_str()));
    Ok(rows)
}

/// `/activity/list`, newest first.
pub async fn list(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    Ok(wanted.page("activities", all(ask).await?))
}

/// `/activity/list/count`.
pub async fn count(ask: &Ask) -> Outcome {
    let wanted = ask.wanted(FIELDS)?;
    let rows = all(ask).await?;
    Ok(Reply::of(
        "count",
        rows.iter().filter(|row| wanted.matches(row)).count(),
    ))
}

/// `/activity/get`: of those that the list shows.
pub async fn get(ask: &Ask) -> Outcome {
    let id = uuid(ask.required("uuid")).ok_or_else(Fault::not_found)?;
    let id = json!(septum_core::ids::DocumentId::from_bytes(id).to_string());
    let found = all(ask).await?.into_iter().find(|row| row["uuid"] == id);
    Ok(Reply(found.ok_or_else(Fault::not_found)?))
}
