//! Sealing and opening with both suites, against memcpy and against the bare cipher.

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use septum_benches::measure::{Case, Runner, Work};
use septum_core::ids::{ObjectId, PixelSetId, VersionId};
use septum_core::seal::{DataKey, ObjectContext, ObjectOpener, ObjectSealer, Part, Suite, open_record, seal_record};

/// A compressed CT slice, a native mammogram.
const SIZES: [(&str, usize); 2] = [("128-kib", 128 << 10), ("6-mib", 6 << 20)];

pub(crate) fn run(runner: &mut Runner) {
    let key = DataKey::random();
    for suite in Suite::ALL {
        for (size, num_bytes) in SIZES {
            frames(runner, &key, suite, size, num_bytes);
        }
        records(runner, &key, suite);
    }
}

fn context() -> ObjectContext {
    ObjectContext {
        part: Part::Pixel,
        pixel_set: PixelSetId::random(),
        version: VersionId::random(),
        object: ObjectId::random(),
    }
}

fn frames(runner: &mut Runner, key: &DataKey, suite: Suite, size: &str, num_bytes: usize) {
    let plain: Vec<u8> = (0..num_bytes).map(|at| ((at * 31) >> 3) as u8).collect();
    let context = context();
    let sealer = ObjectSealer::new(suite, key, &context).expect("a native build has both suites");
    let mut sealed = Vec::new();
    sealer.seal_frame(u32::MAX, &plain, &mut sealed).expect("seals");
    let opener = ObjectOpener::new(key, sealer.header(), &context).expect("opens");
    let work = Work::Bytes(num_bytes as u64);
    let name = |way: &str| format!("seal/{}/{way}/{size}", suite.name());
    let mut frame = 0;
    let mut out = Vec::with_capacity(sealed.len());
    let mut seal = || {
        out.clear();
        sealer.seal_frame(frame, black_box(&plain), &mut out).expect("seals");
        frame += 1;
        black_box(&out);
    };
    let copy = |bytes: &[u8], to: &mut Vec<u8>| {
        to.clear();
        to.extend_from_slice(black_box(bytes));
        black_box(to);
    };
    let mut buffer = Vec::with_capacity(sealed.len());
    runner.compare(
        Case {
            name: &name("seal"),
            floor: "memcpy",
            work,
        },
        String::new,
        &mut seal,
        || {
            copy(&plain, &mut buffer);
        },
    );
    let cipher = BareCipher::new(suite, key);
    runner.compare(
        Case {
            name: &name("seal-against-cipher"),
            floor: "the cipher alone",
            work,
        },
        String::new,
        &mut seal,
        || {
            copy(&plain, &mut buffer);
            cipher.seal(&mut buffer);
        },
    );
    let mut opened = Vec::with_capacity(sealed.len());
    runner.compare(
        Case {
            name: &name("open"),
            floor: "memcpy",
            work,
        },
        String::new,
        || {
            opened.clear();
            opener
                .open_frame_into(u32::MAX, black_box(&sealed), &mut opened)
                .expect("opens");
            black_box(&opened);
        },
        || copy(&sealed, &mut buffer),
    );
}

/// Records of 300 bytes: what a row is. Each has a key of its own.
fn records(runner: &mut Runner, key: &DataKey, suite: Suite) {
    let plain = [7; 300];
    let context = context();
    let sealed = seal_record(suite, key, &context, &plain).expect("seals");
    let cipher = BareCipher::new(suite, key);
    let work = Work::Items(1, "records");
    let alone = || {
        let mut bytes = black_box(&plain).to_vec();
        cipher.seal(&mut bytes);
        black_box(bytes);
    };
    let name = |way: &str| format!("seal/{}/{way}/record", suite.name());
    let floor = "the cipher alone";
    runner.compare(
        Case {
            name: &name("seal"),
            floor,
            work,
        },
        || "300 bytes".to_owned(),
        || {
            black_box(seal_record(suite, key, &context, black_box(&plain)).expect("seals"));
        },
        alone,
    );
    runner.compare(
        Case {
            name: &name("open"),
            floor,
            work,
        },
        || "300 bytes".to_owned(),
        || {
            black_box(open_record(key, &context, black_box(&sealed)).expect("opens"));
        },
        alone,
    );
}

/// The cipher without derivation, commitment and chunks, and always with the same nonce: fit for a floor only.
enum BareCipher {
    XChaCha(Box<XChaCha20Poly1305>),
    Aes(Box<LessSafeKey>),
}

impl BareCipher {
    fn new(suite: Suite, key: &DataKey) -> Self {
        match suite {
            Suite::XChaCha20Poly1305 => Self::XChaCha(Box::new(XChaCha20Poly1305::new(key.expose().into()))),
            Suite::Aes256Gcm => {
                let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("32 bytes");
                Self::Aes(Box::new(LessSafeKey::new(key)))
            }
        }
    }

    fn seal(&self, bytes: &mut [u8]) {
        match self {
            Self::XChaCha(cipher) => {
                let tag = cipher.encrypt_inout_detached(&XNonce::default(), &[], bytes.into());
                black_box(tag.expect("short enough"));
            }
            Self::Aes(key) => {
                let nonce = Nonce::assume_unique_for_key([0; 12]);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), bytes);
                let _ = black_box(tag.expect("short enough"));
            }
        }
    }
}
