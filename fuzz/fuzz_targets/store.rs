// SPDX-License-Identifier: Apache-2.0
//! Any bytes in a file of a store: it opens or refuses, and whatever it then serves is one of the records written.
//!
//! The input is written over a small store: which file, where in it, and what.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use store::disk::Disk;
use store::disk::sim::SimDisk;
use store::env::Env;
use store::env::sim::{SimClock, SimRng};
use store::{All, Draft, FlushMode, ReadLimit, Store, StoreConfig};
use wire::record::Record;

const MESSAGES: i64 = 40;

fuzz_target!(|input: (u8, u16, &[u8])| {
    let (which, at, bytes) = input;
    let disk = Arc::new(SimDisk::seeded(1));
    fill(&disk);
    let files = [
        "/store/commitlog/00000000000000000000",
        "/store/commitlog/00000000000000004096",
        "/store/consumequeue/T/0/00000000000000000000",
        "/store/checkpoint",
    ];
    let path = Path::new(files[usize::from(which) % files.len()]);
    if let Ok(file) = disk.open(path) {
        let room = 4096_usize.saturating_sub(usize::from(at));
        file.write_at(&bytes[..bytes.len().min(room)], u64::from(at))
            .expect("a simulated disk takes bytes");
    }
    let Ok(store) = open(&disk) else { return };
    let Some(queue) = store.find_queue("T", 0) else { return };
    let limit = ReadLimit { count: 1000, bytes: 1 << 20, scan: 1000, far: None };
    let mut next = queue.min();
    while let Ok(batch) = store.read(&queue, next, &limit, &All) {
        for record in Record::decode_all(&batch.bytes) {
            let record = record.expect("what is served is a record");
            let number: i64 = std::str::from_utf8(&record.body)
                .ok()
                .and_then(|body| body.strip_prefix("message "))
                .and_then(|number| number.parse().ok())
                .expect("what is served was written");
            assert!((0..MESSAGES).contains(&number));
        }
        assert!(batch.next_offset > next);
        next = batch.next_offset;
    }
});

fn open(disk: &Arc<SimDisk>) -> Result<Arc<Store>, store::OpenError> {
    let config = StoreConfig {
        segment_bytes: 4096,
        queue_file_bytes: 20 * 8,
        index_slots: 16,
        index_entries: 48,
        flush: FlushMode::Sync,
        hot_bytes: 1024,
        queue_files_open_max: 4,
        message_bytes_max: 2048,
        ..StoreConfig::at("/store")
    };
    let disk: Arc<dyn Disk> = Arc::clone(disk) as Arc<dyn Disk>;
    Store::open_manual(
        config,
        Env {
            clock: Arc::new(SimClock::at(1_800_000_000_000)),
            disk,
            rng: Arc::new(SimRng::seeded(1)),
        },
    )
}

fn fill(disk: &Arc<SimDisk>) {
    let store = open(disk).expect("a new store opens");
    let queue = store.queue("T", 0);
    for number in 0..MESSAGES {
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
            properties: b"KEYS\x01k\x02",
            wait: true,
        };
        store.append(&draft).expect("append is accepted");
        store.drive();
        store.turn_flush();
    }
    store.close().expect("a store that works closes");
}
