//! A 200-leaf log, attacked at every position.

use super::*;
use crate::audit::{Action, Actor, Checkpoint, CheckpointSigner, ObjectKind, ObjectRef, Outcome, TreeHead};

const NUM_LEAVES: u64 = 200;

fn leaf(seq: u64, id: u8) -> Vec<u8> {
    let object = ObjectRef::One(ObjectKind::Study, [id; 16]);
    Leaf::new(
        seq,
        1_700_000_000_000 + seq,
        Actor::System,
        Action::new("study.read"),
        object,
        Outcome::Success,
    )
    .to_bytes()
}

fn log() -> Vec<Vec<u8>> {
    (0..NUM_LEAVES).map(|seq| leaf(seq, seq as u8)).collect()
}

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed(&[7; 32])
}

fn head(leaves: &[Vec<u8>]) -> TreeHead {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| tree.append(leaf_hash(leaf)));
    TreeHead::from(&tree)
}

fn note(leaves: &[Vec<u8>], signer: &CheckpointSigner) -> String {
    let other = TreeHead { size: 5, root: [5; 32] };
    signer.sign(&Checkpoint::new("septum.test/audit", other, [("shard-0".to_owned(), head(leaves))]).unwrap())
}

fn verify(leaves: &[Vec<u8>], note: &str) -> Result<(), AuditFault> {
    verify_log(leaves, note, &signer().verifier(), Some("shard-0"))
}

#[test]
fn an_honest_log_passes() {
    let log = log();
    let note = note(&log, &signer());
    assert_eq!(verify(&log, &note), Ok(()));
    assert_eq!(
        verify_log(&log, &note, &signer().verifier(), Some("shard-1")),
        Err(AuditFault::NotCovered)
    );
    assert_eq!(verify(&[], &super::tests::note(&[], &signer())), Ok(()));
}

#[test]
fn a_grown_log_passes_as_prefix_only() {
    let log = log();
    let note = note(&log[..150], &signer());
    assert_eq!(
        verify_log_prefix(&log, &note, &signer().verifier(), Some("shard-0")),
        Ok(50)
    );
    assert_eq!(verify(&log, &note), Err(AuditFault::Beyond { signed: 150 }));
    let mut changed = log.clone();
    changed[10] = leaf(10, 99);
    let result = verify_log_prefix(&changed, &note, &signer().verifier(), Some("shard-0"));
    assert_eq!(result, Err(AuditFault::Root));
}

#[test]
fn every_attack_at_every_position_is_found() {
    let log = log();
    let note = note(&log, &signer());
    for position in 0..log.len() {
        let attack = |change: &dyn Fn(&mut Vec<Vec<u8>>), what: &str| {
            let mut changed = log.clone();
            change(&mut changed);
            assert!(verify(&changed, &note).is_err(), "{what} at {position}");
        };
        // Every byte of some leaves, seven bytes (other ones each time) of the rest.
        let step = if position % 40 == 0 { 1 } else { 29 };
        for byte in (position % step..log[position].len()).step_by(step) {
            attack(&|log| log[position][byte] ^= 1, "flip");
        }
        attack(&|log| log[position] = leaf(position as u64, 255), "forge");
        attack(&|log| drop(log.remove(position)), "drop");
        attack(&|log| log.insert(position, log[position].clone()), "duplicate");
        attack(&|log| log.insert(position, leaf(position as u64, 255)), "insert");
        attack(&|log| log.truncate(position), "truncate");
        let renumber = |log: &mut Vec<Vec<u8>>| {
            // The careful attacker: drops one and renumbers all that follow, so that only the root tells.
            log.remove(position);
            for (seq, bytes) in log.iter_mut().enumerate().skip(position) {
                let mut leaf = Leaf::from_bytes(bytes).unwrap();
                leaf.seq = seq as u64;
                *bytes = leaf.to_bytes();
            }
            log.push(leaf(NUM_LEAVES - 1, 255));
        };
        attack(&renumber, "drop and renumber");
        for other in [position.wrapping_sub(1), position + 1, log.len() - 1 - position] {
            if other < log.len() && other != position {
                attack(&|log| log.swap(position, other), "swap");
                attack(&|log| log[position] = log[other].clone(), "replace by copy");
            }
        }
        // Cut short and signed again, by another key.
        let mut shorter = log.clone();
        shorter.truncate(position);
        let forged = super::tests::note(&shorter, &CheckpointSigner::from_seed(&[8; 32]));
        let expected = AuditFault::Checkpoint(CheckpointError::UnknownSigner);
        assert_eq!(verify(&shorter, &forged), Err(expected), "re-sign at {position}");
    }
}

#[test]
fn every_flipped_bit_of_a_note_is_found() {
    let log = log();
    let note = note(&log, &signer());
    for bit in 0..note.len() * 8 {
        let mut changed = note.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        // What is no longer text cannot even be handed over.
        if let Ok(changed) = String::from_utf8(changed) {
            assert!(verify(&log, &changed).is_err(), "bit {bit}");
        }
    }
}
