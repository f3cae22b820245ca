// SPDX-License-Identifier: Apache-2.0
//! Master and slave in one process, over real sockets, with a name server between them.

#![expect(
    clippy::disallowed_methods,
    reason = "real brokers live in real time, and their logs are real files"
)]
#[path = "replication/hidden.rs"]
mod hidden;
#[path = "replication/slow.rs"]
mod slow;
#[path = "replication/strangers.rs"]
mod strangers;
#[path = "replication/tables.rs"]
mod tables;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use net::Channel;
use tempfile::TempDir;
use testkit::cluster::{Names, Node, in_step, until};
use testkit::line::request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wire::code::Code;
use wire::frame::Frame;

/// Much longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

const MASTER: [(&str, &str); 2] = [("brokerRole", "ASYNC_MASTER"), ("flushDiskType", "ASYNC_FLUSH")];
const SYNC_MASTER: [(&str, &str); 1] = [("brokerRole", "SYNC_MASTER")];
const SLAVE: [(&str, &str); 3] = [
    ("brokerRole", "SLAVE"),
    ("brokerId", "1"),
    ("slaveReadEnable", "true"),
];

/// A place for a master and one for a slave, and who knows them.
struct Pair {
    names: Names,
    dirs: (TempDir, TempDir),
}

impl Pair {
    async fn new() -> Result<Pair> {
        Ok(Pair {
            names: Names::start().await?,
            dirs: (tempfile::tempdir()?, tempfile::tempdir()?),
        })
    }

    async fn first(&self, settings: &[(&str, &str)]) -> Result<Node> {
        Node::start(&self.names, self.dirs.0.path(), settings).await
    }

    async fn second(&self, settings: &[(&str, &str)]) -> Result<Node> {
        Node::start(&self.names, self.dirs.1.path(), settings).await
    }
}

/// A client of one broker.
struct Client(Channel);

impl Client {
    async fn of(node: &Node) -> Result<Client> {
        Ok(Client(Channel::connect(node.addr, SOON).await?))
    }

    async fn ask(&self, code: Code, fields: &[(&str, &str)], body: &[u8]) -> Result<Frame> {
        Ok(self.0.call(request(code, fields, body), SOON).await?)
    }

    async fn send_with(&self, topic: &str, properties: &str, body: &str) -> Result<Frame> {
        let fields = [
            ("a", "PG"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
            ("i", properties),
        ];
        self.ask(Code::SEND_MESSAGE_V2, &fields, body.as_bytes()).await
    }

    async fn send(&self, topic: &str, body: &str) -> Result<Frame> {
        self.send_with(topic, "", body).await
    }

    async fn max_offset(&self, topic: &str) -> Result<i64> {
        let reply = self
            .ask(Code::GET_MAX_OFFSET, &[("topic", topic), ("queueId", "0")], b"")
            .await?;
        Ok(reply.ext.get("offset").unwrap_or_default().parse().unwrap_or(0))
    }

    async fn pull(&self, topic: &str, offset: i64) -> Result<Frame> {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "CG"),
            ("topic", topic),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        self.ask(Code::PULL_MESSAGE, &fields, b"").await
    }

    async fn make_group(&self, group: &str) -> Result {
        let body = format!(r#"{{"groupName":"{group}"}}"#);
        let reply = self
            .ask(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], body.as_bytes())
            .await?;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        Ok(())
    }

    async fn commit(&self, group: &str, topic: &str, offset: i64) -> Result {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", "0"),
            ("commitOffset", &offset),
        ];
        let reply = self.ask(Code::UPDATE_CONSUMER_OFFSET, &fields, b"").await?;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
        Ok(())
    }

    async fn committed(&self, group: &str, topic: &str) -> Result<Option<i64>> {
        let fields = [
            ("consumerGroup", group),
            ("topic", topic),
            ("queueId", "0"),
            ("setZeroIfNotFound", "false"),
        ];
        let reply = self.ask(Code::QUERY_CONSUMER_OFFSET, &fields, b"").await?;
        Ok(reply.ext.get("offset").map(|offset| offset.parse()).transpose()?)
    }
}

/// The files of a log, by name.
fn log_of(dir: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir.join("store/commitlog"))? {
        let path = entry?.path();
        files.push((path.file_name().unwrap_or_default().into(), std::fs::read(&path)?));
    }
    files.sort();
    Ok(files)
}

fn assert_same_log(pair: &Pair) -> Result {
    let (master, slave) = (log_of(pair.dirs.0.path())?, log_of(pair.dirs.1.path())?);
    let used = |bytes: &[u8]| {
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    };
    assert_eq!(
        master.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        slave.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for ((name, a), (_, b)) in master.iter().zip(&slave) {
        let used = used(a).max(used(b));
        assert!(a[..used] == b[..used], "{} differs", name.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_has_the_log_of_its_master_byte_for_byte() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    // More than one file.
    for i in 0..600 {
        let body = format!("{i:04}").repeat(1000);
        assert_eq!(client.send("T", &body).await?.code, 0);
    }
    in_step(&master, &slave).await?;
    let reader = Client::of(&slave).await?;
    until("the topic is known", async || {
        Ok(reader.pull("T", 0).await?.code == 0)
    })
    .await?;
    assert_eq!(reader.max_offset("T").await?, 600);
    let (here, there) = (client.pull("T", 570).await?, reader.pull("T", 570).await?);
    assert_eq!(here.body, there.body);
    assert!(!here.body.is_empty());
    slave.stop().await?;
    master.stop().await?;
    assert_same_log(&pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_was_away_goes_on_where_it_was() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let client = Client::of(&master).await?;
    for round in 0..3 {
        let slave = pair.second(&SLAVE).await?;
        client.send("T", &format!("while it is there {round}")).await?;
        in_step(&master, &slave).await?;
        slave.stop().await?;
        client.send("T", &format!("while it is away {round}")).await?;
    }
    let slave = pair.second(&SLAVE).await?;
    in_step(&master, &slave).await?;
    assert_eq!(Client::of(&slave).await?.max_offset("T").await?, 6);
    slave.stop().await?;
    master.stop().await?;
    assert_same_log(&pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_stops_in_order_leaves_nothing_that_its_slave_lacks() -> Result {
    let pair = Pair::new().await?;
    let slow = [
        ("haFlowControlEnable", "true"),
        ("maxHaTransferByteInSecond", "50000"),
    ];
    let master = pair.first(&[&MASTER[..], &slow].concat()).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    // A master waits for the slaves that follow it, not for one that is still on its way to it.
    client.send("T", "the slave is there").await?;
    in_step(&master, &slave).await?;
    let body = "x".repeat(10_000);
    for _ in 0..12 {
        assert_eq!(client.send("T", &body).await?.code, 0);
    }
    let end = master.broker.store.written();
    assert!(slave.broker.store.written() < end, "the slave is slower");
    master.stop().await?;
    assert_eq!(slave.broker.store.written(), end);
    slave.stop().await?;
    assert_same_log(&pair)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_master_says_what_became_of_a_message() -> Result {
    let pair = Pair::new().await?;
    let quick = [&SYNC_MASTER[..], &[("slaveTimeout", "300")]].concat();
    let master = pair.first(&quick).await?;
    let client = Client::of(&master).await?;
    assert_eq!(client.send("T", "alone").await?.code, 11, "SLAVE_NOT_AVAILABLE");
    assert_eq!(client.pull("T", 0).await?.code, 0, "and is seen");
    let unasked = client.send_with("T", "WAIT\u{1}false", "does not ask").await?;
    assert_eq!(unasked.code, 0);

    let slave = pair.second(&SLAVE).await?;
    until("the slave is waited for", async || {
        Ok(client.send("T", "with a slave").await?.code == 0)
    })
    .await?;
    slave.stop().await?;
    until("nobody is there", async || {
        Ok(client.send("T", "alone again").await?.code == 11)
    })
    .await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_one_replica_a_sync_master_waits_for_nobody_as_the_reference_does() -> Result {
    let pair = Pair::new().await?;
    let master = pair
        .first(&[&SYNC_MASTER[..], &[("inSyncReplicas", "1")]].concat())
        .await?;
    assert_eq!(Client::of(&master).await?.send("T", "alone").await?.code, 0);
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_stored_with_too_few_replicas_is_refused() -> Result {
    let pair = Pair::new().await?;
    let strict = [
        ("brokerRole", "SYNC_MASTER"),
        ("inSyncReplicas", "3"),
        ("minInSyncReplicas", "2"),
        ("enableAutoInSyncReplicas", "true"),
    ];
    let master = pair.first(&strict).await?;
    let client = Client::of(&master).await?;
    let refused = client.send("T", "alone").await?;
    assert_eq!(
        (refused.code, refused.remark.as_deref()),
        (1, Some("in-sync replicas not enough"))
    );
    assert_eq!(client.max_offset("T").await?, 0);
    let slave = pair.second(&SLAVE).await?;
    until("one slave is enough", async || {
        Ok(client.send("T", "with a slave").await?.code == 0)
    })
    .await?;
    slave.stop().await?;
    master.stop().await
}

/// A peer on the replication port that does what it likes.
struct Stranger(TcpStream);

impl Stranger {
    async fn at(addr: SocketAddr) -> Result<Stranger> {
        Ok(Stranger(TcpStream::connect(addr).await?))
    }

    async fn report(&mut self, offset: i64) -> Result {
        Ok(self.0.write_all(&offset.to_be_bytes()).await?)
    }

    /// One transfer: where it begins and its bytes.
    async fn transfer(&mut self) -> Result<(i64, Vec<u8>)> {
        let at = self.0.read_i64().await?;
        let mut bytes = vec![0; usize::try_from(self.0.read_i32().await?)?];
        self.0.read_exact(&mut bytes).await?;
        Ok((at, bytes))
    }

    /// Everything until the other side ends it.
    async fn until_cut(&mut self) -> Result<usize> {
        let mut rest = Vec::new();
        match tokio::time::timeout(SOON, self.0.read_to_end(&mut rest)).await? {
            Ok(count) => Ok(count),
            // A reset is an end too.
            Err(_) => Ok(rest.len()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_slave_does_not_confirm_is_late_and_not_seen_before() -> Result {
    let pair = Pair::new().await?;
    let master = pair
        .first(&[&SYNC_MASTER[..], &[("slaveTimeout", "700")]].concat())
        .await?;
    let client = Client::of(&master).await?;
    client.send("T", "makes the topic").await?;
    let mut lazy = Stranger::at(master.replication).await?;
    lazy.report(0).await?;
    // It has what it was sent, and says so once.
    let (at, bytes) = lazy.transfer().await?;
    lazy.report(at + bytes.len() as i64).await?;
    let begun = Instant::now();
    let (late, seen) = tokio::join!(client.send("T", "late"), async {
        let other = Client::of(&master).await?;
        until("it is stored", async || {
            Ok(master.broker.store.written().0 > at + bytes.len() as i64)
        })
        .await?;
        anyhow::Ok((other.max_offset("T").await?, begun.elapsed()))
    });
    assert_eq!(late?.code, 12, "FLUSH_SLAVE_TIMEOUT");
    assert!(begun.elapsed() >= Duration::from_millis(700));
    let (max, when) = seen?;
    assert!(
        max == 1 || when >= Duration::from_millis(700),
        "seen after {when:?}: {max}"
    );
    until("it is seen", async || Ok(client.max_offset("T").await? == 2)).await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_confirms_what_it_was_not_sent() -> Result {
    let pair = Pair::new().await?;
    let master = pair
        .first(&[&SYNC_MASTER[..], &[("slaveTimeout", "400")]].concat())
        .await?;
    let client = Client::of(&master).await?;
    client.send("T", "makes the topic").await?;
    let end = master.broker.store.written().0;
    for said in [end + 1, i64::MAX, -1, i64::MIN] {
        let mut boaster = Stranger::at(master.replication).await?;
        boaster.report(said).await?;
        assert_eq!(boaster.until_cut().await?, 0, "{said}");
    }
    // One that begins well.
    let mut boaster = Stranger::at(master.replication).await?;
    boaster.report(end).await?;
    boaster.report(end + 1_000_000).await?;
    let answer = client.send("T", "is not confirmed").await?.code;
    assert!(answer == 11 || answer == 12, "{answer}");
    boaster.until_cut().await?;
    let mut other = Stranger::at(master.replication).await?;
    other
        .0
        .write_all(b"GET / HTTP/1.1\r\nHost: master\r\n\r\n")
        .await?;
    other.until_cut().await?;
    assert_eq!(client.send("T", "the others go on").await?.code, 11);
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_writes_nothing_of_its_own() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&slave).await?;
    let refused = client.send("T", "to a slave").await?;
    let busy = "[REJECTREQUEST]system busy, start flow control for a while";
    assert_eq!((refused.code, refused.remark.as_deref()), (2, Some(busy)));
    assert_eq!(client.ask(Code::END_TRANSACTION, &[], b"").await?.code, 11);
    let topic = [
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("order", "false"),
    ];
    assert_eq!(
        client.ask(Code::UPDATE_AND_CREATE_TOPIC, &topic, b"").await?.code,
        1
    );
    assert_eq!(slave.broker.store.written().0, 0);
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_follow_the_master_also_when_it_was_away() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let (here, there) = (Client::of(&master).await?, Client::of(&slave).await?);
    here.send("T", "a").await?;
    here.send("T", "b").await?;
    here.send("Gone", "a").await?;
    here.make_group("CG").await?;
    here.commit("CG", "T", 1).await?;
    until("the offset is there", async || {
        Ok(there.committed("CG", "T").await? == Some(1))
    })
    .await?;
    until("both topics are there", async || {
        Ok(there.pull("Gone", 0).await?.code == 0)
    })
    .await?;
    assert_eq!(
        here.ask(Code::DELETE_TOPIC_IN_BROKER, &[("topic", "Gone")], b"")
            .await?
            .code,
        0
    );
    until("the topic is gone", async || {
        Ok(there.pull("Gone", 0).await?.code == 17)
    })
    .await?;
    until("its messages are gone", async || {
        Ok(there.max_offset("Gone").await? == 0)
    })
    .await?;

    master.stop().await?;
    let master = pair.first(&MASTER).await?;
    let here = Client::of(&master).await?;
    here.commit("CG", "T", 2).await?;
    let begun = Instant::now();
    until("the offset is there again", async || {
        Ok(there.committed("CG", "T").await? == Some(2))
    })
    .await?;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // A topic that is made anew between two looks brings no old offset with it.
    here.send("Again", "a").await?;
    here.commit("CG", "Again", 1).await?;
    until("the offset is there", async || {
        Ok(there.committed("CG", "Again").await? == Some(1))
    })
    .await?;
    here.ask(Code::DELETE_TOPIC_IN_BROKER, &[("topic", "Again")], b"")
        .await?;
    here.send("Again", "b").await?;
    until("the offset is gone", async || {
        Ok(there.committed("CG", "Again").await?.is_none())
    })
    .await?;
    until("the message is there", async || {
        Ok(there.max_offset("Again").await? == 1)
    })
    .await?;
    // Also back, as after a reset.
    here.commit("CG", "T", 0).await?;
    until("the offset went back", async || {
        Ok(there.committed("CG", "T").await? == Some(0))
    })
    .await?;
    slave.stop().await?;
    let slave = pair.second(&SLAVE).await?;
    let there = Client::of(&slave).await?;
    assert_eq!(there.committed("CG", "T").await?, Some(0), "kept");
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_made_master_goes_on_and_the_old_master_follows_it() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    client.make_group("CG").await?;
    for i in 0..5 {
        client.send("T", &i.to_string()).await?;
    }
    client.send_with("T", "DELAY\u{1}2", "after five seconds").await?;
    let at = (chrono_ms() + 4_000).to_string();
    client
        .send_with("T", &format!("TIMER_DELIVER_MS\u{1}{at}"), "at a time")
        .await?;
    client.commit("CG", "T", 3).await?;
    let there = Client::of(&slave).await?;
    until("the offset is there", async || {
        Ok(there.committed("CG", "T").await? == Some(3))
    })
    .await?;
    in_step(&master, &slave).await?;
    master.stop().await?;
    slave.stop().await?;

    let promoted = pair.second(&MASTER).await?;
    let demoted = pair.first(&SLAVE).await?;
    let client = Client::of(&promoted).await?;
    assert_eq!(client.committed("CG", "T").await?, Some(3));
    let sent = client.send("T", "by the new master").await?;
    let offset: i64 = sent.ext.get("queueOffset").unwrap_or_default().parse()?;
    assert!(offset >= 5, "{offset}");
    until("what waited is delivered", async || {
        Ok(client.max_offset("T").await? == 8)
    })
    .await?;
    in_step(&promoted, &demoted).await?;
    let reader = Client::of(&demoted).await?;
    until("the old master has it all", async || {
        Ok(reader.max_offset("T").await? == 8)
    })
    .await?;
    // Nothing comes twice.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(client.max_offset("T").await?, 8);
    demoted.stop().await?;
    promoted.stop().await?;
    assert_same_log(&pair)
}

/// Messages have one size here: a log of other messages goes on where a record begins, and nothing looks wrong.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_master_with_messages_of_its_own_does_not_go_on_behind_them() -> Result {
    strangers::listen();
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    client.send("T", "both have 1").await?;
    in_step(&master, &slave).await?;
    slave.stop().await?;
    client.send("T", "one has 0 1").await?;
    master.stop().await?;

    let promoted = pair.second(&MASTER).await?;
    let begun_at = strangers::mark();
    let client = Client::of(&promoted).await?;
    for n in 0..3 {
        client.send("T", &format!("other has {n}")).await?;
    }
    let demoted = pair.first(&SLAVE).await?;
    let end = demoted.broker.store.written();
    let reader = Client::of(&demoted).await?;
    // It comes again and again, and goes each time when it sees that the logs differ.
    let (mut said, mut times) = (serde_json::Value::from(0), 0);
    until("the slave has come three times", async || {
        let reply = reader.ask(Code::GET_BROKER_HA_STATUS, &[], b"").await?;
        let status: serde_json::Value = serde_json::from_slice(&reply.body)?;
        let now = &status["haClientRuntimeInfo"]["lastWriteTimestamp"];
        if *now != said {
            (said, times) = (now.clone(), times + 1);
        }
        Ok(times > 2)
    })
    .await?;
    assert_eq!(demoted.broker.store.written(), end);
    let name = format!("master={} ", promoted.replication);
    let lines = strangers::lines_since(begun_at, &[&name, "are not the same"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    demoted.stop().await?;
    promoted.stop().await
}

fn chrono_ms() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_replication_can_be_asked() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    client.send("T", "a").await?;
    in_step(&master, &slave).await?;
    let status = async |node: &Node| -> Result<serde_json::Value> {
        let reply = Client::of(node)
            .await?
            .ask(Code::GET_BROKER_HA_STATUS, &[], b"")
            .await?;
        Ok(serde_json::from_slice(&reply.body)?)
    };
    until("the slave has said how far it is", async || {
        Ok(status(&master).await?["haConnectionInfo"][0]["diff"] == 0)
    })
    .await?;
    let here = status(&master).await?;
    assert_eq!(here["master"], true);
    assert_eq!(here["inSyncSlaveNums"], 1);
    assert_eq!(here["haConnectionInfo"][0]["inSync"], true);
    assert_eq!(here["masterCommitLogMaxOffset"], master.broker.store.written().0);
    let table = client.ask(Code::GET_BROKER_RUNTIME_INFO, &[], b"").await?;
    let table: serde_json::Value = serde_json::from_slice(&table.body)?;
    assert_eq!(table["table"]["slaveLagBytes_1"], "0");
    assert_eq!(table["table"]["slaveLagMs_1"], "0");
    let there = status(&slave).await?;
    assert_eq!(there["master"], false);
    assert_eq!(
        there["haClientRuntimeInfo"]["masterAddr"],
        master.replication.to_string()
    );
    assert_eq!(
        there["haClientRuntimeInfo"]["maxOffset"],
        slave.broker.store.written().0
    );
    slave.stop().await?;
    master.stop().await
}

/// A slave with these settings follows a master with those, or does not within a second.
async fn expect_follows(expected: bool, of_master: &[(&str, &str)], of_slave: &[(&str, &str)]) -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&[&SYNC_MASTER[..], of_master].concat()).await?;
    let slave = pair.second(&[&SLAVE[..], of_slave].concat()).await?;
    let client = Client::of(&master).await?;
    let is_followed = async || Ok(client.send("T", "a").await?.code == 0);
    if expected {
        until("the slave is waited for", is_followed).await?;
    } else {
        for _ in 0..100 {
            assert!(!is_followed().await?, "{of_master:?} {of_slave:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_has_the_secret_follows_and_no_other_does() -> Result {
    let secret = [("haSecret", "0123456789abcdef")];
    let other = [("haSecret", "0123456789abcdeF")];
    let lax = [("haSecret", "0123456789abcdef"), ("haAllowUnproven", "true")];
    expect_follows(true, &secret, &secret).await?;
    expect_follows(false, &secret, &other).await?;
    expect_follows(false, &secret, &[]).await?;
    expect_follows(false, &[], &secret).await?;
    expect_follows(true, &[], &lax).await?;
    // Replication may have a network of its own.
    let elsewhere = [
        &secret[..],
        &[("bindAddress", "0.0.0.0"), ("brokerIP2", "127.0.0.3")],
    ]
    .concat();
    expect_follows(true, &elsewhere, &secret).await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_strangers_get_no_message_and_confirm_none() -> Result {
    let pair = Pair::new().await?;
    let settings = [("brokerRole", "SYNC_MASTER"), ("haSecret", "0123456789abcdef")];
    let master = pair.first(&settings).await?;
    let client = Client::of(&master).await?;
    client.send("T", "makes the topic").await?;
    for said in [0, master.broker.store.written().0, -1, -77] {
        let mut stranger = Stranger::at(master.replication).await?;
        stranger.report(said).await?;
        assert_eq!(stranger.until_cut().await?, 0, "{said}");
        assert_eq!(client.send("T", "nobody is there").await?.code, 11);
    }
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn slaves_of_others_are_refused_by_name() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&SYNC_MASTER).await?;
    let client = Client::of(&master).await?;
    let hello = async |name: &str, cluster: &str, id: &str| {
        let fields = [
            ("brokerName", name),
            ("clusterName", cluster),
            ("brokerId", id),
            ("challenge", "c"),
        ];
        client.ask(Code::REPLICA_HELLO, &fields, b"").await
    };
    assert_eq!(hello("broker-a", "DefaultCluster", "1").await?.code, 0);
    let refused = hello("broker-b", "DefaultCluster", "1").await?;
    assert_eq!(
        refused.remark.as_deref(),
        Some(
            "this is broker broker-a of cluster DefaultCluster, and not the master of broker-b of cluster DefaultCluster"
        )
    );
    assert_ne!(hello("broker-a", "Other", "1").await?.code, 0);
    let twice = hello("broker-a", "DefaultCluster", "0").await?;
    assert_eq!(twice.remark.as_deref(), Some("both brokers have the brokerId 0"));
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_is_ahead_of_its_master_is_turned_away() -> Result {
    let pair = Pair::new().await?;
    let ahead = pair.second(&MASTER).await?;
    for _ in 0..20 {
        Client::of(&ahead).await?.send("T", "not of the master").await?;
    }
    ahead.stop().await?;
    let master = pair.first(&SYNC_MASTER).await?;
    let client = Client::of(&master).await?;
    client.send("T", "a").await?;
    let slave = pair.second(&SLAVE).await?;
    let before = slave.broker.store.written();
    for _ in 0..5 {
        assert_eq!(client.send("T", "a").await?.code, 11);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(slave.broker.store.written(), before);
    slave.stop().await?;
    master.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_masters_of_one_name_are_told() -> Result {
    let pair = Pair::new().await?;
    let first = pair.first(&MASTER).await?;
    let second = pair.second(&MASTER).await?;
    let client = Client::of(&first).await?;
    let other = async || -> Result<serde_json::Value> {
        let table = client.ask(Code::GET_BROKER_RUNTIME_INFO, &[], b"").await?;
        let table: serde_json::Value = serde_json::from_slice(&table.body)?;
        Ok(table["table"]["otherMaster"].clone())
    };
    until("the first one hears of the second", async || {
        Ok(other().await? == second.addr.to_string())
    })
    .await?;
    second.stop().await?;
    until("and that it is gone", async || Ok(other().await?.is_null())).await?;
    first.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_keeps_a_new_topic_as_its_master_does_from_the_first_message_on() -> Result {
    let pair = Pair::new().await?;
    let master = pair.first(&SYNC_MASTER).await?;
    let slave = pair.second(&SLAVE).await?;
    let client = Client::of(&master).await?;
    until("the slave is there", async || {
        Ok(client.send("T", "a").await?.code == 0)
    })
    .await?;
    let mut batch = Vec::new();
    for body in [&b"one"[..], b"two", b"three"] {
        batch.extend_from_slice(&(22 + body.len() as i32).to_be_bytes());
        batch.extend_from_slice(&[0; 12]);
        batch.extend_from_slice(&(body.len() as i32).to_be_bytes());
        batch.extend_from_slice(body);
        batch.extend_from_slice(&[0; 2]);
    }
    for round in 0..10 {
        let name = format!("Batches{round}");
        let topic = [
            ("topic", name.as_str()),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
            ("attributes", "+queue.type=BatchCQ"),
        ];
        assert_eq!(
            client.ask(Code::UPDATE_AND_CREATE_TOPIC, &topic, b"").await?.code,
            0
        );
        let fields = [
            ("a", "PG"),
            ("b", name.as_str()),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
            ("i", "UNIQ_KEY\u{1}1"),
            ("m", "true"),
        ];
        let sent = client.ask(Code::SEND_BATCH_MESSAGE, &fields, &batch).await?;
        // The slave asked for the topic before it took the message.
        assert_eq!((sent.code, sent.remark.as_deref()), (0, None));
        assert_eq!(Client::of(&slave).await?.max_offset(&name).await?, 3);
    }
    slave.stop().await?;
    master.stop().await?;
    let promoted = pair.second(&MASTER).await?;
    let client = Client::of(&promoted).await?;
    for round in 0..10 {
        let pulled = client.pull(&format!("Batches{round}"), 0).await?;
        assert_eq!(pulled.code, 0);
        assert!(pulled.body.windows(5).any(|part| part == b"three"));
    }
    promoted.stop().await
}
