//! Datasets before they are bytes: elements with typed values, so that one dataset can be written in every transfer
//! syntax. Nothing is checked here: a test may want what the standard forbids.

/// A tag: group and element number.
pub type Tag = (u16, u16);

/// How the length of a sequence and of its items is written (PS3.5 section 7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceLength {
    /// Lengths in bytes.
    Explicit,
    /// `FFFFFFFFH` and delimitation items.
    Undefined,
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text, written as UTF-8; padded by a space, UIDs by NUL.
    Text(String),
    /// Bytes that stand the same way in every byte order; padded by NUL.
    Bytes(Vec<u8>),
    /// 16-bit words (US, SS, OW, and AT as pairs), turned over for big endian.
    Words(Vec<u16>),
    /// 32-bit words (UL, SL, OL, FL by its bits).
    Longs(Vec<u32>),
    /// 64-bit words (UV, SV, OV, FD by its bits).
    VeryLongs(Vec<u64>),
    /// A sequence.
    Items(Vec<Dataset>, SequenceLength),
    /// Encapsulated pixel data (PS3.5 section A.4).
    Fragments {
        /// Basic Offset Table; empty when not wanted. The item itself is always written.
        offsets: Vec<u32>,
        /// The fragments; odd ones are padded by NUL.
        fragments: Vec<Vec<u8>>,
    },
    /// Bytes with no padding and a length of their own, for broken files: length field, bytes.
    Lie(u32, Vec<u8>),
}

/// One data element.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    /// Tag.
    pub tag: Tag,
    /// Value representation, two letters.
    pub vr: [u8; 2],
    /// Value.
    pub value: Value,
}

impl Element {
    /// Text of any text VR, also UI, DS and IS. Several values: separate by `\`.
    pub fn text(tag: Tag, vr: &[u8; 2], text: impl Into<String>) -> Self {
        Self {
            tag,
            vr: *vr,
            value: Value::Text(text.into()),
        }
    }

    /// Unsigned shorts (US).
    pub fn words(tag: Tag, values: &[u16]) -> Self {
        Self {
            tag,
            vr: *b"US",
            value: Value::Words(values.to_vec()),
        }
    }

    /// Unsigned longs (UL).
    pub fn longs(tag: Tag, values: &[u32]) -> Self {
        Self {
            tag,
            vr: *b"UL",
            value: Value::Longs(values.to_vec()),
        }
    }

    /// Doubles (FD).
    pub fn doubles(tag: Tag, values: &[f64]) -> Self {
        Self {
            tag,
            vr: *b"FD",
            value: Value::VeryLongs(values.iter().map(|v| v.to_bits()).collect()),
        }
    }

    /// Bytes (OB, UN).
    pub fn bytes(tag: Tag, vr: &[u8; 2], bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            tag,
            vr: *vr,
            value: Value::Bytes(bytes.into()),
        }
    }

    /// An attribute tag (AT).
    pub fn tag(tag: Tag, value: Tag) -> Self {
        Self {
            tag,
            vr: *b"AT",
            value: Value::Words(vec![value.0, value.1]),
        }
    }

    /// A sequence with explicit lengths.
    pub fn sequence(tag: Tag, items: Vec<Dataset>) -> Self {
        Self {
            tag,
            vr: *b"SQ",
            value: Value::Items(items, SequenceLength::Explicit),
        }
    }

    /// A sequence with one item, a code (PS3.3 section 8.8): value, scheme, meaning.
    pub fn code(tag: Tag, value: &str, scheme: &str, meaning: &str) -> Self {
        let mut item = Dataset::new();
        item.set(Self::text((0x0008, 0x0100), b"SH", value));
        item.set(Self::text((0x0008, 0x0102), b"SH", scheme));
        item.set(Self::text((0x0008, 0x0104), b"LO", meaning));
        Self::sequence(tag, vec![item])
    }
}

/// Elements in the order in which they are written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    elements: Vec<Element>,
}

impl Dataset {
    /// An empty dataset.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the element at its place in tag order; one with the same tag is replaced.
    pub fn set(&mut self, element: Element) -> &mut Self {
        match self.elements.iter().position(|e| e.tag >= element.tag) {
            Some(at) if self.elements[at].tag == element.tag => self.elements[at] = element,
            Some(at) => self.elements.insert(at, element),
            None => self.elements.push(element),
        }
        self
    }

    /// Appends the element whatever its tag: for duplicate and unordered tags.
    pub fn append(&mut self, element: Element) -> &mut Self {
        self.elements.push(element);
        self
    }

    /// Takes an element away.
    pub fn remove(&mut self, tag: Tag) -> &mut Self {
        self.elements.retain(|e| e.tag != tag);
        self
    }

    /// The first element with the tag.
    pub fn get(&self, tag: Tag) -> Option<&Element> {
        self.elements.iter().find(|e| e.tag == tag)
    }

    /// The text of an element, "" when it is missing or not text.
    pub fn text(&self, tag: Tag) -> &str {
        match self.get(tag).map(|e| &e.value) {
            Some(Value::Text(text)) => text,
            _ => "",
        }
    }

    /// The elements in the order in which they are written.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// `(tag, VR, text)` rows, the bulk of every module.
    pub fn set_texts(&mut self, rows: &[(Tag, &[u8; 2], &str)]) -> &mut Self {
        for (tag, vr, text) in rows {
            self.set(Element::text(*tag, vr, *text));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_keeps_tag_order_and_replaces() {
        let mut dataset = Dataset::new();
        for (element, text) in [(0x20, "b"), (0x10, "a"), (0x30, "c"), (0x20, "d")] {
            dataset.set(Element::text((0x0010, element), b"LO", text));
        }
        let order: Vec<u16> = dataset.elements().iter().map(|e| e.tag.1).collect();
        assert_eq!(order, [0x10, 0x20, 0x30]);
        assert_eq!(dataset.text((0x0010, 0x20)), "d");
        assert_eq!(dataset.remove((0x0010, 0x20)).text((0x0010, 0x20)), "");
    }
}
