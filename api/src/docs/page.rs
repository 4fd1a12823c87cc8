//! The API as a page for people.

use std::collections::BTreeSet;

use septum_core::dicom::keyword_of;
use serde_json::Value;

use super::describe::{Content, Description, Group, Kind, Shape};
use super::html::{anchor, code, escaped, prose, table};
use super::openapi::search_attributes;
use super::operations::{self, Operation};
use super::{descriptions, schemas};
use crate::routes::Reach;

/// The page's body.
pub fn body() -> String {
    let operations = operations::all();
    let mut out = String::from("<nav aria-label=\"Contents\">");
    out.push_str("<a href=\"/\">Septum</a>");
    for group in Group::ALL {
        out.push_str(&format!(
            "<a href=\"#{}\">{}</a>",
            anchor(group.title()),
            escaped(group.title())
        ));
    }
    out.push_str(
        "<a href=\"#problems\">Problems</a><a href=\"#shapes\">Shapes</a><a href=\"/api/docs/openapi.json\">OpenAPI \
         3.1</a><a href=\"/api/docs/conformance\">Conformance</a></nav>\n<main>\n",
    );
    out.push_str(&format!(
        "<h1>Septum API</h1>\n<p class=\"about\">Version {}. Generated from the route table; the same for programs: <a \
         href=\"/api/docs/openapi.json\">OpenAPI 3.1</a>.</p>\n<p>Everything but the documents asks for a name and password \
         (HTTP Basic), for a permission, and is audited. Every GET address answers HEAD, too. The examples need the \
         address of the server:</p>\n<pre>export SEPTUM=https://localhost:8443 NAME=admin@localhost</pre>\n",
        env!("CARGO_PKG_VERSION")
    ));
    for group in Group::ALL {
        out.push_str(&format!(
            "<h2 id=\"{}\">{}</h2>\n<p class=\"about\">{}</p>\n",
            anchor(group.title()),
            escaped(group.title()),
            prose(group.about())
        ));
        for description in descriptions::all().filter(|one| one.group == group) {
            let paths: Vec<&Operation> = operations
                .iter()
                .filter(|operation| operation.description.name == description.name)
                .collect();
            if let Some(first) = paths.first() {
                out.push_str(&entry(description, first, &paths));
            }
        }
    }
    out.push_str(&problems());
    out.push_str(&shapes());
    out.push_str("</main>");
    out
}

fn entry(description: &Description, first: &Operation, paths: &[&Operation]) -> String {
    let method = first.route.method.as_str();
    let mut out = format!(
        "<details id=\"{}\"><summary><span class=\"method {}\">{method}</span> {} <span \
         class=\"what\">{}</span></summary><div class=\"inside\">",
        description.name.replace('_', "-"),
        method.to_ascii_lowercase(),
        code(&first.path),
        escaped(description.summary)
    );
    if !description.details.is_empty() {
        out.push_str(&format!("<p>{}</p>", prose(description.details)));
    }
    out.push_str(&format!("<h4>Addresses</h4>{}", addresses(paths)));
    let parameters = parameters(description, paths);
    if !parameters.is_empty() {
        out.push_str("<h4>Parameters</h4>");
        out.push_str(&table(["Name", "Where", "What"], parameters));
    }
    if !description.body.is_empty() {
        out.push_str(&format!("<h4>Body</h4><p>{}</p>", media(description.body)));
    }
    out.push_str("<h4>Answers</h4>");
    out.push_str(&table(["Status", "Body", "What"], answers(description, paths)));
    out.push_str(&format!("<h4>Example</h4><pre>{}</pre>", escaped(&curl(first))));
    out.push_str("</div></details>\n");
    out
}

fn addresses(paths: &[&Operation]) -> String {
    let rows = paths.iter().map(|operation| {
        let route = operation.route;
        let permission = match route.reach {
            Reach::Public => "for everybody".to_owned(),
            Reach::Namespace => format!("{} in the namespace of the path", code(route.permission.name())),
            Reach::Union => format!("{} in at least one namespace", code(route.permission.name())),
            Reach::System => format!("{} everywhere", code(route.permission.name())),
        };
        [code(&operation.path), permission]
    });
    table(["Path", "Permission"], rows)
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Number => "whole number",
        Kind::Truth => "true or false",
        Kind::List => "text, may repeat",
        Kind::Id => "id",
        Kind::MediaType => "media type",
    }
}

fn parameters(description: &Description, paths: &[&Operation]) -> Vec<[String; 3]> {
    let mut seen = BTreeSet::new();
    let mut rows: Vec<[String; 3]> = paths
        .iter()
        .flat_map(|operation| &operation.parameters)
        .filter(|parameter| seen.insert(parameter.name))
        .map(|parameter| [code(parameter.name), "path".to_owned(), prose(parameter.about)])
        .collect();
    if let Some(level) = description.attributes_of {
        let keywords = search_attributes(level).into_iter().filter_map(keyword_of);
        let known: Vec<String> = keywords
            .map(|(keyword, vr)| format!("{} {vr}", code(keyword)))
            .collect();
        let about = format!(
            "Any attribute of PS3.6, by keyword, tag or path, and private ones by tag. Among them: {}",
            known.join(", ")
        );
        rows.push(["<i>attribute</i>".to_owned(), "query".to_owned(), about]);
    }
    rows.extend(description.query.iter().map(|parameter| {
        let place = format!("query, {}", kind_word(parameter.kind));
        [code(parameter.name), place, prose(parameter.about)]
    }));
    if description.replies.iter().any(|reply| reply.status == 304) {
        let about = "An ETag that the client has: then 304 and no body.";
        rows.push([code("If-None-Match"), "header".to_owned(), about.to_owned()]);
    }
    if description.replies.iter().any(|reply| reply.status == 416) {
        let about = "One range of bytes.";
        rows.push([code("Range"), "header".to_owned(), about.to_owned()]);
    }
    rows
}

fn media(content: &[Content]) -> String {
    let shown: Vec<String> = content
        .iter()
        .flat_map(|one| {
            let shape = match one.shape {
                Shape::Json(name) => format!(" <a href=\"#shape-{name}\">{name}</a>"),
                Shape::Bytes | Shape::Text => String::new(),
            };
            one.media_types()
                .into_iter()
                .map(move |media_type| format!("{}{shape}", code(media_type)))
        })
        .collect();
    shown.join("<br>")
}

fn answers(description: &Description, paths: &[&Operation]) -> Vec<[String; 3]> {
    let status = |status: u16| format!("<span class=\"status\">{status}</span>");
    let mut rows: Vec<[String; 3]> = description
        .replies
        .iter()
        .map(|reply| [status(reply.status), media(reply.content), prose(reply.about)])
        .collect();
    let all: BTreeSet<u16> = paths
        .iter()
        .flat_map(|operation| operation.problems.iter().copied())
        .collect();
    let names: Vec<String> = all
        .iter()
        .map(|status| format!("<a href=\"#problem-{status}\">{status}</a>"))
        .collect();
    rows.push(["problems".to_owned(), code("application/problem+json"), names.join(" ")]);
    rows
}

fn curl(operation: &Operation) -> String {
    let mut path = operation.path.clone();
    for parameter in &operation.parameters {
        path = path.replace(&format!("{{{}}}", parameter.name), parameter.example);
    }
    let user = if operation.route.reach == Reach::Public {
        ""
    } else {
        " -u \"$NAME\""
    };
    let description = operation.description;
    let space = if description.curl.is_empty() { "" } else { " " };
    format!(
        "curl{user}{space}{} \"$SEPTUM{path}{}\"",
        description.curl, description.curl_query
    )
}

fn problems() -> String {
    let rows = schemas::PROBLEMS.iter().map(|problem| {
        let kinds: Vec<String> = problem.kinds.iter().map(|kind| code(kind)).collect();
        [
            format!("<span class=\"status\" id=\"problem-{0}\">{0}</span>", problem.status),
            kinds.join("<br>"),
            prose(problem.about),
        ]
    });
    format!(
        "<h2 id=\"problems\">Problems</h2>\n<p class=\"about\">Problem details (RFC 9457) as \
         <code>application/problem+json</code>; the type is <code>urn:septum:problem:</code> and a kind.</p>\n{}",
        table(["Status", "Kinds", "What"], rows)
    )
}

fn shapes() -> String {
    let mut out = String::from("<h2 id=\"shapes\">Shapes</h2>\n<p class=\"about\">JSON Schema of bodies.</p>\n");
    if let Value::Object(shapes) = schemas::all() {
        for (name, shape) in shapes {
            let text = serde_json::to_string_pretty(&shape).unwrap_or_default();
            out.push_str(&format!(
                "<details id=\"shape-{name}\"><summary><code>{name}</code></summary><div \
                 class=\"inside\"><pre>{}</pre></div></details>\n",
                escaped(&text)
            ));
        }
    }
    out
}
