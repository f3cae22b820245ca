// SPDX-License-Identifier: Apache-2.0
//! A store that the reference left behind with halves that had not ended.

use std::io::Read;
use std::path::Path;

use super::*;
use crate::rig::{Rig, producer};

/// Unpacks the store that the reference closed in order to where a rig looks for it.
fn unpack() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/fixtures/java-stores.tar.zst");
    let file = std::fs::OpenOptions::new().read(true).open(archive).unwrap();
    let mut bytes = Vec::new();
    ruzstd::decoding::StreamingDecoder::new(std::io::BufReader::new(file))
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().starts_with("clean") {
            entry.unpack_in(dir.path()).unwrap();
        }
    }
    std::fs::rename(dir.path().join("clean"), dir.path().join("store")).unwrap();
    dir
}

#[tokio::test]
async fn halves_of_the_reference_are_asked_about_and_delivered_once() {
    let own = [
        ("mappedFileSizeConsumeQueue", "20000"),
        ("maxHashSlotNum", "2000"),
        ("maxIndexNum", "8000"),
        ("fileReservedTime", "876000"),
    ];
    let rig = Rig::start_in(unpack(), &[IMPATIENT.as_slice(), &own].concat()).await;
    let mut client = rig.client().await;
    let before = delivered(&client, "FixTxn").await.len();
    client.beat(&producer("P", "PID_FixTxn")).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 6 {
        let frame = client.next_request().await;
        let record = Record::decode(&frame.body).unwrap();
        assert_eq!(record.topic, "FixTxn");
        assert!(record.property("TAGS").unwrap().contains("UNKNOW"));
        let answer = EndTransaction {
            producer_group: "PID_FixTxn".into(),
            from_transaction_check: Some(true),
            ..end_of(
                &Half {
                    offset: record.queue_offset,
                    pos: record.physical_offset,
                    id: String::new(),
                },
                COMMIT,
            )
        };
        assert_eq!(client.ask(&answer).await.code, 0);
        seen.insert(record.property("UNIQ_KEY").unwrap().to_owned());
    }
    assert_eq!(pending(&client).await.total, 0);
    let mut after = 0;
    for queue in 0..2 {
        let pulled = client.pull(&pull("G", "FixTxn", queue, 0)).await;
        after += pulled.bodies().len();
    }
    assert_eq!(
        (before, after),
        (3, 12),
        "six were delivered before, each of the others once"
    );
    rig.stop().await;
}
