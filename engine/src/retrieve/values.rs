//! Long values of a stored instance, a unit at a time.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use septum_core::codec::decompress_with_template;
use septum_core::dicom::{HeaderBytes, LongValue, VALUE_UNIT_BYTES, units_of};
use septum_core::seal::open_record;

use super::InstanceRef;
use crate::error::{EngineError, Result};
use crate::records::value_context;
use crate::services::Services;

/// A value outside the pixels, wherever it is kept.
pub enum StoredValue {
    /// Among the header bytes: in memory.
    Held(Bytes),
    /// A long value.
    Long {
        /// The instance's.
        values: Box<Values>,
        /// Which of them.
        index: usize,
    },
}

impl StoredValue {
    /// Bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::Long { values, index } => values.all().get(*index).map_or(0, |value| u64::from(value.length)),
        }
    }

    /// Bytes from `range.start` on, at most to `range.end`, at least one.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] where the range is empty or beyond the value.
    pub async fn piece(&self, range: Range<u64>) -> Result<Bytes> {
        match self {
            Self::Held(bytes) if range.start < range.end && range.end <= bytes.len() as u64 => {
                Ok(bytes.slice(range.start as usize..range.end as usize))
            }
            Self::Held(_) => Err(EngineError::Corrupt("range of a value")),
            Self::Long { values, index } => values.piece(*index, range).await,
        }
    }
}

/// The long values of one instance.
#[derive(Clone)]
pub struct Values {
    services: Arc<Services>,
    instance: InstanceRef,
    values: Arc<[LongValue]>,
}

impl Values {
    /// The values that were cut out of an instance's header.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] where the header and the version's row do not belong together.
    pub fn new(services: &Arc<Services>, instance: &InstanceRef, header: &HeaderBytes) -> Result<Self> {
        let values: Arc<[LongValue]> = header.long_values().copied().collect();
        let num_units: u64 = values.iter().map(|value| u64::from(value.num_units())).sum();
        if num_units != instance.row.values.len() as u64 {
            return Err(EngineError::Corrupt("long values"));
        }
        Ok(Self {
            services: Arc::clone(services),
            instance: instance.clone(),
            values,
        })
    }

    /// All of them.
    pub fn all(&self) -> &[LongValue] {
        &self.values
    }

    /// Which of them is an attribute's; of a tag that stands twice, the last.
    pub fn position(&self, tag: (u16, u16)) -> Option<usize> {
        self.values.iter().rposition(|value| value.tag == tag)
    }

    /// The numbers of the units of the value at `index`.
    pub fn units(&self, index: usize) -> Range<u32> {
        units_of(self.values.iter(), index)
    }

    /// The bytes of a unit.
    pub async fn unit(&self, number: u32) -> Result<Bytes> {
        let corrupt = || EngineError::Corrupt("long values");
        let study = &self.instance.study;
        let object = *self.instance.row.values.get(number as usize).ok_or_else(corrupt)?;
        let length = self.unit_length(number).ok_or_else(corrupt)?;
        let permit = self.services.read_permits.acquire(u64::from(length)).await?;
        let sealed = study.stored_in(&self.services).read_object(object, None).await?;
        let (keys, version) = (Arc::clone(&study.keys), self.instance.version);
        let plain = self.services.compute.run(move || -> Result<Vec<u8>> {
            let compressed = open_record(&keys.phi, &value_context(object, version, number), &sealed)?;
            decompress_with_template(None, &compressed, length as usize)
                .map_err(|_| EngineError::Corrupt("long values"))
        });
        Ok(permit.hold(plain.await??.into()))
    }

    /// The bytes of a long value from `range.start` on, at most to `range.end`: as many as one unit holds, at least one.
    async fn piece(&self, index: usize, range: Range<u64>) -> Result<Bytes> {
        let corrupt = || EngineError::Corrupt("long values");
        let unit_bytes = u64::from(VALUE_UNIT_BYTES);
        let units = self.units(index);
        let nth = u32::try_from(range.start / unit_bytes).map_err(|_| corrupt())?;
        let number = units
            .start
            .checked_add(nth)
            .filter(|number| units.contains(number))
            .ok_or_else(corrupt)?;
        let unit = self.unit(number).await?;
        let start = range.start % unit_bytes;
        let end = (start + (range.end - range.start)).min(unit.len() as u64);
        if start >= end {
            return Err(corrupt());
        }
        Ok(unit.slice(start as usize..end as usize))
    }

    fn unit_length(&self, number: u32) -> Option<u32> {
        let mut first = 0_u32;
        for value in self.values.iter() {
            if number < first + value.num_units() {
                return Some(value.unit_length(number - first));
            }
            first += value.num_units();
        }
        None
    }
}
