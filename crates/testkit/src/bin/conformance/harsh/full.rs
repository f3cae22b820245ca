// SPDX-License-Identifier: Apache-2.0
//! A store on a file system that is really full: what is still acknowledged, how soon and with which words the rest is refused, whether
//! readers go on, when messages are taken again once there is room, and what of the acknowledged is there after a restart.
//!
//! Nothing here is told by the broker alone: the file system itself says that no byte is free, and whoever sent knows what was promised.
#![expect(
    clippy::disallowed_methods,
    reason = "real processes live in real time, on real files"
)]

use super::next_door::{Caller, pull, send, words_of};
use super::small::Small;
use super::{Played, Side, clients, start_with};
use anyhow::ensure;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::server::{Plan, Ports};
use wire::api::pull::PullReply;
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::record::Record;

const CASE: &str = "full disk";
const TOPIC: &str = "Full";
const BODY: usize = 4096;
/// Messages while there is room.
const BEFORE: usize = 1000;
/// So long it is full; or until so many were acknowledged, which is more than there ever was room for.
const FULL_FOR: Duration = Duration::from_secs(20);
const ACKNOWLEDGED_MAX: usize = 15_000;
/// Whoever was refused waits a little.
const AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Once in so many sends somebody pulls.
const PULL_EVERY: u64 = 10;
/// Somebody else writes to the disk, too: what becomes free is taken again.
const FILL_EVERY: Duration = Duration::from_secs(1);
/// The reference looks at its disk for the first time after a minute, and then every ten seconds.
const JAVA_LOOKS_AFTER: Duration = Duration::from_secs(62);
const BACK_AT_MOST: Duration = Duration::from_secs(60);
/// The reference answers before its queues have all that is in its log.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// What is promised.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// Files that fit; messages are not removed for want of room, so that none may be missing.
const SETTINGS: [(&str, &str); 6] = [
    ("mappedFileSizeCommitLog", "4194304"),
    ("mappedFileSizeConsumeQueue", "20000"),
    ("maxHashSlotNum", "1000"),
    ("maxIndexNum", "4000"),
    ("timerWheelEnable", "false"),
    ("cleanFileForciblyEnable", "false"),
];

pub(super) fn play(side: &Side<'_>) -> anyhow::Result<Vec<Played>> {
    let dir = side.home.join("full");
    let Some(mut small) = Small::mount(&dir.join("store"))? else {
        return Ok(vec![Played {
            case: CASE,
            told: "SKIPPED, this host lets nobody here mount a file system (unshare -m, unshare -rm)"
                .to_owned(),
            broken: Vec::new(),
        }]);
    };
    // Only the store lies there; settings and logs of the broker have room.
    let entrance = small.entrance(&dir);
    let mut plan = side.plan("full").on(Ports::free()?).started_by(entrance);
    for (key, value) in SETTINGS {
        plan = plan.set(key, value);
    }
    let runtime = clients()?;
    let mut seen = Seen::default();
    let begun = Instant::now();
    let server = start_with(&plan, TOPIC)?;
    let broker = server.broker();
    let looks_after = if side.is_ours() {
        Duration::ZERO
    } else {
        JAVA_LOOKS_AFTER
    };
    runtime.block_on(async {
        seen.fill_up(broker, &mut small, begun + looks_after).await?;
        seen.while_full(broker, &mut small).await?;
        small.free()?;
        seen.until_taken(broker).await;
        anyhow::Ok(())
    })?;
    if let Err(error) = server.stop() {
        seen.odd.push(format!("it did not stop in order: {error}"));
    }
    let found = look(&plan, &runtime, &seen)?;
    Ok(vec![Played {
        case: CASE,
        told: seen.told(&found),
        broken: seen.broken(&found),
    }])
}

/// What became of messages, as the sender knows it.
#[derive(Debug, Default)]
struct Seen {
    next: u64,
    before: BTreeSet<u64>,
    /// Acknowledged while no byte was free.
    full: BTreeSet<u64>,
    after: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Nobody knows what became of these.
    unanswered: usize,
    /// By code, while it was full.
    codes: BTreeMap<i32, usize>,
    /// When the first refusal came, how many were acknowledged until then, and its words.
    first: Option<(Duration, usize, String)>,
    /// Answered with messages, of all.
    pulls: (usize, usize),
    slowest: Duration,
    back: Option<Duration>,
    /// What was said last while there was room and no message was taken.
    still: String,
    odd: Vec<String>,
}

impl Seen {
    /// Sends one more.
    async fn one(&mut self, caller: &mut Caller) -> (u64, Option<Frame>) {
        let number = self.next;
        self.next += 1;
        let answer = caller.ask(send(TOPIC, body_of(number))).await.ok();
        match &answer {
            Some(answer) if answer.code == 0 => {}
            Some(_) => {
                self.refused.insert(number);
            }
            None => self.unanswered += 1,
        }
        (number, answer)
    }

    async fn fill_up(
        &mut self,
        broker: SocketAddr,
        small: &mut Small,
        not_before: Instant,
    ) -> anyhow::Result<()> {
        let mut caller = Caller::new(broker);
        for _ in 0..BEFORE {
            let (number, answer) = self.one(&mut caller).await;
            let words = answer.as_ref().map(words_of);
            ensure!(
                answer.is_some_and(|answer| answer.code == 0),
                "refused with room: {words:?}"
            );
            self.before.insert(number);
        }
        // A group that reads already: a new one could not be saved.
        let answer = caller.ask(pull(TOPIC, 0)).await.map_err(anyhow::Error::msg)?;
        ensure!(answer.code == 0, "no pull with room: {}", words_of(&answer));
        ensure!(small.holds("commitlog"), "its log lies elsewhere");
        tokio::time::sleep_until(not_before.into()).await;
        let free = small.fill()?;
        ensure!(free == 0, "{free} bytes are free on a full file system");
        Ok(())
    }

    async fn while_full(&mut self, broker: SocketAddr, small: &mut Small) -> anyhow::Result<()> {
        let (mut sender, mut reader) = (Caller::new(broker), Caller::new(broker));
        let begun = Instant::now();
        let mut filled = begun;
        while begun.elapsed() < FULL_FOR && self.full.len() < ACKNOWLEDGED_MAX {
            if filled.elapsed() > FILL_EVERY {
                small.fill()?;
                filled = Instant::now();
            }
            let asked = Instant::now();
            let (number, answer) = self.one(&mut sender).await;
            self.slowest = self.slowest.max(asked.elapsed());
            if number.is_multiple_of(PULL_EVERY) {
                let answer = reader.ask(pull(TOPIC, 0)).await;
                self.pulls.1 += 1;
                self.pulls.0 += usize::from(answer.is_ok_and(|answer| answer.code == 0));
            }
            let Some(answer) = answer else { continue };
            *self.codes.entry(answer.code).or_default() += 1;
            if answer.code == 0 {
                self.full.insert(number);
                continue;
            }
            let first = || (begun.elapsed(), self.full.len(), words_of(&answer));
            self.first = self.first.take().or_else(|| Some(first()));
            tokio::time::sleep(AFTER_REFUSAL).await;
        }
        Ok(())
    }

    async fn until_taken(&mut self, broker: SocketAddr) {
        let mut caller = Caller::new(broker);
        let begun = Instant::now();
        while begun.elapsed() < BACK_AT_MOST {
            let (number, answer) = self.one(&mut caller).await;
            if answer.as_ref().is_some_and(|answer| answer.code == 0) {
                self.after.insert(number);
                self.back = Some(begun.elapsed());
                return;
            }
            self.still = answer.as_ref().map_or_else(|| "no answer".to_owned(), words_of);
            tokio::time::sleep(AFTER_REFUSAL).await;
        }
    }

    fn told(&self, found: &Found) -> String {
        let first = match &self.first {
            None => "none refused".to_owned(),
            Some((after, until, words)) => format!(
                "the first refused after {:.0} ms and {until} SEND_OK ({words})",
                after.as_secs_f64() * 1000.0
            ),
        };
        let back = self.back.map_or_else(
            || {
                format!(
                    "no message taken for {BACK_AT_MOST:?} after there was room ({})",
                    self.still
                )
            },
            |back| {
                format!(
                    "messages taken again {:.2} s after there was room",
                    back.as_secs_f64()
                )
            },
        );
        let lost = |of: &BTreeSet<u64>| of.difference(&found.sound).count();
        let odd: String = self.odd.iter().map(|odd| format!("; {odd}")).collect();
        format!(
            "full for {} messages: answers by code {:?}, {} unanswered, slowest {:.0} ms, {first}; {} of {} pulls answered; {back}; \
             after a restart lost: {} of {} acknowledged before, **{} of {} acknowledged while it was full**, {} of {} after; \
             {} refused ones there, {} damaged{odd}",
            self.codes.values().sum::<usize>(),
            self.codes,
            self.unanswered,
            self.slowest.as_secs_f64() * 1000.0,
            self.pulls.0,
            self.pulls.1,
            lost(&self.before),
            self.before.len(),
            lost(&self.full),
            self.full.len(),
            lost(&self.after),
            self.after.len(),
            self.refused.intersection(&found.sound).count(),
            found.damaged,
        )
    }

    fn broken(&self, found: &Found) -> Vec<String> {
        let acknowledged = [&self.before, &self.full, &self.after];
        let lost: usize = acknowledged
            .map(|of| of.difference(&found.sound).count())
            .iter()
            .sum();
        let appeared = self.refused.intersection(&found.sound).count();
        let first = self.first.as_ref();
        let others = self.codes.keys().filter(|code| {
            let code = ResponseCode(**code);
            code != ResponseCode::SUCCESS && code != ResponseCode::SERVICE_NOT_AVAILABLE
        });
        let others: Vec<_> = others.collect();
        let promises = [
            (lost == 0, format!("{lost} acknowledged messages are lost")),
            (appeared == 0, format!("{appeared} refused messages are there")),
            (found.damaged == 0, format!("{} are damaged", found.damaged)),
            (
                self.unanswered == 0,
                format!("{} sends were not answered", self.unanswered),
            ),
            (
                self.slowest < REFUSED_WITHIN,
                format!("a send was answered after {:?}", self.slowest),
            ),
            (
                self.pulls.0 == self.pulls.1,
                format!("{} of {} pulls were answered", self.pulls.0, self.pulls.1),
            ),
            (
                first.is_some_and(|(after, _, words)| {
                    *after < REFUSED_WITHIN && words.contains("the disk is full: ")
                }),
                format!("the first refusal: {first:?}"),
            ),
            (others.is_empty(), format!("refused with {others:?}")),
            (
                self.back.is_some_and(|back| back < BACK_WITHIN),
                format!("messages are taken again after {:?}", self.back),
            ),
            (self.odd.is_empty(), format!("{:?}", self.odd)),
        ];
        let broken = promises.into_iter().filter(|(is_kept, _)| !is_kept);
        broken.map(|(_, what)| what).collect()
    }
}

/// What a reader gets.
#[derive(Debug, Default)]
struct Found {
    sound: BTreeSet<u64>,
    damaged: usize,
}

/// Starts the broker again and reads all that there is, until nothing is missing or it was given its time.
fn look(plan: &Plan, runtime: &tokio::runtime::Runtime, seen: &Seen) -> anyhow::Result<Found> {
    let server = start_with(plan, TOPIC)?;
    let found = runtime.block_on(async {
        let begun = Instant::now();
        loop {
            let found = read(server.broker()).await;
            let mut wanted = seen.before.iter().chain(&seen.full).chain(&seen.after);
            if wanted.all(|number| found.sound.contains(number)) || begun.elapsed() > READ_WITHIN {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    // It may be stuck in what it has left; what it has was read.
    server.kill()?;
    Ok(found)
}

/// Reads the queue as a consumer does; where it gets no further, it tries the next offset.
async fn read(broker: SocketAddr) -> Found {
    let (mut found, mut offset) = (Found::default(), 0);
    let mut caller = Caller::new(broker);
    let mut tries = 0;
    while tries < 100 {
        let Ok(answer) = caller.ask(pull(TOPIC, offset)).await else {
            tries += 1;
            continue;
        };
        if answer.code == 0 {
            for record in Record::decode_all(&answer.body) {
                let number = record.ok().and_then(|record| number_of(&record.body));
                match number {
                    Some(number) => {
                        found.sound.insert(number);
                    }
                    None => found.damaged += 1,
                }
            }
        }
        let reply: PullReply = match answer.ext.read() {
            Ok(reply) => reply,
            Err(_) => return found,
        };
        if reply.next_begin_offset <= offset && offset + 1 >= reply.max_offset {
            return found;
        }
        offset = reply.next_begin_offset.max(offset + 1);
    }
    found
}

/// A body that is its number all over.
fn body_of(number: u64) -> Vec<u8> {
    number.to_be_bytes().repeat(BODY / 8)
}

/// The number of a body in which every byte is right.
fn number_of(body: &[u8]) -> Option<u64> {
    let number = u64::from_be_bytes(*body.first_chunk()?);
    (body == body_of(number)).then_some(number)
}
