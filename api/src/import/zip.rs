//! The members of a ZIP file (APPNOTE.TXT), ZIP64 too: stored and deflated ones.

use std::sync::Arc;

use rawzip::{CompressionMethod, RECOMMENDED_BUFFER_SIZE, ZipArchive};

use super::container::{Container, FREE_BYTES, Listed, MEMBERS_MAX, Member, RATIO_MAX};

/// Lists the members. The error says why there are none, or no more.
pub(super) fn list(container: &Arc<Container>, on_listed: &mut dyn FnMut(Listed) -> bool) -> Result<(), &'static str> {
    const DAMAGED: &str = "a damaged ZIP file";
    let file = container.reopen().map_err(|_| "cannot be read")?;
    let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
    let archive = ZipArchive::from_file(file, &mut buffer).map_err(|_| DAMAGED)?;
    let mut entries = archive.entries(&mut buffer);
    let (mut num_members, mut num_packed_bytes) = (0u64, 0u64);
    while let Some(entry) = entries.next_entry().map_err(|_| DAMAGED)? {
        if entry.is_dir() {
            continue;
        }
        num_members += 1;
        if num_members > MEMBERS_MAX {
            return Err("too many files in one ZIP file");
        }
        let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
        let (method, length) = (entry.compression_method(), entry.uncompressed_size_hint());
        let is_encrypted = entry.flags().is_encrypted();
        let packed = entry.compressed_size_hint();
        // Members that lie on top of each other make a small file grow without end.
        num_packed_bytes = num_packed_bytes.saturating_add(packed);
        if num_packed_bytes > container.length {
            return Err("a ZIP file whose members overlap");
        }
        let range = archive
            .get_entry(entry.wayfinder())
            .map(|entry| entry.compressed_data_range());
        let is_deflated = method == CompressionMethod::DEFLATE;
        let problem = match range {
            _ if is_encrypted => Some("encrypted"),
            _ if !is_deflated && method != CompressionMethod::STORE => Some("packed in a way that is not known here"),
            _ if !is_deflated && length != packed => Some("damaged"),
            _ if length > FREE_BYTES && length / RATIO_MAX > packed => Some("expands beyond all measure"),
            Ok((start, end)) if start <= end && end <= container.length && end - start == packed => None,
            _ => Some("damaged"),
        };
        let listed = match (problem, range) {
            (None, Ok((start, end))) => {
                let member = Member {
                    container: container.clone(),
                    extents: vec![(start, end - start)],
                    is_deflated,
                    crc32: Some(entry.crc32()),
                };
                Listed::File(container.found(&name, length, member))
            }
            (problem, _) => Listed::Unreadable(container.path_of(&name), problem.unwrap_or("damaged")),
        };
        if !on_listed(listed) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::container::{Kind, tests::contents};

    /// A ZIP file of (name, content, deflated).
    pub(super) fn zip(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = rawzip::ZipArchiveWriter::new(&mut bytes);
        for (name, content, is_deflated) in members {
            let method = match is_deflated {
                true => rawzip::CompressionMethod::DEFLATE,
                false => rawzip::CompressionMethod::STORE,
            };
            let (mut entry, config) = archive
                .new_file(*name)
                .compression_method(method)
                .start()
                .expect("an entry");
            if *is_deflated {
                let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
                let mut writer = config.wrap(encoder);
                writer.write_all(content).expect("writes");
                let (encoder, descriptor) = writer.finish().expect("finishes");
                encoder.finish().expect("finishes");
                entry.finish(descriptor).expect("finishes");
            } else {
                let mut writer = config.wrap(&mut entry);
                writer.write_all(content).expect("writes");
                let (_, descriptor) = writer.finish().expect("finishes");
                entry.finish(descriptor).expect("finishes");
            }
        }
        archive.finish().expect("finishes");
        bytes
    }

    fn list(bytes: &[u8]) -> Vec<(String, Result<Vec<u8>, String>)> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().canonicalize().expect("path").join("a.zip");
        std::fs::write(&path, bytes).expect("file");
        contents(&path, Kind::Zip)
    }

    #[test]
    fn members_are_read_where_they_lie() {
        let long = vec![7; 300_000];
        let bytes = zip(&[("A/one", b"one", false), ("A/two", &long, true), ("empty", b"", false)]);
        let expected = [("A/one", b"one".to_vec()), ("A/two", long), ("empty", Vec::new())];
        assert_eq!(
            list(&bytes),
            expected.map(|(name, content)| (name.to_owned(), Ok(content)))
        );
    }

    #[test]
    fn damage_is_found_and_the_rest_is_read() {
        let mut bytes = zip(&[("1", b"first content", false), ("2", b"second", false)]);
        let at = bytes
            .windows(5)
            .position(|window| window == b"first")
            .expect("the content");
        bytes[at] ^= 1;
        let found = list(&bytes);
        assert!(found[0].1.is_err(), "{found:?}");
        assert_eq!(found[1].1, Ok(b"second".to_vec()));
        for cut in [10, bytes.len() - 30] {
            assert!(list(&bytes[..cut])[0].1.is_err());
        }
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let bytes = zip(&[("1", b"first content", true), ("2", b"second", false)]);
        for at in 0..bytes.len() {
            list(&bytes[..at]);
            let mut flipped = bytes.clone();
            flipped[at] ^= 0xFF;
            list(&flipped);
        }
    }

    #[test]
    fn bombs_are_refused() {
        let mut bomb = zip(&[("bomb", &[0; 100_000], true)]);
        let entry = bomb
            .windows(4)
            .position(|window| window == b"PK\x01\x02")
            .expect("an entry");
        bomb[entry + 24..entry + 28].copy_from_slice(&(1u32 << 30).to_le_bytes());
        assert_eq!(
            list(&bomb),
            [("bomb".to_owned(), Err("expands beyond all measure".to_owned()))]
        );
        // What claims less than comes out gives what it claims, and is then found out.
        bomb[entry + 24..entry + 28].copy_from_slice(&1000u32.to_le_bytes());
        assert!(list(&bomb)[0].1.is_err());
        // The second entry of the central directory points to the first one's data.
        let bytes = zip(&[("1", &[1; 5000], false), ("2", b"", false)]);
        let central = |number: usize| {
            let is_header = |window: &[u8]| window == b"PK\x01\x02";
            bytes
                .windows(4)
                .enumerate()
                .filter(|(_, w)| is_header(w))
                .nth(number)
                .expect("an entry")
                .0
        };
        let mut twice = bytes.clone();
        let (first, second) = (central(0), central(1));
        twice.copy_within(first + 16..first + 28, second + 16);
        twice.copy_within(first + 42..first + 46, second + 42);
        let found = list(&twice);
        assert!(
            found
                .iter()
                .any(|(_, outcome)| outcome.as_ref().is_err_and(|why| why.contains("overlap"))),
            "{found:?}"
        );
    }
}
