// SPDX-License-Identifier: Apache-2.0
//! From the reference to barque and back, as `docs/migration.md` tells operators to do it, while the official client sends
//! and reads all the time: sends fail only while a switch is on, nothing that was stored is lost, and what is read of a
//! queue is in its order.

use super::Ground;
use super::logs::Log;
use super::pair::{consumed, end_of, ha_status, in_step, kind, settled};
use super::stream::Stream;
use anyhow::{Context as _, ensure};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Ports, Program, Server};
use wire::code::Code;
use wire::frame::Encoding;

/// Messages before there is a slave: several files of the log.
const BEFORE: usize = 2500;
const TABLES_WITHIN: Duration = Duration::from_secs(20);
/// The reference looks at its master's tables once in about a minute.
const REFERENCE_WITHIN: Duration = Duration::from_secs(150);
const FLOWS_WITHIN: Duration = Duration::from_secs(60);
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// So long after the last message nobody sends any more: the client asks for its route each second.
const QUIET: Duration = Duration::from_secs(2);
/// So long after a switch the client has found the new master.
const GRACE_MS: u64 = 3_000;

/// Where things are.
struct Cluster<'a> {
    ground: &'a Ground<'a>,
    nameserver: Server,
    ports: Switched,
}

/// The ports of the master, and of the slave: whoever takes over a part takes over its address.
struct Switched {
    master: Ports,
    slave: Ports,
}

pub(super) fn play(reference: &Program, barque: &Program, ground: &Ground<'_>) -> anyhow::Result<String> {
    let cluster = Cluster {
        ground,
        nameserver: Plan::new(reference, &ground.dir.join("names")).start_nameserver()?,
        ports: Switched {
            master: Ports::free()?,
            slave: Ports::free()?,
        },
    };
    let names = cluster.nameserver.nameserver();
    let master = cluster.master(reference)?;
    let mut stream = Stream::start(ground.classes, names, &ground.dir.join("stream"), &["--consume"])?;
    stream.flows(BEFORE, FLOWS_WITHIN)?;
    cluster.seed(&master, barque, reference)?;
    let slave = cluster.slave(barque)?;
    stream.flows(500, FLOWS_WITHIN)?;

    let (master, there) = cluster.switch(&mut stream, master, slave, barque)?;
    let before = consumed(&master)?;
    let kept = cluster.rejoin(&master, reference, barque)?;
    let slave = cluster.slave(reference)?;
    eventually("the tables of the slave", REFERENCE_WITHIN, || {
        Ok(consumed(&slave)? >= before)
    })?;
    stream.flows(500, FLOWS_WITHIN)?;

    let (master, back) = cluster.switch(&mut stream, master, slave, reference)?;
    let kept = [kept, cluster.rejoin(&master, barque, reference)?];
    let slave = cluster.slave(barque)?;
    stream.flows(500, FLOWS_WITHIN)?;

    stream.stop_sending()?;
    let all_read = stream.until("all to be read", FLOWS_WITHIN, |notes| {
        notes.got.len() >= notes.sent.len() && notes.check_reading().is_ok()
    });
    all_read.or_else(|late| stream.notes.check_reading().context(late.to_string()))?;
    in_step(&master, &slave)?;
    let [one, other] = [reference, barque].map(|program| Log::read(&cluster.dir(program), 0));
    let (one, other) = (one?, other?);
    let bytes = one.same_as(&other)?;
    ensure!(
        bytes == one.end() && bytes == other.end(),
        "only {bytes} bytes are on both sides"
    );
    let notes = stream.end()?;
    let is_planned = |at: &u64| [&there, &back].iter().any(|switch| switch.ms.contains(at));
    let unplanned = notes.errors.iter().find(|(at, _)| !is_planned(at));
    ensure!(
        unplanned.is_none(),
        "outside of the switches a send failed: {unplanned:?}"
    );
    slave.stop()?;
    master.stop()?;
    Ok(format!(
        "{} messages, each read in its order, {} repeated, and {} delayed ones; nobody could send for {:?} and {:?}; old \
         masters kept their logs: {kept:?}; {bytes} bytes are the same",
        notes.sent.len(),
        notes.got.len() - notes.sent.len(),
        notes.laid.len(),
        there.took,
        back.took,
    ))
}

/// When one program took over from the other.
struct Switch {
    /// Sends may fail.
    ms: RangeInclusive<u64>,
    took: Duration,
}

impl Cluster<'_> {
    /// Each program keeps its directory, whatever part it plays.
    fn dir(&self, program: &Program) -> PathBuf {
        self.ground.dir.join(kind(program))
    }

    /// Makes the slave the master. Its log and its tables are what the master's were; the master is stopped.
    fn switch(
        &self,
        stream: &mut Stream,
        master: Server,
        slave: Server,
        to: &Program,
    ) -> anyhow::Result<(Server, Switch)> {
        let begun = Instant::now();
        let from = now_ms(stream)?;
        fence(&master, stream)?;
        if let Program::Barque(_) = to {
            // A slave of the reference may take a minute, and some messages are read twice.
            tables_agree_on_reading(&master, &slave)?;
        }
        master.stop()?;
        slave.stop()?;
        let master = self.master(to)?;
        let flows = stream.flows(50, FLOWS_WITHIN);
        flows.with_context(|| format!("after the switch to {}", kind(to)))?;
        let switch = Switch {
            ms: from..=now_ms(stream)? + GRACE_MS,
            took: begun.elapsed(),
        };
        Ok((master, switch))
    }

    /// Gives a slave that has nothing the files of the log that are full: of itself it begins at the newest one.
    fn seed(&self, master: &Server, to: &Program, from: &Program) -> anyhow::Result<()> {
        let end = u64::try_from(end_of(&mut Line::open(master.broker())?)?)?;
        let [from, to] = [from, to].map(|program| self.dir(program).join("store/commitlog"));
        std::fs::create_dir_all(&to)?;
        let mut copied = 0;
        for file in std::fs::read_dir(&from)? {
            let file = file?;
            let name = file.file_name();
            let Some(base) = name.to_str().and_then(|name| name.parse::<u64>().ok()) else {
                continue;
            };
            if base + file.metadata()?.len() <= end {
                std::fs::copy(file.path(), to.join(name))?;
                copied += 1;
            }
        }
        ensure!(copied > 0, "no file is full");
        Ok(())
    }

    /// Makes an old master ready to be a slave. `true`: with the log that it has, because all of it came over before it
    /// was stopped; what a delay has delivered at the last moment may not have.
    fn rejoin(&self, master: &Server, old: &Program, new: &Program) -> anyhow::Result<bool> {
        let [old_log, new_log] = [Log::read(&self.dir(old), 0)?, Log::read(&self.dir(new), 0)?];
        if old_log.same_as(&new_log)? == old_log.end() {
            return Ok(true);
        }
        std::fs::remove_dir_all(self.dir(old).join("store"))?;
        self.seed(master, old, new)?;
        Ok(false)
    }

    fn plan(&self, program: &Program, ports: Ports) -> Plan {
        let plan = Plan::new(program, &self.dir(program));
        settled(plan).on(ports).known_to(self.nameserver.nameserver())
    }

    fn master(&self, program: &Program) -> anyhow::Result<Server> {
        let plan = self.plan(program, self.ports.master);
        let started = plan.set("brokerRole", "ASYNC_MASTER").start_broker();
        started.with_context(|| format!("{} as master", kind(program)))
    }

    fn slave(&self, program: &Program) -> anyhow::Result<Server> {
        let plan = self.plan(program, self.ports.slave);
        let started = plan
            .set("brokerRole", "SLAVE")
            .set("brokerId", "1")
            .start_broker();
        started.with_context(|| format!("{} as slave", kind(program)))
    }
}

/// Lets clients send no more (`mqadmin updateBrokerConfig -k brokerPermission -v 4`), and waits until none does, and until
/// the slave has everything.
fn fence(master: &Server, stream: &mut Stream) -> anyhow::Result<()> {
    let mut line = Line::open(master.broker())?;
    let update = request(Code::UPDATE_BROKER_CONFIG, &[], b"brokerPermission=4\n");
    let answer = line.ask(update, Encoding::Json)?;
    ensure!(
        answer.code == 0,
        "brokerPermission: {} {:?}",
        answer.code,
        answer.remark
    );
    stream.is_quiet(QUIET, QUIET_WITHIN)?;
    let mut lacks = 0;
    let has_all = eventually("the slave to have all", QUIET_WITHIN, || {
        let status = ha_status(&mut line)?;
        let slaves = status.ha_connection_info.iter();
        lacks = slaves.map(|slave| slave.diff).min().unwrap_or(i64::MAX);
        Ok(lacks == 0)
    });
    has_all.with_context(|| format!("the slave lacks {lacks}"))
}

/// Waits until the slave knows how far the group has read.
fn tables_agree_on_reading(master: &Server, slave: &Server) -> anyhow::Result<()> {
    let mut offsets = (0, 0);
    let agree = eventually("offsets that agree", TABLES_WITHIN, || {
        offsets = (consumed(master)?, consumed(slave)?);
        Ok(offsets.0 == offsets.1)
    });
    agree.with_context(|| format!("{offsets:?}"))
}

/// The time of the newest note, which is all that the notes are compared with.
fn now_ms(stream: &mut Stream) -> anyhow::Result<u64> {
    let notes = stream.look()?;
    let sent = notes.sent.iter().map(|sent| sent.at_ms).max();
    sent.context("nothing was sent")
}
