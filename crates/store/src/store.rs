// SPDX-License-Identifier: Apache-2.0
//! The store as a whole: opening, closing, its threads, and what they share.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::bell::Bell;
use crate::compact::Compaction;
use crate::config::StoreConfig;
use crate::disk::{Lock, is_sync_failure};
use crate::draft::LogPos;
use crate::drive::{Publisher, Writer};
use crate::env::Env;
use crate::flush::{Syncs, UNSYNCED_FIRST};
use crate::handover::HandOver;
use crate::index::KeyIndex;
use crate::log::Log;
use crate::open::{Opened, Parts};
use crate::queue::Queue;
use crate::queue_files::QueueFiles;
use crate::queues::Queues;
use crate::seek::Searches;
use crate::tail::Tail;
use crate::tidy::Tidy;

/// An append log of messages with consume queues and a key index.
///
/// Locks, in the order they may be taken: that of a deletion, `tidy`, `writing`, `flushing`, `tail`, `publisher`, then those inside queues
/// and index. None is held across an `await`.
pub struct Store {
    pub(crate) config: StoreConfig,
    pub(crate) env: Env,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    pub(crate) queue_files: QueueFiles,
    pub(crate) index: KeyIndex,
    pub(crate) compaction: Compaction,
    pub(crate) tail: Mutex<Tail>,
    /// The work is to write what is pending.
    pub(crate) writing: HandOver<Writer>,
    pub(crate) publisher: Mutex<Publisher>,
    /// Held during a sync of the log.
    pub(crate) flushing: Mutex<Syncs>,
    pub(crate) tidy: Mutex<Tidy>,
    /// Where a master has sent a record that is damaged; -1: nowhere yet.
    pub(crate) damaged_at: AtomicI64,
    /// Messages that are looked for in the log because their entries are damaged.
    pub(crate) searches: Searches,
    /// Readers see nothing behind it; see [`Store::show`].
    pub(crate) visible: AtomicI64,
    /// [`Tail::generation`], to be read without its lock.
    pub(crate) generation: AtomicU32,
    /// Since when a write is under way; 0 when none is.
    pub(crate) writing_since_ms: AtomicI64,
    pub(crate) busy_after_ms: i64,
    /// Whether the disk is too full to write to.
    pub(crate) is_disk_full: AtomicBool,
    /// How much room is missing, after the disk was found full or a write found no room; 0 once one is done.
    pub(crate) missing_bytes: AtomicU64,
    /// Whether to look for files to remove at the next turn of the tidy thread.
    pub(crate) is_cleaning_due: AtomicBool,
    /// With SYNC_FLUSH: bytes that may wait for the disk, from what it has done lately.
    pub(crate) unsynced_max: AtomicI64,
    /// Bytes that may wait to be written now; see [`waiting_max`](crate::drive).
    pub(crate) waiting_max: AtomicUsize,
    /// Whether a thread that is not the store's own is in a sync; see [`Store::sync_soon`].
    pub(crate) is_caller_syncing: AtomicBool,
    pub(crate) manual_cleanings: AtomicU32,
    /// At each step of the log, for those who wait for a gate just now.
    pub(crate) progress: Arc<Notify>,
    /// The same without the writes, for those who wait for the disk.
    pub(crate) syncs: Arc<Notify>,
    /// At the end of the store, for those who wait for nothing else: they are not woken by each write.
    failing: Notify,
    pub(crate) flush_bell: Arc<Bell>,
    pub(crate) tidy_bell: Arc<Bell>,
    compact_bell: Arc<Bell>,
    failure: OnceLock<String>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn Lock>>>,
    follows_a_crash: bool,
}

/// Why a store did not close in order. The next opening recovers.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// The store had failed before.
    #[error("store failed: {0}")]
    Failed(String),
    /// The disk failed while closing.
    #[error("close: {0}")]
    Io(#[source] io::Error),
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.config.root)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Puts a store together from its opened parts.
    pub(crate) fn assemble(opened: Opened) -> Store {
        let Opened {
            config,
            env,
            parts,
            tidy,
            lock,
            found,
            follows_a_crash,
        } = opened;
        let Parts {
            log,
            queues,
            queue_files,
            index,
            compaction,
        } = parts;
        log.hot.start_at(found.end);
        log.written.store(found.end, Ordering::Release);
        log.durable.store(found.durable, Ordering::Release);
        let now = env.clock.instant();
        let tail = Tail::new(log.segment_bytes(), found.end, found.last_stored_at);
        Store {
            waiting_max: AtomicUsize::new(config.pending_bytes_max),
            busy_after_ms: i64::try_from(config.busy_after.as_millis()).unwrap_or(i64::MAX),
            config,
            env,
            log,
            queues,
            queue_files,
            index,
            compaction,
            tail: Mutex::new(tail),
            writing: HandOver::new(Writer::default()),
            publisher: Mutex::new(Publisher::new(&found)),
            flushing: Mutex::new(Syncs::new(now)),
            tidy: Mutex::new(tidy),
            damaged_at: AtomicI64::new(-1),
            searches: Searches::default(),
            visible: AtomicI64::new(i64::MAX),
            generation: AtomicU32::new(0),
            writing_since_ms: AtomicI64::new(0),
            is_disk_full: AtomicBool::new(false),
            missing_bytes: AtomicU64::new(0),
            is_cleaning_due: AtomicBool::new(false),
            unsynced_max: AtomicI64::new(UNSYNCED_FIRST),
            is_caller_syncing: AtomicBool::new(false),
            manual_cleanings: AtomicU32::new(0),
            progress: Arc::default(),
            syncs: Arc::default(),
            failing: Notify::new(),
            flush_bell: Arc::default(),
            tidy_bell: Arc::default(),
            compact_bell: Arc::default(),
            failure: OnceLock::new(),
            threads: Mutex::default(),
            lock: Mutex::new(Some(lock)),
            follows_a_crash,
        }
    }

    /// Starts the three threads.
    pub(crate) fn start_threads(self: &Arc<Store>) -> io::Result<()> {
        let first = self.config.flush_interval;
        self.start("store-flush", &self.flush_bell, first, Store::flush_round)?;
        let first = self.config.queue_flush_interval;
        self.start("store-tidy", &self.tidy_bell, first, Store::tidy_round)?;
        let first = self.config.compaction_interval;
        self.start("store-compact", &self.compact_bell, first, Store::compact_round)
    }

    /// What the threads do, as a task, where there are none. Ends with the store.
    pub async fn take_turns(&self) {
        let rounds = async |bell: &Bell, first, turn: fn(&Store) -> Duration| {
            let mut rest = first;
            while bell.rung(rest).await {
                rest = turn(self);
            }
        };
        tokio::join!(
            rounds(&self.flush_bell, self.config.flush_interval, Store::flush_round),
            rounds(
                &self.tidy_bell,
                self.config.queue_flush_interval,
                Store::tidy_round
            ),
            rounds(
                &self.compact_bell,
                self.config.compaction_interval,
                Store::compact_round
            ),
        );
    }

    fn flush_round(&self) -> Duration {
        self.turn_flusher();
        self.config.flush_interval
    }

    fn tidy_round(&self) -> Duration {
        self.turn_tidy();
        self.tidy_rest()
    }

    fn compact_round(&self) -> Duration {
        self.turn_compact();
        self.config.compaction_interval
    }

    /// Starts a thread that takes turns: the first after a while or at a ring, each later one after as long as the one before said.
    fn start(
        self: &Arc<Store>,
        name: &str,
        bell: &Arc<Bell>,
        first: Duration,
        turn: fn(&Store) -> Duration,
    ) -> io::Result<()> {
        // The thread does not keep the store alive: one that is dropped without being closed ends its threads.
        let store: Weak<Store> = Arc::downgrade(self);
        let bell = Arc::clone(bell);
        let run = move || {
            let mut rest = first;
            while bell.wait(rest) {
                let Some(store) = store.upgrade() else { return };
                rest = turn(&store);
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// Ends appends, makes everything durable and leaves the directory so that the next opening need not recover.
    pub fn close(&self) -> Result<(), CloseError> {
        self.tail.lock().is_closed = true;
        self.stop_threads();
        if let Some(failure) = self.failure.get() {
            self.notify_all();
            self.lock.lock().take();
            return Err(CloseError::Failed(failure.clone()));
        }
        let closed = self.close_files();
        self.notify_all();
        self.lock.lock().take();
        closed.map_err(CloseError::Io)
    }

    fn close_files(&self) -> io::Result<()> {
        self.drain();
        self.flush_log()?;
        // A deletion under way puts checkpoints off.
        let _none = self.queues.deleting.lock();
        let mut tidy = self.tidy.lock();
        self.finish_deletions(&mut tidy)?;
        self.checkpoint(&mut tidy)?;
        self.env.disk.remove(&self.config.root.join("abort"))?;
        self.env.disk.sync_dir(&self.config.root)?;
        tracing::info!(end = self.log.written.load(Ordering::Acquire), "store is closed");
        Ok(())
    }

    fn stop_threads(&self) {
        self.flush_bell.stop();
        self.tidy_bell.stop();
        self.compact_bell.stop();
        for thread in self.threads.lock().drain(..) {
            let name = thread.thread().name().map(str::to_owned);
            if thread.join().is_err() {
                tracing::error!(
                    thread = name.as_deref(),
                    "a thread of the store panicked; please report it, with the lines before this one"
                );
            }
        }
    }

    /// The store cannot go on: nothing is acknowledged any more.
    pub(crate) fn fail(&self, what: &str, error: &io::Error) {
        if self.failure.set(format!("{what}: {error}")).is_ok() {
            let root = self.config.root.display();
            tracing::error!(what, file = %root, %error, "the store has failed and stops acknowledging; look at the disk");
            // The disk may take its time, and whoever waits is told first.
            self.notify_all();
            crate::reached::note_unsynced(&*self.env.disk, &self.config.root);
        }
        self.notify_all();
        self.failing.notify_waiters();
    }

    /// Ends the store if an error is that of a sync, of its own files or of what is kept beside them: what was to be made
    /// durable may be lost although a second sync would succeed. Anything else may be tried again.
    pub fn fail_if_unsynced(&self, what: &str, error: &io::Error) {
        if is_sync_failure(error) {
            self.fail(what, error);
        }
    }

    /// Why the store has failed, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Resolves when the store has failed, with the reason. The process has to end then, with an error.
    pub async fn failed(&self) -> String {
        loop {
            let failing = self.failing.notified();
            match self.failure.get() {
                Some(failure) => return failure.clone(),
                None => failing.await,
            }
        }
    }

    /// Whether appends are accepted at the moment, as far as the store as a whole decides.
    pub fn is_writable(&self) -> bool {
        !self.is_failed() && !self.is_disk_full.load(Ordering::Relaxed) && !self.tail.lock().is_closed
    }

    /// For how long the write under way has been running; zero when none is.
    pub fn write_stall(&self) -> Duration {
        let since = self.writing_since_ms.load(Ordering::Relaxed);
        if since == 0 {
            return Duration::ZERO;
        }
        Duration::from_millis(
            self.env
                .clock
                .now_ms()
                .saturating_sub(since)
                .max(0)
                .unsigned_abs(),
        )
    }

    /// The queue of a topic, made (in memory) when there is none.
    pub fn queue(&self, topic: &str, id: u32) -> Arc<Queue> {
        self.queues.get(topic, id)
    }

    /// The queue of a topic, if there is one.
    pub fn find_queue(&self, topic: &str, id: u32) -> Option<Arc<Queue>> {
        self.queues.find(topic, id)
    }

    /// Whether the store was not closed in order before: then the end of the log may be lost that was not durable.
    pub fn follows_a_crash(&self) -> bool {
        self.follows_a_crash
    }

    /// All queues of a topic there are, by number.
    pub fn queues_of(&self, topic: &str) -> Vec<Arc<Queue>> {
        self.queues.of_topic(topic)
    }

    /// The topics that have queues.
    pub fn topics(&self) -> Vec<Arc<str>> {
        self.queues.topics()
    }

    /// How many topics have queues.
    pub fn topic_count(&self) -> usize {
        self.queues.topic_count()
    }

    /// The oldest position of the log.
    pub fn min_pos(&self) -> LogPos {
        LogPos(self.log.min())
    }

    /// The end of the log, pending appends included.
    pub fn max_pos(&self) -> LogPos {
        LogPos(self.tail.lock().pos)
    }

    /// Everything below is written.
    pub fn written(&self) -> LogPos {
        LogPos(self.log.written.load(Ordering::Acquire))
    }

    /// Everything below is durable.
    pub fn durable(&self) -> LogPos {
        LogPos(self.log.durable.load(Ordering::Acquire))
    }

    /// Everything below is in its queue.
    pub fn published(&self) -> LogPos {
        LogPos(self.publisher.lock().upto)
    }

    /// What it was opened with.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The world it was opened in.
    pub fn env(&self) -> &Env {
        &self.env
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.flush_bell.stop();
        self.tidy_bell.stop();
        self.compact_bell.stop();
    }
}
