//! DICOMweb over a real TLS socket: store, search, retrieve, delete.

mod common;

use common::{DEFAULT, ORIGINAL, Server, ct, dataset, path_of, tiny};
use septum_testkit::part10::RLE_LOSSLESS;
use septum_testkit::{Encapsulation, TinyInstance, TransferSyntax};
use serde_json::Value;

const WEB: &str = "/dicomweb";

#[test]
fn a_study_goes_in_is_found_and_comes_back() {
    let server = Server::start();
    let instances = ct(4, 7);
    let bodies: Vec<&[u8]> = instances.iter().map(|instance| instance.bytes.as_slice()).collect();
    let stored = server.store(WEB, &bodies);
    assert_eq!(stored.status, 200, "{}", String::from_utf8_lossy(&stored.body));
    assert_eq!(stored.header("content-type"), "application/dicom+json");
    let answer = stored.json();
    assert_eq!(answer["00081199"]["Value"].as_array().map(Vec::len), Some(4));
    let study = &instances[0].study_instance_uid;
    let url = answer["00081190"]["Value"][0]
        .as_str()
        .expect("a RetrieveURL")
        .to_owned();
    assert!(
        url.starts_with(&format!("{}/namespaces/", server.base)) && url.ends_with(study.as_str()),
        "{url}"
    );

    // Again: duplicates, still success.
    assert_eq!(server.store(WEB, &bodies).status, 200);

    for (path, num_found) in [
        (format!("{WEB}/studies?StudyInstanceUID={study}"), 1),
        (format!("{WEB}/studies?PatientName=demo*"), 1),
        (format!("{WEB}/studies?PatientID=nobody"), 0),
        (format!("{WEB}/studies/{study}/series"), 1),
        (format!("{WEB}/studies/{study}/instances"), 4),
        (format!("{WEB}/series?Modality=CT"), 1),
        (format!("{WEB}/instances?limit=3"), 3),
    ] {
        let found = server.get(&path, "application/dicom+json");
        if num_found == 0 {
            assert_eq!((found.status, found.body.len()), (204, 0), "{path}");
            continue;
        }
        assert_eq!(found.status, 200, "{path}");
        assert_eq!(found.json().as_array().map(Vec::len), Some(num_found), "{path}");
        assert_eq!(found.header("warning").is_empty(), !path.contains("limit"), "{path}");
    }
    let found = server.get(&format!("{WEB}/studies"), "application/dicom+json").json();
    assert_eq!(found[0]["00201208"]["Value"][0], 4);
    assert_eq!(found[0]["00081190"]["Value"][0].as_str(), Some(url.as_str()));
    assert_eq!(server.get(&format!("{WEB}/studies?Nonsense=1"), "*/*").status, 400);

    let whole = server.get(&format!("{WEB}/studies/{study}"), ORIGINAL);
    assert_eq!(whole.status, 200);
    let mut sent: Vec<&[u8]> = bodies.iter().map(|file| dataset(file)).collect();
    let parts = whole.parts();
    let mut got: Vec<&[u8]> = parts.iter().map(|(_, content)| dataset(content)).collect();
    sent.sort_unstable();
    got.sort_unstable();
    assert!(sent == got, "datasets come back byte for byte");
    assert!(
        parts[0]
            .0
            .contains("Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
        "{}",
        parts[0].0
    );

    let metadata = server.get(&format!("{WEB}/studies/{study}/metadata"), "application/dicom+json");
    let list = metadata.json();
    assert_eq!(list.as_array().map(Vec::len), Some(4));
    let bulk = list[0]["7FE00010"]["BulkDataURI"]
        .as_str()
        .expect("an address of the pixels")
        .to_owned();
    let pixels = server.get(&bulk, "application/octet-stream");
    assert_eq!((pixels.status, pixels.body.len()), (200, 64 * 48 * 2));
    // The union's address of the same study works too.
    assert_eq!(server.get(&url, ORIGINAL).status, 200);
}

#[test]
fn transfer_syntaxes_are_negotiated() {
    let server = Server::start();
    let rle = TinyInstance::new(100).encapsulated(Encapsulation::default()).build();
    let big = TinyInstance::new(200)
        .pixels(4, 4, 2, 16)
        .transfer_syntax(TransferSyntax::ExplicitBigEndian)
        .build();
    let unknown = TinyInstance::new(300)
        .encapsulated(Encapsulation::default())
        .transfer_syntax(TransferSyntax::Encapsulated("1.2.840.10008.1.2.4.102"))
        .build();
    for instance in [&rle, &big, &unknown] {
        let stored = server.store(WEB, &[&instance.bytes]);
        assert!(
            matches!(stored.status, 200 | 202),
            "{}",
            String::from_utf8_lossy(&stored.body)
        );
    }
    let rle_uid = RLE_LOSSLESS.uid();
    let accept = |syntax: &str| format!("{DEFAULT}; transfer-syntax={syntax}");
    for (instance, accept, expected) in [
        (&rle, DEFAULT.to_owned(), Ok("1.2.840.10008.1.2.1")),
        (&rle, "*/*".to_owned(), Ok("1.2.840.10008.1.2.1")),
        (&rle, accept("*"), Ok(rle_uid)),
        (&rle, accept(rle_uid), Ok(rle_uid)),
        (&rle, accept("1.2.840.10008.1.2.4.80"), Ok("1.2.840.10008.1.2.4.80")),
        // Nothing here writes JPEG 2000.
        (&rle, accept("1.2.840.10008.1.2.4.90"), Err(406)),
        (
            &rle,
            format!("{}, {DEFAULT};q=0.5", accept("1.2.840.10008.1.2.4.90")),
            Ok("1.2.840.10008.1.2.1"),
        ),
        (&big, DEFAULT.to_owned(), Ok("1.2.840.10008.1.2.1")),
        (&big, accept("*"), Ok("1.2.840.10008.1.2.2")),
        (&unknown, DEFAULT.to_owned(), Err(406)),
        (&unknown, "*/*".to_owned(), Ok("1.2.840.10008.1.2.4.102")),
        (&rle, "text/html".to_owned(), Err(406)),
        (&rle, "nonsense".to_owned(), Err(400)),
    ] {
        let path = format!("{WEB}{}", path_of(instance));
        let reply = server.get(&path, &accept);
        match expected {
            Ok(syntax) => {
                assert_eq!(reply.status, 200, "{accept}: {}", String::from_utf8_lossy(&reply.body));
                let (header, content) = reply.parts().remove(0);
                assert!(
                    header.contains(&format!("transfer-syntax={syntax}")),
                    "{accept}: {header}"
                );
                if accept.ends_with("=*") {
                    assert!(dataset(&content) == dataset(&instance.bytes), "{accept}");
                }
            }
            Err(status) => {
                assert_eq!(reply.status, status, "{accept}");
                assert_eq!(reply.header("content-type"), "application/problem+json");
                assert_eq!(reply.json()["status"], status);
            }
        }
    }
    let alone = server.get(
        &format!("{WEB}{}", path_of(&rle)),
        "application/dicom; transfer-syntax=*",
    );
    assert_eq!(
        alone.header("content-type"),
        format!("application/dicom; transfer-syntax={rle_uid}")
    );
    assert_eq!(alone.body, rle.bytes);
}

#[test]
fn frames_come_alone_and_in_parts() {
    let server = Server::start();
    let rle = TinyInstance::new(100)
        .pixels(4, 4, 3, 8)
        .encapsulated(Encapsulation::default())
        .build();
    let native = TinyInstance::new(200).pixels(4, 4, 3, 8).build();
    assert_eq!(server.store(WEB, &[&rle.bytes]).status, 200);
    assert_eq!(server.store(WEB, &[&native.bytes]).status, 200);
    let octets = "application/octet-stream";
    let frames = |instance, list: &str| format!("{WEB}{}/frames/{list}", path_of(instance));

    let one = server.get(&frames(&native, "2"), octets);
    assert_eq!((one.status, one.body.len()), (200, 16));
    assert!(native.bytes.windows(16).any(|window| window == one.body));
    let several = server.get(&frames(&rle, "3,1,2"), &format!("multipart/related; type=\"{octets}\""));
    let parts = several.parts();
    assert_eq!(parts.len(), 3);
    assert!(
        parts
            .iter()
            .all(|(header, frame)| frame.len() == 16 && header.contains("1.2.840.10008.1.2.1"))
    );
    assert_eq!(server.get(&frames(&rle, "1"), octets).body, parts[1].1);
    let stored = server.get(
        &frames(&rle, "1"),
        "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*",
    );
    assert!(
        stored.parts()[0]
            .0
            .contains("image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"),
        "{}",
        stored.parts()[0].0
    );

    for (list, accept, expected) in [
        ("4", octets, 404),
        ("0", octets, 400),
        ("1,x", octets, 400),
        ("1,2", octets, 406),
        ("1", "image/jls", 200),
        ("1", "image/jp2", 406),
        ("1", "*/*", 200),
    ] {
        assert_eq!(
            server.get(&frames(&rle, list), accept).status,
            expected,
            "{list} {accept}"
        );
    }
}

#[test]
fn a_corrected_resend_is_a_version() {
    let server = Server::start();
    let first = tiny(100);
    let second = TinyInstance::new(100)
        .with_text((0x0008, 0x0070), b"LO", "CORRECTED")
        .build();
    assert_eq!(server.store(WEB, &[&first.bytes]).status, 200);
    assert_eq!(server.store(WEB, &[&second.bytes]).status, 200);
    let path = format!("{WEB}{}", path_of(&first));
    let current = server.get(&path, "application/dicom; transfer-syntax=*");
    assert_eq!(current.body, second.bytes);
    let list = server.get(&format!("{path}/versions"), "application/json").json();
    let versions: Vec<&Value> = list["versions"].as_array().expect("a list").iter().collect();
    assert_eq!(versions.len(), 2);
    assert_eq!(
        (&versions[0]["current"], &versions[1]["current"]),
        (&Value::Bool(true), &Value::Bool(false))
    );
    let older = versions[1]["url"].as_str().expect("an address");
    let older = server.get(older, "application/dicom; transfer-syntax=*");
    assert_eq!(older.body, first.bytes);
    let metadata = server.get(
        &format!(
            "{path}/metadata?version={}",
            versions[1]["version"].as_str().expect("an id")
        ),
        "*/*",
    );
    assert!(metadata.json()[0]["00080070"].is_null());
    assert_eq!(server.get(&format!("{path}?version=1"), ORIGINAL).status, 400);
    assert_eq!(
        server
            .get(&format!("{path}?version={}", "0".repeat(32)), ORIGINAL)
            .status,
        404
    );
}

#[test]
fn deleting_is_for_ever_at_each_level() {
    let server = Server::start();
    let instances = ct(3, 9);
    let bodies: Vec<&[u8]> = instances.iter().map(|instance| instance.bytes.as_slice()).collect();
    assert_eq!(server.store(WEB, &bodies).status, 200);
    let study = format!("{WEB}/studies/{}", instances[0].study_instance_uid);
    let path = format!("{WEB}{}", path_of(&instances[0]));
    assert_eq!(server.call("DELETE", &path, &[], &[]).status, 204);
    assert_eq!(server.get(&path, ORIGINAL).status, 404);
    assert_eq!(server.get(&study, ORIGINAL).parts().len(), 2);
    let series = format!("{study}/series/{}", instances[0].series_instance_uid);
    assert_eq!(server.call("DELETE", &series, &[], &[]).status, 204);
    for path in [&series, &study] {
        assert_eq!(server.get(path, ORIGINAL).status, 404);
        assert_eq!(server.call("DELETE", path, &[], &[]).status, 404);
    }
    assert_eq!(server.store(WEB, &bodies).status, 200);
    assert_eq!(server.call("DELETE", &study, &[], &[]).status, 204);
    assert_eq!(
        server.get(&format!("{WEB}/studies"), "*/*").json(),
        Value::Array(vec![])
    );
}
