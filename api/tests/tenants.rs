//! Accounts apart, studies held apart, the change feed, and the server's life.

#![allow(clippy::expect_used, reason = "a test may fail anywhere")]

mod common;

use common::{ORIGINAL, Server, ct, path_of, tiny};
use septum_testkit::TinyInstance;
use serde_json::{Value, json};

const WEB: &str = "/dicomweb";

fn post(server: &Server, path: &str, body: &Value) -> common::Reply {
    server.call(
        "POST",
        path,
        &[("content-type", "application/json")],
        body.to_string().as_bytes(),
    )
}

/// A new account's namespace.
fn namespace(server: &Server, name: &str) -> String {
    let account = post(server, "/accounts", &json!({ "name": name }));
    assert_eq!(account.status, 201);
    let id = account.json()["id"].as_str().expect("an id").to_owned();
    let namespace = post(server, &format!("/accounts/{id}/namespaces"), &json!({ "name": name }));
    assert_eq!(namespace.status, 201, "{}", String::from_utf8_lossy(&namespace.body));
    namespace.json()["id"].as_str().expect("an id").to_owned()
}

#[test]
fn accounts_share_nothing() {
    let server = Server::start();
    let (north, south) = (namespace(&server, "North"), namespace(&server, "South"));
    let service = |id: &str| format!("/namespaces/{id}/dicomweb");
    // The same UIDs, other pixels.
    let one = TinyInstance::new(100).build();
    let other = TinyInstance::new(100).pixels(4, 4, 1, 8).build();
    assert_eq!(one.sop_instance_uid, other.sop_instance_uid);
    assert_eq!(server.store(&service(&north), &[&one.bytes]).status, 200);
    assert_eq!(server.store(&service(&south), &[&other.bytes]).status, 200);
    let read = |id: &str| {
        server.get(
            &format!("{}{}", service(id), path_of(&one)),
            "application/dicom; transfer-syntax=*",
        )
    };
    assert_eq!(read(&north).body, one.bytes);
    assert_eq!(read(&south).body, other.bytes);

    // The union lists both, each at its own address, and never picks one.
    let found = server.get(&format!("{WEB}/studies"), "*/*").json();
    let urls: Vec<&str> = found
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|item| item["00081190"]["Value"][0].as_str())
        .collect();
    assert_eq!(urls.len(), 2);
    assert!(urls.iter().any(|url| url.contains(&north)) && urls.iter().any(|url| url.contains(&south)));
    let ambiguous = server.get(&format!("{WEB}{}", path_of(&one)), ORIGINAL);
    assert_eq!(ambiguous.status, 409);
    assert_eq!(ambiguous.json()["choices"].as_array().map(Vec::len), Some(2));
    let study = format!("/studies/{}", one.study_instance_uid);
    assert_eq!(server.call("DELETE", &format!("{WEB}{study}"), &[], &[]).status, 409);

    assert_eq!(
        server
            .call("DELETE", &format!("{}{study}", service(&north)), &[], &[])
            .status,
        204
    );
    assert_eq!(read(&north).status, 404);
    assert_eq!(read(&south).body, other.bytes);
    // What is stored at the union goes where every installation starts.
    let stored = server.store(WEB, &[&tiny(500).bytes]);
    assert_eq!(stored.status, 200);
    assert_eq!(
        server.get("/namespaces", "*/*").json()["namespaces"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    assert_eq!(
        server.get("/accounts", "*/*").json()["accounts"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );
    for (path, body, expected) in [
        ("/accounts", json!({ "name": "" }), 400),
        ("/accounts", json!({ "title": "x" }), 400),
        ("/accounts/0/namespaces", json!({ "name": "x" }), 404),
    ] {
        assert_eq!(post(&server, path, &body).status, expected, "{path} {body}");
    }
}

#[test]
fn a_study_of_another_patient_is_held() {
    let server = Server::start();
    let right = tiny(100);
    let wrong = TinyInstance::new(101)
        .with_text((0x0010, 0x0020), b"LO", "SOMEBODY-ELSE")
        .build();
    assert_eq!(right.study_instance_uid, wrong.study_instance_uid);
    assert_eq!(server.store(WEB, &[&right.bytes]).status, 200);
    let held = server.store(WEB, &[&wrong.bytes]);
    assert_eq!(held.status, 202);
    let item = &held.json()["00081199"]["Value"][0];
    assert!(
        item["00081190"]["Value"][0]
            .as_str()
            .is_some_and(|url| url.contains("/exceptions/"))
            && item["00000902"]["Value"].to_string().contains("exception list"),
        "{item}"
    );

    let study = format!("{WEB}/studies/{}", right.study_instance_uid);
    assert_eq!(server.get(&study, ORIGINAL).parts().len(), 1);
    assert_eq!(server.get(&format!("{WEB}{}", path_of(&wrong)), ORIGINAL).status, 404);
    assert_eq!(
        server
            .get(&format!("{WEB}/studies?PatientID=SOMEBODY-ELSE"), "*/*")
            .json(),
        json!([])
    );

    let namespaces = server.get("/namespaces", "*/*").json();
    let id = namespaces["namespaces"][0]["id"].as_str().expect("an id");
    let list = server.get(&format!("/namespaces/{id}/exceptions"), "*/*").json();
    let exception = &list["exceptions"][0];
    assert_eq!(exception["studyInstanceUID"], right.study_instance_uid.as_str());
    let url = exception["url"].as_str().expect("an address");
    let parts = server.get(url, ORIGINAL).parts();
    assert_eq!(parts.len(), 1);
    assert_eq!(common::dataset(&parts[0].1), common::dataset(&wrong.bytes));
    let metadata = server.get(&format!("{url}/metadata"), "*/*").json();
    let bulk = metadata[0]["7FE00010"]["BulkDataURI"].as_str().expect("an address");
    assert!(bulk.contains("/exceptions/"));
    assert_eq!(server.get(bulk, "application/octet-stream").status, 200);

    let address = format!(
        "/namespaces/{id}/exceptions/{}",
        exception["id"].as_str().expect("an id")
    );
    assert_eq!(server.call("DELETE", &address, &[], &[]).status, 204);
    assert_eq!(server.get(url, ORIGINAL).status, 404);
    assert_eq!(server.call("DELETE", &address, &[], &[]).status, 404);
    assert_eq!(server.get(&study, ORIGINAL).status, 200);
}

/// Holds an instance under a second patient and returns the address of the exception.
fn hold(server: &Server, id: &str, seed: u64) -> String {
    let wrong = TinyInstance::new(seed)
        .with_text((0x0010, 0x0020), b"LO", "SOMEBODY-ELSE")
        .build();
    assert_eq!(server.store(WEB, &[&wrong.bytes]).status, 202);
    let list = server.get(&format!("/namespaces/{id}/exceptions"), "*/*").json();
    let exception = list["exceptions"][0]["id"].as_str().expect("an id");
    format!("/namespaces/{id}/exceptions/{exception}")
}

#[test]
fn invariant_10_a_held_study_is_accepted_or_moved() {
    let server = Server::start();
    let namespaces = server.get("/namespaces", "*/*").json();
    let id = namespaces["namespaces"][0]["id"].as_str().expect("an id").to_owned();
    let right = tiny(100);
    assert_eq!(server.store(WEB, &[&right.bytes]).status, 200);
    let instances = |service: &str| {
        let path = format!("{service}/studies/{}/instances", right.study_instance_uid);
        server.get(&path, "*/*").json().as_array().map_or(0, Vec::len)
    };

    // Moved into a namespace where the study UID is free.
    let other = namespace(&server, "Other");
    let held = hold(&server, &id, 101);
    for (body, expected) in [
        (json!({ "namespace": id }), 409),
        (json!({ "namespace": "0f3a5c8e1b7d42906e8f1a2b3c4d5e6f" }), 404),
        (json!({ "namespace": "somewhere" }), 400),
        (json!({}), 400),
    ] {
        assert_eq!(post(&server, &format!("{held}/move"), &body).status, expected, "{body}");
    }
    let moved = post(&server, &format!("{held}/move"), &json!({ "namespace": other }));
    assert_eq!((moved.status, &moved.json()["instances"]), (200, &json!(1)));
    assert_eq!(
        post(&server, &format!("{held}/move"), &json!({ "namespace": other })).status,
        404
    );
    assert_eq!(instances(&format!("/namespaces/{other}/dicomweb")), 1);
    assert_eq!(instances(&format!("/namespaces/{id}/dicomweb")), 1);

    // Accepted: one patient from now on.
    let held = hold(&server, &id, 102);
    let accepted = server.call("POST", &format!("{held}/accept"), &[], &[]);
    assert_eq!((accepted.status, &accepted.json()["instances"]), (200, &json!(1)));
    assert_eq!(server.call("POST", &format!("{held}/accept"), &[], &[]).status, 404);
    assert_eq!(instances(&format!("/namespaces/{id}/dicomweb")), 2);
    let later = TinyInstance::new(103)
        .with_text((0x0010, 0x0020), b"LO", "SOMEBODY-ELSE")
        .build();
    let service = format!("/namespaces/{id}/dicomweb");
    assert_eq!(server.store(&service, &[&later.bytes]).status, 200, "the alias holds");
    assert_eq!(instances(&service), 3);
    let list = server.get(&format!("/namespaces/{id}/exceptions"), "*/*").json();
    assert_eq!(list["exceptions"].as_array().map(Vec::len), Some(0));
}

#[test]
fn the_feed_tells_what_happened() {
    let server = Server::start_with(&[("SEPTUM__PIPELINE__STABLE_AFTER_S", "1")]);
    let namespaces = server.get("/namespaces", "*/*").json();
    let feed = format!(
        "/namespaces/{}/changes",
        namespaces["namespaces"][0]["id"].as_str().expect("an id")
    );
    let instance = tiny(100);
    assert_eq!(server.store(WEB, &[&instance.bytes]).status, 200);
    let first = server.get(&feed, "*/*").json();
    assert_eq!(first["changes"][0]["kind"], "instance-stored");
    assert_eq!(
        first["changes"][0]["sopInstanceUID"],
        instance.sop_instance_uid.as_str()
    );
    let mut next = first["next"].as_str().expect("a cursor").to_owned();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    loop {
        let page = server.get(&format!("{feed}?since={next}"), "*/*").json();
        if page["changes"][0]["kind"] == "study-stable" {
            next = page["next"].as_str().expect("a cursor").to_owned();
            break;
        }
        assert!(std::time::Instant::now() < deadline, "never stable");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let page = server.get(&format!("{feed}?since={next}"), "*/*").json();
    assert_eq!((&page["changes"], &page["next"]), (&json!([]), &json!(next)));
    assert_eq!(server.get(&format!("{feed}?since=x"), "*/*").status, 400);
}

#[test]
fn the_server_stops_in_order_and_what_it_took_is_there() {
    let server = Server::start();
    let instances = ct(3, 5);
    let bodies: Vec<&[u8]> = instances.iter().map(|instance| instance.bytes.as_slice()).collect();
    assert_eq!(server.store(WEB, &bodies).status, 200);
    let ready = server.send("GET", &format!("{}/healthz", server.admin), &[], &[]);
    assert_eq!(ready.status, 200);
    let metrics = server.send("GET", &format!("{}/metrics", server.admin), &[], &[]);
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(
        text.contains("septum_http_requests_total{route=\"store\",status=\"200\"} 1"),
        "{text}"
    );
    assert!(!text.contains(&instances[0].study_instance_uid));
    let log = server.log();
    assert!(
        !log.contains(&instances[0].study_instance_uid) && !log.contains("DEMO^"),
        "{log}"
    );

    let folder = server.folder.path().to_owned();
    let command = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_septum"))
            .args(arguments)
            .env("SEPTUM__STORAGE__PHI_ROOT", folder.join("phi"))
            .env("SEPTUM__STORAGE__PIXEL_ROOT", folder.join("pixel"))
            .env("SEPTUM__STORAGE__KEY_ROOT", folder.join("key"))
            .output()
            .expect("runs")
    };
    let backup = folder.join("backup");
    let backup = backup.to_str().expect("text");
    let running = command(&["backup", backup]);
    assert!(running.status.success(), "{}", String::from_utf8_lossy(&running.stderr));
    assert_eq!(
        command(&["fsck"]).status.code(),
        Some(2),
        "a running server holds the lock"
    );

    let mut server = server;
    let kept = std::mem::replace(&mut server.folder, tempfile::tempdir().expect("a folder"));
    assert_eq!(server.terminate(), Some(0));
    let sound = command(&["fsck"]);
    assert_eq!(
        sound.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&sound.stdout)
    );
    assert_eq!(command(&["scrub"]).status.code(), Some(0));
    let verified = command(&["audit", "verify"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );
    assert_eq!(command(&["config", "check"]).status.code(), Some(0));
    assert_eq!(command(&["config", "chek"]).status.code(), Some(64));
    assert_eq!(
        command(&["restore", backup]).status.code(),
        Some(2),
        "the roots are not empty"
    );
    drop(kept);
}
