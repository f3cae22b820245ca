// SPDX-License-Identifier: Apache-2.0
//! Messages that the broker writes itself: delayed ones when they are due, halves that are committed, replies.
//!
//! They pass none of the checks of a send; their topic need not be in the table, as in the reference: what was accepted
//! once is not lost because a topic was deleted meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;

use std::time::Duration;

use net::{Copies, Due, Fault, Level, Service as _, Ticket};
use store::{AppendError, Draft, Gate, Queue, Receipt, Store};
use wire::record::Parts;

use crate::broker::Broker;
use crate::config::{BrokerRole, Config, FlushDiskType};
use crate::send::properties::MessageType;

/// Queues that a topic gets at most which is not in the table.
const UNKNOWN_QUEUES: u32 = 8;

/// A message to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue_id: i32,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_at: i64,
    pub(crate) born_host: SocketAddr,
    pub(crate) reconsume_times: i32,
    /// Position of the half message, 0 when there is none.
    pub(crate) prepared_pos: i64,
    pub(crate) body: &'a [u8],
    pub(crate) properties: &'a [u8],
}

impl Put<'_> {
    /// The queue it goes to, made when there is none.
    pub(crate) fn queue(&self, store: &Store) -> Arc<Queue> {
        store.queue(self.topic, u32::try_from(self.queue_id).unwrap_or_default())
    }

    pub(crate) fn draft<'d>(&'d self, queue: &'d Arc<Queue>, store_host: SocketAddr) -> Draft<'d> {
        Draft {
            queue,
            flag: self.flag,
            sys_flag: self.sys_flag,
            born_at: self.born_at,
            born_host: self.born_host,
            store_host,
            reconsume_times: self.reconsume_times,
            prepared_pos: self.prepared_pos,
            body: self.body,
            properties: self.properties,
            wait: false,
        }
    }
}

impl<'a> Put<'a> {
    /// A stored message once more, in a queue and with properties of its own.
    pub(crate) fn again(
        parts: &Parts<'a>,
        (topic, queue_id): (&'a str, i32),
        properties: &'a [u8],
    ) -> Put<'a> {
        Put {
            topic,
            queue_id,
            flag: parts.flag,
            sys_flag: parts.sys_flag,
            born_at: parts.born_at,
            born_host: parts.born_host,
            reconsume_times: parts.reconsume_times,
            prepared_pos: 0,
            body: parts.body,
            properties,
        }
    }
}

impl Broker {
    /// When a sender is told: at once when it does not want to wait for the disk and the slaves.
    pub(crate) fn ticket(&self, config: &Config, gate: Gate, wait: bool) -> Ticket {
        let (level, deadline) = if wait && config.flush_disk_type == FlushDiskType::Sync {
            let patience = Duration::from_millis(u64::from(config.sync_flush_timeout));
            (Level::Durable, Some((self.env.clock.instant() + patience).into()))
        } else {
            (Level::Written, None)
        };
        let copies = if wait && config.broker_role == BrokerRole::SyncMaster {
            self.replication
                .copies(&self.store, self.env.clock.instant().into())
        } else {
            Copies::None
        };
        Ticket {
            pos: gate.end.0,
            generation: gate.generation,
            level,
            deadline,
            copies,
        }
    }

    /// The queue that a message which waited for its time is written to, when it says that it is meant for this one. Anybody
    /// may say anything, so it has to be one that there is, or that the table of topics has room for; else it is the first
    /// one. A topic that is not in the table may have been deleted meanwhile and gets its message, but in few queues, and
    /// no more such topics are made than may be in the table (`topicsMax`): `None`.
    pub(crate) fn home_of(&self, topic: &str, id: u32) -> Option<u32> {
        if self.store.find_queue(topic, id).is_some() {
            return Some(id);
        }
        let known = self.topics.get(topic).map(|topic| topic.queue_count());
        let id = if id < known.unwrap_or(UNKNOWN_QUEUES) {
            id
        } else {
            0
        };
        let has_room = known.is_some()
            || !self.store.queues_of(topic).is_empty()
            || self.store.topic_count() < self.config().topics_max as usize;
        has_room.then_some(id)
    }

    /// Appends a message. It is in the log when its gate has passed ([`Broker::settled`]), for which the caller drives the
    /// store once behind all that it puts.
    pub(crate) fn put(&self, put: &Put<'_>) -> Result<Receipt, AppendError> {
        let queue = put.queue(&self.store);
        self.store.append(&put.draft(&queue, self.host))
    }

    /// Appends messages back to back: all or none, in this order, with nothing between them and in one file. A crash may
    /// keep the first ones only.
    pub(crate) fn put_all(&self, puts: &[Put<'_>]) -> Result<Vec<Receipt>, AppendError> {
        let queues: Vec<_> = puts.iter().map(|put| put.queue(&self.store)).collect();
        let drafts = puts.iter().zip(&queues);
        let drafts: Vec<Draft<'_>> = drafts.map(|(put, queue)| put.draft(queue, self.host)).collect();
        self.store.append_batch(&drafts)
    }

    /// Counts messages that were written to a topic.
    pub(crate) fn count_put(&self, topic: &str, came: (MessageType, u64, u64)) {
        match self.topics.get(topic) {
            Some(topic) => self.counts.put(&topic, came),
            None => self.counts.put_anywhere(came),
        }
    }

    /// Returns when what was put is as safe as a send that is acknowledged: written, or on disk with SYNC_FLUSH.
    pub(crate) async fn settled(&self, gate: Gate) -> Result<(), Fault> {
        let ticket = Ticket {
            deadline: None,
            copies: Copies::None,
            ..self.ticket(&self.config(), gate, true)
        };
        loop {
            let progress = self.store.progress();
            match self.due(&ticket) {
                Due::Passed | Due::Late(_) => return Ok(()),
                Due::Failed(fault) => return Err(fault),
                Due::Waiting => progress.await,
            }
        }
    }
}
