//! Delayed messages that are all due in the same second: how late they come, how fast, and what an ordinary send costs
//! meanwhile. With delay levels, which must be whole seconds, level n being n seconds (see `compare.py --set delay`), what
//! is sent in second k of W gets level `lead + W - k`, so that everything is due within one second. With timers all are due
//! at the same whole second (`TIMER_DELIVER_MS`).

use crate::e2e::frames;
use crate::jobs::{self, Properties};
use crate::stats::{Cpu, Line};
use crate::wire::{self, code, Serializer};
use hdrhistogram::Histogram;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds between the last send and the second in which everything is due.
const LEAD: u64 = 3;
/// How long stragglers are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Delay {
    pub addr: SocketAddr,
    pub ser: Serializer,
    pub topic: String,
    pub queues: usize,
    pub messages: u64,
    pub size: usize,
    /// Seconds the sends are spread over.
    pub spread: u64,
    /// Timers instead of delay levels.
    pub timer: bool,
    pub server_pid: Option<u32>,
}

/// What the consumer saw.
struct Seen {
    /// Received after due, ns.
    late: Histogram<u64>,
    /// Stored after due by the broker's own clock, whole ms.
    stored_late: Histogram<u64>,
    early: u64,
    got: u64,
    out_of_order: u64,
    first: u64,
    last: u64,
}

fn hist() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).unwrap()
}

fn be64(b: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(b[at..at + 8].try_into().unwrap())
}

pub fn run(p: Delay) -> io::Result<()> {
    let base = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let received = Arc::new(AtomicU64::new(0));
    let consumer = consume(&p, base, stop.clone(), received.clone())?;

    let (ok, bad, last_due) = send(&p, base)?;
    // Ordinary sends, one at a time, from just before the second until everything has come.
    let due_from = last_due.saturating_sub(1_000_000_000);
    std::thread::sleep(Duration::from_nanos(due_from.saturating_sub(base.elapsed().as_nanos() as u64 + 500_000_000)));
    let before = Cpu::now(p.server_pid);
    let ordinary = Arc::new(AtomicBool::new(false));
    let sends = std::thread::spawn({
        let (addr, ser, stop) = (p.addr, p.ser, ordinary.clone());
        move || ordinary_sends(addr, ser, &stop)
    });
    let until = Duration::from_nanos(last_due) + PATIENCE;
    while received.load(Ordering::Relaxed) < ok && base.elapsed() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let after = Cpu::now(p.server_pid);
    // Repetitions would come now.
    std::thread::sleep(Duration::from_millis(500));
    ordinary.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let sends = sends.join().unwrap()?;
    let seen = consumer.join().unwrap()?;
    let took = (seen.last.saturating_sub(seen.first) as f64 / 1e9).max(0.001);
    Line::new(if p.timer { "timer" } else { "delay" })
        .num("size", p.size as f64)
        .num("queues", p.queues as f64)
        .num("sent", p.messages as f64)
        .num("acked", ok as f64)
        .num("errors", bad as f64)
        .num("received", seen.got as f64)
        .num("early", seen.early as f64)
        .num("out_of_order", seen.out_of_order as f64)
        .num("msgs", seen.got as f64)
        .num("msgs_per_s", seen.got as f64 / took)
        .hist("", &seen.late)
        .hist("stored_", &seen.stored_late)
        .num("ordinary_sends", sends.len() as f64)
        .hist("ordinary_", &sends)
        .cpu(&before, &after, seen.got as f64, p.server_pid)
        .print();
    Ok(())
}

/// Sends on time without waiting for answers; then waits for them. Acknowledged, refused, and when the last is due.
fn send(p: &Delay, base: Instant) -> io::Result<(u64, u64, u64)> {
    let mut sock = TcpStream::connect(p.addr)?;
    sock.set_nodelay(true)?;
    let stop = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let acks = std::thread::spawn({
        let (stop, answered, sock) = (stop.clone(), answered.clone(), sock.try_clone()?);
        move || {
            let (mut ok, mut bad) = (0u64, 0u64);
            frames(sock, 4 << 20, &stop, |f| {
                if f.code == code::OK { ok += 1 } else { bad += 1 }
                answered.fetch_add(1, Ordering::Relaxed);
            })?;
            io::Result::Ok((ok, bad))
        }
    });
    let mut props = Properties::new(78);
    let mut body = vec![b'x'; p.size.max(24)];
    let mut out = Vec::new();
    let start = base.elapsed().as_nanos() as u64;
    let mut last_due = 0;
    // With timers: the whole second, by the wall clock and by ours.
    let wall = jobs::now_ms() as u64;
    let whole = (wall / 1000 + LEAD + p.spread + 1) * 1000;
    let whole_ns = base.elapsed().as_nanos() as u64 + (whole - wall) * 1_000_000;
    for i in 0..p.messages {
        let at = start + i * p.spread * 1_000_000_000 / p.messages;
        let now = base.elapsed().as_nanos() as u64;
        if now < at {
            std::thread::sleep(Duration::from_nanos(at - now));
        }
        let level = LEAD + p.spread - (i * p.spread / p.messages).min(p.spread - 1);
        let now = base.elapsed().as_nanos() as u64;
        let born = jobs::now_ms();
        let (due, due_ms) = if p.timer {
            (whole_ns, whole)
        } else {
            (now + level * 1_000_000_000, born as u64 + level * 1000)
        };
        last_due = last_due.max(due);
        body[..8].copy_from_slice(&due.to_be_bytes());
        body[8..16].copy_from_slice(&due_ms.to_be_bytes());
        body[16..24].copy_from_slice(&(level << 40 | i).to_be_bytes());
        let mut text = props.next().to_vec();
        let asks = if p.timer { format!("TIMER_DELIVER_MS\x01{whole}\x02") } else { format!("DELAY\x01{level}\x02") };
        text.extend_from_slice(asks.as_bytes());
        out.clear();
        let q = (i % p.queues as u64) as i32;
        jobs::send_header(&mut out, p.ser, code::SEND_MESSAGE_V2, i as u32 & 0x7fff_ffff, &p.topic, q, born, &text, false)
            .finish(|o| o.extend_from_slice(&body));
        sock.write_all(&out)?;
    }
    let waiting = Instant::now();
    while answered.load(Ordering::Relaxed) < p.messages && waiting.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    stop.store(true, Ordering::Relaxed);
    let (ok, bad) = acks.join().unwrap()?;
    Ok((ok, bad, last_due))
}

type Consumer = std::thread::JoinHandle<io::Result<Seen>>;

fn consume(p: &Delay, base: Instant, stop: Arc<AtomicBool>, received: Arc<AtomicU64>) -> io::Result<Consumer> {
    let mut sock = TcpStream::connect(p.addr)?;
    sock.set_nodelay(true)?;
    let mut offsets = Vec::new();
    for q in 0..p.queues {
        let mut req = Vec::new();
        jobs::max_offset(&mut req, p.ser, &p.topic, q as i32);
        offsets.push(wire::call(&mut sock, &req, |f| f.ext_int("offset").unwrap_or(0))?);
    }
    let (topic, ser) = (p.topic.clone(), p.ser);
    let (mut writer, mut out) = (sock.try_clone()?, Vec::new());
    Ok(std::thread::spawn(move || {
        let mut seen = Seen { late: hist(), stored_late: hist(), early: 0, got: 0, out_of_order: 0, first: 0, last: 0 };
        // By queue and level, the newest number.
        let mut newest = std::collections::HashMap::new();
        for (q, &o) in offsets.iter().enumerate() {
            jobs::pull(&mut out, ser, &topic, q as i32, o, 1024, 15_000, q as u32);
        }
        writer.write_all(&out)?;
        frames(sock, 4 << 20, &stop, |f| {
            let now = base.elapsed().as_nanos() as u64;
            let q = f.opaque as usize;
            if f.code == code::OK {
                wire::each_message(f.body, |m| {
                    let body = wire::stored_body(m);
                    let (due, due_ms, mark) = (be64(body, 0), be64(body, 8), be64(body, 16));
                    let (level, number) = (mark >> 40, mark & 0xff_ffff_ffff);
                    let stored_ms = be64(m, 56);
                    seen.early += u64::from(stored_ms < due_ms);
                    let _ = seen.late.record(now.saturating_sub(due).max(1));
                    let _ = seen.stored_late.record((stored_ms.saturating_sub(due_ms) * 1_000_000).max(1));
                    let before = newest.insert((q, level), number);
                    seen.out_of_order += u64::from(before.is_some_and(|before| before > number));
                    if seen.got == 0 {
                        seen.first = now;
                    }
                    seen.last = now;
                    seen.got += 1;
                    received.store(seen.got, Ordering::Relaxed);
                });
            }
            if let Some(n) = f.ext_int("nextBeginOffset") {
                offsets[q] = n;
            }
            out.clear();
            jobs::pull(&mut out, ser, &topic, q as i32, offsets[q], 1024, 15_000, q as u32);
            let _ = writer.write_all(&out);
        })?;
        Ok(seen)
    }))
}

/// Latencies of sends that have nothing to do with delays.
fn ordinary_sends(addr: SocketAddr, ser: Serializer, stop: &AtomicBool) -> io::Result<Histogram<u64>> {
    let mut sock = TcpStream::connect(addr)?;
    sock.set_nodelay(true)?;
    let (mut h, mut out, mut props) = (hist(), Vec::new(), Properties::new(79));
    while !stop.load(Ordering::Relaxed) {
        out.clear();
        jobs::send_header(&mut out, ser, code::SEND_MESSAGE_V2, 1, "bench_ordinary", 0, jobs::now_ms(), props.next(), false)
            .finish(|o| o.extend_from_slice(&[b'o'; 256]));
        let sent = Instant::now();
        wire::call(&mut sock, &out, |_| ())?;
        let _ = h.record((sent.elapsed().as_nanos() as u64).max(1));
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(h)
}
