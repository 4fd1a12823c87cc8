//! Audit leaves: refused, or of one form only, so that a leaf has one hash.

#![no_main]

use libfuzzer_sys::fuzz_target;
use septum_core::audit::{Action, Actor, Leaf, ObjectRef};

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (Actor::parse(text), Action::parse(text));
        if let Some(object) = ObjectRef::parse(text) {
            assert_eq!(object.to_string(), text);
        }
    }
    let Ok(leaf) = Leaf::from_bytes(data) else { return };
    assert_eq!(leaf.to_bytes(), data, "a leaf has one form");
    let _ = leaf.hash();
});
