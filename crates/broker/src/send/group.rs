// SPDX-License-Identifier: Apache-2.0
//! Sends that arrived together on one connection: each is checked and answered by itself, and all are appended under one
//! lock, so that two threads which send at the same time disturb each other once per group and not once per message.

use std::sync::Arc;

use net::routes::{call, outcome};
use net::{Answer, Fault, Peer};
use store::Draft;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::frame::Frame;

use super::{Ready, Send, Staging, Target, answer, check, traced};
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
        sends: Vec::with_capacity(frames.len()),
        ready: Vec::with_capacity(frames.len()),
        say,
    };
    for frame in frames.drain(..) {
        let asked = Asked {
            opaque: frame.opaque,
            oneway: frame.is_oneway(),
        };
        match call::<SendMessageV2>(peer, frame) {
            Ok(call) => group.take(Send::of(call), asked),
            // Not a word about the region: what it was is not known.
            Err(fault) => {
                group.append();
                group.tell(asked, Err(fault));
            }
        }
    }
    group.append();
}

struct Group<'a> {
    b: &'a Arc<Broker>,
    config: &'a Config,
    /// What is not appended yet.
    sends: Vec<(Send, Target, Asked)>,
    /// The messages of these.
    ready: Vec<Ready>,
    say: &'a mut dyn FnMut(net::Outcome),
}

impl Group<'_> {
    fn take(&mut self, send: Send, asked: Asked) {
        match self.ready(&send) {
            Ok(Some((target, ready))) => {
                self.sends.push((send, target, asked));
                self.ready.push(ready);
            }
            Ok(None) => {
                self.append();
                let answered = answer(self.b, send);
                self.tell(asked, answered);
            }
            Err(fault) => {
                self.append();
                self.tell(asked, Err(fault.with_ext(traced(self.b))));
            }
        }
    }

    /// `None`: the send goes its own way. It is a batch, is remembered by its topic, or needs a topic that is not there.
    fn ready(&self, send: &Send) -> Result<Option<(Target, Ready)>, Fault> {
        if send.is_batch() {
            return Ok(None);
        }
        let found = self.b.topics.get(&send.header.topic);
        check::may_send(self.b, self.config, send, found.as_deref())?;
        let Some(target) = Target::of(self.b, self.config, send, found)? else {
            return Ok(None);
        };
        if target.topic.dedup_window_ms > 0 {
            return Ok(None);
        }
        let ready = staging(self.b, self.config, (send, &target)).ready()?;
        Ok(Some((target, ready)))
    }

    /// Appends what waits, and answers it.
    fn append(&mut self) {
        let (sends, ready) = (std::mem::take(&mut self.sends), std::mem::take(&mut self.ready));
        let stagings = sends
            .iter()
            .map(|(send, target, _)| staging(self.b, self.config, (send, target)));
        let stagings: Vec<_> = stagings.collect();
        let drafts = stagings.iter().zip(&ready);
        let drafts: Vec<Draft<'_>> = drafts.map(|(staging, ready)| staging.draft_of(ready)).collect();
        let receipts = self.b.store.append_each(&drafts);
        drop(drafts);
        let asked = sends.iter().map(|(_, _, asked)| *asked);
        for (((staging, ready), receipt), asked) in stagings.iter().zip(ready).zip(receipts).zip(asked) {
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
    }

    fn tell(&mut self, asked: Asked, answered: Result<Answer<SendReceipt>, Fault>) {
        (self.say)(outcome::<SendMessageV2>(answered, asked.opaque, asked.oneway));
    }
}

fn staging<'a>(b: &'a Broker, config: &'a Config, (send, target): (&'a Send, &'a Target)) -> Staging<'a> {
    Staging {
        b,
        config,
        send,
        target,
    }
}
