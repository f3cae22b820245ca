// SPDX-License-Identifier: Apache-2.0
//! Reading the log on a thread of its own: while recovery gives records to their queues, those behind them are read,
//! checked and looked through for what queues and index want. It knows nothing of what queues lack.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use wire::record::RecordHead;

use crate::index::file::Put;
use crate::log::Log;
use crate::queue::{Queue, Unit};
use crate::queue_batch::{QueueKind, Span};
use crate::queues::Queues;
use crate::recover::count_for;
use crate::scan::{Behind, Scanner};
use crate::tail::Deriving;

/// Records handed over at once, at most.
const BATCH_RECORDS: usize = 4096;
/// A batch with so many entries of the index is handed over too, 1.5 MiB: a record may have thousands of keys.
const BATCH_PUTS: usize = 64 << 10;
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
    /// What cannot be read in front of some of them: from where to where.
    pub(crate) damaged: Vec<(i64, i64)>,
}

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// The number of its queue.
    pub(crate) queue: usize,
    /// Whether it has a place there.
    pub(crate) is_queued: bool,
    /// It is damaged, and nothing that it says is certain.
    pub(crate) is_lost: bool,
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
    /// The log is known to go on at these ascending positions, or to have ended there.
    pub(crate) starts: &'a [i64],
    /// What cannot be read and was not asked yet what it was.
    pub(crate) lost: Option<(i64, i64)>,
    /// Nothing can be read any more.
    pub(crate) is_over: bool,
}

impl Ahead<'_> {
    /// Reads to the end of the log, or until nobody takes batches any more.
    pub(crate) fn run(mut self, to: &SyncSender<Batch>) -> io::Result<LogEnd> {
        loop {
            let (batch, is_last) = self.next_batch()?;
            if to.send(batch).is_err() || is_last {
                return Ok((self.scanner.pos, self.scanner.behind));
            }
        }
    }

    /// Reads some records; and whether none follows.
    fn next_batch(&mut self) -> io::Result<(Batch, bool)> {
        let mut batch = Batch {
            seen: Vec::with_capacity(BATCH_RECORDS),
            ..Batch::default()
        };
        while batch.seen.len() < BATCH_RECORDS && batch.puts.len() < BATCH_PUTS {
            if let Some(stretch) = self.lost.take() {
                self.look_at_lost(stretch, &mut batch);
                continue;
            }
            if self.is_over {
                return Ok((batch, true));
            }
            let Some((pos, head)) = self.scanner.next()? else {
                self.lost = self.scanner.pass_over()?;
                batch.damaged.extend(self.lost);
                if self.lost.is_none() {
                    self.is_over = true;
                    self.lost = self.lost_at_end();
                }
                continue;
            };
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
                is_lost: false,
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
        Ok((batch, false))
    }

    /// What was written behind the last sound record, where that is known.
    fn lost_at_end(&self) -> Option<(i64, i64)> {
        let end = self.scanner.pos;
        let to = self.starts.iter().find(|start| **start > end)?;
        Some((end, *to))
    }

    /// What damaged records say of themselves: which places in queues they may have had, of queues that are there. The first of them
    /// that says nothing ends it. What does not fit into the batch is left for the next one.
    fn look_at_lost(&mut self, (from, to): (i64, i64), batch: &mut Batch) {
        let mut at = from;
        while at < to {
            if batch.seen.len() >= BATCH_RECORDS {
                self.lost = Some((at, to));
                return;
            }
            let Some(record) = self.scanner.bytes_of_lost(at, to) else {
                return;
            };
            let Ok(head) = RecordHead::scan(&record) else {
                return;
            };
            let (topic, id) = (head.parts.topic, head.parts.queue_id);
            if head.stamp.physical_offset != at || self.numbers.queues.find(topic, id).is_none() {
                return;
            }
            let (number, queue) = self.numbers.of(&head, &mut batch.fresh);
            batch.seen.push(Seen {
                queue: number,
                is_queued: queue.kind() == QueueKind::Plain && count_for(queue, &head).is_some(),
                is_lost: true,
                unit: Unit {
                    pos: at,
                    ..Unit::BLANK
                },
                span: Span {
                    stored_at: head.stamp.stored_at,
                    base: head.stamp.queue_offset,
                    count: 1,
                },
            });
            at += head.total_size as i64;
        }
    }
}

/// Says what of the log cannot be read although there is more behind it.
pub(crate) fn tell_of_damage(log: &Log, from: i64, to: i64) {
    let file = log.path_of(from);
    tracing::error!(
        file = %file.display(),
        from,
        to,
        bytes = to - from,
        "what is damaged in the log is passed over and its messages are lost; `barque store check` tells more"
    );
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::config::StoreConfig;
    use crate::disk::Disk;
    use crate::disk::sim::SimDisk;
    use crate::draft::Draft;
    use crate::env::Env;
    use crate::env::sim::{SimClock, SimRng};
    use crate::scan::Verify;
    use crate::store::Store;

    const KEYS: usize = 16_000;

    fn opened() -> (Arc<Store>, Arc<SimDisk>) {
        let config = StoreConfig {
            segment_bytes: 4 << 20,
            queue_file_bytes: 20_000,
            index_enabled: false,
            hot_bytes: 0,
            ..StoreConfig::at("/store")
        };
        let disk = Arc::new(SimDisk::seeded(1));
        let env = Env {
            clock: Arc::new(SimClock::at(1)),
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            rng: Arc::new(SimRng::seeded(1)),
        };
        (Store::open_manual(config, env).unwrap(), disk)
    }

    fn draft<'a>(queue: &'a Arc<Queue>, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
        Draft {
            queue,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1).into(),
            store_host: ([127, 0, 0, 1], 2).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body,
            properties,
            wait: true,
        }
    }

    fn batches(store: &Store, queues: &Queues, starts: &[i64]) -> Vec<Batch> {
        let scanner = Scanner::new(&store.log, Verify::Body, 0);
        let ahead = Ahead {
            scanner: scanner.reaching(starts.last().copied().unwrap_or_default()),
            numbers: Numbers::new(queues),
            deriving: Deriving {
                delay_levels_ms: &[],
                index_enabled: true,
            },
            index_end: -1,
            starts,
            lost: None,
            is_over: false,
        };
        let (to, batches) = sync_channel(100);
        ahead.run(&to).unwrap();
        drop(to);
        batches.iter().collect()
    }

    #[test]
    fn what_lies_ready_is_bounded_in_keys_too() {
        let (store, _) = opened();
        let queue = store.queue("T", 0);
        let properties = format!("KEYS\u{1}{}\u{2}", "k ".repeat(KEYS));
        for _ in 0..30 {
            store.append(&draft(&queue, b"", properties.as_bytes())).unwrap();
        }
        store.drive();
        let batches = batches(&store, &Queues::default(), &[]);
        let most = batches.iter().map(|batch| batch.puts.len()).max();
        assert!(most < Some(BATCH_PUTS + KEYS), "{most:?}");
        let sum = |of: fn(&Batch) -> usize| batches.iter().map(of).sum::<usize>();
        assert_eq!(sum(|batch| batch.seen.len()), 30);
        assert_eq!(sum(|batch| batch.puts.len()), 30 * KEYS);
    }

    #[test]
    fn all_records_of_a_damaged_stretch_are_asked_what_they_were() {
        const LOST: usize = 2 * BATCH_RECORDS + 10;
        for is_at_end in [false, true] {
            let (store, disk) = opened();
            let queue = store.queue("T", 0);
            let append = || store.append(&draft(&queue, b"body", b"")).unwrap().pos.0;
            append();
            let lost: Vec<i64> = (0..LOST).map(|_| append()).collect();
            if !is_at_end {
                append();
            }
            store.drive();
            let path = "/store/commitlog/00000000000000000000";
            let file = disk.open(path.as_ref()).unwrap();
            for pos in lost {
                file.write_at(b"?", pos.unsigned_abs() + 88).unwrap();
            }
            let queues = Queues::default();
            queues.get("T", 0);
            let batches = batches(&store, &queues, &[0, store.written().0]);
            let seen = batches.iter().flat_map(|batch| &batch.seen);
            let (lost, sound): (Vec<&Seen>, Vec<&Seen>) = seen.partition(|seen| seen.is_lost);
            assert_eq!((lost.len(), sound.len()), (LOST, 2 - usize::from(is_at_end)));
            let bases = lost.iter().map(|lost| lost.span.base);
            assert!(bases.eq(1..=LOST as i64), "each once, in order");
            assert!(batches.iter().all(|batch| batch.seen.len() <= BATCH_RECORDS));
        }
    }
}
