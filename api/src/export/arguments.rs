//! The command line of `septum export`.

use std::path::PathBuf;

use crate::remote::{RemoteArguments, RemoteError};

use super::selection::Selection;

/// Download studies from a server to a folder or a ZIP file, with a DICOMDIR, by DICOMweb.
///
/// Instances come as they are stored. Each is checked when it arrives: that it is whole, can be read, and is the one
/// asked for. An export that was stopped goes on where it was when started again with the same target.
/// Exit codes: 0 all there; 1 some could not be had; 2 no connection or no permission; 64 wrong usage; 130 stopped.
#[derive(Debug, Clone, clap::Args)]
#[command(group = clap::ArgGroup::new("target").required(true))]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub struct ExportArguments {
    /// Studies to download, by Study Instance UID.
    #[arg(long, value_name = "UID", group = "what")]
    pub study: Vec<String>,

    /// Download what this query finds: a keyword or tag, and a value as in QIDO-RS, such as PatientID=42,
    /// StudyDate=20200101-20201231, ModalitiesInStudy=CT, Modality=CT. All of them must match.
    #[arg(long = "match", value_name = "KEY=VALUE", group = "what")]
    pub matches: Vec<String>,

    /// Download everything.
    #[arg(long, group = "what")]
    pub all: bool,

    /// Folder to fill: new, empty, or of an earlier export, which is then completed.
    #[arg(long, value_name = "FOLDER", group = "target")]
    pub to: Option<PathBuf>,

    /// ZIP file to make. Until it is complete, everything is in a folder FILE.part beside it.
    #[arg(long, value_name = "FILE", group = "target")]
    pub zip: Option<PathBuf>,

    /// Transfer syntax to ask for. Default: as stored.
    #[arg(long, value_name = "UID")]
    pub transfer_syntax: Option<String>,

    /// Make no DICOMDIR.
    #[arg(long)]
    pub no_dicomdir: bool,

    /// The server.
    #[command(flatten)]
    pub remote: RemoteArguments,

    /// Results as JSON lines on stdout: one object for each instance that could not be had, then a summary.
    #[arg(long)]
    pub json: bool,
}

impl ExportArguments {
    /// What to download, checked.
    pub(super) fn selection(&self) -> Result<Selection, RemoteError> {
        Selection::new(&self.study, &self.matches).map_err(RemoteError::Usage)
    }

    /// The transfer syntax for `Accept` (PS3.18 section 8.7.3.5.2): `*` is as stored.
    pub(super) fn accepted_syntax(&self) -> Result<String, RemoteError> {
        match &self.transfer_syntax {
            None => Ok("*".into()),
            Some(uid) if is_uid(uid) => Ok(uid.clone()),
            Some(_) => Err(RemoteError::Usage("--transfer-syntax is not a UID".into())),
        }
    }
}

/// Whether the text is made like a UID (PS3.5 section 9.1), so that it can stand in a URL.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        _arguments: ExportArguments,
    }

    #[test]
    fn what_and_where_must_be_said() {
        for (line, expected) in [
            ("--all --to x", true),
            ("--study 1.2 --study 1.3 --match PatientID=1 --zip x.zip", true),
            ("--all", false),
            ("--to x", false),
            ("--all --to x --zip y", false),
            ("--url https://h --user u --namespace n --all --to x", true),
        ] {
            let words = ["export"].into_iter().chain(line.split(' '));
            assert_eq!(Command::try_parse_from(words).is_ok(), expected, "{line}");
        }
    }
}
