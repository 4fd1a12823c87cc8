//! A decoder child for tests: decodes, or misbehaves where Photometric Interpretation asks for it.

use septum_decoder::{DecodeError, DecodeRequest, Decoded, decode, run_child_with};

fn main() {
    run_child_with(decode_or_misbehave)
}

fn decode_or_misbehave(request: &DecodeRequest) -> Result<Decoded, DecodeError> {
    match request.photometric.as_str() {
        "ABORT" => std::process::abort(),
        "PANIC" => panic!("asked to"),
        "HANG" => loop {
            std::hint::spin_loop();
        },
        "OPEN" => {
            // Killed at the open itself; an answer of any kind means that the filter does not work.
            let _ = std::fs::File::open("/etc/passwd");
        }
        "SOCKET" => {
            let _ = std::net::TcpStream::connect("127.0.0.1:1");
        }
        "THREAD" => {
            let _ = std::thread::Builder::new()
                .spawn(|| ())
                .map(std::thread::JoinHandle::join);
        }
        "PROCESS" => {
            let _ = std::process::Command::new("/bin/true").status();
        }
        "BOMB" => {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                hoard.push(vec![1; 16 << 20]);
            }
        }
        _ => {}
    }
    let mut decoded = decode(request)?;
    match request.photometric.as_str() {
        "OVERSIZED" => decoded.samples.resize(decoded.samples.len() + 64, 0),
        "RESHAPED" => decoded.bits_allocated *= 2,
        _ => {}
    }
    Ok(decoded)
}
