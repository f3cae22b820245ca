// SPDX-License-Identifier: Apache-2.0
//! Compares ways to get records from many producers into one file, to write down why the store does it the way it does.
//!
//! * `thread`: producers encode and queue their records; an appender thread is woken, takes all there are, gives them
//!   their positions and writes them at once.
//! * `each`: whoever appends takes a lock and writes its own record.
//! * `mix`: whoever appends encodes into a shared buffer under a short lock; after a group of appends it tries to become
//!   the writer, who writes all that is pending with one call.
//! * `store`: the mix as the store does it, with queues, key index and everything else.
//!
//! Producers append groups of 32 (what a connection finds in its buffer) and wait until their group is written.
//! `cargo run --release -p store --example append_path`
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use store::disk::File;
use store::env::Env;
use store::{Draft, GateState, Level, Store, StoreConfig};
use wire::record::{Parts, Seal, Stamp, crc31, encode_record};

const GROUP: usize = 32;
const PROPERTIES: &[u8] =
    b"KEYS\x01order-4711\x02UNIQ_KEY\x017F0000010000ABCD000003E80001\x02WAIT\x01true\x02TAGS\x01TagA\x02";

/// One way to append a group of bodies; returns when they are written.
trait Way: Send + Sync {
    fn append_group(&self, body: &[u8], producer: u32);
    fn close(&self) {}
}

struct Output {
    file: Arc<dyn File>,
    bytes: i64,
}

impl Output {
    fn new(dir: &Path, env: &Env) -> Output {
        let bytes = 1 << 30;
        let path = dir.join("log");
        Output {
            file: env.disk.create(&path, bytes as u64).expect("file is made"),
            bytes,
        }
    }

    /// The file starts over when it is full: what counts is the cost, not the content.
    fn write(&self, records: &[u8], pos: i64) {
        self.file
            .write_at(records, (pos % self.bytes).unsigned_abs())
            .expect("write");
    }
}

fn encode(out: &mut Vec<u8>, body: &[u8], crc: u32, producer: u32, pos: i64) {
    let host = ([127, 0, 0, 1], 10911).into();
    let parts = Parts {
        queue_id: producer,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        body_crc: crc,
        topic: "Benchmark",
        properties: PROPERTIES,
    };
    let stamp = Stamp {
        queue_offset: pos,
        physical_offset: pos,
        stored_at: 1,
    };
    encode_record(out, &parts, &stamp, Seal::Absent);
}

/// A count producers wait for.
#[derive(Default)]
struct Mark {
    value: AtomicI64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    moved: Condvar,
}

impl Mark {
    fn advance(&self, by: i64) {
        self.value.fetch_add(by, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock());
            self.moved.notify_all();
        }
    }

    fn reach(&self, value: i64) {
        if self.value.load(Ordering::SeqCst) >= value {
            return;
        }
        let mut guard = self.lock.lock();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        while self.value.load(Ordering::SeqCst) < value {
            self.moved.wait(&mut guard);
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Queued {
    queue: Mutex<(Vec<Vec<u8>>, i64)>,
    more: Condvar,
    written: Mark,
    stop: AtomicBool,
}

impl Queued {
    fn start(output: Output) -> Arc<Queued> {
        let way = Arc::new(Queued {
            queue: Mutex::default(),
            more: Condvar::new(),
            written: Mark::default(),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&way);
        let run = move || {
            let mut pos = 0;
            let mut buffer = Vec::new();
            while !shared.stop.load(Ordering::Relaxed) {
                let taken = {
                    let mut queue = shared.queue.lock();
                    if queue.0.is_empty() {
                        shared.more.wait_for(&mut queue, Duration::from_millis(20));
                    }
                    std::mem::take(&mut queue.0)
                };
                buffer.clear();
                for mut record in taken.iter().cloned() {
                    record[28..36].copy_from_slice(&(pos + buffer.len() as i64).to_be_bytes());
                    buffer.extend_from_slice(&record);
                }
                shared_write(&output, &buffer, &mut pos);
                shared.written.advance(taken.len() as i64);
            }
        };
        std::thread::Builder::new().spawn(run).expect("thread starts");
        way
    }
}

fn shared_write(output: &Output, buffer: &[u8], pos: &mut i64) {
    if !buffer.is_empty() {
        output.write(buffer, *pos);
        *pos += buffer.len() as i64;
    }
}

impl Way for Arc<Queued> {
    fn append_group(&self, body: &[u8], producer: u32) {
        let mut last = 0;
        for _ in 0..GROUP {
            let mut record = Vec::new();
            encode(&mut record, body, crc31(body), producer, 0);
            let mut queue = self.queue.lock();
            queue.0.push(record);
            queue.1 += 1;
            last = queue.1;
            drop(queue);
            self.more.notify_one();
        }
        self.written.reach(last);
    }

    fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Each {
    output: Output,
    tail: Mutex<(i64, Vec<u8>)>,
}

impl Way for Each {
    fn append_group(&self, body: &[u8], producer: u32) {
        for _ in 0..GROUP {
            let crc = crc31(body);
            let mut tail = self.tail.lock();
            let (pos, buffer) = &mut *tail;
            buffer.clear();
            encode(buffer, body, crc, producer, *pos);
            self.output.write(buffer, *pos);
            *pos += buffer.len() as i64;
        }
    }
}

struct Mix {
    output: Output,
    tail: Mutex<(i64, Vec<u8>)>,
    writer: Mutex<Vec<u8>>,
    written: Mark,
}

impl Way for Mix {
    fn append_group(&self, body: &[u8], producer: u32) {
        let mut end = 0;
        for _ in 0..GROUP {
            let crc = crc31(body);
            let mut tail = self.tail.lock();
            let (pos, buffer) = &mut *tail;
            let before = buffer.len();
            encode(buffer, body, crc, producer, *pos);
            *pos += (buffer.len() - before) as i64;
            end = *pos;
        }
        while !self.tail.lock().1.is_empty() {
            let Some(mut buffer) = self.writer.try_lock() else {
                break;
            };
            buffer.clear();
            let start = {
                let mut tail = self.tail.lock();
                std::mem::swap(&mut tail.1, &mut *buffer);
                tail.0 - buffer.len() as i64
            };
            self.output.write(&buffer, start);
            self.written.advance(buffer.len() as i64);
        }
        self.written.reach(end);
    }
}

struct Whole(Arc<Store>);

impl Way for Whole {
    fn append_group(&self, body: &[u8], producer: u32) {
        let queue = self.0.queue("Benchmark", producer);
        let host = ([127, 0, 0, 1], 10911).into();
        let draft = Draft {
            queue: &queue,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_pos: 0,
            body,
            properties: PROPERTIES,
            wait: true,
        };
        let gates: Vec<_> = (0..GROUP)
            .filter_map(|_| self.0.append(&draft).ok())
            .map(|receipt| receipt.gate)
            .collect();
        self.0.drive();
        // A follower's group is written by the leader of the moment.
        while gates
            .iter()
            .any(|gate| self.0.state(gate, Level::Written) == GateState::Waiting)
        {
            std::thread::yield_now();
        }
    }

    fn close(&self) {
        self.0.close().expect("store closes");
    }
}

/// CPU time of this process, user and system, in ns.
fn cpu_ns(env: &Env) -> u64 {
    let Ok(file) = env.disk.open("/proc/self/stat".as_ref()) else {
        return 0;
    };
    let mut bytes = vec![0; 1024];
    let read = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    (ticks(11) + ticks(12)) * 10_000_000
}

fn measure(env: &Env, way: &Arc<dyn Way>, producers: u32, body: usize) -> (f64, f64) {
    let stop = Arc::new(AtomicBool::new(false));
    let (start, cpu) = (env.clock.instant(), cpu_ns(env));
    let threads: Vec<_> = (0..producers)
        .map(|producer| {
            let (way, stop) = (Arc::clone(way), Arc::clone(&stop));
            let run = move || {
                let body = vec![b'x'; body];
                let mut groups = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    way.append_group(&body, producer);
                    groups += 1;
                }
                groups
            };
            std::thread::Builder::new().spawn(run).expect("thread starts")
        })
        .collect();
    std::thread::sleep(Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    let groups: u64 = threads
        .into_iter()
        .map(|thread| thread.join().expect("producer ends"))
        .sum();
    let messages = (groups * GROUP as u64) as f64;
    let seconds = env.clock.instant().duration_since(start).as_secs_f64();
    ((cpu_ns(env) - cpu) as f64 / messages, messages / seconds)
}

fn main() {
    let env = Env::real();
    println!(
        "{:8} {:>9} {:>6} {:>12} {:>12}",
        "way", "producers", "body", "cpu ns/msg", "msgs/s"
    );
    for body in [128, 1024] {
        for producers in [1, 8] {
            for name in ["thread", "each", "mix", "store"] {
                let dir = tempfile::tempdir().expect("temporary directory");
                let way: Arc<dyn Way> = match name {
                    "thread" => Arc::new(Queued::start(Output::new(dir.path(), &env))),
                    "each" => Arc::new(Each {
                        output: Output::new(dir.path(), &env),
                        tail: Mutex::default(),
                    }),
                    "mix" => Arc::new(Mix {
                        output: Output::new(dir.path(), &env),
                        tail: Mutex::default(),
                        writer: Mutex::default(),
                        written: Mark::default(),
                    }),
                    _ => {
                        let config = StoreConfig::at(dir.path());
                        Arc::new(Whole(Store::open(config, env.clone()).expect("store opens")))
                    }
                };
                let (ns, rate) = measure(&env, &way, producers, body);
                way.close();
                println!("{name:8} {producers:>9} {body:>6} {ns:>12.0} {rate:>12.0}");
            }
        }
    }
}
