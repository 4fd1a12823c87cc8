//! Which kind of record refers to an instance (PS3.3 sections F.4 and F.5).

/// What all storage classes below start with.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";

/// Storage classes by what follows [`STORAGE`]. An entry that ends in a dot stands for all classes below it; the first
/// entry that fits counts.
const CLASSES: [(&str, &str); 45] = [
    ("481.1", "IMAGE"),
    ("481.2", "RT DOSE"),
    ("481.3", "RT STRUCTURE SET"),
    ("481.4", "RT TREAT RECORD"),
    ("481.5", "RT PLAN"),
    ("481.6", "RT TREAT RECORD"),
    ("481.7", "RT TREAT RECORD"),
    ("481.8", "RT PLAN"),
    ("481.9", "RT TREAT RECORD"),
    ("481.10", "RADIOTHERAPY"),
    ("481.11", "RADIOTHERAPY"),
    ("481.12", "RADIOTHERAPY"),
    ("481.13", "RADIOTHERAPY"),
    ("481.14", "RADIOTHERAPY"),
    ("481.15", "RADIOTHERAPY"),
    ("481.16", "RADIOTHERAPY"),
    ("481.17", "RADIOTHERAPY"),
    ("481.18", "RADIOTHERAPY"),
    ("481.19", "RADIOTHERAPY"),
    ("481.20", "RADIOTHERAPY"),
    ("481.21", "RADIOTHERAPY"),
    // Enhanced RT Image and its continuous kind are images.
    ("481.", "IMAGE"),
    ("11.", "PRESENTATION"),
    ("131", "PRESENTATION"),
    ("9.", "WAVEFORM"),
    ("88.59", "KEY OBJECT DOC"),
    ("88.", "SR DOCUMENT"),
    ("78.6", "SR DOCUMENT"),
    ("79.1", "SR DOCUMENT"),
    ("78.", "MEASUREMENT"),
    ("80.1", "MEASUREMENT"),
    ("104.", "ENCAP DOC"),
    ("4.2", "SPECTROSCOPY"),
    ("66", "RAW DATA"),
    ("66.1", "REGISTRATION"),
    ("66.2", "FIDUCIAL"),
    ("66.3", "REGISTRATION"),
    ("66.5", "SURFACE"),
    ("66.6", "TRACT"),
    ("67", "VALUE MAP"),
    ("68.", "SURFACE SCAN"),
    ("77.1.5.3", "STEREOMETRIC"),
    ("90.1", "ASSESSMENT"),
    // ANNOTATION by PS3.3 table F.4-1; readers that do not know it give up on the whole directory.
    ("91.1", "RAW DATA"),
    // Protocols of CT and XA have no record type of their own.
    ("200.", "RAW DATA"),
];

/// Delivery instructions of radiotherapy, whose classes are not among the storage classes.
const PLANS: [&str; 2] = ["1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10"];

/// The Directory Record Type (0004,1430) for an instance of a SOP Class.
///
/// All other standard storage classes are of images. Of the rest, private ones among them, what has Rows is an IMAGE;
/// what has none is RAW DATA, which readers pass over unless they know the class.
pub fn record_type(sop_class: &str, has_rows: bool) -> &'static str {
    if PLANS.contains(&sop_class) {
        return "PLAN";
    }
    let Some(class) = sop_class.strip_prefix(STORAGE) else {
        return if has_rows { "IMAGE" } else { "RAW DATA" };
    };
    let mut classes = CLASSES.iter();
    let known = classes.find(|(name, _)| *name == class || (name.ends_with('.') && class.starts_with(name)));
    known.map_or("IMAGE", |(_, record_type)| record_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_their_records() {
        for (class, has_rows, expected) in [
            ("1.2.840.10008.5.1.4.1.1.2", false, "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.66.4", true, "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.66", false, "RAW DATA"),
            ("1.2.840.10008.5.1.4.1.1.66.1", false, "REGISTRATION"),
            ("1.2.840.10008.5.1.4.1.1.481.1", true, "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.481.2", true, "RT DOSE"),
            ("1.2.840.10008.5.1.4.1.1.481.23", true, "IMAGE"),
            ("1.2.840.10008.5.1.4.34.7", false, "PLAN"),
            ("1.2.840.10008.5.1.4.1.1.88.11", false, "SR DOCUMENT"),
            ("1.2.840.10008.5.1.4.1.1.88.59", false, "KEY OBJECT DOC"),
            ("1.2.840.10008.5.1.4.1.1.104.1", false, "ENCAP DOC"),
            ("1.2.840.10008.5.1.4.1.1.9.1.1", false, "WAVEFORM"),
            ("1.2.840.10008.5.1.4.1.1.11.1", false, "PRESENTATION"),
            ("1.2.840.10008.5.1.4.1.1.78.7", false, "MEASUREMENT"),
            ("1.2.840.10008.5.1.4.1.1.78.6", false, "SR DOCUMENT"),
            ("1.2.3", true, "IMAGE"),
            ("1.2.3", false, "RAW DATA"),
        ] {
            assert_eq!(record_type(class, has_rows), expected, "{class}");
        }
    }
}
