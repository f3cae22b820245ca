// SPDX-License-Identifier: Apache-2.0
//! The access log: one line for each request of an administrator, with who asked, from where, for what, and what came of it.
//!
//! Lines have the target `access`, so that a log can keep them apart. A `routes!` table says which requests are logged. What a
//! request and its answer carry is shown up to a length; signatures never, and of a body only where the table says so.

use std::fmt::Write as _;
use std::net::SocketAddr;

use tracing::info;
use wire::code::Code;
use wire::frame::{Frame, Language};

use crate::peer::Peer;
use crate::service::Outcome;

/// Most that is shown of the fields and the body of one request, and of the remark of its answer (bytes).
const SHOWN_MAX: usize = 512;
/// Fields that prove who asks: no line shows them.
const PROOFS: [&str; 2] = ["Signature", "SecurityToken"];
/// The field that says who asks.
const USER: &str = "AccessKey";

/// How much of a request goes to the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logged {
    /// Nothing.
    No,
    /// The fields of its header: its body may hold secrets.
    Header,
    /// Fields and body.
    Whole,
}

/// A request that will be logged when it is answered.
pub(crate) struct Entry {
    code: Code,
    from: SocketAddr,
    language: Language,
    user: String,
    what: String,
}

impl Entry {
    /// Takes from a request what its line will show.
    pub(crate) fn of(peer: &Peer, frame: &Frame, logged: Logged) -> Entry {
        let (mut what, mut user) = (String::new(), String::from("-"));
        for (key, value) in frame.ext.iter() {
            if key == USER {
                user = value.chars().take(64).collect();
            } else if !PROOFS.contains(&key.as_str()) {
                append(&mut what, &format!("{key}={value}"));
            }
        }
        if logged == Logged::Whole && !frame.body.is_empty() {
            let head = frame.body.get(..SHOWN_MAX).unwrap_or(&frame.body);
            append(&mut what, &String::from_utf8_lossy(head));
        }
        Entry {
            code: Code(frame.code),
            from: peer.addr,
            language: frame.language,
            user,
            what,
        }
    }

    /// Logs the request when it has its answer.
    pub(crate) fn follow(self, outcome: Outcome) -> Outcome {
        match &outcome {
            Outcome::Silent => self.tell(None, None),
            Outcome::Oneway(code) => self.tell(Some(code.0), None),
            Outcome::Reply(frame) | Outcome::Gated(frame, _) => self.tell_of(frame),
            Outcome::Later(_) => {
                if let Outcome::Later(future) = outcome {
                    return Outcome::Later(Box::pin(async move {
                        let answer = future.await;
                        match &answer {
                            Some(late) => self.tell_of(&late.frame),
                            None => self.tell(None, None),
                        }
                        answer
                    }));
                }
            }
        }
        outcome
    }

    fn tell_of(&self, answer: &Frame) {
        let remark = answer.remark.as_deref().map(|remark| {
            let mut shown = String::new();
            append(&mut shown, remark);
            shown
        });
        self.tell(Some(answer.code), remark);
    }

    fn tell(&self, result: Option<i32>, remark: Option<String>) {
        info!(
            target: "access",
            request = %self.code,
            from = %self.from,
            user = self.user,
            client = ?self.language,
            what = self.what,
            result,
            remark,
            "administration"
        );
    }
}

/// Adds a part, without control characters and up to the length that is shown.
fn append(what: &mut String, part: &str) {
    if what.len() >= SHOWN_MAX {
        return;
    }
    if !what.is_empty() {
        what.push(' ');
    }
    let room = SHOWN_MAX.saturating_sub(what.len());
    for char in part.chars().take(room) {
        what.push(if char.is_control() { ' ' } else { char });
    }
    if part.chars().nth(room).is_some() {
        let _always_ok = write!(what, "…");
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde::{Deserialize, Serialize};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};
    use wire::code::{NoHeader, Request};

    use super::*;
    use crate::limits::Limits;

    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Change {
        topic: String,
        access_key: String,
        signature: String,
    }

    impl Request for Change {
        const CODE: Code = Code::UPDATE_AND_CREATE_TOPIC;
        type Reply = NoHeader;
    }

    fn entry(topic: &str, body: &'static str, logged: Logged) -> Entry {
        let nowhere: SocketAddr = (Ipv4Addr::LOCALHOST, 1).into();
        let (peer, _) = Peer::new(
            1,
            (nowhere, nowhere),
            wire::frame::Encoding::Json,
            &Limits::default(),
        );
        let change = Change {
            topic: topic.to_owned(),
            access_key: "ann".to_owned(),
            signature: "c2VjcmV0".to_owned(),
        };
        Entry::of(&peer, &Frame::request(7, &change).with_body(body), logged)
    }

    #[test]
    fn a_line_names_the_user_and_shows_no_proof_of_who_it_is() {
        let entry = entry("T", "a=b", Logged::Header);
        assert_eq!((entry.user.as_str(), entry.what.as_str()), ("ann", "Topic=T"));
    }

    #[test]
    fn a_body_is_shown_only_where_the_table_says_so_and_breaks_no_line() {
        assert_eq!(entry("T", "{\n1\u{7}}", Logged::Whole).what, "Topic=T { 1 }");
    }

    #[test]
    fn a_long_request_is_shown_up_to_a_length() {
        let long = entry(&"ä".repeat(100_000), "never shown", Logged::Whole).what;
        assert!(long.chars().count() <= SHOWN_MAX + 1, "{}", long.len());
        assert!(long.ends_with('…'), "{long}");
    }

    /// The field `remark` of each event.
    #[derive(Clone, Default)]
    struct Remarks(Arc<Mutex<Vec<String>>>);

    impl Visit for Remarks {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "remark" {
                self.0.lock().push(format!("{value:?}"));
            }
        }
    }

    impl Subscriber for Remarks {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            event.record(&mut self.clone());
        }

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_long_remark_is_shown_up_to_a_length_and_breaks_no_line() {
        let mut answer = Frame::reply(7, wire::code::ResponseCode::SYSTEM_ERROR);
        answer.remark = Some(format!("no such key: a\nb{}", "k".repeat(1 << 20)).into());
        let remarks = Remarks::default();
        tracing::subscriber::with_default(remarks.clone(), || {
            entry("T", "", Logged::Header).follow(Outcome::Reply(answer));
        });
        let told = remarks.0.lock();
        let [remark] = told.as_slice() else {
            panic!("{} events", told.len())
        };
        assert!(remark.starts_with("\"no such key: a bkk"), "{}", &remark[..40]);
        assert!(remark.len() < SHOWN_MAX + 10, "{}", remark.len());
    }
}
