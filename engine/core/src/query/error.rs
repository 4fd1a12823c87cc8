//! What can be wrong with a search: always the client's fault, answered with 400.

/// Why a query is refused. Names the parameter, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither a query option nor a known attribute.
    #[error("unknown query parameter {0}")]
    UnknownParameter(Name),
    /// `includefield` names no known attribute.
    #[error("includefield names an unknown attribute {0}")]
    UnknownIncludeField(Name),
    /// `orderby` names no known attribute, or one that has no order.
    #[error("orderby names {0}, which is not an attribute to sort by")]
    UnknownOrder(Name),
    /// `orderby` names an attribute of a level below the one searched.
    #[error("orderby names {0}, which does not describe what is searched for")]
    OrderBelowLevel(Name),
    /// The same parameter twice. Only `includefield`, UIDs and code strings may repeat.
    #[error("query parameter {0} is given more than once")]
    Duplicate(Name),
    /// The value does not fit the parameter.
    #[error("query parameter {parameter} is not {expected}")]
    Value {
        /// The parameter.
        parameter: Name,
        /// What it should be.
        expected: &'static str,
    },
    /// The value is longer than such values may be.
    #[error("query parameter {parameter} has a value longer than {bytes_max} bytes")]
    TooLong {
        /// The parameter.
        parameter: Name,
        /// How long it may be.
        bytes_max: usize,
    },
    /// More than [`super::UIDS_MAX`] UIDs in a list.
    #[error("query parameter {0} lists more than 1000 UIDs")]
    TooManyUids(Name),
    /// More than [`super::PREDICATES_MAX`] attributes.
    #[error("more than 64 attributes to match")]
    TooManyPredicates,
    /// More than [`super::INCLUDE_MAX`] attributes.
    #[error("more than 256 attributes in includefield")]
    TooManyIncludeFields,
    /// More than [`super::ORDER_MAX`] attributes.
    #[error("more than 8 attributes in orderby")]
    TooManyOrders,
}

/// A parameter's name, fit to be shown: names with anything but letters, digits, dots, dashes and underscores, or
/// longer than 100 bytes, may be misplaced values and are not repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let is_plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        Self(if is_plain && name.len() <= 100 {
            name.to_owned()
        } else {
            "(unprintable)".to_owned()
        })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
impl Name {
    pub(super) fn for_test(name: &str) -> Self {
        Self(name.to_owned())
    }
}
