//! A real server on free ports with roots of its own, and a client that shows what came back.

#![allow(
    dead_code,
    clippy::expect_used,
    reason = "each test file uses its part; a test may fail anywhere"
)]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use septum_testkit::{Instance, StudySpec, TinyInstance};
use serde_json::Value;
use tempfile::TempDir;
use ureq::http::{HeaderMap, Request};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// The administrator's password in tests.
pub(crate) const PASSWORD: &str = "a password for tests";
/// Original transfer syntax.
pub(crate) const ORIGINAL: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
/// Default transfer syntax.
pub(crate) const DEFAULT: &str = "multipart/related; type=\"application/dicom\"";

/// A server process; ended when dropped.
pub(crate) struct Server {
    child: Child,
    agent: ureq::Agent,
    /// Holds roots and certificate.
    pub(crate) folder: TempDir,
    /// `https://localhost:port`.
    pub(crate) base: String,
    /// `http://127.0.0.1:port`.
    pub(crate) admin: String,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as JSON; an empty list where there is no content.
    pub(crate) fn json(&self) -> Value {
        if self.status == 204 {
            return Value::Array(Vec::new());
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Headers (as text) and content of each part.
    pub(crate) fn parts(&self) -> Vec<(String, Vec<u8>)> {
        let boundary = self
            .header("content-type")
            .rsplit("boundary=")
            .next()
            .expect("a boundary")
            .to_owned();
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        let body = [b"\r\n".as_slice(), &self.body].concat();
        let starts: Vec<usize> = memchr::memmem::find_iter(&body, &delimiter).collect();
        starts
            .windows(2)
            .map(|pair| {
                let part = &body[pair[0] + delimiter.len() + 2..pair[1]];
                let end = memchr::memmem::find(part, b"\r\n\r\n").expect("a header");
                (
                    String::from_utf8_lossy(&part[..end]).into_owned(),
                    part[end + 4..].to_vec(),
                )
            })
            .collect()
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with settings from the environment.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (port, admin_port) = (free_port(), free_port());
        let child = Self::spawn(&folder, port, admin_port, settings);
        let certificate = folder.path().join("tls/cert.pem");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !certificate.exists() {
            assert!(Instant::now() < deadline, "no certificate was made");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(50));
        let pem = std::fs::read(&certificate).expect("a certificate");
        let root = Certificate::from_pem(&pem).expect("PEM");
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![root])))
            .build();
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .tls_config(tls)
            .max_redirects(0);
        let server = Self {
            child,
            agent: config.build().new_agent(),
            folder,
            base: format!("https://localhost:{port}"),
            admin: format!("http://127.0.0.1:{admin_port}"),
        };
        server.wait_until_ready();
        server
    }

    fn spawn(folder: &TempDir, port: u16, admin_port: u16, settings: &[(&str, &str)]) -> Child {
        let path = |name: &str| folder.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_septum"));
        command
            .arg("serve")
            .current_dir(folder.path())
            .env("SEPTUM__SERVER__LISTEN", format!("127.0.0.1:{port}"))
            .env("SEPTUM__ADMIN__LISTEN", format!("127.0.0.1:{admin_port}"))
            .env("SEPTUM__SERVER__TLS_DIR", path("tls"))
            .env("SEPTUM__STORAGE__PHI_ROOT", path("phi"))
            .env("SEPTUM__STORAGE__PIXEL_ROOT", path("pixel"))
            .env("SEPTUM__STORAGE__KEY_ROOT", path("key"))
            .env("SEPTUM_ADMIN_PASSWORD", PASSWORD)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(path("log")).expect("a log"));
        command.spawn().expect("the server starts")
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self
            .agent
            .get(format!("{}/readyz", self.admin))
            .call()
            .map_or(true, |reply| reply.status() != 200)
        {
            assert!(Instant::now() < deadline, "not ready: {}", self.log());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn root(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends a request as it is.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let url = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}{path}", self.base)
        };
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let sent = if body.is_empty() && matches!(method, "GET" | "HEAD" | "DELETE" | "OPTIONS") {
            self.agent.run(request.body(()).expect("a request"))
        } else {
            self.agent.run(request.body(body).expect("a request"))
        };
        let mut reply = sent.unwrap_or_else(|error| panic!("{method} {path}: {error}\n{}", self.log()));
        Reply {
            status: reply.status().as_u16(),
            headers: reply.headers().clone(),
            body: reply
                .body_mut()
                .with_config()
                .limit(1 << 30)
                .read_to_vec()
                .expect("a body"),
        }
    }

    /// Sends a request as the administrator.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let credentials = authorization("admin@localhost", PASSWORD);
        let mut all = vec![("authorization", credentials.as_str())];
        all.extend_from_slice(headers);
        self.send(method, path, &all, body)
    }

    pub(crate) fn get(&self, path: &str, accept: &str) -> Reply {
        self.call("GET", path, &[("accept", accept)], &[])
    }

    /// STOW-RS below a service's path.
    pub(crate) fn store(&self, service: &str, instances: &[&[u8]]) -> Reply {
        let (content_type, body) = multipart(instances);
        self.call(
            "POST",
            &format!("{service}/studies"),
            &[("content-type", &content_type)],
            &body,
        )
    }

    /// SIGTERM; returns the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a signal");
        self.child.wait().expect("an end").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn authorization(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
}

/// Content-Type and body of a store request.
pub(crate) fn multipart(instances: &[&[u8]]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for instance in instances {
        body.extend_from_slice(b"--boundary-of-tests\r\nContent-Type: application/dicom\r\n\r\n");
        body.extend_from_slice(instance);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--boundary-of-tests--\r\n");
    (
        "multipart/related; type=\"application/dicom\"; boundary=boundary-of-tests".to_owned(),
        body,
    )
}

/// A small instance.
pub(crate) fn tiny(seed: u64) -> Instance {
    TinyInstance::new(seed).build()
}

/// A study of small CT slices.
pub(crate) fn ct(slices: u32, seed: u64) -> Vec<Instance> {
    let kind = septum_testkit::StudyKind::Ct {
        slices,
        rows: 64,
        columns: 48,
    };
    StudySpec::new(kind, seed).instances().collect()
}

/// The path of an instance below its service.
pub(crate) fn path_of(instance: &Instance) -> String {
    format!(
        "/studies/{}/series/{}/instances/{}",
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    )
}

/// The bytes behind the file meta (PS3.10 section 7.1).
pub(crate) fn dataset(file: &[u8]) -> &[u8] {
    let length = u32::from_le_bytes(file[140..144].try_into().expect("a group length"));
    &file[144 + length as usize..]
}
