//! The frame of both pages: one style sheet, no scripts, nothing from elsewhere.

pub use crate::http::escape::escaped;

const STYLE: &str = include_str!("style.css");

/// A whole page.
pub fn whole(title: &str, nonce: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style \
         nonce=\"{nonce}\">\n{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
        escaped(title)
    )
}

/// Text as HTML, what stands between backquotes as code.
pub fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, piece) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str("<code>");
            out.push_str(&escaped(piece));
            out.push_str("</code>");
        } else {
            out.push_str(&escaped(piece));
        }
    }
    out
}

/// A table; cells are HTML already.
pub fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut out = String::from("<div class=\"wide\"><table><thead><tr>");
    for head in heads {
        out.push_str(&format!("<th>{}</th>", escaped(head)));
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            out.push_str(&format!("<td>{cell}</td>"));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
    out
}

/// Code in a line.
pub fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// A heading's name in links: lower case, hyphens for everything but letters and digits.
pub fn anchor(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            out.push(character.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(escaped("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
        assert_eq!(prose("say `<x>` & go"), "say <code>&lt;x&gt;</code> &amp; go");
        assert_eq!(anchor("Search (QIDO-RS)"), "search-qido-rs");
    }
}
