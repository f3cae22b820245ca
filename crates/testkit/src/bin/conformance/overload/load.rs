// SPDX-License-Identifier: Apache-2.0
//! Connections that send more than a broker can take, and what comes back. They are cheap: a frame is encoded once, and only
//! its number changes.
#![expect(
    clippy::disallowed_methods,
    reason = "it measures a real process in real time"
)]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::{Buf as _, BytesMut};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use wire::api::send::SendMessageV2;
use wire::code::ResponseCode;
use wire::frame::{Decoder, Encoding, Frame};

/// The first number of a connection's requests; all have as many digits.
const FIRST: i32 = 1_000_000_000;
/// Requests of a connection that may be under way.
const FLIGHT_MAX: u64 = 1 << 17;
/// Bytes that are prepared at a time.
const OUT_BYTES: usize = 64 * 1024;
/// What a sender's own system keeps for it: what waits there, nobody but the sender can know of.
const SEND_BUFFER: u32 = 64 * 1024;
/// So long a message that is due waits for its socket to take it; then its sender gives up.
const PATIENCE: Duration = Duration::from_millis(100);
/// So long answers are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How often somebody quiet sends.
const QUIET_EVERY: Duration = Duration::from_millis(10);
/// What becomes of messages is counted by steps of this length.
pub(super) const STEP: Duration = Duration::from_millis(100);

/// How a connection sends.
#[derive(Debug, Clone, Copy)]
pub(super) enum Manner {
    /// So many requests are under way all the time.
    Closed(u64),
    /// So many messages are due per second, whatever comes back.
    Open(f64),
}

/// What is sent, and to whom.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) broker: SocketAddr,
    pub(super) topic: &'static str,
    pub(super) queues: usize,
    pub(super) connections: usize,
    /// Bytes of a body.
    pub(super) size: usize,
    /// Of each connection.
    pub(super) manner: Manner,
    pub(super) length: Duration,
}

/// What became of messages.
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    pub(super) ok: u64,
    /// Answered with SYSTEM_BUSY.
    pub(super) busy: u64,
    /// Answered otherwise.
    pub(super) other: u64,
    /// Due, and not taken by the socket in time: the broker did not read.
    pub(super) untaken: u64,
    pub(super) unanswered: u64,
    /// From when the socket took a message until the answer that it is stored came, microseconds.
    pub(super) times: Vec<u32>,
    /// Stored, by steps since the start.
    pub(super) steps: Vec<u64>,
    /// Some remark of a refusal.
    pub(super) remark: Option<String>,
}

impl Seen {
    pub(super) fn add(&mut self, other: Seen) {
        self.ok += other.ok;
        self.busy += other.busy;
        self.other += other.other;
        self.untaken += other.untaken;
        self.unanswered += other.unanswered;
        self.times.extend(other.times);
        self.steps.resize(self.steps.len().max(other.steps.len()), 0);
        for (sum, step) in self.steps.iter_mut().zip(other.steps) {
            *sum += step;
        }
        self.remark = self.remark.take().or(other.remark);
    }

    /// That part of all times is not above what is returned, ms.
    pub(super) fn quantile(&mut self, part: f64) -> f64 {
        quantile(&mut self.times, part)
    }

    /// Messages stored per second, without the first half second and what came after the end.
    pub(super) fn per_second(&self, length: Duration) -> f64 {
        let (skip, end) = (5, (length.as_millis() / STEP.as_millis()) as usize);
        let counted = self
            .steps
            .get(skip..end.min(self.steps.len()))
            .unwrap_or_default();
        counted.iter().sum::<u64>() as f64 / (counted.len().max(1) as f64 * STEP.as_secs_f64())
    }
}

/// That part of some microseconds is not above what is returned, ms.
pub(super) fn quantile(times: &mut [u32], part: f64) -> f64 {
    let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
    if times.is_empty() {
        return 0.0;
    }
    let (_, value, _) = times.select_nth_unstable(at);
    f64::from(*value) / 1000.0
}

/// A send of so many bytes, and where in it its number stands.
fn frame(topic: &str, queue: usize, size: usize) -> anyhow::Result<(Vec<u8>, usize)> {
    let header = SendMessageV2 {
        producer_group: "overload".into(),
        topic: topic.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: i32::try_from(queue)?,
        born_timestamp: 1_700_000_000_000,
        properties: Some("".into()),
        ..SendMessageV2::default()
    };
    let mut bytes = BytesMut::new();
    let frame = Frame::request(FIRST, &header).with_body(vec![b'x'; size]);
    frame.encode(&mut bytes, Encoding::Json);
    let digits = FIRST.to_string();
    let at = bytes
        .windows(digits.len())
        .position(|part| part == digits.as_bytes());
    Ok((bytes.to_vec(), at.context("a request has a number")?))
}

/// Sends, and returns when everything is answered or nobody answers any more.
pub(super) async fn run(load: &Load) -> anyhow::Result<Seen> {
    let mut seen = Seen::default();
    for one in run_each(load).await? {
        seen.add(one);
    }
    Ok(seen)
}

/// The same, with what each connection saw.
pub(super) async fn run_each(load: &Load) -> anyhow::Result<Vec<Seen>> {
    let mut lanes = Vec::new();
    for lane in 0..load.connections {
        lanes.push(Lane::open(load, lane).await?);
    }
    let start = Instant::now();
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|lane| tokio::spawn(lane.run(start)))
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await?);
    }
    Ok(seen)
}

/// One connection.
struct Lane {
    stream: TcpStream,
    manner: Manner,
    length: Duration,
    /// A request, and where its number stands.
    template: Vec<u8>,
    digits: usize,
    /// Prepared and not taken by the socket yet.
    out: BytesMut,
    inbox: BytesMut,
    /// Requests prepared, taken by the socket, answered.
    prepared: u64,
    taken: u64,
    answered: u64,
    /// When each request under way was taken, microseconds since the start.
    taken_at: Vec<u32>,
    seen: Seen,
}

impl Lane {
    async fn open(load: &Load, lane: usize) -> anyhow::Result<Lane> {
        let socket = TcpSocket::new_v4()?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        let stream = socket.connect(load.broker).await?;
        stream.set_nodelay(true)?;
        let (template, digits) = frame(load.topic, lane % load.queues, load.size)?;
        Ok(Lane {
            stream,
            manner: load.manner,
            length: load.length,
            template,
            digits,
            out: BytesMut::new(),
            inbox: BytesMut::with_capacity(OUT_BYTES),
            prepared: 0,
            taken: 0,
            answered: 0,
            taken_at: vec![0; FLIGHT_MAX as usize],
            seen: Seen::default(),
        })
    }

    /// What becomes of everything. A connection that ends too early is answered nothing more.
    async fn run(mut self, start: Instant) -> Seen {
        if let Err(error) = self.exchange(start).await {
            self.seen.unanswered = (self.prepared - self.answered).max(1);
            self.seen.remark.get_or_insert(format!("{error:#}"));
        }
        self.seen
    }

    async fn exchange(&mut self, start: Instant) -> anyhow::Result<()> {
        loop {
            let now = start.elapsed();
            let is_over = now >= self.length;
            if is_over && self.answered == self.prepared {
                break;
            }
            if now >= self.length + LAST_ANSWERS {
                self.seen.unanswered = self.prepared - self.answered;
                break;
            }
            if !is_over {
                self.prepare(now);
            }
            self.write(start)?;
            let interest = if self.out.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            // Whatever it was: the next round finds out.
            drop(tokio::time::timeout(Duration::from_millis(1), self.stream.ready(interest)).await);
            self.read(start)?;
        }
        Ok(())
    }

    /// Prepares what is due, as far as there is room.
    fn prepare(&mut self, now: Duration) {
        let mut wanted = match self.manner {
            Manner::Closed(in_flight) => in_flight.saturating_sub(self.prepared - self.answered),
            Manner::Open(per_second) => {
                let due = (now.as_secs_f64() * per_second) as u64;
                let behind = due.saturating_sub(self.prepared + self.seen.untaken);
                let patience = (PATIENCE.as_secs_f64() * per_second) as u64;
                self.seen.untaken += behind.saturating_sub(patience);
                behind.min(patience)
            }
        };
        while wanted > 0 && self.out.len() < OUT_BYTES && self.prepared - self.answered < FLIGHT_MAX {
            let begin = self.out.len() + self.digits;
            self.out.extend_from_slice(&self.template);
            let number = (FIRST + (self.prepared % FLIGHT_MAX) as i32).to_string();
            self.out[begin..begin + number.len()].copy_from_slice(number.as_bytes());
            self.prepared += 1;
            wanted -= 1;
        }
    }

    fn write(&mut self, start: Instant) -> anyhow::Result<()> {
        while !self.out.is_empty() {
            match self.stream.try_write(&self.out) {
                Ok(written) => self.out.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let taken = self.prepared - self.out.len().div_ceil(self.template.len()) as u64;
        let now = start.elapsed().as_micros() as u32;
        for number in self.taken..taken {
            self.taken_at[(number % FLIGHT_MAX) as usize] = now;
        }
        self.taken = taken;
        Ok(())
    }

    fn read(&mut self, start: Instant) -> anyhow::Result<()> {
        loop {
            self.inbox.reserve(OUT_BYTES);
            match self.stream.try_read_buf(&mut self.inbox) {
                Ok(0) => anyhow::bail!("the broker has closed a connection"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let now = start.elapsed().as_micros() as u32;
            while let Some(frame) = Decoder::default().next(&mut self.inbox)? {
                self.note(&frame, now);
            }
        }
    }

    fn note(&mut self, frame: &Frame, now: u32) {
        self.answered += 1;
        match ResponseCode(frame.code) {
            ResponseCode::SUCCESS => {
                let taken = self.taken_at.get((frame.opaque - FIRST).unsigned_abs() as usize);
                self.seen.ok += 1;
                self.seen
                    .times
                    .push(now.saturating_sub(taken.copied().unwrap_or_default()));
                let step = (u128::from(now) / STEP.as_micros()) as usize;
                if self.seen.steps.len() <= step {
                    self.seen.steps.resize(step + 1, 0);
                }
                self.seen.steps[step] += 1;
            }
            code => {
                match code {
                    ResponseCode::SYSTEM_BUSY => self.seen.busy += 1,
                    _ => self.seen.other += 1,
                }
                let remark = || frame.remark.as_deref().map(str::to_owned);
                self.seen.remark = self.seen.remark.take().or_else(remark);
            }
        }
    }
}

/// A client that asks little: one message every ten milliseconds, the next when the last one is answered. It has a thread of
/// its own, so that it does not wait for its turn among those that send much.
pub(super) struct Quiet {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Asked>>>,
}

/// One message of a quiet client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Instant,
    /// Until the answer, microseconds.
    pub(super) took: u32,
    pub(super) code: i32,
}

impl Quiet {
    pub(super) fn start(broker: SocketAddr, topic: &str, size: usize) -> anyhow::Result<Quiet> {
        let (bytes, _) = frame(topic, 0, size)?;
        let stream = std::net::TcpStream::connect(broker)?;
        stream.set_nodelay(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || ask_now_and_then(stream, &bytes, &stopped));
        Ok(Quiet { stop, thread })
    }

    pub(super) fn stop(self) -> anyhow::Result<Vec<Asked>> {
        self.stop.store(true, Ordering::Relaxed);
        joined(self.thread)
    }
}

fn ask_now_and_then(
    mut stream: std::net::TcpStream,
    bytes: &[u8],
    stop: &AtomicBool,
) -> anyhow::Result<Vec<Asked>> {
    use std::io::{Read as _, Write as _};
    let (mut asked, mut inbox, mut part) = (Vec::new(), BytesMut::new(), [0; 4096]);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(QUIET_EVERY);
        let at = Instant::now();
        stream.write_all(bytes)?;
        let answer = loop {
            if let Some(frame) = Decoder::default().next(&mut inbox)? {
                break frame;
            }
            let read = stream.read(&mut part)?;
            anyhow::ensure!(read > 0, "the broker has closed a connection");
            inbox.extend_from_slice(part.get(..read).unwrap_or_default());
        };
        asked.push(Asked {
            at,
            took: at.elapsed().as_micros() as u32,
            code: answer.code,
        });
    }
    Ok(asked)
}

/// Sends from a thread of its own; what each connection saw.
pub(super) fn run_apart(load: Load) -> JoinHandle<anyhow::Result<Vec<Seen>>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(run_each(&load))
    })
}

/// What a thread came to.
pub(super) fn joined<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("a client has panicked"))?
}
