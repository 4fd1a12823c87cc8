use super::*;

fn account_binding() -> WrapBinding {
    WrapBinding::Account {
        account: AccountId::from_bytes([1; 16]),
        kind: AccountKeyKind::Phi,
        epoch: 7,
    }
}

fn study_binding() -> WrapBinding {
    WrapBinding::Study {
        account: AccountId::from_bytes([1; 16]),
        half: Half::Phi,
        epoch: 7,
        study_key: StudyKeyId::from_bytes([2; 16]),
    }
}

fn suites() -> impl Iterator<Item = Suite> {
    Suite::ALL.into_iter().filter(|suite| suite.is_available())
}

#[test]
fn golden() {
    let (wrapping, plain) = (DataKey::from_bytes([3; 32]), DataKey::from_bytes([4; 32]));
    for suite in suites() {
        let wrapped = wrap_with_salt(suite, &wrapping, &plain, &study_binding(), [5; 32]).unwrap();
        let expected = match suite {
            Suite::XChaCha20Poly1305 => {
                "5350544b0101030005050505050505050505050505050505050505050505050505050505050505059f410b3edf4ee4fda822e3375a9d00957b7d82db804a41da82f1513b6cf707c29d77c485a85f9385c73c6e4b65f90dc3b9361c150c7df0be3f85f7991f5593d21762241df3877e10df7099128be968c5"
            }
            Suite::Aes256Gcm => {
                "5350544b0102030005050505050505050505050505050505050505050505050505050505050505055c0cd7521db5324f431aeb5b0bc133e16d88ae59765b7a6d3d1af1928e4e9e0ba142cd5567362a1d9c1d5822afc2dd78e60bd3b5bf8dbd4d2944386a3cf4ae9dd4eda82fb955d85db64fdcea00a1d53c"
            }
        };
        let hex: String = wrapped.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(unwrap(&wrapping, &wrapped, &study_binding()).unwrap(), plain);
    }
}

#[test]
fn every_flipped_bit_every_length_and_the_wrong_key_are_refused() {
    let (wrapping, plain) = (DataKey::random(), DataKey::random());
    for suite in suites() {
        let wrapped = wrap(suite, &wrapping, &plain, &account_binding()).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_KEY_BYTES);
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&wrapping, &changed, &account_binding()).is_err(), "bit {bit}");
        }
        for length in 0..wrapped.len() {
            assert_eq!(
                unwrap(&wrapping, &wrapped[..length], &account_binding()).unwrap_err(),
                SealError::Length(length)
            );
        }
        assert_eq!(
            unwrap(&DataKey::random(), &wrapped, &account_binding()).unwrap_err(),
            SealError::Key
        );
    }
}

#[test]
fn a_key_fits_its_binding_only() {
    let (wrapping, plain) = (DataKey::random(), DataKey::random());
    let (account, other) = (AccountId::from_bytes([1; 16]), AccountId::from_bytes([9; 16]));
    let (study_key, other_key) = (StudyKeyId::from_bytes([2; 16]), StudyKeyId::from_bytes([9; 16]));
    let bindings = [
        account_binding(),
        WrapBinding::Account {
            account: other,
            kind: AccountKeyKind::Phi,
            epoch: 7,
        },
        WrapBinding::Account {
            account,
            kind: AccountKeyKind::Pixel,
            epoch: 7,
        },
        WrapBinding::Account {
            account,
            kind: AccountKeyKind::Index,
            epoch: 7,
        },
        WrapBinding::Account {
            account,
            kind: AccountKeyKind::Phi,
            epoch: 8,
        },
        study_binding(),
        WrapBinding::Study {
            account: other,
            half: Half::Phi,
            epoch: 7,
            study_key,
        },
        WrapBinding::Study {
            account,
            half: Half::Pixel,
            epoch: 7,
            study_key,
        },
        WrapBinding::Study {
            account,
            half: Half::Phi,
            epoch: 8,
            study_key,
        },
        WrapBinding::Study {
            account,
            half: Half::Phi,
            epoch: 7,
            study_key: other_key,
        },
        WrapBinding::System {
            kind: SystemKey::Placement,
            epoch: 7,
        },
        WrapBinding::System {
            kind: SystemKey::AuditSigning,
            epoch: 7,
        },
    ];
    for (index, made_for) in bindings.iter().enumerate() {
        let wrapped = wrap(Suite::default(), &wrapping, &plain, made_for).unwrap();
        for (other_index, asked_for) in bindings.iter().enumerate() {
            let result = unwrap(&wrapping, &wrapped, asked_for);
            assert_eq!(
                result.is_ok(),
                index == other_index,
                "{made_for:?} asked for as {asked_for:?}"
            );
        }
    }
}

#[test]
fn unknown_versions_are_named() {
    let (wrapping, plain) = (DataKey::random(), DataKey::random());
    let mut wrapped = wrap(Suite::default(), &wrapping, &plain, &account_binding()).unwrap();
    wrapped[4] = 9;
    assert_eq!(
        unwrap(&wrapping, &wrapped, &account_binding()).unwrap_err(),
        SealError::UnknownVersion(9)
    );
}
