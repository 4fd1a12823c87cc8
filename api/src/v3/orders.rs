//! `/order/sps/*`: the scheduled procedure steps of orders, which the modality worklist is fed from.

use septum_core::access::Permission;
use septum_core::ids::{DocumentId, ObjectId};
use septum_engine::accounts::documents::{Document, Kind};
use serde_json::{Map, Value, json};

use super::ask::{Ask, uuid};
use super::fault::{Fault, Outcome};
use super::lists::{Compare, Fields};
use super::reply::Reply;
use super::values::{self, Holds};

const STEP: values::Fields = &[
    ("modality", Holds::Text),
    ("scheduled_procedure_step_id", Holds::Text),
    ("requested_procedure_id", Holds::Text),
    ("requested_procedure_description", Holds::Text),
    ("scheduled_station_aetitle", Holds::Text),
    ("scheduled_procedure_step_start_date", Holds::Text),
    ("scheduled_procedure_step_start_time", Holds::Text),
    ("scheduled_procedure_step_description", Holds::Text),
];

/// What steps may be filtered by: their own fields and their order's.
pub const FIELDS: Fields = &[
    ("uuid", Compare::Text),
    ("modality", Compare::Text),
    ("scheduled_procedure_step_id", Compare::Text),
    ("requested_procedure_id", Compare::Text),
    ("scheduled_station_aetitle", Compare::Text),
    ("scheduled_procedure_step_start_date", Compare::Text),
    ("scheduled_procedure_step_start_time", Compare::Text),
    ("mpps_status", Compare::Text),
    ("patientid", Compare::Text),
    ("patient_name", Compare::Text),
    ("accession_number", Compare::Text),
    ("patient_sex", Compare::Text),
    ("patient_birth_date", Compare::Text),
    ("referring_physician", Compare::Text),
];

/// An order the caller has the permission for. A step's id starts with its order's, so that it finds it.
fn order(ask: &Ask, text: &str, permission: Permission) -> Outcome<Document> {
    let id = uuid(text).map(DocumentId::from_bytes).ok_or_else(Fault::not_found)?;
    let order = ask.accounts().documents.get(Kind::Order, id)?;
    let account = ask.accounts().namespace_of(order.account)?;
    let _granted = ask.authorize(permission, account.id)?;
    Ok(order)
}

fn order_of_step(ask: &Ask, permission: Permission) -> Outcome<Document> {
    let text: String = ask.required("uuid").chars().filter(|&c| c != '-').collect();
    let order_id = text
        .get(..32)
        .filter(|_| text.len() == 64)
        .ok_or_else(Fault::not_found)?;
    let order_id = order_id.to_owned();
    order(ask, &order_id, permission)
}

fn steps(body: &Map<String, Value>) -> Vec<Value> {
    body.get("sps").and_then(Value::as_array).cloned().unwrap_or_default()
}

fn is_step(step: &Value, text: &str) -> bool {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    step.get("uuid").and_then(Value::as_str) == Some(digits.as_str())
}

/// `/order/sps/add`. A step that the order has already in the same words is that step.
pub async fn add(ask: &Ask) -> Outcome {
    let order = order(ask, ask.required("order_id"), Permission::OrderEdit)?;
    let mut step = Map::new();
    values::take(&ask.parameters, STEP, &mut step)?;
    let mut id = format!("{}{}", order.id, ObjectId::random());
    let edit = |order: &mut Document| -> Outcome<()> {
        let mut all = steps(&order.body);
        let is_same = |known: &Value| STEP.iter().all(|(name, _)| known.get(name) == step.get(*name));
        if let Some(known) = all.iter().find(|known| is_same(known)) {
            id = known.get("uuid").and_then(Value::as_str).unwrap_or_default().to_owned();
            return Ok(());
        }
        let mut added = step.clone();
        added.insert("uuid".into(), id.clone().into());
        added.insert("mpps_status".into(), "PENDING".into());
        all.push(added.into());
        order.body.insert("sps".into(), all.into());
        Ok(())
    };
    ask.accounts()
        .documents
        .edit(Kind::Order, order.id, &ask.source()?, edit)
        .await?;
    Ok(Reply::of("uuid", id))
}

/// `/order/sps/set`.
pub async fn set(ask: &Ask) -> Outcome {
    let order = order_of_step(ask, Permission::OrderEdit)?;
    let edit = |order: &mut Document| -> Outcome<()> {
        let mut all = steps(&order.body);
        let step = all.iter_mut().find(|step| is_step(step, ask.required("uuid")));
        let step = step.and_then(Value::as_object_mut).ok_or_else(Fault::not_found)?;
        values::take(&ask.parameters, STEP, step)?;
        order.body.insert("sps".into(), all.into());
        Ok(())
    };
    ask.accounts()
        .documents
        .edit(Kind::Order, order.id, &ask.source()?, edit)
        .await?;
    Ok(Reply::done())
}

/// `/order/sps/delete`.
pub async fn delete(ask: &Ask) -> Outcome {
    let order = order_of_step(ask, Permission::OrderEdit)?;
    let edit = |order: &mut Document| -> Outcome<()> {
        let mut all = steps(&order.body);
        let before = all.len();
        all.retain(|step| !is_step(step, ask.required("uuid")));
        if all.len() == before {
            return Err(Fault::not_found());
        }
        order.body.insert("sps".into(), all.into());
        Ok(())
    };
    ask.accounts()
        .documents
        .edit(Kind::Order, order.id, &ask.source()?, edit)
        .await?;
    Ok(Reply::done())
}

/// `/order/sps/find`: steps with what their orders say.
pub async fn find(ask: &Ask) -> Outcome {
    let (account, namespace) = ask.account()?;
    ask.audit_namespace(namespace).await?;
    let wanted = ask.wanted(FIELDS)?;
    let mut found = Vec::new();
    for order in ask.accounts().documents.list(Kind::Order, account.id.as_bytes())? {
        for step in steps(&order.body) {
            let mut row = order.body.clone();
            row.remove("sps");
            row.remove("customfields");
            row.extend(step.as_object().cloned().unwrap_or_default());
            row.insert("order_id".into(), order.id.to_string().into());
            if wanted.matches(&row) {
                found.push(row);
            }
        }
    }
    found.sort_by(|one, other| wanted.order(one, other));
    let found: Vec<Value> = found.into_iter().map(Value::Object).collect();
    Ok(Reply::of("sps", json!(found)))
}
