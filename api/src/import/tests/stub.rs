//! A small HTTP server for the tests: one thread a connection, answers by a script.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request as the stub saw it.
pub(super) struct Request {
    pub(super) is_search: bool,
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) parts: Vec<Vec<u8>>,
}

/// What the stub does.
pub(super) enum Reply {
    Answer(u16, &'static [(&'static str, &'static str)], String),
    HangUp,
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

pub(super) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub(super) struct Stub {
    pub(super) url: String,
}

impl Stub {
    pub(super) fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with("http", script, |stream| Box::new(stream))
    }

    pub(super) fn start_with(
        scheme: &str,
        script: impl Fn(&Request) -> Reply + Send + Sync + 'static,
        wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!(
            "{scheme}://localhost:{}",
            listener.local_addr().expect("address").port()
        );
        let script: Arc<Script> = Arc::new(script);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let script = script.clone();
                let mut reader = BufReader::new(wrap(stream));
                std::thread::spawn(move || while serve(&mut reader, &*script).is_some() {});
            }
        });
        Self { url }
    }
}

fn serve(reader: &mut BufReader<Box<dyn Stream>>, script: &Script) -> Option<()> {
    let request = read_request(reader)?;
    match script(&request) {
        Reply::HangUp => None,
        Reply::Answer(status, headers, body) => {
            let mut text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
            headers
                .iter()
                .for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
            let stream = reader.get_mut();
            stream.write_all(format!("{text}\r\n{body}").as_bytes()).ok()?;
            stream.flush().ok()
        }
    }
}

fn read_request(reader: &mut BufReader<Box<dyn Stream>>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    let is_search = line.starts_with("GET ");
    let path = line.split(' ').nth(1)?.to_string();
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_string())),
            None => break,
        }
    }
    if is_search {
        return Some(Request {
            is_search,
            path,
            headers,
            parts: Vec::new(),
        });
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let boundary = headers.get("content-type")?.split_once("boundary=")?.1.to_string();
    Some(Request {
        is_search,
        path,
        headers,
        parts: split(&body, &format!("--{boundary}")),
    })
}

/// The parts' contents, after their headers.
fn split(body: &[u8], mark: &str) -> Vec<Vec<u8>> {
    let find = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|window| window == text);
    let mut parts = Vec::new();
    let mut rest = body;
    while let Some(start) = find(rest, mark.as_bytes()) {
        rest = &rest[start + mark.len()..];
        if rest.starts_with(b"--") {
            break;
        }
        let end = find(rest, mark.as_bytes()).expect("a closing mark");
        let content = find(rest, b"\r\n\r\n").expect("a blank line") + 4;
        parts.push(rest[content..end - 2].to_vec());
    }
    parts
}
