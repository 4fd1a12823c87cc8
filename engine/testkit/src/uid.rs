//! UIDs from seeds: `2.25.` and a UUID as a decimal number (PS3.5 section B.2). The UUID is of version 8, "custom"
//! (RFC 9562 section 5.8), so that no real one is ever met.

use crate::random::mix;

/// The UID of a thing: `role` says what it is ("study", "series", …), `index` which one. At most 44 characters.
pub fn from_seed(seed: u64, role: &str, index: u64) -> String {
    let mut low = mix(seed ^ 0x5E97_0001);
    let mut high = mix(seed ^ 0x5E97_0002);
    for byte in role.bytes().map(u64::from).chain(index.to_le_bytes().map(u64::from)) {
        low = mix(low ^ byte);
        high = mix(high.wrapping_add(byte).rotate_left(17));
    }
    let bits = u128::from(high) << 64 | u128::from(low);
    let version = bits & !(0xF << 76) | 8 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    format!("2.25.{variant}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn uids_are_stable_valid_and_distinct() {
        assert_eq!(from_seed(1, "study", 0), from_seed(1, "study", 0));
        let mut seen = HashSet::new();
        for seed in 0..50 {
            for role in ["study", "series", "instance"] {
                for index in 0..20 {
                    let uid = from_seed(seed, role, index);
                    assert!(uid.len() <= 64 && uid.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
                    assert!(!uid[5..].starts_with('0'));
                    assert!(seen.insert(uid));
                }
            }
        }
    }
}
