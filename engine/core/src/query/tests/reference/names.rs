//! Names (PS3.4 section C.2.2.2.1.1): what our documentation says of them, in the plainest way.

use super::{Request, like};

impl Request {
    pub(super) fn name_holds(&self, wanted: &str, found: &str) -> bool {
        let group = |group: &str| {
            let parts: Vec<String> = group
                .to_lowercase()
                .split('^')
                .map(|part| part.trim().to_owned())
                .collect();
            parts.join("^").trim_end_matches('^').to_owned()
        };
        let groups = |name: &str| -> Vec<String> {
            let groups: Vec<String> = name.split('=').map(group).collect();
            let kept = groups
                .iter()
                .rposition(|group| !group.is_empty())
                .map_or(1, |last| last + 1);
            groups[..kept].to_vec()
        };
        let one = |wanted: &str, found: &str| {
            let without_rest = wanted
                .strip_suffix("^*")
                .map(|start| start.trim_end_matches('^').to_owned());
            wanted.is_empty() || like(wanted, found) || without_rest.is_some_and(|start| like(&start, found))
        };
        let literal = |wanted: &str, found: &str| {
            let (wanted, found) = (groups(wanted), groups(found));
            match &wanted[..] {
                [wanted] => !wanted.is_empty() && found.iter().any(|found| one(wanted, found)),
                wanted => (0..wanted.len()).all(|at| one(&wanted[at], found.get(at).map_or("", String::as_str))),
            }
        };
        let words = |name: &str| -> Vec<String> {
            let plain = name.replace('\'', "");
            plain
                .split([' ', '^', '=', '-', ',', '.'])
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let fuzzy = |wanted: &str, found: &str| {
            let wanted: Vec<String> = words(wanted)
                .into_iter()
                .filter(|word| word.chars().any(|letter| letter != '*'))
                .collect();
            let starts = |word: &String| match word.contains(['*', '?']) {
                true => words(found).iter().any(|found| like(word, found)),
                false => words(found).iter().any(|found| found.starts_with(word.as_str())),
            };
            literal(wanted.join(" ").as_str(), found) || (!wanted.is_empty() && wanted.iter().all(starts))
        };
        if !self.is_fuzzy {
            return literal(wanted, found);
        }
        let bare = |name: &str| name.to_lowercase().replace('ä', "a").replace('ü', "u");
        let spelled = |name: &str| name.to_lowercase().replace('ä', "ae").replace('ü', "ue");
        [(bare(wanted), bare(found)), (spelled(wanted), spelled(found))]
            .iter()
            .any(|(wanted, found)| literal(wanted, found) || fuzzy(wanted, found))
    }
}
