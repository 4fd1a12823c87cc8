//! Compressor: frames through the codec ladder, the header into metadata and against its series' template.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rayon::prelude::*;
use septum_core::codec::{Codec, Encoded, Tier, compress_with_template, encode};
use septum_core::dicom::SplitInstance;
use serde_json::{Map, Value};

use super::actor::Stage;
use super::handoff::Credit;
use super::messages::{
    CompressWork, CompressedInstance, EncodedRun, EncodedUnit, FrameRun, InstanceEnded, SealWork, ValueWork,
};
use super::ticket::Receipt;
use super::{COMPRESSOR_CREDITS, Handoffs};
use crate::error::Result;
use crate::headers::{Shown, metadata_of};
use crate::records::{self, Template, VersionRecord};
use crate::retrieve::metadata::pack;
use crate::services::{Services, now_ms};
use crate::templates::LoadedTemplate;

/// Credits that are out where nothing but one instance is under way: its parser's and its compressor's.
const ALONE: usize = 2;

/// Longer headers, with their metadata, make no template: every header of the series would be opened against it.
const TEMPLATE_BYTES_MAX: usize = 1 << 20;

/// The stage.
pub struct Compressor {
    services: Arc<Services>,
    handoffs: Arc<Handoffs>,
}

struct Headers {
    header: Vec<u8>,
    header_length: u64,
    metadata: Vec<u8>,
    attributes: Map<String, Value>,
    new_template: Option<Vec<u8>>,
    warnings: Vec<String>,
}

impl Compressor {
    /// Over what all stages share.
    pub fn new(services: Arc<Services>, handoffs: Arc<Handoffs>) -> Self {
        Self { services, handoffs }
    }

    /// The configured tier; the pressure tier while so much is under way that every core has its share: whoever uploads
    /// that much waits for the processor, and the dense tier is made once it is idle; the dense tier at once where it is
    /// idle now.
    fn tier(&self) -> Tier {
        let enough = (2 * self.services.compute.num_threads()).clamp(4, COMPRESSOR_CREDITS);
        let num_out = self.handoffs.num_out();
        match self.services.settings.tier {
            Tier::Acknowledge if num_out >= enough => Tier::Pressure,
            Tier::Acknowledge
                if num_out <= ALONE && self.services.settings.densify && self.services.densify.is_empty() =>
            {
                Tier::Dense
            }
            tier => tier,
        }
    }

    async fn run(&self, run: FrameRun) {
        let FrameRun {
            instance,
            first_unit,
            units,
            shape,
            native,
            ticket,
            share,
        } = run;
        let tier = self.tier();
        let payload: u64 = units.iter().map(|unit| unit.len() as u64).sum();
        self.services
            .telemetry
            .ingest_bytes
            .with_label_values(&["payload"])
            .inc_by(payload);
        let encoded = if native {
            instance.density.note(tier);
            let compute = &self.services.compute;
            let encode = move |unit: Bytes| {
                let Encoded { codec, bytes } = encode(tier, shape.as_ref(), &unit);
                let bytes = if codec == Codec::Raw { unit } else { bytes.into() };
                EncodedUnit { codec, bytes }
            };
            if units.len() == 1 {
                compute.run(move || units.into_iter().map(encode).collect()).await
            } else {
                compute
                    .spread(move || units.into_par_iter().map(encode).collect())
                    .await
            }
        } else {
            // What comes compressed is kept as it came.
            Ok(units
                .into_iter()
                .map(|bytes| EncodedUnit {
                    codec: Codec::Raw,
                    bytes,
                })
                .collect())
        };
        match encoded {
            Ok(units) => {
                let run = EncodedRun {
                    instance,
                    first_unit,
                    units,
                    ticket,
                    share,
                };
                // A stage that is gone drops the run, and its ticket tells.
                let _ = self.handoffs.sealer.hand_over(SealWork::Run(run)).await;
            }
            Err(error) => ticket.failed(error),
        }
    }

    async fn value(&self, mut value: ValueWork) {
        let bytes = value.bytes.clone();
        let compressed = self.services.compute.run(move || compress_with_template(None, &bytes));
        match compressed.await {
            Ok(compressed) => {
                value.bytes = compressed.into();
                let _ = self.handoffs.sealer.hand_over(SealWork::Value(value)).await;
            }
            Err(error) => value.ticket.failed(error),
        }
    }

    async fn ended(&self, ended: InstanceEnded) {
        let InstanceEnded {
            budget,
            instance,
            split,
            placed,
            values,
            receipt,
        } = ended;
        let template = match self.services.templates.of_series(&instance).await {
            Ok(template) => template,
            Err(error) => return receipt.failed(error),
        };
        let (for_work, known) = (split.header.clone(), template.clone());
        let start = Arc::clone(&instance.start);
        let num_bytes = usize::try_from(for_work.len()).unwrap_or(usize::MAX);
        let headers = self
            .services
            .compute
            .upon(num_bytes, move || headers(&start, &for_work, known.as_deref()))
            .await
            .and_then(|headers| headers);
        match headers {
            Ok(headers) => {
                let record = record(&instance, &split, &headers);
                let compressed = CompressedInstance {
                    budget,
                    instance,
                    record,
                    split,
                    header: headers.header,
                    metadata: headers.metadata,
                    attributes: headers.attributes,
                    template,
                    new_template: headers.new_template,
                    placed,
                    values,
                    receipt,
                };
                let _ = self
                    .handoffs
                    .sealer
                    .hand_over(SealWork::Ended(Box::new(compressed)))
                    .await;
            }
            Err(error) => Receipt::failed(receipt, error),
        }
    }
}

fn record(instance: &super::messages::InstanceContext, split: &SplitInstance, headers: &Headers) -> VersionRecord {
    let identity = &instance.start.identity;
    VersionRecord {
        split: instance.split,
        study_uid: identity.study.as_str().to_owned(),
        series_uid: identity.series.as_str().to_owned(),
        instance_uid: identity.instance.as_str().to_owned(),
        sop_class_uid: identity.sop_class.as_str().to_owned(),
        transfer_syntax_uid: instance.start.transfer_syntax.uid().to_owned(),
        encoding: instance.start.encoding,
        dataset_digest: split.dataset_digest,
        dataset_length: split.dataset_length,
        header_length: headers.header_length,
        pixels: instance.start.pixels.clone(),
        received_ms: now_ms(),
        warnings: split
            .warnings
            .iter()
            .map(|warning| warning.name().to_owned())
            .chain(headers.warnings.iter().cloned())
            .collect(),
        correction: None,
    }
}

/// The header compressed, its metadata made and compressed alike.
fn headers(
    start: &septum_core::dicom::InstanceStart,
    header: &septum_core::dicom::HeaderBytes,
    template: Option<&LoadedTemplate>,
) -> Result<Headers> {
    let plain = header.encode();
    let Shown { attributes, warning } = metadata_of(start, header);
    #[expect(clippy::expect_used, reason = "a map of JSON values always serialises")]
    let text = serde_json::to_vec(&attributes).expect("JSON serialises");
    let known = template.map(|template| &template.template);
    let compressed = compress_with_template(known.map(|known| known.header.as_slice()), &plain);
    let metadata = pack(known.map(|known| known.metadata.as_slice()), &text);
    let header_length = plain.len() as u64;
    let is_small = plain.len() + text.len() <= TEMPLATE_BYTES_MAX;
    let new_template = (template.is_none() && is_small).then(|| {
        records::encode(&Template {
            header: plain,
            metadata: text,
        })
    });
    Ok(Headers {
        header: compressed,
        header_length,
        metadata,
        attributes,
        new_template,
        warnings: warning.into_iter().map(str::to_owned).collect(),
    })
}

impl Stage for Compressor {
    type Work = CompressWork;
    const NAME: &'static str = "compressor";

    async fn work(self: Arc<Self>, work: CompressWork, credit: Credit) {
        let start = Instant::now();
        match work {
            CompressWork::Run(run) => self.run(run).await,
            CompressWork::Value(value) => self.value(value).await,
            CompressWork::Ended(ended) => self.ended(ended).await,
        }
        self.services.telemetry.observe_stage(Self::NAME, start);
        drop(credit);
    }
}
