//! Channels: what happens, told over a web socket to whoever listens, at `/api/v3/channel/websocket`.
//!
//! ```text
//! feed of changes ─► follow ─┐
//! jobs, calls ───────────────┴─► Hub ─► a conversation for each socket ─► its subscriptions
//! ```
//!
//! The client sends text frames: `{"action": "subscribe", "channel": …, "sid": …}`, the same with `unsubscribe`, and
//! `{"action": "ping"}`. A subscription is answered by `{"status": "OK", "channel": …}`, or by what is wrong with it. What
//! happens comes as `{"event": …, "channel": …, "sid_md5": …}` with what it is about.
//!
//! | channel | permission | events |
//! |---|---|---|
//! | `study.NAMESPACE` | `channel_study` | `READY`: a study has come; `EDIT`: it is no longer as it was |
//! | `job.NAMESPACE` | `job_view` | `DONE`: one of the listener's own jobs is over |
//! | `activity.NAMESPACE` | `channel_activity`, and `study_view` or `study_browse` | those of `study.NAMESPACE`, with `type` `STUDY`; `STUDY_APPROVE`, to who approves: a study waits |
//!
//! Invariants: the session and the permission are asked for again at each event, so that nothing goes to whoever is signed
//! out or has lost a role. A socket that names nobody is closed soon. Events are hints: who misses some, because its
//! connection is slow, asks the calls they are about.

mod hub;
mod socket;

use septum_core::access::Permission;
use septum_core::ids::NamespaceId;

pub use hub::{Event, Hub, Told, follow};
pub use socket::{accept, sid_md5};

/// The path behind the base.
pub const PATH: &str = "/channel/websocket";

/// What can be listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// The studies of a namespace.
    Study(NamespaceId),
    /// The listener's jobs in a namespace.
    Job(NamespaceId),
    /// What happens to the studies of a namespace, and what waits for approval there.
    Activity(NamespaceId),
}

impl Channel {
    /// Reads the name of a channel, whose namespace may be written with dashes or without.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, namespace) = text.split_once('.')?;
        let namespace = NamespaceId::from_bytes(super::ask::uuid(namespace)?);
        match kind {
            "study" => Some(Self::Study(namespace)),
            "job" => Some(Self::Job(namespace)),
            "activity" => Some(Self::Activity(namespace)),
            _ => None,
        }
    }

    /// Where it is.
    pub fn namespace(self) -> NamespaceId {
        match self {
            Self::Study(namespace) | Self::Job(namespace) | Self::Activity(namespace) => namespace,
        }
    }

    /// What is needed there to listen.
    pub fn permission(self) -> Permission {
        match self {
            Self::Study(_) => Permission::ChannelStudy,
            Self::Job(_) => Permission::JobView,
            Self::Activity(_) => Permission::ChannelActivity,
        }
    }

    /// Of what one is needed beside: nobody hears of studies that they may not see.
    pub fn one_of(self) -> &'static [Permission] {
        match self {
            Self::Study(_) | Self::Job(_) => &[],
            Self::Activity(_) => &[Permission::StudyView, Permission::StudyBrowse],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_by_kind_and_namespace() {
        let namespace = NamespaceId::from_bytes([7; 16]);
        let (dashed, plain) = (namespace.to_string(), namespace.to_string().replace('-', ""));
        for text in [&dashed, &plain] {
            assert_eq!(
                Channel::parse(&format!("study.{text}")),
                Some(Channel::Study(namespace))
            );
            assert_eq!(Channel::parse(&format!("job.{text}")), Some(Channel::Job(namespace)));
            assert_eq!(
                Channel::parse(&format!("activity.{text}")),
                Some(Channel::Activity(namespace))
            );
        }
        for text in ["", "study", "study.", "study.x", &format!("meeting.{dashed}"), &dashed] {
            assert_eq!(Channel::parse(text), None, "{text}");
        }
    }
}
