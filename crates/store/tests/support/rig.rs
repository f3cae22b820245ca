// SPDX-License-Identifier: Apache-2.0
//! A store on a simulated disk with a clock that stands still, and what tests ask of it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use store::disk::sim::SimDisk;
use store::disk::{Disk, Entry};
use store::env::Env;
use store::env::sim::{SimClock, SimRng};
use store::{
    All, AppendError, Draft, FlushMode, IndexKind, Kind, Kinds, LogPos, Lookup, OpenError, Queue, QueueKind,
    QueueLayout, ReadError, ReadLimit, Receipt, Store, StoreConfig,
};
use wire::record::{Record, sysflag};

/// The first file of a store in the compact layout.
pub(crate) const FIRST_RUN: &str = "/store/barque-queues/00000000000000000000-00000000000000000000";

/// The first file of a batch queue in the layout of the reference.
pub(crate) const BATCH_FILE: &str = "/store/batchconsumequeue/BATCHED/0/00000000000000000000";

/// When simulated worlds begin.
pub(crate) const START_MS: i64 = 1_800_000_000_000;

/// Topics with this name, or one that starts with it, have batch queues.
pub(crate) const BATCHED: &str = "BATCHED";

/// Topics with this name, or one that starts with it, are compacted.
pub(crate) const COMPACTED: &str = "COMPACTED";

pub(crate) fn kind_of(topic: &str) -> Kind {
    Kind {
        queue: if topic.starts_with(BATCHED) {
            QueueKind::Batch
        } else {
            QueueKind::Plain
        },
        is_compacted: topic.starts_with(COMPACTED),
    }
}

/// What stores keep their queues in here: the suites also run as parts of `compact_layout`.
pub(crate) fn layout() -> QueueLayout {
    if module_path!().starts_with("compact_layout") {
        QueueLayout::Compact
    } else {
        QueueLayout::Files
    }
}

pub(crate) struct Rig {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) config: StoreConfig,
}

impl Rig {
    /// Small files, so that a few messages roll all of them.
    pub(crate) fn new(seed: u64, flush: FlushMode) -> Rig {
        let config = StoreConfig {
            segment_bytes: 4096,
            queue_layout: layout(),
            queue_file_bytes: 20 * 8,
            batch_queue_file_bytes: 46 * 4,
            kinds: Kinds::by(kind_of),
            compaction_file_bytes: 0,
            compaction_queue_file_bytes: 46 * 20,
            index_slots: 16,
            index_entries: 48,
            flush,
            short_checkpoint_bytes: 2000,
            hot_bytes: 1024,
            queue_files_open_max: 4,
            message_bytes_max: 2048,
            ..StoreConfig::at("/store")
        };
        let disk = SimDisk::seeded(seed);
        disk.set_now_ms(START_MS);
        Rig {
            disk: Arc::new(disk),
            clock: Arc::new(SimClock::at(START_MS)),
            config,
        }
    }

    pub(crate) fn env(&self) -> Env {
        Env {
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            rng: Arc::new(SimRng::seeded(1)),
        }
    }

    pub(crate) fn try_open(&self) -> Result<Arc<Store>, OpenError> {
        Store::open_manual(self.config.clone(), self.env())
    }

    pub(crate) fn open(&self) -> Arc<Store> {
        self.try_open().expect("store opens")
    }

    /// Takes away what is known of queues outside the log, of a store that is closed. In the compact layout the first file is damaged,
    /// without which no other counts; the layout stays.
    pub(crate) fn lose_queues(&self) {
        match layout() {
            QueueLayout::Files => {
                for dir in ["/store/consumequeue", "/store/batchconsumequeue"] {
                    self.disk.remove_tree(dir.as_ref()).expect("directory goes");
                }
            }
            QueueLayout::Compact => {
                let dir = Path::new("/store/barque-queues");
                let names = self.disk.list(dir).expect("directory is there");
                let is_first = |entry: &&Entry| entry.name.starts_with("00000000000000000000-");
                let first = names.iter().find(is_first).expect("a first file");
                let file = self.disk.open(&dir.join(&first.name)).expect("file opens");
                file.set_len(10).expect("file is cut");
            }
        }
    }

    pub(crate) fn clock_ms(&self) -> i64 {
        store::env::Clock::now_ms(&*self.clock)
    }

    /// Lets time pass and the tidy thread have its turn.
    pub(crate) fn tidy_after(&self, store: &Store, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
        self.disk.set_now_ms(store.env().clock.now_ms());
        store.turn_tidy();
    }
}

pub(crate) fn properties(unique: &str) -> Vec<u8> {
    format!("KEYS\u{1}k-{unique} shared\u{2}UNIQ_KEY\u{1}{unique}\u{2}TAGS\u{1}Tag\u{2}").into_bytes()
}

pub(crate) fn draft<'a>(queue: &'a Arc<Queue>, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft {
        queue,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        properties,
        wait: true,
    }
}

/// The properties and the flag of a record that holds so many messages.
pub(crate) fn inner(unique: &str, count: u32) -> (Vec<u8>, i32) {
    let mut text = properties(unique);
    text.extend_from_slice(format!("INNER_NUM\u{1}{count}\u{2}").as_bytes());
    (text, sysflag::INNER_BATCH | sysflag::NEED_UNWRAP)
}

/// Appends a record that holds so many messages, without driving.
pub(crate) fn append_inner(
    store: &Store,
    topic: &str,
    id: u32,
    (name, count): (&str, u32),
) -> Result<Receipt, AppendError> {
    let queue = store.queue(topic, id);
    let (properties, sys_flag) = inner(name, count);
    store.append(&Draft {
        sys_flag,
        ..draft(&queue, name.as_bytes(), &properties)
    })
}

/// Appends a message that names itself, without driving.
pub(crate) fn append(store: &Store, topic: &str, id: u32, name: &str) -> Result<Receipt, AppendError> {
    let queue = store.queue(topic, id);
    store.append(&draft(&queue, name.as_bytes(), &properties(name)))
}

/// Appends and makes durable.
pub(crate) fn send(store: &Store, topic: &str, id: u32, name: &str) -> Receipt {
    let receipt = append(store, topic, id, name).expect("append is accepted");
    store.drive();
    store.turn_flush();
    receipt
}

pub(crate) const MANY: ReadLimit = ReadLimit {
    count: 1000,
    bytes: 1 << 20,
    scan: 1000,
    far: None,
};

/// All messages of a queue.
pub(crate) fn read_all(store: &Store, topic: &str, id: u32) -> Vec<Record> {
    let Some(queue) = store.find_queue(topic, id) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut next = queue.min();
    loop {
        match store.read(&queue, next, &MANY, &All) {
            Ok(batch) => {
                all.extend(Record::decode_all(&batch.bytes).map(|record| record.expect("record is sound")));
                assert!(batch.next_offset > next, "a read goes on");
                next = batch.next_offset;
            }
            Err(ReadError::AtEnd { .. } | ReadError::Empty) => return all,
            Err(error) => panic!("{topic}/{id} at {next}: {error}"),
        }
    }
}

pub(crate) fn bodies(store: &Store, topic: &str, id: u32) -> Vec<String> {
    read_all(store, topic, id)
        .iter()
        .map(|record| text(&record.body))
        .collect()
}

pub(crate) fn text(body: &Bytes) -> String {
    String::from_utf8_lossy(body).into_owned()
}

/// Every record of the log, read from position to position.
pub(crate) fn walk(store: &Store) -> Vec<Record> {
    let mut all = Vec::new();
    let mut pos = store.min_pos().0;
    let segment = store.config().segment_bytes as i64;
    while pos < store.written().0 {
        match store.record_at(LogPos(pos)) {
            Ok(bytes) => {
                let record = Record::decode(&bytes).expect("record is sound");
                pos += record.total_size as i64;
                all.push(record);
            }
            // Behind the last record of a file lies a blank.
            Err(ReadError::NoRecord(_)) => pos = (pos / segment + 1) * segment,
            Err(error) => panic!("log at {pos}: {error}"),
        }
    }
    all
}

pub(crate) fn find(store: &Store, topic: &str, key: &str, kind: IndexKind) -> Vec<String> {
    let lookup = Lookup {
        topic,
        key,
        kind,
        max: 64,
        max_bytes: 1 << 20,
        begin_ms: 0,
        end_ms: i64::MAX,
    };
    // A disk that fails once may do so here, where entries are put away.
    let hits = store
        .query(&lookup)
        .or_else(|_| store.query(&lookup))
        .expect("index is readable");
    hits.records
        .iter()
        .map(|record| text(&Record::decode(record).expect("record is sound").body))
        .collect()
}

/// Sends until the log is so many bytes longer.
pub(crate) fn grow(store: &Store, names: &mut u32, bytes: i64) {
    let end = store.max_pos().0 + bytes;
    while store.max_pos().0 < end {
        append(store, "T", *names % 4, &names.to_string()).expect("append is accepted");
        *names += 1;
        if names.is_multiple_of(16) {
            store.drive();
        }
    }
    store.drive();
    store.turn_flush();
}

/// What the file of the checkpoint holds.
pub(crate) fn checkpoint(rig: &Rig) -> Vec<u8> {
    let found = rig.disk.load("/store/checkpoint".as_ref());
    found.expect("the file is readable").expect("there is one")
}

/// The reference's part of the checkpoint.
pub(crate) fn times(rig: &Rig) -> Vec<u8> {
    checkpoint(rig)[..40].to_vec()
}

/// Files for many messages, and a checkpoint after so many bytes of log: a short one where there are such.
pub(crate) fn large(bytes: u64) -> Rig {
    let mut rig = Rig::new(7, FlushMode::Async);
    rig.config.segment_bytes = 16 << 10;
    rig.config.queue_file_bytes = 20 * 10_000;
    rig.config.index_slots = 500;
    rig.config.index_entries = 1_000_000;
    match layout() {
        QueueLayout::Files => rig.config.short_checkpoint_bytes = bytes,
        QueueLayout::Compact => rig.config.checkpoint_bytes = bytes,
    }
    rig
}

/// Batches of 3, 1, 2 and 4 messages, between them a message by itself.
pub(crate) fn filled_batches(rig: &Rig) -> Arc<Store> {
    let store = rig.open();
    for (name, count) in [("a", 3), ("b", 1), ("", 0), ("c", 2), ("d", 4)] {
        rig.tidy_after(&store, 10);
        if count == 0 {
            append(&store, BATCHED, 0, "single").expect("append is accepted");
        } else {
            append_inner(&store, BATCHED, 0, (name, count)).expect("append is accepted");
        }
        store.drive();
        store.turn_flush();
    }
    store
}
