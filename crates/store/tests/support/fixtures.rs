// SPDX-License-Identifier: Apache-2.0
//! Store directories made by the reference (5.4.0), with what an independent reader found in them.
//!
//! `java-stores.tar.zst` holds `clean` (an orderly end), `crashed` (killed under load: a torn record, two records not
//! dispatched) and `crc` (sealed records, ConsumeQueueExt). `<name>.jsonl.zst`: a line about the store, then one per
//! record in the order of the log.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;
use store::{FlushMode, StoreConfig};
use tempfile::TempDir;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub(crate) settings: Vec<String>,
    pub(crate) commit_log_end: i64,
    pub(crate) index: Vec<IndexFile>,
    /// First offset and number of units by topic and queue.
    pub(crate) queues: BTreeMap<String, BTreeMap<String, (i64, i64)>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexFile {
    pub(crate) file: String,
    pub(crate) end_timestamp: i64,
    pub(crate) end_phy_offset: i64,
    pub(crate) index_count: u32,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Expected {
    pub(crate) physical_offset: i64,
    pub(crate) size: usize,
    pub(crate) topic: String,
    pub(crate) queue_id: u32,
    pub(crate) queue_offset: i64,
    pub(crate) flag: i32,
    pub(crate) sys_flag: i32,
    pub(crate) born_timestamp: i64,
    pub(crate) born_host: String,
    pub(crate) store_timestamp: i64,
    pub(crate) store_host: String,
    pub(crate) reconsume_times: i32,
    pub(crate) prepared_transaction_offset: i64,
    pub(crate) keys: Option<String>,
    pub(crate) tags: Option<String>,
    pub(crate) uniq_id: Option<String>,
    pub(crate) msg_id: String,
    pub(crate) stored_body_sha256: String,
    pub(crate) properties: BTreeMap<String, String>,
}

pub(crate) struct Fixture {
    _dir: TempDir,
    pub(crate) root: PathBuf,
    pub(crate) summary: Summary,
    pub(crate) records: Vec<Expected>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn inflate(name: &str) -> Vec<u8> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .open(fixtures().join(name))
        .expect("fixture is there");
    let decoder = ruzstd::decoding::StreamingDecoder::new(BufReader::new(file));
    let mut bytes = Vec::new();
    decoder
        .expect("fixture is zstd")
        .read_to_end(&mut bytes)
        .expect("fixture inflates");
    bytes
}

/// Unpacks some of the stores into one temporary directory.
pub(crate) fn unpack(name: &str) -> Fixture {
    let dir = tempfile::tempdir().expect("temporary directory");
    // Inflated once for all tests of a binary.
    static STORES: LazyLock<Vec<u8>> = LazyLock::new(|| inflate("java-stores.tar.zst"));
    let mut archive = tar::Archive::new(STORES.as_slice());
    for entry in archive.entries().expect("fixture is a tar") {
        let mut entry = entry.expect("fixture is a tar");
        if entry.path().expect("entry has a path").starts_with(name) {
            entry.unpack_in(dir.path()).expect("fixture unpacks");
        }
    }
    let lines = String::from_utf8(inflate(&format!("{name}.jsonl.zst"))).expect("fixture is UTF-8");
    let mut lines = lines.lines();
    let summary =
        serde_json::from_str(lines.next().expect("a line about the store")).expect("summary parses");
    let records = lines
        .map(|line| serde_json::from_str(line).expect("record parses"))
        .collect();
    Fixture {
        root: dir.path().join(name),
        _dir: dir,
        summary,
        records,
    }
}

impl Fixture {
    /// The settings it was made with.
    pub(crate) fn config(&self) -> StoreConfig {
        let setting = |name: &str| {
            let lines = self.summary.settings.iter();
            lines
                .filter_map(|line| line.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let number = |name: &str| {
            setting(name)
                .and_then(|value| value.parse::<u64>().ok())
                .expect("setting")
        };
        StoreConfig {
            segment_bytes: number("mappedFileSizeCommitLog"),
            queue_file_bytes: number("mappedFileSizeConsumeQueue"),
            index_slots: number("maxHashSlotNum") as u32,
            index_entries: number("maxIndexNum") as u32,
            reserved: Duration::from_secs(number("fileReservedTime") * 3600),
            seal_records: setting("enabledAppendPropCRC") == Some("true"),
            demand_seals: setting("enabledAppendPropCRC") == Some("true"),
            flush: if setting("flushDiskType") == Some("SYNC_FLUSH") {
                FlushMode::Sync
            } else {
                FlushMode::Async
            },
            ..StoreConfig::at(&self.root)
        }
    }
}
