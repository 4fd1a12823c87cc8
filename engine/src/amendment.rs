//! The corrected version of one instance: another header upon the same pixels.

use std::sync::Arc;

use septum_core::dicom::HeaderBytes;
use septum_core::dicom::correct::{Correction, corrected};
use septum_core::ids::{PixelSetId, UserId};
use time::OffsetDateTime;

use crate::error::{EngineError, Result};
use crate::headers::metadata_of;
use crate::records::{CorrectionNote, VersionRecord};
use crate::retrieve::{InstanceRef, Values, metadata, stream};
use crate::services::Services;

/// Modifying System (0400,0563).
const SYSTEM: &str = "Septum";

/// What is corrected in every instance of a study, by whom and why.
#[derive(Debug, Clone)]
pub struct Amendment {
    /// The attributes.
    pub correction: Correction,
    /// Who.
    pub by: UserId,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Why, in their own words.
    pub reason: String,
}

impl Amendment {
    /// A correction made by somebody at a time.
    pub fn new(mut correction: Correction, by: UserId, at_ms: i64, reason: String) -> Self {
        correction.at = date_time(at_ms);
        correction.system = SYSTEM.to_owned();
        Self {
            correction,
            by,
            at_ms,
            reason,
        }
    }
}

/// A corrected version.
pub struct Amended {
    /// Its header.
    pub header: HeaderBytes,
    /// What is known of it.
    pub record: VersionRecord,
    /// Its metadata, DICOM JSON.
    pub text: String,
    /// Its pixels, where they wait to be made dense.
    pub not_dense: Option<PixelSetId>,
}

impl Amendment {
    /// The corrected version of an instance; `None` where there is nothing to correct in it. All of its pixels are read,
    /// since the digest of the corrected dataset is taken here.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where the header cannot be corrected.
    pub async fn of(&self, services: &Arc<Services>, found: &InstanceRef) -> Result<Option<Amended>> {
        let before = stream::header_of(services, found).await?;
        let made = corrected(&before, found.record.encoding, &self.correction);
        let Some(header) = made.map_err(|error| EngineError::NotAcceptable(error.to_string()))? else {
            return Ok(None);
        };
        let pixels = stream::pixels_of(services, found)?;
        let values = Values::new(services, found, &header)?;
        let (dataset_digest, dataset_length) = stream::digest_of(&header, &values, pixels.as_ref()).await?;
        let record = VersionRecord {
            dataset_digest,
            dataset_length,
            header_length: header.encode().len() as u64,
            correction: Some(CorrectionNote {
                of: found.version,
                by: self.by,
                at_ms: self.at_ms,
                reason: self.reason.clone(),
            }),
            ..VersionRecord::clone(&found.record)
        };
        let start = metadata::start_of(found)?;
        let text = serde_json::to_string(&metadata_of(&start, &header).attributes)
            .map_err(|_| EngineError::Corrupt("metadata"))?;
        let is_waiting = pixels.as_ref().is_some_and(|pixels| !pixels.record().dense);
        if let Some(pixels) = pixels {
            pixels.forget();
        }
        Ok(Some(Amended {
            header,
            record,
            text,
            not_dense: found.row.pixel_set.filter(|_| is_waiting),
        }))
    }
}

/// A time in UTC as a value of VR DT (PS3.5 table 6.2-1).
fn date_time(time_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ms) * 1_000_000);
    time.map_or_else(
        |_| String::new(),
        |time| {
            format!(
                "{:04}{:02}{:02}{:02}{:02}{:02}+0000",
                time.year(),
                u8::from(time.month()),
                time.day(),
                time.hour(),
                time.minute(),
                time.second()
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::date_time;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(date_time(1_700_000_000_123), "20231114221320+0000");
        assert_eq!(date_time(i64::MAX), "");
    }
}
