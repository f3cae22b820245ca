// SPDX-License-Identifier: Apache-2.0
//! Whatever happens to the files of a store, in either layout of its queues: it opens or refuses, and whatever it then serves is
//! one of the records that were written. It takes more of them, and opens again.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use fuzz::damage::{Damage, Files, env};
use store::disk::sim::SimDisk;
use store::{
    All, Draft, FlushMode, IndexKind, Kind, Kinds, Lookup, QueueKind, QueueLayout, ReadLimit, Store,
    StoreConfig,
};
use wire::record::Record;

const MESSAGES: i64 = 40;
/// Each kind of queue once.
const TOPICS: [&str; 3] = ["T", "B", "C"];

pub(crate) fn run(bytes: &[u8]) {
    let Some((is_compact, damages)) = fuzz::input::<(bool, Vec<Damage<'_>>)>(bytes) else {
        return;
    };
    let layout = if is_compact {
        QueueLayout::Compact
    } else {
        QueueLayout::Files
    };
    let disk = written(is_compact).damaged(&damages);
    for _ in 0..2 {
        let Ok(store) = open(&disk, layout) else { return };
        TOPICS.into_iter().for_each(|topic| read_all(&store, topic));
        query(&store);
        write(&store, 3);
        let _closed = store.close().is_ok();
    }
}

fn written(is_compact: bool) -> &'static Files {
    static WRITTEN: OnceLock<[Files; 2]> = OnceLock::new();
    let both = WRITTEN.get_or_init(|| {
        [QueueLayout::Files, QueueLayout::Compact].map(|layout| {
            let disk = Arc::new(SimDisk::seeded(1));
            let store = open(&disk, layout).expect("a new store opens");
            write(&store, MESSAGES);
            store.turn_compact();
            store.close().expect("a store that works closes");
            Files::of(&disk, Path::new("/store"))
        })
    });
    &both[usize::from(is_compact)]
}

fn open(disk: &Arc<SimDisk>, queue_layout: QueueLayout) -> Result<Arc<Store>, store::OpenError> {
    let kinds = Kinds::by(|topic| Kind {
        queue: if topic == "B" {
            QueueKind::Batch
        } else {
            QueueKind::Plain
        },
        is_compacted: topic == "C",
    });
    let config = StoreConfig {
        segment_bytes: 4096,
        queue_layout,
        queue_file_bytes: 20 * 10,
        batch_queue_file_bytes: 46 * 10,
        kinds,
        compaction_file_bytes: 4096,
        compaction_queue_file_bytes: 46 * 20,
        index_slots: 16,
        index_entries: 48,
        flush: FlushMode::Sync,
        hot_bytes: 1024,
        queue_files_open_max: 4,
        message_bytes_max: 2048,
        ..StoreConfig::at("/store")
    };
    Store::open_manual(config, env(disk))
}

fn write(store: &Arc<Store>, count: i64) {
    for number in 0..count {
        let topic = TOPICS[number as usize % TOPICS.len()];
        let queue = store.queue(topic, 0);
        let body = format!("message {number}");
        let draft = Draft {
            queue: &queue,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1234).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: body.as_bytes(),
            properties: b"KEYS\x01k\x02INNER_NUM\x012\x02",
            wait: true,
        };
        // On damaged files it may be refused.
        if store.append(&draft).is_err() {
            return;
        }
        store.drive();
        store.turn_flush();
    }
}

fn read_all(store: &Arc<Store>, topic: &str) {
    let Some(queue) = store.find_queue(topic, 0) else {
        return;
    };
    let limit = ReadLimit {
        count: 1000,
        bytes: 1 << 20,
        scan: 1000,
        far: None,
    };
    let mut next = queue.min();
    while let Ok(batch) = store.read(&queue, next, &limit, &All) {
        for record in Record::decode_all(&batch.bytes) {
            is_ours(&record.expect("what is served is a record"));
        }
        assert!(batch.next_offset > next);
        next = batch.next_offset;
    }
}

fn is_ours(record: &Record) {
    let number: i64 = std::str::from_utf8(&record.body)
        .ok()
        .and_then(|body| body.strip_prefix("message "))
        .and_then(|number| number.parse().ok())
        .expect("what is served was written");
    assert!((0..MESSAGES).contains(&number));
}

fn query(store: &Arc<Store>) {
    let lookup = Lookup {
        kind: IndexKind::Key,
        topic: "T",
        key: "k",
        max: 32,
        max_bytes: 1 << 20,
        begin_ms: 0,
        end_ms: i64::MAX,
    };
    let _hits = store.query(&lookup);
}
