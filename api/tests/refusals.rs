//! What is refused, and how: instances, bodies, requests, people.

#![allow(clippy::expect_used, reason = "a test may fail anywhere")]

mod common;

use std::io::{Read, Write};

use common::{ORIGINAL, PASSWORD, Server, authorization, multipart, path_of, tiny};
use septum_testkit::TinyInstance;

const WEB: &str = "/dicomweb";
const STORE_TYPE: &str = "multipart/related; type=\"application/dicom\"; boundary=boundary-of-tests";

#[test]
fn what_is_wrong_with_one_instance_does_not_touch_the_others() {
    let server = Server::start();
    let good = tiny(100);
    let nameless = TinyInstance::new(200).without((0x0008, 0x0018)).build();
    let answer = server.store(WEB, &[b"this is not DICOM", &good.bytes, &nameless.bytes]);
    assert_eq!(answer.status, 202);
    let body = answer.json();
    assert_eq!(body["00081199"]["Value"].as_array().map(Vec::len), Some(1));
    let failed = body["00081198"]["Value"].as_array().expect("failures").clone();
    let reasons: Vec<_> = failed
        .iter()
        .map(|item| item["00081197"]["Value"][0].as_u64())
        .collect();
    assert_eq!(reasons, [Some(0xC000), Some(0xA900)]);
    let comment = failed[1]["00000902"]["Value"].to_string();
    assert!(
        comment.contains("(0008,0018)") && comment.contains("offset"),
        "{comment}"
    );

    let none = server.store(WEB, &[b"this is not DICOM"]);
    assert_eq!(none.status, 409);
    assert_eq!(server.get(&format!("{WEB}{}", path_of(&good)), ORIGINAL).status, 200);

    // The address names another study: with and without pixels.
    let (content_type, body) = multipart(&[
        &tiny(300).bytes,
        &TinyInstance::new(400).without((0x7FE0, 0x0010)).build().bytes,
    ]);
    let other = server.call(
        "POST",
        &format!("{WEB}/studies/1.2.3"),
        &[("content-type", &content_type)],
        &body,
    );
    assert_eq!(other.status, 409);
    assert_eq!(other.json()["00081198"]["Value"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        server
            .get(&format!("{WEB}/studies"), "*/*")
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
}

#[test]
fn bodies_that_break_off_keep_what_was_complete() {
    let server = Server::start_with(&[("SEPTUM__LIMITS__BODY", "1MiB"), ("SEPTUM__LIMITS__PARTS", "3")]);
    let (first, second) = (tiny(100), tiny(101));
    let (_, mut body) = multipart(&[&first.bytes, &second.bytes]);
    body.truncate(body.len() - 40);
    let post = |content_type: &str, body: &[u8]| {
        server.call(
            "POST",
            &format!("{WEB}/studies"),
            &[("content-type", content_type)],
            body,
        )
    };
    let cut = post(STORE_TYPE, &body);
    assert_eq!(cut.status, 202);
    let answer = cut.json();
    assert_eq!(
        answer["00081199"]["Value"][0]["00081155"]["Value"][0],
        first.sop_instance_uid.as_str()
    );
    assert_eq!(
        answer["00081198"]["Value"][0]["00081155"]["Value"][0],
        second.sop_instance_uid.as_str()
    );
    assert_eq!(server.get(&format!("{WEB}{}", path_of(&second)), ORIGINAL).status, 404);

    for (content_type, body, expected) in [
        (STORE_TYPE, b"no boundary at all".as_slice(), 400),
        (STORE_TYPE, b"--boundary-of-tests--\r\n", 400),
        ("multipart/related; type=\"application/dicom\"", b"x", 400),
        (
            "multipart/related; type=\"application/dicom+json\"; boundary=b",
            b"x",
            400,
        ),
        ("multipart/related; type=\"text/plain\"; boundary=b", b"x", 415),
        ("application/json", b"{}", 415),
        ("application/dicom", b"no", 409),
    ] {
        let reply = post(content_type, body);
        assert_eq!(
            reply.status,
            expected,
            "{content_type}: {}",
            String::from_utf8_lossy(&reply.body)
        );
    }
    let (content_type, body) = multipart(&[&tiny(1).bytes, &tiny(2).bytes, &tiny(3).bytes, &tiny(4).bytes]);
    let many = post(&content_type, &body);
    assert_eq!(
        (many.status, many.json()["00081199"]["Value"].as_array().map(Vec::len)),
        (202, Some(3))
    );
    assert_eq!(many.json()["00081198"]["Value"][0]["00081197"]["Value"][0], 0xA700);

    let single = post("application/dicom", &tiny(500).bytes);
    assert_eq!(single.status, 200);

    // Longer than allowed, by its own word: refused before it is read.
    let mut stream = tls(&server);
    let head = format!(
        "POST {WEB}/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: {STORE_TYPE}\r\nContent-Length: 2000000\r\n\r\n",
        authorization("admin@localhost", PASSWORD)
    );
    stream.write_all(head.as_bytes()).expect("sends");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("answers");
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn slow_bodies_are_let_go() {
    let server = Server::start_with(&[("SEPTUM__LIMITS__BODY_GRACE_S", "1")]);
    let mut stream = tls(&server);
    let head = format!(
        "POST {WEB}/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Type: {STORE_TYPE}\r\nContent-Length: 100000\r\n\r\n--bound",
        authorization("admin@localhost", PASSWORD)
    );
    let start = std::time::Instant::now();
    stream.write_all(head.as_bytes()).expect("sends");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("answers");
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!(start.elapsed() < std::time::Duration::from_secs(8));
}

#[test]
fn people_without_rights_learn_nothing() {
    let server = Server::start();
    let instance = tiny(100);
    assert_eq!(server.store(WEB, &[&instance.bytes]).status, 200);
    let there = format!("{WEB}{}", path_of(&instance));
    for path in [
        there.as_str(),
        "/dicomweb/studies",
        "/namespaces",
        "/dicomweb/studies/1.2.3",
    ] {
        for credentials in [
            None,
            Some(authorization("admin@localhost", "wrong")),
            Some(authorization("nobody", PASSWORD)),
        ] {
            let headers: Vec<(&str, &str)> = credentials
                .iter()
                .map(|text| ("authorization", text.as_str()))
                .collect();
            let reply = server.send("GET", path, &headers, &[]);
            assert_eq!(reply.status, 401, "{path}");
            assert!(reply.header("www-authenticate").starts_with("Basic"));
            assert_eq!(reply.header("content-type"), "application/problem+json");
        }
    }
    let bearer = server.send("GET", "/namespaces", &[("authorization", "Bearer x")], &[]);
    assert_eq!(bearer.status, 401);
    // Guessing is slowed down, and whoever is known already is not locked out by it.
    let guess = || {
        server.send(
            "GET",
            "/namespaces",
            &[("authorization", &authorization("admin@localhost", "guess"))],
            &[],
        )
    };
    let statuses: Vec<u16> = (0..25).map(|_| guess().status).collect();
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    assert_eq!(server.get("/namespaces", "*/*").status, 200);
}

#[test]
fn every_answer_is_guarded() {
    let server = Server::start_with(&[("SEPTUM__SERVER__CORS_ORIGINS", "[\"https://viewer.example\"]")]);
    for (method, path, expected) in [
        ("GET", "/", 200),
        ("GET", "/nothing", 404),
        ("GET", "/dicomweb/studies", 204),
        ("GET", "/dicomweb/studies/1.2.x/metadata", 400),
        ("GET", "/namespaces/zzz/dicomweb/studies", 404),
        (
            "GET",
            "/namespaces/00000000000000000000000000000000/dicomweb/studies",
            404,
        ),
        ("DELETE", "/dicomweb/studies", 405),
        ("PUT", "/dicomweb/studies", 405),
    ] {
        let reply = server.call(method, path, &[], &[]);
        assert_eq!(reply.status, expected, "{method} {path}");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(reply.header(name), value, "{method} {path} {name}");
        }
        assert!(
            reply
                .header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        assert!(reply.header("access-control-allow-origin").is_empty());
        if reply.status >= 400 {
            assert_eq!(
                reply.header("content-type"),
                "application/problem+json",
                "{method} {path}"
            );
        }
    }
    assert_eq!(
        server.call("PUT", "/dicomweb/studies", &[], &[]).header("allow"),
        "GET, POST, HEAD, OPTIONS"
    );

    let origin = |origin: &'static str| vec![("origin", origin), ("access-control-request-method", "GET")];
    let preflight = server.send("OPTIONS", "/dicomweb/studies", &origin("https://viewer.example"), &[]);
    assert_eq!(preflight.status, 204);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://viewer.example"
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    let foreign = server.send("OPTIONS", "/dicomweb/studies", &origin("https://evil.example"), &[]);
    assert!(foreign.header("access-control-allow-origin").is_empty());
    let read = server.call("GET", "/namespaces", &[("origin", "https://viewer.example")], &[]);
    assert_eq!(read.header("access-control-allow-origin"), "https://viewer.example");
    let cross = server.call(
        "DELETE",
        "/dicomweb/studies/1.2.3",
        &[("origin", "https://evil.example")],
        &[],
    );
    assert_eq!(cross.status, 403);
}

#[test]
fn head_and_etag_save_bytes() {
    let server = Server::start();
    let instance = tiny(100);
    assert_eq!(server.store(WEB, &[&instance.bytes]).status, 200);
    let study = format!("{WEB}/studies/{}", instance.study_instance_uid);
    let path = format!("{WEB}{}", path_of(&instance));
    for (path, accept) in [
        (study.clone(), ORIGINAL),
        (path.clone(), ORIGINAL),
        (path.clone(), "application/dicom"),
        (format!("{study}/metadata"), "application/dicom+json"),
        (format!("{path}/metadata"), "application/dicom+json"),
        (format!("{path}/frames/1"), "application/octet-stream"),
    ] {
        let whole = server.get(&path, accept);
        let etag = whole.header("etag").to_owned();
        assert!(etag.starts_with("W/\""), "{path}");
        let again = server.call("GET", &path, &[("accept", accept), ("if-none-match", &etag)], &[]);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let head = server.call("HEAD", &path, &[("accept", accept)], &[]);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        assert_eq!(head.header("etag"), etag);
        assert_eq!(head.header("content-length"), whole.header("content-length"), "{path}");
    }
    let before = server.get(&study, ORIGINAL).header("etag").to_owned();
    assert_eq!(server.store(WEB, &[&tiny(101).bytes]).status, 200);
    assert_ne!(server.get(&study, ORIGINAL).header("etag"), before);
}

/// A bare TLS connection.
fn tls(server: &Server) -> rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    let certificate = rustls::pki_types::CertificateDer::from_pem_file(server.root("tls/cert.pem")).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let address = server
        .base
        .strip_prefix("https://")
        .expect("https")
        .replace("localhost", "127.0.0.1");
    let stream = std::net::TcpStream::connect(address).expect("connects");
    rustls::StreamOwned::new(connection, stream)
}

#[test]
fn what_cannot_be_done_is_said_and_not_done_otherwise() {
    let server = Server::start_with(&[("SEPTUM__LIMITS__MEMORY", "64MiB"), ("SEPTUM__LIMITS__HEADER", "8MiB")]);
    // An eighth of the memory is for reading.
    let large = TinyInstance::new(100).pixels(2_200, 2_200, 1, 16).build();
    assert_eq!(server.store(WEB, &[&large.bytes]).status, 200);
    let path = format!("{WEB}{}", path_of(&large));
    assert_eq!(server.get(&path, ORIGINAL).status, 200, "in pieces it goes");
    for accept in [
        "multipart/related; type=\"application/octet-stream\"",
        "application/octet-stream; transfer-syntax=*",
    ] {
        let frame = server.get(&format!("{path}/frames/1"), accept);
        assert_eq!(frame.status, 406, "{accept}");
        let reason = frame.json()["detail"].to_string();
        assert!(reason.contains("9680000"), "{reason}");
    }
    let small = tiny(200);
    assert_eq!(server.store(WEB, &[&small.bytes]).status, 200);
    let wado = |anonymize: &str| {
        let (study, series, object) = (
            &small.study_instance_uid,
            &small.series_instance_uid,
            &small.sop_instance_uid,
        );
        let query = format!("requestType=WADO&studyUID={study}&seriesUID={series}&objectUID={object}");
        server.get(
            &format!("{WEB}/wado?{query}&contentType=application/dicom{anonymize}"),
            "*/*",
        )
    };
    assert_eq!(wado("").status, 200);
    assert_eq!(wado("&anonymize=no").status, 200);
    let refused = wado("&anonymize=yes");
    assert_eq!(refused.status, 400);
    assert!(refused.json()["detail"].to_string().contains("anonymize"));
}
