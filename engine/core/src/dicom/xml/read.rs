//! XML to DICOM JSON Model.
//!
//! A pull parser gives one piece of markup at a time; what is open lies on a stack of our own, so depth costs no call
//! stack.

use dicom_core::Tag;
use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use serde_json::{Map, Value as Json, json};

use super::names::{COMPONENTS, GROUPS, parse_tag};
use super::place::{Dataset, Numbered};
use super::value::value;
use crate::dicom::attributes::{DEPTH_MAX, ELEMENTS_MAX};

/// What one document may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XmlLimits {
    /// Longest document, in bytes. Memory is about that of the JSON, a small multiple of it.
    pub document_bytes_max: usize,
    /// Most sequences that may be open at once; at most 64 counts.
    pub depth_max: u16,
    /// Most attributes, values and items together, numbers that are left out included.
    pub values_max: u32,
}

impl Default for XmlLimits {
    fn default() -> Self {
        Self {
            document_bytes_max: 64 << 20,
            depth_max: DEPTH_MAX,
            values_max: ELEMENTS_MAX,
        }
    }
}

/// Why a document is refused: the sender's fault. Names where, never what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at offset {offset}, attribute {}: {kind}", if .path.is_empty() { "none" } else { .path })]
pub struct XmlError {
    /// Tags and item numbers (from 0) by turns, as in `54000100/0/54001010`; empty outside of attributes.
    pub path: String,
    /// Where the parser stood, in bytes from the start of the document.
    pub offset: u64,
    /// What is wrong there.
    pub kind: XmlErrorKind,
}

/// What is wrong with a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum XmlErrorKind {
    /// Longer than [`XmlLimits::document_bytes_max`].
    #[error("the document is too long")]
    TooLong,
    /// Not UTF-8.
    #[error("the document is not UTF-8")]
    NotUtf8,
    /// Not well-formed, or it ends too early.
    #[error("the document is not well-formed")]
    Malformed,
    /// A document type declaration, or an entity other than the five of XML.
    #[error("document type declarations and entities are not read")]
    Entity,
    /// An element or text that has no place here (PS3.19 table A.1.5-2).
    #[error("an element or text that does not belong here")]
    Unexpected,
    /// `tag` is missing or not eight hexadecimal digits.
    #[error("the tag is missing or wrong")]
    BadTag,
    /// `vr` is missing or not two capital letters.
    #[error("the vr is missing or wrong")]
    BadVr,
    /// `number` is no number from 1, or occurs twice.
    #[error("the number is wrong or occurs twice")]
    BadNumber,
    /// `BulkData` has neither `uri` nor `uuid`.
    #[error("the bulk data has no address")]
    NoAddress,
    /// More than one of values, `InlineBinary` and `BulkData`.
    #[error("more than one of values, inline binary and bulk data")]
    SeveralValues,
    /// An attribute occurs twice, or more private blocks than a group has.
    #[error("an attribute occurs twice or a private block cannot be found")]
    DuplicateTag,
    /// Sequences nest deeper than [`XmlLimits::depth_max`].
    #[error("the document nests too deep")]
    TooDeep,
    /// More values than [`XmlLimits::values_max`].
    #[error("the document has too many values")]
    TooManyValues,
}

use XmlErrorKind as Kind;

/// Reads one document. Prefixes and other namespaces are not looked at; comments and processing instructions are
/// skipped.
pub fn from_xml(document: &[u8], limits: &XmlLimits) -> Result<Map<String, Json>, XmlError> {
    let error = |kind, offset| XmlError {
        path: String::new(),
        offset,
        kind,
    };
    if document.len() > limits.document_bytes_max {
        return Err(error(Kind::TooLong, 0));
    }
    let text = str::from_utf8(document).map_err(|e| error(Kind::NotUtf8, e.valid_up_to() as u64))?;
    let mut xml = Reader::from_str(text.trim_start_matches('\u{FEFF}'));
    xml.config_mut().expand_empty_elements = true;
    let mut builder = Builder {
        open: Vec::new(),
        done: None,
        depth_max: limits.depth_max.min(DEPTH_MAX),
        values_left: limits.values_max as usize,
    };
    loop {
        let step = match xml.read_event() {
            Ok(Event::Eof) => break,
            Ok(event) => builder.event(event),
            Err(_) => Err(Kind::Malformed),
        };
        step.map_err(|kind| XmlError {
            path: builder.path(),
            offset: xml.buffer_position(),
            kind,
        })?;
    }
    let done = builder.done.take();
    done.ok_or_else(|| error(Kind::Malformed, xml.buffer_position()))
}

/// An element that is not closed yet.
enum Open {
    Dataset(Dataset, usize),
    Attribute(Attribute),
    Value(usize, String),
    Inline(String),
    BulkData,
    PersonName(usize, Map<String, Json>),
    Group(&'static str, [Option<String>; 5]),
    Component(usize, String),
}

struct Attribute {
    tag: Tag,
    vr: String,
    creator: Option<String>,
    values: Numbered,
    /// `InlineBinary` or `BulkDataURI`, and its text.
    other: Option<(&'static str, String)>,
}

struct Builder {
    open: Vec<Open>,
    done: Option<Map<String, Json>>,
    depth_max: u16,
    values_left: usize,
}

impl Builder {
    fn path(&self) -> String {
        let mut path = String::new();
        for (level, open) in self.open.iter().enumerate() {
            match open {
                Open::Attribute(attribute) => {
                    path.push_str(&format!("{:04X}{:04X}", attribute.tag.0, attribute.tag.1));
                }
                Open::Dataset(_, place) if level > 0 => path.push_str(&format!("/{place}/")),
                _ => {}
            }
        }
        path.truncate(path.trim_end_matches('/').len());
        path
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Kind> {
        match event {
            Event::Start(start) | Event::Empty(start) => self.start(&start),
            Event::End(_) => self.end(),
            Event::Text(text) => self.text(&text.xml10_content()),
            Event::CData(text) => self.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = match reference.resolve_char_ref() {
                    Ok(Some(character)) => character,
                    Ok(None) => predefined(&reference.xml10_content()).ok_or(Kind::Entity)?,
                    Err(_) => return Err(Kind::Malformed),
                };
                self.text(character.encode_utf8(&mut [0; 4]))
            }
            Event::DocType(_) => Err(Kind::Entity),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) | Event::Eof => Ok(()),
        }
    }

    fn take_values(&mut self, number: usize) -> Result<(), Kind> {
        self.values_left = self.values_left.checked_sub(number).ok_or(Kind::TooManyValues)?;
        Ok(())
    }

    /// The place of the next value of the open attribute, whose VR must be (or not be) what its element is for.
    fn place(&mut self, start: &BytesStart<'_>, has_right_vr: impl Fn(&str) -> bool) -> Result<usize, Kind> {
        let number = match attribute(start, "number")? {
            Some(number) => Some(number.trim().parse::<usize>().map_err(|_| Kind::BadNumber)?),
            None => None,
        };
        let Some(Open::Attribute(open)) = self.open.last_mut() else {
            return Err(Kind::Unexpected);
        };
        if !has_right_vr(&open.vr) {
            return Err(Kind::Unexpected);
        }
        if open.other.is_some() {
            return Err(Kind::SeveralValues);
        }
        // Empty places cost as much as values, so a large number alone cannot ask for memory.
        let place = open.values.place(number).ok_or(Kind::BadNumber)?;
        let num_new = place.saturating_add(1).saturating_sub(open.values.len());
        self.take_values(num_new)?;
        let Some(Open::Attribute(open)) = self.open.last_mut() else {
            return Err(Kind::Unexpected);
        };
        open.values.put(place, Json::Null);
        Ok(place)
    }

    fn start(&mut self, start: &BytesStart<'_>) -> Result<(), Kind> {
        let name = start.local_name();
        let name: &str = name.as_ref();
        let next = match (self.open.last(), name) {
            (None, "NativeDicomModel") if self.done.is_none() => Open::Dataset(Dataset::default(), 0),
            (Some(Open::Dataset(..)), "DicomAttribute") => {
                self.take_values(1)?;
                Open::Attribute(self.attribute(start)?)
            }
            (Some(Open::Attribute(_)), "Value") => {
                let place = self.place(start, |vr| !matches!(vr, "SQ" | "PN"))?;
                Open::Value(place, String::new())
            }
            (Some(Open::Attribute(_)), "PersonName") => {
                let place = self.place(start, |vr| vr == "PN")?;
                Open::PersonName(place, Map::new())
            }
            (Some(Open::Attribute(_)), "Item") => {
                let depth = self
                    .open
                    .iter()
                    .filter(|open| matches!(open, Open::Dataset(..)))
                    .count();
                if depth > usize::from(self.depth_max) {
                    return Err(Kind::TooDeep);
                }
                let place = self.place(start, |vr| vr == "SQ")?;
                Open::Dataset(Dataset::default(), place)
            }
            (Some(Open::Attribute(open)), "InlineBinary" | "BulkData") => {
                if open.vr == "SQ" {
                    return Err(Kind::Unexpected);
                }
                if open.other.is_some() || open.values.len() > 0 {
                    return Err(Kind::SeveralValues);
                }
                if name == "InlineBinary" {
                    Open::Inline(String::new())
                } else {
                    let address = match attribute(start, "uri")? {
                        Some(uri) => Some(uri),
                        None => attribute(start, "uuid")?.map(|uuid| format!("urn:uuid:{uuid}")),
                    };
                    let address = address.ok_or(Kind::NoAddress)?;
                    if let Some(Open::Attribute(open)) = self.open.last_mut() {
                        open.other = Some(("BulkDataURI", address));
                    }
                    Open::BulkData
                }
            }
            (Some(Open::PersonName(_, groups)), name) => match GROUPS.iter().find(|group| **group == name) {
                Some(group) if !groups.contains_key(*group) => Open::Group(group, Default::default()),
                _ => return Err(Kind::Unexpected),
            },
            (Some(Open::Group(_, components)), name) => match COMPONENTS.iter().position(|known| *known == name) {
                Some(index) if components[index].is_none() => Open::Component(index, String::new()),
                _ => return Err(Kind::Unexpected),
            },
            _ => return Err(Kind::Unexpected),
        };
        self.open.push(next);
        Ok(())
    }

    fn attribute(&self, start: &BytesStart<'_>) -> Result<Attribute, Kind> {
        let tag = attribute(start, "tag")?
            .and_then(|tag| parse_tag(&tag))
            .ok_or(Kind::BadTag)?;
        let vr = attribute(start, "vr")?.ok_or(Kind::BadVr)?;
        if vr.len() != 2 || !vr.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(Kind::BadVr);
        }
        Ok(Attribute {
            tag,
            vr,
            creator: attribute(start, "privateCreator")?.filter(|creator| !creator.is_empty()),
            values: Numbered::default(),
            other: None,
        })
    }

    fn text(&mut self, piece: &str) -> Result<(), Kind> {
        match self.open.last_mut() {
            Some(Open::Value(_, text) | Open::Inline(text) | Open::Component(_, text)) => text.push_str(piece),
            _ if piece.bytes().all(|byte| byte.is_ascii_whitespace()) => {}
            _ => return Err(Kind::Unexpected),
        }
        Ok(())
    }

    /// Closes the innermost element: what it held goes to the one around it.
    fn end(&mut self) -> Result<(), Kind> {
        let closed = self.open.pop().ok_or(Kind::Malformed)?;
        match (closed, self.open.last_mut()) {
            (Open::Dataset(dataset, _), None) => self.done = Some(dataset.finish().ok_or(Kind::DuplicateTag)?),
            (Open::Dataset(dataset, place), Some(Open::Attribute(outer))) => {
                outer
                    .values
                    .put(place, Json::Object(dataset.finish().ok_or(Kind::DuplicateTag)?));
            }
            (Open::Attribute(closed), Some(Open::Dataset(dataset, _))) => {
                let tag = closed.tag;
                let mut json = json!({ "vr": closed.vr });
                let gap = if closed.vr == "SQ" { json!({}) } else { Json::Null };
                match closed.other {
                    Some((member, text)) => json[member] = text.into(),
                    None => {
                        let values = closed.values.into_values(&gap);
                        if !values.is_empty() {
                            json["Value"] = values.into();
                        }
                    }
                }
                if !dataset.add(tag, closed.creator, json) {
                    return Err(Kind::DuplicateTag);
                }
            }
            (Open::Value(place, text), Some(Open::Attribute(outer))) => {
                let value = value(&outer.vr, text);
                outer.values.put(place, value);
            }
            (Open::Inline(mut text), Some(Open::Attribute(outer))) => {
                text.retain(|character| !character.is_ascii_whitespace());
                outer.other = Some(("InlineBinary", text));
            }
            (Open::PersonName(place, groups), Some(Open::Attribute(outer))) if !groups.is_empty() => {
                outer.values.put(place, Json::Object(groups));
            }
            (Open::Group(group, components), Some(Open::PersonName(_, groups))) => {
                let num_components = components.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                let components: Vec<_> = components[..num_components]
                    .iter()
                    .map(|c| c.as_deref().unwrap_or(""))
                    .collect();
                if num_components > 0 {
                    groups.insert(group.to_owned(), components.join("^").into());
                }
            }
            (Open::Component(index, text), Some(Open::Group(_, components))) => components[index] = Some(text),
            // An empty name stays the `null` that holds its place; bulk data has been taken at its start.
            (Open::PersonName(..) | Open::BulkData, _) => {}
            _ => return Err(Kind::Malformed),
        }
        Ok(())
    }
}

/// The value of an XML attribute, by its local name.
fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, Kind> {
    // The parser's own search for attributes that stand twice takes quadratic time.
    for attribute in start.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| Kind::Malformed)?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute
                .normalized_value(XmlVersion::Explicit1_0)
                .map_err(|_| Kind::Malformed)?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// The entities that XML itself has (XML 1.0 section 4.6).
fn predefined(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}
