//! What a DICOMweb service can do (PS3.18 section 8.9), made from the route table: WADL, or JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::json;

use super::all;
use crate::call::Call;
use crate::http::accept;
use crate::http::escape::escaped;
use crate::http::problem::{Answer, Problem};

const WADL: &str = "application/vnd.sun.wadl+xml";
const JSON: &str = "application/json";

/// `OPTIONS` and `GET` of a service's root.
pub(super) async fn describe(call: Call) -> Answer {
    let choices = accept::choices(&call.request)?;
    let is_taken = |media_type: &str| {
        choices
            .iter()
            .any(|choice| !choice.multipart && choice.covers(media_type))
    };
    let media_type = [WADL, JSON, "application/xml"]
        .into_iter()
        .find(|media_type| is_taken(media_type))
        .ok_or_else(|| {
            Problem::not_acceptable("capabilities can be had as WADL or JSON", &[WADL.into(), JSON.into()])
        })?;
    call.audit_namespaces().await?;
    let pattern = call.request.match_pattern().unwrap_or_default();
    let base = pattern.trim_end_matches('/');
    let mut resources: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for route in all() {
        if let Some(path) = route
            .path
            .strip_prefix(base)
            .filter(|path| path.len() > 1 && path.starts_with('/'))
        {
            let methods = resources.entry(path).or_default();
            methods.push((route.method.as_str(), route.name));
        }
    }
    let address = format!("{}{}", call.base_url, call.request.path().trim_end_matches('/'));
    let body = if media_type == JSON {
        let resources: Vec<_> = resources
            .iter()
            .map(|(path, methods)| {
                let methods: Vec<_> = methods
                    .iter()
                    .map(|(method, name)| json!({ "method": method, "name": name }))
                    .collect();
                json!({ "path": path, "methods": methods })
            })
            .collect();
        json!({ "base": address, "resources": resources }).to_string()
    } else {
        wadl(&address, &resources)
    };
    Ok(HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((header::VARY, "Accept"))
        .body(body))
}

fn wadl(address: &str, resources: &BTreeMap<&str, Vec<(&str, &str)>>) -> String {
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<application xmlns=\"http://wadl.dev.java.net/2009/02\">",
    );
    // Writing to a string cannot fail.
    let _ = write!(text, "<resources base=\"{}\">", escaped(address));
    for (path, methods) in resources {
        // A variable's pattern is ours alone.
        let path = path.replace(":.*}", "}");
        let _ = write!(text, "<resource path=\"{}\">", escaped(&path));
        for (method, name) in methods {
            let _ = write!(text, "<method name=\"{method}\" id=\"{name}\"/>");
        }
        text.push_str("</resource>");
    }
    text.push_str("</resources></application>\n");
    text
}
