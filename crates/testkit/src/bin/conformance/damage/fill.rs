// SPDX-License-Identifier: Apache-2.0
//! A store with something of everything: several topics and queues, keys and tags, delayed messages that were delivered and some
//! that wait, timers, groups with offsets; no messages that are with pop consumers. And what was acknowledged of it.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use super::log::{Place, places};
use crate::kills::actor::{Letter, body_of, in_the_end, make_group, make_topic, must, now_ms, read, send};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::server::{Plan, Ports, Program, Server};
use wire::code::Code;

pub(super) const TOPICS: [(&str, u32); 3] = [("Orders", 4), ("Bills", 2), ("Later", 2)];
pub(super) const LATER: &str = "Later";
pub(super) const GROUPS: [&str; 2] = ["CG_read", "CG_other"];
/// What all bodies begin with.
pub(super) const SENDER: usize = 55;
const PLAIN: usize = 900;
/// Of each level.
const DELAYED: usize = 12;
const TIMERS: usize = 240;
/// What is to come after the damage waits so long.
const FAR_MS: i64 = 6_000;
const STARTS_WITHIN: Duration = Duration::from_secs(90);

/// Small files, so that there are several of each.
const SETTINGS: [(&str, &str); 8] = [
    ("mappedFileSizeCommitLog", "65536"),
    ("mappedFileSizeConsumeQueue", "2000"),
    ("mappedFileSizeTimerLog", "4180"),
    ("maxHashSlotNum", "100"),
    ("maxIndexNum", "400"),
    ("flushDelayOffsetInterval", "1000"),
    ("fileReservedTime", "720"),
    ("diskMaxUsedSpaceRatio", "95"),
];

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) is_killed: bool,
    /// Records have a CRC over everything.
    pub(super) is_sealed: bool,
    pub(super) is_compact: bool,
}

/// A message that was acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) topic: &'static str,
    pub(super) queue: u32,
    /// Nobody knows it of one that waits.
    pub(super) offset: Option<i64>,
    /// The record that it depends on.
    pub(super) place: Place,
}

impl Sent {
    pub(super) fn is_far(&self) -> bool {
        self.offset.is_none()
    }
}

/// A store that nobody runs, and what is in it.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) kind: Kind,
    pub(super) root: PathBuf,
    /// By number.
    pub(super) sent: BTreeMap<usize, Sent>,
    /// By group, topic, queue.
    pub(super) offsets: BTreeMap<(&'static str, &'static str, u32), i64>,
    /// All records of the log, ours and those of the server.
    pub(super) records: Vec<Place>,
}

pub(super) fn key_of(number: usize) -> String {
    format!("k{number}")
}

pub(super) fn tag_of(number: usize) -> &'static str {
    if number.is_multiple_of(3) { "A" } else { "B" }
}

/// How the server is run on the directory.
pub(super) fn plan(
    program: &Program,
    dir: &Path,
    kind: Kind,
    names: Option<SocketAddr>,
) -> anyhow::Result<Plan> {
    let mut plan = Plan::new(program, dir).on(Ports::free()?);
    for (key, value) in SETTINGS {
        plan = plan.set(key, value);
    }
    if matches!(program, Program::Reference(_)) {
        // It has no journal: a kill would cost it all that was committed.
        plan = plan.set("flushConsumerOffsetInterval", "1000");
    }
    if kind.is_sealed {
        plan = plan.set("enabledAppendPropCRC", "true");
    }
    if kind.is_compact {
        plan = plan.set("consumeQueueLayout", "compact");
    }
    Ok(match names {
        Some(names) => plan.known_to(names),
        None => plan,
    })
}

/// Starts it and waits until it answers; the server, or why there is none.
pub(super) fn start(program: &Program, plan: &Plan) -> anyhow::Result<Result<Server, Vec<String>>> {
    let begun = Instant::now();
    let mut server = match program {
        // It is back when it has registered; it ends with an error where it does not start.
        Program::Reference(_) => match plan.start_broker() {
            Ok(server) => server,
            Err(error) => return Ok(Err(vec![format!("{error:#}")])),
        },
        Program::Barque(_) => plan.start_unready()?,
    };
    while !answers(server.broker()) {
        if !server.is_running()? {
            return Ok(Err(server.lines_with("")?));
        }
        if begun.elapsed() > STARTS_WITHIN {
            bail!(
                "it neither begins nor ends: {:?}",
                server.lines_with("")?.last_chunk::<20>()
            );
        }
        sleep(Duration::from_millis(2));
    }
    Ok(Ok(server))
}

/// Whether it serves requests, not only takes connections.
fn answers(broker: SocketAddr) -> bool {
    let Ok(mut line) = Line::open(broker) else {
        return false;
    };
    let fields = [("topic", "TBW102")];
    crate::kills::actor::ask(&mut line, Code::GET_TOPIC_CONFIG, &fields, b"")
        .is_ok_and(|answer| answer.code == 0)
}

/// Fills a store and ends the server.
pub(super) fn fill(
    program: &Program,
    dir: &Path,
    kind: Kind,
    names: Option<SocketAddr>,
) -> anyhow::Result<Filled> {
    let plan = plan(program, dir, kind, names)?;
    let server = start(program, &plan)?.map_err(|words| anyhow::anyhow!("it does not start: {words:?}"))?;
    let mut line = Line::open(server.broker())?;
    for (topic, queues) in TOPICS {
        let made = make_topic(&mut line, topic, queues)?;
        ensure!(made.code == 0, "{:?}", made.remark);
    }
    for group in GROUPS {
        let made = make_group(&mut line, group, 16)?;
        ensure!(made.code == 0, "{:?}", made.remark);
    }
    let mut acknowledged = messages(&mut line)?;
    let offsets = commit(&mut line)?;
    let near = near_ones(&mut line)?;
    // What a checkpoint vouches for, and what came behind it.
    sleep(Duration::from_millis(1_500));
    let far_until = now_ms() + FAR_MS + 1_000;
    acknowledged.extend(far_ones(&mut line)?);
    if kind.is_killed {
        server.kill()?;
    } else {
        server.stop()?;
    }
    sleep(Duration::from_millis(
        (far_until - now_ms()).max(0).unsigned_abs(),
    ));
    acknowledged.extend(near);
    let root = dir.join("store");
    let (sent, records) = with_places(&root, acknowledged)?;
    Ok(Filled {
        kind,
        root,
        sent,
        offsets,
        records,
    })
}

type Acknowledged = Vec<(usize, &'static str, u32, Option<i64>)>;

fn letter_of(line: &mut Line, number: usize, place: (&str, u32), more: &str) -> anyhow::Result<i64> {
    let properties = format!(
        "UNIQ_KEY\u{1}{number:032X}\u{2}KEYS\u{1}{}\u{2}TAGS\u{1}{}\u{2}{more}",
        key_of(number),
        tag_of(number)
    );
    let letter = Letter {
        topic: place.0,
        queue: place.1,
        properties: &properties,
        sys_flag: 0,
        is_batch: false,
        body: &body_of(SENDER, number),
    };
    let (offset, _) = send(line, &letter)?.context("a send is refused")?;
    Ok(offset)
}

/// Orders and bills.
fn messages(line: &mut Line) -> anyhow::Result<Acknowledged> {
    (0..PLAIN)
        .map(|number| {
            let (topic, queues) = TOPICS[number % 2];
            let queue = (number / 2) as u32 % queues;
            let offset = letter_of(line, number, (topic, queue), "")?;
            Ok((number, topic, queue, Some(offset)))
        })
        .collect()
}

/// Half of each queue, and another group a little.
fn commit(line: &mut Line) -> anyhow::Result<BTreeMap<(&'static str, &'static str, u32), i64>> {
    let mut offsets = BTreeMap::new();
    for (topic, queues) in &TOPICS[..2] {
        for (queue, group, offset) in
            (0..*queues).flat_map(|queue| [(queue, GROUPS[0], 50), (queue, GROUPS[1], 7)])
        {
            let fields = [
                ("consumerGroup", group),
                ("topic", topic),
                ("queueId", &*queue.to_string()),
                ("commitOffset", &*offset.to_string()),
            ];
            must(line, Code::UPDATE_CONSUMER_OFFSET, &fields, b"")?;
            offsets.insert((group, *topic, queue), offset);
        }
    }
    Ok(offsets)
}

/// Delayed ones that are delivered before the damage: numbers from 2000 on.
fn near_ones(line: &mut Line) -> anyhow::Result<Acknowledged> {
    for number in 2000..2000 + DELAYED {
        letter_of(line, number, (LATER, number as u32 % 2), "DELAY\u{1}1\u{2}")?;
    }
    let mut there = Vec::new();
    let came = in_the_end(Duration::from_secs(30), || {
        there.clear();
        for queue in 0..2 {
            let records = read(line, (LATER, queue), 0)?;
            there.extend(records.iter().filter_map(|record| {
                let number = super::log::number_of(&record.body)?;
                Some((number, LATER, queue, Some(record.queue_offset)))
            }));
        }
        Ok(there.len() == DELAYED)
    })?;
    ensure!(came, "{} of {DELAYED} delayed messages came", there.len());
    Ok(there)
}

/// Levels and timers that are due later: numbers from 3000 on, and from 4000 on.
fn far_ones(line: &mut Line) -> anyhow::Result<Acknowledged> {
    let mut all = Acknowledged::new();
    for number in 3000..3000 + DELAYED {
        let queue = number as u32 % 2;
        letter_of(line, number, (LATER, queue), "DELAY\u{1}2\u{2}")?;
        all.push((number, LATER, queue, None));
    }
    for number in 4000..4000 + TIMERS {
        let (queue, due) = (number as u32 % 2, now_ms() + FAR_MS - (number as i64 % 3) * 1_000);
        letter_of(
            line,
            number,
            (LATER, queue),
            &format!("TIMER_DELIVER_MS\u{1}{due}\u{2}"),
        )?;
        all.push((number, LATER, queue, None));
    }
    // The server keeps them in its own time.
    sleep(Duration::from_millis(1_500));
    Ok(all)
}

/// What was acknowledged is in the log, as the files have it.
fn with_places(
    root: &Path,
    acknowledged: Acknowledged,
) -> anyhow::Result<(BTreeMap<usize, Sent>, Vec<Place>)> {
    let records = places(&root.join("commitlog"))?;
    let mut sent = BTreeMap::new();
    for (number, topic, queue, offset) in acknowledged {
        let is_it =
            |place: &&Place| place.number == Some(number) && (offset.is_none() || place.topic == topic);
        let place = records.iter().rev().find(is_it);
        let place = place
            .with_context(|| format!("message {number} is not in the log"))?
            .clone();
        ensure!(
            offset.is_none() || offset == Some(place.queue_offset),
            "message {number}: {offset:?} was acknowledged, {place:?}"
        );
        let message = Sent {
            topic,
            queue,
            offset,
            place,
        };
        sent.insert(number, message);
    }
    Ok((sent, records))
}
