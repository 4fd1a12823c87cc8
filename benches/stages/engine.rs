//! End to end without HTTP: ingest up to the durable acknowledgement, and the read path, against the same bytes written
//! or read raw.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use septum_benches::inputs::{InstanceSource, split_file};
use septum_benches::measure::{Case, Runner, Work, cpu_seconds};
use septum_core::codec::Tier;
use septum_core::dicom::SplitLimits;
use septum_core::ids::UserId;
use septum_core::query::{Level, Query};
use septum_core::seal::Suite;
use septum_engine::accounts::Namespace;
use septum_engine::archive::{Archive, ArchiveConfig};
use septum_engine::pipeline::messages::{Source, StoreKind};
use septum_engine::retrieve::stream::{Form, open, pixels_of};
use septum_engine::retrieve::{InstanceRef, StudyRef, metadata};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::storage::{folder, read_in_pieces, timed};

/// Instances on their way at the same time, and the size of the pieces in which their bytes come.
const NUM_UPLOADS: usize = 16;
const PIECE_BYTES: usize = 256 << 10;

pub(crate) fn run(runner: &mut Runner) {
    let source = InstanceSource::ct(16, 70);
    for suite in Suite::ALL {
        for (tier_name, tier) in [("acknowledge", Tier::Acknowledge), ("pressure", Tier::Pressure)] {
            let prefix = format!("engine/{}/{tier_name}", suite.name());
            let wanted = ["ingest", "frames", "instances", "series-metadata", "search"];
            if wanted
                .iter()
                .any(|what| runner.options().wants(&format!("{prefix}/{what}")))
            {
                let bench = Bench::open(folder(runner), suite, tier);
                bench.ingest(runner, &source, &prefix);
                if !runner.options().list {
                    bench.reads(runner, &source, &prefix);
                }
                bench.close();
            }
        }
    }
}

struct Bench {
    folder: TempDir,
    runtime: Runtime,
    archive: Arc<Archive>,
    namespace: Arc<Namespace>,
}

impl Bench {
    fn open(folder: TempDir, suite: Suite, tier: Tier) -> Self {
        let root = folder.path();
        let config = ArchiveConfig {
            phi_root: root.join("phi"),
            pixel_root: root.join("pixel"),
            key_root: root.join("key"),
            root_key_file: root.join("root.key"),
            shards: 4,
            suite,
            tier,
            split: SplitLimits::default(),
            memory_bytes: 256 << 20,
            read_memory_bytes: 64 << 20,
            concurrent_instances: 64,
            admission_timeout: Duration::from_secs(60),
            restarts_per_minute_max: 5,
            compute_threads: 0,
            stable_after: Duration::from_secs(60),
            // Background work would be measured with whatever happens to run.
            densify: false,
            decoder_command: vec!["false".into()],
            decoder_children: 1,
            create: true,
            exit_on_poison: false,
        };
        let runtime = Runtime::new().expect("a runtime");
        let archive = runtime.block_on(Archive::open(config)).expect("a fresh archive opens");
        let namespace = archive.services.accounts.namespaces().expect("readable").remove(0);
        Self {
            folder,
            runtime,
            archive,
            namespace,
        }
    }

    fn close(self) {
        self.runtime.block_on(self.archive.shutdown(Duration::from_secs(10)));
    }

    async fn store(&self, file: [Bytes; 2]) -> StoreKind {
        let source = Source {
            user: UserId::random(),
            address: None,
        };
        let admitted = self.archive.pipeline.admit(Arc::clone(&self.namespace), source).await;
        let mut intake = admitted.expect("there is room");
        for mut part in file {
            while !part.is_empty() {
                intake
                    .push(part.split_to(PIECE_BYTES.min(part.len())))
                    .await
                    .expect("a sound instance");
            }
        }
        intake.finish().await.1.expect("it is stored").kind
    }

    fn store_all(&self, files: Vec<[Bytes; 2]>) {
        let stored = stream::iter(files)
            .map(|file| self.store(file))
            .buffer_unordered(NUM_UPLOADS);
        let kinds = self.runtime.block_on(stored.collect::<Vec<_>>());
        assert!(
            kinds.iter().all(|kind| *kind == StoreKind::Stored),
            "every instance is new"
        );
    }

    fn ingest(&self, runner: &mut Runner, source: &InstanceSource, prefix: &str) {
        let num_instances = runner.size(500, 60) as u32;
        let num_bytes: usize = source.instance(0, 0).iter().map(Bytes::len).sum::<usize>() * num_instances as usize;
        let files = |study| {
            (0..num_instances)
                .map(|index| source.instance(study, index))
                .collect::<Vec<_>>()
        };
        let floor_file = self.folder.path().join("floor");
        for (unit, work) in [
            ("instances", Work::Items(u64::from(num_instances), "instances")),
            ("bytes", Work::Bytes(num_bytes as u64)),
        ] {
            let name = format!("{prefix}/ingest-{unit}");
            let (mut study, mut cpu_s, mut stored) = (if unit == "bytes" { 1000 } else { 0 }, 0.0, 0);
            let cell = std::cell::Cell::new((0.0, 0));
            runner.compare_timed(
                Case {
                    name: &name,
                    floor: "one file, one fsync",
                    work,
                },
                || {
                    let (cpu_s, stored): (f64, usize) = cell.get();
                    format!(
                        "{num_instances} instances, {:.1} CPU s/GB",
                        cpu_s * 1e9 / stored.max(1) as f64
                    )
                },
                || {
                    let files = files(study);
                    study += 1;
                    let before = cpu_seconds().unwrap_or_default();
                    let took = timed(|| self.store_all(files));
                    cpu_s += cpu_seconds().unwrap_or_default() - before;
                    stored += num_bytes;
                    cell.set((cpu_s, stored));
                    took
                },
                || {
                    let mut file = File::create(&floor_file).expect("creates");
                    let files = files(0);
                    let began = Instant::now();
                    for part in files.iter().flatten() {
                        file.write_all(part).expect("writes");
                    }
                    file.sync_data().expect("syncs");
                    began.elapsed()
                },
            );
        }
    }

    fn reads(&self, runner: &mut Runner, source: &InstanceSource, prefix: &str) {
        let num_instances = runner.size(300, 40);
        // A study of its own, whatever ran before.
        let files: Vec<_> = (0..num_instances as u32)
            .map(|index| source.instance(999_999, index))
            .collect();
        self.store_all(files.clone());
        let services = &self.archive.services;
        let identities: Vec<_> = files
            .iter()
            .map(|file| {
                split_file(&Bytes::from(file.concat()))
                    .expect("a sound file")
                    .0
                    .start
                    .identity
            })
            .collect();
        let find = |index: usize| -> InstanceRef {
            let identity = &identities[index];
            StudyRef::find(services, &self.namespace, identity.study.as_str())
                .and_then(|study| study.instance(services, identity.series.as_str(), identity.instance.as_str(), None))
                .expect("stored above")
        };
        let total_bytes = files.iter().flatten().map(Bytes::len).sum::<usize>();
        let file_bytes = total_bytes / num_instances;
        let floor_file = self.folder.path().join("floor");
        std::fs::write(
            &floor_file,
            files.iter().flatten().flatten().copied().collect::<Vec<u8>>(),
        )
        .expect("writes");
        let raw = File::open(&floor_file).expect("opens");
        let frames = Work::Items(num_instances as u64, "frames");

        let stored_bytes = std::cell::Cell::new(0);
        let as_stored = || {
            self.runtime.block_on(async {
                let mut num_bytes = 0;
                for index in 0..num_instances {
                    let pixels = pixels_of(services, &find(index))
                        .expect("readable")
                        .expect("it has pixels");
                    num_bytes += pixels.unit_encoded(0).await.expect("readable").1.len();
                }
                stored_bytes.set(num_bytes);
            });
        };
        as_stored();
        let piece_bytes = stored_bytes.get() / num_instances;
        runner.compare_timed(
            Case {
                name: &format!("{prefix}/frames-as-stored"),
                floor: "pread, same bytes",
                work: frames,
            },
            || format!("{} KiB a frame", piece_bytes >> 10),
            || timed(as_stored),
            || timed(|| read_in_pieces(&raw, num_instances, piece_bytes)),
        );
        runner.compare_timed(
            Case {
                name: &format!("{prefix}/frames-native"),
                floor: "pread, native bytes",
                work: frames,
            },
            || format!("{} KiB a frame", file_bytes >> 10),
            || {
                timed(|| {
                    self.runtime.block_on(async {
                        for index in 0..num_instances {
                            let pixels = pixels_of(services, &find(index))
                                .expect("readable")
                                .expect("it has pixels");
                            std::hint::black_box(pixels.unit(0).await.expect("readable"));
                        }
                    });
                })
            },
            || timed(|| read_in_pieces(&raw, num_instances, 512 << 10)),
        );
        runner.compare_timed(
            Case {
                name: &format!("{prefix}/instances-original"),
                floor: "pread, same bytes",
                work: Work::Bytes(total_bytes as u64),
            },
            || format!("{num_instances} instances"),
            || {
                timed(|| {
                    let lengths = (0..num_instances).map(|index| self.read_original(&find(index)));
                    assert_eq!(lengths.sum::<usize>(), total_bytes, "what went in comes out");
                })
            },
            || timed(|| read_in_pieces(&raw, num_instances, file_bytes)),
        );
        self.metadata_and_search(
            runner,
            prefix,
            &find(0),
            identities[0].study.as_str(),
            identities[0].series.as_str(),
        );
    }

    /// The instance's file; gives its length in bytes.
    fn read_original(&self, instance: &InstanceRef) -> usize {
        let services = &self.archive.services;
        self.runtime.block_on(async {
            let mut stream = open(services, instance, Form::Original).await.expect("readable");
            let mut length = 0;
            while let Some(piece) = stream.next().await {
                length += piece.expect("readable").len();
            }
            length
        })
    }

    fn metadata_and_search(
        &self,
        runner: &mut Runner,
        prefix: &str,
        instance: &InstanceRef,
        study: &str,
        series: &str,
    ) {
        let services = &self.archive.services;
        let list = || {
            let mut reader = metadata::Reader::new(services, &instance.study, Some(series)).expect("readable");
            let mut listed = Vec::new();
            while let Some(mut entries) = self.runtime.block_on(reader.next()).expect("readable") {
                listed.append(&mut entries);
            }
            listed
        };
        let ready: Vec<String> = list().into_iter().map(|entry| entry.text).collect();
        let num_bytes: usize = ready.iter().map(String::len).sum();
        runner.compare(
            Case {
                name: &format!("{prefix}/series-metadata"),
                floor: "memcpy",
                work: Work::Items(1, "series"),
            },
            || format!("{} instances, {} KiB", ready.len(), num_bytes >> 10),
            || drop(std::hint::black_box(list())),
            || drop(std::hint::black_box(ready.concat())),
        );
        let pairs = [("StudyInstanceUID".to_owned(), study.to_owned())];
        let query = Query::parse(Level::Study, pairs.into_iter()).expect("a sound query");
        let namespaces = [Arc::clone(&self.namespace)];
        let search = || {
            let found = septum_engine::search::search(services, &namespaces, Default::default(), &query);
            let mut found = self.runtime.block_on(found).expect("answers");
            assert_eq!(found.items.len(), 1);
            found.items.remove(0).attributes
        };
        let ready = search();
        let text = |attributes: &serde_json::Map<_, _>| serde_json::to_vec(attributes).expect("serialises");
        runner.compare(
            Case {
                name: &format!("{prefix}/search-study-uid"),
                floor: "serialise ready JSON",
                work: Work::Items(1, "searches"),
            },
            || format!("{} bytes", text(&ready).len()),
            || drop(std::hint::black_box(text(&search()))),
            || drop(std::hint::black_box(text(std::hint::black_box(&ready)))),
        );
    }
}
