//! Wildcard matching (PS3.4 section C.2.2.2.4): `*` is any text, `?` any one character.

/// A compiled pattern.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Pattern {
    Exact(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    /// Everything else, as characters.
    General(Vec<char>),
}

impl Pattern {
    pub(super) fn new(pattern: &str) -> Self {
        let is_plain = |text: &str| !text.contains(['*', '?']);
        if is_plain(pattern) {
            return Self::Exact(pattern.to_owned());
        }
        let (front, back) = (pattern.starts_with('*'), pattern.ends_with('*'));
        let middle = pattern.trim_matches('*');
        match (front, back) {
            (true, true) if is_plain(middle) => Self::Contains(middle.to_owned()),
            (true, false) if is_plain(middle) => Self::EndsWith(middle.to_owned()),
            (false, true) if is_plain(middle) => Self::StartsWith(middle.to_owned()),
            _ => Self::General(pattern.chars().collect()),
        }
    }

    /// What every text that matches contains; `None` where that is not one piece.
    pub(super) fn literal(&self) -> Option<&str> {
        match self {
            Self::Exact(part) | Self::StartsWith(part) | Self::EndsWith(part) | Self::Contains(part) => {
                Some(part.as_str())
            }
            Self::General(_) => None,
        }
        .filter(|part| !part.is_empty())
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::StartsWith(start) => text.starts_with(start.as_str()),
            Self::EndsWith(end) => text.ends_with(end.as_str()),
            Self::Contains(part) => contains(text.as_bytes(), part.as_bytes()),
            Self::General(pattern) => general(pattern, text),
        }
    }
}

/// Values are short, so setting up a search algorithm would cost more than it saves.
fn contains(text: &[u8], part: &[u8]) -> bool {
    let Some((&first, rest)) = part.split_first() else {
        return true;
    };
    let Some(last_start) = text.len().checked_sub(part.len()) else {
        return false;
    };
    (0..=last_start).any(|start| text[start] == first && text[start + 1..].starts_with(rest))
}

/// Tries the shortest text for each `*` and returns to the last one on a mismatch: linear memory, no recursion, at
/// worst pattern length × text length steps.
fn general(pattern: &[char], text: &str) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let before = rest.clone();
        match (pattern.get(at), rest.next()) {
            (Some('*'), _) => {
                at += 1;
                rest = before.clone();
                retry = Some((at, before));
            }
            (None, None) => return true,
            (Some(&wanted), Some(found)) if wanted == '?' || wanted == found => at += 1,
            _ => {
                let Some((star, from)) = &mut retry else { return false };
                if from.next().is_none() {
                    return false;
                }
                at = *star;
                rest = from.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Pattern::new(pattern).matches(text), expected, "{pattern} {text}");
        };
        for (pattern, text, expected) in [
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("ab*", "ab", true),
            ("*bc", "abc", true),
            ("*b*", "abc", true),
            ("*x*", "abc", false),
            ("**b", "ab", true),
            ("a?c", "aüc", true),
            ("a?c", "ac", false),
            ("?", "", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("*a?*", "xa", false),
            ("*a?*", "xay", true),
            ("*?", "a", true),
        ] {
            check(pattern, text, expected);
        }
        check(&"*a".repeat(500), &"a".repeat(499), false);
        check(&"*a".repeat(500), &"a".repeat(700), true);
    }
}
