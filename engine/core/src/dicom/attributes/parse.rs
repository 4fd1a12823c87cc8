//! Reads elements into a [`Dataset`] tree (PS3.5 section 7).
//!
//! Recursion goes one call per nested item and stops at [`DEPTH_MAX`]; lengths are checked against the bytes at hand
//! before anything is sliced. The first thing that cannot be read ends the reading; what stands before it is kept.

use bytes::Bytes;
use dicom_core::{Tag, VR};
use dicom_dictionary_std::tags;

use super::{CharacterSets, DEPTH_MAX, Dataset, ELEMENTS_MAX, Element, Encoding, HeaderError, Value};
use super::{dictionary_vr, is_long_form};

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xFFFE, 0xE000);
const ITEM_DELIMITATION: Tag = Tag(0xFFFE, 0xE00D);
const SEQUENCE_DELIMITATION: Tag = Tag(0xFFFE, 0xE0DD);

/// The tree, and the number of bytes at the end that could not be read.
pub(super) fn parse(elements: &Bytes, encoding: Encoding) -> Result<(Dataset, usize), HeaderError> {
    let mut parser = Parser {
        bytes: elements,
        at: 0,
        num_elements: 0,
        damaged: None,
    };
    let dataset = parser.dataset(Scope {
        end: elements.len(),
        encoding,
        depth: 0,
        pixel_signed: false,
        is_unknown: false,
    })?;
    let read = parser.damaged.unwrap_or(parser.at);
    Ok((dataset, elements.len().saturating_sub(read)))
}

struct Parser<'a> {
    bytes: &'a Bytes,
    at: usize,
    num_elements: u32,
    /// Where the first unreadable element starts. Once set, every level returns with what it has.
    damaged: Option<usize>,
}

#[derive(Clone, Copy)]
struct Scope {
    end: usize,
    encoding: Encoding,
    depth: u16,
    /// Pixel Representation of the nearest enclosing dataset that has one.
    pixel_signed: bool,
    /// Inside VR UN of undefined length: Implicit VR by the standard, yet some writers put Explicit VR there.
    is_unknown: bool,
}

struct ElementHeader {
    tag: Tag,
    /// `None` in Implicit VR.
    vr: Option<VR>,
    length: u32,
}

impl Parser<'_> {
    /// Reads up to `scope.end` or an item delimiter, which is consumed.
    fn dataset(&mut self, mut scope: Scope) -> Result<Dataset, HeaderError> {
        let mut dataset = Dataset::default();
        while self.at < scope.end && self.damaged.is_none() {
            let start = self.at;
            let Some(header) = self.element_header(scope) else {
                self.damaged = Some(start);
                break;
            };
            if header.tag == ITEM_DELIMITATION && scope.depth > 0 {
                break;
            }
            if header.tag.0 == 0xFFFE {
                // A sequence delimiter whose sequence lacks its item delimiter belongs to the level above; anywhere
                // else delimiters are noise.
                if header.tag == SEQUENCE_DELIMITATION && scope.depth > 0 {
                    self.at = start;
                    break;
                }
                if header.length != 0 {
                    self.damaged = Some(start);
                    break;
                }
                continue;
            }
            self.num_elements += 1;
            if self.num_elements > ELEMENTS_MAX {
                return Err(HeaderError::TooManyElements { offset: start });
            }
            let Some(element) = self.element(&header, &dataset, scope, start)? else {
                break;
            };
            match element.tag {
                tags::SPECIFIC_CHARACTER_SET => {
                    dataset.character_sets = Some(CharacterSets::parse(&element.little_endian_bytes()));
                }
                tags::PIXEL_REPRESENTATION => {
                    scope.pixel_signed = element.little_endian_bytes().first().is_some_and(|&low| low == 1);
                }
                _ => {}
            }
            dataset.elements.push(element);
        }
        Ok(dataset)
    }

    /// Reads the value that belongs to `header`. `None`: nothing readable, and `damaged` is set.
    fn element(
        &mut self,
        header: &ElementHeader,
        siblings: &Dataset,
        scope: Scope,
        start: usize,
    ) -> Result<Option<Element>, HeaderError> {
        let tag = header.tag;
        let big_endian = scope.encoding.is_big_endian();
        let known = || dictionary_vr(tag, siblings, scope.pixel_signed);
        if header.length == UNDEFINED {
            let is_unknown = header.vr == Some(VR::UN);
            // An undefined length is a sequence (PS3.5 section 7.5), in UN one of Implicit VR Little Endian items
            // (section 6.2.2), unless pixels or another VR say that fragments are inside (annex A.4).
            if tag == tags::PIXEL_DATA || !matches!(header.vr, None | Some(VR::SQ | VR::UN)) {
                let vr = header.vr.unwrap_or(VR::OB);
                let value = Value::Fragments(self.fragments(scope, start));
                return Ok(Some(Element {
                    tag,
                    vr,
                    value,
                    big_endian,
                }));
            }
            let encoding = if is_unknown {
                Encoding::ImplicitLittle
            } else {
                scope.encoding
            };
            let scope = Scope {
                encoding,
                is_unknown: is_unknown || scope.is_unknown,
                ..scope
            };
            let items = self.items(scope, tag, start)?;
            let big_endian = encoding.is_big_endian();
            return Ok(Some(Element {
                tag,
                vr: VR::SQ,
                value: Value::Items(items),
                big_endian,
            }));
        }
        let end = self
            .at
            .checked_add(header.length as usize)
            .filter(|&end| end <= scope.end);
        let Some(end) = end else {
            self.damaged = Some(start);
            return Ok(None);
        };
        // An attribute with a known VR that came as UN is Implicit VR Little Endian inside (PS3.5 section 6.2.2).
        let was_unknown = header.vr == Some(VR::UN) && header.length < 0xFFFF;
        let encoding = if was_unknown {
            Encoding::ImplicitLittle
        } else {
            scope.encoding
        };
        let big_endian = encoding.is_big_endian();
        let vr = if was_unknown {
            known()
        } else {
            header.vr.unwrap_or_else(known)
        };
        if vr == VR::SQ {
            let scope = Scope { encoding, end, ..scope };
            if header.vr == Some(VR::SQ) {
                let items = self.items(scope, tag, start)?;
                if self.damaged.is_none() {
                    self.at = end;
                }
                return Ok(Some(Element {
                    tag,
                    vr,
                    value: Value::Items(items),
                    big_endian,
                }));
            }
            // Only the dictionary says that this is a sequence: the bytes may disagree.
            let value_start = self.at;
            let attempt = self.items(scope, tag, start);
            let sound = self.damaged.take().is_none() && self.at == end;
            self.at = end;
            let (vr, value) = match attempt {
                Ok(items) if sound => (VR::SQ, Value::Items(items)),
                _ => (VR::UN, Value::Bytes(self.bytes.slice(value_start..end))),
            };
            return Ok(Some(Element {
                tag,
                vr,
                value,
                big_endian,
            }));
        }
        let value = Value::Bytes(self.bytes.slice(self.at..end));
        self.at = end;
        Ok(Some(Element {
            tag,
            vr,
            value,
            big_endian,
        }))
    }

    /// Reads items up to `scope.end` or a sequence delimiter, which is consumed.
    fn items(&mut self, scope: Scope, tag: Tag, start: usize) -> Result<Vec<Dataset>, HeaderError> {
        if scope.depth >= DEPTH_MAX {
            return Err(HeaderError::TooDeep {
                tag: (tag.0, tag.1),
                offset: start,
            });
        }
        let mut items = Vec::new();
        while self.at < scope.end && self.damaged.is_none() {
            let item_start = self.at;
            match self.element_header(scope) {
                Some(ElementHeader {
                    tag: SEQUENCE_DELIMITATION,
                    ..
                }) => break,
                Some(ElementHeader { tag: ITEM, length, .. }) => {
                    self.num_elements += 1;
                    let end = match length {
                        UNDEFINED => Some(scope.end),
                        _ => self.at.checked_add(length as usize).filter(|&end| end <= scope.end),
                    };
                    let Some(end) = end.filter(|_| self.num_elements <= ELEMENTS_MAX) else {
                        self.damaged = Some(item_start);
                        break;
                    };
                    let item = self.dataset(Scope {
                        end,
                        depth: scope.depth + 1,
                        ..scope
                    })?;
                    if length != UNDEFINED && self.damaged.is_none() {
                        self.at = end;
                    }
                    items.push(item);
                }
                // An item delimiter left over by a writer that mixes both kinds of length.
                Some(ElementHeader {
                    tag: ITEM_DELIMITATION, ..
                }) => {}
                _ => self.damaged = Some(item_start),
            }
        }
        Ok(items)
    }

    /// The items of an encapsulated value, as they stand, the sequence delimiter consumed.
    fn fragments(&mut self, scope: Scope, start: usize) -> Bytes {
        let value_start = self.at;
        // Only whole items are shown: what is written from them again must be readable.
        let mut whole_end = value_start;
        while self.at < scope.end {
            let item_start = self.at;
            match self.element_header(scope) {
                Some(ElementHeader {
                    tag: SEQUENCE_DELIMITATION,
                    ..
                }) => {
                    return self.bytes.slice(value_start..item_start);
                }
                Some(ElementHeader { tag: ITEM, length, .. }) => {
                    match self.at.checked_add(length as usize).filter(|&end| end <= scope.end) {
                        Some(end) => {
                            self.at = end;
                            whole_end = end;
                        }
                        None => break,
                    }
                }
                _ => break,
            }
        }
        self.damaged = Some(start);
        self.bytes.slice(value_start..whole_end)
    }

    /// Reads tag, VR and length at the current position and moves behind them; `None` when they are not all there.
    fn element_header(&mut self, scope: Scope) -> Option<ElementHeader> {
        let bytes = self.bytes.get(self.at..scope.end)?;
        let big_endian = scope.encoding.is_big_endian();
        let u16_at = |at: usize| {
            let pair = *bytes.get(at..)?.first_chunk::<2>()?;
            Some(if big_endian {
                u16::from_be_bytes(pair)
            } else {
                u16::from_le_bytes(pair)
            })
        };
        let u32_at = |at: usize| {
            let four = *bytes.get(at..)?.first_chunk::<4>()?;
            Some(if big_endian {
                u32::from_be_bytes(four)
            } else {
                u32::from_le_bytes(four)
            })
        };
        let tag = Tag(u16_at(0)?, u16_at(2)?);
        let code = *bytes.get(4..)?.first_chunk::<2>()?;
        let known = VR::from_binary(code);
        let is_explicit = match scope.encoding {
            Encoding::ImplicitLittle => scope.is_unknown && known.is_some(),
            _ => true,
        };
        let (vr, length, header_bytes) = match known {
            _ if tag.0 == 0xFFFE || !is_explicit => (None, u32_at(4)?, 8),
            Some(vr) if !is_long_form(vr) => (Some(vr), u16_at(6)?.into(), 8),
            // A VR that a later edition may define has the long form (PS3.5 section 6.2).
            vr => (Some(vr.unwrap_or(VR::UN)), u32_at(8)?, 12),
        };
        self.at += header_bytes;
        Some(ElementHeader { tag, vr, length })
    }
}
