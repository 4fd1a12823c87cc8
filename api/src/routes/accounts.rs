//! Accounts and namespaces: enough to keep tenants apart. Names are shown to whoever may see them, never logged.

use actix_web::HttpResponse;
use septum_core::audit::ObjectRef;
use septum_core::ids::AccountId;
use septum_engine::accounts::{Account, Namespace};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::call::Call;
use crate::http::body::BodyError;
use crate::http::coding::CodingError;
use crate::http::problem::{Answer, Problem};

/// Longest request body here, in bytes.
const BODY_BYTES_MAX: u64 = 16 << 10;
/// Longest name, in characters.
const NAME_CHARACTERS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewNamespace {
    name: String,
    #[serde(default)]
    default_issuer: String,
}

/// `GET /namespaces`: those the caller may see.
pub(super) async fn namespaces(call: Call) -> Answer {
    call.audit(ObjectRef::System, None).await?;
    let shown: Vec<Value> = call
        .namespaces
        .iter()
        .map(|namespace| shown_namespace(&call, namespace))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "namespaces": shown })))
}

/// `GET /accounts`.
pub(super) async fn list(call: Call) -> Answer {
    call.audit(ObjectRef::System, None).await?;
    let shown: Vec<Value> = call
        .services()
        .accounts
        .accounts()?
        .iter()
        .map(|account| shown_account(account))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "accounts": shown })))
}

/// `POST /accounts` with `{"name": …}`.
pub(super) async fn create(mut call: Call) -> Answer {
    let NewAccount { name } = read(&mut call).await?;
    check_name(&name)?;
    let account = call
        .services()
        .accounts
        .create_account(&name, Some(&call.source()))
        .await?;
    Ok(HttpResponse::Created().json(shown_account(&account)))
}

/// `POST /accounts/{account}/namespaces` with `{"name": …, "defaultIssuer": …}`.
pub(super) async fn create_namespace(mut call: Call) -> Answer {
    let account = AccountId::parse(call.path("account")).ok_or_else(Problem::not_found)?;
    let NewNamespace { name, default_issuer } = read(&mut call).await?;
    check_name(&name)?;
    if default_issuer.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Problem::bad_request("the default issuer is too long"));
    }
    let namespace = call
        .services()
        .accounts
        .create_namespace(account, &name, &default_issuer, Some(&call.source()))
        .await?;
    Ok(HttpResponse::Created().json(shown_namespace(&call, &namespace)))
}

fn shown_account(account: &Account) -> Value {
    json!({ "id": account.id.to_string(), "name": account.name })
}

fn shown_namespace(call: &Call, namespace: &Namespace) -> Value {
    json!({
        "id": namespace.id.to_string(),
        "name": namespace.name,
        "account": namespace.account.to_string(),
        "dicomweb": format!("{}/namespaces/{}/dicomweb", call.base_url, namespace.id),
    })
}

fn check_name(name: &str) -> Answer<()> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > NAME_CHARACTERS_MAX || name.chars().any(char::is_control) {
        return Err(Problem::bad_request(
            "a name has 1 to 200 characters, none of them a control character",
        ));
    }
    Ok(())
}

/// The request's JSON.
pub(super) async fn read<T: DeserializeOwned>(call: &mut Call) -> Answer<T> {
    let content_type = call
        .request
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    if !content_type.to_ascii_lowercase().starts_with("application/json") {
        return Err(Problem::unsupported_media_type("send application/json"));
    }
    let mut body = call.body()?;
    body.set_longest(BODY_BYTES_MAX);
    let bytes = body
        .read_all()
        .await
        .map_err(|error| body_problem(error, BODY_BYTES_MAX))?;
    serde_json::from_slice(&bytes).map_err(|_| Problem::bad_request("the body is not the JSON that is asked for"))
}

/// What is answered when a body cannot be read.
pub(crate) fn body_problem(error: BodyError, bytes_max: u64) -> Problem {
    match error {
        BodyError::TooLong => Problem::too_large(bytes_max),
        BodyError::TooSlow => Problem::new(
            actix_web::http::StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "the body comes too slowly",
        ),
        BodyError::Broken => Problem::bad_request("the body broke off"),
        BodyError::Coding(CodingError::Malformed) => Problem::bad_request(error.to_string()),
        BodyError::Coding(CodingError::Bomb) => Problem::new(
            actix_web::http::StatusCode::PAYLOAD_TOO_LARGE,
            "expands-too-much",
            "the body expands more than allowed; send it without a content coding",
        ),
    }
}
