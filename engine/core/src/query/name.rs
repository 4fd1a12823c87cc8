//! Matching of person names (PS3.5 section 6.2.1, PS3.4 section C.2.2.2.1.1).

use super::fold::{lower, without_diacritics};
use super::wildcard::Pattern;

/// A name as it is compared: lower case, groups joined with `=`, components with `^`, no spaces around components, no
/// empty ones at a group's end. `groups` are the alphabetic, the ideographic and the phonetic one.
pub(super) fn comparable<'a>(groups: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (number, group) in groups.enumerate() {
        if number > 0 {
            out.push('=');
        }
        out.push_str(&comparable_group(group));
    }
    out.truncate(out.trim_end_matches('=').len());
    out
}

fn comparable_group(group: &str) -> String {
    let group = lower(group);
    let mut out = String::with_capacity(group.len());
    for (number, component) in group.split('^').enumerate() {
        if number > 0 {
            out.push('^');
        }
        out.push_str(component.trim());
    }
    out.truncate(out.trim_end_matches('^').len());
    out
}

/// A name to search for.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct NamePattern {
    /// For each group of the query the patterns of which one must match; no patterns: anything.
    groups: Vec<Vec<Pattern>>,
    /// With fuzzy matching, the query's words without diacritics.
    words: Option<Vec<Pattern>>,
}

impl NamePattern {
    pub(super) fn new(text: &str, fuzzy: bool) -> Self {
        let plain = comparable(text.split('='));
        let plain = if fuzzy {
            without_diacritics(&plain).into_owned()
        } else {
            plain
        };
        let groups = plain.split('=').map(|group| match group {
            "" => Vec::new(),
            // `doe^*` means everybody called Doe, the one without a given name too.
            _ => match group.strip_suffix("^*") {
                Some(start) => vec![Pattern::new(group), Pattern::new(start.trim_end_matches('^'))],
                None => vec![Pattern::new(group)],
            },
        });
        let groups = groups.collect();
        let words = fuzzy.then(|| {
            words(&plain)
                .filter(|word| word.contains(|c| c != '*'))
                .map(|word| {
                    Pattern::new(&if word.contains(['*', '?']) {
                        word.to_owned()
                    } else {
                        format!("{word}*")
                    })
                })
                .collect()
        });
        Self { groups, words }
    }

    /// Whether a name that [`comparable`] made matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        let Some(wanted) = &self.words else {
            return self.groups_match(name);
        };
        let name = without_diacritics(name);
        let all_words = || {
            wanted
                .iter()
                .all(|pattern| words(&name).any(|word| pattern.matches(word)))
        };
        self.groups_match(&name) || (!wanted.is_empty() && all_words())
    }

    fn groups_match(&self, name: &str) -> bool {
        let any = |patterns: &[Pattern], group: &str| patterns.iter().any(|pattern| pattern.matches(group));
        match &self.groups[..] {
            [patterns] => name.split('=').any(|group| any(patterns, group)),
            groups => {
                let mut found = name.split('=');
                groups.iter().all(|patterns| {
                    let group = found.next().unwrap_or_default();
                    patterns.is_empty() || any(patterns, group)
                })
            }
        }
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(['=', '^', ' ', ',', '-']).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches() {
        let check = |query: &str, name: &str, plain: bool, fuzzy: bool| {
            let name = comparable(name.split('='));
            assert_eq!(NamePattern::new(query, false).matches(&name), plain, "{query} {name}");
            assert_eq!(
                NamePattern::new(query, true).matches(&name),
                fuzzy,
                "{query} {name} fuzzy"
            );
        };
        for (query, name, plain, fuzzy) in [
            ("Doe^John", "DOE^JOHN", true, true),
            ("Doe^John", "Doe^John^^^", true, true),
            ("Doe ^ John", "Doe^John", true, true),
            ("Doe", "Doe^John", false, true),
            ("Doe*", "Doe^John", true, true),
            ("*ohn*", "Doe^John", true, true),
            ("Doe^*", "Doe", true, true),
            ("Doe^*", "Doet", false, true),
            ("John Doe", "Doe^John", false, true),
            ("doe, jo", "Doe^John", false, true),
            ("doe jack", "Doe^John", false, false),
            ("muller", "Müller^Jürgen", false, true),
            ("MÜLLER^JÜRGEN", "Müller^Jürgen", true, true),
            ("山田^太郎", "Yamada^Tarou=山田^太郎=やまだ^たろう", true, true),
            ("=山田*", "Yamada^Tarou=山田^太郎", true, true),
            ("山田*=", "Yamada^Tarou=山田^太郎", true, true),
            ("=山田*", "山田^太郎", false, true),
            ("Yamada*=鈴木*", "Yamada^Tarou=山田^太郎", false, false),
        ] {
            check(query, name, plain, fuzzy);
        }
    }
}
