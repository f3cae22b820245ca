// SPDX-License-Identifier: Apache-2.0
//! Whatever happens to the files of a journal: what is read back are records that were written, in their order, and it goes on.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use fuzz::damage::{Damage, Files, env};
use store::Journal;
use store::disk::sim::SimDisk;

const DIR: &str = "/journal";

fn records() -> Vec<Vec<u8>> {
    (0..40_u8).map(|n| vec![n; usize::from(n) * 3 + 1]).collect()
}

fn written() -> &'static Files {
    static WRITTEN: OnceLock<Files> = OnceLock::new();
    WRITTEN.get_or_init(|| {
        let disk = Arc::new(SimDisk::seeded(1));
        for some in records().chunks(20) {
            let journal = Journal::open(env(&disk), Path::new(DIR), |_| {}).expect("a journal opens");
            for record in some {
                journal.append(record).expect("it takes records");
            }
            journal.sync().expect("it syncs");
        }
        Files::of(&disk, Path::new(DIR))
    })
}

pub(crate) fn run(bytes: &[u8]) {
    let Some(damages) = fuzz::input::<Vec<Damage<'_>>>(bytes) else {
        return;
    };
    let disk = written().damaged(&damages);
    let mut read = Vec::new();
    let Ok(journal) = Journal::open(env(&disk), Path::new(DIR), |record| read.push(record.to_vec())) else {
        return;
    };
    let is_made_up = |record: &Vec<u8>| !records().contains(record);
    // A checksum of 32 bits can be made to fit by whoever sees it; what was only damaged is not read.
    let strange = read.iter().filter(|record| is_made_up(record)).count();
    assert!(strange <= damages.len(), "{strange} records that nobody wrote");
    journal.append(b"more").expect("it goes on");
}
