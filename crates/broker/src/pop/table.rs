// SPDX-License-Identifier: Apache-2.0
//! All lines of a broker, the journal behind them, and the offsets that are committed for them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use net::Fault;
use parking_lot::{Mutex, RwLock};
use store::{Env, Journal, Store};
use tokio::sync::Notify;
use tracing::{error, info};
use wire::Str;
use wire::code::ResponseCode;

use super::bell::Bell;
use super::flight::{Flight, Handout, Lease};
use super::line::{Line, State};
use super::log::{self, CLEAN, Name, Record, Replayed, Single};
use super::order::{Of, Orders};
use crate::blocking::run_own;
use crate::config::{Config, FlushDiskType};
use crate::names::popped_topic;
use crate::offset::Offsets;
use crate::saved::{LoadError, SaveError};
use crate::subject::Subject;

/// The journal is written anew when its newest file is larger than this and than all of the state twice over.
const JOURNAL_BYTES_MAX: u64 = 16 << 20;

type ByName<T> = HashMap<Str, HashMap<Str, T>>;

/// Everything about leases.
pub(crate) struct Pop {
    journal: Journal,
    /// Where it lies.
    dir: PathBuf,
    is_sync: bool,
    /// Group, topic, queue.
    lines: RwLock<ByName<BTreeMap<i32, Arc<Line>>>>,
    /// Group, topic.
    bells: RwLock<ByName<Arc<Bell>>>,
    next_id: AtomicU32,
    /// Lines by the time at which one of their leases may have ended.
    due: Mutex<BTreeMap<(i64, u32), Arc<Line>>>,
    /// Something is due earlier than it was.
    pub(super) earlier: Notify,
    asked: Notify,
    /// Nobody flushes any more but who needs it.
    is_stopping: AtomicBool,
    /// What all of the state took in the journal when it was last written anew.
    snapshot_bytes: AtomicU64,
    /// Held requests: pops, notifications.
    pub(super) held_pops: Arc<AtomicUsize>,
    pub(super) held_notifications: Arc<AtomicUsize>,
    /// Held notifications, by group and topic.
    notified: RwLock<ByName<Arc<Bell>>>,
    /// Pops so far.
    round: AtomicU32,
    /// Leases that ended before this may have been written to the retry topic already.
    pub(super) doubtful_until: i64,
    /// Since when nobody else has handed anything out of this store: older handles may be those of the reference.
    pub(super) ours_since: i64,
    pub(crate) orders: Orders,
}

/// Why there is no state of leases.
#[derive(Debug, thiserror::Error)]
pub enum PopError {
    /// The journal.
    #[error("journal of leases: {0}")]
    Io(#[from] io::Error),
    /// The table of ordered queues.
    #[error(transparent)]
    Table(#[from] LoadError),
}

/// Where a popped message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// With a consumer.
    With(Lease),
    /// Acknowledged, passed over by a filter, or moved to the retry topic.
    Settled,
}

/// Where in the journal a change is; under SYNC_FLUSH its answer waits until that is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Written(u64);

/// How far a group is that pops from a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Popped {
    /// Everything below is settled.
    pub(crate) floor: i64,
    /// The first offset that nobody was handed.
    pub(crate) next: i64,
    /// Messages that are with consumers.
    pub(crate) leased: usize,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Queues that groups pop from.
    pub(crate) lines: usize,
    /// Messages that are with consumers.
    pub(crate) in_flight: usize,
    /// Queues that have to be looked at by now, because leases may have ended.
    pub(crate) due: usize,
    /// For how long the first of them has had to be.
    pub(crate) late_ms: i64,
}

impl Pop {
    /// Reads the journal, and brings it together with the committed offsets and the queues as they are. Blocks.
    pub(crate) fn open(
        config: &Config,
        env: &Env,
        offsets: &Offsets,
        store: &Store,
    ) -> Result<Pop, PopError> {
        let mut replayed = Replayed::default();
        let dir = Path::new(config.store_path_root_dir.as_str()).join("barque-pop");
        let journal = Journal::open(env.clone(), &dir, |record| replayed.read(record))?;
        let is_clean = replayed.is_clean;
        let now_ms = env.clock.now_ms();
        // Whoever else has run since has written the offsets.
        let ours_since = replayed
            .ours_since
            .filter(|since| *since <= now_ms && offsets.is_only_ours())
            .unwrap_or(now_ms);
        let (queues, next_id) = replayed.into_queues();
        let pop = Pop {
            journal,
            dir,
            is_sync: config.flush_disk_type == FlushDiskType::Sync,
            lines: RwLock::default(),
            bells: RwLock::default(),
            next_id: AtomicU32::new(next_id),
            due: Mutex::default(),
            earlier: Notify::new(),
            asked: Notify::new(),
            is_stopping: AtomicBool::new(false),
            snapshot_bytes: AtomicU64::new(0),
            held_pops: Arc::default(),
            held_notifications: Arc::default(),
            notified: RwLock::default(),
            round: AtomicU32::new(0),
            doubtful_until: if is_clean { i64::MIN } else { now_ms },
            ours_since,
            orders: Orders::open(config, env.clone())?,
        };
        let mut in_flight = 0;
        for (id, name, mut flight) in queues {
            let committed = offsets.query(&name.group, &name.topic, name.queue_id);
            if is_clean && committed.is_none() {
                // Somebody else has forgotten the group or the topic since, and made it again perhaps.
                continue;
            }
            reconcile(&mut flight, committed, is_clean);
            let queue = u32::try_from(name.queue_id).ok();
            let max = queue
                .and_then(|id| store.find_queue(&name.topic, id))
                .map_or(0, |queue| queue.max());
            if flight.next() > max {
                // The log has lost its end: what comes there now nobody was handed.
                flight.move_to(max);
            }
            in_flight += flight.count();
            let floor = flight.floor();
            offsets.advance(&name.group, &name.topic, name.queue_id, (committed, floor));
            pop.insert(id, name, flight, Some(floor));
        }
        if !is_clean {
            pop.orders.reconcile(|of| {
                let line = pop.line(of.group, of.topic, of.queue_id)?;
                let queue = store.find_queue(of.topic, u32::try_from(of.queue_id).ok()?)?;
                Some((line.state.lock().flight.next(), queue.max()))
            });
        }
        pop.rewrite()?;
        if in_flight > 0 {
            info!(in_flight, is_clean, "messages are with pop consumers");
        }
        Ok(pop)
    }

    /// Makes everything durable. Blocks. Nothing may run any more.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.rewrite()
    }

    /// Notes that the saved offsets are as new as the journal. Blocks.
    pub(crate) fn note_end(&self) -> io::Result<()> {
        self.journal.append(CLEAN)?;
        self.journal.sync()?;
        info!(in_flight = self.in_flight(), "messages stay with pop consumers");
        Ok(())
    }

    /// The line of a queue, if there is one.
    pub(super) fn line(&self, group: &str, topic: &str, queue_id: i32) -> Option<Arc<Line>> {
        let lines = self.lines.read();
        lines.get(group)?.get(topic)?.get(&queue_id).cloned()
    }

    /// Where a message is that one group pops, if its queue is popped at all and it is not ahead of the pops. Ordered pops
    /// have no leases.
    pub(crate) fn whereabouts(
        &self,
        (group, topic, queue_id): (&str, &str, i32),
        offset: i64,
    ) -> Option<Whereabouts> {
        let line = self.line(group, topic, queue_id)?;
        let state = line.state.lock();
        match state.flight.lease_of(offset) {
            Some(lease) => Some(Whereabouts::With(lease)),
            None if offset < state.flight.next() => Some(Whereabouts::Settled),
            None => None,
        }
    }

    /// The line of a queue, made with this first offset if there is none.
    pub(super) fn ensure_line(
        &self,
        name: Name,
        committed: Option<i64>,
        first: impl FnOnce() -> i64,
    ) -> Result<Arc<Line>, Fault> {
        if let Some(line) = self.line(&name.group, &name.topic, name.queue_id) {
            return Ok(line);
        }
        let first = committed.unwrap_or_else(first);
        let bell = self.bell(&name.group, popped_topic(&name.topic, &name.group));
        let mut lines = self.lines.write();
        let topics = lines.entry(name.group.clone()).or_default();
        let queues = topics.entry(name.topic.clone()).or_default();
        if let Some(line) = queues.get(&name.queue_id) {
            return Ok(Arc::clone(line));
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let flight = Flight::new(first);
        let written = log::snapshot(id, &name, &flight, |record| {
            self.journal.append(&record).map(drop)
        });
        written.map_err(|error| self.not_written(Some(&name), &error))?;
        let line = Arc::new(Line::new(id, name.clone(), bell, flight, committed));
        queues.insert(name.queue_id, Arc::clone(&line));
        Ok(line)
    }

    fn insert(&self, id: u32, name: Name, flight: Flight, published: Option<i64>) {
        let bell = self.bell(&name.group, popped_topic(&name.topic, &name.group));
        let line = Arc::new(Line::new(id, name.clone(), bell, flight, published));
        self.hint(&line, &mut line.state.lock());
        let mut lines = self.lines.write();
        let topics = lines.entry(name.group).or_default();
        topics.entry(name.topic).or_default().insert(name.queue_id, line);
    }

    /// What held requests of a group on a topic wait for.
    pub(crate) fn bell(&self, group: &str, topic: &str) -> Arc<Bell> {
        entry(&self.bells, group, topic)
    }

    /// The same, if anybody ever waited.
    pub(super) fn find_bell(&self, group: &str, topic: &str) -> Option<Arc<Bell>> {
        self.bells.read().get(group)?.get(topic).cloned()
    }

    /// What counts the held notifications of a group on a topic.
    pub(super) fn notified(&self, group: &str, topic: &str) -> Arc<Bell> {
        entry(&self.notified, group, topic)
    }

    /// The number of a pop.
    pub(super) fn next_round(&self) -> u32 {
        self.round.fetch_add(1, Ordering::Relaxed)
    }

    /// All lines there are.
    fn all(&self) -> Vec<Arc<Line>> {
        let lines = self.lines.read();
        let queues = lines.values().flat_map(HashMap::values);
        queues.flat_map(BTreeMap::values).cloned().collect()
    }

    /// How far a group is that pops from a queue; `None`: it has never popped from it, or somebody else has committed since.
    pub(crate) fn standing(&self, offsets: &Offsets, of: (&str, &str, i32)) -> Option<Popped> {
        let (group, topic, queue_id) = of;
        let line = self.line(group, topic, queue_id)?;
        let state = line.state.lock();
        let is_own = state.published == offsets.query(group, topic, queue_id);
        is_own.then(|| Popped {
            floor: state.flight.floor(),
            next: state.flight.next(),
            leased: state.flight.count(),
        })
    }

    /// How much there is of everything.
    pub(crate) fn figures(&self, now_ms: i64) -> Figures {
        let lines = self.all();
        let in_flight = lines.iter().map(|line| line.state.lock().flight.count());
        let in_flight = in_flight.sum();
        let due = self.due.lock();
        let first = due.first_key_value().map_or(now_ms, |((at, _), _)| *at);
        Figures {
            lines: lines.len(),
            in_flight,
            due: due.keys().take_while(|(at, _)| *at <= now_ms).count(),
            late_ms: (now_ms - first).max(0),
        }
    }

    /// Messages that are with consumers: of everybody.
    fn in_flight(&self) -> usize {
        self.all()
            .iter()
            .map(|line| line.state.lock().flight.count())
            .sum()
    }

    /// Hands messages out.
    pub(super) fn hand_out(
        &self,
        line: &Arc<Line>,
        state: &mut State,
        handout: &Handout,
    ) -> Result<Written, Fault> {
        if !state.is_at(handout.from) {
            return Err(moved());
        }
        let written = self.write(line, Record::Popped(handout))?;
        assert!(
            state.flight.hand_out(handout),
            "what was read follows on what was handed out"
        );
        self.hint(line, state);
        Ok(written)
    }

    /// Settles messages, those of them that are handed out.
    pub(super) fn settle(
        &self,
        line: &Arc<Line>,
        state: &mut State,
        offsets: &[i64],
    ) -> Result<Written, Fault> {
        if offsets.is_empty() {
            return Ok(Written::default());
        }
        let written = if store::seeded!("settled-in-memory") {
            Written::default()
        } else {
            self.write(line, Record::Settled(offsets))?
        };
        for offset in offsets {
            state.flight.settle(*offset);
        }
        Ok(written)
    }

    /// Gives a message that is handed out a lease of its own.
    pub(super) fn change(&self, line: &Arc<Line>, state: &mut State, one: Single) -> Result<Written, Fault> {
        let written = self.write(line, Record::Changed(one))?;
        state.flight.change(one.offset, one.popped_at, one.visible_at);
        self.hint(line, state);
        Ok(written)
    }

    /// Takes a message over that somebody else has handed out.
    pub(super) fn adopt(&self, line: &Arc<Line>, state: &mut State, one: Single) -> Result<Written, Fault> {
        let written = self.write(line, Record::Adopted(one))?;
        state.flight.adopt(one.offset, one.popped_at, one.visible_at);
        self.hint(line, state);
        Ok(written)
    }

    /// Goes on at another offset.
    pub(super) fn move_to(&self, line: &Arc<Line>, state: &mut State, next: i64) -> Result<Written, Fault> {
        let from = state.flight.next();
        if next == from {
            return Ok(Written::default());
        }
        let written = self.write(line, Record::Moved { from, next })?;
        state.flight.move_to(next);
        Ok(written)
    }

    /// Commits the first unsettled offset.
    pub(super) fn publish(&self, offsets: &Offsets, line: &Line, state: &mut State) {
        let floor = state.flight.floor();
        let Name {
            group,
            topic,
            queue_id,
        } = &line.name;
        if state.published != Some(floor)
            && !state.is_dropped
            && offsets.advance(group, topic, *queue_id, (state.published, floor))
        {
            state.published = Some(floor);
        }
    }

    /// When somebody else has committed an offset for the group (a client that pulls, an operator), goes on there.
    pub(super) fn follow(&self, offsets: &Offsets, line: &Arc<Line>, state: &mut State) -> Result<(), Fault> {
        let Name {
            group,
            topic,
            queue_id,
        } = &line.name;
        let reset = offsets.take_reset(group, topic, *queue_id);
        let committed = offsets.query(group, topic, *queue_id);
        if (reset.is_some() || committed != state.published) && !state.is_dropped {
            if let Some(committed) = committed {
                // Until it is there it is tried at each look; that nobody set it again does not end that.
                state.published = None;
                self.move_to(line, state, committed)?;
                self.orders.clear(Of {
                    topic,
                    group,
                    queue_id: *queue_id,
                });
            }
            state.published = committed;
            self.publish(offsets, line, state);
        }
        Ok(())
    }

    /// An operator has set the group to another offset: that it goes on there must outlast a crash, although it is told
    /// only when it asks. An error when it may not; the group goes there all the same as soon as it can.
    pub(crate) fn reset(
        &self,
        offsets: &Offsets,
        (group, topic, queue_id): (&str, &str, i32),
    ) -> Result<(), Fault> {
        let Some(line) = self.line(group, topic, queue_id) else {
            return Ok(());
        };
        let mut state = line.state.lock();
        let Some(committed) = offsets.query(group, topic, queue_id) else {
            return Ok(());
        };
        state.published = None;
        let moved = if store::seeded!("pop-reset-in-memory") {
            state.flight.move_to(committed);
            Ok(Written::default())
        } else {
            self.move_to(&line, &mut state, committed)
        };
        moved?;
        state.published = Some(committed);
        // An acknowledgement of what is out would take the group back to where its batch was.
        self.orders.clear(Of {
            topic,
            group,
            queue_id,
        });
        Ok(())
    }

    /// The same for a queue that a client has committed an offset of. Whether the group pops from it.
    pub(crate) fn committed(
        &self,
        offsets: &Offsets,
        (group, topic, queue_id): (&str, &str, i32),
    ) -> Result<bool, Fault> {
        let Some(line) = self.line(group, topic, queue_id) else {
            return Ok(false);
        };
        let followed = self.follow(offsets, &line, &mut line.state.lock());
        followed.map(|()| true)
    }

    /// Under SYNC_FLUSH where groups were set to is on disk then: after a power cut the journal counts, and not an offset that is
    /// behind it. Blocks.
    pub(crate) fn keep(&self) -> Result<(), SaveError> {
        if !self.is_sync || store::seeded!("pop-reset-unsynced") {
            return Ok(());
        }
        self.journal.sync().map_err(|source| SaveError {
            path: self.dir.clone(),
            source,
        })
    }

    /// Forgets what is handed out, to begin anew with what groups have committed: a slave begins to act for its master.
    pub(crate) fn begin_anew(&self) {
        self.remove(|_, _| true);
    }

    /// Everything before what groups have committed is settled: a slave acted for this master, and handed out meanwhile what
    /// was with consumers here.
    pub(crate) fn pass(&self, offsets: &Offsets) {
        for line in self.all() {
            let mut state = line.state.lock();
            let Name {
                group,
                topic,
                queue_id,
            } = &line.name;
            let committed = offsets.query(group, topic, *queue_id);
            let Some(committed) = committed.filter(|committed| *committed > state.flight.floor()) else {
                continue;
            };
            let leases = state.flight.leases();
            let below = leases.flat_map(|lease| lease.offsets().collect::<Vec<_>>());
            let below: Vec<i64> = below.filter(|offset| *offset < committed).collect();
            let mut done = self.settle(&line, &mut state, &below).map(drop);
            if done.is_ok() && state.flight.next() < committed {
                done = self.move_to(&line, &mut state, committed).map(drop);
            }
            match done {
                Ok(()) => state.published = Some(committed),
                Err(fault) => {
                    error!(%group, %topic, queue = queue_id, offset = committed, remark = %fault.remark, "what was settled elsewhere is not in the pop journal: it may come again");
                }
            }
        }
    }

    /// Forgets a topic that was deleted.
    pub(crate) fn remove_topic(&self, topic: &str) {
        self.remove(|_, of| of == topic);
        self.orders.remove_topic(topic);
    }

    /// Forgets a group that was deleted.
    pub(crate) fn remove_group(&self, group: &str) {
        self.remove(|of, _| of == group);
        self.orders.remove_group(group);
    }

    fn remove(&self, is_meant: impl Fn(&str, &str) -> bool) {
        let mut removed = Vec::new();
        let mut lines = self.lines.write();
        for (group, topics) in lines.iter_mut() {
            topics.retain(|topic, queues| {
                let is_kept = !is_meant(group, topic);
                if !is_kept {
                    removed.extend(queues.values().cloned());
                }
                is_kept
            });
        }
        drop(lines);
        for bells in [&self.bells, &self.notified] {
            for (group, topics) in bells.write().iter_mut() {
                topics.retain(|topic, _| !is_meant(group, topic));
            }
        }
        for line in removed {
            line.state.lock().is_dropped = true;
            if let Err(error) = self.journal.append(&log::encode(line.id, Record::Dropped)) {
                let Name {
                    group,
                    topic,
                    queue_id,
                } = &line.name;
                error!(
                    %group, %topic, queue = queue_id, file = %self.dir.display(), %error,
                    "the end of a topic or group is not in the pop journal"
                );
            }
        }
    }

    fn write(&self, line: &Line, record: Record<'_>) -> Result<Written, Fault> {
        let written = self.journal.append(&log::encode(line.id, record));
        written
            .map(Written)
            .map_err(|error| self.not_written(Some(&line.name), &error))
    }

    /// What a client is told, and the log. Without a name it is about all queues that were just popped from.
    fn not_written(&self, name: Option<&Name>, error: &io::Error) -> Fault {
        error!(
            group = name.map(|name| name.group.as_str()), topic = name.map(|name| name.topic.as_str()),
            queue = name.map(|name| name.queue_id), file = %self.dir.display(), %error,
            "the pop journal cannot be written; look at the disk"
        );
        let about = name.map(|name| Subject::topic(&name.topic).of(&name.group));
        let about = about.unwrap_or_default();
        let remark = format!("the lease is not kept{about}: {error}");
        Fault::new(ResponseCode::SYSTEM_ERROR, remark)
    }

    /// Where the journal lies.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns when a change is as safe as its answer promises.
    pub(super) async fn safe(self: &Arc<Self>, written: Written) -> Result<(), Fault> {
        if !self.must_wait(written) {
            return Ok(());
        }
        self.asked.notify_one();
        if self.is_stopping.load(Ordering::SeqCst) {
            let pop = Arc::clone(self);
            run_own(move || pop.flush())
                .await?
                .map_err(|error| self.not_written(None, &error))?;
        }
        let reached = self.journal.reach(written.0).await;
        reached.map_err(|error| self.not_written(None, &error))
    }

    /// Nobody waits for what was asked for any more.
    pub(super) fn stop_flushing(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
    }

    /// Whether [`Pop::safe`] has something to wait for.
    pub(super) fn must_wait(&self, written: Written) -> bool {
        self.is_sync && written > Written::default()
    }

    pub(super) fn flush_interval_ms(&self, config: &Config) -> u64 {
        u64::from(config.flush_interval_commit_log).max(10)
    }

    pub(super) async fn sync_asked(&self) {
        self.asked.notified().await;
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.journal.is_synced() && !self.is_long()
    }

    fn is_long(&self) -> bool {
        let state = self.snapshot_bytes.load(Ordering::Relaxed);
        self.journal.file_bytes() > JOURNAL_BYTES_MAX + 2 * state
    }

    /// Makes the journal durable, and writes it anew when it has become long. Blocks.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.journal.sync()?;
        if self.is_long() {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Writes all of the state to a new file and removes the old ones. Pops go on meanwhile.
    fn rewrite(&self) -> io::Result<()> {
        self.journal.begin()?;
        self.journal.append(&log::ours(self.ours_since))?;
        for line in self.all() {
            let state = line.state.lock();
            if !state.is_dropped {
                log::snapshot(line.id, &line.name, &state.flight, |record| {
                    self.journal.append(&record).map(drop)
                })?;
            }
        }
        self.snapshot_bytes
            .store(self.journal.file_bytes(), Ordering::Relaxed);
        self.journal.finish()
    }

    /// Notes when the line has to be looked at.
    pub(super) fn hint(&self, line: &Arc<Line>, state: &mut State) {
        let Some(at) = state.flight.ends_at().filter(|_| !state.is_dropped) else {
            return;
        };
        if state.hint.is_some_and(|hint| hint <= at) {
            return;
        }
        let mut due = self.due.lock();
        let is_first = due.first_key_value().is_none_or(|((first, _), _)| at < *first);
        if let Some(hint) = state.hint.replace(at) {
            due.remove(&(hint, line.id));
        }
        due.insert((at, line.id), Arc::clone(line));
        drop(due);
        if is_first {
            self.earlier.notify_one();
        }
    }

    /// A line one of whose leases may have ended.
    pub(super) fn take_due(&self, now_ms: i64) -> Option<Arc<Line>> {
        let line = {
            let mut due = self.due.lock();
            let first = due.first_entry().filter(|first| first.key().0 <= now_ms)?;
            first.remove()
        };
        line.state.lock().hint = None;
        Some(line)
    }

    /// When the next one has to be looked at.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.due.lock().first_key_value().map(|((at, _), _)| *at)
    }

    /// Leases that have ended. Those of a topic or group that was deleted are forgotten with it: another one of that
    /// name may be there now.
    pub(super) fn ended(&self, line: &Line, now_ms: i64, max: usize, again_at: i64) -> Vec<Lease> {
        let mut state = line.state.lock();
        if state.is_dropped {
            return Vec::new();
        }
        state.flight.take_ended(now_ms, max, again_at)
    }
}

fn entry(bells: &RwLock<ByName<Arc<Bell>>>, group: &str, topic: &str) -> Arc<Bell> {
    if let Some(bell) = bells.read().get(group).and_then(|topics| topics.get(topic)) {
        return Arc::clone(bell);
    }
    let mut bells = bells.write();
    let topics = bells.entry(group.into()).or_default();
    Arc::clone(topics.entry(topic.into()).or_default())
}

/// Brings the journal together with what is committed. After an end in order they agree, unless somebody else (a reference
/// broker, an editor) wrote the offsets since, and that counts. After a crash the offsets are as old as their last save,
/// or, when the journal lost its end with the machine, newer.
fn reconcile(flight: &mut Flight, committed: Option<i64>, is_clean: bool) {
    let Some(committed) = committed else { return };
    if committed > flight.floor() {
        flight.settle_below(committed);
    } else if is_clean && committed < flight.floor() {
        flight.move_to(committed);
    }
}

/// The group was set elsewhere between reading and handing out.
pub(super) fn moved() -> Fault {
    let remark = "the offset of the group was changed in this moment, ask again";
    Fault::new(ResponseCode::SYSTEM_BUSY, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight() -> Flight {
        let mut flight = Flight::new(10);
        flight.hand_out(&Handout::new((10, 20), &[12, 15], (1, 2)));
        flight
    }

    #[test]
    fn after_a_crash_the_journal_counts_unless_the_offsets_are_newer() {
        let mut older = flight();
        reconcile(&mut older, Some(3), false);
        assert_eq!(older, flight());
        let mut newer = flight();
        reconcile(&mut newer, Some(14), false);
        assert_eq!((newer.floor(), newer.next(), newer.count()), (15, 20, 1));
        reconcile(&mut newer, Some(40), false);
        assert_eq!((newer.floor(), newer.next(), newer.count()), (40, 40, 0));
    }

    #[test]
    fn after_an_end_in_order_offsets_that_somebody_else_wrote_count() {
        let mut same = flight();
        reconcile(&mut same, Some(12), true);
        assert_eq!(same, flight());
        let mut back = flight();
        reconcile(&mut back, Some(3), true);
        assert_eq!((back.floor(), back.next(), back.count()), (3, 3, 0));
    }

    #[test]
    fn what_was_out_here_is_settled_up_to_where_a_slave_that_acted_has_come() {
        let world = crate::world::World::new(1, &[]);
        let b = world.open(&[]);
        let name = Name {
            group: Str::const_new("G"),
            topic: Str::const_new("T"),
            queue_id: 0,
        };
        let line = b.pop.ensure_line(name, Some(0), || 0).unwrap();
        let handout = Handout::new((0, 20), &[0, 1, 12, 15], (1, 2));
        b.pop.hand_out(&line, &mut line.state.lock(), &handout).unwrap();
        b.offsets.commit("G", "T", (0, 13), 1);
        b.pop.pass(&b.offsets);
        let mut state = line.state.lock();
        let flight = &state.flight;
        assert_eq!((flight.floor(), flight.next(), flight.count()), (15, 20, 1));
        b.pop.publish(&b.offsets, &line, &mut state);
        assert_eq!(b.offsets.query("G", "T", 0), Some(15), "it does not go back");
    }
}
