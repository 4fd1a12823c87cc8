//! Routes and descriptions joined.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::Method;

use super::describe::Description;
use super::descriptions;
use super::parameters::{PATH, PathParameter};
use crate::routes::{Reach, Route};

/// One row of the route table with its description.
pub struct Operation {
    /// Unique among all.
    pub id: String,
    /// The row.
    pub route: &'static Route,
    /// What it does.
    pub description: &'static Description,
    /// The path as OpenAPI writes it: parameters in braces without patterns.
    pub path: String,
    /// The path's parameters.
    pub parameters: Vec<&'static PathParameter>,
    /// All statuses of problems.
    pub problems: BTreeSet<u16>,
}

/// The path without patterns, and its parameters' names.
pub fn plain_path(path: &str) -> (String, Vec<&str>) {
    let (mut plain, mut names, mut rest) = (String::new(), Vec::new(), path);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((parameter, behind)) = after.split_once('}') else {
            break;
        };
        let name = parameter.split(':').next().unwrap_or(parameter);
        plain.push_str(before);
        plain.push_str(&format!("{{{name}}}"));
        names.push(name);
        rest = behind;
    }
    plain.push_str(rest);
    (plain, names)
}

/// Every row of the route table, in its order. Rows without a description are left out, which a test forbids.
pub fn all() -> Vec<Operation> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    crate::routes::all()
        .iter()
        .filter_map(|route| {
            let description = descriptions::of(route.name)?;
            let (path, names) = plain_path(&route.path);
            let parameters = names
                .iter()
                .filter_map(|name| PATH.iter().find(|parameter| parameter.name == *name))
                .collect();
            let mut id = id_of(route, &names);
            let times = seen.entry(id.clone()).or_insert(0);
            *times += 1;
            if *times > 1 {
                id.push_str(&format!("_{times}"));
            }
            Some(Operation {
                id,
                problems: problems(route, description, &names),
                route,
                description,
                path,
                parameters,
            })
        })
        .collect()
}

/// The route's name and where its path leads: to all namespaces, one, or a held study; of a study or series where the
/// name does not say so.
fn id_of(route: &Route, names: &[&str]) -> String {
    let mut id = route.name.to_owned();
    if route.name.starts_with("search_") || route.name == "store" {
        if names.contains(&"series") {
            id.push_str("_of_series");
        } else if names.contains(&"study") {
            id.push_str("_of_study");
        }
    }
    if route.method == Method::OPTIONS {
        id.push_str("_by_options");
    }
    if route.path.len() > 1 && route.path.ends_with('/') {
        id.push_str("_with_slash");
    }
    if names.contains(&"page") {
        id.push_str("_within");
    }
    if route.path.contains("/dicomweb") {
        if names.contains(&"exception") {
            id.push_str("_held");
        } else if names.contains(&"namespace") {
            id.push_str("_in_namespace");
        }
    }
    id
}

fn problems(route: &Route, description: &Description, names: &[&str]) -> BTreeSet<u16> {
    // Host is malformed; there are too many requests at once.
    let mut statuses = BTreeSet::from([400, 503]);
    statuses.extend(description.problems);
    if !names.is_empty() {
        statuses.insert(404);
    }
    if route.reach != Reach::Public {
        // Who, may they, too many failed attempts; what is stored is damaged.
        statuses.extend([401, 403, 412, 429, 500]);
        if route.reach == Reach::Union && names.contains(&"study") {
            statuses.insert(409);
        }
    }
    if ![Method::GET, Method::OPTIONS].contains(&route.method) {
        statuses.extend([409, 507]);
    }
    if !description.body.is_empty() {
        statuses.extend([408, 413, 415]);
    }
    if description.query.iter().any(|parameter| parameter.name == "accept") {
        statuses.insert(406);
    }
    statuses
}
