// SPDX-License-Identifier: Apache-2.0
//! Brokers of one name that stand in for each other (`enableSlaveActingMaster`), in one process, over real sockets.

#![expect(
    clippy::disallowed_methods,
    reason = "real brokers live in real time, and their files are real files"
)]
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use net::Channel;
use tempfile::TempDir;
use testkit::cluster::{Names, Node, in_step, until};
use testkit::line::request;
use wire::Str;
use wire::body::queue::{LockBatch, LockedQueues, MessageQueue};
use wire::body::stats::KvTable;
use wire::body::topic_route::TopicRoute;
use wire::code::Code;
use wire::fastjson;
use wire::frame::Frame;

/// Much longer than anything here takes.
const SOON: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

const ACTING: [(&str, &str); 4] = [
    ("enableSlaveActingMaster", "true"),
    ("slaveReadEnable", "true"),
    ("syncBrokerMemberGroupPeriod", "100"),
    ("flushDiskType", "ASYNC_FLUSH"),
];
const MASTER: [(&str, &str); 1] = [("brokerRole", "ASYNC_MASTER")];
const SLAVE: [(&str, &str); 2] = [("brokerRole", "SLAVE"), ("brokerId", "1")];
const TWO: [(&str, &str); 2] = [("totalReplicas", "2"), ("brokerHeartbeatInterval", "100")];

/// A client of one server.
struct Client(Channel);

impl Client {
    async fn of(addr: std::net::SocketAddr) -> Result<Client> {
        Ok(Client(Channel::connect(addr, SOON).await?))
    }

    async fn ask(&self, code: Code, fields: &[(&str, &str)], body: &[u8]) -> Result<Frame> {
        Ok(self.0.call(request(code, fields, body), SOON).await?)
    }

    async fn good(&self, code: Code, fields: &[(&str, &str)], body: &[u8]) -> Result<Frame> {
        let reply = self.ask(code, fields, body).await?;
        anyhow::ensure!(reply.code == 0, "{code:?}: {} {:?}", reply.code, reply.remark);
        Ok(reply)
    }

    async fn send(&self, topic: &str, body: &str) -> Result {
        let fields = [
            ("a", "PG"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
        ];
        self.good(Code::SEND_MESSAGE_V2, &fields, body.as_bytes()).await?;
        Ok(())
    }

    async fn make_group(&self, group: &str) -> Result {
        let body = format!(r#"{{"groupName":"{group}"}}"#);
        self.good(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[], body.as_bytes())
            .await?;
        Ok(())
    }

    async fn commit(&self, offset: i64) -> Result {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "CG"),
            ("topic", "T"),
            ("queueId", "0"),
            ("commitOffset", &offset),
        ];
        self.good(Code::UPDATE_CONSUMER_OFFSET, &fields, b"").await?;
        Ok(())
    }

    async fn committed(&self) -> Result<Option<i64>> {
        let fields = [
            ("consumerGroup", "CG"),
            ("topic", "T"),
            ("queueId", "0"),
            ("setZeroIfNotFound", "false"),
        ];
        let reply = self.ask(Code::QUERY_CONSUMER_OFFSET, &fields, b"").await?;
        Ok(reply.ext.get("offset").map(|offset| offset.parse()).transpose()?)
    }

    /// Whether this broker deals with what is due.
    async fn is_active(&self) -> Result<bool> {
        let reply = self.good(Code::GET_BROKER_RUNTIME_INFO, &[], b"").await?;
        let info: KvTable = fastjson::from_slice(&reply.body)?;
        Ok(info
            .table
            .get("brokerActive")
            .is_some_and(|active| active == "true"))
    }

    async fn lock(&self, client: &str, only_this_broker: bool) -> Result<usize> {
        let batch = LockBatch {
            client_id: client.into(),
            consumer_group: "CG".into(),
            mq_set: vec![MessageQueue {
                broker_name: "broker-a".into(),
                queue_id: 0,
                topic: "T".into(),
            }],
            only_this_broker,
        };
        let reply = self
            .good(Code::LOCK_BATCH_MQ, &[], &fastjson::to_vec(&batch))
            .await?;
        let locked: LockedQueues = fastjson::from_slice(&reply.body)?;
        if !locked.lock_ok_mq_set.is_empty() {
            return Ok(1);
        }
        Ok(0)
    }

    /// Addresses by id, and what may be done with the topic.
    async fn route(&self, topic: &str) -> Result<(BTreeMap<i64, Str>, i32)> {
        let reply = self
            .good(Code::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], b"")
            .await?;
        let route: TopicRoute = fastjson::from_slice(&reply.body)?;
        let addrs = route.broker_datas.first().map(|data| data.broker_addrs.clone());
        let perm = route.queue_datas.first().map(|queue| queue.perm);
        Ok((addrs.unwrap_or_default(), perm.unwrap_or_default()))
    }
}

/// What a killed broker left behind, for the one that comes after it.
fn copy(from: &Path) -> Result<TempDir> {
    fn copy_into(from: &Path, to: &Path) -> Result {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let to = to.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => copy_into(&entry.path(), &to)?,
                false => drop(std::fs::copy(entry.path(), to)?),
            }
        }
        Ok(())
    }
    let copy = tempfile::tempdir()?;
    copy_into(from, copy.path())?;
    Ok(copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_takes_the_place_of_a_master_that_was_killed() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let master = Node::start_apart(&names, dirs.0.path(), &[&MASTER[..], &ACTING].concat()).await?;
    names.knows(master.addr).await?;
    let slave = Node::start(&names, dirs.1.path(), &[&SLAVE[..], &ACTING].concat()).await?;
    Client::of(master.addr).await?.send("T", "m").await?;
    in_step(&master, &slave).await?;
    let (of_names, of_slave) = (Client::of(names.addr).await?, Client::of(slave.addr).await?);
    until("the topic is known", async || {
        Ok(of_names
            .ask(Code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "T")], b"")
            .await?
            .code
            == 0)
    })
    .await?;
    assert!(!of_slave.is_active().await?, "while there is a master");
    let (addrs, perm) = of_names.route("T").await?;
    assert_eq!((addrs.len(), perm), (2, 6));

    let killed = Instant::now();
    master.kill();
    until("the slave acts", async || of_slave.is_active().await).await?;
    assert!(
        killed.elapsed() < Duration::from_secs(10),
        "{:?}",
        killed.elapsed()
    );
    let (addrs, perm) = of_names.route("T").await?;
    assert_eq!(addrs, BTreeMap::from([(0, Str::from(slave.addr.to_string()))]));
    assert_eq!(perm, 4, "nobody sends to it");
    slave.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_a_name_server_is_enough_for_a_slave() -> Result {
    let names = Names::start_with("supportActingMaster=true\nnotifyMinBrokerIdChanged=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    // Nobody asks by itself.
    let rarely = [&ACTING[..], &[("syncBrokerMemberGroupPeriod", "3600000")]].concat();
    let master = Node::start(&names, dirs.0.path(), &[&MASTER[..], &rarely].concat()).await?;
    let slave = Node::start(&names, dirs.1.path(), &[&SLAVE[..], &rarely].concat()).await?;
    let of_slave = Client::of(slave.addr).await?;
    master.stop().await?;
    until("the slave acts", async || of_slave.is_active().await).await?;
    slave.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_comes_back_has_what_groups_committed_meanwhile() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (of_master, of_slave) = (
        [&MASTER[..], &ACTING, &TWO].concat(),
        [&SLAVE[..], &ACTING, &TWO].concat(),
    );
    let master = Node::start_apart(&names, dirs.0.path(), &of_master).await?;
    names.knows(master.addr).await?;
    let client = Client::of(master.addr).await?;
    client.make_group("CG").await?;
    for i in 0..5 {
        client.send("T", &i.to_string()).await?;
    }
    client.commit(2).await?;
    let slave = Node::start(&names, dirs.1.path(), &of_slave).await?;
    let reader = Client::of(slave.addr).await?;
    until("the slave has the offset", async || {
        Ok(reader.committed().await? == Some(2))
    })
    .await?;
    // The journal has it then.
    until("the offset outlives a kill", async || {
        Ok(std::fs::metadata(dirs.0.path().join("store/config/consumerOffset.json")).is_ok())
    })
    .await?;
    drop(client);
    master.kill();
    until("the slave acts", async || reader.is_active().await).await?;
    reader.commit(5).await?;

    let again = copy(dirs.0.path())?;
    let master = Node::start(&names, again.path(), &of_master).await?;
    let client = Client::of(master.addr).await?;
    assert_eq!(
        client.committed().await?,
        Some(5),
        "from its first moment in service on"
    );
    assert!(client.is_active().await?);
    until("the slave only follows", async || Ok(!reader.is_active().await?)).await?;
    client.commit(4).await?;
    until("the slave follows again", async || {
        let offset = reader.committed().await?;
        anyhow::ensure!(offset != Some(2), "the master's old offset came to the slave");
        Ok(offset == Some(4))
    })
    .await?;
    client.send("T", "goes on").await?;
    in_step(&master, &slave).await?;
    slave.stop().await?;
    master.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_no_name_server_tells_of_its_slave_waits_for_it() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let of_slave = [&SLAVE[..], &ACTING, &TWO].concat();
    let of_master = [&MASTER[..], &ACTING, &TWO].concat();
    let master = Node::start_apart(&names, dirs.0.path(), &of_master).await?;
    names.knows(master.addr).await?;
    let client = Client::of(master.addr).await?;
    client.make_group("CG").await?;
    for i in 0..5 {
        client.send("T", &i.to_string()).await?;
    }
    client.commit(2).await?;
    let slave = Node::start(&names, dirs.1.path(), &of_slave).await?;
    let reader = Client::of(slave.addr).await?;
    until("the slave has the offset", async || {
        Ok(reader.committed().await? == Some(2))
    })
    .await?;
    drop(client);
    master.kill();
    until("the slave acts", async || reader.is_active().await).await?;
    reader.commit(5).await?;
    drop(reader);
    slave.stop().await?;
    names.stop().await?;

    // Everything was off; the slave comes a little later.
    let names = Names::start_with("supportActingMaster=true").await?;
    let again = copy(dirs.0.path())?;
    let patient = [&of_master[..], &[("brokerHeartbeatInterval", "5000")]].concat();
    let master = Node::start_apart(&names, again.path(), &patient).await?;
    let early = tokio::time::timeout(Duration::from_millis(300), names.knows(master.addr)).await;
    assert!(early.is_err(), "nobody is there yet");
    let slave = Node::start(&names, dirs.1.path(), &of_slave).await?;
    names.knows(master.addr).await?;
    let client = Client::of(master.addr).await?;
    assert_eq!(client.committed().await?, Some(5));
    slave.stop().await?;
    master.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_that_comes_back_knows_what_the_one_that_acted_knows() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?, tempfile::tempdir()?);
    let three = [
        &ACTING[..],
        &[("totalReplicas", "3"), ("brokerHeartbeatInterval", "100")],
    ]
    .concat();
    let of_first = [&SLAVE[..], &three].concat();
    let of_second = [&SLAVE[..], &three, &[("brokerId", "2")]].concat();
    let master = Node::start_apart(&names, dirs.0.path(), &[&MASTER[..], &three].concat()).await?;
    names.knows(master.addr).await?;
    let client = Client::of(master.addr).await?;
    client.make_group("CG").await?;
    for i in 0..5 {
        client.send("T", &i.to_string()).await?;
    }
    client.commit(2).await?;
    let first = Node::start(&names, dirs.1.path(), &of_first).await?;
    let second = Node::start(&names, dirs.2.path(), &of_second).await?;
    for slave in [&first, &second] {
        let reader = Client::of(slave.addr).await?;
        until("the slave has the offset", async || {
            Ok(reader.committed().await? == Some(2))
        })
        .await?;
    }
    first.stop().await?;
    drop(client);
    master.kill();
    let reader = Client::of(second.addr).await?;
    until("the second acts", async || reader.is_active().await).await?;
    reader.commit(5).await?;

    let first = Node::start(&names, dirs.1.path(), &of_first).await?;
    let of_first = Client::of(first.addr).await?;
    assert_eq!(
        of_first.committed().await?,
        Some(5),
        "from its first moment in service on"
    );
    until("the first acts", async || {
        Ok(of_first.is_active().await? && !reader.is_active().await?)
    })
    .await?;
    first.stop().await?;
    second.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_is_registered_when_it_follows() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let both = [&ACTING[..], &TWO].concat();
    let master = Node::start(&names, dirs.0.path(), &[&MASTER[..], &both].concat()).await?;
    let secret = [("haSecret", "0123456789abcdef")];
    // A master that it cannot follow.
    let slave = Node::start_apart(&names, dirs.1.path(), &[&SLAVE[..], &both, &secret].concat()).await?;
    let of_master = Client::of(master.addr).await?;
    let unknown = tokio::time::timeout(Duration::from_millis(1500), names.knows(slave.addr)).await;
    assert!(unknown.is_err(), "it is in service, and follows nobody");
    slave.kill();
    let dir = tempfile::tempdir()?;
    let slave = Node::start(&names, dir.path(), &[&SLAVE[..], &both].concat()).await?;
    let status = of_master.good(Code::GET_BROKER_HA_STATUS, &[], b"").await?;
    assert!(String::from_utf8_lossy(&status.body).contains("slaveAckOffset"));
    slave.stop().await?;
    master.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_says_where_its_log_is() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let master = Node::start(&names, dirs.0.path(), &[&MASTER[..], &ACTING].concat()).await?;
    let slave = Node::start(&names, dirs.1.path(), &[&SLAVE[..], &ACTING].concat()).await?;
    let (of_master, of_slave) = (Client::of(master.addr).await?, Client::of(slave.addr).await?);
    let said = of_master.good(Code::EXCHANGE_BROKER_HA_INFO, &[], b"").await?;
    let fields: Vec<(String, String)> = said.ext.iter().map(|(k, v)| (k.into(), v.into())).collect();
    let expected = [
        ("masterHaAddress", master.replication.to_string()),
        ("masterFlushOffset", "0".to_owned()),
        ("masterAddress", master.addr.to_string()),
    ];
    assert_eq!(fields, expected.map(|(k, v)| (k.to_owned(), v)));
    let said = of_slave.good(Code::EXCHANGE_BROKER_HA_INFO, &[], b"").await?;
    assert_eq!(said.ext.iter().count(), 0);

    // Nobody leads a slave away from the master that it follows.
    Client::of(master.addr).await?.send("T", "before").await?;
    in_step(&master, &slave).await?;
    let elsewhere = [
        ("masterHaAddress", "127.0.0.1:1"),
        ("masterFlushOffset", "0"),
        ("masterAddress", "127.0.0.1:1"),
    ];
    let refused = of_slave
        .ask(Code::EXCHANGE_BROKER_HA_INFO, &elsewhere, b"")
        .await?;
    assert_eq!(refused.code, 1, "{:?}", refused.remark);
    of_master.send("T", "after").await?;
    in_step(&master, &slave).await?;
    slave.stop().await?;
    master.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_secret_only_who_proves_itself_ends_the_acting_of_a_slave() -> Result {
    let names = Names::start_with("supportActingMaster=true").await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let both = [&ACTING[..], &TWO, &[("haSecret", "0123456789abcdef")]].concat();
    let of_master = [&MASTER[..], &both].concat();
    let master = Node::start_apart(&names, dirs.0.path(), &of_master).await?;
    names.knows(master.addr).await?;
    let slave = Node::start(&names, dirs.1.path(), &[&SLAVE[..], &both].concat()).await?;
    let of_slave = Client::of(slave.addr).await?;
    master.kill();
    until("the slave acts", async || of_slave.is_active().await).await?;

    // One that has no secret, on the same host.
    let dir = tempfile::tempdir()?;
    let stranger = Node::start(
        &names,
        dir.path(),
        &[("brokerName", "broker-b"), ("flushDiskType", "ASYNC_FLUSH")],
    )
    .await?;
    let (log, address) = (stranger.replication.to_string(), stranger.addr.to_string());
    let said = [
        ("masterHaAddress", log.as_str()),
        ("masterFlushOffset", "0"),
        ("masterAddress", address.as_str()),
    ];
    let refused = of_slave.ask(Code::EXCHANGE_BROKER_HA_INFO, &said, b"").await?;
    assert_eq!(refused.code, 1);
    let remark = refused.remark.unwrap_or_default();
    assert!(remark.starts_with("hello to the master at "), "{remark}");
    assert!(of_slave.is_active().await?);

    let again = copy(dirs.0.path())?;
    let master = Node::start(&names, again.path(), &of_master).await?;
    until("the slave only follows", async || {
        Ok(!of_slave.is_active().await?)
    })
    .await?;
    Client::of(master.addr).await?.send("T", "m").await?;
    in_step(&master, &slave).await?;
    slave.stop().await?;
    master.stop().await?;
    stranger.stop().await?;
    names.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_strict_mode_a_queue_is_locked_by_most_or_by_nobody() -> Result {
    let names = Names::start().await?;
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let strict = [("lockInStrictMode", "true"), ("totalReplicas", "2")];
    let master = Node::start(&names, dirs.0.path(), &[&MASTER[..], &strict].concat()).await?;
    let client = Client::of(master.addr).await?;
    assert_eq!(client.lock("a", false).await?, 0, "one of two is not enough");
    assert_eq!(client.lock("b", true).await?, 1, "and nothing of it is left");
    let slave = Node::start(&names, dirs.1.path(), &[&SLAVE[..], &strict].concat()).await?;
    until("both lock it", async || Ok(client.lock("b", false).await? == 1)).await?;
    let of_slave = Client::of(slave.addr).await?;
    assert_eq!(of_slave.lock("a", true).await?, 0, "the slave knows whose it is");

    let batch = LockBatch {
        client_id: "b".into(),
        consumer_group: "CG".into(),
        mq_set: vec![MessageQueue {
            broker_name: "broker-a".into(),
            queue_id: 0,
            topic: "T".into(),
        }],
        only_this_broker: false,
    };
    client
        .good(Code::UNLOCK_BATCH_MQ, &[], &fastjson::to_vec(&batch))
        .await?;
    until("it is free on the slave too", async || {
        Ok(of_slave.lock("c", true).await? == 1)
    })
    .await?;
    assert_eq!(
        client.lock("a", false).await?,
        0,
        "the slave has locked it for another"
    );
    slave.stop().await?;
    master.stop().await?;
    names.stop().await
}
