//! Matching of person names (PS3.5 section 6.2.1, PS3.4 section C.2.2.2.1.1).
//!
//! Literal matching ignores case, empty components at a group's end, and which of the three groups a query without
//! `=` meets. It keeps diacritics: the standard leaves them to the archive.
//!
//! Fuzzy matching (`fuzzymatching=true`) finds all that literal matching finds with diacritics ignored, and every name
//! in which each word of the query starts a word, in any order and in any component or group. Words end at spaces,
//! `^`, `=`, `,`, `-` and `.`; apostrophes are ignored; a word with wildcards is matched as it stands. Umlauts may be
//! transcribed on either side: `Mueller`, `Muller` and `Müller` find `Müller`, `Müller` and `Mueller` find `Mueller`.
//! Sounds are not compared.

use super::fold::{lower, transcribed, without_diacritics};
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
    /// What must match. With fuzzy matching the second spelling is the transcribed one; either may match.
    spellings: Vec<Spelling>,
    is_fuzzy: bool,
}

#[derive(Clone, PartialEq, Eq)]
struct Spelling {
    /// For each group of the query the patterns of which one must match; no patterns: anything.
    groups: Vec<Vec<Pattern>>,
    /// With fuzzy matching, the query's words: each must be the start of a word of the name.
    words: Vec<Pattern>,
}

impl NamePattern {
    pub(super) fn new(text: &str, is_fuzzy: bool) -> Self {
        let plain = comparable(text.split('='));
        let spellings = if is_fuzzy {
            let both = [without_diacritics(&plain), transcribed(&plain)];
            both.into_iter().map(|plain| Spelling::fuzzy(&plain)).collect()
        } else {
            vec![Spelling::literal(&plain)]
        };
        Self { spellings, is_fuzzy }
    }

    /// Pieces of which every name that matches contains at least one; `None` where there are no such pieces.
    pub(super) fn literals(&self) -> Option<Vec<&str>> {
        match &self.spellings[..] {
            [spelling] if !self.is_fuzzy && spelling.groups.len() == 1 => {
                spelling.groups[0].iter().map(Pattern::literal).collect()
            }
            _ => None,
        }
    }

    /// Whether a name that [`comparable`] made matches.
    pub(super) fn matches(&self, name: &str) -> bool {
        match &self.spellings[..] {
            [bare, transcription] if self.is_fuzzy => {
                // Names without such letters have one spelling, which either one of the query's may match.
                bare.matches(&without_diacritics(name)) || transcription.matches(&transcribed(name))
            }
            spellings => spellings.iter().any(|spelling| spelling.matches(name)),
        }
    }
}

impl Spelling {
    fn literal(plain: &str) -> Self {
        let groups = plain.split('=').map(|group| match group {
            "" => Vec::new(),
            // `doe^*` means everybody called Doe, the one without a given name too.
            _ => match group.strip_suffix("^*") {
                Some(start) => vec![Pattern::new(group), Pattern::new(start.trim_end_matches('^'))],
                None => vec![Pattern::new(group)],
            },
        });
        Self {
            groups: groups.collect(),
            words: Vec::new(),
        }
    }

    fn fuzzy(plain: &str) -> Self {
        let words = words(plain).filter(|word| word.contains(|letter| letter != '*'));
        let pattern = |word: String| match word.contains(['*', '?']) {
            true => Pattern::new(&word),
            false => Pattern::new(&(word + "*")),
        };
        Self {
            words: words.map(pattern).collect(),
            ..Self::literal(plain)
        }
    }

    fn matches(&self, name: &str) -> bool {
        self.groups_match(name) || self.words_match(name)
    }

    fn words_match(&self, name: &str) -> bool {
        if self.words.is_empty() {
            return false;
        }
        let found: Vec<String> = words(name).collect();
        let is_found = |pattern: &Pattern| found.iter().any(|word| pattern.matches(word));
        self.words.iter().all(is_found)
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

/// The words of a name. Apostrophes fall out: `O'Brien` is one word, and the same as `Obrien`.
fn words(name: &str) -> impl Iterator<Item = String> + '_ {
    name.split(['=', '^', ' ', ',', '-', '.', '\u{3000}'])
        .map(|word| word.replace(['\'', '’', 'ʼ', '`'], ""))
        .filter(|word| !word.is_empty())
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
            ("Mueller", "Müller^Jürgen", false, true),
            ("Juergen Müll", "Müller^Jürgen", false, true),
            ("Müller", "Mueller^Jurgen", false, true),
            ("Müller", "Muller^Jürgen", false, true),
            ("Muller", "Mueller^Jurgen", false, false),
            ("OBrien", "O'Brien^Siobhán", false, true),
            ("o'brien siob", "OBRIEN^SIOBHAN", false, true),
            ("clair", "St.Clair^Ann-Marie", false, true),
            ("marie", "St.Clair^Ann-Marie", false, true),
            ("?oe jo*n", "Doe^John", false, true),
            ("ohn", "Doe^John", false, false),
            ("oe*", "Doe^John", false, false),
            ("*oe*", "Doe^John", true, true),
            ("Yamada*=鈴木*", "Yamada^Tarou=山田^太郎", false, false),
        ] {
            check(query, name, plain, fuzzy);
        }
    }
}
