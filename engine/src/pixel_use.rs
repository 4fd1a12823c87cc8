//! Who needs a pixel set besides the study it was stored with.
//!
//! A study may use pixels that another one stored: a share, a duplicate. Its versions then name the storing study, whose
//! row alone says where the pixels lie, so that making them dense or moving them is one change for all. How many other
//! studies use a pixel set is counted here, in the same commit as the version rows that use it come or go.
//!
//! | row | key | value |
//! |---|---|---|
//! | pixel use | storing study ‖ pixel set | [`PixelUse`] |
//!
//! Invariant: the pixels go with the last study that uses them. The row is there exactly while another study uses them.

use septum_core::ids::{PixelSetId, StudyId};
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::ledger::Staging;
use crate::records::{PixelRow, decode, encode, key};

const WHAT: &str = "pixel use";

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct PixelUse {
    /// Versions of other studies that use it.
    num_users: u64,
    /// The study that stored it is gone.
    is_left: bool,
}

fn read(staging: &Staging<'_>, study: StudyId, pixel_set: PixelSetId) -> Result<PixelUse> {
    let row = staging.get(&key::pixel_use(study, pixel_set))?;
    Ok(row.map(|row| decode(&row, WHAT)).transpose()?.unwrap_or_default())
}

/// Another version uses the pixels from now on.
///
/// # Errors
/// [`EngineError::NotFound`] where they are gone.
pub fn begin(staging: &mut Staging<'_>, study: StudyId, pixel_set: PixelSetId) -> Result<()> {
    if staging.get(&key::pixels(study, pixel_set))?.is_none() {
        return Err(EngineError::NotFound);
    }
    let mut pixel_use = read(staging, study, pixel_set)?;
    pixel_use.num_users += 1;
    staging.put(key::pixel_use(study, pixel_set), encode(&pixel_use));
    Ok(())
}

/// A version that used the pixels goes. With the last, pixels go that nobody else has.
///
/// # Errors
/// Where a row cannot be read.
pub fn end(staging: &mut Staging<'_>, study: StudyId, pixel_set: PixelSetId) -> Result<()> {
    let mut pixel_use = read(staging, study, pixel_set)?;
    pixel_use.num_users = pixel_use.num_users.checked_sub(1).ok_or(EngineError::Corrupt(WHAT))?;
    if pixel_use.num_users > 0 {
        staging.put(key::pixel_use(study, pixel_set), encode(&pixel_use));
        return Ok(());
    }
    staging.delete(key::pixel_use(study, pixel_set));
    let pixels_key = key::pixels(study, pixel_set);
    if pixel_use.is_left
        && let Some(row) = staging.get(&pixels_key)?
    {
        staging.free(decode::<PixelRow>(&row, "pixel row")?.objects);
        staging.delete(pixels_key);
        crate::densify::unstage(staging, study, pixel_set);
    }
    Ok(())
}

/// The study that stored the pixels goes. Whether others keep them.
///
/// # Errors
/// Where a row cannot be read.
pub fn leave(staging: &mut Staging<'_>, study: StudyId, pixel_set: PixelSetId) -> Result<bool> {
    let mut pixel_use = read(staging, study, pixel_set)?;
    if pixel_use.num_users == 0 {
        return Ok(false);
    }
    pixel_use.is_left = true;
    staging.put(key::pixel_use(study, pixel_set), encode(&pixel_use));
    Ok(true)
}
