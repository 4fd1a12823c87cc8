//! Reads back what was acknowledged and compares it with what was sent, after the clock has stopped.

use septum_testkit::random::Random;
use serde::Serialize;

use crate::corpus::element;
use crate::corpus::set::Set;
use crate::http::{Call, Connection, Sink};
use crate::multipart::parts;
use crate::request::Kind;
use crate::target::Target;

/// What came back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Verification {
    /// Instances that were acknowledged and not deleted since.
    pub(crate) num_acknowledged: u64,
    /// Instances that were asked for.
    pub(crate) num_checked: u64,
    /// Came back with the very dataset that was sent.
    pub(crate) num_exact: u64,
    /// Came back with the same pixels in a dataset that was written anew.
    pub(crate) num_same_pixels: u64,
    /// Came back otherwise.
    pub(crate) num_wrong: u64,
    /// Did not come back.
    pub(crate) num_missing: u64,
    /// First frames that were asked for in native form.
    pub(crate) num_frames_checked: u64,
    /// Of these, not equal to the pixels sent.
    pub(crate) num_frames_wrong: u64,
    /// Deleted instances that were asked for.
    pub(crate) num_deleted_checked: u64,
    /// Deleted instances that still came.
    pub(crate) num_deleted_still_there: u64,
}

impl Verification {
    /// Whether the server kept its word.
    pub(crate) fn kept(&self) -> bool {
        self.num_wrong + self.num_missing + self.num_frames_wrong + self.num_deleted_still_there == 0
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        format!(
            "{} acknowledged, {} read back: {} exact, {} with the same pixels, {} wrong, {} missing; {} native frames, {} wrong; \
             {} deleted looked for, {} still there",
            self.num_acknowledged,
            self.num_checked,
            self.num_exact,
            self.num_same_pixels,
            self.num_wrong,
            self.num_missing,
            self.num_frames_checked,
            self.num_frames_wrong,
            self.num_deleted_checked,
            self.num_deleted_still_there
        )
    }
}

/// Checks `count` acknowledged instances (all when there are fewer), a fifth as many native frames, and as many deleted ones.
pub(crate) fn verify(target: &Target, count: u32, seed: u64) -> Verification {
    let mut random = Random::new(seed, 0x7E51F7);
    let mut connection = Connection::new(&target.endpoint);
    let live: Vec<(&Set, usize)> = target
        .ledger
        .live()
        .map(|(set, number)| (set.as_ref(), number))
        .collect();
    let mut found = Verification {
        num_acknowledged: live.len() as u64,
        ..Verification::default()
    };
    for (index, (set, number)) in sample(&live, count, &mut random).into_iter().enumerate() {
        check_instance(&mut connection, set, number, &mut found);
        if index % 5 == 0 {
            check_frame(&mut connection, set, number, &mut found);
        }
    }
    let deleted: Vec<(&Set, usize)> = target
        .ledger
        .deleted()
        .map(|(set, number)| (set.as_ref(), number))
        .collect();
    for (set, number) in sample(&deleted, count / 5, &mut random) {
        found.num_deleted_checked += 1;
        let gone = get(&mut connection, &set.instance_path(number), Kind::Instance)
            .is_some_and(|(status, _)| matches!(status, 404 | 410));
        found.num_deleted_still_there += u64::from(!gone);
    }
    found
}

fn sample<'a>(all: &[(&'a Set, usize)], count: u32, random: &mut Random) -> Vec<(&'a Set, usize)> {
    let mut left = all.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < count as usize && !left.is_empty() {
        chosen.push(left.swap_remove(random.below(left.len() as u32) as usize));
    }
    chosen
}

/// Status and the first part of an answer.
fn get(connection: &mut Connection, path: &str, kind: Kind) -> Option<(u16, Vec<u8>)> {
    let call = Call {
        method: "GET",
        path,
        accept: kind.accept(),
        body: None,
        sink: Sink::Keep,
    };
    let answer = connection.request(call).ok()?;
    let first = parts(&answer.content_type, connection.body())
        .first()
        .map(|part| part.to_vec());
    Some((answer.status, first.unwrap_or_default()))
}

fn check_instance(connection: &mut Connection, set: &Set, number: usize, found: &mut Verification) {
    found.num_checked += 1;
    let mut sent = Vec::new();
    set.append(&mut sent, number);
    let counter = match get(connection, &set.instance_path(number), Kind::Instance) {
        Some((200, got)) => match compare(&sent, &got, set.source(number).dataset_at()) {
            Comparison::Exact => &mut found.num_exact,
            Comparison::SamePixels => &mut found.num_same_pixels,
            Comparison::Wrong => &mut found.num_wrong,
        },
        _ => &mut found.num_missing,
    };
    *counter += 1;
}

fn check_frame(connection: &mut Connection, set: &Set, number: usize, found: &mut Verification) {
    found.num_frames_checked += 1;
    let mut sent = Vec::new();
    set.append(&mut sent, number);
    let source = set.source(number);
    let frame_bytes = source.pixels().len() / source.num_frames();
    let frame = &sent[source.pixels().start..][..frame_bytes];
    let path = format!("{}/frames/1", set.instance_path(number));
    let right = get(connection, &path, Kind::FrameNative)
        // A frame of odd length may be padded.
        .is_some_and(|(status, got)| status == 200 && got.starts_with(frame) && got.len() - frame_bytes <= 1);
    found.num_frames_wrong += u64::from(!right);
}

#[derive(Debug, PartialEq, Eq)]
enum Comparison {
    Exact,
    SamePixels,
    Wrong,
}

fn compare(sent: &[u8], got: &[u8], dataset_at: usize) -> Comparison {
    let pixels = |data: &[u8]| {
        let places = element::top_level(data, 132).ok()?;
        let place = places.into_iter().find(|place| place.tag == (0x7FE0, 0x10))?;
        Some(data[place.value..place.end].to_vec())
    };
    let behind_meta = |data: &[u8]| {
        let places = element::top_level(data, 132).ok()?;
        let first = places.into_iter().find(|place| place.tag.0 > 2)?;
        Some(data[first.start..].to_vec())
    };
    if got.len() < 132 {
        return Comparison::Wrong;
    }
    if behind_meta(got).is_some_and(|dataset| dataset == sent[dataset_at..]) {
        return Comparison::Exact;
    }
    match (pixels(sent), pixels(got)) {
        (Some(sent), Some(got)) if sent == got => Comparison::SamePixels,
        _ => Comparison::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::identity::StudyIdentity;
    use crate::corpus::source::Source;
    use septum_testkit::{StudyKind, StudySpec};

    #[test]
    fn what_came_back_is_compared() {
        let kind = StudyKind::Ct {
            slices: 1,
            rows: 8,
            columns: 8,
        };
        let source = Source::parse(&StudySpec::new(kind, 5).instance(0).bytes).unwrap();
        let mut sent = Vec::new();
        source.append(
            &mut sent,
            &StudyIdentity::of(1, 1),
            &StudyIdentity::instance(1, 1, 1),
            1,
            1,
        );
        let at = source.dataset_at();
        assert_eq!(compare(&sent, &sent, at), Comparison::Exact);
        // Another file meta (its private text changed) does not matter.
        let mut other = sent.clone();
        other[at - 1] ^= 1;
        assert_eq!(compare(&sent, &other, at), Comparison::Exact);
        let mut other = sent.clone();
        let places = element::top_level(&sent, 132).unwrap();
        let name = places.iter().find(|place| place.tag == (0x10, 0x10)).unwrap().value;
        other[name] ^= 1;
        assert_eq!(compare(&sent, &other, at), Comparison::SamePixels);
        other[source.pixels().start] ^= 1;
        assert_eq!(compare(&sent, &other, at), Comparison::Wrong);
        assert_eq!(compare(&sent, &sent[..sent.len() - 1], at), Comparison::Wrong);
        assert_eq!(compare(&sent, b"short", at), Comparison::Wrong);
    }
}
