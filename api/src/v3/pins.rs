//! PINs of links: numbers that stand for a link for some minutes, to be read out over a telephone.
//!
//! They are in memory alone: a restart ends them. A link has one at a time, and the next one takes its place. Whoever
//! guesses is slowed down like whoever guesses passwords ([`crate::auth`]).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use septum_core::ids::DocumentId;

/// How long a PIN stands for its link.
pub(super) const VALID: Duration = Duration::from_secs(600);
/// Digits of a PIN.
const DIGITS: usize = 9;
/// PINs at a time: the more there are, the sooner one is guessed.
const PINS_MAX: usize = 1_000;

/// The PINs that stand for something.
#[derive(Default)]
pub struct Pins(Mutex<HashMap<String, (DocumentId, Instant)>>);

impl Pins {
    fn alive(&self) -> MutexGuard<'_, HashMap<String, (DocumentId, Instant)>> {
        let mut pins = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        pins.retain(|_, (_, given)| given.elapsed() < VALID);
        pins
    }

    /// A new PIN of `link`; `None` while there are too many.
    pub fn give(&self, link: DocumentId) -> Option<String> {
        let mut pins = self.alive();
        pins.retain(|_, (of, _)| *of != link);
        if pins.len() >= PINS_MAX {
            return None;
        }
        let pin = std::iter::repeat_with(random)
            .flatten()
            .find(|pin| !pins.contains_key(pin))?;
        pins.insert(pin.clone(), (link, Instant::now()));
        Some(pin)
    }

    /// The link that `pin` stands for.
    pub fn link(&self, pin: &str) -> Option<DocumentId> {
        self.alive().get(pin).map(|(link, _)| *link)
    }
}

/// Digits, each as likely as any other; `None` where the bytes drawn did not give enough.
fn random() -> Option<String> {
    let mut bytes = [0; 4 * DIGITS];
    getrandom::fill(&mut bytes).ok()?;
    // 250 is the greatest multiple of ten that a byte holds.
    let digits = bytes
        .iter()
        .filter(|byte| **byte < 250)
        .map(|byte| char::from(b'0' + byte % 10));
    let pin: String = digits.take(DIGITS).collect();
    (pin.len() == DIGITS).then_some(pin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_has_one_pin_at_a_time() {
        let pins = Pins::default();
        let (one, other) = (DocumentId::random(), DocumentId::random());
        let first = pins.give(one).expect("there is room");
        assert!(first.len() == DIGITS && first.bytes().all(|byte| byte.is_ascii_digit()));
        assert_eq!(pins.link(&first), Some(one));
        let second = pins.give(one).expect("there is room");
        assert_eq!((pins.link(&first), pins.link(&second)), (None, Some(one)));
        for _ in 1..PINS_MAX {
            assert!(pins.give(DocumentId::random()).is_some());
        }
        assert_eq!(pins.give(other), None);
        assert!(pins.give(one).is_some(), "its own takes the place of the one before");
    }
}
