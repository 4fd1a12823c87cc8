//! Opening what was not sealed so: an error, never a panic and never plaintext.
//!
//! Input: [suite, part, where], then bytes that are taken as a sealed object, and as a change to one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::ids::ObjectId;
use septum_core::seal::{DataKey, ObjectContext, ObjectOpener, Part, Suite, open_record, seal_record};

fuzz_target!(|data: &[u8]| {
    let [suite, part, place, bytes @ ..] = data else { return };
    let suite = Suite::ALL[usize::from(suite % 2)];
    let part = Part::ALL[usize::from(*part) % Part::ALL.len()];
    let key = DataKey::from_bytes([7; 32]);
    let context = ObjectContext::without_pixels(part, [1; 16], ObjectId::from_bytes([2; 16]));

    assert!(open_record(&key, &context, bytes).is_err(), "nobody guesses a tag");
    let _ = ObjectOpener::new(&key, bytes, &context);
    let _ = ObjectOpener::plain_length(bytes.len());

    let mut sealed = seal_record(suite, &key, &context, bytes).expect("seals");
    assert_eq!(open_record(&key, &context, &sealed).expect("opens"), bytes);
    let change = bytes.first().copied().unwrap_or(1).max(1);
    let at = sealed.len() * usize::from(*place) / 256;
    sealed[at] ^= change;
    assert!(open_record(&key, &context, &sealed).is_err(), "every bit counts");
    sealed[at] ^= change;
    sealed.truncate(at);
    assert!(open_record(&key, &context, &sealed).is_err(), "a part is not the whole");
});
