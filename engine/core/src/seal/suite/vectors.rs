//! Published test vectors: the primitives are wired right.

use super::*;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn key(text: &str) -> DataKey {
    DataKey::from_bytes(unhex(text).try_into().unwrap())
}

#[test]
fn names_and_numbers_round_trip() {
    for suite in Suite::ALL {
        assert_eq!(Suite::from_number(suite.number()), Ok(suite));
        assert_eq!(suite.name().parse(), Ok(suite));
        assert_eq!(serde_json::to_string(&suite).unwrap(), format!("\"{}\"", suite.name()));
    }
    assert_eq!(Suite::from_number(3), Err(SealError::UnknownSuite(3)));
    assert_eq!("3des".parse::<Suite>(), Err(UnknownSuiteName));
    assert_eq!(Suite::default(), Suite::XChaCha20Poly1305);
    assert!(Suite::Aes256Gcm.is_nist_approved() && !Suite::XChaCha20Poly1305.is_nist_approved());
}

/// draft-irtf-cfrg-xchacha-03, appendix A.3.1; key, plaintext and associated data are those of RFC 8439 section 2.8.2.
#[test]
fn xchacha20_poly1305() {
    let key = key("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f");
    let nonce: [u8; 24] = unhex("404142434445464748494a4b4c4d4e4f5051525354555657")
        .try_into()
        .unwrap();
    let aad = unhex("50515253c0c1c2c3c4c5c6c7");
    let plaintext: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                             future, sunscreen would be it.";
    let sealed = unhex(concat!(
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c670",
        "8c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9",
        "768812f615c68b13b52ec0875924c1c7987947deafd8780acf49",
    ));
    let mut bytes = plaintext.to_vec();
    let tag = xchacha_seal(&key, &nonce, &aad, &mut bytes).unwrap();
    bytes.extend_from_slice(&tag);
    assert_eq!(bytes, sealed);
    xchacha_open(&key, &nonce, &aad, &mut bytes).unwrap();
    assert_eq!(&bytes[..plaintext.len()], plaintext);
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(xchacha_open(&key, &nonce, &aad, &mut changed).is_err(), "bit {bit}");
    }
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test cases 13 to 16 (those with 256-bit keys and
/// 96-bit nonces).
#[cfg(feature = "native")]
#[test]
fn aes_256_gcm() {
    const ZERO_KEY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
    const KEY: &str = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
    const TEXT: &str = concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
    );
    const SEALED: &str = concat!(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
    );
    for (case, key_text, nonce, text, aad, sealed, tag) in [
        (
            13,
            ZERO_KEY,
            "000000000000000000000000",
            "",
            "",
            "",
            "530f8afbc74536b9a963b4f1c4cb738b",
        ),
        (
            14,
            ZERO_KEY,
            "000000000000000000000000",
            "00000000000000000000000000000000",
            "",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
        (
            15,
            KEY,
            "cafebabefacedbaddecaf888",
            TEXT,
            "",
            SEALED,
            "b094dac5d93471bdec1a502270e3cc6c",
        ),
        (
            16,
            KEY,
            "cafebabefacedbaddecaf888",
            &TEXT[..120],
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            &SEALED[..120],
            "76fc6ece0f4e1768cddf8853bb2d551b",
        ),
    ] {
        let Ok(Cipher::Aes256Gcm(cipher)) = Cipher::new(Suite::Aes256Gcm, key(key_text)) else {
            panic!("the suite is there")
        };
        let nonce: [u8; 12] = unhex(nonce).try_into().unwrap();
        let mut bytes = unhex(text);
        let made = aes_seal(&cipher, nonce, &unhex(aad), &mut bytes).unwrap();
        bytes.extend_from_slice(&made);
        assert_eq!(bytes, unhex(&format!("{sealed}{tag}")), "test case {case}");
        let mut changed = bytes.clone();
        changed[0] ^= 1;
        assert!(aes_open(&cipher, nonce, &unhex(aad), &mut changed).is_err());
        aes_open(&cipher, nonce, &unhex(aad), &mut bytes).unwrap();
        assert_eq!(bytes[..text.len() / 2], unhex(text), "test case {case}");
    }
}
