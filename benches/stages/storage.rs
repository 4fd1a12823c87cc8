//! Durable commits against raw writes with an fsync.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use septum_benches::measure::{Case, Runner, Work};
use septum_core::ids::ObjectId;
use septum_storage::vfs::RealVfs;
use septum_storage::{CommitBatch, Row, RowKind, Shard, Store, StoreConfig};
use tempfile::TempDir;

/// A compressed CT slice and its sealed header.
const PIXEL_BYTES: usize = 128 << 10;
const HEADER_BYTES: usize = 1 << 10;

pub(crate) fn run(runner: &mut Runner) {
    let folder = folder(runner);
    let config = StoreConfig {
        shards: 1,
        ..StoreConfig::new(
            folder.path().join("phi"),
            folder.path().join("pixel"),
            folder.path().join("key"),
        )
    };
    let store = Store::open(config, Arc::new(RealVfs)).expect("a fresh store opens");
    let shard = &store.shards()[0];
    for num_commits in [1, 16, runner.size(256, 32)] {
        commits(runner, shard, folder.path().join("floor"), num_commits);
    }
    reads(runner, shard, folder.path().join("floor"));
    store.close();
}

/// A folder for the files of a group, gone when it is dropped.
pub(crate) fn folder(runner: &Runner) -> TempDir {
    match &runner.options().folder {
        Some(parent) => TempDir::new_in(parent),
        None => TempDir::new(),
    }
    .expect("a folder for temporary files")
}

fn body(seed: usize, len: usize) -> Bytes {
    (0..len).map(|at| (seed * 31 + at * 7 + (at >> 8)) as u8).collect()
}

/// Appends and submits all, then waits for all: the committer shares its fsyncs among them.
fn store_all(shard: &Shard, pixels: &Bytes, header: &Bytes, num_commits: usize) -> Vec<ObjectId> {
    let mut stored = Vec::with_capacity(num_commits);
    let tickets: Vec<_> = (0..num_commits)
        .map(|_| {
            let (frames, header_id) = (ObjectId::random(), ObjectId::random());
            let placed = shard
                .put_batch_blocking(vec![(frames, pixels.to_vec())])
                .expect("appends");
            stored.push(frames);
            shard.submit(CommitBatch {
                rows: vec![Row::put(RowKind::Version.key(&[header_id.as_bytes()]), [0; 300])],
                objects: vec![(header_id, header.clone())],
                placed,
                ..CommitBatch::default()
            })
        })
        .collect();
    for ticket in tickets {
        let _proof = ticket.wait().expect("commits");
    }
    stored
}

fn commits(runner: &mut Runner, shard: &Shard, floor_file: PathBuf, num_commits: usize) {
    let (pixels, header) = (body(1, PIXEL_BYTES), body(2, HEADER_BYTES));
    let num_bytes = num_commits * (PIXEL_BYTES + HEADER_BYTES + 300);
    for (unit, work) in [
        ("bytes", Work::Bytes(num_bytes as u64)),
        ("commits", Work::Items(num_commits as u64, "commits")),
    ] {
        let name = format!("storage/{unit}/{num_commits}-in-flight");
        runner.compare_timed(
            Case {
                name: &name,
                floor: "one file, one fsync",
                work,
            },
            String::new,
            || {
                let began = Instant::now();
                store_all(shard, &pixels, &header, num_commits);
                began.elapsed()
            },
            || {
                let mut file = File::create(&floor_file).expect("creates");
                let began = Instant::now();
                for _ in 0..num_commits {
                    file.write_all(&pixels)
                        .and_then(|()| file.write_all(&header))
                        .expect("writes");
                    file.write_all(&[0; 300]).expect("writes");
                }
                file.sync_data().expect("syncs");
                began.elapsed()
            },
        );
    }
}

/// Whole objects, from the page cache.
fn reads(runner: &mut Runner, shard: &Shard, floor_file: PathBuf) {
    let num_objects = runner.size(256, 32);
    let (pixels, header) = (body(3, PIXEL_BYTES), body(4, HEADER_BYTES));
    let stored = store_all(shard, &pixels, &header, num_objects);
    std::fs::write(&floor_file, pixels.repeat(num_objects)).expect("writes");
    let file = File::open(&floor_file).expect("opens");
    let work = Work::Bytes((num_objects * PIXEL_BYTES) as u64);
    runner.compare_timed(
        Case {
            name: "storage/read-objects",
            floor: "pread, same bytes",
            work,
        },
        || format!("{num_objects} objects"),
        || {
            timed(|| {
                for &id in &stored {
                    std::hint::black_box(shard.read_object_blocking(id, None).expect("reads"));
                }
            })
        },
        || timed(|| read_in_pieces(&file, num_objects, PIXEL_BYTES)),
    );
}

/// How long it takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Reads a file in pieces of one length, each into memory of its own.
pub(crate) fn read_in_pieces(file: &File, num_pieces: usize, piece_bytes: usize) {
    for number in 0..num_pieces {
        let mut piece = vec![0; piece_bytes];
        let at = (number * piece_bytes) as u64;
        std::os::unix::fs::FileExt::read_exact_at(file, &mut piece, at).expect("reads");
        std::hint::black_box(piece);
    }
}
