//! Checkpoints: a note that was not signed is refused, one that was is refused after any change.
//!
//! Input: two bytes for the place of the change, then a note.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::audit::{Checkpoint, CheckpointSigner, CheckpointVerifier, EMPTY_ROOT, TreeHead};

fuzz_target!(|data: &[u8]| {
    let [low, high, note @ ..] = data else { return };
    let signer = CheckpointSigner::from_seed(&[9; 32]);
    let verifier = signer.verifier();
    let note = String::from_utf8_lossy(note);
    assert!(verifier.verify(&note).is_err(), "nobody guesses a signature");
    let _ = CheckpointVerifier::from_text(&note);

    let size = u64::from_le_bytes([*low, *high, 0, 0, 0, 0, 0, 0]);
    let trees = note
        .lines()
        .map(|line| (line.to_owned(), TreeHead { size, root: EMPTY_ROOT }));
    let head = TreeHead { size, root: EMPTY_ROOT };
    for origin in ["septum.example/log", &note] {
        let Ok(checkpoint) = Checkpoint::new(origin, head, trees.clone()) else {
            continue;
        };
        let signed = signer.sign(&checkpoint);
        assert_eq!(verifier.verify(&signed).expect("just signed"), checkpoint);
        let at = usize::from(u16::from_le_bytes([*low, *high])) % signed.len();
        let mut bytes = signed.into_bytes();
        bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
        let changed = String::from_utf8_lossy(&bytes);
        assert!(
            verifier.verify(&changed).ok().is_none_or(|read| read == checkpoint),
            "no other checkpoint comes out"
        );
    }
});
