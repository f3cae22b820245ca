//! Many held pulls and few messages: what waiting costs, and how soon the ones that wait are told.
//!
//! The pulls are dealt over connections, groups and queues: pull `i` belongs to queue `i % queues` and to group
//! `i / queues`, so that one message wakes `pulls / queues` of them.

use crate::jobs::{self, Properties};
use crate::stats::{self, Cpu, Line};
use crate::wire::{self, code, Serializer};
use crate::e2e::frames;
use hdrhistogram::Histogram;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub struct Held {
    pub addr: SocketAddr,
    pub ser: Serializer,
    pub topic: String,
    pub pulls: usize,
    pub queues: usize,
    pub conns: usize,
    pub rate: u64,
    pub seconds: Duration,
    pub server_pid: Option<u32>,
}

/// Queues of one topic; more queues are dealt over several topics.
const PER_TOPIC: usize = 100;

fn name(topic: &str, queue: usize) -> (String, i32) {
    (format!("{topic}_{}", queue / PER_TOPIC), (queue % PER_TOPIC) as i32)
}

pub fn topics(topic: &str, queues: usize) -> Vec<(String, i32)> {
    (0..queues.div_ceil(PER_TOPIC)).map(|i| (format!("{topic}_{i}"), queues.min(PER_TOPIC) as i32)).collect()
}

pub fn run(p: Held) -> io::Result<()> {
    let base = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let woken = Arc::new(AtomicU64::new(0));
    let refused = Arc::new(AtomicU64::new(0));
    // Messages sent before do not count: the first ones make files.
    let counted = Arc::new(AtomicU64::new(u64::MAX));
    let all = Arc::new(Mutex::new(Histogram::<u64>::new_with_bounds(1, 120_000_000_000, 3).unwrap()));
    let rss = |pid: Option<u32>| pid.map_or(0.0, |pid| stats::rss(pid).0);
    let anon = |pid: Option<u32>| pid.map_or(0.0, stats::anon);

    let mut sender = TcpStream::connect(p.addr)?;
    sender.set_nodelay(true)?;
    let mut ends = Vec::new();
    for q in 0..p.queues {
        let (topic, id) = name(&p.topic, q);
        let mut req = Vec::new();
        jobs::max_offset(&mut req, p.ser, &topic, id);
        ends.push(wire::call(&mut sender, &req, |f| f.ext_int("offset").unwrap_or(0))?);
    }
    let (rss_before, anon_before) = (rss(p.server_pid), anon(p.server_pid));
    let mut readers = Vec::new();
    for c in 0..p.conns {
        let mine: Vec<usize> = (0..p.pulls).filter(|i| i % p.conns == c).collect();
        let sock = TcpStream::connect(p.addr)?;
        sock.set_nodelay(true)?;
        let mut offsets: Vec<i64> = mine.iter().map(|i| ends[i % p.queues]).collect();
        let (stop, woken, refused, all) = (stop.clone(), woken.clone(), refused.clone(), all.clone());
        let measure_from = counted.clone();
        let (topic, ser, queues) = (p.topic.clone(), p.ser, p.queues);
        let mut writer = sock.try_clone()?;
        let ask = move |out: &mut Vec<u8>, slot: usize, offset: i64| {
            let (topic, id) = name(&topic, mine[slot] % queues);
            let group = format!("bench_held_{}", mine[slot] / queues);
            jobs::pull_of(out, ser, &group, &topic, id, offset, 32, 600_000, slot as u32);
        };
        readers.push(std::thread::Builder::new().stack_size(256 << 10).spawn(move || -> io::Result<()> {
            let mut out = Vec::new();
            for (slot, offset) in offsets.iter().enumerate() {
                ask(&mut out, slot, *offset);
            }
            writer.write_all(&out)?;
            frames(sock, 64 << 10, &stop, |f| {
                let now = base.elapsed().as_nanos() as u64;
                let slot = f.opaque as usize;
                if f.code != code::OK {
                    // A refusal would be asked again at once, for ever; it is counted and left.
                    refused.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                wire::each_message(f.body, |m| {
                    let sent = u64::from_be_bytes(wire::stored_body(m)[..8].try_into().unwrap());
                    if sent < measure_from.load(Ordering::Relaxed) {
                        return;
                    }
                    let _ = all.lock().unwrap().record(now.saturating_sub(sent).max(1));
                    woken.fetch_add(1, Ordering::Relaxed);
                });
                offsets[slot] = f.ext_int("nextBeginOffset").unwrap_or(offsets[slot]);
                out.clear();
                ask(&mut out, slot, offsets[slot]);
                let _ = writer.write_all(&out);
            })
        })?);
    }
    // Held when the server is idle again.
    let registered = settle(p.server_pid);
    let (rss_held, anon_held) = (rss(p.server_pid), anon(p.server_pid));
    let idle = Cpu::now(p.server_pid);
    std::thread::sleep(Duration::from_secs(3));
    let rested = Cpu::now(p.server_pid);

    let mut props = Properties::new(78);
    let (mut out, mut body) = (Vec::new(), vec![b'x'; 128]);
    let acks = std::thread::spawn({
        let (stop, sock) = (stop.clone(), sender.try_clone()?);
        move || {
            let (mut ok, mut bad) = (0u64, 0u64);
            frames(sock, 64 << 10, &stop, |f| if f.code == code::OK { ok += 1 } else { bad += 1 })?;
            io::Result::Ok((ok, bad))
        }
    });
    let total = p.seconds.as_nanos() as u64 * p.rate / 1_000_000_000;
    let from = base.elapsed().as_nanos() as u64;
    let warm = p.rate * 2;
    let mut before = Cpu::now(p.server_pid);
    for i in 0..total + warm {
        if i == warm {
            counted.store(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
            before = Cpu::now(p.server_pid);
        }
        let due = from + i * 1_000_000_000 / p.rate;
        while let Some(left) = due.checked_sub(base.elapsed().as_nanos() as u64).filter(|left| *left > 0) {
            std::thread::sleep(Duration::from_nanos(left));
        }
        body[..8].copy_from_slice(&(base.elapsed().as_nanos() as u64).to_be_bytes());
        out.clear();
        let (topic, id) = name(&p.topic, (i as usize * 7919) % p.queues);
        jobs::send_header(&mut out, p.ser, code::SEND_MESSAGE_V2, i as u32, &topic, id, jobs::now_ms(), props.next(), false)
            .finish(|o| o.extend_from_slice(&body));
        sender.write_all(&out)?;
    }
    let after = Cpu::now(p.server_pid);
    std::thread::sleep(Duration::from_millis(1500));
    stop.store(true, Ordering::Relaxed);
    let (ok, bad) = acks.join().unwrap()?;
    for r in readers {
        r.join().unwrap()?;
    }
    let wakes = woken.load(Ordering::Relaxed);
    let h = all.lock().unwrap();
    Line::new("held")
        .num("pulls", p.pulls as f64)
        .num("queues", p.queues as f64)
        .num("conns", p.conns as f64)
        .num("rate", p.rate as f64)
        .num("acked", ok as f64)
        .num("errors", bad as f64 + refused.load(Ordering::Relaxed) as f64)
        .num("expected", (total * p.pulls as u64 / p.queues as u64) as f64)
        .num("received", wakes as f64)
        .num("held_after_s", registered)
        .num("rss_before_mib", rss_before)
        .num("rss_held_mib", rss_held)
        .num("bytes_per_held_pull", (anon_held - anon_before) * 1048576.0 / p.pulls as f64)
        .num("holding_cores", rested.server_cores_since(&idle))
        .hist("", &h)
        .cpu(&before, &after, wakes as f64, p.server_pid)
        .print();
    Ok(())
}

/// Waits until the server has nothing to do; the seconds that took.
fn settle(server: Option<u32>) -> f64 {
    let start = Instant::now();
    let mut last = Cpu::now(server);
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = Cpu::now(server);
        if now.server_cores_since(&last) < 0.1 || start.elapsed() > Duration::from_secs(60) {
            return start.elapsed().as_secs_f64() - 0.5;
        }
        last = now;
    }
}
