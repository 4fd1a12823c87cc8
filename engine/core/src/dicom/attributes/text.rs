//! Specific Character Set (0008,0005) to Unicode (PS3.3 section C.12.1.1.2, PS3.5 section 6.1 and annexes H to K).
//!
//! Single-byte sets, multi-byte sets and ISO 2022 code extensions. Decoding never fails: bytes without meaning become
//! U+FFFD. Text whose set is missing, default or unknown, yet has bytes above 0x7F, is taken as UTF-8 where it is
//! valid UTF-8, else as Latin-1; both occur in the field, and text of the one is hardly ever valid as the other.

use dicom_encoding::text::{SpecificCharacterSet, TextCodec};

const ESCAPE: u8 = 0x1B;

/// The value of Specific Character Set: the first set, and those that escape sequences may call in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CharacterSets {
    sets: Vec<Set>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    /// Missing, default repertoire or unknown.
    Default,
    Utf8,
    Latin5,
    Latin9,
    /// A defined term that the codec library knows.
    Term(&'static str),
}

/// Defined terms without the part that says whether code extensions are in use, and the codec's name.
const TERMS: [(&str, Set); 20] = [
    ("IR 6", Set::Default),
    ("IR 13", Set::Term("ISO_IR 13")),
    ("IR 58", Set::Term("GB2312")),
    ("IR 87", Set::Term("ISO_IR 87")),
    // The codec for JIS X 0208 also follows the escape sequences of JIS X 0212.
    ("IR 159", Set::Term("ISO_IR 87")),
    ("IR 100", Set::Term("ISO_IR 100")),
    ("IR 101", Set::Term("ISO_IR 101")),
    ("IR 109", Set::Term("ISO_IR 109")),
    ("IR 110", Set::Term("ISO_IR 110")),
    ("IR 126", Set::Term("ISO_IR 126")),
    ("IR 127", Set::Term("ISO_IR 127")),
    ("IR 138", Set::Term("ISO_IR 138")),
    ("IR 144", Set::Term("ISO_IR 144")),
    ("IR 148", Set::Latin5),
    ("IR 149", Set::Term("ISO_IR 149")),
    ("IR 166", Set::Term("ISO_IR 166")),
    ("IR 192", Set::Utf8),
    ("IR 203", Set::Latin9),
    ("GB18030", Set::Term("GB18030")),
    ("GBK", Set::Term("GBK")),
];

/// Escape sequences (PS3.3 tables C.12-3 and C.12-4) and the set that they call in. `true`: the codec wants to see
/// the escape sequence itself.
const ESCAPES: [(&[u8], Set, bool); 18] = [
    (b"\x1b(B", Set::Default, false),
    (b"\x1b-A", Set::Term("ISO_IR 100"), false),
    (b"\x1b-B", Set::Term("ISO_IR 101"), false),
    (b"\x1b-C", Set::Term("ISO_IR 109"), false),
    (b"\x1b-D", Set::Term("ISO_IR 110"), false),
    (b"\x1b-F", Set::Term("ISO_IR 126"), false),
    (b"\x1b-G", Set::Term("ISO_IR 127"), false),
    (b"\x1b-H", Set::Term("ISO_IR 138"), false),
    (b"\x1b-L", Set::Term("ISO_IR 144"), false),
    (b"\x1b-M", Set::Latin5, false),
    (b"\x1b-T", Set::Term("ISO_IR 166"), false),
    (b"\x1b-b", Set::Latin9, false),
    (b"\x1b)I", Set::Term("ISO_IR 13"), false),
    (b"\x1b(J", Set::Term("ISO_IR 13"), false),
    (b"\x1b$B", Set::Term("ISO_IR 87"), true),
    (b"\x1b$(D", Set::Term("ISO_IR 87"), true),
    (b"\x1b$)C", Set::Term("ISO_IR 149"), false),
    (b"\x1b$)A", Set::Term("GB2312"), false),
];

/// The defined terms that are understood, with code extensions and without, as in the standard's tables.
pub fn defined_terms() -> impl Iterator<Item = String> {
    TERMS.iter().flat_map(|(term, set)| {
        let number = term.strip_prefix("IR ");
        // What has more than one byte a character and is no ISO 2022 set is never called in by an escape sequence.
        let is_alone = number.is_none() || *set == Set::Utf8;
        let only_extended = matches!(*term, "IR 58" | "IR 87" | "IR 149" | "IR 159");
        let plain = number.map_or_else(|| (*term).to_owned(), |number| format!("ISO_IR {number}"));
        let extended = format!("ISO 2022 {term}");
        [(!only_extended).then_some(plain), (!is_alone).then_some(extended)]
            .into_iter()
            .flatten()
    })
}

impl CharacterSets {
    /// Reads the attribute's value, backslash separated. Unknown terms fall back as the module page says.
    pub fn parse(value: &[u8]) -> Self {
        let sets = value.split(|&byte| byte == b'\\').map(|term| {
            let term = String::from_utf8_lossy(term)
                .trim_matches([' ', '\0'])
                .replace(['_', '-'], " ")
                .to_uppercase();
            let term = term
                .strip_prefix("ISO 2022 ")
                .or_else(|| term.strip_prefix("ISO "))
                .unwrap_or(&term);
            match TERMS.iter().find(|(name, _)| *name == term) {
                Some((_, set)) => *set,
                None if matches!(term, "GB2312") => Set::Term("GB2312"),
                None if matches!(term, "UTF 8" | "UTF8") => Set::Utf8,
                None => Set::Default,
            }
        });
        // More terms than the standard defines say nothing new.
        Self {
            sets: sets.take(32).collect(),
        }
    }

    /// Decodes a whole value, backslashes included.
    pub fn decode(&self, bytes: &[u8]) -> String {
        let first = self.sets.first().copied().unwrap_or(Set::Default);
        if !bytes.contains(&ESCAPE) {
            return if bytes.is_ascii() && first != Set::Term("ISO_IR 13") {
                // Every other first set is a superset of ASCII.
                bytes.iter().map(|&byte| char::from(byte)).collect()
            } else {
                first.decode(bytes)
            };
        }
        let mut out = String::with_capacity(bytes.len());
        let mut rest = bytes;
        // Up to the next escape sequence the bytes belong to the set called in by the one before it.
        let mut called: Option<(Set, bool)> = None;
        loop {
            let skip = usize::from(called.is_some_and(|(_, keeps_escape)| keeps_escape));
            let end = rest
                .iter()
                .skip(skip)
                .position(|&byte| byte == ESCAPE)
                .map_or(rest.len(), |at| at + skip);
            let (fragment, tail) = rest.split_at(end);
            match called {
                None => out.push_str(&first.decode(fragment)),
                Some((set, true)) => out.push_str(&set.decode(fragment)),
                // Sets in the upper half last until a delimiter (PS3.5 section 6.1.2.5.3), then the first is back.
                Some((set, false)) => {
                    let end = fragment.iter().position(|byte| b"\\^=\r\n\t\x0C".contains(byte));
                    let (extended, initial) = fragment.split_at(end.unwrap_or(fragment.len()));
                    out.push_str(&set.decode(extended));
                    out.push_str(&first.decode(initial));
                }
            }
            if tail.is_empty() {
                return out;
            }
            match ESCAPES.iter().find(|(sequence, ..)| tail.starts_with(sequence)) {
                Some((sequence, set, keeps_escape)) => {
                    called = Some((*set, *keeps_escape));
                    rest = &tail[if *keeps_escape { 0 } else { sequence.len() }..];
                }
                // An escape sequence nobody defined: drop the escape byte and go on.
                None => {
                    out.push(char::REPLACEMENT_CHARACTER);
                    called = None;
                    rest = &tail[1..];
                }
            }
        }
    }

    /// Encodes a whole value in the first set; `None` where that lacks one of its characters.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let first = self.sets.first().copied().unwrap_or(Set::Default);
        let bytes = first.encode(text)?;
        // Codecs replace what they cannot write.
        (self.decode(&bytes) == text).then_some(bytes)
    }
}

impl Set {
    fn encode(self, text: &str) -> Option<Vec<u8>> {
        let by_byte = |meaning: fn(u8) -> char| {
            let byte_of = |c: char| (0..=u8::MAX).find(|&byte| meaning(byte) == c);
            text.chars().map(byte_of).collect()
        };
        match self {
            Self::Default => text.is_ascii().then(|| text.as_bytes().to_vec()),
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Latin5 => by_byte(latin_5),
            Self::Latin9 => by_byte(latin_9),
            Self::Term(term) => SpecificCharacterSet::from_code(term)?.encode(text).ok(),
        }
    }

    fn decode(self, bytes: &[u8]) -> String {
        let latin_1 = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
        match self {
            Self::Default => str::from_utf8(bytes).map_or_else(|_| latin_1(bytes), str::to_owned),
            Self::Utf8 => String::from_utf8_lossy(bytes).into_owned(),
            Self::Latin5 => bytes.iter().map(|&byte| latin_5(byte)).collect(),
            Self::Latin9 => bytes.iter().map(|&byte| latin_9(byte)).collect(),
            Self::Term(term) => match SpecificCharacterSet::from_code(term).map(|set| set.decode(bytes)) {
                Some(Ok(text)) => without_octal(text, bytes),
                _ => String::from_utf8_lossy(bytes).into_owned(),
            },
        }
    }
}

/// The codecs write a byte that they cannot decode as a backslash and three octal digits, which would later be taken
/// for a value separator. Unless the input itself has such a text, put U+FFFD there.
fn without_octal(text: String, input: &[u8]) -> String {
    let is_octal =
        |w: &[u8]| w[0] == b'\\' && (b'2'..=b'3').contains(&w[1]) && w[2..].iter().all(|d| (b'0'..=b'7').contains(d));
    if !text.contains('\\') || input.windows(4).any(is_octal) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        if rest.as_bytes()[at..].first_chunk::<4>().is_some_and(|w| is_octal(w)) {
            out.push(char::REPLACEMENT_CHARACTER);
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

/// ISO 8859-9: Latin-1 but for six letters.
fn latin_5(byte: u8) -> char {
    match byte {
        0xD0 => 'Ğ',
        0xDD => 'İ',
        0xDE => 'Ş',
        0xF0 => 'ğ',
        0xFD => 'ı',
        0xFE => 'ş',
        _ => char::from(byte),
    }
}

/// ISO 8859-15: Latin-1 but for eight characters.
fn latin_9(byte: u8) -> char {
    match byte {
        0xA4 => '€',
        0xA6 => 'Š',
        0xA8 => 'š',
        0xB4 => 'Ž',
        0xB8 => 'ž',
        0xBC => 'Œ',
        0xBD => 'œ',
        0xBE => 'Ÿ',
        _ => char::from(byte),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_the_set_has() {
        for (terms, text, expected) in [
            (&b""[..], "Doe", Some(&b"Doe"[..])),
            (b"", "Müller", None),
            (b"ISO_IR 100", "Müller", Some(b"M\xFCller")),
            (b"ISO_IR 100", "Şı", None),
            (b"ISO_IR 148", "Şı", Some(b"\xDE\xFD")),
            (b"ISO_IR 203", "€", Some(b"\xA4")),
            (b"ISO_IR 192", "王", Some("王".as_bytes())),
            (b"GB18030", "王", Some(b"\xCD\xF5")),
        ] {
            let encoded = CharacterSets::parse(terms).encode(text);
            assert_eq!(encoded.as_deref(), expected, "{text} in {terms:?}");
        }
    }

    #[test]
    fn decodes() {
        let check = |terms: &[u8], bytes: &[u8], expected: &str| {
            assert_eq!(CharacterSets::parse(terms).decode(bytes), expected, "{terms:?}");
        };
        check(b"", b"Doe^John", "Doe^John");
        check(b"", b"M\xFCller", "Müller");
        check(b"", "Müller".as_bytes(), "Müller");
        check(b"ISO_IR 100", b"Buc^J\xE9r\xF4me", "Buc^Jérôme");
        check(b"ISO_IR 148", b"\xDE\xFD", "Şı");
        check(b"ISO_IR 203 ", b"\xA4", "€");
        check(b"ISO_IR 192", "王^小東".as_bytes(), "王^小東");
        check(b"ISO_IR 192", b"a\xFFb", "a\u{FFFD}b");
        check(
            b"GB18030",
            b"Wang^XiaoDong=\xCD\xF5^\xD0\xA1\xB6\xAB",
            "Wang^XiaoDong=王^小东",
        );
        check(b"NO SUCH SET", b"\xE9", "é");
        // PS3.5 annex H, example 1.
        check(
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        );
        // PS3.5 annex H, example 2.
        check(
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xD4\xCF\xC0\xDE^\xC0\xDB\xB3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        );
        // PS3.5 annex I.
        check(
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xFB\xF3^\x1b$)C\xD1\xCE\xD4\xD7=\x1b$)C\xC8\xAB^\x1b$)C\xB1\xE6\xB5\xBF",
            "Hong^Gildong=洪^吉洞=홍^길동",
        );
        check(b"\\ISO 2022 IR 144", b"\x1b-L\xBB\xEE", "Лю");
        check(b"", b"a\x1bb", "a\u{FFFD}b");
        // A lone lead byte is no separator.
        assert!(!CharacterSets::parse(b"ISO 2022 IR 149").decode(b"a\xFF").contains('\\'));
    }
}
