// SPDX-License-Identifier: Apache-2.0
//! An end of the machine or of the process between any two writes. What must hold: a half that was acknowledged is there
//! or has ended; a commit that was acknowledged has delivered; whatever is committed again afterwards, each message is
//! delivered once; and what was rolled back for sure never is.

use std::sync::Arc;

use store::disk::sim::{Loss, SimDisk};
use store::{Draft, Env, Store, StoreConfig};

use super::*;
use crate::life::Life;
use crate::rig::{Rig, topic};

/// Asked without anybody there, so that copies are made all the time.
const RESTLESS: [(&str, &str); 3] = [
    ("transactionCheckInterval", "1"),
    ("transactionTimeOut", "0"),
    ("transactionCheckMax", "1000000"),
];
const AT_REST: [(&str, &str); 1] = [("transactionCheckInterval", "3600000")];
/// Offsets are on disk soon.
const PROMPT: (&str, &str) = ("flushConsumerOffsetInterval", "20");

/// `None` when the machine ended during the start.
async fn start(disk: &Arc<SimDisk>, settings: &[(&str, &str)]) -> Option<Life> {
    let settings = [&[PROMPT], settings].concat();
    Life::start(Arc::clone(disk) as _, &settings).await
}

/// What a producer knows of one transaction.
#[derive(Debug)]
struct Known {
    half: Half,
    /// What it decided, and whether that was acknowledged.
    decided: Option<(i32, bool)>,
}

/// Six transactions: committed, rolled back and left alone by turns.
async fn produce(life: &Life, known: &mut Vec<Known>) -> Option<()> {
    life.try_ask(&topic("T", 1), "").await?;
    for number in 0..6 {
        let header = SendMessageV2 {
            producer_group: "PG".into(),
            topic: "T".into(),
            default_topic: "TBW102".into(),
            sys_flag: 4,
            born_timestamp: now_ms(),
            properties: Some(
                format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}UNIQ_KEY\u{1}{number}\u{2}").into(),
            ),
            ..SendMessageV2::default()
        };
        let sent = life.try_ask(&header, &format!("body of {number}")).await?;
        let receipt: SendReceipt = sent.ext.read().unwrap();
        known.push(Known {
            half: Half {
                offset: receipt.queue_offset,
                pos: decode_offset_id(&receipt.msg_id).unwrap().1,
                id: number.to_string(),
            },
            decided: None,
        });
        let decision = [COMMIT, ROLLBACK, 0][number % 3];
        if decision != 0 {
            let one = known.last_mut().unwrap();
            one.decided = Some((decision, false));
            life.try_ask(&end_of(&one.half, decision), "").await?;
            one.decided = Some((decision, true));
        }
    }
    Some(())
}

/// How often the message of a half was delivered.
async fn deliveries(life: &Life, known: &[Known]) -> Vec<usize> {
    let bodies = bodies(&life.client, "T").await;
    let count = |one: &Known| {
        let own = format!("body of {}", one.half.id);
        bodies.iter().filter(|body| **body == own).count()
    };
    known.iter().map(count).collect()
}

/// What must hold after the end of a machine.
async fn check(life: &Life, known: &[Known], why: &str) {
    for (one, count) in known.iter().zip(deliveries(life, known).await) {
        let allowed = match one.decided {
            Some((COMMIT, true)) => 1..=1,
            Some((COMMIT, false)) => 0..=1,
            _ => 0..=0,
        };
        assert!(allowed.contains(&count), "{why}: {count} deliveries of {one:?}");
    }
    for one in known {
        ended(&life.client, &one.half, COMMIT).await;
        ended(&life.client, &one.half, COMMIT).await;
    }
    for (one, count) in known.iter().zip(deliveries(life, known).await) {
        let allowed = match one.decided {
            Some((ROLLBACK, true)) => 0..=0,
            Some((ROLLBACK, false)) => 0..=1,
            _ => 1..=1,
        };
        assert!(
            allowed.contains(&count),
            "{why}, committed again: {count} deliveries of {one:?}"
        );
    }
    let left = pending(&life.client).await;
    assert!(
        left.total <= 1,
        "{why}: nothing that was acknowledged is pending: {left:?}"
    );
}

/// Ends the machine at one of its operations, and looks at what comes back. Returns whether it ended at all.
async fn end_at(op: u64, loss: Loss, settings: &[(&str, &str)]) -> bool {
    let why = format!("operation {op}, {loss:?}, {settings:?}");
    let disk = Arc::new(SimDisk::seeded(op));
    disk.halt_at(op);
    let mut known = Vec::new();
    if let Some(life) = start(&disk, settings).await {
        produce(&life, &mut known).await;
        life.end().await;
    }
    let has_ended = disk.is_halted();
    disk.crash(loss);
    let life = start(&disk, settings).await.unwrap();
    check(&life, &known, &why).await;
    let before = deliveries(&life, &known).await;
    life.end().await;
    let life = start(&disk, settings).await.unwrap();
    for one in &known {
        ended(&life.client, &one.half, COMMIT).await;
    }
    assert_eq!(deliveries(&life, &known).await, before, "{why}, after a stop");
    life.end().await;
    has_ended
}

async fn end_everywhere(loss: Loss, settings: &[(&str, &str)], step: usize) {
    for op in (0..).step_by(step) {
        if !end_at(op, loss, settings).await {
            assert!(op > 50, "the machine does something: {op} operations");
            return;
        }
    }
}

/// The log of a broker that ended in the middle of a commit: the message is there, and not what says so.
fn half_a_commit(dir: &tempfile::TempDir) -> Half {
    let config = StoreConfig {
        segment_bytes: 1_048_576,
        index_slots: 100,
        index_entries: 1000,
        ..StoreConfig::at(dir.path().join("store"))
    };
    let store = Store::open(config, Env::real()).unwrap();
    let (host, born_at) = (([127, 0, 0, 1], 1).into(), now_ms());
    let put = |topic: &str, sys_flag, prepared_pos, properties: &str| {
        let queue = store.queue(topic, 0);
        let draft = Draft {
            queue: &queue,
            flag: 0,
            sys_flag,
            born_at,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_pos,
            body: b"body of ID1",
            properties: properties.as_bytes(),
            wait: false,
        };
        store.append(&draft).unwrap()
    };
    let common = "UNIQ_KEY\u{1}ID1\u{2}PGROUP\u{1}PG\u{2}TRAN_MSG\u{1}true\u{2}";
    let real = format!("{common}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    put("RMQ_SYS_TRANS_HALF_TOPIC", 0, 0, &real.replace("ID1", "ID0"));
    let half = put("RMQ_SYS_TRANS_HALF_TOPIC", 0, 0, &real);
    put("T", 8, half.pos.0, common);
    store.drive();
    store.close().unwrap();
    Half {
        offset: half.queue_offset,
        pos: half.pos.0,
        id: "ID1".to_owned(),
    }
}

#[tokio::test]
async fn a_commit_of_which_only_the_message_was_written_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let half = half_a_commit(&dir);
    let rig = Rig::start_in(dir, &AT_REST).await;
    let client = rig.client_of("T", 1).await;
    let left = pending(&client).await;
    assert_eq!((left.total, left.pending[0].tran_state_table_offset), (1, 0));
    ended(&client, &half, COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    let ops = delivered(&client, "RMQ_SYS_TRANS_OP_HALF_TOPIC").await;
    assert_eq!(ops.iter().map(|op| &op.body[..]).collect::<Vec<_>>(), [b"1,"]);
    let dir = rig.stop().await;

    let rig = Rig::start_in(dir, &AT_REST).await;
    let client = rig.client().await;
    ended(&client, &half, COMMIT).await;
    assert_eq!(bodies(&client, "T").await, ["body of ID1"]);
    assert_eq!(pending(&client).await.total, 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_delivered_twice_when_a_machine_loses_what_was_not_synced() {
    let settings = [AT_REST.as_slice(), &[("flushDiskType", "SYNC_FLUSH")]].concat();
    end_everywhere(Loss::Everything, &settings, 11).await;
    end_everywhere(Loss::Random, &settings, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_delivered_twice_when_a_machine_ends_while_halves_are_written_again() {
    let settings = [RESTLESS.as_slice(), &[("flushDiskType", "SYNC_FLUSH")]].concat();
    end_everywhere(Loss::Random, &settings, 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_delivered_twice_when_the_process_is_killed() {
    end_everywhere(Loss::Nothing, &AT_REST, 7).await;
    end_everywhere(Loss::Nothing, &RESTLESS, 11).await;
}
