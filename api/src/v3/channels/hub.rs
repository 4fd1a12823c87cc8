//! What happens, from where it happens to every conversation; and the follower of the change feed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use septum_core::ids::{NamespaceId, UserId};
use septum_engine::EngineError;
use septum_engine::feed::Tail;
use septum_engine::ledger::{Change, ChangeKind};
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, broadcast};

use super::Channel;
use crate::v3::study_id::StudyName;

/// Events that a slow listener may be behind before it misses some.
const BEHIND_MAX: usize = 1_024;

/// Conversations at once.
const SOCKETS_MAX: usize = 1_024;

/// How often the feed is looked at while anybody listens.
const EVERY: Duration = Duration::from_millis(200);

/// For how long further images of a study are not told of: it came when the first one did.
const SAME_ARRIVAL: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A study has come.
    Ready,
    /// A study is no longer as it was.
    Edit,
    /// A job is over.
    Done,
    /// A study waits for approval.
    Approve,
}

impl Event {
    /// As clients know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Edit => "EDIT",
            Self::Done => "DONE",
            Self::Approve => "STUDY_APPROVE",
        }
    }
}

/// What is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// On which channel.
    pub channel: Channel,
    /// What happened.
    pub event: Event,
    /// To whom alone, where not to everybody who listens there.
    pub to: Option<UserId>,
    /// What it is about.
    pub about: Map<String, Value>,
}

/// Where everything that is told comes together.
pub struct Hub {
    /// None once the server stops.
    sender: Mutex<Option<broadcast::Sender<Arc<Told>>>>,
    /// Where the feed is followed from, while anybody listens.
    tail: Mutex<Option<Tail>>,
    /// Places for conversations.
    pub(super) sockets: Arc<Semaphore>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            sender: Mutex::new(Some(broadcast::Sender::new(BEHIND_MAX))),
            tail: Mutex::default(),
            sockets: Arc::new(Semaphore::new(SOCKETS_MAX)),
        }
    }
}

impl Hub {
    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<Told>>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tail(&self) -> MutexGuard<'_, Option<Tail>> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever listens.
    pub fn tell(&self, told: Told) {
        if let Some(sender) = &*self.sender() {
            // Where nobody listens there is nothing to do.
            let _ = sender.send(Arc::new(told));
        }
    }

    /// Tells that something happened to a study.
    pub fn tell_of_study(&self, services: &Services, event: Event, namespace: NamespaceId, study_uid: &str) {
        let mut about = about_study(services, namespace, study_uid);
        self.tell(Told {
            channel: Channel::Study(namespace),
            event,
            to: None,
            about: about.clone(),
        });
        about.insert("type".into(), "STUDY".into());
        self.tell(Told {
            channel: Channel::Activity(namespace),
            event,
            to: None,
            about,
        });
    }

    /// Tells that a study waits for whoever approves it.
    pub fn tell_of_offer(&self, namespace: NamespaceId, uuid: &str) {
        let mut about = Map::new();
        about.insert("type".into(), Event::Approve.name().into());
        about.insert("study_id".into(), uuid.into());
        about.insert("namespace_id".into(), namespace.to_string().into());
        self.tell(Told {
            channel: Channel::Activity(namespace),
            event: Event::Approve,
            to: None,
            about,
        });
    }

    /// Everything that is told from now on; `None` once the server stops.
    ///
    /// # Errors
    /// Where the end of the feed cannot be found.
    pub(super) fn listen(&self, services: &Services) -> Result<Option<broadcast::Receiver<Arc<Told>>>, EngineError> {
        let receiver = self.sender().as_ref().map(broadcast::Sender::subscribe);
        let mut tail = self.tail();
        if tail.is_none() {
            *tail = Some(Tail::now(services)?);
        }
        Ok(receiver)
    }

    /// Ends every conversation.
    pub fn close(&self) {
        self.sender().take();
    }

    /// What is new in the feed; nothing where nobody listens. `false` once the server stops.
    fn look(&self, services: &Services, arrivals: &mut Arrivals) -> bool {
        let num_listeners = match &*self.sender() {
            None => return false,
            Some(sender) => sender.receiver_count(),
        };
        let mut tail = self.tail();
        if num_listeners == 0 {
            *tail = None;
            return true;
        }
        let Some(followed) = tail.as_mut() else { return true };
        let news = followed.news(services, |_| true);
        drop(tail);
        match news {
            Ok(news) => {
                for (namespace, study_uid, event) in arrivals.events(news) {
                    self.tell_of_study(services, event, namespace, &study_uid);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the feed could not be followed; channels miss what happened");
                *self.tail() = None;
            }
        }
        true
    }
}

fn about_study(services: &Services, namespace: NamespaceId, study_uid: &str) -> Map<String, Value> {
    let mut about = Map::new();
    about.insert("study_uid".into(), study_uid.into());
    about.insert("namespace".into(), namespace.to_string().into());
    let name = services.accounts.namespace(namespace).ok().and_then(|namespace| {
        let study = StudyRef::find(services, &namespace, study_uid).ok()?;
        StudyName::of_row_key(namespace.id, &study.row_key)
    });
    if let Some(name) = name {
        about.insert("uuid".into(), name.to_string().into());
    }
    about
}

/// Which studies came lately.
#[derive(Default)]
struct Arrivals(HashMap<(NamespaceId, String), Instant>);

impl Arrivals {
    /// What changes mean for who listens, each thing once.
    fn events(&mut self, changes: Vec<(NamespaceId, Change)>) -> Vec<(NamespaceId, String, Event)> {
        let now = Instant::now();
        self.0
            .retain(|_, seen| now.saturating_duration_since(*seen) < SAME_ARRIVAL);
        let mut events = Vec::new();
        let mut told = HashSet::new();
        for (namespace, change) in changes {
            let study = (namespace, change.study_uid);
            let event = match change.kind {
                ChangeKind::InstanceStored | ChangeKind::StudyShared => match self.0.insert(study.clone(), now) {
                    Some(_) if change.kind == ChangeKind::InstanceStored => None,
                    _ => Some(Event::Ready),
                },
                ChangeKind::InstanceReplaced
                | ChangeKind::InstanceDeleted
                | ChangeKind::SeriesDeleted
                | ChangeKind::StudyCorrected
                | ChangeKind::StudyDeleted => Some(Event::Edit),
                ChangeKind::StudyStable => None,
            };
            if let Some(event) = event
                && told.insert((study.clone(), event))
            {
                events.push((study.0, study.1, event));
            }
        }
        events
    }
}

/// Follows the feed until the server stops.
pub async fn follow(hub: Weak<Hub>, services: Weak<Services>) {
    let mut arrivals = Arrivals::default();
    loop {
        tokio::time::sleep(EVERY).await;
        let (Some(hub), Some(services)) = (hub.upgrade(), services.upgrade()) else {
            return;
        };
        let looked = tokio::task::spawn_blocking(move || {
            let goes_on = hub.look(&services, &mut arrivals);
            (goes_on, arrivals)
        });
        match looked.await {
            Ok((true, seen)) => arrivals = seen,
            Ok((false, _)) => return,
            Err(error) => {
                tracing::error!(%error, "the feed could not be followed");
                arrivals = Arrivals::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_study_comes_once() {
        let here = NamespaceId::from_bytes([1; 16]);
        let change = |kind, uid: &str| {
            let change = Change {
                kind,
                time_ms: 0,
                study_uid: uid.into(),
                series_uid: None,
                instance_uid: None,
            };
            (here, change)
        };
        let mut arrivals = Arrivals::default();
        let mut names = |changes| -> Vec<String> {
            let events = arrivals.events(changes).into_iter();
            events
                .map(|(_, uid, event)| format!("{uid} {}", event.name()))
                .collect()
        };
        use ChangeKind::{InstanceDeleted, InstanceStored, StudyShared, StudyStable};
        let stored = |uid| change(InstanceStored, uid);
        assert_eq!(
            names(vec![stored("1"), stored("2"), stored("1")]),
            ["1 READY", "2 READY"]
        );
        assert_eq!(names(vec![stored("1"), change(StudyStable, "1")]), [""; 0]);
        let deleted = || change(InstanceDeleted, "1");
        assert_eq!(names(vec![deleted(), deleted()]), ["1 EDIT"]);
        assert_eq!(names(vec![change(StudyShared, "1")]), ["1 READY"]);
    }
}
