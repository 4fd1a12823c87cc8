//! Whole streams with the samples that another decoder makes of them.

use super::decode_frame;
use crate::decode::{CodecError, FrameLayout};
use crate::error::Damage;
use proptest::prelude::*;

/// A progressive 4:2:0 YCbCr image of 9 rows and 11 columns, 8 bits, and its RGB samples as libjpeg-turbo decodes it.
const PROGRESSIVE_420: (&str, &str) = (
    "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e\
     292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffdb0043010e0e0e131113261515264f352d354f4f4f4f\
     4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc20011080009000b03\
     012200021101031101ffc4001500010100000000000000000000000000000405ffc4001501010100000000000000000000000000000004ff\
     da000c030100021003100000019cc4b607ffc4001810000203000000000000000000000000000002031013ffda0008010100010502484c04\
     afffc40017110003010000000000000000000000000000020411ffda0008010301013f019a86c3ffc4001611010101000000000000000000\
     00000000010012ffda0008010201013f01dadfffc40014100100000000000000000000000000000020ffda0008010100063f021fffc40019\
     1000020301000000000000000000000000000110213161ffda0008010100013f21e22a64561fffda000c03010002000300000010cfffc400\
     14110100000000000000000000000000000000ffda0008010301013f101fffc400161100030000000000000000000000000000000131ffda\
     0008010201013f10761fffc40018100101000300000000000000000000000000312141c1ffda0008010100013f109b8fcb44dfffd9",
    "0503000e06001e0900300b00430a00580b00700a00830b009006009f0700ad0b000d1400161700261b00371c014b1b04611a06781b098a1b\
     089e1d0aac1d0cbb200c142b001e2f022d330740340a53330d6833117e3313923315a23113b03315bf35181544001f48042e4b0b414c1054\
     4b12694b15804b19934b1ba2471bb2481ebf4c20105b001a5f022a62093c640e4f62116462177c611a8e611ea46426b4652ac1682c0e7600\
     177902287c0a397d104d7c14627a187a7a208b7923a17c2bb17d31bf7f351192021a95072a990f3c991550981a6497207b97288e952da195\
     33ae9538bd983f10a80519ab0829af123baf184fae1e64ac247bac2c8dab31a6b03fb4b044c2b34c11bd091cc10d2dc41740c51e54c42469\
     c32d80c33593c33ca7c446b6c44bc3c653",
);

/// An extended sequential grey image, 12 bits, and its samples as libjpeg-turbo decodes it.
const SEQUENTIAL_12_BITS: (&str, &str) = (
    "ffd8ffe000104a46494600010100000100010000ffdb004300100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c39\
     33383740485c4e404457453738506d51575f626768673e4d71797064785c656763ffc1000b0c0009000b01011100ffc40017000003010000\
     00000000000000000000000608090affc40028100001020403080300000000000000000003020501040709000608253639434653717883b6\
     c1ffda0008010100003f005aac1d6cfddbd89dbe578c5f7a9979cb1d68b2a1be69b6bf6b558d8eabd37998b266b6764a7d9ab3201adc5108\
     44d26b9e6a6b99945cc054a888e24194b018650160330883485583ba6fe3fcc625af33c6e6e0decf54ff00b6ba63ffd9",
    "00002c0157028903ab04de05080735087b097a0a9b0bc500f2011c034f047105a306ce07fa08140a660b960c9301bf02e9031c053e067107\
     9b08c709eb0a1e0c400d51027e03a804db05fd062f085a09860ac10be60cf60d260352047d05af06d10704092e0a5b0b8f0cb10dd00ee503\
     11053b066e079008c309ed0a190c440d4f0eb90fb204de0509073b085d09900aba0be70cfa0d540f76007705a406ce070109230a550b800c\
     ac0de40e11001c0140066c079608c909eb0a1e0c480d740ea20fcb00fe01",
);

/// A lossless grey image with predictor 5, 16 bits, and its samples.
const LOSSLESS_16_BITS: (&str, &str) = (
    "ffd8ffe000104a46494600010100000100010000ffc3000b100009000b01011100ffc4001700010101010000000000000000000000000c0d\
     0a10ffda0008010100050000ea7114e229c45388a7114e229c45388a7114e235789c44e227113889c44e227113889c44e26af13889c44e22\
     7113889c44e227113889c4d5e27113889c44e227113889c44e22711389abc4e227113889c44e227113889c44e227135789c44e227113889c\
     44e227113889c44e26af13889c44e227113889c44e227113889c4d5e27113889c44e227113889c44e22711389abc4e227113889c44e22711\
     3889c44e22713fffd9",
    "000088131027983a204ea8613075b888409cc8af50c3bc024416cc29543ddc506464ec77748bfc9e84b20cc678050019882c104098532067\
     a87a308eb8a140b5c8c83408bc1b442fcc425456dc69647dec9074a4fcb784cbf00a781e003288451059986c2080a89330a7b8ba40ceac0d\
     3421bc344448cc5b546fdc826496eca974bdfcd06810f0237837004b885e107298852099a8ac30c0b8d32413ac26343abc4d4461cc745488\
     dc9b64afecc274d6e0156829f03c785000648877108b989e20b2a8c530d9",
);

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn layout(samples_per_pixel: u16, bits_allocated: u16, bits_stored: u16) -> FrameLayout {
    let high_bit = bits_stored - 1;
    FrameLayout {
        rows: 9,
        columns: 11,
        samples_per_pixel,
        bits_allocated,
        bits_stored,
        high_bit,
        signed: false,
        planar: false,
    }
}

/// Streams with their layouts and Photometric Interpretations.
fn fixtures() -> [((&'static str, &'static str), FrameLayout, &'static str); 3] {
    [
        (PROGRESSIVE_420, layout(3, 8, 8), "YBR_FULL_422"),
        (SEQUENTIAL_12_BITS, layout(1, 16, 12), "MONOCHROME2"),
        (LOSSLESS_16_BITS, layout(1, 16, 16), "MONOCHROME2"),
    ]
}

#[test]
fn decodes_to_the_same_bits_as_others() {
    for ((stream, expected), layout, photometric) in fixtures() {
        let output = decode_frame(&bytes(stream), &layout, photometric).expect("decodes");
        assert_eq!(output.samples, bytes(expected));
        assert_eq!(output.photometric, (layout.samples_per_pixel == 3).then_some("RGB"));
    }
}

/// Cut anywhere before the end of the last scan, a stream is refused: no half pictures.
#[test]
fn truncated_streams_are_refused() {
    for ((stream, _), layout, photometric) in fixtures() {
        let whole = bytes(stream);
        // The last scan of the progressive image only refines; before it the picture is complete, if coarse.
        let sequential = layout.samples_per_pixel == 1;
        for length in 0..whole.len() - 3 {
            let outcome = decode_frame(&whole[..length], &layout, photometric);
            assert!(outcome.is_err() || !sequential, "{length} of {}", whole.len());
        }
    }
}

#[test]
fn streams_that_contradict_the_attributes_are_refused() {
    let check = |layout: FrameLayout, expected: Damage| {
        let outcome = decode_frame(&bytes(SEQUENTIAL_12_BITS.0), &layout, "MONOCHROME2").map(|output| output.samples);
        assert_eq!(outcome, Err(CodecError::Damaged(expected)));
    };
    check(
        FrameLayout {
            rows: 10,
            ..layout(1, 16, 12)
        },
        Damage::Dimensions,
    );
    check(
        FrameLayout {
            columns: 12,
            ..layout(1, 16, 12)
        },
        Damage::Dimensions,
    );
    check(layout(3, 16, 12), Damage::Components);
    check(layout(1, 8, 8), Damage::Precision);
}

#[test]
fn colour_is_told_by_the_stream_first() {
    // A JFIF stream is YCbCr, whatever the attribute says; the same without its JFIF segment is what the attribute says.
    let whole = bytes(PROGRESSIVE_420.0);
    let mut bare = whole[..2].to_vec();
    bare.extend(&whole[20..]);
    let mut adobe = whole[..2].to_vec();
    adobe.extend(b"\xFF\xEE\x00\x0EAdobe\x00\x64\x00\x00\x00\x00\x00");
    adobe.extend(&whole[20..]);
    let expected = bytes(PROGRESSIVE_420.1);
    let check = |stream: &[u8], photometric: &str, is_transformed: bool| {
        let output = decode_frame(stream, &layout(3, 8, 8), photometric).expect("decodes");
        assert_eq!(output.samples == expected, is_transformed);
        assert_eq!(output.photometric, Some("RGB"));
    };
    check(&whole, "RGB", true);
    check(&bare, "RGB", false);
    check(&bare, "YBR_FULL", true);
    check(&adobe, "YBR_FULL", false);
}

/// The segments of a lossless stream around coded data of nothing but zero differences.
#[test]
fn lossless_scans_restart_and_shift() {
    // 2 rows, 3 columns, 8 bits, predictor 1, a restart before the second row, point transform 2; each difference is 0.
    let stream: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xC4, 0, 20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xDD, 0, 4, 0, 3,
        0xFF, 0xC3, 0, 11, 8, 0, 2, 0, 3, 1, 1, 0x11, 0, 0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 2, 0x1F, 0xFF, 0xD0, 0x1F,
        0xFF, 0xD9,
    ];
    let shape = FrameLayout {
        rows: 2,
        columns: 3,
        ..layout(1, 8, 8)
    };
    let outcome = decode_frame(stream, &shape, "MONOCHROME2").map(|output| output.samples);
    // The initial prediction is half the range.
    assert_eq!(outcome, Ok(vec![128; 6]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Arithmetic is checked in tests: an overflow would panic.
    #[test]
    fn mutated_streams_never_panic(
        which in 0usize..3,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let ((stream, _), layout, photometric) = fixtures()[which];
        let mut stream = bytes(stream);
        for (index, value) in changes {
            let position = index.index(stream.len());
            stream[position] = value;
        }
        let _ = decode_frame(&stream, &layout, photometric);
    }
}
