//! The part of the command line that names the server.

use std::path::PathBuf;

use super::RemoteError;

/// The server and how to talk to it.
#[derive(Debug, Clone, clap::Args)]
pub struct RemoteArguments {
    /// Address of the server.
    #[arg(
        long,
        visible_alias = "url",
        value_name = "URL",
        default_value = "https://localhost:8443",
        env = "SEPTUM_SERVER"
    )]
    pub server: String,

    /// Path of the DICOMweb service on the server, for servers other than Septum.
    #[arg(long, value_name = "PATH", default_value = "dicomweb", conflicts_with = "namespace")]
    pub service: String,

    /// Namespace; the server's choice when left out.
    #[arg(long, value_name = "ID")]
    pub namespace: Option<String>,

    /// User name. The password is taken from SEPTUM_PASSWORD, else asked for.
    #[arg(long, value_name = "NAME", env = "SEPTUM_USER")]
    pub user: Option<String>,

    /// Requests at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = in_range(1, 64))]
    pub parallel: usize,

    /// Times to try again when the server is busy or the connection breaks.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub retries: u32,

    /// First wait before trying again, in milliseconds; doubled each time, at most 30 s.
    #[arg(long, value_name = "MS", default_value_t = 500, hide = true)]
    pub retry_wait_ms: u64,

    /// Certificates to trust, PEM: the server's own, or those of an authority. Default: data/tls/cert.pem for a server
    /// on this machine if there is one, else the file that SSL_CERT_FILE names, else the public authorities.
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,

    /// Do not verify the server's certificate: anyone on the way may read the images and the password.
    #[arg(long)]
    pub insecure: bool,

    /// Allow http:// to another machine: anyone on the way may read the images and the password.
    #[arg(long)]
    pub allow_http: bool,
}

/// A parser of counts from `low` to `high`.
pub(crate) fn in_range(low: u64, high: u64) -> impl clap::builder::TypedValueParser<Value = usize> {
    use clap::builder::TypedValueParser as _;
    clap::value_parser!(u64).range(low..=high).map(|value| value as usize)
}

/// A DICOMweb service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// The server's address, without a slash at its end.
    pub(crate) server: String,
    /// The service's base URL (PS3.18 section 8.2), without a slash at its end.
    pub(crate) service_url: String,
    /// Whether the URL's host is this machine.
    pub(crate) is_loopback: bool,
}

impl Target {
    /// The URL of all studies: where to store and to search.
    pub(crate) fn studies_url(&self) -> String {
        format!("{}/studies", self.service_url)
    }
}

impl RemoteArguments {
    /// The service's address, checked.
    pub(crate) fn target(&self) -> Result<Target, RemoteError> {
        let usage = |text: &str| Err(RemoteError::Usage(text.into()));
        let server = self.server.trim_end_matches('/');
        let Some((scheme, rest)) = server.split_once("://") else {
            return usage("--server must start with https:// or http://");
        };
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return usage("--server must not hold a user name or password: use --user and SEPTUM_PASSWORD");
        }
        if authority.is_empty() || rest.contains(['?', '#', ' ']) {
            return usage("--server is not the address of a server");
        }
        let is_loopback = is_loopback(authority);
        match scheme {
            "https" => {}
            "http" if is_loopback || self.allow_http => {}
            "http" => {
                return usage(
                    "http:// to another machine sends patient data in the clear: use https://, or --allow-http",
                );
            }
            _ => return usage("--server must start with https:// or http://"),
        }
        let service = match &self.namespace {
            Some(id) if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') => {
                return usage("--namespace is not the id of a namespace");
            }
            Some(id) => format!("namespaces/{id}/dicomweb/"),
            None => match self.service.trim_matches('/') {
                "" => String::new(),
                service => format!("{service}/"),
            },
        };
        Ok(Target {
            server: server.to_owned(),
            service_url: format!("{server}/{service}").trim_end_matches('/').to_owned(),
            is_loopback,
        })
    }
}

/// Whether `host[:port]` is this machine by its name or number alone.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        arguments: RemoteArguments,
    }

    fn check(line: &[&str], expected: Option<&str>) {
        let arguments = Command::try_parse_from(["septum"].iter().chain(line))
            .expect("parses")
            .arguments;
        assert_eq!(
            arguments.target().ok().map(|t| t.studies_url()).as_deref(),
            expected,
            "{line:?}"
        );
    }

    #[test]
    fn targets() {
        check(
            &["--server", "https://localhost:8443"],
            Some("https://localhost:8443/dicomweb/studies"),
        );
        check(
            &["--server", "https://pacs/x/"],
            Some("https://pacs/x/dicomweb/studies"),
        );
        check(
            &["--server", "https://pacs", "--namespace", "ab-1"],
            Some("https://pacs/namespaces/ab-1/dicomweb/studies"),
        );
        check(&["--server", "https://pacs", "--namespace", "../x"], None);
        check(
            &["--server", "https://pacs", "--service", "dicom-web"],
            Some("https://pacs/dicom-web/studies"),
        );
        check(
            &["--server", "https://pacs", "--service", "/"],
            Some("https://pacs/studies"),
        );
        check(&["--server", "http://pacs"], None);
        check(
            &["--server", "http://pacs", "--allow-http"],
            Some("http://pacs/dicomweb/studies"),
        );
        check(
            &["--server", "http://[::1]:80"],
            Some("http://[::1]:80/dicomweb/studies"),
        );
        check(&["--server", "http://127.0.0.1.evil.org"], None);
        check(&["--server", "https://a:b@pacs"], None);
        check(&["--server", "pacs"], None);
        check(&["--server", "ftp://pacs"], None);
    }
}
