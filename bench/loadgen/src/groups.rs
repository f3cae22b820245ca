//! What many groups cost: topics, a group for each with a member, and its offsets.

use crate::jobs;
use crate::stats::{self, Cpu, Line};
use crate::wire::{self, code, Serializer};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Groups {
    pub addr: SocketAddr,
    pub ser: Serializer,
    pub groups: usize,
    pub queues: i32,
    pub conns: usize,
    pub server_pid: Option<u32>,
}

/// Topics in one request.
const BATCH: usize = 500;

pub fn run(p: Groups) -> io::Result<()> {
    let memory = || p.server_pid.map_or((0.0, 0.0), |pid| (stats::rss(pid).0, stats::anon(pid)));
    let topics: Vec<String> = (0..p.groups).map(|i| format!("bench_group_topic_{i}")).collect();
    let groups: Vec<(String, String)> = topics.iter().enumerate().map(|(i, t)| (format!("bench_group_{i}"), t.clone())).collect();
    let connect = || -> io::Result<TcpStream> {
        let s = TcpStream::connect(p.addr)?;
        s.set_nodelay(true)?;
        Ok(s)
    };
    // Connections are made when they are needed: a server drops those that have been idle for two minutes.
    let mut conns = vec![connect()?];
    let mut errors = 0;
    let mut first = None;
    let mut ask = |s: &mut TcpStream, request: &[u8]| -> io::Result<()> {
        wire::call(s, request, |f| {
            if f.code != code::OK {
                errors += 1;
                first.get_or_insert_with(|| f.text());
            }
        })
    };
    let before = memory();
    let start = Instant::now();
    for some in topics.chunks(BATCH) {
        let mut out = Vec::new();
        jobs::create_topics(&mut out, p.ser, some, p.queues);
        ask(&mut conns[0], &out)?;
    }
    let created = start.elapsed().as_secs_f64();
    let with_topics = memory();
    let start = Instant::now();
    for (c, mine) in groups.chunks(p.groups.div_ceil(p.conns)).enumerate() {
        if c > 0 {
            conns.push(connect()?);
        }
        let mut out = Vec::new();
        jobs::heartbeat(&mut out, p.ser, &format!("127.0.0.1@bench{c}"), mine);
        ask(&mut conns[c], &out)?;
    }
    let joined = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for (i, (group, topic)) in groups.iter().enumerate() {
        for queue in 0..p.queues {
            let mut out = Vec::new();
            jobs::commit(&mut out, p.ser, group, topic, queue, 0, 2);
            let conn = i % conns.len();
            ask(&mut conns[conn], &out)?;
        }
    }
    let committed = start.elapsed().as_secs_f64();
    // The offsets are saved every few seconds; all of that is to be counted.
    std::thread::sleep(Duration::from_secs(12));
    let idle = Cpu::now(p.server_pid);
    std::thread::sleep(Duration::from_secs(10));
    let rested = Cpu::now(p.server_pid);
    let after = memory();
    if let Some(first) = first {
        eprintln!("first error: {first}");
    }
    Line::new("groups")
        .num("groups", p.groups as f64)
        .num("queues", p.queues as f64)
        .num("errors", errors as f64)
        .num("topics_s", created)
        .num("members_s", joined)
        .num("commits_per_s", (p.groups as f64 * f64::from(p.queues)) / committed)
        .num("anon_before_mib", before.1)
        .num("anon_topics_mib", with_topics.1)
        .num("anon_after_mib", after.1)
        .num("rss_after_mib", after.0)
        .num("bytes_per_group_and_topic", (after.1 - before.1) * 1048576.0 / p.groups as f64)
        .num("idle_cores", rested.server_cores_since(&idle))
        .print();
    Ok(())
}
