use proptest::prelude::*;

use super::*;

const LIMITS: MultipartLimits = MultipartLimits {
    parts: 20,
    part_header: 200,
};

/// Content type and content of each complete part, and how the body ended.
type Parts = (Vec<(Option<String>, Vec<u8>)>, Result<(), MultipartError>);

fn parse(boundary: &str, chunks: &[&[u8]]) -> Parts {
    let mut parser = Multipart::new(boundary, LIMITS).expect("a boundary");
    let (mut parts, mut open) = (Vec::new(), None);
    let mut drain = |parser: &mut Multipart| {
        loop {
            match parser.next_event()? {
                None => return Ok(()),
                Some(Event::Part(header)) => open = Some((header.content_type, Vec::new())),
                Some(Event::Data(bytes)) => open.as_mut().expect("a part is open").1.extend_from_slice(&bytes),
                Some(Event::PartEnd) => parts.push(open.take().expect("a part is open")),
                Some(Event::End) => {}
            }
        }
    };
    let mut outcome = Ok(());
    for chunk in chunks {
        parser.push(chunk);
        outcome = drain(&mut parser);
        if outcome.is_err() {
            break;
        }
    }
    if outcome.is_ok() {
        parser.finish();
        outcome = drain(&mut parser);
    }
    (parts, outcome)
}

fn check(body: &str, expected: &[(&str, &str)], outcome: Result<(), MultipartError>) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(kind, content)| {
            (
                (!kind.is_empty()).then(|| (*kind).to_owned()),
                content.as_bytes().to_vec(),
            )
        })
        .collect();
    assert_eq!(parse("b", &[body.as_bytes()]), (expected.clone(), outcome), "{body:?}");
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(parse("b", &bytes), (expected, outcome), "byte by byte: {body:?}");
}

#[test]
fn bodies_are_read_as_they_come() {
    let good = "--b\r\nContent-Type: a/b\r\n\r\none\r\n--b\r\ncontent-type:  c/d \r\nX: y\r\n\r\ntwo\r\n\r\n--b--\r\n";
    check(good, &[("a/b", "one"), ("c/d", "two\r\n")], Ok(()));
    check(
        "pre\r\nam --b\r\n--b\r\n\r\none\r\n--b-- epilogue",
        &[("", "one")],
        Ok(()),
    );
    check("--b\r\n\r\none\r\n--b--", &[("", "one")], Ok(()));
    check("--b\r\n\r\none\r\n--b", &[("", "one")], Ok(()));
    check(
        "--b\nContent-Type: a/b\n\none\r\n--b\n\ntwo\n--b--\n",
        &[("a/b", "one\r"), ("", "two")],
        Ok(()),
    );
    check(
        "--b  \r\n\r\none\r\n--b \t\r\n\r\n\r\n--b--",
        &[("", "one"), ("", "")],
        Ok(()),
    );
    check("--b\r\n\r\n--b--\r\n", &[("", "")], Ok(()));
    check("--b\r\n\r\na\r\n--bc\r\nd\r\n--b--", &[("", "a\r\n--bc\r\nd")], Ok(()));
    check("--b--\r\n", &[], Ok(()));
}

#[test]
fn what_is_broken_is_named_and_what_was_complete_stays() {
    check(
        "--b\r\n\r\none\r\n--b\r\n\r\ntw",
        &[("", "one")],
        Err(MultipartError::Truncated),
    );
    check("--b\r\nContent-Ty", &[], Err(MultipartError::Truncated));
    check("nothing", &[], Err(MultipartError::NoBoundary));
    check("", &[], Err(MultipartError::NoBoundary));
    check("--b\r\nno header\r\n\r\n", &[], Err(MultipartError::Header));
    let long = format!("--b\r\nX: {}\r\n\r\none\r\n--b--", "y".repeat(300));
    check(&long, &[], Err(MultipartError::HeaderTooLong));
    let many = "--b\r\n\r\nx\r\n".repeat(21) + "--b--";
    assert_eq!(parse("b", &[many.as_bytes()]).1, Err(MultipartError::TooManyParts));
}

#[test]
fn boundaries_are_bounded() {
    for (text, expected) in [
        ("a", true),
        ("a b", true),
        ("", false),
        ("a ", false),
        ("a\n", false),
        (&"x".repeat(70), true),
        (
            "d56da0fc-5710-4d70-b3fd-697576570981-d56da0fc-5710-4d70-b3fd-697576570981",
            true,
        ),
        (&"x".repeat(BOUNDARY_MAX), true),
        (&"x".repeat(BOUNDARY_MAX + 1), false),
    ] {
        assert_eq!(is_boundary(text), expected, "{text:?}");
    }
}

#[test]
fn large_parts_come_in_large_pieces() {
    let content = vec![b'\r'; 3 * DATA_BYTES];
    let mut body = b"--b\r\n\r\n".to_vec();
    body.extend_from_slice(&content);
    body.extend_from_slice(b"\r\n--b--");
    let mut parser = Multipart::new("b", LIMITS).expect("a boundary");
    let (mut pieces, mut most) = (Vec::new(), 0);
    for chunk in body.chunks(10_000) {
        parser.push(chunk);
        most = most.max(parser.buffer.len());
        while let Some(event) = parser.next_event().expect("well formed") {
            if let Event::Data(bytes) = event {
                pieces.push(bytes.len());
            }
        }
    }
    assert_eq!(pieces.iter().sum::<usize>(), content.len());
    assert!(pieces.len() <= 4 && most <= DATA_BYTES + 20_000, "{pieces:?} {most}");
}

#[test]
fn parts_of_a_ct_image_come_whole() {
    let part = [&b"\r\n--b\r\n\r\n"[..], &[7; 526_000]].concat();
    let body = [part.repeat(6), b"\r\n--b--".to_vec()].concat();
    let mut parser = Multipart::new("b", LIMITS).expect("a boundary");
    let mut pieces = Vec::new();
    for chunk in body.chunks(32_000) {
        parser.push(chunk);
        while let Some(event) = parser.next_event().expect("well formed") {
            if let Event::Data(bytes) = event {
                pieces.push(bytes.len());
            }
        }
    }
    assert_eq!(pieces, [526_000; 6]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn parts_survive_any_chunking(
        contents in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'q'), any::<u8>()], 0..60), 0..6),
        cuts in proptest::collection::vec(0_usize..400, 0..12),
    ) {
        // The boundary does not occur in the contents but its parts do.
        let boundary = "q-boundary-0";
        let mut body = Vec::new();
        for content in &contents {
            body.extend_from_slice(format!("--{boundary}\r\nContent-Type: a/b\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let expected: Vec<_> = contents.into_iter().map(|content| (Some("a/b".to_owned()), content)).collect();
        prop_assert_eq!(parse(boundary, &chunks), (expected, Ok(())));
    }

    #[test]
    fn nothing_panics(body in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..200), size in 1_usize..50) {
        let chunks: Vec<&[u8]> = body.chunks(size).collect();
        let _ = parse("b", &chunks);
    }
}

#[test]
fn headers_of_parts_are_read() {
    let mut parser = Multipart::new(
        "b",
        MultipartLimits {
            parts: 2,
            part_header: 1000,
        },
    )
    .expect("a boundary");
    parser.push(
        b"--b\r\nCONTENT-TYPE: a/b; c=d\r\nContent-Location:  /x/y \r\nContent-Id: <a@b>\r\ncontent-length: 12\r\nOther: z\r\n\r\n\r\n--b\r\n\
          Content-Length: many\r\n\r\n\r\n--b--",
    );
    let mut headers = Vec::new();
    while let Some(event) = parser.next_event().expect("well formed") {
        if let Event::Part(header) = event {
            headers.push(header);
        }
    }
    let first = PartHeader {
        content_type: Some("a/b; c=d".to_owned()),
        content_location: Some("/x/y".to_owned()),
        content_length: Some(12),
        content_id: Some("a@b".to_owned()),
        ..PartHeader::default()
    };
    assert_eq!(headers, [first, PartHeader::default()]);
}

#[test]
fn codings_of_parts_are_seen() {
    for (header, is_coded) in [
        ("Content-Transfer-Encoding: binary", false),
        ("Content-Transfer-Encoding: 8BIT", false),
        ("Content-Transfer-Encoding:", false),
        ("Content-Encoding: identity", false),
        ("Content-Transfer-Encoding: base64", true),
        ("Content-Transfer-Encoding: Quoted-Printable", true),
        ("Content-Encoding: gzip", true),
        ("Content-Encoding: gzip\r\nContent-Transfer-Encoding: binary", true),
    ] {
        let found = parse_header(header.as_bytes()).expect("well formed");
        assert_eq!(found.is_coded, is_coded, "{header}");
    }
}
