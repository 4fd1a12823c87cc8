//! A blocking HTTP/1.1 client (RFC 9112), as small as the measurement needs: one connection that is kept, Basic
//! authentication, bodies of known length, answers of known length or chunked.
//!
//! Only loopback addresses are accepted: this program makes load, and load belongs on a machine of one's own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use thiserror::Error;

const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_LINE_BYTES: u64 = 64 * 1024;
const MAX_ANSWER_BYTES: u64 = 1 << 30;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum HttpError {
    /// The address cannot be used.
    #[error("{0}")]
    Address(String),
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// What came is not HTTP.
    #[error("not an HTTP answer: {0}")]
    Malformed(&'static str),
}

/// `http://host:port/path` or `https://…`, on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    tls: bool,
    host: String,
    socket: SocketAddr,
    path: String,
}

impl FromStr for Address {
    type Err = HttpError;

    fn from_str(text: &str) -> Result<Self, HttpError> {
        let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => {
                return Err(HttpError::Address(
                    "the address must begin with http:// or https://".into(),
                ));
            }
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        {
            authority.to_owned()
        } else {
            format!("{authority}:{}", if tls { 443 } else { 80 })
        };
        let socket = with_port
            .to_socket_addrs()
            .map_err(|problem| HttpError::Address(format!("{with_port}: {problem}")))?
            .filter(|socket| socket.ip().is_loopback())
            .min_by_key(|socket| matches!(socket.ip(), IpAddr::V6(_)))
            .ok_or_else(|| HttpError::Address("only loopback addresses are loaded".into()))?;
        let host = with_port
            .rsplit_once(':')
            .map_or(with_port.as_str(), |(host, _)| host)
            .to_owned();
        Ok(Self {
            tls,
            host,
            socket,
            path: format!("/{}", path.trim_end_matches('/'))
                .trim_end_matches('/')
                .to_owned(),
        })
    }
}

/// Accepts exactly one certificate: the self-signed one that the server was started with.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.as_ref() == self.certificate.as_ref() {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Where and as whom to connect; cheap to clone, one for all clients.
#[derive(Clone)]
pub(crate) struct Target {
    address: Address,
    authorization: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// `certificate` is the PEM file with the certificate that an https server must show.
    pub(crate) fn new(
        address: Address,
        user_password: Option<(&str, &str)>,
        certificate: Option<&std::path::Path>,
    ) -> Result<Self, HttpError> {
        use base64::Engine as _;
        let authorization = user_password.map(|(user, password)| {
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
            )
        });
        let tls = if address.tls {
            let path = certificate.ok_or_else(|| HttpError::Tls("https needs --certificate".into()))?;
            let certificate = CertificateDer::from_pem_file(path)
                .map_err(|problem| HttpError::Tls(format!("certificate: {problem}")))?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|problem| HttpError::Tls(problem.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Pinned { certificate, provider }))
                .with_no_client_auth();
            Some(Arc::new(config))
        } else {
            None
        };
        Ok(Self {
            address,
            authorization,
            tls,
        })
    }
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One kept connection, opened again when the server has closed it.
pub(crate) struct Connection {
    target: Target,
    stream: Option<BufReader<Box<dyn Stream>>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Body, at most 1 GiB.
    pub(crate) body: Vec<u8>,
}

impl Connection {
    /// Connects at the first request.
    pub(crate) fn new(target: &Target) -> Self {
        Self {
            target: target.clone(),
            stream: None,
        }
    }

    fn stream(&mut self) -> Result<&mut BufReader<Box<dyn Stream>>, HttpError> {
        if self.stream.is_none() {
            let plain = TcpStream::connect_timeout(&self.target.address.socket, TIMEOUT)?;
            plain.set_nodelay(true)?;
            plain.set_read_timeout(Some(TIMEOUT))?;
            plain.set_write_timeout(Some(TIMEOUT))?;
            let stream: Box<dyn Stream> = match &self.target.tls {
                None => Box::new(plain),
                Some(config) => {
                    let name = ServerName::try_from(self.target.address.host.clone())
                        .map_err(|problem| HttpError::Tls(problem.to_string()))?;
                    let connection = ClientConnection::new(Arc::clone(config), name)
                        .map_err(|problem| HttpError::Tls(problem.to_string()))?;
                    Box::new(StreamOwned::new(connection, plain))
                }
            };
            self.stream = Some(BufReader::with_capacity(256 * 1024, stream));
        }
        self.stream.as_mut().ok_or(HttpError::Malformed("no connection"))
    }

    /// Sends a request and reads its answer; `path` is relative to the base address and begins with a slash.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, HttpError> {
        let mut head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\n",
            self.target.address.path, self.target.address.host
        );
        if let Some(authorization) = &self.target.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        let outcome = self.exchange(head.as_bytes(), body);
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Result<Answer, HttpError> {
        let stream = self.stream()?;
        stream.get_mut().write_all(head)?;
        stream.get_mut().write_all(body)?;
        stream.get_mut().flush()?;
        let (answer, keep) = read_answer(stream)?;
        if !keep {
            self.stream = None;
        }
        Ok(answer)
    }
}

fn read_line(reader: &mut impl BufRead) -> Result<String, HttpError> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(HttpError::Malformed("a line has no end"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| HttpError::Malformed("a header is not text"))
}

/// The answer, and whether the connection can be used again.
fn read_answer(reader: &mut impl BufRead) -> Result<(Answer, bool), HttpError> {
    let (mut status, mut length, mut chunked, mut keep) = (100, None, false, true);
    while status / 100 == 1 {
        let line = read_line(reader)?;
        let word = line.split(' ').nth(1).filter(|_| line.starts_with("HTTP/1."));
        status = word
            .and_then(|word| word.parse::<u16>().ok())
            .ok_or(HttpError::Malformed("no status line"))?;
        loop {
            let line = read_line(reader)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(
                    value
                        .parse::<u64>()
                        .map_err(|_| HttpError::Malformed("Content-Length"))?,
                );
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                keep = !value.eq_ignore_ascii_case("close");
            }
        }
    }
    let mut body = Vec::new();
    match (chunked, length) {
        _ if matches!(status, 204 | 304) => {}
        (true, _) => loop {
            let line = read_line(reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| HttpError::Malformed("chunk size"))?;
            append(reader, &mut body, size)?;
            read_line(reader)?;
            if size == 0 {
                break;
            }
        },
        (false, Some(length)) => append(reader, &mut body, length)?,
        (false, None) => {
            keep = false;
            reader.by_ref().take(MAX_ANSWER_BYTES).read_to_end(&mut body)?;
        }
    }
    Ok((Answer { status, body }, keep))
}

fn append(reader: &mut impl BufRead, body: &mut Vec<u8>, length: u64) -> Result<(), HttpError> {
    if length.saturating_add(body.len() as u64) > MAX_ANSWER_BYTES {
        return Err(HttpError::Malformed("the answer is larger than 1 GiB"));
    }
    let read = reader.by_ref().take(length).read_to_end(body)? as u64;
    if read == length {
        Ok(())
    } else {
        Err(HttpError::Malformed("the answer is cut short"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &[u8], expected: Option<(u16, &[u8], bool)>) {
        let got = read_answer(&mut &*answer).ok();
        assert_eq!(
            got.as_ref()
                .map(|(answer, keep)| (answer.status, answer.body.as_slice(), *keep)),
            expected
        );
    }

    #[test]
    fn answers_are_read_to_their_end() {
        check(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx",
            Some((200, b"hi", true)),
        );
        check(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            Some((200, b"hi!", true)),
        );
        check(b"HTTP/1.1 204 No Content\r\n\r\n", Some((204, b"", true)));
        check(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 409 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Some((409, b"", false)),
        );
        check(b"HTTP/1.1 200 OK\r\n\r\nall", Some((200, b"all", false)));
        check(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", None);
        check(b"nonsense\r\n\r\n", None);
    }

    #[test]
    fn addresses_are_loopback_only() {
        let address: Address = "http://127.0.0.1:8042/dicom-web/".parse().unwrap();
        assert_eq!(
            (address.path.as_str(), address.socket.port(), address.tls),
            ("/dicom-web", 8042, false)
        );
        assert_eq!("https://localhost/".parse::<Address>().unwrap().socket.port(), 443);
        assert!("http://192.0.2.1/".parse::<Address>().is_err());
        assert!("ftp://localhost/".parse::<Address>().is_err());
    }
}
