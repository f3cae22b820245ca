// SPDX-License-Identifier: Apache-2.0
//! A slave acts for its master: what is due there leaves by a master of another name.

#![expect(
    clippy::disallowed_methods,
    reason = "real brokers live in real time, and their logs are real files"
)]
use anyhow::Context as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use net::Channel;
use tempfile::TempDir;
use testkit::cluster::{Names, Node, in_step, until};
use testkit::line::request;
use wire::code::Code;
use wire::frame::Frame;
use wire::record::Record;

/// Much longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

/// Of both brokers of the pair.
const PAIR: [(&str, &str); 8] = [
    ("totalReplicas", "2"),
    ("brokerHeartbeatInterval", "100"),
    ("flushDiskType", "ASYNC_FLUSH"),
    ("enableSlaveActingMaster", "true"),
    ("enableRemoteEscape", "true"),
    ("slaveReadEnable", "true"),
    ("transactionCheckInterval", "200"),
    ("transactionTimeOut", "200"),
];
const SLAVE: [(&str, &str); 2] = [("brokerRole", "SLAVE"), ("brokerId", "1")];

/// A master with a slave, and a master of another name.
struct World {
    names: Names,
    dirs: [TempDir; 3],
}

impl World {
    async fn new() -> Result<World> {
        Ok(World {
            names: Names::start_with("supportActingMaster=true").await?,
            dirs: [tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?],
        })
    }

    async fn master(&self) -> Result<Node> {
        let node = Node::start(&self.names, self.dirs[0].path(), &PAIR).await?;
        make_topic(&node, "T").await?;
        Ok(node)
    }

    async fn slave(&self) -> Result<Node> {
        let settings = [&PAIR[..], &SLAVE[..]].concat();
        Node::start(&self.names, self.dirs[1].path(), &settings).await
    }

    async fn other(&self) -> Result<Node> {
        let settings = [
            ("brokerName", "broker-b"),
            ("transactionCheckInterval", "600000"),
            ("maxMessageSize", "1000"),
        ];
        let node = Node::start(&self.names, self.dirs[2].path(), &settings).await?;
        make_topic(&node, "T").await?;
        Ok(node)
    }
}

async fn ask(node: &Node, code: Code, fields: &[(&str, &str)]) -> Result<Frame> {
    ask_with(node, code, fields, b"").await
}

async fn ask_with(node: &Node, code: Code, fields: &[(&str, &str)], body: &[u8]) -> Result<Frame> {
    let channel = Channel::connect(node.addr, SOON).await?;
    Ok(channel.call(request(code, fields, body), SOON).await?)
}

async fn make_topic(node: &Node, topic: &str) -> Result {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let reply = ask(node, Code::UPDATE_AND_CREATE_TOPIC, &fields).await?;
    anyhow::ensure!(reply.code == 0, "{:?}", reply.remark);
    Ok(())
}

async fn send(node: &Node, properties: &str, body: &str) -> Result {
    let fields = [
        ("a", "PG"),
        ("b", "T"),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", if properties.contains("TRAN_MSG") { "4" } else { "0" }),
        ("g", "1"),
        ("h", "7"),
        ("i", properties),
    ];
    let reply = ask_with(node, Code::SEND_MESSAGE_V2, &fields, body.as_bytes()).await?;
    anyhow::ensure!(reply.code == 0, "{} {:?}", reply.code, reply.remark);
    Ok(())
}

/// Ends a half as its producer does.
async fn commit(node: &Node, half: &Record) -> Result {
    let fields = [
        ("producerGroup", "PG"),
        ("tranStateTableOffset", &*half.queue_offset.to_string()),
        ("commitLogOffset", &*half.physical_offset.to_string()),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "true"),
        ("msgId", "H"),
        ("transactionId", "H"),
    ];
    let reply = ask(node, Code::END_TRANSACTION, &fields).await?;
    anyhow::ensure!(reply.code == 0, "{} {:?}", reply.code, reply.remark);
    Ok(())
}

/// What lies in queue 0 of a topic, by body, with the record.
async fn all(node: &Node, topic: &str) -> Result<Vec<Record>> {
    let queue = node.broker.store.find_queue(topic, 0);
    let Some(queue) = queue else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for offset in queue.min()..queue.max() {
        let entries = node.broker.store.entries(&queue, offset, 1)?;
        for entry in entries {
            found.push(Record::decode(&node.broker.store.record_at(entry.pos)?)?);
        }
    }
    Ok(found)
}

fn bodies(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8_lossy(&record.body).into_owned();
    records.iter().map(text).collect()
}

fn in_ms(ms: u64) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok((now + Duration::from_millis(ms)).as_millis().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_on_an_acting_slave_is_stored_by_another_master() -> Result {
    let world = World::new().await?;
    let (master, slave, other) = (world.master().await?, world.slave().await?, world.other().await?);
    send(
        &master,
        "DELAY\u{1}2\u{2}UNIQ_KEY\u{1}D\u{2}k\u{1}v\u{2}",
        "delayed",
    )
    .await?;
    let timed = format!("TIMER_DELIVER_MS\u{1}{}\u{2}UNIQ_KEY\u{1}T\u{2}", in_ms(4_000)?);
    send(&master, &timed, "timed").await?;
    send(
        &master,
        "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}PG\u{2}UNIQ_KEY\u{1}H\u{2}",
        "half",
    )
    .await?;
    in_step(&master, &slave).await?;
    master.stop().await?;
    let mut seen = (Vec::new(), Vec::new());
    let all_there = until("what was due is elsewhere", async || {
        seen = (
            bodies(&all(&other, "T").await?),
            bodies(&all(&other, "RMQ_SYS_TRANS_HALF_TOPIC").await?),
        );
        Ok(seen.0.len() >= 2 && seen.1 == ["half"])
    });
    all_there.await.with_context(|| format!("seen: {seen:?}"))?;
    let mut delivered = all(&other, "T").await?;
    delivered.sort_by_key(|record| record.body.clone());
    assert_eq!(bodies(&delivered), ["delayed", "timed"], "each once, at once");
    assert_eq!(delivered[0].property("k"), Some("v"), "with its properties");
    assert_eq!(delivered[0].flag, 7, "and its flag");
    let half = all(&other, "RMQ_SYS_TRANS_HALF_TOPIC").await?.remove(0);
    assert_eq!(half.property("REAL_TOPIC"), Some("T"));
    assert_eq!(half.property("PGROUP"), Some("PG"));
    commit(&other, &half).await?;
    until("the transaction has ended there", async || {
        Ok(bodies(&all(&other, "T").await?).contains(&"half".to_owned()))
    })
    .await?;

    // The master comes back, and knows what was done meanwhile.
    let master = world.master().await?;
    send(&master, "DELAY\u{1}2\u{2}", "later").await?;
    until("the master delivers again", async || {
        Ok(!all(&master, "T").await?.is_empty())
    })
    .await?;
    assert_eq!(
        bodies(&all(&master, "T").await?),
        ["later"],
        "nothing a second time"
    );
    assert_eq!(all(&other, "T").await?.len(), 3, "nor elsewhere");
    let halves = all(&master, "RMQ_SYS_TRANS_HALF_TOPIC").await?;
    assert_eq!(halves.len(), 1, "nobody is asked about what ended elsewhere");
    master.stop().await?;
    slave.stop().await?;
    other.stop().await?;
    world.names.stop().await
}

fn pop() -> Vec<(&'static str, &'static str)> {
    vec![
        ("consumerGroup", "G"),
        ("topic", "T"),
        ("queueId", "-1"),
        ("maxMsgNums", "32"),
        ("invisibleTime", "1000"),
        ("pollTime", "0"),
        ("bornTime", "0"),
        ("initMode", "0"),
        ("expType", "TAG"),
        ("exp", "*"),
        ("order", "false"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_popped_from_an_acting_slave_and_come_again_from_another_master() -> Result {
    let world = World::new().await?;
    let (master, slave, other) = (world.master().await?, world.slave().await?, world.other().await?);
    send(&master, "UNIQ_KEY\u{1}A\u{2}", "a").await?;
    in_step(&master, &slave).await?;
    let refused = ask(&slave, Code::POP_MESSAGE, &pop()).await?;
    assert_eq!(refused.code, 14, "the master is there");
    master.stop().await?;
    let mut popped = refused;
    until("the slave acts", async || {
        popped = ask(&slave, Code::POP_MESSAGE, &pop()).await?;
        Ok(popped.code == 0)
    })
    .await?;
    assert_eq!(Record::decode(&popped.body)?.body, "a");
    until("it comes again elsewhere", async || {
        let retries = all(&other, "%RETRY%G_T").await?;
        Ok(bodies(&retries) == ["a"])
    })
    .await?;
    let again = all(&other, "%RETRY%G_T").await?.remove(0);
    assert_eq!(again.reconsume_times, 1);
    assert_eq!(again.property("ORIGIN_GROUP"), Some("G"));
    let none = ask(&slave, Code::POP_MESSAGE, &pop()).await?;
    assert_eq!(none.code, 210, "it is settled here: {:?}", none.remark);
    slave.stop().await?;
    other.stop().await?;
    world.names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_masters_refuse_waits_for_the_own_one() -> Result {
    let world = World::new().await?;
    let (master, slave, other) = (world.master().await?, world.slave().await?, world.other().await?);
    let large = "x".repeat(1_001);
    send(&master, "DELAY\u{1}1\u{2}", &large).await?;
    send(&master, "DELAY\u{1}2\u{2}", "small").await?;
    in_step(&master, &slave).await?;
    master.stop().await?;
    until("what it takes is there", async || {
        Ok(!all(&other, "T").await?.is_empty())
    })
    .await?;
    let master = world.master().await?;
    until("the master delivers the rest", async || {
        Ok(!all(&master, "T").await?.is_empty())
    })
    .await?;
    assert_eq!(bodies(&all(&master, "T").await?), [large]);
    assert_eq!(bodies(&all(&other, "T").await?), ["small"]);
    master.stop().await?;
    slave.stop().await?;
    other.stop().await?;
    world.names.stop().await
}
