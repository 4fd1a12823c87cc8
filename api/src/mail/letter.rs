//! What mail says, and how that becomes a message (RFC 5322).

use lettre::Message;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use septum_core::ids::DocumentId;

/// A letter to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// The address.
    pub to: String,
    /// What it is about.
    pub subject: String,
    /// What it says.
    pub text: String,
}

/// Letters are plain text that says who acts, what for, and what to do if it was not meant.
fn letter(to: &str, subject: String, paragraphs: &[&str]) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: one_line(&subject),
        text: format!("{}\n", paragraphs.join("\n\n")),
    }
}

/// Names come from people: nothing of them begins a header of its own, and none is endless.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(200).collect()
}

/// Invites somebody into an account.
pub fn invitation(to: &str, by: &str, account: &str, link: &str) -> Letter {
    let (by, account) = (one_line(by), one_line(account));
    letter(
        to,
        format!("{by} invites you to {account}"),
        &[
            &format!("{by} invites you to join {account}. Open this link to accept:"),
            link,
            "It opens once, and for some days only. If you do not know what this is about, do nothing.",
        ],
    )
}

/// Tells somebody who is not known here that a study is shared with them.
pub fn shared_with_stranger(to: &str, by: &str, link: &str) -> Letter {
    let by = one_line(by);
    letter(
        to,
        format!("{by} shares a study with you"),
        &[
            &format!("{by} shares a medical study with you. Open this link to accept it:"),
            link,
            "It opens once, and for some days only. If you do not know what this is about, do nothing.",
        ],
    )
}

/// Tells a user that a study is shared with them.
pub fn shared_with_user(to: &str, by: &str, place: &str) -> Letter {
    let by = one_line(by);
    letter(
        to,
        format!("{by} shares a study with you"),
        &[
            &format!("{by} shares a medical study with you. You find it when you sign in:"),
            place,
        ],
    )
}

/// Sends somebody a link to a study.
pub fn link_to_study(to: &str, by: &str, link: &str) -> Letter {
    let by = one_line(by);
    letter(
        to,
        format!("{by} sends you a link to a study"),
        &[
            &format!("{by} sends you a link that opens a medical study:"),
            link,
            "Whoever has the link can open it: do not pass it on.",
        ],
    )
}

/// Tells who invited that the invitation was accepted.
pub fn accepted(to: &str, who: &str, account: &str) -> Letter {
    let (who, account) = (one_line(who), one_line(account));
    letter(
        to,
        format!("{who} accepted your invitation"),
        &[&format!("{who} accepted your invitation to {account}.")],
    )
}

/// Lets somebody set a lost password anew.
pub fn lost_password(to: &str, link: &str) -> Letter {
    letter(
        to,
        "Set your password anew".to_owned(),
        &[
            "Somebody, hopefully you, said that your password is lost. Open this link to choose another one:",
            link,
            "It opens once, and for one hour only. If it was not you, do nothing: your password stays as it is.",
        ],
    )
}

impl Letter {
    /// The message; `None` where the address is none that mail can go to. The same `id` gives the same Message-ID, so that
    /// receivers know a letter that comes twice.
    pub(super) fn message(&self, from: &Mailbox, id: DocumentId) -> Option<Message> {
        let to = Mailbox::new(None, self.to.parse().ok()?);
        let message_id = format!("<{id}@{}>", from.email.domain());
        let builder: MessageBuilder = Message::builder()
            .from(from.clone())
            .to(to)
            .subject(self.subject.clone())
            .message_id(Some(message_id))
            .raw_header(automatic())
            .header(ContentType::TEXT_PLAIN);
        builder.body(self.text.clone()).ok()
    }
}

/// Nobody's holiday notice answers it (RFC 3834 section 5).
fn automatic() -> lettre::message::header::HeaderValue {
    let name = lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted");
    lettre::message::header::HeaderValue::new(name, "auto-generated".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_become_messages() {
        let letter = invitation(
            "a@example.org",
            "Eve\r\nBcc: x@example.org",
            "Ward 7",
            "https://here/x?uuid=1",
        );
        assert!(!letter.subject.contains(['\r', '\n']));
        let from: Mailbox = "Septum <septum@example.org>".parse().expect("an address");
        let id = DocumentId::from_bytes([7; 16]);
        let text = letter.message(&from, id).expect("a message").formatted();
        let text = String::from_utf8(text).expect("ASCII");
        assert!(text.contains(&format!("Message-ID: <{id}@example.org>")), "{text}");
        assert!(text.contains("Auto-Submitted: auto-generated") && text.contains("To: a@example.org"));
        assert!(!text.contains("\nBcc:"), "{text}");
        let nowhere = Letter {
            to: "nobody".into(),
            ..letter
        };
        assert!(nowhere.message(&from, id).is_none());
    }
}
