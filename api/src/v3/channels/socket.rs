//! One web socket: what its client asks for, and what it is told.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{CloseCode, CloseReason, Message, MessageStream, Session};
use md5::{Digest, Md5};
use septum_core::access::{Object, Permission, authorize};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::UserId;
use septum_engine::ledger::Event as AuditEvent;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{Channel, Event, Told};
use crate::app::App;
use crate::auth::Presented;
use crate::http::problem::Problem;

const SUBSCRIBE: Action = Action::new("channel.subscribe");

/// Longest frame of a client, in bytes.
const FRAME_BYTES_MAX: usize = 4 << 10;
/// Most subscriptions of one socket.
const SUBSCRIPTIONS_MAX: usize = 100;
/// A socket on which its client says nothing is closed.
const QUIET_MAX: Duration = Duration::from_secs(300);
/// A socket that subscribes to nothing is closed earlier.
const NAMELESS_MAX: Duration = Duration::from_secs(30);
/// How long a client may take to receive one frame.
const SEND_MAX: Duration = Duration::from_secs(10);

/// A frame of a client.
#[derive(Deserialize)]
struct Frame {
    action: String,
    #[serde(default)]
    channel: String,
    #[serde(default)]
    sid: String,
}

struct Subscription {
    /// The channel as the client wrote it.
    name: String,
    sid: String,
    sid_md5: String,
    user: UserId,
}

struct Conversation {
    app: Arc<App>,
    address: Option<IpAddr>,
    session: Session,
    by_channel: HashMap<Channel, Subscription>,
}

/// Takes a request to speak on a web socket, where it is one.
pub fn accept(app: &Arc<App>, request: &HttpRequest, payload: web::Payload) -> HttpResponse {
    let Ok(place) = Arc::clone(&app.channels.sockets).try_acquire_owned() else {
        return Problem::overloaded(5).into_response();
    };
    let (response, session, messages) = match actix_ws::handle(request, payload) {
        Ok(accepted) => accepted,
        Err(_) => return Problem::bad_request("this address is for web sockets (RFC 6455)").into_response(),
    };
    let conversation = Conversation {
        app: Arc::clone(app),
        address: app.client_address(request),
        session,
        by_channel: HashMap::new(),
    };
    let messages = messages.max_frame_size(FRAME_BYTES_MAX);
    actix_web::rt::spawn(async move {
        conversation.hold(messages).await;
        drop(place);
    });
    response
}

/// The client went away, or does not keep to what is agreed.
struct Over(CloseCode);

impl Conversation {
    async fn hold(mut self, mut messages: MessageStream) {
        let code = match self.run(&mut messages).await {
            Ok(()) => CloseCode::Away,
            Err(Over(code)) => code,
        };
        let _ = tokio::time::timeout(SEND_MAX, self.session.close(Some(CloseReason::from(code)))).await;
    }

    /// Speaks until the server stops.
    async fn run(&mut self, messages: &mut MessageStream) -> Result<(), Over> {
        let services = Arc::clone(&self.app.archive.services);
        let heard = self.app.channels.listen(&services);
        let Some(mut told) = heard.map_err(|_| Over(CloseCode::Error))? else {
            return Ok(());
        };
        let mut heard_at = tokio::time::Instant::now();
        loop {
            let quiet = if self.by_channel.is_empty() {
                NAMELESS_MAX
            } else {
                QUIET_MAX
            };
            tokio::select! {
                message = messages.recv() => {
                    heard_at = tokio::time::Instant::now();
                    self.hear(message.ok_or(Over(CloseCode::Normal))?).await?;
                }
                told = told.recv() => match told {
                    Ok(told) => self.tell(&told).await?,
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return Ok(()),
                },
                () = tokio::time::sleep_until(heard_at + quiet) => return Err(Over(CloseCode::Policy)),
            }
        }
    }

    async fn hear(&mut self, message: Result<Message, actix_ws::ProtocolError>) -> Result<(), Over> {
        match message {
            Ok(Message::Text(text)) => {
                let frame: Frame = serde_json::from_str(&text).map_err(|_| Over(CloseCode::Invalid))?;
                self.answer(frame).await
            }
            Ok(Message::Ping(bytes)) => match tokio::time::timeout(SEND_MAX, self.session.pong(&bytes)).await {
                Ok(Ok(())) => Ok(()),
                _ => Err(Over(CloseCode::Away)),
            },
            Ok(Message::Pong(_) | Message::Nop) => Ok(()),
            Ok(Message::Close(_)) => Err(Over(CloseCode::Normal)),
            Ok(Message::Binary(_) | Message::Continuation(_)) => Err(Over(CloseCode::Unsupported)),
            Err(_) => Err(Over(CloseCode::Protocol)),
        }
    }

    async fn answer(&mut self, frame: Frame) -> Result<(), Over> {
        let refusal = match frame.action.as_str() {
            "ping" => return self.send(&json!({"status": "OK", "action": "ping"})).await,
            "subscribe" => self.subscribe(&frame).await.err(),
            "unsubscribe" => {
                if let Some(channel) = Channel::parse(&frame.channel) {
                    self.by_channel.remove(&channel);
                }
                None
            }
            _ => Some("INVALID_ACTION"),
        };
        let channel = frame.channel;
        let answer = match refusal {
            None => json!({"status": "OK", "channel": channel}),
            Some(token) => json!({"status": "ERROR", "channel": channel, "error_type": token}),
        };
        self.send(&answer).await
    }

    /// A channel that is not there and one that may not be heard look alike.
    async fn subscribe(&mut self, frame: &Frame) -> Result<(), &'static str> {
        let presented = Presented {
            sid: Some(&frame.sid),
            request: None,
        };
        let signed_in = self.app.authenticator.signed_in(&presented, None).await;
        let user = match signed_in {
            Ok(Some(signed_in)) => signed_in.principal.user,
            _ => return Err("INVALID_SID"),
        };
        let channel = Channel::parse(&frame.channel).ok_or("NOT_PERMITTED")?;
        if !self.is_permitted(channel, user) {
            return Err("NOT_PERMITTED");
        }
        if self.by_channel.len() >= SUBSCRIPTIONS_MAX && !self.by_channel.contains_key(&channel) {
            return Err("FULL");
        }
        let subscription = Subscription {
            name: frame.channel.clone(),
            sid: frame.sid.clone(),
            sid_md5: sid_md5(&frame.sid),
            user,
        };
        let event = AuditEvent {
            actor: Actor::User(user),
            action: SUBSCRIBE,
            object: ObjectRef::One(ObjectKind::Namespace, *channel.namespace().as_bytes()),
            outcome: Outcome::Success,
            source: self.address,
            account: None,
        };
        let noted = self.app.archive.audit.note(event).await;
        noted.map_err(|_| "TRY_LATER")?;
        self.by_channel.insert(channel, subscription);
        Ok(())
    }

    fn is_permitted(&self, channel: Channel, user: UserId) -> bool {
        let object = Object::Namespace(channel.namespace());
        let principal = self.app.archive.services.accounts.principal(user);
        principal.is_ok_and(|principal| {
            let mut others = channel.one_of().iter();
            authorize(Some(&principal), channel.permission(), object).is_ok()
                && (channel.one_of().is_empty() || others.any(|other| principal.has(*other, channel.namespace())))
        })
    }

    async fn tell(&mut self, told: &Told) -> Result<(), Over> {
        let Some(subscription) = self.by_channel.get(&told.channel) else {
            return Ok(());
        };
        if told.to.is_some_and(|user| user != subscription.user) {
            return Ok(());
        }
        let services = &self.app.archive.services;
        let approves = |user| {
            let principal = services.accounts.principal(user);
            principal.is_ok_and(|principal| principal.has(Permission::StudyApprove, told.channel.namespace()))
        };
        if told.event == Event::Approve && !approves(subscription.user) {
            return Ok(());
        }
        let sessions = &services.accounts.sessions;
        let is_live = matches!(sessions.left_ms(&subscription.sid), Ok(Some(_)));
        if !is_live || !self.is_permitted(told.channel, subscription.user) {
            let name = subscription.name.clone();
            self.by_channel.remove(&told.channel);
            let token = if is_live { "NOT_PERMITTED" } else { "INVALID_SID" };
            return self
                .send(&json!({"status": "ERROR", "channel": name, "error_type": token}))
                .await;
        }
        let mut frame = Map::new();
        frame.insert("event".into(), told.event.name().into());
        frame.insert("channel".into(), subscription.name.clone().into());
        frame.insert("sid_md5".into(), subscription.sid_md5.clone().into());
        frame.extend(told.about.clone());
        self.send(&Value::Object(frame)).await
    }

    async fn send(&mut self, frame: &Value) -> Result<(), Over> {
        match tokio::time::timeout(SEND_MAX, self.session.text(frame.to_string())).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over(CloseCode::Away)),
        }
    }
}

/// How events name a session without giving it away. MD5 is what clients compare with; it guards nothing.
pub fn sid_md5(sid: &str) -> String {
    let digest = Md5::digest(sid.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_named_by_md5() {
        // RFC 1321, section A.5.
        assert_eq!(sid_md5("abc"), "900150983cd24fb0d6963f7d28e17f72");
    }
}
