//! File Meta Information of the files that we make (PS3.10 section 7.1).

use dicom_core::VR;
use dicom_dictionary_std::tags;

use super::write;

/// Implementation Class UID (0002,0012): one fixed UID made of a UUID (PS3.5 annex B.2).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.125732004411725775987083052530596497473";

/// Implementation Version Name (0002,0013).
pub const IMPLEMENTATION_VERSION_NAME: &str = "SEPTUM_0_1";

/// A zero preamble of 128 bytes, `DICM`, and group 0002 in Explicit VR Little Endian: what precedes the dataset in a
/// file. The UIDs are written as given, padded to an even length.
pub fn file_meta(transfer_syntax_uid: &str, sop_class_uid: &str, sop_instance_uid: &str) -> Vec<u8> {
    let mut group = Vec::with_capacity(256);
    write::element_bytes(&mut group, tags::FILE_META_INFORMATION_VERSION, VR::OB, &[0, 1]);
    for (tag, vr, text) in [
        (tags::MEDIA_STORAGE_SOP_CLASS_UID, VR::UI, sop_class_uid),
        (tags::MEDIA_STORAGE_SOP_INSTANCE_UID, VR::UI, sop_instance_uid),
        (tags::TRANSFER_SYNTAX_UID, VR::UI, transfer_syntax_uid),
        (tags::IMPLEMENTATION_CLASS_UID, VR::UI, IMPLEMENTATION_CLASS_UID),
        (tags::IMPLEMENTATION_VERSION_NAME, VR::SH, IMPLEMENTATION_VERSION_NAME),
    ] {
        write::element_bytes(&mut group, tag, vr, text.as_bytes());
    }
    let mut file = vec![0; 128];
    file.extend_from_slice(b"DICM");
    let group_bytes = u32::try_from(group.len()).unwrap_or(u32::MAX);
    write::element_bytes(
        &mut file,
        tags::FILE_META_INFORMATION_GROUP_LENGTH,
        VR::UL,
        &group_bytes.to_le_bytes(),
    );
    file.extend_from_slice(&group);
    file
}
