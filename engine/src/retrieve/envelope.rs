//! What stands around the pixels of an instance that is written anew: file meta, elements in Explicit VR Little Endian,
//! and the long values among them.

use bytes::Bytes;
use dicom_core::VR;
use septum_core::dicom::Encoding;
use septum_core::dicom::transcode::{PlacedValue, TranscodedHeader};

use super::stream::{Gone, Sender, send};
use super::{InstanceRef, Values};
use crate::error::{EngineError, Result};

/// File meta and elements before and behind the pixel payload.
pub(crate) struct Envelope {
    meta: Bytes,
    before: Bytes,
    after: Bytes,
    long_before: Vec<PlacedValue>,
    long_after: Vec<PlacedValue>,
    values: Values,
    is_padded: bool,
}

impl Envelope {
    /// Of an instance's header as it was written anew, and its long values.
    ///
    /// # Errors
    /// [`EngineError::NotAcceptable`] where a long value would have to be turned around.
    pub(crate) fn new(instance: &InstanceRef, meta: Vec<u8>, header: TranscodedHeader, values: Values) -> Result<Self> {
        let TranscodedHeader {
            before,
            after,
            long_before,
            long_after,
            ..
        } = header;
        let mut placed = long_before.iter().chain(&long_after);
        if instance.record.encoding == Encoding::ExplicitBig && placed.any(|place| is_in_words(place.vr)) {
            return Err(EngineError::NotAcceptable(
                "a long value of this instance is in big endian byte order".to_owned(),
            ));
        }
        Ok(Self {
            meta: meta.into(),
            before: before.into(),
            after: after.into(),
            long_before,
            long_after,
            values,
            is_padded: false,
        })
    }

    /// With a byte behind a payload of so many bytes, where their number is odd.
    pub(crate) fn around(mut self, payload_length: u64) -> Self {
        self.is_padded = payload_length % 2 == 1;
        self
    }

    /// Bytes of all but the payload.
    pub(crate) fn length(&self) -> u64 {
        let placed = self.long_before.iter().chain(&self.long_after);
        let long: u64 = placed
            .map(|place| u64::from(self.values.all()[place.index].length))
            .sum();
        let elements = self.meta.len() + self.before.len() + self.after.len() + usize::from(self.is_padded);
        elements as u64 + long
    }

    /// Sends what stands before the payload.
    pub(crate) async fn send_before(&self, sender: &Sender) -> Result<std::result::Result<(), Gone>> {
        if send(sender, self.meta.clone()).await.is_err() {
            return Ok(Err(Gone));
        }
        self.send_elements(sender, &self.before, &self.long_before).await
    }

    /// Sends what stands behind the payload.
    pub(crate) async fn send_after(&self, sender: &Sender) -> Result<std::result::Result<(), Gone>> {
        if self.is_padded && send(sender, Bytes::from_static(&[0])).await.is_err() {
            return Ok(Err(Gone));
        }
        self.send_elements(sender, &self.after, &self.long_after).await
    }

    /// Sends elements, and each long value where it belongs.
    async fn send_elements(
        &self,
        sender: &Sender,
        elements: &Bytes,
        places: &[PlacedValue],
    ) -> Result<std::result::Result<(), Gone>> {
        let mut sent = 0;
        for place in places {
            if send(sender, elements.slice(sent..place.at)).await.is_err() {
                return Ok(Err(Gone));
            }
            sent = place.at;
            for number in self.values.units(place.index) {
                if send(sender, self.values.unit(number).await?).await.is_err() {
                    return Ok(Err(Gone));
                }
            }
        }
        Ok(send(sender, elements.slice(sent..)).await)
    }
}

/// Whether values of the VR have a byte order (PS3.5 section 6.2).
fn is_in_words(vr: VR) -> bool {
    matches!(
        vr,
        VR::OW
            | VR::OL
            | VR::OF
            | VR::OD
            | VR::OV
            | VR::US
            | VR::SS
            | VR::UL
            | VR::SL
            | VR::FL
            | VR::FD
            | VR::UV
            | VR::SV
    )
}
