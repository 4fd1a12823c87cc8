//! How much a study takes on disk: the sealed headers, long values and pixels of all its versions. Pixels that it has in
//! common with others count as its own.

use std::collections::HashSet;

use septum_core::ids::{PixelSetId, StudyId};

use crate::error::Result;
use crate::records::{PixelRow, VersionRow, decode, key};
use crate::retrieve::StudyRef;
use crate::services::Services;

/// Sealed bytes of a study. What is erased or made dense meanwhile may not count.
///
/// # Errors
/// Where a row cannot be read.
pub fn of(services: &Services, study: &StudyRef) -> Result<u64> {
    let shard = study.stored_in(services);
    let mut bytes = 0;
    let mut pixel_sets: HashSet<(StudyId, PixelSetId)> = HashSet::new();
    for row in crate::scan::rows(shard, key::versions(study.id())) {
        let row: VersionRow = decode(&row?.1, "version row")?;
        for object in row.values.iter().chain([&row.header]) {
            bytes += shard.object_bytes(*object)?.unwrap_or(0);
        }
        let pixels = row.pixel_set.map(|set| (row.pixel_study.unwrap_or(study.id()), set));
        pixel_sets.extend(pixels);
    }
    for (holder, pixel_set) in pixel_sets {
        if let Some(row) = shard.get(&key::pixels(holder, pixel_set))? {
            for object in decode::<PixelRow>(&row, "pixel row")?.objects {
                bytes += shard.object_bytes(object)?.unwrap_or(0);
            }
        }
    }
    Ok(bytes)
}
