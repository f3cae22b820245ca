// SPDX-License-Identifier: Apache-2.0
//! A dead letter: which message it was, and what it died of.

use serde::Serialize;
use wire::properties::name;

use super::super::shortened;
use crate::message::Message;
use crate::text::time;

/// How often a dead letter was sent again, its first life not counted.
pub(super) const RESENT: &str = "BARQUE_RESENT";
/// The place of the dead letter that a message was made of.
pub(super) const RESENT_OF: &str = "BARQUE_RESENT_OF";

/// What a group gave up.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Letter {
    pub id: String,
    pub topic: Option<String>,
    pub died: String,
    pub cause: String,
    pub retries: i32,
    pub resent: u32,
    place: String,
    tags: Option<String>,
    keys: Option<String>,
    body: String,
    #[serde(skip)]
    pub message: Message,
}

/// Letters of a body that are listed.
const LETTERS: usize = 60;

impl Letter {
    /// `tries` is how often the group tries a message, if that is known.
    pub(super) fn new(message: Message, tries: Option<i32>) -> Letter {
        let body = String::from_utf8_lossy(message.body.as_deref().unwrap_or_default());
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Letter {
            id: message.id().unwrap_or_default().to_owned(),
            topic: owned(origin(&message)),
            died: time(message.stored_at),
            cause: cause(&message, tries),
            retries: message.reconsume_times,
            resent: resent(&message),
            place: format!(
                "{}/{}@{}",
                message.broker.as_deref().unwrap_or_default(),
                message.queue,
                message.offset
            ),
            tags: owned(message.tags()),
            keys: owned(message.keys()),
            body: shortened(&body, LETTERS),
            message,
        }
    }
}

impl Letter {
    /// Whether it is called so, by the id of its message or by its own place.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id == id || self.message.offset_id.as_deref() == Some(id)
    }
}

/// The topic the message was sent to.
fn origin(message: &Message) -> Option<&str> {
    let named = message.property(name::RETRY_TOPIC);
    named.or_else(|| message.property("DLQ_ORIGIN_TOPIC"))
}

/// How often it was sent again already.
fn resent(message: &Message) -> u32 {
    let count = message.property(RESENT).and_then(|text| text.parse().ok());
    count.unwrap_or(0)
}

/// Why the group gave it up, as far as the message tells. What its consumer had to say of it, only its own log knows.
fn cause(message: &Message, tries: Option<i32>) -> String {
    let failed = message.reconsume_times;
    let own = message
        .property("MAX_RECONSUME_TIMES")
        .and_then(|text| text.parse().ok());
    match own.or(tries) {
        Some(most) if failed >= most => format!("all {most} tries failed"),
        Some(most) => format!("given up by its consumer after {failed} of {most} tries"),
        None => format!("given up after {failed} tries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(reconsume_times: i32, own: Option<&str>) -> Message {
        let mut message = Message {
            reconsume_times,
            ..Message::default()
        };
        message.properties.set(name::RETRY_TOPIC, "T");
        if let Some(own) = own {
            message.properties.set("MAX_RECONSUME_TIMES", own);
        }
        message
    }

    #[test]
    fn the_cause_is_read_from_the_tries() {
        assert_eq!(cause(&dead(16, None), Some(16)), "all 16 tries failed");
        assert_eq!(cause(&dead(3, Some("3")), Some(16)), "all 3 tries failed");
        assert_eq!(
            cause(&dead(0, None), Some(16)),
            "given up by its consumer after 0 of 16 tries"
        );
        assert_eq!(cause(&dead(2, None), None), "given up after 2 tries");
    }

    #[test]
    fn a_letter_knows_where_it_comes_from_and_how_often_it_came_again() {
        let mut message = dead(1, None);
        message.properties.set(RESENT, "2");
        let letter = Letter::new(message, None);
        assert_eq!((letter.topic.as_deref(), letter.resent), (Some("T"), 2));
    }
}
