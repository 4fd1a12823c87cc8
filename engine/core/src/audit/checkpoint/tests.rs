use super::*;

fn signer() -> CheckpointSigner {
    CheckpointSigner::from_seed(&[7; 32])
}

fn head(size: u64) -> TreeHead {
    TreeHead {
        size,
        root: [size as u8; 32],
    }
}

fn checkpoint() -> Checkpoint {
    let trees = [("shard-1".to_owned(), head(3)), ("shard-0".to_owned(), head(2))];
    Checkpoint::new("septum.test/audit", head(1), trees).unwrap()
}

#[test]
fn golden() {
    // Public key and signature computed once more with another Ed25519 implementation.
    let expected = concat!(
        "septum.test/audit\n",
        "1\n",
        "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n",
        "shard-0 2 AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n",
        "shard-1 3 AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n",
        "\n",
        "— septum.test/audit Z0NB40PNtF84vpORaO+cF4NCPXKDmr2BgfKQs2s1BoyhdrtrEcF//DCUW0DOYLWZ7NpsrdkBcBBvxgjkOkkFQilD0gY=\n",
    );
    assert_eq!(signer().sign(&checkpoint()), expected);
}

#[test]
fn signing_and_verifying_agree() {
    let note = signer().sign(&checkpoint());
    let read = signer().verifier().verify(&note).unwrap();
    assert_eq!(read, checkpoint());
    assert_eq!((read.origin(), read.main()), ("septum.test/audit", head(1)));
    assert_eq!(
        (read.tree("shard-0"), read.tree("shard-1"), read.tree("shard-2")),
        (Some(head(2)), Some(head(3)), None)
    );
    assert_eq!(
        read.trees().map(|(name, _)| name).collect::<Vec<_>>(),
        ["shard-0", "shard-1"]
    );
}

#[test]
fn other_signatures_beside_ours_are_allowed() {
    let note = signer().sign(&checkpoint());
    let witness = format!("{SIGNATURE_PREFIX}witness.test {}\n", BASE64_STANDARD.encode([1; 76]));
    assert_eq!(
        signer().verifier().verify(&format!("{note}{witness}")),
        Ok(checkpoint())
    );
    let unsigned = note.split_once("\n\n").unwrap().0;
    let verify = |note: &str| signer().verifier().verify(note);
    assert_eq!(
        verify(&format!("{unsigned}\n\n{witness}")),
        Err(CheckpointError::UnknownSigner)
    );
    assert_eq!(verify(unsigned), Err(CheckpointError::Malformed));
}

#[test]
fn only_one_form_is_read() {
    let text = checkpoint().text();
    let sign = |text: &str| {
        let mut signature = key_id("septum.test/audit", &signer().0.verifying_key()).to_vec();
        signature.extend_from_slice(&signer().0.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n{SIGNATURE_PREFIX}septum.test/audit {}\n",
            BASE64_STANDARD.encode(signature)
        )
    };
    assert!(signer().verifier().verify(&sign(&text)).is_ok());
    for (changed, expected) in [
        (text.replace("audit\n1\n", "audit\n01\n"), CheckpointError::Malformed),
        (text.replace("audit\n1\n", "audit\n+1\n"), CheckpointError::Malformed),
        (text.replace("audit\n1\n", "audit\n-1\n"), CheckpointError::Malformed),
        (text.replace('\n', "\r\n"), CheckpointError::Malformed),
        (text.replace("shard-0 2", "shard-0  2"), CheckpointError::Malformed),
        (text.replace("shard-0", "shard-2"), CheckpointError::TreeName),
        (text.replace("shard-0", "shard-1"), CheckpointError::TreeName),
        (text.replace("shard-0", "Shard-0"), CheckpointError::TreeName),
        (
            text.replace("septum.test/audit", "septum test"),
            CheckpointError::Origin,
        ),
        (text.replace("AQEB", "AQE"), CheckpointError::Malformed),
    ] {
        assert_eq!(signer().verifier().verify(&sign(&changed)), Err(expected), "{changed}");
    }
    let long = "x".repeat(CHECKPOINT_BYTES_MAX + 1);
    assert_eq!(
        signer().verifier().verify(&long),
        Err(CheckpointError::TooLong(long.len()))
    );
}

#[test]
fn public_keys_round_trip_as_text() {
    let text = signer().verifier().to_text("septum.test/audit");
    let expected = ("septum.test/audit".to_owned(), signer().verifier());
    assert_eq!(CheckpointVerifier::from_text(&text), Ok(expected));
    assert_eq!(
        CheckpointVerifier::from_bytes(&signer().verifier().to_bytes()),
        Ok(signer().verifier())
    );
    for changed in [
        text.replace("septum.test", "other.test"),
        text.replace("+Ae", "+Ak"),
        String::new(),
    ] {
        assert_eq!(CheckpointVerifier::from_text(&changed), Err(CheckpointError::PublicKey));
    }
    assert_eq!(
        CheckpointVerifier::from_bytes(&[0; 32]),
        Err(CheckpointError::PublicKey)
    );
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", signer()), "CheckpointSigner(…)");
}
