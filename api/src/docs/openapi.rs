//! OpenAPI 3.1 out of the operations.

use septum_core::dicom::keyword_of;
use septum_core::query::{Level, required_attributes};
use serde_json::{Map, Value, json};

use super::describe::{Content, Group, Kind, QueryParameter, Reply, Shape};
use super::operations::{self, Operation};
use super::{parameters, schemas};
use crate::routes::Reach;

/// The security scheme of everything that is not public.
const SCHEME: &str = "basic";

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations::all() {
        let methods = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
        if let Some(methods) = methods.as_object_mut() {
            methods.insert(operation.route.method.as_str().to_ascii_lowercase(), shown(&operation));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Septum",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "A medical imaging archive: DICOMweb and what it needs around it.",
            "description": "Every GET address answers HEAD, too. Errors are problem details (RFC 9457). Each operation names \
                the permission that it asks for in `x-permission`, and where that must be given in `x-reach`.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": Group::ALL
            .map(|group| json!({ "name": group.title(), "description": group.about() })),
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "parameters": shared_parameters(),
            "headers": headers(),
            "responses": problem_responses(),
            "securitySchemes": {
                SCHEME: { "type": "http", "scheme": "basic", "description": "Name and password (RFC 7617)." },
            },
        },
    })
}

/// The word for a reach.
pub fn reach_word(reach: Reach) -> &'static str {
    match reach {
        Reach::Public => "public",
        Reach::Namespace => "namespace",
        Reach::Union => "any-namespace",
        Reach::System => "everywhere",
    }
}

fn shown(operation: &Operation) -> Value {
    let (route, description) = (operation.route, operation.description);
    let mut shown = json!({
        "operationId": operation.id,
        "tags": [description.group.title()],
        "summary": description.summary,
        "responses": responses(operation),
        "x-reach": reach_word(route.reach),
        "x-audit-action": route.action,
    });
    let Some(members) = shown.as_object_mut() else {
        return shown;
    };
    if !description.details.is_empty() {
        members.insert("description".into(), description.details.into());
    }
    let parameters = parameters_of(operation);
    if !parameters.is_empty() {
        members.insert("parameters".into(), parameters.into());
    }
    if !description.body.is_empty() {
        let body = json!({ "required": true, "content": content(description.body) });
        members.insert("requestBody".into(), body);
    }
    if route.reach == Reach::Public {
        members.insert("security".into(), json!([]));
    } else {
        members.insert("security".into(), json!([{ SCHEME: [] }]));
        members.insert("x-permission".into(), route.permission.name().into());
    }
    shown
}

fn schema_of(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::MediaType => json!({ "type": "string" }),
        Kind::Number => json!({ "type": "integer", "minimum": 0 }),
        Kind::Truth => json!({ "type": "boolean" }),
        Kind::List => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Id => json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" }),
    }
}

fn query_parameter(parameter: &QueryParameter) -> Value {
    json!({
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "schema": schema_of(parameter.kind),
    })
}

/// The attributes that a search at a level names: its own required ones and those of the levels above.
pub fn search_attributes(level: Level) -> Vec<u32> {
    let mut tags: Vec<u32> = [Level::Study, Level::Series, Level::Instance]
        .into_iter()
        .filter(|above| *above <= level)
        .flat_map(|above| required_attributes(above).iter().copied())
        .filter(|tag| keyword_of(*tag).is_some_and(|(_, vr)| vr != "SQ"))
        .collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn attribute_parameter(tag: u32) -> Option<(&'static str, Value)> {
    let (keyword, vr) = keyword_of(tag)?;
    let about = format!("({:04X},{:04X}), {vr}", tag >> 16, tag & 0xFFFF);
    let parameter = json!({ "name": keyword, "in": "query", "description": about, "schema": { "type": "string" } });
    Some((keyword, parameter))
}

fn shared_parameters() -> Map<String, Value> {
    let mut shared: Map<String, Value> = search_attributes(Level::Instance)
        .into_iter()
        .filter_map(attribute_parameter)
        .map(|(keyword, parameter)| (keyword.to_owned(), parameter))
        .collect();
    for parameter in parameters::SEARCH {
        shared.insert(parameter.name.to_owned(), query_parameter(parameter));
    }
    for parameter in parameters::PATH {
        let schema = json!({ "type": "string", "pattern": parameter.pattern });
        shared.insert(
            format!("path-{}", parameter.name),
            json!({
                "name": parameter.name,
                "in": "path",
                "required": true,
                "description": parameter.about,
                "schema": schema,
                "example": parameter.example,
            }),
        );
    }
    shared.insert(
        "If-None-Match".to_owned(),
        json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "An ETag that the client has: then 304 and no body.",
            "schema": { "type": "string" },
        }),
    );
    shared.insert(
        "Range".to_owned(),
        json!({
            "name": "Range",
            "in": "header",
            "description": "One range of bytes (RFC 9110 section 14.2).",
            "schema": { "type": "string" },
        }),
    );
    shared
}

fn parameters_of(operation: &Operation) -> Vec<Value> {
    let shared = |name: &str| json!({ "$ref": format!("#/components/parameters/{name}") });
    let description = operation.description;
    let mut found: Vec<Value> = operation
        .parameters
        .iter()
        .map(|parameter| shared(&format!("path-{}", parameter.name)))
        .collect();
    if let Some(level) = description.attributes_of {
        let attributes = search_attributes(level).into_iter().filter_map(keyword_of);
        found.extend(attributes.map(|(keyword, _)| shared(keyword)));
        found.extend(description.query.iter().map(|parameter| shared(parameter.name)));
    } else {
        found.extend(description.query.iter().map(query_parameter));
    }
    if description.replies.iter().any(|reply| reply.status == 304) {
        found.push(shared("If-None-Match"));
    }
    if description.replies.iter().any(|reply| reply.status == 416) {
        found.push(shared("Range"));
    }
    found
}

/// Bodies by media type.
fn content(content: &[Content]) -> Map<String, Value> {
    let mut bodies = Map::new();
    for one in content {
        let body = match one.shape {
            Shape::Json(name) => json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } }),
            Shape::Text => json!({ "schema": { "type": "string" } }),
            Shape::Bytes => json!({}),
        };
        for media_type in one.media_types() {
            bodies.insert(media_type.to_owned(), body.clone());
        }
    }
    bodies
}

fn header_references(names: &[&str]) -> Map<String, Value> {
    names
        .iter()
        .chain(&["X-Request-Id"])
        .map(|name| {
            let reference = json!({ "$ref": format!("#/components/headers/{name}") });
            ((*name).to_owned(), reference)
        })
        .collect()
}

fn headers() -> Map<String, Value> {
    schemas::HEADERS
        .iter()
        .map(|(name, about)| {
            let header = json!({ "description": about, "schema": { "type": "string" } });
            ((*name).to_owned(), header)
        })
        .collect()
}

fn problem_responses() -> Map<String, Value> {
    schemas::PROBLEMS
        .iter()
        .map(|problem| {
            let response = json!({
                "description": problem.about,
                "headers": header_references(problem.headers),
                "content": problem_content(),
            });
            (format!("Problem{}", problem.status), response)
        })
        .collect()
}

fn problem_content() -> Value {
    json!({ "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } })
}

fn responses(operation: &Operation) -> Map<String, Value> {
    let mut responses: Map<String, Value> = operation
        .problems
        .iter()
        .map(|status| {
            let reference = json!({ "$ref": format!("#/components/responses/Problem{status}") });
            (status.to_string(), reference)
        })
        .collect();
    for reply in operation.description.replies {
        responses.insert(reply.status.to_string(), reply_of(operation, reply));
    }
    responses
}

/// A reply; where a problem may have the same status, its body as well.
fn reply_of(operation: &Operation, reply: &Reply) -> Value {
    let mut bodies = content(reply.content);
    let mut headers = reply.headers.to_vec();
    if operation.problems.contains(&reply.status)
        && let Value::Object(problem) = problem_content()
    {
        bodies.extend(problem);
        headers.extend(schemas::problem(reply.status).map_or(&[][..], |problem| problem.headers));
    }
    let mut shown = json!({ "description": reply.about, "headers": header_references(&headers) });
    if let (false, Some(members)) = (bodies.is_empty(), shown.as_object_mut()) {
        members.insert("content".into(), bodies.into());
    }
    shown
}
