// SPDX-License-Identifier: Apache-2.0
//! All nodes of a simulation, their time, and what they share. One thread runs them in turns of some milliseconds each.
//!
//! Each node has a runtime of its own, which ends with it: a process that is killed leaves nothing behind but its files.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use store::Env;
use store::disk::sim::{Loss, SimDisk};
use store::env::Clock;
use store::env::sim::SimRng;
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::task::JoinHandle;

use crate::network::Net;

/// When every simulation begins, ms since 1970.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
static NOW_MS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static TURN_OF: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Milliseconds since the beginning.
pub(crate) fn now_ms() -> u64 {
    NOW_MS.load(Ordering::Relaxed)
}

/// Whose turn it is.
pub(crate) fn turn_of() -> String {
    TURN_OF.with_borrow(Clone::clone)
}

/// Time as nodes see it.
#[derive(Debug)]
struct Virtual;

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        (START_MS + now_ms()).cast_signed()
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn utc_offset_secs(&self) -> i64 {
        0
    }
}

/// What a node does from its start to its end.
pub(crate) type Main = Pin<Box<dyn Future<Output = ()> + Send>>;
/// Makes it.
pub(crate) type Begin = Box<dyn Fn(Env) -> Main>;

/// How a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Its process is killed.
    Kill,
    /// It loses its power, and all or a part of what was not synced.
    PowerCut(Loss),
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) disk: Arc<SimDisk>,
    begin: Begin,
    life: Option<Life>,
    /// Stands still until then: a process that is stopped, or waits for its disk.
    pub(crate) frozen_until_ms: u64,
    lives: u64,
    seed: u64,
}

struct Life {
    runtime: Runtime,
    main: JoinHandle<()>,
    /// What its own clock has come to.
    at_ms: u64,
}

impl Node {
    pub(crate) fn is_up(&self) -> bool {
        self.life.is_some()
    }
}

/// All of it.
pub(crate) struct World {
    pub(crate) net: Arc<Net>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: SimRng,
    seed: u64,
}

impl World {
    pub(crate) fn seeded(seed: u64) -> World {
        store::env::stay_on_this_thread();
        NOW_MS.store(0, Ordering::Relaxed);
        World {
            net: Net::seeded(seed ^ 0x006e_6574),
            nodes: Vec::new(),
            rng: SimRng::seeded(seed),
            seed,
        }
    }

    /// A host with a disk, and what runs on it once it is started.
    pub(crate) fn add(&mut self, name: &str, begin: Begin) -> usize {
        let index = self.nodes.len();
        let seed = self.seed.wrapping_mul(31).wrapping_add(index as u64);
        self.nodes.push(Node {
            name: name.to_owned(),
            ip: Ipv4Addr::new(10, 0, 0, index as u8 + 1).into(),
            disk: Arc::new(SimDisk::seeded(seed)),
            begin,
            life: None,
            frozen_until_ms: 0,
            lives: 0,
            seed,
        });
        index
    }

    pub(crate) fn ip(&self, node: usize) -> IpAddr {
        self.nodes[node].ip
    }

    /// Starts the process of a node, on the disk it has.
    pub(crate) fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.life.is_some() {
            return;
        }
        node.lives += 1;
        node.frozen_until_ms = 0;
        let seed = node.seed.wrapping_mul(7919).wrapping_add(node.lives);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
            .build()
            .expect("a runtime without threads");
        self.net.begin_host(node.ip);
        net::socket::enter(Some(self.net.host(node.ip)));
        TURN_OF.set(node.name.clone());
        node.disk.set_now_ms((START_MS + now_ms()).cast_signed());
        let env = Env {
            clock: Arc::new(Virtual),
            disk: Arc::clone(&node.disk) as _,
            rng: Arc::new(SimRng::seeded(seed)),
        };
        let entered = runtime.enter();
        let main = runtime.spawn((node.begin)(env));
        drop(entered);
        node.life = Some(Life {
            runtime,
            main,
            at_ms: now_ms(),
        });
    }

    /// Ends a node at any moment.
    pub(crate) fn end(&mut self, index: usize, end: End) {
        let node = &mut self.nodes[index];
        let Some(life) = node.life.take() else { return };
        let (loss, is_dark) = match end {
            End::Kill => (Loss::Nothing, false),
            End::PowerCut(loss) => (loss, true),
        };
        self.net.end_host(node.ip, is_dark);
        // First: whatever is dropped with the process writes nothing any more.
        node.disk.crash(loss);
        TURN_OF.set(node.name.clone());
        net::socket::enter(Some(self.net.host(node.ip)));
        drop(life);
        node.frozen_until_ms = 0;
    }

    /// One turn of all nodes, of so many milliseconds. Returns those that have ended by themselves.
    pub(crate) fn turn(&mut self, ms: u64) -> Vec<usize> {
        let now = NOW_MS.fetch_add(ms, Ordering::Relaxed) + ms;
        self.net.turn(now);
        let mut ended = Vec::new();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.frozen_until_ms > now {
                continue;
            }
            let Some(life) = &mut node.life else { continue };
            net::socket::enter(Some(self.net.host(node.ip)));
            TURN_OF.with_borrow_mut(|name| name.clone_from(&node.name));
            node.disk.set_now_ms((START_MS + now).cast_signed());
            let late = now - life.at_ms;
            life.at_ms = now;
            life.runtime.block_on(async {
                if late > ms {
                    // A process that stood still finds that time has passed at once.
                    tokio::time::advance(Duration::from_millis(late - ms)).await;
                }
                tokio::time::sleep(Duration::from_millis(ms)).await;
            });
            if life.main.is_finished() {
                ended.push(index);
            }
        }
        ended
    }
}

/// What happened, in order. The same seed gives the same lines.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(crate) fn line(&self, who: &str, what: impl std::fmt::Display) {
        let now = now_ms();
        let mut text = self.0.lock();
        let _in_memory = writeln!(text, "{:>3}.{:03} {who:<10} {what}", now / 1000, now % 1000);
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().clone()
    }
}
