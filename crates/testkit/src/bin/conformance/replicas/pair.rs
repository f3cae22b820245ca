// SPDX-License-Identifier: Apache-2.0
//! A master and a slave with one name server, and what both can be asked.

use super::logs::Log;
use super::relay::{self, Relay};
use anyhow::{Context as _, bail, ensure};
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Ports, Program, Server};
use wire::body::group::SubscriptionGroupTable;
use wire::body::ha::HaRuntimeInfo;
use wire::body::stats::{DelayOffsetTable, KvTable, OffsetTable};
use wire::body::topic::TopicConfigTable;
use wire::code::{Code, ResponseCode};
use wire::fastjson;
use wire::frame::{Encoding, Frame};

/// A loaded machine copies in this time what a test sends.
const IN_STEP_WITHIN: Duration = Duration::from_secs(60);
/// What we promise for tables; the reference looks once in about 60 s.
const TABLES_WITHIN: Duration = Duration::from_secs(10);
const TABLES_OF_THE_REFERENCE_WITHIN: Duration = Duration::from_secs(150);

/// Small files, so that their borders are crossed, and a link that is given up soon.
const SETTINGS: [(&str, &str); 8] = [
    ("mappedFileSizeCommitLog", "1048576"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "2000"),
    ("maxIndexNum", "8000"),
    ("haSendHeartbeatInterval", "1000"),
    ("haHousekeepingInterval", "3000"),
    ("slaveTimeout", "1000"),
    ("slaveReadEnable", "true"),
];

/// What a master promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Promise {
    Nothing,
    /// That a slave has each message that is acknowledged.
    TwoReplicas,
}

/// Which program plays which part.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) master: &'a Program,
    pub(super) slave: &'a Program,
}

impl Parts<'_> {
    pub(super) fn name(self) -> String {
        format!("{}/{}", kind(self.master), kind(self.slave))
    }
}

pub(super) fn kind(program: &Program) -> &'static str {
    match program {
        Program::Reference(_) => "reference",
        Program::Barque(_) => "barque",
    }
}

/// One place for each, with ports that stay.
pub(super) struct Pair<'a> {
    pub(super) parts: Parts<'a>,
    pub(super) nameserver: Server,
    pub(super) relay: Relay,
    pub(super) dirs: [PathBuf; 2],
    ports: [Ports; 2],
}

/// Both running.
pub(super) struct Running {
    pub(super) master: Server,
    pub(super) slave: Server,
}

impl<'a> Pair<'a> {
    pub(super) fn new(parts: Parts<'a>, names: &Program, dir: &Path) -> anyhow::Result<Pair<'a>> {
        let ports = [Ports::free()?, Ports::free()?];
        Ok(Pair {
            parts,
            nameserver: Plan::new(names, &dir.join("names")).start_nameserver()?,
            relay: match parts.slave {
                Program::Reference(_) => Relay::before(ports[0].replication)?,
                Program::Barque(_) => Relay::to(ports[0].replication)?,
            },
            dirs: [dir.join("master"), dir.join("slave")],
            ports,
        })
    }

    pub(super) fn names(&self) -> SocketAddr {
        self.nameserver.nameserver()
    }

    pub(super) fn start(&self, promise: Promise) -> anyhow::Result<Running> {
        let master = self.start_master(promise).context("the master")?;
        let slave = self.start_slave().context("the slave")?;
        // A slave that has nothing begins at the newest file: what is sent before it is linked it may never have.
        linked(&master)?;
        Ok(Running { master, slave })
    }

    /// Where both keep their files.
    pub(super) fn places(&self) -> [&Path; 2] {
        [&self.dirs[0], &self.dirs[1]]
    }

    pub(super) fn start_master(&self, promise: Promise) -> anyhow::Result<Server> {
        self.start_master_with(promise, &[])
    }

    pub(super) fn start_master_with(
        &self,
        promise: Promise,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Server> {
        let role = match promise {
            Promise::Nothing => "ASYNC_MASTER",
            Promise::TwoReplicas => "SYNC_MASTER",
        };
        let mut plan = self.plan(self.parts.master, 0).set("brokerRole", role);
        plan = match (self.parts.master, promise) {
            (Program::Barque(_), _) => plan.set("bindAddress", "127.0.0.1"),
            // Without it the reference waits for nobody.
            (Program::Reference(_), Promise::TwoReplicas) => plan.set("inSyncReplicas", "2"),
            (Program::Reference(_), Promise::Nothing) => plan,
        };
        if let Program::Reference(_) = self.parts.slave {
            // A slave of the reference has nowhere else to learn the address: its haMasterAddress it reads too early, and then it has none.
            plan = plan.set("brokerIP2", &relay::HOST.to_string());
        }
        with(plan, settings).start_broker()
    }

    pub(super) fn start_slave(&self) -> anyhow::Result<Server> {
        self.start_slave_with(&[])
    }

    pub(super) fn start_slave_with(&self, settings: &[(&str, &str)]) -> anyhow::Result<Server> {
        let mut plan = self.plan(self.parts.slave, 1).set("brokerRole", "SLAVE");
        if let Program::Barque(_) = self.parts.slave {
            plan = plan.set("haMasterAddress", &self.relay.addr.to_string());
        }
        with(plan.set("brokerId", "1"), settings).start_broker()
    }

    fn plan(&self, program: &Program, place: usize) -> Plan {
        let plan = Plan::new(program, &self.dirs[place])
            .on(self.ports[place])
            .known_to(self.names());
        settled(plan)
    }

    /// Waits until both logs end at the same place; then compares their files. Returns how many bytes were compared.
    pub(super) fn compare(&self, running: &Running) -> anyhow::Result<u64> {
        in_step(&running.master, &running.slave)?;
        let [master, slave] = [Log::read(&self.dirs[0], 0)?, Log::read(&self.dirs[1], 0)?];
        let same = slave.same_as(&master)?;
        ensure!(
            master.end() == slave.end(),
            "the files end at {} and {}",
            master.end(),
            slave.end()
        );
        Ok(same)
    }

    pub(super) fn tables_agree(&self, running: &Running) -> anyhow::Result<()> {
        let within = match self.parts.slave {
            Program::Reference(_) => TABLES_OF_THE_REFERENCE_WITHIN,
            Program::Barque(_) => TABLES_WITHIN,
        };
        tables_agree(&running.master, &running.slave, within)
    }
}

/// With the settings that every broker here has.
pub(super) fn settled(plan: Plan) -> Plan {
    with(plan, &SETTINGS)
}

fn with(plan: Plan, settings: &[(&str, &str)]) -> Plan {
    settings
        .iter()
        .fold(plan, |plan, (key, value)| plan.set(key, value))
}

/// Waits until a slave follows.
pub(super) fn linked(master: &Server) -> anyhow::Result<()> {
    let mut line = Line::open(master.broker())?;
    eventually("the slave to follow", IN_STEP_WITHIN, || {
        Ok(!ha_status(&mut line)?.ha_connection_info.is_empty())
    })
}

pub(super) fn ha_status(line: &mut Line) -> anyhow::Result<HaRuntimeInfo> {
    table(line, Code::GET_BROKER_HA_STATUS)?.context("the broker has no state of replication")
}

/// Waits until the logs of both end at the same place.
pub(super) fn in_step(master: &Server, slave: &Server) -> anyhow::Result<()> {
    let mut ends = (0, 0);
    let mut lines = (Line::open(master.broker())?, Line::open(slave.broker())?);
    let done = eventually("the slave to be in step", IN_STEP_WITHIN, || {
        ends = (end_of(&mut lines.0)?, end_of(&mut lines.1)?);
        Ok(ends.0 == ends.1)
    });
    done.with_context(|| format!("the logs end at {} and {}", ends.0, ends.1))
}

/// Where the log of a broker ends.
pub(super) fn end_of(line: &mut Line) -> anyhow::Result<i64> {
    let info: KvTable = table(line, Code::GET_BROKER_RUNTIME_INFO)?.unwrap_or_default();
    Ok(info
        .table
        .get("commitLogMaxOffset")
        .context("no end of the log")?
        .parse()?)
}

/// What follows from the requests that a slave of the reference makes.
#[derive(Default)]
struct Tables {
    topics: TopicConfigTable,
    groups: SubscriptionGroupTable,
    offsets: OffsetTable,
    delays: DelayOffsetTable,
}

impl Tables {
    fn of(server: &Server) -> anyhow::Result<Tables> {
        let mut line = Line::open(server.broker())?;
        Ok(Tables {
            topics: table(&mut line, Code::GET_ALL_TOPIC_CONFIG)?.unwrap_or_default(),
            groups: table(&mut line, Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG)?.unwrap_or_default(),
            offsets: table(&mut line, Code::GET_ALL_CONSUMER_OFFSET)?.unwrap_or_default(),
            delays: table(&mut line, Code::GET_ALL_DELAY_OFFSET)?.unwrap_or_default(),
        })
    }

    /// The first thing in which a slave differs. What it has besides is its own.
    fn differs(&self, slave: &Tables) -> Option<String> {
        let topics = self.topics.topic_config_table.iter();
        for (name, topic) in topics {
            let there = slave.topics.topic_config_table.get(name);
            if there != Some(topic) {
                return Some(format!("topic {name}: {topic:?}, on the slave {there:?}"));
            }
        }
        for (name, group) in &self.groups.subscription_group_table {
            let there = slave.groups.subscription_group_table.get(name);
            if there != Some(group) {
                return Some(format!("group {name}: {group:?}, on the slave {there:?}"));
            }
        }
        for (key, offsets) in &self.offsets.offset_table {
            let there = slave.offsets.offset_table.get(key);
            if there != Some(offsets) {
                return Some(format!("offsets {key}: {offsets:?}, on the slave {there:?}"));
            }
        }
        for (level, offset) in &self.delays.offset_table {
            let there = slave.delays.offset_table.get(level);
            if there != Some(offset) {
                return Some(format!("delay level {level}: {offset}, on the slave {there:?}"));
            }
        }
        None
    }
}

/// Waits until what the master's tables have is in the slave's.
pub(super) fn tables_agree(master: &Server, slave: &Server, within: Duration) -> anyhow::Result<()> {
    let mut differs = None;
    let agree = eventually("tables that agree", within, || {
        differs = Tables::of(master)?.differs(&Tables::of(slave)?);
        Ok(differs.is_none())
    });
    agree.with_context(|| differs.unwrap_or_default())?;
    let tables = Tables::of(master)?;
    ensure!(
        !tables.offsets.offset_table.is_empty(),
        "no offset was to be copied"
    );
    ensure!(
        !tables.delays.offset_table.is_empty(),
        "no delay was to be copied"
    );
    Ok(())
}

/// Reads every queue of a topic on both, without a client that would choose one. Returns how many bytes were compared.
pub(super) fn reads_agree(running: &Running, topic: &str, queues: u32) -> anyhow::Result<usize> {
    let mut compared = 0;
    for queue in 0..queues {
        let here = read(&running.master, topic, queue)?;
        let there = read(&running.slave, topic, queue).context("on the slave")?;
        ensure!(
            here == there,
            "{topic} {queue}: {} bytes, on the slave {}",
            here.len(),
            there.len()
        );
        compared += here.len();
    }
    ensure!(compared > 0, "nothing was read of {topic}");
    Ok(compared)
}

/// All records of a queue.
fn read(server: &Server, topic: &str, queue: u32) -> anyhow::Result<Vec<u8>> {
    let mut line = Line::open(server.broker())?;
    let (mut records, mut offset) = (Vec::new(), 0);
    loop {
        let answer = pull(&mut line, topic, queue, offset)?;
        match ResponseCode(answer.code) {
            ResponseCode::SUCCESS => records.extend_from_slice(&answer.body),
            ResponseCode::PULL_NOT_FOUND => return Ok(records),
            code => bail!("{topic} {queue} at {offset}: {code:?} {:?}", answer.remark),
        }
        offset = answer
            .ext
            .get("nextBeginOffset")
            .context("no next offset")?
            .parse()?;
    }
}

/// Sends a message to the first queue of a topic. Returns how that was answered.
pub(super) fn send(server: &Server, topic: &str, body: &str) -> anyhow::Result<i32> {
    let fields = [
        ("a", "PG_replicas"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
    ];
    let send = request(Code::SEND_MESSAGE_V2, &fields, body.as_bytes());
    Ok(Line::open(server.broker())?.ask(send, Encoding::Json)?.code)
}

/// Commits an offset, as a client does.
pub(super) fn commit(server: &Server, group: &str, topic: &str, offset: i64) -> anyhow::Result<()> {
    let fields = [
        ("consumerGroup", group),
        ("topic", topic),
        ("queueId", "0"),
        ("commitOffset", &*offset.to_string()),
    ];
    let commit = request(Code::UPDATE_CONSUMER_OFFSET, &fields, b"");
    let answer = Line::open(server.broker())?.ask(commit, Encoding::Json)?;
    ensure!(answer.code == 0, "commit: {} {:?}", answer.code, answer.remark);
    Ok(())
}

fn pull(line: &mut Line, topic: &str, queue: u32, offset: i64) -> anyhow::Result<Frame> {
    let fields = [
        ("consumerGroup", "CG_replicas"),
        ("topic", topic),
        ("queueId", &*queue.to_string()),
        ("queueOffset", &*offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "1"),
        ("expressionType", "TAG"),
    ];
    line.ask(request(Code::PULL_MESSAGE, &fields, b""), Encoding::Json)
}

/// A table, `None` where the broker says that it has none.
pub(super) fn table<T: DeserializeOwned>(line: &mut Line, code: Code) -> anyhow::Result<Option<T>> {
    let answer = line.ask(request(code, &[], b""), Encoding::Json)?;
    if answer.code != 0 {
        return Ok(None);
    }
    let table = fastjson::from_slice(&answer.body);
    Ok(Some(table.with_context(|| {
        format!("{code}: {}", String::from_utf8_lossy(&answer.body))
    })?))
}

/// How much the group of the stream has read, by its offsets.
pub(super) fn consumed(server: &Server) -> anyhow::Result<i64> {
    let mut line = Line::open(server.broker())?;
    let table: OffsetTable = table(&mut line, Code::GET_ALL_CONSUMER_OFFSET)?.unwrap_or_default();
    Ok(table
        .offset_table
        .get("Stream@CG_stream")
        .map_or(0, |queues| queues.values().sum()))
}
