//! The command line of the bench target.

use std::path::PathBuf;

/// What to run and how thoroughly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Only comparisons whose name contains one of these; all where it is empty.
    pub filters: Vec<String>,
    /// Small inputs, few rounds: to see that everything runs, not to quote.
    pub quick: bool,
    /// Where the JSON result goes.
    pub json: Option<PathBuf>,
    /// Where files are written; the system's folder for temporary files where it is absent.
    pub folder: Option<PathBuf>,
    /// Only print the names.
    pub list: bool,
}

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo bench -p septum-benches -- [OPTIONS] [FILTER…]

  FILTER        run only comparisons whose name contains one of these, e.g. codec/acknowledge
  --quick       small inputs and few rounds
  --json FILE   write the result as JSON, too
  --dir FOLDER  write files there (default: the folder for temporary files); its disk is what is measured
  --list        print names, run nothing";

impl Options {
    /// Reads the arguments behind the program's name.
    ///
    /// # Errors
    /// A message for the user, naming the argument. Empty for `--help`.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .map(PathBuf::from)
                    .ok_or(format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = Some(value()?),
                "--dir" => options.folder = Some(value()?),
                "--list" => options.list = true,
                // Cargo adds it.
                "--bench" => {}
                "--help" | "-h" => return Err(String::new()),
                flag if flag.starts_with('-') => return Err(format!("unknown option {flag}")),
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }

    /// Whether a comparison of this name, or one whose name starts with it, is to run.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }

    /// Whether anything of a group (`codec/`) may be wanted: inputs of other groups need not be made.
    pub fn wants_group(&self, group: &str) -> bool {
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| filter.contains(group) || !filter.contains('/') || group.contains(filter.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &str) -> Result<Options, String> {
        Options::parse(arguments.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        let options = parse("--bench codec/ --quick --json out.json seal --dir here").expect("fine");
        assert_eq!(options.filters, ["codec/", "seal"]);
        assert!(options.quick && !options.list);
        assert_eq!(
            (options.json, options.folder),
            (Some("out.json".into()), Some("here".into()))
        );
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (arguments, expected) in [
            ("--fast", "unknown option --fast"),
            ("--json", "--json needs a value"),
            ("--help", ""),
        ] {
            assert_eq!(parse(arguments), Err(expected.to_owned()));
        }
    }

    #[test]
    fn filters_choose() {
        let all = parse("").expect("fine");
        let some = parse("codec/acknowledge").expect("fine");
        assert!(all.wants("seal/x") && all.wants_group("seal/"));
        assert!(some.wants("codec/acknowledge/encode/ct") && !some.wants("codec/dense/encode/ct"));
        assert!(some.wants_group("codec/") && !some.wants_group("seal/"));
        assert!(parse("encode").expect("fine").wants_group("codec/"));
    }
}
