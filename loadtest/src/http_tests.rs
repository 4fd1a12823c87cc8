//! Answers and addresses.

use super::*;

fn check(answer: &[u8], expected: Option<(u16, &[u8], bool)>) {
    let mut kept = Vec::new();
    let got = read_answer(&mut &*answer, Some(&mut kept)).ok();
    let drained = read_answer(&mut &*answer, None).ok();
    assert_eq!(got, drained);
    if let Some((answer, _)) = &got {
        assert_eq!(answer.num_bytes, kept.len() as u64);
    }
    let got = got.map(|(answer, keep)| (answer.status, kept.as_slice(), keep));
    assert_eq!(got, expected);
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
fn addresses_are_taken_apart() {
    let address: Address = "http://127.0.0.1:8042/dicom-web/".parse().unwrap();
    assert_eq!(
        (address.path.as_str(), address.socket.port(), address.tls),
        ("/dicom-web", 8042, false)
    );
    assert_eq!("https://localhost/".parse::<Address>().unwrap().socket.port(), 443);
    assert!(!"http://192.0.2.1/".parse::<Address>().unwrap().is_loopback());
    assert!(address.is_loopback());
    assert!("ftp://localhost/".parse::<Address>().is_err());
}
