//! The command line of `septum import`.

use std::path::{Path, PathBuf};

use crate::remote::{RemoteArguments, RemoteError, Target, in_range};

/// Send files and folders to a server, by DICOMweb (STOW-RS).
///
/// ZIP files and disc images (ISO 9660) are looked into, one level deep; one that lies in another is named and left
/// behind. Of a medium with a DICOMDIR, files that it lists and that are not there are named. Files that are not DICOM
/// are passed over. An import that was stopped goes on where it was when started again: the server is searched for what
/// was sent before, and what it does not show any more is sent again.
/// Exit codes: 0 all sent; 1 some refused, unreadable, missing or in two packings; 2 no connection or no permission;
/// 64 wrong usage; 130 stopped.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArguments {
    /// Files and folders to send. Folders are walked; symbolic links to folders inside them are not followed. A
    /// DICOMDIR stands for the files that it lists.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// The server.
    #[command(flatten)]
    pub remote: RemoteArguments,

    /// Most instances in one request.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = in_range(1, 10_000))]
    pub batch: usize,

    /// Most MiB in one request; a larger file goes alone.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub batch_mib: u64,

    /// Where to note what was sent. Default: a file for this server and namespace below $XDG_STATE_HOME/septum.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,

    /// Pass over what was sent before without asking the server whether it still has it: for users who may not search.
    #[arg(long)]
    pub trust_state: bool,

    /// Only look: say what would be sent.
    #[arg(long)]
    pub dry_run: bool,

    /// Results as JSON lines on stdout: one object for each refusal, then a summary.
    #[arg(long)]
    pub json: bool,
}

impl ImportArguments {
    /// Where the state lies.
    pub(super) fn state_path(&self, target: &Target) -> Result<PathBuf, RemoteError> {
        if let Some(path) = &self.state {
            return Ok(path.clone());
        }
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| Path::new(value).is_absolute())
                .map(PathBuf::from)
        };
        let home = variable("XDG_STATE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
            .ok_or_else(|| RemoteError::Usage("neither XDG_STATE_HOME nor HOME is set: give --state".into()))?;
        let hash = blake3::hash(target.studies_url().as_bytes()).to_hex();
        Ok(home.join("septum").join(format!("import-{}.jsonl", &hash[..16])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        _arguments: ImportArguments,
    }

    #[test]
    fn limits_are_checked_by_the_parser() {
        for line in [
            ["--parallel", "0"],
            ["--parallel", "65"],
            ["--batch", "0"],
            ["--batch-mib", "0"],
        ] {
            assert!(
                Command::try_parse_from(["import", "x"].iter().chain(&line)).is_err(),
                "{line:?}"
            );
        }
        assert!(Command::try_parse_from(["import"]).is_err());
    }
}
