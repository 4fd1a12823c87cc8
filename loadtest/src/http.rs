//! A blocking HTTP/1.1 client (RFC 9112), as small as the measurement needs: one connection that is kept, Basic
//! authentication, bodies of known length, answers of known length or chunked. A body that nobody looks at is drained
//! through a small buffer, so that large answers cost the client neither memory nor page faults.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use thiserror::Error;

use crate::tls;

const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_LINE_BYTES: u64 = 64 * 1024;
const MAX_KEPT_BYTES: u64 = 1 << 30;

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

/// `http://host:port/path` or `https://…`, resolved.
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
            .min_by_key(|socket| matches!(socket.ip(), IpAddr::V6(_)))
            .ok_or_else(|| HttpError::Address(format!("{with_port}: no address")))?;
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

impl Address {
    /// Whether it is on this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        self.socket.ip().is_loopback()
    }
}

/// Where and as whom to connect; cheap to clone, one for all clients.
#[derive(Clone)]
pub(crate) struct Endpoint {
    address: Address,
    authorization: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// `certificate` is the PEM file with the certificate that an https server must show.
    pub(crate) fn new(
        address: Address,
        user_password: Option<(&str, &str)>,
        certificate: Option<&Path>,
    ) -> Result<Self, HttpError> {
        use base64::Engine as _;
        let authorization = user_password.map(|(user, password)| {
            format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
            )
        });
        let tls = match (address.tls, certificate) {
            (false, _) => None,
            (true, Some(path)) => Some(tls::pinned(path)?),
            (true, None) => return Err(HttpError::Tls("https needs the server's certificate".into())),
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
    endpoint: Endpoint,
    stream: Option<BufReader<Box<dyn Stream>>>,
    /// The socket below `stream`, to see whether the server has closed it.
    socket: Option<TcpStream>,
    body: Vec<u8>,
}

/// What to do with the body of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sink {
    /// Keep it, at most 1 GiB, until the next request.
    Keep,
    /// Count its bytes and let them go.
    Discard,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Content-Type, empty when absent.
    pub(crate) content_type: String,
    /// Length of the body.
    pub(crate) num_bytes: u64,
}

/// A request without the base address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Method.
    pub(crate) method: &'a str,
    /// Path below the base address, beginning with a slash, with its query.
    pub(crate) path: &'a str,
    /// Accept.
    pub(crate) accept: &'a str,
    /// Content-Type and body.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
    /// Where the answer's body goes.
    pub(crate) sink: Sink,
}

impl Connection {
    /// Connects at the first request.
    pub(crate) fn new(endpoint: &Endpoint) -> Self {
        Self {
            endpoint: endpoint.clone(),
            stream: None,
            socket: None,
            body: Vec::new(),
        }
    }

    /// Whether the server has closed the connection, or said something that nobody asked for, since the last answer. Servers
    /// end idle connections (some within a second), which is no failure of the next request.
    fn is_stale(&self) -> bool {
        let Some(socket) = &self.socket else {
            return true;
        };
        let silent = socket.set_nonblocking(true).is_ok()
            && socket
                .peek(&mut [0])
                .is_err_and(|problem| problem.kind() == io::ErrorKind::WouldBlock);
        socket.set_nonblocking(false).is_err() || !silent
    }

    /// The body of the last answer that was kept.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    fn stream(&mut self) -> Result<&mut BufReader<Box<dyn Stream>>, HttpError> {
        if self.stream.is_some() && self.is_stale() {
            self.stream = None;
        }
        if self.stream.is_none() {
            let plain = TcpStream::connect_timeout(&self.endpoint.address.socket, TIMEOUT)?;
            plain.set_nodelay(true)?;
            plain.set_read_timeout(Some(TIMEOUT))?;
            plain.set_write_timeout(Some(TIMEOUT))?;
            self.socket = Some(plain.try_clone()?);
            let stream: Box<dyn Stream> = match &self.endpoint.tls {
                None => Box::new(plain),
                Some(config) => {
                    let name = ServerName::try_from(self.endpoint.address.host.clone())
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

    /// Sends a request and reads its answer.
    pub(crate) fn request(&mut self, call: Call<'_>) -> Result<Answer, HttpError> {
        let mut head = format!(
            "{} {}{} HTTP/1.1\r\nHost: {}\r\nAccept: {}\r\n",
            call.method, self.endpoint.address.path, call.path, self.endpoint.address.host, call.accept
        );
        if let Some(authorization) = &self.endpoint.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        let body = call.body.map_or(&[] as &[u8], |(content_type, body)| {
            head += &format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
            body
        });
        head += "\r\n";
        let outcome = self.exchange(head.as_bytes(), body, call.sink);
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    fn exchange(&mut self, head: &[u8], body: &[u8], sink: Sink) -> Result<Answer, HttpError> {
        let mut kept = std::mem::take(&mut self.body);
        kept.clear();
        let stream = self.stream()?;
        stream.get_mut().write_all(head)?;
        stream.get_mut().write_all(body)?;
        stream.get_mut().flush()?;
        let (answer, keep) = read_answer(stream, (sink == Sink::Keep).then_some(&mut kept))?;
        self.body = kept;
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

/// The answer, and whether the connection can be used again. The body is appended to `kept`, or drained.
fn read_answer(reader: &mut impl BufRead, mut kept: Option<&mut Vec<u8>>) -> Result<(Answer, bool), HttpError> {
    let (mut status, mut length, mut chunked, mut keep) = (100, None, false, true);
    let mut content_type = String::new();
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
                let parsed = value.parse::<u64>();
                length = Some(parsed.map_err(|_| HttpError::Malformed("Content-Length"))?);
            } else if name.eq_ignore_ascii_case("content-type") {
                content_type = value.to_owned();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                keep = !value.eq_ignore_ascii_case("close");
            }
        }
    }
    let mut num_bytes = 0;
    match (chunked, length) {
        _ if matches!(status, 204 | 304) => {}
        (true, _) => loop {
            let line = read_line(reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| HttpError::Malformed("chunk size"))?;
            take(reader, kept.as_deref_mut(), size)?;
            num_bytes += size;
            read_line(reader)?;
            if size == 0 {
                break;
            }
        },
        (false, Some(length)) => {
            take(reader, kept.as_deref_mut(), length)?;
            num_bytes = length;
        }
        (false, None) => {
            keep = false;
            num_bytes = match kept {
                Some(kept) => reader.by_ref().take(MAX_KEPT_BYTES).read_to_end(kept)? as u64,
                None => io::copy(reader, &mut io::sink())?,
            };
        }
    }
    let answer = Answer {
        status,
        content_type,
        num_bytes,
    };
    Ok((answer, keep))
}

fn take(reader: &mut impl BufRead, kept: Option<&mut Vec<u8>>, length: u64) -> Result<(), HttpError> {
    let read = match kept {
        Some(kept) if length.saturating_add(kept.len() as u64) > MAX_KEPT_BYTES => {
            return Err(HttpError::Malformed("the answer is larger than 1 GiB"));
        }
        Some(kept) => reader.by_ref().take(length).read_to_end(kept)? as u64,
        None => drain(reader, length)?,
    };
    if read == length {
        Ok(())
    } else {
        Err(HttpError::Malformed("the answer is cut short"))
    }
}

/// Reads over `length` bytes without copying them out of the reader's buffer.
fn drain(reader: &mut impl BufRead, length: u64) -> Result<u64, HttpError> {
    let mut left = length;
    while left > 0 {
        let held = reader.fill_buf()?.len() as u64;
        if held == 0 {
            break;
        }
        let used = held.min(left);
        reader.consume(usize::try_from(used).unwrap_or(usize::MAX));
        left -= used;
    }
    Ok(length - left)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
