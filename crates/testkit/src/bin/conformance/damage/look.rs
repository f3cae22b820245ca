// SPDX-License-Identifier: Apache-2.0
//! What a server gives out of a store: every queue to its end, with and without a filter, every key, what was delayed, how far
//! groups are, and whether it takes what is new.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use super::fill::{Filled, GROUPS, LATER, Sent, TOPICS, key_of, tag_of};
use super::log::number_of;
use crate::kills::actor::{Letter, ask, number, send};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::line::Line;
use wire::code::Code;
use wire::record::Record;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Numbers that nobody gets.
    pub(super) lost: BTreeSet<usize>,
    /// Bodies that are not what was sent.
    pub(super) corrupt: usize,
    /// Messages whose body is right and another field is wrong.
    pub(super) odd: BTreeSet<usize>,
    /// Delivered more than once.
    pub(super) again: usize,
    /// Queues whose reader does not get to the end.
    pub(super) blocked: Vec<String>,
    /// Messages that are there and that a filter by tag, or their key, does not find.
    pub(super) untagged: BTreeSet<usize>,
    pub(super) unkeyed: BTreeSet<usize>,
    /// Offsets of groups that are others than were committed.
    pub(super) rewound: usize,
    /// Topics that are not as they were made.
    pub(super) changed: usize,
    /// What a new message met with.
    pub(super) refused: Option<String>,
}

/// One pull: what it brought as bytes, where to go on, whether that was all.
struct Pulled {
    body: Bytes,
    next: i64,
    has_some: bool,
}

fn pull(line: &mut Line, (topic, queue): (&str, u32), from: i64, tags: &str) -> anyhow::Result<Pulled> {
    let fields = [
        ("consumerGroup", "CG_look"),
        ("topic", topic),
        ("queueId", &*queue.to_string()),
        ("queueOffset", &*from.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", tags),
        ("subVersion", "1"),
        ("expressionType", "TAG"),
    ];
    let answer = ask(line, Code::PULL_MESSAGE, &fields, b"")?;
    let next = number(&answer, "nextBeginOffset").unwrap_or(from);
    Ok(Pulled {
        has_some: answer.code == 0,
        body: if answer.code == 0 {
            answer.body
        } else {
            Bytes::new()
        },
        next,
    })
}

/// Goes through a queue as a client does: on at the offset that it is told. The error says where it does not get on.
fn through(
    line: &mut Line,
    queue: (&str, u32),
    tags: &str,
    mut take: impl FnMut(&Bytes),
) -> anyhow::Result<Option<String>> {
    let fields = [("topic", queue.0), ("queueId", &*queue.1.to_string())];
    let end = number(&ask(line, Code::GET_MAX_OFFSET, &fields, b"")?, "offset").unwrap_or(0);
    let mut from = number(&ask(line, Code::GET_MIN_OFFSET, &fields, b"")?, "offset").unwrap_or(0);
    while from < end {
        let pulled = pull(line, queue, from, tags)?;
        take(&pulled.body);
        if pulled.next <= from {
            return Ok(Some(format!("{} {} at {from} of {end}", queue.0, queue.1)));
        }
        from = pulled.next;
    }
    Ok(None)
}

/// The records of an answer; `None` for one that no client can read.
fn each(body: &Bytes) -> Vec<Option<Record>> {
    let (mut all, mut rest) = (Vec::new(), body.clone());
    while !rest.is_empty() {
        let size = rest
            .first_chunk::<4>()
            .map_or(0, |size| u32::from_be_bytes(*size) as usize);
        if size < 88 || size > rest.len() {
            all.push(None);
            break;
        }
        all.push(Record::decode(&rest.split_to(size)).ok());
    }
    all
}

/// Looks at everything; what must come in its time and is not `excused` is waited for.
pub(super) fn look(
    broker: SocketAddr,
    filled: &Filled,
    excused: &BTreeSet<usize>,
    patience: Duration,
) -> anyhow::Result<Seen> {
    let mut line = Line::open(broker)?;
    let mut seen = Seen::default();
    let mut found: BTreeMap<usize, usize> = BTreeMap::new();
    for (topic, queues) in TOPICS.into_iter().filter(|(topic, _)| *topic != LATER) {
        for queue in 0..queues {
            let stuck = through(&mut line, (topic, queue), "*", |body| {
                take(body, (topic, queue), filled, (&mut seen, &mut found));
            })?;
            seen.blocked.extend(stuck);
        }
    }
    later(&mut line, filled, excused, (patience, &mut seen, &mut found))?;
    seen.again = found.values().map(|times| times - 1).sum();
    let is_lost = |number: &&usize| !found.contains_key(number);
    seen.lost = filled.sent.keys().filter(is_lost).copied().collect();
    by_tag(&mut line, filled, &mut seen)?;
    by_key(&mut line, filled, &mut seen)?;
    groups(&mut line, filled, &mut seen)?;
    new_one(&mut line, filled, &mut seen)?;
    Ok(seen)
}

type Found<'a> = (&'a mut Seen, &'a mut BTreeMap<usize, usize>);

fn take(body: &Bytes, queue: (&str, u32), filled: &Filled, (seen, found): Found<'_>) {
    for record in each(body) {
        let number = record.as_ref().and_then(|record| number_of(&record.body));
        let known = number.and_then(|number| Some((number, filled.sent.get(&number)?)));
        let (Some(record), Some((number, sent))) = (record, known) else {
            seen.corrupt += 1;
            continue;
        };
        *found.entry(number).or_default() += 1;
        if !is_as_sent(&record, queue, number, sent) {
            seen.odd.insert(number);
        }
    }
}

fn is_as_sent(record: &Record, (topic, queue): (&str, u32), number: usize, sent: &Sent) -> bool {
    let place = (&*record.topic, record.queue_id);
    // One that was delayed lies where it was delivered.
    let has_offset = sent.topic == LATER || sent.offset == Some(record.queue_offset);
    let is_itself = sent.topic == LATER || record.physical_offset.unsigned_abs() == sent.place.pos;
    place == (sent.topic, sent.queue)
        && place == (topic, queue)
        && has_offset
        && is_itself
        && record.property("KEYS") == Some(&key_of(number))
        && record.property("TAGS") == Some(tag_of(number))
}

/// What was delayed, until all of it is there or no more comes.
fn later(
    line: &mut Line,
    filled: &Filled,
    excused: &BTreeSet<usize>,
    (patience, seen, found): (Duration, &mut Seen, &mut BTreeMap<usize, usize>),
) -> anyhow::Result<()> {
    let is_wanted = |(number, sent): &(&usize, &Sent)| sent.topic == LATER && !excused.contains(number);
    let wanted: Vec<usize> = filled
        .sent
        .iter()
        .filter(is_wanted)
        .map(|(number, _)| *number)
        .collect();
    let mut begun = Instant::now();
    let mut most = 0;
    loop {
        let (mut now, mut there) = (Seen::default(), BTreeMap::new());
        for queue in 0..2 {
            let stuck = through(line, (LATER, queue), "*", |body| {
                take(body, (LATER, queue), filled, (&mut now, &mut there));
            })?;
            now.blocked.extend(stuck);
        }
        if there.len() > most {
            (most, begun) = (there.len(), Instant::now());
        }
        if wanted.iter().all(|number| there.contains_key(number)) || begun.elapsed() > patience {
            seen.corrupt += now.corrupt;
            seen.odd.extend(now.odd);
            seen.blocked.extend(now.blocked);
            found.extend(there);
            return Ok(());
        }
        sleep(Duration::from_millis(10));
    }
}

fn by_tag(line: &mut Line, filled: &Filled, seen: &mut Seen) -> anyhow::Result<()> {
    let mut found = BTreeSet::new();
    for (topic, queues) in TOPICS.into_iter().filter(|(topic, _)| *topic != LATER) {
        for queue in 0..queues {
            let stuck = through(line, (topic, queue), "A", |body| {
                let records = each(body).into_iter().flatten();
                found.extend(records.filter_map(|record| number_of(&record.body)));
            })?;
            seen.blocked.extend(stuck.map(|words| format!("{words} by tag")));
        }
    }
    for (number, sent) in &filled.sent {
        let is_there = !seen.lost.contains(number) && !seen.odd.contains(number);
        if is_there && sent.topic != LATER && tag_of(*number) == "A" && !found.contains(number) {
            seen.untagged.insert(*number);
        }
    }
    Ok(())
}

fn by_key(line: &mut Line, filled: &Filled, seen: &mut Seen) -> anyhow::Result<()> {
    for (number, sent) in filled.sent.iter().filter(|(_, sent)| !sent.is_far()) {
        let key = key_of(*number);
        let fields = [
            ("topic", sent.topic),
            ("key", &*key),
            ("maxNum", "32"),
            ("beginTimestamp", "0"),
            ("endTimestamp", "9999999999999"),
        ];
        let answer = ask(line, Code::QUERY_MESSAGE, &fields, b"")?;
        let records = each(&answer.body);
        let is_itself = |record: &Record| number_of(&record.body) == Some(*number);
        if !records.iter().flatten().any(is_itself)
            && !seen.lost.contains(number)
            && !seen.odd.contains(number)
        {
            seen.unkeyed.insert(*number);
        }
        let is_wrong = |record: &Option<Record>| record.as_ref().is_none_or(|r| number_of(&r.body).is_none());
        seen.corrupt += records.iter().filter(|record| is_wrong(record)).count();
    }
    Ok(())
}

fn groups(line: &mut Line, filled: &Filled, seen: &mut Seen) -> anyhow::Result<()> {
    for ((group, topic, queue), offset) in &filled.offsets {
        let fields = [
            ("consumerGroup", *group),
            ("topic", *topic),
            ("queueId", &*queue.to_string()),
            ("setZeroIfNotFound", "false"),
        ];
        let answer = ask(line, Code::QUERY_CONSUMER_OFFSET, &fields, b"")?;
        let found = (answer.code == 0)
            .then(|| number(&answer, "offset").ok())
            .flatten();
        seen.rewound += usize::from(found != Some(*offset));
    }
    for (topic, queues) in TOPICS {
        let answer = ask(line, Code::GET_TOPIC_CONFIG, &[("topic", topic)], b"")?;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        seen.changed += usize::from(!body.contains(&format!("\"writeQueueNums\":{queues}")));
    }
    let answer = ask(line, Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], b"")?;
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let is_gone = |group: &&&str| !body.contains(&format!("\"{group}\""));
    seen.changed += GROUPS.iter().filter(is_gone).count();
    Ok(())
}

/// A new message gets an offset and a place that no acknowledged one has that is not lost.
fn new_one(line: &mut Line, filled: &Filled, seen: &mut Seen) -> anyhow::Result<()> {
    let letter = Letter {
        topic: TOPICS[0].0,
        queue: 0,
        properties: "UNIQ_KEY\u{1}new\u{2}",
        sys_flag: 0,
        is_batch: false,
        body: b"new",
    };
    let Some((offset, _)) = send(line, &letter)? else {
        seen.refused = Some("a new message is refused".to_owned());
        return Ok(());
    };
    let has = |(number, sent): (&usize, &Sent)| {
        !seen.lost.contains(number)
            && (sent.topic, sent.queue) == (letter.topic, letter.queue)
            && sent.offset.is_some_and(|of| of >= offset)
    };
    if filled.sent.iter().any(has) {
        seen.refused = Some(format!(
            "a new message got offset {offset}, which another one has"
        ));
    }
    let mut is_there = false;
    for _ in 0..200 {
        let pulled = pull(line, (letter.topic, letter.queue), offset, "*")?;
        is_there = pulled.has_some
            && each(&pulled.body)
                .iter()
                .flatten()
                .any(|record| &*record.body == b"new");
        if is_there {
            break;
        }
        sleep(Duration::from_millis(10));
    }
    if !is_there {
        seen.refused = Some(format!("a new message at {offset} is not given out"));
    }
    Ok(())
}
