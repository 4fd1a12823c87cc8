//! Who and what an instance is: UIDs, patient, date. Everything has one length, so that it can be written over the
//! placeholders of a source without moving a byte.

use septum_testkit::random::Random;

/// Characters of every UID made here.
pub(crate) const UID_LENGTH: usize = 44;
/// Characters of Patient's Name (0010,0010), padded with spaces.
pub(crate) const NAME_LENGTH: usize = 32;
/// Characters of Patient ID (0010,0020) and Accession Number (0008,0050), padded with spaces.
pub(crate) const ID_LENGTH: usize = 16;

const FAMILIES: [&str; 40] = [
    "ABERNATHY",
    "BARTOSZ",
    "CALLAGHAN",
    "DALGAARD",
    "ESPINOZA",
    "FITZGERALD",
    "GARMENDIA",
    "HALVORSEN",
    "IBRAHIM",
    "JANKOWSKI",
    "KOWALCZYK",
    "LINDQVIST",
    "MARCHETTI",
    "NAKAMURA",
    "OKONKWO",
    "PAPADAKIS",
    "QUINTERO",
    "RASMUSSEN",
    "SANTAMARIA",
    "THORVALD",
    "URBANSKI",
    "VALENTINO",
    "WEISSMANN",
    "XANTHOS",
    "YAMAGUCHI",
    "ZIELINSKI",
    "ALVARADO",
    "BERGSTROM",
    "CHAUDHARY",
    "DRAGOMIR",
    "ELLSWORTH",
    "FAIRBANKS",
    "GUSTAFSON",
    "HARGREAVES",
    "ISHIKAWA",
    "JOHANSSON",
    "KRISHNAN",
    "LEFEBVRE",
    "MONTGOMERY",
    "NOVAKOVIC",
];
const GIVEN: [&str; 16] = [
    "ADA", "BRUNO", "CLARA", "DMITRI", "ELENA", "FELIX", "GRETA", "HUGO", "INES", "JONAS", "KIRA", "LEO", "MARA",
    "NILS", "OLGA", "PABLO",
];

/// A UID under `2.25` (PS3.5 B.2) of a version 8 UUID (RFC 9562 5.8) whose first bit is set: such a number always has 39
/// digits.
pub(crate) fn uid(seed: u64, role: u8, a: u64, b: u64) -> String {
    let mut random = Random::new(seed ^ u64::from(role).rotate_left(56), a.rotate_left(32) ^ b);
    let bits = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    let version = bits & !(0xF << 76) | 8 << 76;
    let variant = version & !(0b11 << 62) | 0b10 << 62;
    format!("2.25.{}", variant | 1 << 127)
}

/// The patient and the study of study number `study` in a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StudyIdentity {
    /// Study Instance UID.
    pub(crate) study: String,
    /// Series Instance UID of its one series.
    pub(crate) series: String,
    /// Patient's Name without padding.
    pub(crate) name: String,
    /// Patient ID without padding.
    pub(crate) patient_id: String,
    /// Accession Number without padding.
    pub(crate) accession: String,
    /// Study Date, `YYYYMMDD`.
    pub(crate) date: String,
}

impl StudyIdentity {
    /// Follows from the seed of the set and the number of the study. Patient IDs of one set are distinct.
    pub(crate) fn of(seed: u64, study: u32) -> Self {
        let number = u64::from(study);
        let mut random = Random::new(seed, 0x1D00_0000 | number);
        let family = FAMILIES[random.below(FAMILIES.len() as u32) as usize];
        let given = GIVEN[random.below(GIVEN.len() as u32) as usize];
        Self {
            study: uid(seed, 1, number, 0),
            series: uid(seed, 2, number, 0),
            name: format!("{family}^{given}^LOAD"),
            patient_id: format!("LD{:07}-{study:06}", seed % 10_000_000),
            accession: format!("A{:07}{study:06}", seed % 10_000_000),
            date: format!(
                "{}{:02}{:02}",
                2016 + random.below(10),
                1 + random.below(12),
                1 + random.below(28)
            ),
        }
    }

    /// SOP Instance UID of instance `index` of this study.
    pub(crate) fn instance(seed: u64, study: u32, index: u32) -> String {
        uid(seed, 3, u64::from(study), u64::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn identities_fit_are_valid_and_distinct() {
        let mut seen = HashSet::new();
        let mut patients = HashSet::new();
        for study in 0..300 {
            let identity = StudyIdentity::of(7, study);
            assert!(identity.name.len() <= NAME_LENGTH && identity.patient_id.len() <= ID_LENGTH);
            assert!(identity.accession.len() <= ID_LENGTH && identity.date.len() == 8);
            assert!(patients.insert(identity.patient_id));
            let instance = StudyIdentity::instance(7, study, 0);
            for uid in [identity.study, identity.series, instance] {
                assert_eq!(uid.len(), UID_LENGTH);
                assert!(uid.starts_with("2.25.") && uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
                assert!(seen.insert(uid));
            }
        }
        assert_ne!(StudyIdentity::of(7, 0), StudyIdentity::of(8, 0));
        assert_eq!(StudyIdentity::of(7, 5), StudyIdentity::of(7, 5));
    }
}
