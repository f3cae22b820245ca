// SPDX-License-Identifier: Apache-2.0
//! Sends to topics that remember what they stored (`dedup`): what was stored before is answered, not stored again.

use std::sync::Arc;

use net::Fault;
use store::{AppendError, Draft, Gate, GateState, Level, Queue};
use wire::Str;
use wire::api::send::SendReceipt;
use wire::batch;
use wire::message_id::offset_ids;
use wire::properties::{self as stored, name};

use super::properties::MessageType;
use super::{Staged, Staging, check, properties};
use crate::dedup::{First, Offer, Print, with_group};
use crate::fault::batch_malformed;
use crate::names::group_of_retry_topic;

/// What the messages of a batch share.
pub(super) struct Shared<'a> {
    pub(super) queue: &'a Arc<Queue>,
    pub(super) queue_id: i32,
    pub(super) wait: bool,
    pub(super) deferred: Option<&'static str>,
    pub(super) unique: Option<Str>,
    pub(super) kind: MessageType,
}

impl Staging<'_> {
    /// For how long the topic remembers messages; `None` when it does not, or this message is exempt.
    pub(super) fn window_ms(&self, is_parked: bool) -> Option<i64> {
        let window_ms = self.target.topic.dedup_window_ms;
        let is_exempt =
            || is_parked || self.target.dead || group_of_retry_topic(&self.send.header.topic).is_some();
        (window_ms > 0 && !is_exempt()).then_some(window_ms)
    }

    /// Stores what is not remembered; tells of every message where it is.
    pub(super) fn once(
        &self,
        window_ms: i64,
        prints: &[Option<Print>],
        append: impl FnOnce(&[usize]) -> Result<Vec<First>, AppendError>,
    ) -> Result<Vec<First>, Fault> {
        let offer = Offer {
            topic: &self.target.topic.config.topic_name,
            window_ms,
            prints,
        };
        let firsts = self.b.dedup.once(self.b, &offer, append);
        firsts.map_err(|e| self.not_appended(&e))
    }

    /// A batch: each of its messages is remembered by itself, so that those of a batch that arrived in part, or was
    /// forgotten in part, are stored once as well.
    pub(super) fn batch_once(&self, shared: &Shared<'_>, window_ms: i64) -> Result<Staged, Fault> {
        let group = &self.send.header.producer_group;
        let messages = batch::sub_messages(&self.send.body).collect::<Result<Vec<_>, _>>();
        let messages = messages.map_err(|e| batch_malformed(&e))?;
        let deferred = messages
            .iter()
            .find_map(|message| properties::deferred_in(message.properties));
        for message in &messages {
            self.must_have_key(message.properties)?;
        }
        if let Some(name) = shared.deferred.or(deferred) {
            return Err(check::deferred(self.config, name));
        }
        let marked: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| with_group(message.properties, group))
            .collect();
        let prints: Vec<Option<Print>> = messages
            .iter()
            .map(|message| {
                let unique = stored::get(message.properties, name::UNIQ_KEY)?;
                Some(Print::of(group, unique, message.body))
            })
            .collect();
        let drafts: Vec<Draft<'_>> = messages
            .iter()
            .zip(&marked)
            .map(|(message, marked)| {
                self.draft(shared.queue, message.flag, (message.body, marked), shared.wait)
            })
            .collect();
        let firsts = self.once(window_ms, &prints, |new| {
            let new: Vec<Draft<'_>> = new.iter().filter_map(|at| drafts.get(*at).copied()).collect();
            let receipts = self.b.store.append_batch(&new)?;
            Ok(receipts
                .iter()
                .map(|receipt| First::of(receipt, shared.queue_id))
                .collect())
        })?;
        let gates = firsts.iter().map(|first| first.gate);
        let all = behind_all(gates, |gate| self.b.store.state(gate, Level::Written));
        let (Some(first), Some(all)) = (firsts.first(), all) else {
            return Err(self.not_appended(&AppendError::Empty));
        };
        let told = SendReceipt {
            msg_id: offset_ids(self.b.host, firsts.iter().map(|first| first.pos)),
            queue_id: first.queue_id,
            queue_offset: first.queue_offset,
            transaction_id: shared.unique.clone(),
            ..self.receipt()
        };
        Ok(Staged {
            told,
            ticket: self.b.ticket(self.config, all, shared.wait),
            messages: firsts.iter().filter(|first| first.size > 0).count() as u64,
            bytes: firsts.iter().map(|first| first.size as u64).sum(),
            kind: shared.kind,
            parked: None,
        })
    }
}

/// The gate that passes when all have. Whoever was appended last is written last; but a message that was stored before
/// may have been lost since, and what came after it is written all the same.
fn behind_all(gates: impl Iterator<Item = Gate> + Clone, state: impl Fn(&Gate) -> GateState) -> Option<Gate> {
    let lost = gates.clone().find(|gate| state(gate) == GateState::Failed);
    lost.or_else(|| gates.max_by_key(|gate| (gate.generation, gate.end)))
}

#[cfg(test)]
mod tests {
    use store::LogPos;

    use super::*;

    fn gate(generation: u32, end: i64) -> Gate {
        Gate {
            end: LogPos(end),
            generation,
        }
    }

    #[test]
    fn a_batch_is_answered_when_the_last_of_its_messages_is_written() {
        let gates = [gate(0, 10), gate(1, 30), gate(1, 20)];
        let all = behind_all(gates.into_iter(), |_| GateState::Waiting);
        assert_eq!(all, Some(gate(1, 30)));
    }

    #[test]
    fn a_batch_fails_when_a_message_that_was_known_is_lost_while_the_others_are_appended() {
        let (lost, new) = (gate(0, 10), gate(1, 10));
        let state = |gate: &Gate| match gate.generation {
            0 => GateState::Failed,
            _ => GateState::Passed,
        };
        assert_eq!(behind_all([lost, new].into_iter(), state), Some(lost));
        assert_eq!(behind_all([new].into_iter(), state), Some(new));
    }
}
