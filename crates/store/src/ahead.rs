// SPDX-License-Identifier: Apache-2.0
//! Reading the log on a thread of its own: while recovery gives records to their queues, those behind them are read,
//! checked and looked through for what queues and index want. It knows nothing of what queues lack.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use wire::record::RecordHead;

use crate::index::file::Put;
use crate::queue::{Queue, Unit};
use crate::queue_batch::Span;
use crate::queues::Queues;
use crate::recover::count_for;
use crate::scan::{Behind, Scanner};
use crate::tail::Deriving;

/// Records handed over at once.
const BATCH_RECORDS: usize = 4096;
/// Batches that may lie ready.
pub(crate) const BATCHES_AHEAD: usize = 4;

/// Some records that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Queues nobody has seen yet, numbered from where those of earlier batches end.
    pub(crate) fresh: Vec<Arc<Queue>>,
    pub(crate) seen: Vec<Seen>,
    /// What the index lacks.
    pub(crate) puts: Vec<Put>,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The number of its queue.
    pub(crate) queue: usize,
    /// Whether it has a place there.
    pub(crate) is_queued: bool,
    pub(crate) unit: Unit,
    pub(crate) span: Span,
}

/// Where the log ends, and what lies behind.
pub(crate) type LogEnd = (i64, Behind);

/// The thread.
pub(crate) struct Ahead<'a> {
    pub(crate) scanner: Scanner<'a>,
    pub(crate) numbers: Numbers<'a>,
    pub(crate) deriving: Deriving<'a>,
    /// Records up to this position are in the index.
    pub(crate) index_end: i64,
}

impl Ahead<'_> {
    /// Reads to the end of the log, or until nobody takes batches any more.
    pub(crate) fn run(mut self, to: &SyncSender<Batch>) -> io::Result<LogEnd> {
        loop {
            let batch = self.next_batch()?;
            let is_last = batch.seen.len() < BATCH_RECORDS;
            if to.send(batch).is_err() || is_last {
                return Ok((self.scanner.pos, self.scanner.behind));
            }
        }
    }

    fn next_batch(&mut self) -> io::Result<Batch> {
        let mut batch = Batch {
            seen: Vec::with_capacity(BATCH_RECORDS),
            ..Batch::default()
        };
        while batch.seen.len() < BATCH_RECORDS
            && let Some((pos, head)) = self.scanner.next()?
        {
            let (number, queue) = self.numbers.of(&head, &mut batch.fresh);
            let derived = self
                .deriving
                .derive(queue, head.parts.properties, head.parts.sys_flag);
            let stored_at = head.stamp.stored_at;
            if pos > self.index_end {
                let hashes = derived.hashes.iter();
                batch.puts.extend(hashes.map(|hash| Put { hash, pos, stored_at }));
            }
            let count = count_for(queue, &head);
            batch.seen.push(Seen {
                queue: number,
                is_queued: count.is_some(),
                unit: Unit {
                    pos,
                    size: head.total_size as i32,
                    tags_code: derived.tags.at(stored_at),
                },
                span: Span {
                    stored_at,
                    base: head.stamp.queue_offset,
                    count: count.unwrap_or_default(),
                },
            });
        }
        Ok(batch)
    }
}

/// Queues by the order in which they were seen: nobody has to look them up by name for each record again.
pub(crate) struct Numbers<'a> {
    queues: &'a Queues,
    /// Numbers of the queues in `seen`, by topic, with the number that the topic knows them by.
    by_topic: HashMap<Arc<str>, Vec<(u32, usize)>>,
    seen: Vec<Arc<Queue>>,
}

impl<'a> Numbers<'a> {
    pub(crate) fn new(queues: &'a Queues) -> Numbers<'a> {
        Numbers {
            queues,
            by_topic: HashMap::new(),
            seen: Vec::new(),
        }
    }

    fn of(&mut self, head: &RecordHead<'_>, fresh: &mut Vec<Arc<Queue>>) -> (usize, &Queue) {
        let (topic, id) = (head.parts.topic, head.parts.queue_id);
        let known = self.by_topic.get(topic).and_then(|of_topic| {
            let at = of_topic.binary_search_by_key(&id, |(id, _)| *id).ok()?;
            Some(of_topic.get(at)?.1)
        });
        let number = known.unwrap_or_else(|| {
            let queue = self.queues.get(topic, id);
            let number = self.seen.len();
            let of_topic = self.by_topic.entry(Arc::from(topic)).or_default();
            let at = of_topic.partition_point(|(other, _)| *other < id);
            of_topic.insert(at, (id, number));
            self.seen.push(Arc::clone(&queue));
            fresh.push(queue);
            number
        });
        (number, &self.seen[number])
    }
}
