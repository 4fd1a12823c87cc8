//! Sealer: each half under its own key. After this stage nothing is in the clear but what the commit decision needs.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use septum_core::dicom::PixelLayout;
use septum_core::ids::ObjectId;
use septum_core::seal::{DataKey, ObjectContext, ObjectSealer, Suite, TokenDomain, seal_record, token};

use super::Handoffs;
use super::actor::Stage;
use super::handoff::Credit;
use super::messages::{
    CommitWork, CompressedInstance, EncodedRun, SealWork, SealedInstance, SealedRun, SealedValue, ValueWork,
};
use crate::error::{EngineError, Result};
use crate::records::{
    MetadataRow, PixelRecord, RunUnit, encode, header_context, metadata_context, pixel_record_context, run_context,
    template_context, value_context, version_context,
};
use crate::services::Services;

/// The stage.
pub struct Sealer {
    services: Arc<Services>,
    handoffs: Arc<Handoffs>,
}

impl Sealer {
    /// Over what all stages share.
    pub fn new(services: Arc<Services>, handoffs: Arc<Handoffs>) -> Self {
        Self { services, handoffs }
    }

    async fn run(&self, run: EncodedRun) {
        let EncodedRun {
            instance,
            first_unit,
            units,
            ticket,
            share,
        } = run;
        let suite = self.services.keyring.suite();
        let study = Arc::clone(&instance.study);
        let object = ObjectId::random();
        let context = run_context(object, instance.version, instance.pixel_set);
        let num_bytes = units.iter().map(|unit| unit.bytes.len()).sum();
        let sealed = self.services.compute.upon(num_bytes, move || {
            let plain: Vec<&[u8]> = units.iter().map(|unit| unit.bytes.as_ref()).collect();
            let bytes = seal_run(suite, &study.keys.pixel, &context, &plain)?;
            let units = units
                .iter()
                .map(|unit| {
                    let encoded_length =
                        u32::try_from(unit.bytes.len()).map_err(|_| EngineError::Corrupt("unit length"))?;
                    Ok(RunUnit {
                        codec: unit.codec as u8,
                        encoded_length,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            Ok((bytes, units))
        });
        match sealed.await.and_then(|sealed| sealed) {
            Ok((bytes, units)) => {
                let stored = bytes.len() as u64;
                self.services
                    .telemetry
                    .ingest_bytes
                    .with_label_values(&["stored"])
                    .inc_by(stored);
                let run = SealedRun {
                    object,
                    bytes: bytes.into(),
                    first_unit,
                    units,
                    ticket,
                    share,
                };
                let _ = self.handoffs.committers[instance.study.shard]
                    .hand_over(CommitWork::Run(run))
                    .await;
            }
            Err(error) => ticket.failed(error),
        }
    }

    async fn value(&self, value: ValueWork) {
        let ValueWork {
            study,
            version,
            index,
            bytes,
            arrival,
            ticket,
            share,
        } = value;
        let suite = self.services.keyring.suite();
        let object = ObjectId::random();
        let shard = study.shard;
        let sealed = self
            .services
            .compute
            .run(move || seal_record(suite, &study.keys.phi, &value_context(object, version, index), &bytes));
        match sealed.await {
            Ok(Ok(bytes)) => {
                let value = SealedValue {
                    version,
                    index,
                    object,
                    bytes: bytes.into(),
                    arrival,
                    ticket,
                    share,
                };
                let _ = self.handoffs.committers[shard]
                    .hand_over(CommitWork::Value(value))
                    .await;
            }
            Ok(Err(error)) => ticket.failed(error.into()),
            Err(error) => ticket.failed(error),
        }
    }

    async fn ended(&self, compressed: Box<CompressedInstance>) {
        let suite = self.services.keyring.suite();
        let shard = compressed.instance.study.shard;
        let num_bytes = compressed.header.len() + compressed.metadata.len();
        match self
            .services
            .compute
            .upon(num_bytes, move || seal_instance(suite, *compressed))
            .await
        {
            Ok(Ok(sealed)) => {
                let _ = self.handoffs.committers[shard]
                    .hand_over(CommitWork::Ended(Box::new(sealed)))
                    .await;
            }
            Ok(Err((receipt, error))) => receipt.failed(error),
            // The receipt was dropped by the panic.
            Err(error) => tracing::error!(%error, "sealing an instance panicked"),
        }
    }
}

/// One object with a run: the object header, then each unit as one frame.
pub fn seal_run(suite: Suite, key: &DataKey, context: &ObjectContext, units: &[&[u8]]) -> Result<Vec<u8>> {
    let sealer = ObjectSealer::new(suite, key, context)?;
    let length = units
        .iter()
        .map(|unit| ObjectSealer::sealed_length(unit.len()))
        .sum::<usize>();
    let mut object = Vec::with_capacity(sealer.header().len() + length);
    object.extend_from_slice(sealer.header());
    for (index, unit) in units.iter().enumerate() {
        let index = u32::try_from(index).map_err(|_| EngineError::Corrupt("number of units"))?;
        sealer.seal_frame(index, unit, &mut object)?;
    }
    Ok(object)
}

type Failed = (super::ticket::Receipt, EngineError);

fn seal_instance(suite: Suite, compressed: CompressedInstance) -> std::result::Result<SealedInstance, Failed> {
    let CompressedInstance {
        budget,
        instance,
        record,
        split,
        header,
        metadata,
        attributes,
        template,
        new_template,
        placed,
        values,
        receipt,
    } = compressed;
    let keys = &instance.study.keys;
    let token_of = |domain, uid: &str| {
        token(
            instance.study.account.index_key(),
            domain,
            instance.study.namespace,
            uid.as_bytes(),
        )
    };
    let series = token_of(TokenDomain::Series, &record.series_uid);
    let instance_token = token_of(TokenDomain::Instance, &record.instance_uid);
    let payload_bytes = split.layout.as_ref().map_or(0, PixelLayout::payload_length);
    let seal = |key: &DataKey, context: ObjectContext, plain: &[u8]| seal_record(suite, key, &context, plain);
    let parts = || -> Result<_> {
        let header_object = ObjectId::random();
        let header = seal(&keys.phi, header_context(header_object, instance.version), &header)?;
        let sealed_record = seal(&keys.phi, version_context(instance.version), &encode(&record))?;
        let metadata = seal(
            &keys.phi,
            metadata_context(instance.study.study, &series, &instance_token),
            &metadata,
        )?;
        let (metadata, metadata_object) = MetadataRow::of(metadata);
        let new_template = new_template
            .map(|plain| -> Result<_> {
                let object = ObjectId::random();
                Ok((object, Bytes::from(seal(&keys.phi, template_context(object), &plain)?)))
            })
            .transpose()?;
        let description = instance.start.pixels.clone();
        let pixels = match (split.layout, description) {
            (Some(layout), Some(description)) => {
                let objects = placed.iter().map(|(run, _)| run.object).collect();
                let record = PixelRecord {
                    split: instance.split,
                    version: instance.version,
                    dense: description.encapsulated || instance.density.is_full(),
                    layout,
                    description,
                    runs: placed.iter().map(|(run, _)| run.clone()).collect(),
                };
                let sealed = seal(&keys.pixel, pixel_record_context(instance.pixel_set), &encode(&record))?;
                Some((objects, sealed))
            }
            _ => None,
        };
        Ok((
            header_object,
            header,
            sealed_record,
            (metadata, metadata_object),
            new_template,
            pixels,
        ))
    };
    match parts() {
        Ok((header_object, header, sealed_record, (metadata, metadata_object), new_template, pixels)) => {
            let stored_bytes = placed
                .iter()
                .flat_map(|(run, _)| &run.units)
                .map(|unit| u64::from(unit.encoded_length))
                .sum();
            Ok(SealedInstance {
                budget,
                payload_bytes,
                stored_bytes,
                instance,
                record,
                attributes,
                sealed_record,
                header: (header_object, header.into()),
                template: template.map(|template| template.object),
                new_template,
                metadata,
                metadata_object,
                pixels,
                placed: placed.into_iter().map(|(_, placed)| placed).collect(),
                values,
                receipt,
            })
        }
        Err(error) => Err((receipt, error)),
    }
}

impl Stage for Sealer {
    type Work = SealWork;
    const NAME: &'static str = "sealer";

    async fn work(self: Arc<Self>, work: SealWork, credit: Credit) {
        let start = Instant::now();
        match work {
            SealWork::Run(run) => self.run(run).await,
            SealWork::Value(value) => self.value(value).await,
            SealWork::Ended(compressed) => self.ended(compressed).await,
        }
        self.services.telemetry.observe_stage(Self::NAME, start);
        drop(credit);
    }
}
