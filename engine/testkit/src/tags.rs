//! The tags that this crate's users ask for by name (PS3.6 section 6).

use crate::dataset::Tag;

macro_rules! tags {
    ($($name:ident = $group:literal, $element:literal, $title:literal;)+) => {$(
        #[doc = $title]
        pub const $name: Tag = ($group, $element);
    )+};
}

tags! {
    SPECIFIC_CHARACTER_SET = 0x0008, 0x0005, "Specific Character Set";
    SOP_CLASS_UID = 0x0008, 0x0016, "SOP Class UID";
    SOP_INSTANCE_UID = 0x0008, 0x0018, "SOP Instance UID";
    STUDY_DATE = 0x0008, 0x0020, "Study Date";
    ACCESSION_NUMBER = 0x0008, 0x0050, "Accession Number";
    MODALITY = 0x0008, 0x0060, "Modality";
    STUDY_DESCRIPTION = 0x0008, 0x1030, "Study Description";
    SERIES_DESCRIPTION = 0x0008, 0x103E, "Series Description";
    REFERENCED_IMAGE_SEQUENCE = 0x0008, 0x1140, "Referenced Image Sequence";
    PATIENT_NAME = 0x0010, 0x0010, "Patient's Name";
    PATIENT_ID = 0x0010, 0x0020, "Patient ID";
    ISSUER_OF_PATIENT_ID = 0x0010, 0x0021, "Issuer of Patient ID";
    PATIENT_BIRTH_DATE = 0x0010, 0x0030, "Patient's Birth Date";
    PATIENT_SEX = 0x0010, 0x0040, "Patient's Sex";
    PATIENT_COMMENTS = 0x0010, 0x4000, "Patient Comments";
    STUDY_INSTANCE_UID = 0x0020, 0x000D, "Study Instance UID";
    SERIES_INSTANCE_UID = 0x0020, 0x000E, "Series Instance UID";
    INSTANCE_NUMBER = 0x0020, 0x0013, "Instance Number";
    SAMPLES_PER_PIXEL = 0x0028, 0x0002, "Samples per Pixel";
    PHOTOMETRIC_INTERPRETATION = 0x0028, 0x0004, "Photometric Interpretation";
    PLANAR_CONFIGURATION = 0x0028, 0x0006, "Planar Configuration";
    NUMBER_OF_FRAMES = 0x0028, 0x0008, "Number of Frames";
    ROWS = 0x0028, 0x0010, "Rows";
    COLUMNS = 0x0028, 0x0011, "Columns";
    BITS_ALLOCATED = 0x0028, 0x0100, "Bits Allocated";
    BITS_STORED = 0x0028, 0x0101, "Bits Stored";
    HIGH_BIT = 0x0028, 0x0102, "High Bit";
    PIXEL_REPRESENTATION = 0x0028, 0x0103, "Pixel Representation";
    EXTENDED_OFFSET_TABLE = 0x7FE0, 0x0001, "Extended Offset Table";
    EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE0, 0x0002, "Extended Offset Table Lengths";
    PIXEL_DATA = 0x7FE0, 0x0010, "Pixel Data";
    DATA_SET_TRAILING_PADDING = 0xFFFC, 0xFFFC, "Data Set Trailing Padding";
}
