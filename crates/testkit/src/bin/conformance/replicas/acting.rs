// SPDX-License-Identifier: Apache-2.0
//! A slave acts for its master, as users of the reference set it up (`enableSlaveActingMaster`): the master is killed, the
//! official client goes on reading from the slave, what is due leaves by a master of another name, and the master comes
//! back and goes on where the slave has come to.

use super::Ground;
use super::pair::{Parts, consumed, in_step, linked, settled};
use super::stream::Stream;
use anyhow::{Context as _, ensure};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::process::eventually;
use testkit::server::{Plan, Ports, Program, Server};

/// Messages before the kill.
const BEFORE: usize = 1000;
const FLOWS_WITHIN: Duration = Duration::from_secs(90);
/// The latest delayed messages are due after 10 s.
const DELIVERED_WITHIN: Duration = Duration::from_secs(90);
const TAKEN_BACK_WITHIN: Duration = Duration::from_secs(60);

/// Of both brokers of the pair.
const SETTINGS: [(&str, &str); 4] = [
    ("enableSlaveActingMaster", "true"),
    ("enableRemoteEscape", "true"),
    ("totalReplicas", "2"),
    ("brokerIP2", "127.0.0.1"),
];

struct Cluster<'a> {
    ground: &'a Ground<'a>,
    parts: Parts<'a>,
    names: SocketAddr,
    ports: [Ports; 2],
}

/// `other` is the program of the other master.
pub(super) fn play(parts: Parts<'_>, other: &Program, ground: &Ground<'_>) -> anyhow::Result<String> {
    let names = Plan::new(ground.names, &ground.dir.join("names"))
        .start_nameserver_with(&[("supportActingMaster", "true")])?;
    let cluster = Cluster {
        ground,
        parts,
        names: names.nameserver(),
        ports: [Ports::free()?, Ports::free()?],
    };
    let other = cluster.other(other)?;
    let master = cluster.master()?;
    let slave = cluster.slave()?;
    linked(&master)?;
    let stream = ground.dir.join("stream");
    let mut stream = Stream::start(ground.classes, cluster.names, &stream, &["--consume"])?;
    stream.flows(BEFORE, FLOWS_WITHIN)?;
    let laid = stream.look()?.laid.clone();
    master.kill()?;
    stream.flows(500, FLOWS_WITHIN).context("while the slave acts")?;
    let delivered = stream.until("what was delayed", DELIVERED_WITHIN, |notes| {
        laid.is_subset(&notes.late)
    });
    let late = &stream.notes.late;
    delivered.with_context(|| format!("{} of {} are missing", laid.difference(late).count(), laid.len()))?;
    let read = consumed(&slave)?;

    let master = cluster.master().context("the master is back")?;
    linked(&master)?;
    let mut taken_back = 0;
    eventually("the offsets to be taken back", TAKEN_BACK_WITHIN, || {
        taken_back = consumed(&master)?;
        Ok(taken_back >= read)
    })
    .with_context(|| format!("{taken_back} of {read}"))?;
    stream
        .flows(500, FLOWS_WITHIN)
        .context("after the master is back")?;
    stream.stop_sending()?;
    let all_read = stream.until("all to be read", DELIVERED_WITHIN, |notes| {
        notes.check_all_read().is_ok()
    });
    all_read.or_else(|late| stream.notes.check_all_read().context(late.to_string()))?;
    in_step(&master, &slave)?;
    let notes = stream.end()?;
    ensure!(
        !laid.is_empty(),
        "nothing was to be delivered while the slave acted"
    );
    slave.stop()?;
    master.stop()?;
    other.stop()?;
    Ok(format!(
        "{} messages, {} of them read twice, {} delayed ones were due while the slave acted; {} sends failed",
        notes.sent.len(),
        notes.got.len() - notes.sent.len(),
        laid.len(),
        notes.errors.len(),
    ))
}

impl Cluster<'_> {
    /// Its slave has what it acknowledges: a master of the reference that comes back fires no timer that was due meanwhile,
    /// not even one that its slave never had.
    fn master(&self) -> anyhow::Result<Server> {
        let plan = self.plan(self.parts.master, "master", self.ports[0]);
        plan.set("brokerRole", "SYNC_MASTER")
            .set("inSyncReplicas", "2")
            .start_broker()
    }

    fn slave(&self) -> anyhow::Result<Server> {
        let plan = self.plan(self.parts.slave, "slave", self.ports[1]);
        plan.set("brokerRole", "SLAVE")
            .set("brokerId", "1")
            .start_broker()
    }

    fn plan(&self, program: &Program, part: &str, ports: Ports) -> Plan {
        let plan = settled(Plan::new(program, &self.ground.dir.join(part)));
        let plan = SETTINGS
            .iter()
            .fold(plan, |plan, (key, value)| plan.set(key, value));
        plan.on(ports).known_to(self.names)
    }

    fn other(&self, program: &Program) -> anyhow::Result<Server> {
        let plan = settled(Plan::new(program, &self.ground.dir.join("other")));
        plan.named("broker-b").known_to(self.names).start_broker()
    }
}
