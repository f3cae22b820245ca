// SPDX-License-Identifier: Apache-2.0
//! How long a start takes after a kill under load when the log is large: from the start of the process to the first message
//! that it accepts. Nothing that was acknowledged may be missing then.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use super::actor::{Letter, make_topic, must, number, send};
use super::takes_a_message;
use crate::Sides;
use anyhow::{Context as _, ensure};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use testkit::line::Line;
use testkit::server::{Plan, Ports, Server};
use wire::code::Code;

const TOPIC: &str = "Large";
const QUEUES: u32 = 4;
const KILLS: usize = 5;
const BODY_BYTES: usize = 1024;
const BATCH: usize = 200;
/// What a message takes beside its body.
const RECORD_BYTES: i64 = 1024 + 91;
const STARTS_WITHIN: Duration = Duration::from_secs(60);
const PROMISED: Duration = Duration::from_secs(1);
const LOAD: Duration = Duration::from_millis(1_500);

/// Fills a log, kills and starts; what it came to, in words.
pub(super) fn play(sides: &Sides, gib: u64, is_sync: bool) -> anyhow::Result<String> {
    let program = sides.barque.as_ref().context("no barque")?;
    let dir = sides.dir.join("kills-large");
    let flush = if is_sync { "SYNC_FLUSH" } else { "ASYNC_FLUSH" };
    let plan = Plan::new(program, &dir)
        .on(Ports::free()?)
        .set("flushDiskType", flush);
    let (mut server, _) = start(&plan)?;
    make_topic(&mut Line::open(server.broker())?, TOPIC, QUEUES)?;
    let acknowledged: [AtomicI64; QUEUES as usize] = Default::default();
    let begun = Instant::now();
    let wanted = (gib << 30) as i64 / RECORD_BYTES;
    loaded(server.broker(), &acknowledged, || total(&acknowledged) >= wanted)?;
    let filled = begun.elapsed();
    let mut took = Vec::new();
    for _ in 0..KILLS {
        let broker = server.broker();
        let mut running = Some(server);
        let until = Instant::now() + LOAD;
        // The load ends with the server.
        let ended = loaded(broker, &acknowledged, || {
            if Instant::now() > until
                && let Some(server) = running.take()
            {
                return server.kill().is_err();
            }
            false
        });
        ensure!(ended.is_err(), "the load has not noticed the kill");
        let (next, time) = start(&plan)?;
        took.push(time);
        let mut line = Line::open(next.broker())?;
        for (queue, acknowledged) in acknowledged.iter().enumerate() {
            let fields = [("topic", TOPIC), ("queueId", &*queue.to_string())];
            let max = number(&must(&mut line, Code::GET_MAX_OFFSET, &fields, b"")?, "offset")?;
            let acknowledged = acknowledged.swap(max, Ordering::SeqCst);
            ensure!(
                max >= acknowledged,
                "queue {queue} ends at {max}, {acknowledged} were acknowledged"
            );
        }
        server = next;
    }
    let count = total(&acknowledged);
    server.kill()?;
    std::fs::remove_dir_all(&dir)?;
    took.sort();
    ensure!(
        took.iter().all(|time| *time < PROMISED),
        "starts took {took:?}; less than {PROMISED:?} is promised (of a release build)"
    );
    Ok(format!(
        "{flush}: {count} messages of 1 KiB, {:.1} GB, in {filled:.0?}; {KILLS} kills under load, from start to the first accepted message: {took:?}",
        (count * RECORD_BYTES) as f64 / 1e9
    ))
}

fn total(acknowledged: &[AtomicI64]) -> i64 {
    acknowledged
        .iter()
        .map(|queue| queue.load(Ordering::SeqCst))
        .sum()
}

fn start(plan: &Plan) -> anyhow::Result<(Server, Duration)> {
    let begun = Instant::now();
    let mut server = plan.start_unready()?;
    while !takes_a_message(server.broker()) {
        ensure!(server.is_running()?, "it has ended: {:?}", server.lines_with("")?);
        ensure!(begun.elapsed() < STARTS_WITHIN, "it takes no message");
        sleep(Duration::from_millis(1));
    }
    Ok((server, begun.elapsed()))
}

/// Sends to each queue until told to stop, or until the server is gone, which is an error.
fn loaded(
    broker: SocketAddr,
    acknowledged: &[AtomicI64],
    mut is_over: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let stop = AtomicBool::new(false);
    let body = batch();
    std::thread::scope(|scope| {
        let fill = |(queue, acknowledged)| fill(broker, (queue, acknowledged), &body, &stop);
        let senders: Vec<_> = (0..)
            .zip(acknowledged)
            .map(|place| scope.spawn(move || fill(place)))
            .collect();
        while !is_over() && !senders.iter().any(|sender| sender.is_finished()) {
            sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::SeqCst);
        for sender in senders {
            sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender has panicked"))??;
        }
        Ok(())
    })
}

fn fill(
    broker: SocketAddr,
    (queue, acknowledged): (u32, &AtomicI64),
    body: &[u8],
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let mut line = Line::open(broker)?;
    let letter = Letter {
        topic: TOPIC,
        queue,
        properties: "",
        sys_flag: 0,
        is_batch: true,
        body,
    };
    while !stop.load(Ordering::SeqCst) {
        if let Some((offset, _)) = send(&mut line, &letter)? {
            acknowledged.fetch_max(offset + BATCH as i64, Ordering::SeqCst);
        }
    }
    Ok(())
}

fn batch() -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..BATCH {
        for number in [22 + BODY_BYTES, 0, 0, 0, BODY_BYTES] {
            all.extend((number as u32).to_be_bytes());
        }
        all.extend([b'x'; BODY_BYTES]);
        all.extend([0; 2]);
    }
    all
}
