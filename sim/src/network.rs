// SPDX-License-Identifier: Apache-2.0
//! A network in memory, in virtual time: connections that keep their bytes in order, as TCP does, over ways that are late, cut in
//! one direction or both, and that are reset at any moment.
//!
//! Time moves in ticks: what is sent in a tick arrives in a later one, so that the order in which nodes take their turns within
//! a tick makes no difference to what they see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use net::BoxFuture;
use net::socket::{Line, Network, Port};
use parking_lot::Mutex;
use store::env::Rng as _;
use store::env::sim::SimRng;
use tokio::io::ReadBuf;

/// Bytes that were written and not read yet, in one direction.
const BUFFER_BYTES: usize = 64 << 10;
/// So often a connection is tried that gets no answer.
const RETRY_MS: u64 = 1000;
/// A way that is cut for so long ends connections whose bytes wait for it.
const PATIENCE_MS: u64 = 15_000;
/// Where ports begin that nobody chose.
const FREE_PORTS: u16 = 40_000;

/// How late bytes are, and whether they arrive at all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) is_cut: bool,
    pub(crate) least_ms: u64,
    pub(crate) most_ms: u64,
}

impl Default for Way {
    fn default() -> Way {
        Way {
            is_cut: false,
            least_ms: 1,
            most_ms: 1,
        }
    }
}

/// All of it.
pub(crate) struct Net(Mutex<State>);

struct State {
    now_ms: u64,
    rng: SimRng,
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    ports: BTreeMap<SocketAddr, Door>,
    /// Hosts that are without power: nothing answers there.
    dark: BTreeSet<IpAddr>,
    lines: BTreeMap<u64, Joined>,
    /// Lines of which a turn may change something.
    busy: BTreeSet<u64>,
    next_line: u64,
    next_port: u16,
    dials: Vec<Dial>,
}

#[derive(Default)]
struct Door {
    life: u64,
    waiting: VecDeque<(u64, SocketAddr)>,
    waker: Option<Waker>,
}

struct Dial {
    line: u64,
    due_ms: u64,
}

/// A connection. End 0 is that of whoever connected.
struct Joined {
    addrs: [SocketAddr; 2],
    is_up: bool,
    refused: Option<io::ErrorKind>,
    dialer: Option<Waker>,
    /// By the end that writes.
    ways: [Flow; 2],
    /// By end: nobody holds it any more.
    is_gone: [bool; 2],
    /// By end: what comes next is an error.
    is_reset: [bool; 2],
}

/// Bytes from one end to the other.
#[derive(Default)]
struct Flow {
    under_way: VecDeque<(u64, Vec<u8>)>,
    arrived: VecDeque<u8>,
    bytes: usize,
    /// The end of the stream is under way, or has arrived.
    fin: Option<u64>,
    is_ended: bool,
    stuck_since_ms: Option<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Flow {
    fn is_busy(&self) -> bool {
        self.fin.is_some() || !self.under_way.is_empty()
    }

    fn wake(&mut self) {
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

impl Joined {
    fn reset(&mut self, end: usize) {
        self.is_reset[end] = true;
        self.ways.iter_mut().for_each(Flow::wake);
        if !self.is_up {
            self.refused = Some(io::ErrorKind::ConnectionReset);
            wake(&mut self.dialer);
        }
    }
}

impl Net {
    pub(crate) fn seeded(seed: u64) -> Arc<Net> {
        Arc::new(Net(Mutex::new(State {
            now_ms: 0,
            rng: SimRng::seeded(seed),
            ways: BTreeMap::new(),
            ports: BTreeMap::new(),
            dark: BTreeSet::new(),
            lines: BTreeMap::new(),
            busy: BTreeSet::new(),
            next_line: 1,
            next_port: FREE_PORTS,
            dials: Vec::new(),
        })))
    }

    /// The network as this host sees it.
    pub(crate) fn host(self: &Arc<Net>, ip: IpAddr) -> Arc<dyn Network> {
        Arc::new(Host {
            net: Arc::clone(self),
            ip,
        })
    }

    /// Changes the way from one host to another.
    pub(crate) fn set_way(&self, from: IpAddr, to: IpAddr, way: Way) {
        self.0.lock().ways.insert((from, to), way);
    }

    /// All ways are as they were in the beginning, and who has a connection that is none for the other end knows it.
    pub(crate) fn mend(&self) {
        let mut state = self.0.lock();
        state.ways.clear();
        for line in state.lines.values_mut() {
            if line.is_reset.contains(&true) {
                (0..2).for_each(|end| line.reset(end));
            }
        }
    }

    /// Ends connections between two hosts: for both ends, or for one, and the other learns it when it writes.
    pub(crate) fn reset(&self, one: IpAddr, other: IpAddr, is_half: bool) {
        let mut state = self.0.lock();
        for line in state.lines.values_mut() {
            let ips = line.addrs.map(|addr| addr.ip());
            if ips != [one, other] && ips != [other, one] {
                continue;
            }
            line.reset(0);
            if !is_half {
                line.reset(1);
            }
        }
    }

    /// The process on a host has ended, and the system closed what it had open; or the host has lost its power, and says nothing
    /// to anybody.
    pub(crate) fn end_host(&self, ip: IpAddr, is_dark: bool) {
        let mut state = self.0.lock();
        let state = &mut *state;
        state.ports.retain(|addr, _| addr.ip() != ip);
        if is_dark {
            state.dark.insert(ip);
        }
        for (id, line) in &mut state.lines {
            for end in 0..2 {
                if line.addrs[end].ip() != ip {
                    continue;
                }
                state.busy.insert(*id);
                line.is_gone[end] = true;
                line.is_reset[end] = true;
                // What it said last may have been on its way, or not have left it.
                let flow = &mut line.ways[end];
                let way = (line.addrs[end].ip(), line.addrs[1 - end].ip());
                let is_open = !state.ways.get(&way).is_some_and(|way| way.is_cut);
                if is_dark && is_open && state.rng.below(2) == 0 {
                    let last = std::mem::take(&mut flow.under_way);
                    flow.arrived.extend(last.into_iter().flat_map(|(_, bytes)| bytes));
                    wake(&mut flow.reader);
                }
                flow.under_way.clear();
                line.ways[end].fin = None;
                if !is_dark {
                    line.reset(1 - end);
                }
            }
        }
    }

    /// The host has power.
    pub(crate) fn begin_host(&self, ip: IpAddr) {
        self.0.lock().dark.remove(&ip);
    }

    /// Moves on to this moment: what is due arrives.
    pub(crate) fn turn(&self, now_ms: u64) {
        let mut state = self.0.lock();
        state.now_ms = now_ms;
        state.connect_due();
        state.deliver_due();
    }
}

impl State {
    fn way(&self, from: IpAddr, to: IpAddr) -> Way {
        let mut way = self.ways.get(&(from, to)).copied().unwrap_or_default();
        way.is_cut |= self.dark.contains(&from) || self.dark.contains(&to);
        way
    }

    fn lateness(&self, way: Way) -> u64 {
        way.least_ms + self.rng.below(way.most_ms - way.least_ms + 1)
    }

    fn connect_due(&mut self) {
        let now_ms = self.now_ms;
        let (due, later) = std::mem::take(&mut self.dials)
            .into_iter()
            .partition::<Vec<_>, _>(|dial| dial.due_ms <= now_ms);
        self.dials = later;
        for dial in due {
            let Some([from, to]) = self.lines.get(&dial.line).map(|line| line.addrs) else {
                continue;
            };
            let is_cut = self.way(from.ip(), to.ip()).is_cut || self.way(to.ip(), from.ip()).is_cut;
            if is_cut {
                self.dials.push(Dial {
                    line: dial.line,
                    due_ms: now_ms + RETRY_MS,
                });
                continue;
            }
            let Some(line) = self.lines.get_mut(&dial.line) else {
                continue;
            };
            match self.ports.get_mut(&to) {
                Some(door) if !line.is_gone[0] => {
                    line.is_up = true;
                    door.waiting.push_back((dial.line, from));
                    wake(&mut door.waker);
                }
                _ => line.refused = Some(io::ErrorKind::ConnectionRefused),
            }
            wake(&mut line.dialer);
        }
    }

    fn deliver_due(&mut self) {
        for id in std::mem::take(&mut self.busy) {
            for end in 0..2 {
                self.deliver(id, end);
            }
            let Some(line) = self.lines.get(&id) else { continue };
            if line.is_gone == [true; 2] {
                self.lines.remove(&id);
            } else if line.ways.iter().any(Flow::is_busy) {
                self.busy.insert(id);
            }
        }
    }

    /// What an end has written.
    fn deliver(&mut self, id: u64, end: usize) {
        let now_ms = self.now_ms;
        let Some(addrs) = self.lines.get(&id).map(|line| line.addrs) else {
            return;
        };
        let is_cut = self.way(addrs[end].ip(), addrs[1 - end].ip()).is_cut;
        let Some(line) = self.lines.get_mut(&id) else {
            return;
        };
        let is_gone = line.is_gone[1 - end];
        let flow = &mut line.ways[end];
        if !flow.is_busy() {
            return;
        }
        if is_cut {
            let since = *flow.stuck_since_ms.get_or_insert(now_ms);
            if now_ms - since > PATIENCE_MS {
                line.reset(end);
            }
            return;
        }
        flow.stuck_since_ms = None;
        if is_gone {
            // Nobody is there any more: what comes is answered by a reset.
            flow.under_way.clear();
            flow.fin = None;
            line.reset(end);
            return;
        }
        let mut has_news = false;
        while let Some((_, bytes)) = flow.under_way.pop_front_if(|(due_ms, _)| *due_ms <= now_ms) {
            flow.arrived.extend(bytes);
            has_news = true;
        }
        if flow.under_way.is_empty() && flow.fin.is_some_and(|due_ms| due_ms <= now_ms) {
            flow.fin = None;
            flow.is_ended = true;
            has_news = true;
        }
        if has_news {
            wake(&mut flow.reader);
        }
    }
}

struct Host {
    net: Arc<Net>,
    ip: IpAddr,
}

impl Network for Host {
    fn listen(&self, addr: SocketAddr) -> io::Result<Box<dyn Port>> {
        let mut state = self.net.0.lock();
        let mut addr = SocketAddr::new(self.ip, addr.port());
        if addr.port() == 0 {
            state.next_port += 1;
            addr.set_port(state.next_port);
        }
        if state.ports.contains_key(&addr) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let life = state.next_line;
        state.next_line += 1;
        state.ports.insert(
            addr,
            Door {
                life,
                ..Door::default()
            },
        );
        Ok(Box::new(Listening {
            net: Arc::clone(&self.net),
            addr,
            life,
        }))
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<io::Result<Arc<dyn Line>>> {
        let mut state = self.net.0.lock();
        let id = state.next_line;
        state.next_line += 1;
        state.next_port = state.next_port.checked_add(1).unwrap_or(FREE_PORTS);
        let local = SocketAddr::new(self.ip, state.next_port);
        let due_ms = state.now_ms + 2 * state.lateness(state.way(self.ip, addr.ip()));
        state.lines.insert(
            id,
            Joined {
                addrs: [local, addr],
                is_up: false,
                refused: None,
                dialer: None,
                ways: Default::default(),
                is_gone: [false; 2],
                is_reset: [false; 2],
            },
        );
        state.dials.push(Dial { line: id, due_ms });
        drop(state);
        let end = Arc::new(End {
            net: Arc::clone(&self.net),
            line: id,
            end: 0,
            local,
        });
        Box::pin(async move {
            std::future::poll_fn(|cx| end.poll_up(cx)).await?;
            Ok(end as Arc<dyn Line>)
        })
    }
}

struct Listening {
    net: Arc<Net>,
    addr: SocketAddr,
    life: u64,
}

impl Port for Listening {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn accept(&self) -> BoxFuture<io::Result<(Arc<dyn Line>, SocketAddr)>> {
        let (net, local, life) = (Arc::clone(&self.net), self.addr, self.life);
        Box::pin(std::future::poll_fn(move |cx| {
            let mut state = net.0.lock();
            let Some(door) = state.ports.get_mut(&local).filter(|door| door.life == life) else {
                return Poll::Pending;
            };
            let Some((line, from)) = door.waiting.pop_front() else {
                door.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            drop(state);
            let end = End {
                net: Arc::clone(&net),
                line,
                end: 1,
                local,
            };
            Poll::Ready(Ok((Arc::new(end) as Arc<dyn Line>, from)))
        }))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut state = self.net.0.lock();
        if state
            .ports
            .get(&self.addr)
            .is_some_and(|door| door.life == self.life)
        {
            let door = state.ports.remove(&self.addr).unwrap_or_default();
            for (line, _) in door.waiting {
                if let Some(line) = state.lines.get_mut(&line) {
                    line.reset(0);
                }
            }
        }
    }
}

struct End {
    net: Arc<Net>,
    line: u64,
    end: usize,
    local: SocketAddr,
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl End {
    fn poll_up(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.0.lock();
        let Some(line) = state.lines.get_mut(&self.line) else {
            return Poll::Ready(Err(reset()));
        };
        if let Some(kind) = line.refused {
            return Poll::Ready(Err(kind.into()));
        }
        if line.is_up {
            return Poll::Ready(Ok(()));
        }
        line.dialer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Line for End {
    fn local_addr(&self) -> SocketAddr {
        self.local
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.0.lock();
        let Some(line) = state.lines.get_mut(&self.line) else {
            return Poll::Ready(Err(reset()));
        };
        if line.is_reset[self.end] {
            return Poll::Ready(Err(reset()));
        }
        let flow = &mut line.ways[1 - self.end];
        if flow.arrived.is_empty() {
            if flow.is_ended {
                return Poll::Ready(Ok(()));
            }
            flow.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most = flow.arrived.len().min(buf.remaining());
        let taken: Vec<u8> = flow.arrived.drain(..most).collect();
        buf.put_slice(&taken);
        flow.bytes -= most;
        wake(&mut flow.writer);
        Poll::Ready(Ok(()))
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.net.0.lock();
        let Some(line) = state.lines.get_mut(&self.line) else {
            return Poll::Ready(Err(reset()));
        };
        if line.is_reset[self.end] {
            return Poll::Ready(Err(reset()));
        }
        let flow = &mut line.ways[self.end];
        if flow.bytes < BUFFER_BYTES {
            return Poll::Ready(Ok(()));
        }
        flow.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.net.0.lock();
        let state = &mut *state;
        let now_ms = state.now_ms;
        let line = state.lines.get(&self.line).ok_or_else(reset)?;
        let (from, to) = (line.addrs[self.end].ip(), line.addrs[1 - self.end].ip());
        let late_ms = state.lateness(state.way(from, to));
        // How much fits is decided by chance, so that frames arrive in pieces.
        let chance = state.rng.below(8);
        let piece = 1 + state.rng.below(600) as usize;
        let line = state.lines.get_mut(&self.line).ok_or_else(reset)?;
        if line.is_reset[self.end] {
            return Err(reset());
        }
        let flow = &mut line.ways[self.end];
        let mut room = BUFFER_BYTES.saturating_sub(flow.bytes);
        if room == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if chance == 0 {
            room = room.min(piece);
        }
        let mut bytes = Vec::new();
        for slice in slices {
            let most = room - bytes.len();
            bytes.extend_from_slice(&slice[..slice.len().min(most)]);
        }
        let count = bytes.len();
        // Bytes of a connection do not overtake each other.
        let behind_ms = flow.under_way.back().map_or(0, |(due_ms, _)| *due_ms);
        flow.under_way
            .push_back(((now_ms + late_ms).max(behind_ms), bytes));
        flow.bytes += count;
        state.busy.insert(self.line);
        Ok(count)
    }

    fn shutdown(&self) {
        let mut state = self.net.0.lock();
        let now_ms = state.now_ms;
        state.busy.insert(self.line);
        let line = state.lines.get_mut(&self.line);
        if let Some(line) = line.filter(|line| !line.is_reset[self.end]) {
            let flow = &mut line.ways[self.end];
            if !flow.is_ended && flow.fin.is_none() {
                let behind_ms = flow.under_way.back().map_or(0, |(due_ms, _)| *due_ms);
                flow.fin = Some((now_ms + 1).max(behind_ms));
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.shutdown();
        let mut state = self.net.0.lock();
        if let Some(line) = state.lines.get_mut(&self.line) {
            line.is_gone[self.end] = true;
            // What the other side still says goes nowhere.
            line.ways[1 - self.end].wake();
        }
    }
}
