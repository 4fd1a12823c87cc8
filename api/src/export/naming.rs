//! File IDs: the places of instances on the medium, `DICOM/P0000001/T0000001/S0000001/I0000001` for patient, study,
//! series and instance (PS3.10 section 8.2: at most 8 components of at most 8 characters A to Z, 0 to 9 and `_`; so
//! that the tree also fits an ISO 9660 Level 1 disc, PS3.12 annex F).
//!
//! Names say nothing about the patient. A name, once given and noted, stays: numbers only grow.

use std::collections::HashMap;

/// The folder below which all instances lie.
const TOP: &str = "DICOM";

/// The largest number that fits behind a letter.
const NUMBER_MAX: u32 = 9_999_999;

/// Gives names.
#[derive(Default)]
pub(super) struct Namer {
    patients: HashMap<[u8; 16], u32>,
    patients_max: u32,
    studies: HashMap<String, String>,
    series: HashMap<(String, String), String>,
    /// The highest number given below a folder.
    highest: HashMap<String, u32>,
}

impl Namer {
    /// What stands for a patient: no name, no ID.
    pub(super) fn patient_key(patient_id: &str, issuer: &str) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new();
        for part in [patient_id, issuer] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        key
    }

    /// Learns a name that was given in an earlier run; false when it is none of ours.
    pub(super) fn learn(&mut self, patient: [u8; 16], study: &str, series: &str, name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let [TOP, patient_part, study_part, series_part, instance_part] = parts.as_slice() else {
            return false;
        };
        let numbers = [
            (patient_part, 'P'),
            (study_part, 'T'),
            (series_part, 'S'),
            (instance_part, 'I'),
        ]
        .map(|(part, letter)| number(part, letter));
        let [Some(p), Some(t), Some(s), Some(i)] = numbers else {
            return false;
        };
        let patient_folder = format!("{TOP}/{patient_part}");
        let study_folder = format!("{patient_folder}/{study_part}");
        let series_folder = format!("{study_folder}/{series_part}");
        self.patients.entry(patient).or_insert(p);
        self.patients_max = self.patients_max.max(p);
        for (folder, number) in [(&patient_folder, t), (&study_folder, s), (&series_folder, i)] {
            let highest = self.highest.entry(folder.clone()).or_default();
            *highest = (*highest).max(number);
        }
        self.series
            .entry((study.to_owned(), series.to_owned()))
            .or_insert(series_folder);
        self.studies.entry(study.to_owned()).or_insert(study_folder);
        true
    }

    /// The folder of a series. `None` when numbers are used up.
    pub(super) fn series(&mut self, patient: [u8; 16], study: &str, series: &str) -> Option<String> {
        if let Some(folder) = self.series.get(&(study.to_owned(), series.to_owned())) {
            return Some(folder.clone());
        }
        let study_folder = match self.studies.get(study) {
            Some(folder) => folder.clone(),
            None => {
                let number = match self.patients.get(&patient) {
                    Some(&number) => number,
                    None => {
                        self.patients_max = self.patients_max.checked_add(1).filter(|&n| n <= NUMBER_MAX)?;
                        self.patients.insert(patient, self.patients_max);
                        self.patients_max
                    }
                };
                let folder = self.next(&format!("{TOP}/P{number:07}"), 'T')?;
                self.studies.insert(study.to_owned(), folder.clone());
                folder
            }
        };
        let folder = self.next(&study_folder, 'S')?;
        self.series
            .insert((study.to_owned(), series.to_owned()), folder.clone());
        Some(folder)
    }

    /// The name of the next instance in a series' folder. `None` when numbers are used up.
    pub(super) fn instance(&mut self, series_folder: &str) -> Option<String> {
        self.next(series_folder, 'I')
    }

    fn next(&mut self, folder: &str, letter: char) -> Option<String> {
        let highest = self.highest.entry(folder.to_owned()).or_default();
        *highest = highest.checked_add(1).filter(|&number| number <= NUMBER_MAX)?;
        Some(format!("{folder}/{letter}{:07}", *highest))
    }
}

fn number(part: &str, letter: char) -> Option<u32> {
    let digits = part.strip_prefix(letter)?;
    let is_number = digits.len() == 7 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_a_medium_and_are_learnt_again() {
        let (anna, otto) = (Namer::patient_key("1", ""), Namer::patient_key("", "1"));
        assert_ne!(anna, otto);
        let mut namer = Namer::default();
        let mut given = Vec::new();
        for (patient, study, series) in [
            (anna, "1", "1.1"),
            (anna, "1", "1.2"),
            (otto, "2", "2.1"),
            (anna, "3", "3.1"),
            (anna, "1", "1.1"),
        ] {
            let folder = namer.series(patient, study, series).expect("folder");
            let name = namer.instance(&folder).expect("name");
            assert!(name.split('/').all(|part| part.len() <= 8));
            given.push((patient, study, series, name));
        }
        let names: Vec<&str> = given.iter().map(|(.., name)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "DICOM/P0000001/T0000001/S0000001/I0000001",
                "DICOM/P0000001/T0000001/S0000002/I0000001",
                "DICOM/P0000002/T0000001/S0000001/I0000001",
                "DICOM/P0000001/T0000002/S0000001/I0000001",
                "DICOM/P0000001/T0000001/S0000001/I0000002",
            ]
        );
        let mut again = Namer::default();
        for (patient, study, series, name) in &given {
            assert!(again.learn(*patient, study, series, name));
        }
        let folder = again.series(anna, "1", "1.1").expect("folder");
        assert_eq!(
            again.instance(&folder).as_deref(),
            Some("DICOM/P0000001/T0000001/S0000001/I0000003")
        );
        assert_eq!(
            again.series(otto, "4", "4.1").as_deref(),
            Some("DICOM/P0000002/T0000002/S0000001")
        );
    }

    #[test]
    fn foreign_names_are_none_of_ours() {
        for name in [
            "../x",
            "DICOM/P1/T1/S1/I1",
            "DICOM/P0000001/T0000001/S0000001/../I0000001",
            "",
        ] {
            assert!(!Namer::default().learn([0; 16], "1", "2", name), "{name}");
        }
        assert!(!Namer::default().learn([0; 16], "1", "2", "DICOM/P0000001/T0000001/S0000001/I+000001"));
    }
}
