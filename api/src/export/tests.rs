//! Whole exports from a small HTTP server in the test's own process.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead as _, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use serde_json::{Value, json};

use super::report::Reporter;
use super::{ExportArguments, run_with};
use crate::remote::Stop;

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    arguments: ExportArguments,
}

/// What the server answers.
enum Reply {
    /// Status, content type, body.
    Answer(u16, &'static str, Vec<u8>),
    /// A good answer that breaks off after so many bytes.
    Torn(&'static str, Vec<u8>, usize),
}

const JSON: &str = "application/dicom+json";
const PARTS: &str = "multipart/related; type=\"application/dicom\"; boundary=B";

fn element(tag: (u16, u16), vr: &[u8; 2], value: &str) -> Vec<u8> {
    let mut value = value.as_bytes().to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == b"UI" { 0 } else { b' ' });
    }
    let mut bytes = [tag.0.to_le_bytes(), tag.1.to_le_bytes()].concat();
    bytes.extend_from_slice(vr);
    bytes.extend((value.len() as u16).to_le_bytes());
    bytes.extend(value);
    bytes
}

/// An instance of series 1.2.1 of study 1.2.
fn instance(uid: &str) -> Vec<u8> {
    let dataset = [
        element((0x0008, 0x0016), b"UI", "1.2.840.10008.5.1.4.1.1.7"),
        element((0x0008, 0x0018), b"UI", uid),
        element((0x0010, 0x0020), b"LO", "42"),
        element((0x0020, 0x000D), b"UI", "1.2"),
        element((0x0020, 0x000E), b"UI", "1.2.1"),
        element((0x0028, 0x0010), b"US", "\u{1}\0"),
    ];
    let meta = element((0x0002, 0x0010), b"UI", "1.2.840.10008.1.2.1");
    [&[0; 128], b"DICM".as_slice(), &meta, &dataset.concat()].concat()
}

fn parts(instances: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for instance in instances {
        body.extend_from_slice(b"--B\r\nContent-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n\r\n");
        body.extend_from_slice(instance);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    body
}

/// A server with study 1.2, series 1.2.1 and the instances named; `script` may answer in its place, told the path and
/// how often it was asked before.
fn serve(
    uids: &'static [&'static str],
    script: impl Fn(&str, usize) -> Option<Reply> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let url = format!("http://localhost:{}", listener.local_addr().expect("address").port());
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (script, seen) = (script.clone(), seen.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                while let Some(path) = read_path(&mut reader) {
                    let count = {
                        let mut seen = seen.lock().expect("lock");
                        let count = seen.entry(path.clone()).or_default();
                        *count += 1;
                        *count - 1
                    };
                    let reply = script(&path, count).unwrap_or_else(|| standard(uids, &path));
                    if !send(reader.get_mut(), reply).unwrap_or(false) {
                        break;
                    }
                }
            });
        }
    });
    url
}

fn read_path(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    }
    Some(path)
}

fn send(stream: &mut TcpStream, reply: Reply) -> io::Result<bool> {
    let (status, kind, body, sent) = match reply {
        Reply::Answer(status, kind, body) => (status, kind, body.clone(), body.len()),
        Reply::Torn(kind, body, sent) => (200, kind, body, sent),
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body[..sent])?;
    stream.flush()?;
    Ok(sent == body.len())
}

fn standard(uids: &[&str], path: &str) -> Reply {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let found = |items: Vec<Value>| match query.contains("offset=0") {
        true => Reply::Answer(200, JSON, json!(items).to_string().into_bytes()),
        false => Reply::Answer(204, JSON, Vec::new()),
    };
    let ui = |uid: &str| json!({"vr": "UI", "Value": [uid]});
    match path.strip_prefix("/dicomweb/studies").expect("below the service") {
        "" => found(vec![
            json!({"0020000D": ui("1.2"), "00100020": {"vr": "LO", "Value": ["42"]}}),
        ]),
        "/1.2/series" => found(vec![json!({"0020000E": ui("1.2.1")})]),
        "/1.2/series/1.2.1/instances" => found(uids.iter().map(|uid| json!({"00080018": ui(uid)})).collect()),
        "/1.2/series/1.2.1" => {
            let all: Vec<_> = uids.iter().map(|uid| instance(uid)).collect();
            Reply::Answer(200, PARTS, parts(&all))
        }
        other => match other.strip_prefix("/1.2/series/1.2.1/instances/") {
            Some(uid) => Reply::Answer(200, PARTS, parts(&[instance(uid)])),
            None => Reply::Answer(404, JSON, Vec::new()),
        },
    }
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs an export of everything; gives the exit code, what is missing (last part of its path: reason) and the summary.
fn export(url: &str, more: &[&str]) -> (u8, Vec<String>, Value) {
    let line = ["export", "--server", url, "--all", "--retry-wait-ms", "1"];
    let arguments = Command::try_parse_from(line.iter().chain(more))
        .expect("parses")
        .arguments;
    let output = Output::default();
    let code = run_with(&arguments, &Stop::never(), &Reporter::quiet(Box::new(output.clone())));
    let text = String::from_utf8(output.0.lock().expect("lock").clone()).expect("text");
    let mut lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let summary = lines.pop().expect("a summary");
    assert_eq!(summary["exit_code"], code);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut missing: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "{}: {}",
                text(&line["path"]).rsplit('/').next().expect("a part"),
                text(&line["reason"])
            )
        })
        .collect();
    missing.sort();
    (code, missing, summary)
}

/// The files below a folder that an export filled: name and content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let series = folder.join("DICOM/P0000001/T0000001/S0000001");
    let entries = std::fs::read_dir(series).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            (
                entry.file_name().display().to_string(),
                std::fs::read(entry.path()).expect("readable"),
            )
        })
        .collect()
}

const UIDS: &[&str] = &["1.2.1.1", "1.2.1.2", "1.2.1.3"];

fn check_folder(script: impl Fn(&str, usize) -> Option<Reply> + Send + Sync + 'static, missing: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("folder");
    let url = serve(UIDS, script);
    let (code, found, summary) = export(&url, &["--to", &folder.path().display().to_string(), "--retries", "5"]);
    assert_eq!(found, missing);
    assert_eq!(code, u8::from(!missing.is_empty()));
    let contents: Vec<_> = files(folder.path()).into_values().collect();
    let is_missing = |uid: &str| missing.iter().any(|line| line.starts_with(&format!("{uid}:")));
    let expected: Vec<_> = UIDS
        .iter()
        .filter(|uid| !is_missing(uid))
        .map(|uid| instance(uid))
        .collect();
    assert_eq!(contents, expected);
    let directory = std::fs::read(folder.path().join("DICOMDIR")).expect("a directory");
    let listed = septum_core::dicom::dicomdir::files(&directory)
        .expect("a directory")
        .files;
    assert_eq!(listed.len(), expected.len());
    summary
}

#[test]
fn everything_comes_as_it_is() {
    let summary = check_folder(|_, _| None, &[]);
    assert_eq!((&summary["fetched"], &summary["missing"]), (&json!(3), &json!(0)));
}

#[test]
fn a_busy_server_is_asked_again() {
    // Every address is busy twice: also searches.
    check_folder(
        |_, count| (count < 2).then(|| Reply::Answer(503, JSON, Vec::new())),
        &[],
    );
    check_folder(
        |_, count| (count < 1).then(|| Reply::Answer(429, JSON, Vec::new())),
        &[],
    );
}

#[test]
fn what_is_torn_is_fetched_one_by_one() {
    for sent in [0, 10, 200, 600] {
        let torn = move |path: &str, _| {
            let all: Vec<_> = UIDS.iter().map(|uid| instance(uid)).collect();
            path.ends_with("/1.2.1").then(|| Reply::Torn(PARTS, parts(&all), sent))
        };
        check_folder(torn, &[]);
        let once = move |path: &str, count| {
            let is_one = path.contains("/instances/") && count == 0;
            is_one.then(|| Reply::Torn(PARTS, parts(&[instance("1.2.1.1")]), sent.min(100)))
        };
        check_folder(move |path, count| torn(path, 0).or_else(|| once(path, count)), &[]);
    }
}

#[test]
fn what_cannot_be_had_is_named() {
    let no_series = |path: &str| path.ends_with("/1.2.1").then(|| Reply::Answer(406, JSON, Vec::new()));
    let of_two = |path: &str, reply: Reply| path.ends_with("/instances/1.2.1.2").then_some(reply);
    for (status, reason) in [
        (404, "1.2.1.2: not on the server"),
        (406, "1.2.1.2: cannot be had in this transfer syntax"),
        (500, "1.2.1.2: refused (HTTP 500)"),
    ] {
        let script = move |path: &str, _| no_series(path).or_else(|| of_two(path, Reply::Answer(status, JSON, vec![])));
        check_folder(script, &[reason]);
    }
    // Another instance, half an instance, no instance.
    for content in [
        instance("1.2.1.9"),
        instance("1.2.1.2")[..200].to_vec(),
        b"hello".to_vec(),
    ] {
        let script = move |path: &str, _| {
            no_series(path).or_else(|| of_two(path, Reply::Answer(200, PARTS, parts(std::slice::from_ref(&content)))))
        };
        check_folder(script, &["1.2.1.2: did not arrive whole"]);
    }
    let breaks = move |path: &str, _| no_series(path).or_else(|| of_two(path, Reply::Torn(PARTS, parts(&[]), 3)));
    check_folder(breaks, &["1.2.1.2: the connection breaks whenever it is asked for"]);
}

#[test]
fn one_instance_without_multipart_will_do() {
    let script = |path: &str, _| {
        let uid = path.rsplit("/instances/").next().filter(|uid| UIDS.contains(uid));
        let alone = uid.map(|uid| Reply::Answer(200, "application/dicom", instance(uid)));
        path.ends_with("/1.2.1")
            .then(|| Reply::Answer(406, JSON, Vec::new()))
            .or(alone)
    };
    check_folder(script, &[]);
}

#[test]
fn a_server_that_says_no_ends_it_and_leaves_nothing() {
    for (status, code) in [(401, 2), (403, 2), (301, 2), (404, 2), (400, 64)] {
        let keep = tempfile::tempdir().expect("folder");
        let target = keep.path().join("out");
        let url = serve(UIDS, move |_, _| Some(Reply::Answer(status, JSON, Vec::new())));
        let (found, _, summary) = export(&url, &["--to", &target.display().to_string()]);
        assert_eq!(found, code, "{summary}");
        assert!(!target.exists());
    }
}

#[test]
fn the_rest_comes_later() {
    let keep = tempfile::tempdir().expect("folder");
    for (form, target) in [
        ("--to", keep.path().join("folder")),
        ("--zip", keep.path().join("out.zip")),
    ] {
        let is_up = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let up = is_up.clone();
        let url = serve(UIDS, move |path, _| {
            let is_late = path.ends_with("/1.2.1.3") || path.ends_with("/series/1.2.1");
            (is_late && !up.load(std::sync::atomic::Ordering::SeqCst)).then(|| match path.contains("/instances/") {
                true => Reply::Answer(503, JSON, Vec::new()),
                false => Reply::Answer(406, JSON, Vec::new()),
            })
        });
        let words = [form, &target.display().to_string(), "--retries", "1"];
        let (code, _, summary) = export(&url, &words);
        assert_eq!((code, &summary["fetched"]), (2, &json!(2)));
        assert!(!target.join("DICOMDIR").exists() && !target.is_file());
        is_up.store(true, std::sync::atomic::Ordering::SeqCst);
        let (code, _, summary) = export(&url, &words);
        assert_eq!(
            (code, &summary["fetched"], &summary["already_there"]),
            (0, &json!(1), &json!(2))
        );
        match form {
            "--to" => assert_eq!(files(&target).len(), 3),
            _ => assert!(target.is_file()),
        }
    }
    // What was left of the directory is complete: all three are in it, also those of the first run.
    let directory = std::fs::read(keep.path().join("folder/DICOMDIR")).expect("a directory");
    assert_eq!(
        septum_core::dicom::dicomdir::files(&directory)
            .expect("a directory")
            .files
            .len(),
        3
    );
}

#[test]
fn a_study_of_two_namespaces_is_told() {
    let url = |id: &str| json!({"vr": "UR", "Value": [format!("http://elsewhere/{id}/studies/1.2")]});
    let twice = move |path: &str, _| {
        let ui = json!({"vr": "UI", "Value": ["1.2"]});
        let items = json!([{"0020000D": ui, "00081190": url("a")}, {"0020000D": ui, "00081190": url("b")}]);
        path.contains("/studies?")
            .then(|| Reply::Answer(200, JSON, items.to_string().into_bytes()))
    };
    let keep = tempfile::tempdir().expect("folder");
    let (code, missing, summary) = export(&serve(UIDS, twice), &["--to", &keep.path().display().to_string()]);
    assert_eq!((code, &summary["fetched"]), (1, &json!(3)));
    assert_eq!(
        missing,
        ["1.2: in another namespace too, and left out there: choose one by --namespace"]
    );
}
