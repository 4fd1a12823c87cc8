//! DICOM JSON Model to XML.

use std::collections::HashMap;
use std::fmt::{self, Write};

use dicom_core::Tag;
use serde_json::{Map, Value as Json};

use super::NAMESPACE;
use super::names::{COMPONENTS, GROUPS, is_creator, is_in_block, keyword, parse_tag};
use crate::dicom::attributes::DEPTH_MAX;

/// Why no XML can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// What is given is no DICOM JSON Model: a member that is no tag, an attribute without `vr`, a value of another kind
    /// than its `vr` has.
    #[error("the dataset is not in the DICOM JSON Model")]
    NotDicomJson,
    /// Items nest deeper than 64 levels.
    #[error("the dataset nests deeper than 64 items")]
    TooDeep,
    /// Whoever takes the text takes no more.
    #[error("the text cannot be written")]
    Output,
}

impl From<fmt::Error> for WriteError {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

/// A whole XML document, declaration included.
pub fn to_xml(dataset: &Map<String, Json>) -> Result<String, WriteError> {
    let mut out = String::new();
    write_xml(dataset, &mut out)?;
    Ok(out)
}

/// Writes a whole XML document, declaration included, in many small pieces. After an error, `out` holds the start of a
/// document.
pub fn write_xml(dataset: &Map<String, Json>, out: &mut impl Write) -> Result<(), WriteError> {
    out.write_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")?;
    write!(out, "<NativeDicomModel xmlns=\"{NAMESPACE}\" xml:space=\"preserve\">")?;
    write_dataset(dataset, out, 0)?;
    out.write_str("</NativeDicomModel>\n")?;
    Ok(())
}

/// Recurses as deep as items nest, at most [`DEPTH_MAX`].
fn write_dataset(dataset: &Map<String, Json>, out: &mut impl Write, depth: u16) -> Result<(), WriteError> {
    if depth > DEPTH_MAX {
        return Err(WriteError::TooDeep);
    }
    let creators = Creators::of(dataset);
    for (key, attribute) in dataset {
        let tag = parse_tag(key).ok_or(WriteError::NotDicomJson)?;
        // Group lengths shall not be included (PS3.19 section A.1.1).
        if tag.1 == 0 {
            continue;
        }
        let vr = attribute
            .get("vr")
            .and_then(Json::as_str)
            .ok_or(WriteError::NotDicomJson)?;
        if vr.len() != 2 || !vr.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(WriteError::NotDicomJson);
        }
        let creator = creators.find(tag);
        // A reader looks for the creator's first block. A tag of another one of the same creator stays whole.
        let is_first = creator.is_some_and(|(_, is_first)| is_first);
        let shown = if is_first { Tag(tag.0, tag.1 & 0x00FF) } else { tag };
        write!(
            out,
            "<DicomAttribute tag=\"{:04X}{:04X}\" vr=\"{vr}\"",
            shown.0, shown.1
        )?;
        if let Some(keyword) = keyword(tag) {
            write!(out, " keyword=\"{keyword}\"")?;
        }
        if let Some((name, _)) = creator {
            out.write_str(" privateCreator=\"")?;
            escaped(name, out)?;
            out.write_str("\"")?;
        }
        write_content(attribute, vr, out, depth)?;
    }
    Ok(())
}

/// Who reserved which private block of a dataset, and which block of each creator is the first in its group.
#[derive(Default)]
struct Creators<'a> {
    names: HashMap<(u16, u16), &'a str>,
    first_blocks: HashMap<(u16, &'a str), u16>,
}

impl<'a> Creators<'a> {
    fn of(dataset: &'a Map<String, Json>) -> Self {
        let mut creators = Self::default();
        for (key, attribute) in dataset {
            let Some(tag) = parse_tag(key).filter(|tag| is_creator(*tag)) else {
                continue;
            };
            let name = attribute
                .get("Value")
                .and_then(|values| values.get(0)?.as_str())
                .unwrap_or_default();
            // Characters that XML cannot hold, or that are white space to it, would make it another creator.
            if name.is_empty() || !name.chars().all(|c| c >= ' ' && !matches!(c, '\u{FFFE}' | '\u{FFFF}')) {
                continue;
            }
            creators.names.insert((tag.0, tag.1), name);
            let first = creators.first_blocks.entry((tag.0, name)).or_insert(tag.1);
            *first = tag.1.min(*first);
        }
        creators
    }

    /// Who reserved the block of a private attribute, and whether it is their first.
    fn find(&self, tag: Tag) -> Option<(&'a str, bool)> {
        let block = tag.1 >> 8;
        let name = *self.names.get(&(tag.0, block)).filter(|_| is_in_block(tag))?;
        Some((name, self.first_blocks.get(&(tag.0, name)) == Some(&block)))
    }
}

/// What stands between the attribute's tags, and its end tag.
fn write_content(attribute: &Json, vr: &str, out: &mut impl Write, depth: u16) -> Result<(), WriteError> {
    if let Some(uri) = attribute.get("BulkDataURI") {
        out.write_str("><BulkData uri=\"")?;
        escaped(uri.as_str().ok_or(WriteError::NotDicomJson)?, out)?;
        out.write_str("\"/></DicomAttribute>")?;
        return Ok(());
    }
    if let Some(binary) = attribute.get("InlineBinary") {
        out.write_str("><InlineBinary>")?;
        escaped(binary.as_str().ok_or(WriteError::NotDicomJson)?, out)?;
        out.write_str("</InlineBinary></DicomAttribute>")?;
        return Ok(());
    }
    let values = match attribute.get("Value") {
        None => &[][..],
        Some(values) => values.as_array().ok_or(WriteError::NotDicomJson)?,
    };
    if values.is_empty() {
        out.write_str("/>")?;
        return Ok(());
    }
    out.write_str(">")?;
    for (number, value) in values.iter().enumerate() {
        let number = number + 1;
        match (vr, value) {
            ("SQ", Json::Object(item)) => {
                write!(out, "<Item number=\"{number}\">")?;
                write_dataset(item, out, depth + 1)?;
                out.write_str("</Item>")?;
            }
            ("SQ", Json::Null) => write!(out, "<Item number=\"{number}\"/>")?,
            ("PN", Json::Object(name)) => write_name(name, number, out)?,
            ("PN", Json::Null) => write!(out, "<PersonName number=\"{number}\"/>")?,
            ("SQ" | "PN", _) => return Err(WriteError::NotDicomJson),
            (_, Json::Null) => write!(out, "<Value number=\"{number}\"/>")?,
            (_, Json::String(text)) => {
                write!(out, "<Value number=\"{number}\">")?;
                escaped(text, out)?;
                out.write_str("</Value>")?;
            }
            (_, Json::Number(value)) => write!(out, "<Value number=\"{number}\">{value}</Value>")?,
            _ => return Err(WriteError::NotDicomJson),
        }
    }
    out.write_str("</DicomAttribute>")?;
    Ok(())
}

fn write_name(name: &Map<String, Json>, number: usize, out: &mut impl Write) -> Result<(), WriteError> {
    write!(out, "<PersonName number=\"{number}\">")?;
    for group in GROUPS {
        let Some(text) = name.get(group) else { continue };
        write!(out, "<{group}>")?;
        let text = text.as_str().ok_or(WriteError::NotDicomJson)?;
        // What is more than five components stays in the last one.
        let mut components = text.splitn(COMPONENTS.len(), '^').zip(COMPONENTS).peekable();
        while let Some((component, element)) = components.next() {
            // An empty last one is written: it is what keeps a trailing `^`.
            if !component.is_empty() || (components.peek().is_none() && element != COMPONENTS[0]) {
                write!(out, "<{element}>")?;
                escaped(component, out)?;
                write!(out, "</{element}>")?;
            }
        }
        write!(out, "</{group}>")?;
    }
    out.write_str("</PersonName>")?;
    Ok(())
}

/// Writes text for between tags or between double quotes (XML 1.0 sections 2.2, 2.4, 2.11 and 3.3.3).
fn escaped(text: &str, out: &mut impl Write) -> fmt::Result {
    let mut written = 0;
    for (at, character) in text.char_indices() {
        let replacement = match character {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '"' => "&quot;",
            // Readers turn these into spaces or line feeds when they stand plainly.
            '\t' => "&#9;",
            '\n' => "&#10;",
            '\r' => "&#13;",
            '\0'..='\x1F' | '\u{FFFE}' | '\u{FFFF}' => "\u{FFFD}",
            _ => continue,
        };
        out.write_str(&text[written..at])?;
        out.write_str(replacement)?;
        written = at + character.len_utf8();
    }
    out.write_str(&text[written..])
}
