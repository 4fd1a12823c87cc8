//! Which commits share a sync.

use super::writer::{Message, Queued};
use crossbeam_channel::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// A group stops growing at this many bytes of rows and journal objects.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// A group stops growing at this many commits.
const GROUP_COMMITS_MAX: usize = 1024;
/// How long a group waits for more, while all its commits may wait.
const GROUP_WAIT: Duration = Duration::from_millis(50);
/// A group of so many commits waits no more: what syncing costs each is little by then.
const GROUP_COMMITS_ENOUGH: usize = 64;

/// The group that begins with `first`, and a message of another kind that ended it.
pub(super) fn gather(receiver: &Receiver<Message>, first: Queued) -> (Vec<Queued>, Option<Message>) {
    let until = Instant::now() + GROUP_WAIT;
    let mut bytes = first.batch.weight_bytes();
    let mut all_may_wait = first.batch.may_wait;
    let mut group = vec![first];
    while bytes < GROUP_BYTES_MAX && group.len() < GROUP_COMMITS_MAX {
        let next = match receiver.try_recv() {
            Err(TryRecvError::Empty) if all_may_wait && group.len() < GROUP_COMMITS_ENOUGH => {
                receiver.recv_deadline(until).ok()
            }
            next => next.ok(),
        };
        match next {
            Some(Message::Commit(next)) => {
                bytes += next.batch.weight_bytes();
                all_may_wait &= next.batch.may_wait;
                group.push(*next);
            }
            other => return (group, other),
        }
    }
    (group, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::CommitBatch;
    use crossbeam_channel::bounded;
    use tokio::sync::oneshot;

    fn queued(may_wait: bool) -> Queued {
        Queued {
            batch: CommitBatch {
                may_wait,
                ..CommitBatch::default()
            },
            sequence: 0,
            generation: 0,
            reply: oneshot::channel().0,
        }
    }

    #[test]
    fn what_is_queued_shares_a_group() {
        for first in [false, true] {
            let (sender, receiver) = bounded(64);
            for may_wait in [true, true, false, true] {
                sender
                    .send(Message::Commit(Box::new(queued(may_wait))))
                    .expect("there is room");
            }
            sender.send(Message::Close).expect("there is room");
            let (group, other) = gather(&receiver, queued(first));
            assert_eq!(group.len(), 5);
            assert!(matches!(other, Some(Message::Close)));
        }
    }

    #[test]
    fn only_a_group_that_may_wait_waits() {
        let began = Instant::now();
        let (_sender, receiver) = bounded(64);
        for _ in 0..1000 {
            assert_eq!(gather(&receiver, queued(false)).0.len(), 1);
        }
        let without_waiting = began.elapsed();
        assert!(without_waiting < 1000 * GROUP_WAIT);
        let began = Instant::now();
        assert_eq!(gather(&receiver, queued(true)).0.len(), 1);
        assert!(began.elapsed() >= GROUP_WAIT);
    }

    #[test]
    fn a_group_of_enough_commits_waits_no_more() {
        let (sender, receiver) = bounded(64);
        for _ in 1..GROUP_COMMITS_ENOUGH {
            sender
                .send(Message::Commit(Box::new(queued(true))))
                .expect("there is room");
        }
        let (group, other) = gather(&receiver, queued(true));
        assert_eq!((group.len(), other.is_none()), (GROUP_COMMITS_ENOUGH, true));
    }
}
