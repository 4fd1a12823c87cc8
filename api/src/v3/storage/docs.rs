//! The page about the storage API, made of its table.

use std::fmt::Write as _;

use super::table;

/// The table as HTML.
pub(crate) fn page() -> String {
    let mut out = String::from(
        "<h1>Septum: storage API (V3)</h1>\
         <p>Every path takes <code>sid</code>, and every study path <code>phi_namespace</code>, in the query. \
         HEAD works where GET does. Errors are JSON with <code>kind.code</code> and <code>kind.readable_status</code>.</p>\
         <table><thead><tr><th>Method</th><th>Path</th><th>Permission</th><th>Query</th><th>Answer</th></tr></thead><tbody>",
    );
    for row in table::all() {
        let route = &row.route;
        let _ = write!(
            out,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            route.method,
            route.path,
            route.permission.name(),
            row.parameters.replace(' ', ", "),
            row.answer,
        );
    }
    out.push_str("</tbody></table>");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_has_every_row() {
        let page = super::page();
        assert_eq!(page.matches("<tr><td>").count(), super::table::all().len());
    }
}
