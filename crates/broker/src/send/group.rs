// SPDX-License-Identifier: Apache-2.0
//! Sends that arrived together on one connection: each is checked and answered by itself, and all are appended under one
//! lock, so that two threads which send at the same time disturb each other once per group and not once per message.

use std::cell::Cell;
use std::sync::Arc;

use net::routes::{outcome, unreadable};
use net::{Answer, Fault, Peer};
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::code::Request;
use wire::frame::Frame;

use super::{Ready, Send, Staging, Target, answer_at, traced};
use crate::broker::Broker;
use crate::config::Config;
use crate::dedup::First;

/// What an answer needs of its request.
#[derive(Clone, Copy)]
struct Asked {
    opaque: i32,
    oneway: bool,
}

/// Code 310, several times.
pub(crate) fn send_group(
    b: &Arc<Broker>,
    peer: &Arc<Peer>,
    frames: &mut Vec<Frame>,
    say: &mut dyn FnMut(net::Outcome),
) {
    let config = b.config();
    let mut group = Group {
        b,
        config: &config,
        room: SPARE.take(),
        say,
    };
    for frame in frames.drain(..) {
        let asked = Asked {
            opaque: frame.opaque,
            oneway: frame.is_oneway(),
        };
        match SendMessageV2::read(&frame.ext) {
            Ok(header) => group.take(
                Send {
                    header: header.into(),
                    body: frame.body,
                    version: frame.version,
                    peer: Arc::clone(peer),
                },
                asked,
            ),
            // Not a word about the region: what it was is not known.
            Err(error) => {
                group.append();
                group.tell(asked, Err(unreadable(frame.code, &error)));
            }
        }
    }
    group.append();
    SPARE.set(group.room);
}

/// What is not appended yet.
#[derive(Default)]
struct Room {
    sends: Vec<(Send, Target, Asked)>,
    /// The messages of these.
    ready: Vec<Ready>,
    /// The properties of these.
    texts: Vec<u8>,
}

/// So many bytes of properties are kept for the next group.
const TEXTS_KEPT: usize = 64 << 10;

thread_local! {
    /// Empty, for the next group: what is as large as this is dear to get each time.
    static SPARE: Cell<Room> = Cell::default();
}

struct Group<'a> {
    b: &'a Arc<Broker>,
    config: &'a Config,
    room: Room,
    say: &'a mut dyn FnMut(net::Outcome),
}

impl Group<'_> {
    fn take(&mut self, send: Send, asked: Asked) {
        let found = match Target::find(self.b, self.config, &send) {
            Ok(Some(target)) if is_plain(&send, &target) => {
                match staging(self.b, self.config, (&send, &target)).ready(&mut self.room.texts) {
                    Ok(ready) => {
                        self.room.sends.push((send, target, asked));
                        self.room.ready.push(ready);
                        return;
                    }
                    Err(fault) => Err(fault),
                }
            }
            other => other,
        };
        // It goes its own way, behind those that were before it.
        self.append();
        let answered = found.and_then(|target| answer_at(self.b, self.config, send, target));
        let answered = answered.map_err(|fault| fault.with_ext(traced(self.b)));
        self.tell(asked, answered);
    }

    /// Appends what waits, and answers it.
    fn append(&mut self) {
        let Room { sends, ready, texts } = &mut self.room;
        let staging = |(send, target)| staging(self.b, self.config, (send, target));
        let drafts = sends.iter().zip(&*ready);
        let drafts = drafts.map(|((send, target, _), ready)| staging((send, target)).draft_of(ready, texts));
        let receipts = self.b.store.append_each(drafts);
        for (((send, target, asked), ready), receipt) in sends.iter().zip(ready.drain(..)).zip(receipts) {
            let staging = staging((send, target));
            let told = match receipt {
                Ok(receipt) => {
                    let first = First::of(&receipt, ready.queue_id);
                    let (reply, ticket) = staging.counted(staging.told(ready, first));
                    Ok(Answer::Gated(reply, ticket))
                }
                Err(error) => Err(staging.not_appended(&error).with_ext(traced(self.b))),
            };
            (self.say)(outcome::<SendMessageV2>(told, asked.opaque, asked.oneway));
        }
        sends.clear();
        texts.clear();
        texts.shrink_to(TEXTS_KEPT);
    }

    fn tell(&mut self, asked: Asked, answered: Result<Answer<SendReceipt>, Fault>) {
        (self.say)(outcome::<SendMessageV2>(answered, asked.opaque, asked.oneway));
    }
}

/// Whether it is appended as it is: it is no batch, and its topic does not remember messages.
fn is_plain(send: &Send, target: &Target) -> bool {
    !send.is_batch() && target.topic.dedup_window_ms <= 0
}

fn staging<'a>(b: &'a Broker, config: &'a Config, (send, target): (&'a Send, &'a Target)) -> Staging<'a> {
    Staging {
        b,
        config,
        send,
        target,
    }
}
