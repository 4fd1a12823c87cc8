//! Media types and media ranges with parameters (RFC 9110 sections 5.6 and 8.3.1).

/// Most parameters of one media type.
const PARAMETERS_MAX: usize = 16;

/// `type/subtype; name=value`, names in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    /// `type/subtype` in lower case.
    pub essence: String,
    /// Names in lower case, values unquoted.
    pub parameters: Vec<(String, String)>,
}

impl MediaType {
    /// Reads one media type. `None` where it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = split_outside_quotes(text, ';').into_iter();
        let essence = fields.next()?.trim().to_ascii_lowercase();
        let (kind, subtype) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) {
            return None;
        }
        let mut parameters = Vec::new();
        for field in fields {
            let field = field.trim();
            if field.is_empty() {
                continue;
            }
            let (name, value) = field.split_once('=')?;
            let name = name.trim().to_ascii_lowercase();
            if !is_token(&name) || parameters.len() == PARAMETERS_MAX {
                return None;
            }
            parameters.push((name, unquoted(value.trim())?));
        }
        Some(Self { essence, parameters })
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Splits at `separator` where it stands outside quoted strings.
pub fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            character if character == separator && !quoted => {
                parts.push(&text[start..index]);
                start = index + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A token, or the content of a quoted string. Tokens are read leniently: clients leave out quotes around
/// `application/dicom`, and some write single ones.
fn unquoted(value: &str) -> Option<String> {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return Some(inner.to_owned());
    }
    let Some(inner) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.push(characters.next()?),
            '"' => return None,
            character => plain.push(character),
        }
    }
    Some(plain)
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &[(&str, &str)])>) {
        let expected = expected.map(|(essence, parameters)| MediaType {
            essence: essence.to_owned(),
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        });
        assert_eq!(MediaType::parse(text), expected, "{text}");
    }

    #[test]
    fn media_types_are_read() {
        check("application/dicom", Some(("application/dicom", &[])));
        check(
            "Multipart/Related; Type=\"application/dicom\";boundary=a;",
            Some(("multipart/related", &[("type", "application/dicom"), ("boundary", "a")])),
        );
        check(
            "a/b; type=application/dicom",
            Some(("a/b", &[("type", "application/dicom")])),
        );
        check("a/b; c=\"x;y\\\"z\"", Some(("a/b", &[("c", "x;y\"z")])));
        check("a/b; c='d'", Some(("a/b", &[("c", "d")])));
        check("*/*", Some(("*/*", &[])));
        check("ab", None);
        check("a/b; c", None);
        check("a/b; c=\"d", None);
        check("", None);
    }
}
