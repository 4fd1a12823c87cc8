//! A ZIP file written while it is sent (APPNOTE.TXT 6.3.10).
//!
//! Entries are not compressed: images mostly are already. Length and CRC-32 of an entry are known only at its end, so each
//! carries a ZIP64 data descriptor (sections 4.3.9 and 4.5.3); the central directory has everything. So that readers which
//! cannot seek find an entry's end, content goes as stored blocks of a Deflate stream (RFC 1951 section 3.2.4). Times are
//! 1980-01-01, so that the same content gives the same bytes. Names are ASCII paths with `/`.

use bytes::{BufMut, Bytes, BytesMut};

const LOCAL: u32 = 0x0403_4B50;
const DESCRIPTOR: u32 = 0x0807_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END64: u32 = 0x0606_4B50;
const LOCATOR64: u32 = 0x0706_4B50;
const END: u32 = 0x0605_4B50;

/// 4.5: ZIP64.
const VERSION: u16 = 45;

/// A data descriptor follows.
const FLAGS: u16 = 1 << 3;

/// Deflate.
const METHOD: u16 = 8;

/// Longest stored block.
const BLOCK_BYTES: usize = u16::MAX as usize;

/// 1980-01-01 00:00 as MS-DOS time and date.
const TIME: u32 = 0x0021_0000;

/// Made by Unix, so that the mode counts: a regular file that all may read.
const MADE_BY_UNIX: u16 = 3 << 8 | VERSION;
const MODE: u32 = 0o100_644 << 16;

/// The ZIP64 extra field.
const EXTRA: u16 = 1;

struct Entry {
    name: String,
    offset: u64,
    length: u64,
    deflated: u64,
    crc: flate2::Crc,
}

/// The framing of one ZIP file.
#[derive(Default)]
pub struct ZipWriter {
    entries: Vec<Entry>,
    written: u64,
}

impl ZipWriter {
    fn out(&mut self, bytes: BytesMut) -> Bytes {
        self.written += bytes.len() as u64;
        bytes.freeze()
    }

    /// What stands before an entry's content. The entry before it must be closed.
    pub fn open(&mut self, name: &str) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + name.len());
        out.put_u32_le(LOCAL);
        out.put_u16_le(VERSION);
        out.put_u16_le(FLAGS);
        out.put_u16_le(METHOD);
        out.put_u32_le(TIME);
        out.put_u32_le(0);
        out.put_u32_le(u32::MAX);
        out.put_u32_le(u32::MAX);
        out.put_u16_le(name.len() as u16);
        out.put_u16_le(20);
        out.put_slice(name.as_bytes());
        out.put_u16_le(EXTRA);
        out.put_u16_le(16);
        out.put_u64_le(0);
        out.put_u64_le(0);
        self.entries.push(Entry {
            name: name.to_owned(),
            offset: self.written,
            length: 0,
            deflated: 0,
            crc: flate2::Crc::new(),
        });
        self.out(out)
    }

    /// A piece of the open entry's content.
    pub fn content(&mut self, piece: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(piece.len() + 5 * piece.len().div_ceil(BLOCK_BYTES));
        for block in piece.chunks(BLOCK_BYTES) {
            put_block(&mut out, false, block);
        }
        if let Some(entry) = self.entries.last_mut() {
            entry.crc.update(piece);
            entry.length += piece.len() as u64;
            entry.deflated += out.len() as u64;
        }
        self.out(out)
    }

    /// What stands behind the open entry's content.
    pub fn close(&mut self) -> Bytes {
        let mut out = BytesMut::with_capacity(29);
        put_block(&mut out, true, &[]);
        if let Some(entry) = self.entries.last_mut() {
            entry.deflated += out.len() as u64;
            out.put_u32_le(DESCRIPTOR);
            out.put_u32_le(entry.crc.sum());
            out.put_u64_le(entry.deflated);
            out.put_u64_le(entry.length);
        }
        self.out(out)
    }

    /// The central directory: what stands at the end.
    pub fn finish(mut self) -> Bytes {
        let start = self.written;
        let mut out = BytesMut::new();
        for entry in &self.entries {
            out.put_u32_le(CENTRAL);
            out.put_u16_le(MADE_BY_UNIX);
            out.put_u16_le(VERSION);
            out.put_u16_le(FLAGS);
            out.put_u16_le(METHOD);
            out.put_u32_le(TIME);
            out.put_u32_le(entry.crc.sum());
            out.put_u32_le(u32::MAX);
            out.put_u32_le(u32::MAX);
            out.put_u16_le(entry.name.len() as u16);
            out.put_u16_le(28);
            // Comment, disk, internal attributes.
            out.put_u16_le(0);
            out.put_u16_le(0);
            out.put_u16_le(0);
            out.put_u32_le(MODE);
            out.put_u32_le(u32::MAX);
            out.put_slice(entry.name.as_bytes());
            out.put_u16_le(EXTRA);
            out.put_u16_le(24);
            out.put_u64_le(entry.length);
            out.put_u64_le(entry.deflated);
            out.put_u64_le(entry.offset);
        }
        let (length, count) = (out.len() as u64, self.entries.len() as u64);
        let end64 = start + length;
        out.put_u32_le(END64);
        out.put_u64_le(44);
        out.put_u16_le(MADE_BY_UNIX);
        out.put_u16_le(VERSION);
        out.put_u32_le(0);
        out.put_u32_le(0);
        out.put_u64_le(count);
        out.put_u64_le(count);
        out.put_u64_le(length);
        out.put_u64_le(start);
        out.put_u32_le(LOCATOR64);
        out.put_u32_le(0);
        out.put_u64_le(end64);
        out.put_u32_le(1);
        out.put_u32_le(END);
        out.put_u16_le(0);
        out.put_u16_le(0);
        out.put_u16_le(u16::MAX);
        out.put_u16_le(u16::MAX);
        out.put_u32_le(u32::MAX);
        out.put_u32_le(u32::MAX);
        out.put_u16_le(0);
        self.out(out)
    }
}

/// A stored block of at most [`BLOCK_BYTES`].
fn put_block(out: &mut BytesMut, is_last: bool, block: &[u8]) {
    let length = block.len() as u16;
    out.put_u8(u8::from(is_last));
    out.put_u16_le(length);
    out.put_u16_le(!length);
    out.put_slice(block);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_its_end_records() {
        let bytes = ZipWriter::default().finish();
        assert_eq!(bytes.len(), 56 + 20 + 22);
        assert_eq!(bytes[..4], END64.to_le_bytes());
    }

    #[test]
    fn entries_are_framed() {
        let mut zip = ZipWriter::default();
        let open = zip.open("A/B");
        let content = zip.content(b"hello");
        let close = zip.close();
        assert_eq!((open.len(), content.len(), close.len()), (30 + 3 + 20, 10, 29));
        // CRC-32 of "hello".
        assert_eq!(close[9..13], 0x3610_A686_u32.to_le_bytes());
        let end = zip.finish();
        assert_eq!(end[..4], CENTRAL.to_le_bytes());
        assert_eq!(end[46..49], *b"A/B");
    }
}
