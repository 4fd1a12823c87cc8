//! The parameters of a call: form fields and query alike, all text until asked for as something else.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::{Fault, Outcome};

/// Most parameters of one call.
const PARAMETERS_MAX: usize = 2_000;
/// Longest body of a call, in bytes.
pub const BODY_BYTES_MAX: u64 = 4 << 20;

/// Parameters by name.
#[derive(Debug, Clone, Default)]
pub struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Refuses what this server does not do: to take it for done would be worse.
    ///
    /// # Errors
    /// `NOT_SUPPORTED` about the first of `names` that is given.
    pub fn refuse(&self, names: &[&str]) -> Outcome<()> {
        match names
            .iter()
            .find(|name| self.text(name).is_some_and(|text| text != "0"))
        {
            Some(name) => Err(Fault::about("NOT_SUPPORTED", *name)),
            None => Ok(()),
        }
    }

    /// Of several values of one name the last counts.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Outcome<Self> {
        let parameters: BTreeMap<_, _> = pairs.into_iter().take(PARAMETERS_MAX + 1).collect();
        if parameters.len() > PARAMETERS_MAX {
            return Err(Fault::new("INVALID_PARAMETERS"));
        }
        Ok(Self(parameters))
    }

    /// A parameter that is given; empty ones too.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter that is given and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// A parameter that the call's declaration asks for; empty where it does not.
    pub fn required(&self, name: &str) -> &str {
        self.given(name).unwrap_or_default()
    }

    /// A flag: 1 or 0.
    pub fn flag(&self, name: &str) -> Outcome<Option<bool>> {
        match self.text(name) {
            None => Ok(None),
            Some("1" | "true") => Ok(Some(true)),
            Some("0" | "false") => Ok(Some(false)),
            Some(_) => Err(Fault::about("INVALID_FLAG", name)),
        }
    }

    /// Whether a flag is set.
    pub fn is_set(&self, name: &str) -> Outcome<bool> {
        Ok(self.flag(name)?.unwrap_or(false))
    }

    /// A whole number.
    pub fn integer(&self, name: &str) -> Outcome<Option<i64>> {
        let text = self.text(name);
        text.map(|text| text.trim().parse().map_err(|_| Fault::about("INVALID_INTEGER", name)))
            .transpose()
    }

    /// Any JSON.
    pub fn json(&self, name: &str) -> Outcome<Option<Value>> {
        let text = self.text(name);
        text.map(|text| serde_json::from_str(text).map_err(|_| Fault::about("INVALID_JSON", name)))
            .transpose()
    }

    /// A JSON object.
    pub fn hash(&self, name: &str) -> Outcome<Option<Map<String, Value>>> {
        match self.json(name)? {
            None => Ok(None),
            Some(Value::Object(hash)) => Ok(Some(hash)),
            Some(_) => Err(Fault::about("NOT_HASH", name)),
        }
    }

    /// A JSON list.
    pub fn list(&self, name: &str) -> Outcome<Option<Vec<Value>>> {
        match self.json(name)? {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(Fault::about("NOT_LIST", name)),
        }
    }

    /// Parameters whose name starts with `prefix`, by the rest of it.
    pub fn starting<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0
            .range(prefix.to_owned()..)
            .take_while(move |(name, _)| name.starts_with(prefix))
            .map(move |(name, value)| (&name[prefix.len()..], value.as_str()))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Parameters::new(pairs).expect("few")
    }

    #[test]
    fn values_are_read_as_what_they_should_be() {
        let given = parameters(&[
            ("on", "1"),
            ("off", "0"),
            ("odd", "yes"),
            ("n", "12"),
            ("hash", "{\"a\":1}"),
            ("list", "[1]"),
            ("broken", "{"),
            ("setting_a", "x"),
            ("setting_b", "y"),
            ("settings", "{}"),
            ("empty", ""),
        ]);
        assert!(given.is_set("on").expect("a flag"));
        assert!(!given.is_set("off").expect("a flag"));
        assert!(given.flag("odd").is_err() && given.integer("odd").is_err());
        assert_eq!(given.integer("n").expect("a number"), Some(12));
        assert_eq!(given.hash("hash").expect("a hash").map(|hash| hash.len()), Some(1));
        assert!(given.hash("list").is_err() && given.list("hash").is_err() && given.json("broken").is_err());
        let settings: Vec<_> = given.starting("setting_").collect();
        assert_eq!(settings, [("a", "x"), ("b", "y")]);
        assert_eq!((given.text("empty"), given.given("empty")), (None, Some("")));
    }
}
