// SPDX-License-Identifier: Apache-2.0
//! More than a broker can take: ten times as much as it did at its best, over many connections, whatever it answers. What is
//! acknowledged is acknowledged soon, the rest is refused or not read, memory stays in its budget, somebody who asks little is
//! served beside it, and when it is over everything is as before.
//!
//! The figures are those of a machine and of a build. So they are held to what is promised only in the long run, which wants a
//! release build and a machine of its own; the short one, for any build on any machine, takes much wider bounds.
#![expect(
    clippy::disallowed_methods,
    reason = "it measures a real process in real time"
)]

mod load;
mod neighbours;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::ensure;
use load::{Asked, Load, Manner, Quiet, quantile};
use neighbours::Neighbours;
use testkit::line::{Line, request};
use testkit::server::{Plan, Program, Server};
use wire::code::Code;
use wire::frame::Encoding;

use crate::{Outcome, Sides};

const FLOOD: &str = "Flood";
const QUIET: &str = "Quiet";
const QUEUES: usize = 16;
const BODY: usize = 1024;
/// Connections of the flood.
const CONNECTIONS: usize = 64;
/// How much more than its best is asked of the broker.
const TIMES: f64 = 10.0;
/// So long after the end everything is as before.
const RECOVERY: Duration = Duration::from_secs(2);

/// How long everything takes.
struct Lengths {
    peak: Duration,
    flood: Duration,
    /// How long somebody quiet is looked at alone.
    alone: Duration,
}

const SHORT: Lengths = Lengths {
    peak: Duration::from_secs(2),
    flood: Duration::from_secs(4),
    alone: Duration::from_secs(1),
};
const LONG: Lengths = Lengths {
    // As long as the flood: a disk takes much for a while, which is not what it can take.
    peak: Duration::from_secs(10),
    flood: Duration::from_secs(10),
    alone: Duration::from_secs(2),
};

/// What has to hold.
struct Promise {
    /// Of what is acknowledged, and of everybody quiet.
    p99_ms: f64,
    share_of_peak: f64,
    recovery: Duration,
    /// On top of the memory before: what waits for the log, and of each connection what is read of it and what it is answered.
    memory_bytes: u64,
}

const PROMISED: Promise = Promise {
    p99_ms: 250.0,
    share_of_peak: 0.8,
    recovery: RECOVERY,
    memory_bytes: (64 << 20) + CONNECTIONS as u64 * (2 << 20),
};
/// Where other programs run at the same time, which may stop any of these for a while.
const ANYWHERE: Promise = Promise {
    p99_ms: 1000.0,
    share_of_peak: 0.4,
    recovery: RECOVERY,
    memory_bytes: 2 * PROMISED.memory_bytes,
};
pub(crate) fn run(sides: &Sides) -> anyhow::Result<Outcome> {
    let (mut findings, mut lines) = (Vec::new(), Vec::new());
    let (lengths, promise) = if sides.is_long {
        (LONG, PROMISED)
    } else {
        (SHORT, ANYWHERE)
    };
    for (name, program) in sides.all() {
        let dir = sides.dir.join("overload").join(name);
        let server = Plan::new(program, &dir)
            .set("brokerFastFailureEnable", "true")
            .set("osPageCacheBusyTimeOutMills", "1000")
            .roomy()
            .start()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let figures = runtime.block_on(play(&server, &lengths))?;
        server.stop()?;
        // It is large.
        std::fs::remove_dir_all(dir.join("store"))?;
        let text = figures.text();
        eprintln!("overload: {name}: {text}");
        lines.push(format!("{name} {text}"));
        // The reference has promised nothing.
        if let Program::Barque(_) = program {
            findings.extend(figures.findings(&promise));
        }
    }
    let line = format!("overload: {}; {} findings", lines.join("; "), findings.len());
    Ok(Outcome { line, findings })
}

/// What was measured.
struct Figures {
    /// Messages per second at its best, and under the flood.
    peak: f64,
    flooded: f64,
    /// Of what was acknowledged in the flood, ms.
    p50: f64,
    p99: f64,
    /// Of all that was due in the flood: refused with SYSTEM_BUSY, refused otherwise, not read, not answered.
    busy: u64,
    other: u64,
    untaken: u64,
    unanswered: u64,
    ok: u64,
    /// Bytes, before and at most.
    memory: (u64, u64),
    recovery: Duration,
    /// p99 of somebody quiet, alone and beside the flood, ms.
    quiet: [f64; 2],
    /// How often it was refused, of all that it asked in the flood.
    quiet_refused: [usize; 2],
    neighbours: Neighbours,
    remark: Option<String>,
}

async fn play(server: &Server, lengths: &Lengths) -> anyhow::Result<Figures> {
    let broker = server.broker();
    make_topics(broker)?;
    let load = |connections, manner, length| Load {
        broker,
        topic: FLOOD,
        queues: QUEUES,
        connections,
        size: BODY,
        manner,
        length,
    };
    // What is compiled when it is hot gets hot.
    load::run(&load(16, Manner::Closed(32), lengths.peak)).await?;
    let (mut peak, mut unanswered) = (0.0_f64, 0);
    for (connections, in_flight) in [(16, 32), (CONNECTIONS, 32)] {
        let seen = load::run(&load(connections, Manner::Closed(in_flight), lengths.peak)).await?;
        peak = peak.max(seen.per_second(lengths.peak));
        unanswered += seen.unanswered;
    }
    let alone = Quiet::start(broker, QUIET, BODY)?;
    tokio::time::sleep(lengths.alone).await;
    let alone = p99(&alone.stop()?);

    let before = server.memory_bytes()?;
    let beside = Quiet::start(broker, QUIET, BODY)?;
    let flood = load(
        CONNECTIONS,
        Manner::Open(peak * TIMES / CONNECTIONS as f64),
        lengths.flood,
    );
    let begin = Instant::now();
    let flooding = tokio::spawn(async move { load::run(&flood).await });
    let mut most = before;
    while !flooding.is_finished() {
        most = most.max(server.memory_bytes()?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seen = flooding.await??;
    tokio::time::sleep(RECOVERY + lengths.alone).await;
    let asked = beside.stop()?;
    let end = begin + lengths.flood;
    let during: Vec<Asked> = asked.iter().copied().filter(|asked| asked.at < end).collect();
    ensure!(seen.ok > 0, "nothing was acknowledged");

    let noisy = load(1, Manner::Closed(1), lengths.peak);
    let neighbours = neighbours::play(&noisy, lengths.peak).await?;
    Ok(Figures {
        peak,
        flooded: seen.per_second(lengths.flood),
        p50: seen.quantile(0.5),
        p99: seen.quantile(0.99),
        busy: seen.busy,
        other: seen.other,
        untaken: seen.untaken,
        unanswered: unanswered + seen.unanswered + neighbours.unanswered,
        ok: seen.ok,
        memory: (before, most),
        recovery: recovery(&asked, end, alone),
        quiet: [alone, p99(&during)],
        quiet_refused: [
            during.iter().filter(|asked| asked.code != 0).count(),
            during.len(),
        ],
        neighbours,
        remark: seen.remark,
    })
}

fn p99(asked: &[Asked]) -> f64 {
    let mut times: Vec<u32> = asked.iter().map(|asked| asked.took).collect();
    quantile(&mut times, 0.99)
}

/// How long after the end somebody quiet still noticed something: a refusal, or an answer that took much longer than alone.
fn recovery(asked: &[Asked], end: Instant, alone: f64) -> Duration {
    let usual = (alone * 3.0).max(20.0);
    let noticed = asked.iter().rev().find(|asked| {
        let is_slow = f64::from(asked.took) / 1000.0 > usual;
        asked.at + Duration::from_micros(asked.took.into()) > end && (is_slow || asked.code != 0)
    });
    noticed.map_or(Duration::ZERO, |last| {
        (last.at + Duration::from_micros(last.took.into())).saturating_duration_since(end)
    })
}

fn make_topics(broker: SocketAddr) -> anyhow::Result<()> {
    let mut line = Line::open(broker)?;
    for (topic, queues) in [(FLOOD, QUEUES.to_string()), (QUIET, "1".to_owned())] {
        let fields = [
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", &queues),
            ("writeQueueNums", &queues),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        let made = line.ask(
            request(Code::UPDATE_AND_CREATE_TOPIC, &fields, b""),
            Encoding::Json,
        )?;
        ensure!(made.code == 0, "{topic}: {:?}", made.remark);
    }
    Ok(())
}

impl Figures {
    fn text(&self) -> String {
        let due = (self.ok + self.busy + self.other + self.untaken + self.unanswered).max(1) as f64;
        let percent = |count: u64| 100.0 * count as f64 / due;
        let mib = |bytes: u64| bytes >> 20;
        let [alone, beside] = self.quiet;
        let remark = self.remark.as_deref().unwrap_or("nothing");
        format!(
            "peak {:.0}/s, of ten times that acknowledged {:.0}/s ({:.0} % of the peak), p50 {:.1} ms, p99 {:.1} ms; of all due \
             {:.1} % stored, {:.1} % refused as busy, {:.1} % refused otherwise, {:.1} % left with the sender, {} unanswered ({remark}); \
             memory {} to {} MiB; as before after {:.2} s; a quiet client's p99 {alone:.1} ms alone, {beside:.1} ms in the flood, refused {} of {} times; {}",
            self.peak,
            self.flooded,
            100.0 * self.flooded / self.peak.max(1.0),
            self.p50,
            self.p99,
            percent(self.ok),
            percent(self.busy),
            percent(self.other),
            percent(self.untaken),
            self.unanswered,
            mib(self.memory.0),
            mib(self.memory.1),
            self.recovery.as_secs_f64(),
            self.quiet_refused[0],
            self.quiet_refused[1],
            self.neighbours.text(),
        )
    }

    fn findings(&self, promise: &Promise) -> Vec<String> {
        let grown = self.memory.1.saturating_sub(self.memory.0);
        let promises = [
            (
                self.p99 < promise.p99_ms,
                format!("p99 of what is acknowledged is {:.1} ms", self.p99),
            ),
            (
                self.flooded >= self.peak * promise.share_of_peak,
                format!(
                    "{:.0}/s of {:.0}/s are left under overload",
                    self.flooded, self.peak
                ),
            ),
            (
                self.other == 0,
                format!("{} are refused with another code than SYSTEM_BUSY", self.other),
            ),
            (
                self.unanswered == 0,
                format!("{} are not answered", self.unanswered),
            ),
            (
                grown <= promise.memory_bytes,
                format!("memory grew by {grown} bytes"),
            ),
            (
                self.recovery < promise.recovery,
                format!("it takes {:?} until all is as before", self.recovery),
            ),
            (
                self.quiet[1] < promise.p99_ms,
                format!("a quiet client waits {:?} ms", self.quiet),
            ),
            (
                self.quiet_refused[0] * 100 <= self.quiet_refused[1],
                format!("a quiet client is refused: {:?}", self.quiet_refused),
            ),
        ];
        let broken = promises.into_iter().filter(|(is_kept, _)| !is_kept);
        let neighbours = self.neighbours.findings(promise.p99_ms);
        let all = broken.map(|(_, what)| what).chain(neighbours);
        all.map(|what| format!("overload: {what}")).collect()
    }
}
