// SPDX-License-Identifier: Apache-2.0
//! A store on a simulated disk with what keeps it going, as a master or as a slave: it can be frozen, and crash.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use net::BoxFuture;
use parking_lot::Mutex;
use store::disk::sim::{Loss, SimDisk};
use store::env::Clock;
use store::env::sim::SimRng;
use store::{Draft, Env, FlushMode, LogPos, ReadError, Receipt, Store, StoreConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use wire::record::Record;

use super::super::status::Follower;
use super::super::{Replication, feed, follow};
use super::cable::{Cable, Listening, Port};
use crate::config::Config;
use crate::world::START_MS;

pub(super) const SEGMENT_BYTES: u64 = 4096;
const STEP: Duration = Duration::from_millis(10);

/// Real time stands still; this is tokio's.
#[derive(Debug)]
pub(super) struct Virtual(Instant);

impl Virtual {
    pub(super) fn begin() -> Arc<Virtual> {
        Arc::new(Virtual(Instant::now()))
    }
}

impl Clock for Virtual {
    fn now_ms(&self) -> i64 {
        START_MS + self.0.elapsed().as_millis() as i64
    }

    fn instant(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn utc_offset_secs(&self) -> i64 {
        0
    }
}

/// Stops all tasks of a node between two steps.
#[derive(Debug, Default)]
struct Ice(Mutex<(bool, Vec<Waker>)>);

struct Freezable<F> {
    ice: Arc<Ice>,
    task: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Freezable<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        {
            let mut ice = self.ice.0.lock();
            if ice.0 {
                ice.1.push(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.task.as_mut().poll(cx)
    }
}

pub(super) struct Node {
    pub(super) disk: Arc<SimDisk>,
    pub(super) flush: FlushMode,
    pub(super) life: Option<Life>,
    id: i64,
    clock: Arc<Virtual>,
    ice: Arc<Ice>,
    /// Why the last links ended, newest last, each with the id of its slave.
    said: Arc<Mutex<Vec<(i64, String)>>>,
}

/// What ends with the process.
pub(super) struct Life {
    pub(super) store: Arc<Store>,
    /// Of a master.
    pub(super) replication: Arc<Replication>,
    tasks: JoinSet<()>,
}

pub(super) fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    config
}

const FEED: feed::Pace = feed::Pace {
    body_max: 1000,
    heartbeat: Duration::from_secs(1),
    silence_max: Duration::from_secs(4),
    bytes_per_second: 0,
};
const DOOR: feed::Door = feed::Door {
    is_open: false,
    slaves_max: 8,
};
const FOLLOW: follow::Pace = follow::Pace {
    heartbeat: Duration::from_secs(1),
    silence_max: Duration::from_secs(4),
};

impl Node {
    pub(super) fn new(seed: u64, flush: FlushMode, clock: &Arc<Virtual>) -> Node {
        Node {
            disk: Arc::new(SimDisk::seeded(seed)),
            flush,
            life: None,
            id: (seed % 10 + 1).cast_signed(),
            clock: Arc::clone(clock),
            ice: Arc::default(),
            said: Arc::default(),
        }
    }

    fn open(&self, follows: bool) -> Arc<Store> {
        let env = Env {
            clock: self.clock.clone(),
            disk: self.disk.clone(),
            rng: Arc::new(SimRng::seeded(1)),
        };
        let config = StoreConfig {
            segment_bytes: SEGMENT_BYTES,
            queue_file_bytes: 20 * 8,
            index_slots: 16,
            index_entries: 48,
            flush: self.flush,
            hot_bytes: 1024,
            queue_files_open_max: 4,
            reserved: Duration::from_secs(20),
            follows,
            ..StoreConfig::at("/store")
        };
        self.disk.set_now_ms(self.clock.now_ms());
        Store::open_manual(config, env).expect("store opens")
    }

    fn start(&mut self, store: Arc<Store>, config: &Config, links: impl FnOnce(&Node, &mut Life)) {
        let replication = Arc::new(Replication::of(config, self.clock.instant()));
        replication.note(&store, |quorum| quorum.begin(store.written().0));
        let mut life = Life {
            store,
            replication,
            tasks: JoinSet::new(),
        };
        let (store, replication) = (Arc::clone(&life.store), Arc::clone(&life.replication));
        let (disk, clock) = (Arc::clone(&self.disk), Arc::clone(&self.clock));
        life.tasks.spawn(self.freezable(async move {
            for turn in 1_u64.. {
                sleep(STEP).await;
                let now_ms = clock.now_ms();
                disk.set_now_ms(now_ms);
                store.drive();
                if store.config().flush == FlushMode::Sync || turn.is_multiple_of(50) {
                    store.turn_flush();
                }
                if turn.is_multiple_of(100) {
                    store.turn_tidy();
                }
                if turn.is_multiple_of(10) {
                    replication.note(&store, |quorum| quorum.tick(now_ms, store.written().0));
                }
            }
        }));
        links(self, &mut life);
        self.life = Some(life);
    }

    fn freezable<F: Future<Output = ()>>(&self, task: F) -> Freezable<F> {
        Freezable {
            ice: Arc::clone(&self.ice),
            task: Box::pin(task),
        }
    }

    /// Starts as the master, on this port.
    pub(super) fn lead(&mut self, port: &Port, config: &Config) {
        let store = self.open(false);
        let (links, mut accepted) = mpsc::unbounded_channel();
        self.start(store, config, |node, life| {
            let (store, replication) = (Arc::clone(&life.store), Arc::clone(&life.replication));
            let (said, ice) = (Arc::clone(&node.said), Arc::clone(&node.ice));
            life.tasks.spawn(node.freezable(async move {
                let mut links = JoinSet::new();
                while let Some((slave, halves)) = accepted.recv().await {
                    let (store, replication) = (Arc::clone(&store), Arc::clone(&replication));
                    let said = Arc::clone(&said);
                    links.spawn(Freezable {
                        ice: Arc::clone(&ice),
                        task: Box::pin(async move {
                            let addr = ([127, 0, 0, 1], 1).into();
                            let error = feed::feed(&store, &replication, (addr, DOOR), halves, FEED).await;
                            said.lock().push((slave, error.to_string()));
                        }),
                    });
                }
            }));
        });
        *port.lock() = Some(Listening {
            links,
            replication: Arc::clone(self.replication()),
        });
    }

    /// Starts as a slave at the other end of this cable.
    pub(super) fn follow(&mut self, cable: &Arc<Cable>) {
        let store = self.open(true);
        self.start(store, &Config::default(), |node, life| {
            let (store, id) = (Arc::clone(&life.store), node.id);
            let (said, cable) = (Arc::clone(&node.said), Arc::clone(cable));
            life.tasks.spawn(node.freezable(async move {
                let follower = Follower::default();
                let learn = || -> BoxFuture<_> { Box::pin(std::future::ready(Ok(()))) };
                loop {
                    let token = cable.hello(id);
                    if let (Some(token), Some(mut halves)) = (token, cable.connect(id)) {
                        halves.1.write_i64(-token).await.unwrap();
                        let error = follow::follow(&store, (&follower, &learn), halves, FOLLOW).await;
                        said.lock().push((id, error.to_string()));
                    }
                    sleep(Duration::from_millis(100)).await;
                }
            }));
        });
    }

    pub(super) fn freeze(&self) {
        self.ice.0.lock().0 = true;
    }

    pub(super) fn thaw(&self) {
        let mut ice = self.ice.0.lock();
        ice.0 = false;
        ice.1.drain(..).for_each(Waker::wake);
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.life.as_ref().expect("node is up").store
    }

    pub(super) fn replication(&self) -> &Arc<Replication> {
        &self.life.as_ref().expect("node is up").replication
    }

    /// Ends at any moment, and loses so much of what is not synced.
    pub(super) async fn crash(&mut self, loss: Loss) {
        self.thaw();
        if let Some(mut life) = self.life.take() {
            life.tasks.shutdown().await;
        }
        self.mend();
        self.disk.crash(loss);
    }

    /// A disk with room, that is quick.
    pub(super) fn mend(&self) {
        self.disk.set_full(false);
        self.disk.set_cold(false);
    }

    /// Ends in order.
    pub(super) async fn stop(&mut self) {
        self.thaw();
        self.mend();
        if let Some(mut life) = self.life.take() {
            life.tasks.shutdown().await;
            life.store.close().expect("store closes");
        }
    }

    pub(super) fn last_said(&self) -> String {
        let said = self.said.lock();
        said.last().map(|(_, said)| said.clone()).unwrap_or_default()
    }

    /// Of the last link to one of its slaves.
    pub(super) fn last_said_to(&self, slave: &Node) -> String {
        let said = self.said.lock();
        let last = said.iter().rev().find(|(id, _)| *id == slave.id);
        last.map(|(_, said)| said.clone()).unwrap_or_default()
    }
}

/// Appends a message, and writes it.
pub(super) fn append(
    store: &Store,
    topic: &str,
    id: u32,
    body: &[u8],
) -> Result<Receipt, store::AppendError> {
    let queue = store.queue(topic, id);
    let receipt = store.append(&Draft {
        queue: &queue,
        flag: 0,
        sys_flag: 0,
        born_at: 1,
        born_host: ([127, 0, 0, 1], 1234).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_pos: 0,
        body,
        properties: b"TAGS\x01Tag\x02",
        wait: true,
    });
    store.drive();
    receipt
}

/// Every record of a log, read from position to position.
pub(super) fn walk(store: &Store) -> Vec<Record> {
    let mut all = Vec::new();
    let mut pos = store.min_pos().0;
    let segment = SEGMENT_BYTES as i64;
    while pos < store.written().0 {
        match store.record_at(LogPos(pos)) {
            Ok(bytes) => {
                let record = Record::decode(&bytes).expect("record is sound");
                pos += record.total_size as i64;
                all.push(record);
            }
            // Behind the last record of a file lies a blank.
            Err(ReadError::NoRecord(_)) => pos = (pos / segment + 1) * segment,
            Err(error) => panic!("log at {pos}: {error}"),
        }
    }
    all
}

/// The first position at which two logs are not the same, of those that both have.
pub(super) fn difference(one: &Store, other: &Store) -> Option<i64> {
    let mut pos = one.min_pos().max(other.min_pos());
    let end = one.written().min(other.written());
    while pos < end {
        let max = usize::try_from(end.0 - pos.0).unwrap();
        let ours = one.log_bytes(pos, max, true).unwrap();
        let theirs = other.log_bytes(pos, max, true).unwrap();
        let pairs = || ours.iter().zip(&theirs);
        if let Some(at) = pairs().position(|(a, b)| a != b) {
            return Some(pos.0 + at as i64);
        }
        pos.0 += pairs().count() as i64;
    }
    None
}
