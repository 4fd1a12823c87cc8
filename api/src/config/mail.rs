//! Where mail goes out, and how.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::is_origin;

/// Mail that goes out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    /// The mail server, as [`MailServer::parse`] reads it; empty is no mail.
    pub server: String,
    /// Who mail is from.
    pub from: String,
    /// The name to sign in with at the mail server; empty is none.
    pub user: String,
    /// The file that holds the password.
    pub password_file: PathBuf,
    /// Certificates that are trusted at the mail server; empty are the public ones.
    pub ca_file: PathBuf,
    /// How people reach this server.
    pub public_url: String,
}

/// How the connection to a mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// TLS from the start.
    Tls,
    /// TLS after STARTTLS, without which nothing is sent.
    StartTls,
    /// None, on loopback only.
    Plain,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
}

impl MailServer {
    /// Reads `smtps://HOST`, `smtp://HOST` and `smtp+plain://HOST`, each with or without a port.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (protection, port) = match scheme {
            "smtps" => (Protection::Tls, 465),
            "smtp" => (Protection::StartTls, 587),
            "smtp+plain" => (Protection::Plain, 25),
            _ => return None,
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // An IPv6 address stands in brackets (RFC 3986 section 3.2.2).
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, port),
            Some((host, behind)) => (host, behind.strip_prefix(':')?.parse().ok()?),
            None => match rest.split_once(':') {
                Some((host, number)) => (host, number.parse().ok()?),
                None => (rest, port),
            },
        };
        let is_host = !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':'));
        (is_host && port != 0).then(|| Self {
            host: host.to_owned(),
            port,
            protection,
        })
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

impl MailConfig {
    /// Whether any mail goes out.
    pub fn is_on(&self) -> bool {
        !self.server.is_empty()
    }

    /// What is wrong: the setting and why.
    pub(super) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        if !self.is_on() {
            return Vec::new();
        }
        let mut found = Vec::new();
        match MailServer::parse(&self.server) {
            None => found.push((
                "mail.server",
                "must be smtps://HOST, smtp://HOST or smtp+plain://HOST, with or without :PORT",
            )),
            Some(server) if server.protection == Protection::Plain && !server.is_loopback() => {
                found.push((
                    "mail.server",
                    "can be without TLS on a loopback address only: links that sign people in would cross the network",
                ));
            }
            Some(_) => {}
        }
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            found.push(("mail.from", "must be an address, such as Septum <septum@example.org>"));
        }
        if self.user.is_empty() != self.password_file.as_os_str().is_empty() {
            found.push(("mail.user", "and mail.password_file go together"));
        }
        if !is_origin(&self.public_url) {
            found.push((
                "mail.public_url",
                "must be scheme://host or scheme://host:port: mail holds links to this server",
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        for (text, expected) in [
            (
                "smtps://mail.example.org",
                Some(("mail.example.org", 465, Protection::Tls)),
            ),
            (
                "smtp://mail.example.org",
                Some(("mail.example.org", 587, Protection::StartTls)),
            ),
            (
                "smtp://mail.example.org:25/",
                Some(("mail.example.org", 25, Protection::StartTls)),
            ),
            (
                "smtp+plain://127.0.0.1:2525",
                Some(("127.0.0.1", 2525, Protection::Plain)),
            ),
            ("smtps://[::1]:465", Some(("::1", 465, Protection::Tls))),
            ("mail.example.org", None),
            ("http://mail.example.org", None),
            ("smtp://", None),
            ("smtp://a:b@mail.example.org", None),
            ("smtp://mail.example.org:0", None),
            ("smtp://mail.example.org:x", None),
        ] {
            let parsed = MailServer::parse(text);
            let parsed = parsed.as_ref().map(|one| (one.host.as_str(), one.port, one.protection));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let right = MailConfig {
            server: "smtp://mail.example.org".into(),
            from: "Septum <septum@example.org>".into(),
            public_url: "https://septum.example.org".into(),
            ..MailConfig::default()
        };
        assert_eq!(right.problems(), []);
        assert_eq!(MailConfig::default().problems(), []);
        let check = |change: fn(&mut MailConfig), expected: &str| {
            let mut config = right.clone();
            change(&mut config);
            let settings: Vec<_> = config.problems().into_iter().map(|(setting, _)| setting).collect();
            assert_eq!(settings, [expected]);
        };
        check(|config| config.server = "mail".into(), "mail.server");
        check(
            |config| config.server = "smtp+plain://mail.example.org".into(),
            "mail.server",
        );
        check(|config| config.from = "nobody".into(), "mail.from");
        check(|config| config.user = "septum".into(), "mail.user");
        check(
            |config| config.public_url = "septum.example.org".into(),
            "mail.public_url",
        );
    }
}
