// SPDX-License-Identifier: Apache-2.0
//! Inner batches: one record that holds several messages, in topics of batch queues (`queue.type=BatchCQ`). Consumers
//! take it apart.
//!
//! A batch (320) to such a topic becomes one when it has a unique id of its own; the broker counts its messages. A single
//! send may bring one that is made already; what it says of itself is checked, as nobody can take a wrong count back: the
//! offsets of the queue go by it. To other topics they are refused, and so are those that ask to be kept back.

use net::Fault;
use store::AppendError;
use wire::batch;
use wire::code::ResponseCode;
use wire::properties::Properties;
use wire::properties::name::{INNER_BASE, INNER_NUM, UNIQ_KEY};
use wire::record::sysflag;

use super::properties::{Asks, Sifted};
use super::{Staged, Staging, check, properties};
use crate::dedup::Print;
use crate::fault::batch_malformed;

/// Marks of a record that holds several messages.
const MARKS: i32 = sysflag::NEED_UNWRAP | sysflag::INNER_BATCH;
/// Most messages the count of a queue entry can say.
const MESSAGES_MAX: usize = i16::MAX as usize;

/// The words of the reference for every message that it does not take.
fn illegal(why: &str) -> Fault {
    Fault::new(
        ResponseCode::MESSAGE_ILLEGAL,
        format!("the message is illegal: {why}"),
    )
}

impl Staging<'_> {
    /// Whether a batch is to be kept as one record.
    pub(super) fn is_inner(&self, shared: &Sifted<'_>) -> bool {
        self.target.topic.is_batch && shared.unique.is_some()
    }

    /// Checks a single send that says it holds several messages.
    pub(super) fn check_inner(&self, sifted: &Sifted<'_>) -> Result<(), Fault> {
        let sys_flag = self.send.header.sys_flag;
        if sys_flag & sysflag::INNER_BATCH == 0 {
            return Err(illegal("INNER_NUM stands in what is no inner batch"));
        }
        if !self.target.topic.is_batch {
            return Err(illegal("an inner batch needs a topic with queue.type=BatchCQ"));
        }
        let Some(said) = sifted.asks.inner else {
            return Err(illegal("an inner batch without INNER_NUM"));
        };
        self.must_not_wait(&sifted.asks)?;
        let held = if sys_flag & sysflag::COMPRESSED == 0 {
            self.count_inner()?
        } else {
            // Nobody looks into what is compressed; it counts for at least one.
            let said = said.parse().unwrap_or(0);
            check_count(said)?
        };
        if said.parse() == Ok(held) {
            return Ok(());
        }
        Err(illegal(&format!(
            "INNER_NUM is {said}, and it holds {held} messages"
        )))
    }

    /// What is kept back is not in the queue of its topic, and in no other an inner batch can be.
    fn must_not_wait(&self, asks: &Asks<'_>) -> Result<(), Fault> {
        let asks = Asks { inner: None, ..*asks };
        asks.deferral()
            .map_or(Ok(()), |name| Err(check::deferred(self.config, name)))
    }

    /// Counts the messages inside, and looks at each.
    fn count_inner(&self) -> Result<usize, Fault> {
        let mut count = 0;
        for message in batch::sub_messages(&self.send.body) {
            let message = message.map_err(|e| batch_malformed(&e))?;
            if let Some(name) = properties::deferred_in(message.properties) {
                return Err(check::deferred(self.config, name));
            }
            count += 1;
        }
        check_count(count)
    }

    /// Keeps a batch as one record.
    pub(super) fn inner_batch(&self, shared: &Sifted<'_>, text: &[u8]) -> Result<Staged, Fault> {
        let header = &self.send.header;
        self.must_not_wait(&shared.asks)?;
        let count = self.count_inner()?;
        let queue_id = check::queue_id(self.b, self.target, self.send)?;
        let queue = self.queue(queue_id)?;
        let (wait, kind) = (shared.wait, shared.kind);
        let Some(unique) = shared.unique.map(wire::Str::from) else {
            return Err(self.not_appended(&AppendError::InnerBatch));
        };
        let mut text = Properties::from_bytes(text);
        text.remove(INNER_BASE);
        text.set(UNIQ_KEY, &unique);
        text.set(super::properties::name::CLUSTER, &self.config.broker_cluster_name);
        text.set(INNER_NUM, &count.to_string());
        let mut text = text.into_bytes();
        let window_ms = self.window_ms(false);
        if window_ms.is_some() {
            text = crate::dedup::with_group(&text, &header.producer_group);
        }
        let mut draft = self.draft(&queue, header.flag, (&self.send.body, &text), wait);
        draft.sys_flag |= MARKS;
        let print = || Print::of(&header.producer_group, &unique, &self.send.body);
        let first = self.append_once(&draft, queue_id, window_ms, || Some(print()))?;
        let mut staged = self.staged(first, (unique.clone(), wait), None);
        staged.messages *= count as u64;
        staged.kind = kind;
        staged.told.batch_uniq_id = Some(unique);
        Ok(staged)
    }
}

fn check_count(count: usize) -> Result<usize, Fault> {
    if (1..=MESSAGES_MAX).contains(&count) {
        return Ok(count);
    }
    Err(illegal(&format!(
        "it holds {count} messages, allowed are 1 to {MESSAGES_MAX}"
    )))
}
