//! Functional groups of enhanced multi-frame images (PS3.3 section C.7.6.16): what applies to one frame.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use septum_core::dicom::attributes::{Dataset, Header};

use crate::attributes::items;

/// The first item of the functional group macro `macro_tag` for the frame, counted from 0: its own, else the shared one.
pub(crate) fn functional_group(header: &Header, frame_index: u32, macro_tag: Tag) -> Option<&Dataset> {
    let dataset = header.dataset();
    let own = items(dataset, tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE).get(frame_index as usize);
    let shared = items(dataset, tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE).first();
    [own, shared]
        .into_iter()
        .flatten()
        .find_map(|group| items(group, macro_tag).first())
}
