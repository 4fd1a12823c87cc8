//! Every file of the corpus: a stream to its JSON and back to a stream.

use serde_json::json;

use super::super::*;
use crate::dicom::attributes::{Encoding, Header};
use crate::dicom::json::{JsonOptions, bulk_value, to_json};

/// The stream of `made`, with bulk data from `bulk`.
fn stream(made: &JsonInstance, bulk: &dyn Fn(&str, usize) -> Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in &made.pieces {
        match piece {
            Piece::Bytes(bytes) => out.extend_from_slice(bytes),
            Piece::Bulk(piece) => out.extend(bulk(&piece.uri, piece.part)),
        }
    }
    if let Some(length) = made.length_bytes {
        assert_eq!(out.len() as u64, length);
    }
    out
}

/// Sends a file of the corpus through its metadata. `None` when the splitter refuses it.
fn round_trip(bytes: &[u8], lengths: SequenceLengths) -> Option<Result<(), String>> {
    let limits = crate::dicom::SplitLimits::default();
    let whole = crate::dicom::tests::split(bytes, &[usize::MAX], limits).ok()?;
    let start = &whole.instance.start;
    let header = Header::from_bytes(whole.instance.header.elements(), start.encoding.into()).ok()?;
    check_jpeg(start.transfer_syntax.uid(), &whole.units);
    let mut before = to_json(&header, &JsonOptions::default());
    let encapsulated = start.pixels.as_ref().is_some_and(|pixels| pixels.encapsulated);
    let pixel_key = start.pixels.as_ref().map(|pixels| match pixels.element {
        crate::dicom::PixelElement::Pixel => "7FE00010",
        crate::dicom::PixelElement::Float => "7FE00008",
        crate::dicom::PixelElement::Double => "7FE00009",
    });
    let mut metadata = before.clone();
    if let Some(key) = pixel_key {
        let vr = match key {
            "7FE00010" => "OW",
            "7FE00008" => "OF",
            _ => "OD",
        };
        metadata.insert(key.to_owned(), json!({"vr": vr, "BulkDataURI": "pixels"}));
    }
    let path_of = |uri: &str| {
        uri.split_once("}/")
            .map(|(_, path)| path.to_owned())
            .unwrap_or_default()
    };
    let syntax = start.transfer_syntax.uid().to_owned();
    let mut resolve = |uri: &str| {
        if uri == "pixels" {
            let lengths: Vec<_> = whole.units.iter().map(|unit| Some(unit.len() as u64)).collect();
            return Some(match encapsulated {
                true => BulkPart {
                    encoding: BulkEncoding::Compressed {
                        transfer_syntax: syntax.clone(),
                    },
                    lengths_bytes: lengths,
                },
                false => BulkPart {
                    encoding: BulkEncoding::Native,
                    lengths_bytes: if lengths.is_empty() { vec![Some(0)] } else { lengths },
                },
            });
        }
        let value = bulk_value(&header, &path_of(uri))?;
        Some(match value.encapsulated {
            true => BulkPart {
                encoding: BulkEncoding::Items {
                    transfer_syntax: syntax.clone(),
                },
                lengths_bytes: vec![Some(value.bytes.len() as u64)],
            },
            false => BulkPart::native(value.bytes.len() as u64),
        })
    };
    let made = match from_json(&metadata, &mut resolve, lengths) {
        Ok(made) => made,
        Err(error) => return Some(Err(error.to_string())),
    };
    let bytes = stream(&made, &|uri, part| match uri {
        "pixels" => whole.units.get(part).map(|unit| unit.to_vec()).unwrap_or_default(),
        _ => bulk_value(&header, &path_of(uri)).expect("there").bytes.to_vec(),
    });
    if let Ok(folder) = std::env::var("SEPTUM_FROM_JSON_DUMP") {
        let name = blake3::hash(whole.instance.header.elements().as_ref()).to_hex();
        std::fs::write(format!("{folder}/{name}.dcm"), &bytes).expect("writable");
        std::fs::write(format!("{folder}/{name}.json"), Json::Object(metadata).to_string()).expect("writable");
    }
    let again = match crate::dicom::tests::split(&bytes, &[usize::MAX], limits) {
        Ok(again) => again,
        Err(rejection) => return Some(Err(format!("made, then refused: {rejection}"))),
    };
    let read = Header::from_bytes(again.instance.header.elements(), Encoding::ExplicitLittle).expect("readable");
    let mut after = to_json(&read, &JsonOptions::default());
    // Where only ASCII was claimed, the character set may have been added.
    if !before.contains_key("00080005") {
        after.remove("00080005");
    }
    before.retain(|key, _| !matches!(key.as_str(), "7FE00001" | "7FE00002" | "7FE00003"));
    pad(&mut before);
    if let Some((key, _)) = before.iter().find(|(key, value)| after.get(*key) != Some(value)) {
        return Some(Err(format!("{key} differs")));
    }
    if before.len() != after.len() {
        return Some(Err("other elements".to_owned()));
    }
    let (mut pixels, pixels_again) = (whole.units.concat(), again.units.concat());
    if pixels.len() % 2 == 1 {
        pixels.push(0);
    }
    if pixels != pixels_again {
        return Some(Err("other pixels".to_owned()));
    }
    Some(Ok(()))
}

/// A sound JPEG stream tells its transfer syntax. One file of the corpus has baseline under that of lossless.
fn check_jpeg(transfer_syntax: &str, units: &[bytes::Bytes]) {
    if media_type::media_type_of(transfer_syntax) != Some("image/jpeg") {
        return;
    }
    let found = units.first().and_then(|unit| media_type::transfer_syntax_of_jpeg(unit));
    let mislabelled = ("1.2.840.10008.1.2.4.70", Some("1.2.840.10008.1.2.4.50"));
    assert!(
        found.is_none_or(|found| found == transfer_syntax) || (transfer_syntax, found) == mislabelled,
        "{transfer_syntax} {found:?}"
    );
}

/// Values of an odd length come back padded.
fn pad(dataset: &mut Map<String, Json>) {
    use base64::Engine;
    for element in dataset.values_mut() {
        for item in element
            .get_mut("Value")
            .and_then(Json::as_array_mut)
            .into_iter()
            .flatten()
        {
            item.as_object_mut().into_iter().for_each(pad);
        }
        if let Some(Json::String(text)) = element.get_mut("InlineBinary") {
            let mut bytes = value::base64(text).expect("base64");
            if bytes.len() % 2 == 1 {
                bytes.push(0);
            }
            *text = base64::engine::general_purpose::STANDARD.encode(bytes);
        }
    }
}

#[test]
fn corpus_comes_back() {
    let path = std::env::var_os("SEPTUM_CORPUS").map(std::path::PathBuf::from);
    let path = path.unwrap_or_else(|| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"));
    if !path.is_dir() {
        println!("no corpus, nothing tested");
        return;
    }
    let (mut num_same, mut folders, mut others) = (0, vec![path.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry").path();
            if entry.is_dir() {
                folders.push(entry);
                continue;
            }
            let bytes = std::fs::read(&entry).expect("readable");
            for lengths in [SequenceLengths::Undefined, SequenceLengths::Defined] {
                match round_trip(&bytes, lengths) {
                    None => {}
                    Some(Ok(())) => num_same += 1,
                    Some(Err(why)) => others.push(format!(
                        "{}: {why}",
                        entry.strip_prefix(&path).unwrap_or(&entry).display()
                    )),
                }
            }
        }
    }
    others.sort();
    others.dedup();
    println!("{num_same} streams came back the same");
    // Pixels without a fragment are no bulk data.
    let expected = ["bad/generated/encaps_zero_fragments.dcm: attribute 7FE00010: no bulk data for the BulkDataURI"];
    assert_eq!(others, expected);
}
