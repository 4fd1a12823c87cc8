//! The page about the service calls, made of their table.

use std::fmt::Write as _;

use super::entry::{Entry, Rule};
use super::table;

fn who(entry: &Entry) -> String {
    match entry.rule {
        Rule::Public => "everybody".to_owned(),
        Rule::SignedIn => "whoever is signed in".to_owned(),
        Rule::AnyOf(permissions) => permissions
            .iter()
            .map(|permission| permission.name())
            .collect::<Vec<_>>()
            .join(" or "),
        Rule::Installation(permission) => permission.name().to_owned(),
    }
}

/// The table as HTML.
pub(crate) fn page() -> String {
    let mut out = String::from(
        "<h1>Septum: service calls (V3)</h1>\
         <p>POST with a form under <code>/api/v3/</code>, most of them GET too; <code>sid</code> of \
         <code>session/login</code> as a parameter, or as a bearer token. An answer has <code>status</code> OK; what cannot be \
         done answers 412 with <code>error_type</code>, a call that is not here <code>NOT_SUPPORTED</code>. Every call may say \
         MISSING_FIELDS, NOT_FOUND and NOT_PERMITTED; <code>bundle</code> takes a list of calls.</p>\
         <p>What happens is told over a web socket at <code>/api/v3/channel/websocket</code>: send \
         <code>{\"action\": \"subscribe\", \"channel\": \"study.NAMESPACE\", \"sid\": SID}</code> and read \
         <code>{\"event\": \"READY\", …}</code>. Channels: <code>study.NAMESPACE</code> (READY, EDIT; permission \
         channel_study) and <code>job.NAMESPACE</code> (DONE of one's own jobs; job_view).</p>\
         <table><thead><tr><th>Call</th><th>Permission</th><th>Needs</th><th>Takes</th><th>Errors</th></tr></thead><tbody>",
    );
    for entry in table::all() {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(", ");
        let _ = write!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            entry.path,
            who(entry),
            words(entry.required),
            words(entry.optional),
            words(entry.errors),
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
        assert!(page.contains("<td>study_view or study_browse</td>"));
    }
}
