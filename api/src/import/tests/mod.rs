//! Whole imports against a small HTTP server in the test's own process.

mod stub;

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use serde_json::{Value, json};

use super::report::Reporter;
use super::{ImportArguments, run_with};
use crate::remote::Stop;

use stub::{Reply, Request, Stub};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    arguments: ImportArguments,
}

/// An instance of the UID in study 1.9, with as much padding as told.
fn instance(uid: &str, num_padding: usize) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes.extend_from_slice(b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0\x08\0\x18\0UI");
    let uid = if uid.len() % 2 == 1 {
        format!("{uid}\0")
    } else {
        uid.to_string()
    };
    bytes.extend((uid.len() as u16).to_le_bytes());
    bytes.extend_from_slice(uid.as_bytes());
    bytes.extend_from_slice(b"\x20\0\x0D\0UI\x04\x001.9\0");
    bytes.extend(vec![7; num_padding]);
    bytes
}

fn uid_of(part: &[u8]) -> String {
    let length = usize::from(part[166]);
    String::from_utf8_lossy(&part[168..168 + length])
        .trim_end_matches('\0')
        .to_string()
}

/// The response for the parts: stored, or failed with the reason that `reason` gives.
fn stow(request: &Request, reason: impl Fn(&str) -> Option<u16>) -> Reply {
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    for uid in request.parts.iter().map(|part| uid_of(part)) {
        let mut item = json!({"00081155": {"vr": "UI", "Value": [uid]}});
        match reason(&uid) {
            None => stored.push(item),
            Some(code) => {
                item["00081197"] = json!({"vr": "US", "Value": [code]});
                if code == 0xA900 {
                    item["00000902"] = json!({"vr": "LO", "Value": ["(0008,0016) at offset 9"]});
                }
                failed.push(item);
            }
        }
    }
    let status = match (request.parts.len(), stored.len(), failed.len()) {
        (0, _, _) => 400,
        (_, 0, _) => 409,
        (_, _, 0) => 200,
        _ => 202,
    };
    let body = json!({"00081199": {"vr": "SQ", "Value": stored}, "00081198": {"vr": "SQ", "Value": failed}});
    Reply::Answer(status, &[("Content-Type", "application/dicom+json")], body.to_string())
}

/// A server that keeps UIDs, and shows them of study 1.9, two at a time.
#[derive(Clone, Default)]
struct Keeper(Arc<Mutex<BTreeSet<String>>>);

impl Keeper {
    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().expect("lock")
    }

    fn answer(&self, request: &Request, reason: impl Fn(&str) -> Option<u16>) -> Reply {
        if request.is_search {
            let (path, query) = request.path.split_once('?').expect("a query");
            assert_eq!(path, "/dicomweb/studies/1.9/instances");
            let offset = query.split("offset=").nth(1).expect("an offset");
            let kept = self.kept();
            let page = kept.iter().skip(offset.parse().expect("a number")).take(2);
            let page: Vec<Value> = page
                .map(|uid| json!({"00080018": {"vr": "UI", "Value": [uid]}}))
                .collect();
            let more: &[_] = if page.is_empty() {
                &[]
            } else {
                &[("Warning", "299 - more")]
            };
            return Reply::Answer(200, more, json!(page).to_string());
        }
        let uids = request.parts.iter().map(|part| uid_of(part));
        self.kept().extend(uids.filter(|uid| reason(uid).is_none()));
        stow(request, reason)
    }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs an import; gives the exit code, the refusals (file name: reason) and the summary.
fn import(folder: &Path, url: &str, more: &[&str], stop: &Stop) -> (u8, Vec<String>, Value) {
    let state = folder.with_extension("state");
    let (folder, state) = (folder.display().to_string(), state.display().to_string());
    let line = [
        "import",
        &folder,
        "--server",
        url,
        "--state",
        &state,
        "--json",
        "--retry-wait-ms",
        "1",
    ];
    let arguments = Command::try_parse_from(line.iter().chain(more))
        .expect("parses")
        .arguments;
    let output = Output::default();
    let code = run_with(&arguments, stop, Reporter::quiet(true, Box::new(output.clone())));
    let text = String::from_utf8(output.0.lock().expect("lock").clone()).expect("text");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let summary = lines.pop().expect("a summary");
    assert_eq!(summary["exit_code"], code);
    let name = |path: &Value| {
        PathBuf::from(path.as_str().expect("path"))
            .file_name()
            .expect("name")
            .display()
            .to_string()
    };
    let mut refusals: Vec<String> = lines
        .iter()
        .map(|line| format!("{}: {}", name(&line["path"]), line["reason"].as_str().expect("text")))
        .collect();
    refusals.sort();
    (code, refusals, summary)
}

/// A folder of `count` instances with UIDs 1.2.1, 1.2.2 … in files of the same names.
fn folder(count: usize) -> (tempfile::TempDir, PathBuf) {
    let keep = tempfile::tempdir().expect("folder");
    let root = keep.path().join("files");
    std::fs::create_dir(&root).expect("folder");
    for index in 1..=count {
        let uid = format!("1.2.{index}");
        std::fs::write(root.join(&uid), instance(&uid, index * 10)).expect("file");
    }
    (keep, root)
}

#[test]
fn everything_arrives_once_and_a_second_run_sends_nothing() {
    let (_keep, root) = folder(123);
    std::fs::write(root.join("readme.txt"), "no").expect("file");
    std::fs::create_dir(root.join("deep")).expect("folder");
    std::fs::write(root.join("deep/other"), instance("1.3.1", 300_000)).expect("file");
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let stub = {
        let (seen, keeper) = (seen.clone(), Keeper::default());
        Stub::start(move |request| {
            assert!(request.is_search || request.path == "/dicomweb/studies");
            assert!(request.parts.len() <= 20);
            for part in &request.parts {
                *seen.lock().expect("lock").entry(uid_of(part)).or_default() += 1;
            }
            keeper.answer(request, |_| None)
        })
    };
    let (code, refusals, summary) = import(&root, &stub.url, &["--batch", "20"], &Stop::never());
    assert_eq!((code, refusals.len()), (0, 0));
    assert_eq!(
        (&summary["sent"], &summary["skipped"]["not_dicom"]),
        (&json!(124), &json!(1))
    );
    assert_eq!(seen.lock().expect("lock").len(), 124);
    assert!(seen.lock().expect("lock").values().all(|&count| count == 1));
    let (code, _, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!(
        (code, &summary["sent"], &summary["already_there"]),
        (0, &json!(0), &json!(124))
    );
}

#[test]
fn what_the_server_lost_is_sent_again() {
    let (_keep, root) = folder(30);
    let keeper = Keeper::default();
    let stub = {
        let keeper = keeper.clone();
        Stub::start(move |request| keeper.answer(request, |_| None))
    };
    let counts = |more: &[&str]| {
        let (code, _, summary) = import(&root, &stub.url, more, &Stop::never());
        assert_eq!(code, 0);
        ["sent", "gone", "already_there", "sent_before"].map(|name| summary[name].as_u64().expect("a number"))
    };
    assert_eq!(counts(&[]), [30, 0, 0, 0]);
    keeper.kept().retain(|uid| uid.ends_with('7'));
    assert_eq!(counts(&["--trust-state"]), [0, 0, 0, 30]);
    assert_eq!(counts(&["--batch", "4"]), [27, 27, 3, 0]);
    assert_eq!(keeper.kept().len(), 30);
    // Another store behind the same address has nothing at all.
    keeper.kept().clear();
    assert_eq!(counts(&[]), [30, 30, 0, 0]);
    assert_eq!(counts(&[]), [0, 0, 30, 0]);
}

#[test]
fn a_server_that_cannot_be_searched_gets_all_again() {
    let (_keep, root) = folder(5);
    let stub = Stub::start(|request| match request.is_search {
        true => Reply::Answer(403, &[], String::new()),
        false => stow(request, |_| None),
    });
    assert_eq!(import(&root, &stub.url, &[], &Stop::never()).0, 0);
    let (code, _, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!((code, &summary["sent"]), (0, &json!(5)));
}

#[test]
fn bytes_arrive_as_they_are() {
    let (_keep, root) = folder(3);
    let stub = {
        let root = root.clone();
        Stub::start(move |request| {
            for part in &request.parts {
                assert_eq!(*part, std::fs::read(root.join(uid_of(part))).expect("file"));
            }
            stow(request, |_| None)
        })
    };
    assert_eq!(import(&root, &stub.url, &[], &Stop::never()).0, 0);
}

#[test]
fn refusals_are_named_and_tried_again_next_time() {
    let (_keep, root) = folder(9);
    let keeper = Keeper::default();
    let stub = Stub::start(move |request| keeper.answer(request, |uid| (uid == "1.2.4").then_some(0xA900)));
    for _ in 0..2 {
        let (code, refusals, summary) = import(&root, &stub.url, &[], &Stop::never());
        assert_eq!(code, 1);
        assert_eq!(
            refusals,
            ["1.2.4: data set does not match SOP class (A900H): (0008,0016) at offset 9"]
        );
        assert_eq!(summary["refused"], 1);
    }
}

#[test]
fn a_batch_that_is_rejected_whole_is_halved() {
    let (_keep, root) = folder(16);
    let stub = Stub::start(
        |request| match request.parts.iter().any(|part| uid_of(part) == "1.2.7") {
            true => Reply::Answer(415, &[], "what is this".into()),
            false => stow(request, |_| None),
        },
    );
    let (code, refusals, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!((code, &summary["sent"]), (1, &json!(15)));
    assert_eq!(refusals, ["1.2.7: refused (HTTP 415)"]);
}

#[test]
fn too_large_is_halved_and_then_named() {
    let (_keep, root) = folder(8);
    std::fs::write(root.join("1.2.9"), instance("1.2.9", 5000)).expect("file");
    let stub = Stub::start(
        |request| match request.parts.iter().map(Vec::len).sum::<usize>() > 1000 {
            true => Reply::Answer(413, &[], String::new()),
            false => stow(request, |_| None),
        },
    );
    let (code, refusals, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!((code, &summary["sent"]), (1, &json!(8)));
    assert_eq!(refusals, ["1.2.9: too large for the server (HTTP 413)"]);
}

#[test]
fn a_connection_that_breaks_on_one_file_costs_that_file() {
    let (_keep, root) = folder(6);
    let stub = Stub::start(
        |request| match request.parts.iter().any(|part| uid_of(part) == "1.2.2") {
            true => Reply::HangUp,
            false => stow(request, |_| None),
        },
    );
    let (code, refusals, summary) = import(&root, &stub.url, &["--retries", "3"], &Stop::never());
    assert_eq!((code, &summary["sent"]), (1, &json!(5)));
    assert_eq!(refusals, ["1.2.2: the connection breaks whenever it is sent"]);
}

#[test]
fn a_busy_server_is_asked_again() {
    let (_keep, root) = folder(5);
    let calls = Mutex::new(0);
    let stub = Stub::start(move |request| {
        let mut calls = calls.lock().expect("lock");
        *calls += usize::from(!request.parts.is_empty());
        match *calls {
            0 => stow(request, |_| None),
            1 => Reply::Answer(503, &[("Retry-After", "0")], String::new()),
            2 => Reply::HangUp,
            3 => stow(request, |uid| (uid == "1.2.3").then_some(0xA700)),
            _ => {
                assert_eq!(request.parts.len(), 1);
                stow(request, |_| None)
            }
        }
    });
    let (code, _, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!(
        (code, &summary["sent"], &summary["sent_bytes"]),
        (0, &json!(5), &json!(186 * 5 + 150))
    );
}

#[test]
fn servers_that_cannot_be_talked_to() {
    let (_keep, root) = folder(2);
    let check = |reply: fn() -> Reply, text: &str| {
        let stub = Stub::start(move |_| reply());
        let (code, _, summary) = import(&root, &stub.url, &["--retries", "1"], &Stop::never());
        assert_eq!(code, 2, "{text}");
        assert!(
            summary["error"].as_str().is_some_and(|error| error.contains(text)),
            "{summary}"
        );
    };
    check(|| Reply::Answer(401, &[], String::new()), "credentials");
    check(|| Reply::Answer(403, &[], String::new()), "may not store");
    check(|| Reply::Answer(404, &[], String::new()), "no DICOMweb");
    check(
        || Reply::Answer(302, &[("Location", "http://x/")], String::new()),
        "redirection",
    );
    check(|| Reply::Answer(503, &[("Retry-After", "0")], String::new()), "503");
    // A portal's login page is no receipt.
    check(
        || Reply::Answer(200, &[("Content-Type", "text/html")], "<html>Welcome</html>".into()),
        "not one of a DICOMweb",
    );
    let (code, ..) = import(&root, "http://127.0.0.1:1", &["--retries", "0"], &Stop::never());
    assert_eq!(code, 2);
}

#[test]
fn credentials_and_namespace_are_sent() {
    let (_keep, root) = folder(1);
    let stub = Stub::start(|request| {
        assert_eq!(request.path, "/namespaces/abc/dicomweb/studies");
        assert!(!request.headers.contains_key("authorization"));
        assert!(
            request.headers["content-type"].starts_with("multipart/related; type=\"application/dicom\"; boundary=")
        );
        assert_eq!(request.headers["accept"], "application/dicom+json");
        stow(request, |_| None)
    });
    assert_eq!(import(&root, &stub.url, &["--namespace", "abc"], &Stop::never()).0, 0);
}

#[test]
fn a_dry_run_sends_and_writes_nothing() {
    let (keep, root) = folder(4);
    let (code, _, summary) = import(&root, "http://127.0.0.1:1", &["--dry-run"], &Stop::never());
    assert_eq!((code, &summary["would_send"]), (0, &json!(4)));
    assert_eq!(std::fs::read_dir(keep.path()).expect("folder").count(), 1);
}

#[test]
fn a_stop_leaves_the_rest_for_the_next_run() {
    let (_keep, root) = folder(40);
    let stop = Stop::never();
    let stub = {
        let (stop, keeper) = (stop.clone(), Keeper::default());
        let calls = Mutex::new(0);
        Stub::start(move |request| {
            let mut calls = calls.lock().expect("lock");
            *calls += 1;
            if *calls == 3 {
                stop.set();
            }
            keeper.answer(request, |_| None)
        })
    };
    let (code, _, first) = import(&root, &stub.url, &["--batch", "5", "--parallel", "1"], &stop);
    assert_eq!(code, 130);
    let sent = first["sent"].as_u64().expect("number");
    assert!((5..40).contains(&sent), "{sent}");
    let (code, _, second) = import(&root, &stub.url, &["--batch", "5"], &Stop::never());
    assert_eq!(code, 0);
    assert_eq!(
        (second["sent"].as_u64(), second["already_there"].as_u64()),
        (Some(40 - sent), Some(sent))
    );
}

#[test]
fn wrong_usage() {
    let (_keep, root) = folder(1);
    assert_eq!(import(&root, "http://example.org", &[], &Stop::never()).0, 64);
    assert_eq!(
        import(&root.join("missing"), "http://localhost:1", &[], &Stop::never()).0,
        64
    );
    assert_eq!(
        import(&root, "https://localhost:1", &["--ca", "/dev/null"], &Stop::never()).0,
        64
    );
}

#[test]
fn certificates_are_verified() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_string()]).expect("certificate");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("pair");
    let config = Arc::new(config);
    let keeper = Keeper::default();
    let stub = Stub::start_with(
        "https",
        move |request| keeper.answer(request, |_| None),
        move |stream| {
            let connection = rustls::ServerConnection::new(config.clone()).expect("connection");
            Box::new(rustls::StreamOwned::new(connection, stream))
        },
    );
    let (keep, root) = folder(3);
    let pem = keep.path().join("cert.pem");
    std::fs::write(&pem, made.cert.pem()).expect("file");
    let (code, _, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!(code, 2);
    assert!(
        summary["error"]
            .as_str()
            .is_some_and(|error| error.contains("not trusted")),
        "{summary}"
    );
    let pem = pem.display().to_string();
    assert_eq!(import(&root, &stub.url, &["--ca", &pem], &Stop::never()).0, 0);
    let (code, _, summary) = import(&root, &stub.url, &["--insecure"], &Stop::never());
    assert_eq!((code, &summary["already_there"]), (0, &json!(3)));
}

/// A ZIP file of stored members.
fn zip(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
    for (name, content) in members {
        let (mut entry, config) = archive.new_file(*name).start().expect("an entry");
        let mut writer = config.wrap(&mut entry);
        writer.write_all(content).expect("writes");
        let (_, descriptor) = writer.finish().expect("finishes");
        entry.finish(descriptor).expect("finishes");
    }
    archive.finish().expect("finishes");
    bytes
}

#[test]
fn members_of_a_zip_file_are_sent_and_known_again() {
    let (_keep, root) = folder(2);
    let inner = zip(&[("x", instance("1.9.9", 5))]);
    let members = [
        ("a/one", instance("1.3.1", 100_000)),
        ("a/two", instance("1.3.2", 10)),
        ("a/\u{1b}[31mthree", instance("1.3.3", 10)),
        ("readme.txt", b"hello".to_vec()),
        ("inner.zip", inner.clone()),
        ("viewer/viewer.jar", inner),
    ];
    std::fs::write(root.join("cd.zip"), zip(&members)).expect("file");
    let keeper = Keeper::default();
    let stub = Stub::start(move |request| keeper.answer(request, |uid| (uid == "1.3.3").then_some(0xA900)));
    let (code, refusals, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!(code, 1);
    assert_eq!(refusals.len(), 2);
    assert!(refusals[0].starts_with("inner.zip: lies in another"), "{refusals:?}");
    assert_eq!(
        refusals[1..],
        ["\u{FFFD}[31mthree: data set does not match SOP class (A900H): (0008,0016) at offset 9"]
    );
    assert_eq!(summary["sent"], 4);
    assert_eq!(summary["skipped"], json!({"dicomdir": 0, "not_dicom": 2, "nested": 1}));
    let (_, _, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!((&summary["sent"], &summary["already_there"]), (&json!(0), &json!(4)));
}

#[test]
fn a_packing_with_nothing_but_another_is_no_success() {
    let (_keep, root) = folder(0);
    std::fs::write(
        root.join("all.zip"),
        zip(&[("inner.zip", zip(&[("x", instance("1.9.9", 5))]))]),
    )
    .expect("file");
    let stub = Stub::start(|request| stow(request, |_| None));
    let (code, told, summary) = import(&root, &stub.url, &[], &Stop::never());
    assert_eq!((code, &summary["sent"], told.len()), (1, &json!(0), 1));
    // Nothing lies in an empty one.
    std::fs::write(root.join("all.zip"), zip(&[("inner.zip", zip(&[]))])).expect("file");
    assert_eq!(import(&root, &stub.url, &[], &Stop::never()).0, 0);
}
