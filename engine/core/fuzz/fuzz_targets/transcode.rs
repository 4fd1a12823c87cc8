//! Headers re-encoded as Explicit VR Little Endian: no panic, and doing it twice changes nothing more.
//!
//! Input: one byte for encoding and patch, one for where the pixel element stood, then the elements.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::dicom::attributes::{Encoding, Header};
use septum_core::dicom::transcode::{PixelPatch, swap_samples, to_explicit_little};

fuzz_target!(|data: &[u8]| {
    let [choice, place, elements @ ..] = data else { return };
    let encoding = match choice % 3 {
        0 => Encoding::ImplicitLittle,
        1 => Encoding::ExplicitLittle,
        _ => Encoding::ExplicitBig,
    };
    let (before, after) = elements.split_at(elements.len() * usize::from(*place) / 256);
    let patch = PixelPatch {
        samples_per_pixel: (choice & 8 != 0).then_some(3),
        photometric_interpretation: (choice & 16 != 0).then(|| "RGB".to_owned()),
        num_frames: (choice & 32 != 0).then_some(7),
        ..PixelPatch::default()
    };
    let Ok(once) = to_explicit_little(before, after, encoding, &patch) else {
        return;
    };
    let header = Header::parse(&once.before, Encoding::ExplicitLittle).expect("ours is readable");
    if header.encoding() == Encoding::ExplicitLittle {
        assert_eq!(header.unread_bytes(), 0, "nothing of ours is unreadable");
        let twice = to_explicit_little(&once.before, &once.after, Encoding::ExplicitLittle, &patch).expect("readable");
        assert_eq!(twice.before, once.before);
        assert_eq!(twice.after, once.after);
    }
    let mut samples = elements.to_vec();
    let bytes_per_sample = usize::from(*place % 9);
    swap_samples(&mut samples, bytes_per_sample);
    swap_samples(&mut samples, bytes_per_sample);
    assert_eq!(samples, elements);
});
