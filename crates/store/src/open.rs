// SPDX-License-Identifier: Apache-2.0
//! Opening a store: check the settings, lock, look at what is there, recover, put it together.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{self, Checkpoint, Loaded};
use crate::compact::Compaction;
use crate::config::{QueueLayout, StoreConfig};
use crate::disk::{Disk, Lock, is_sync_failure, synced};
use crate::env::{Env, is_alone};
use crate::hot::Hot;
use crate::index::file::Shape;
use crate::index::{IndexPlace, KeyIndex};
use crate::log::{Log, Segment, file_name};
use crate::queue::UNIT_BYTES;
use crate::queue_batch::{BATCH_UNIT_BYTES, QueueKind};
use crate::queue_files::{Home, QueueFiles};
use crate::queues::Queues;
use crate::reached::{self, Reached};
use crate::recover::{Recovered, Recovery};
use crate::runs::{self, Runs};
use crate::store::Store;
use crate::survey::{OpenError, Survey, queue_dir, survey, tried};
use crate::tidy::Tidy;

/// The log and what is derived from it.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    pub(crate) queue_files: QueueFiles,
    pub(crate) index: KeyIndex,
    pub(crate) compaction: Compaction,
}

/// What a store is put together from.
pub(crate) struct Opened {
    pub(crate) config: StoreConfig,
    pub(crate) env: Env,
    pub(crate) parts: Parts,
    pub(crate) tidy: Tidy,
    pub(crate) lock: Box<dyn Lock>,
    pub(crate) found: Recovered,
    pub(crate) follows_a_crash: bool,
}

impl Store {
    /// Opens or makes a store, recovers it, and starts its threads. In a simulation it has none: [`Store::take_turns`].
    pub fn open(config: StoreConfig, env: Env) -> Result<Arc<Store>, OpenError> {
        let store = Store::open_manual(config, env)?;
        if !is_alone() {
            tried("start a thread", store.start_threads())?;
        }
        Ok(store)
    }

    /// As [`Store::open`] without threads: whoever opened it calls [`Store::turn_flush`] and [`Store::turn_tidy`].
    pub fn open_manual(mut config: StoreConfig, env: Env) -> Result<Arc<Store>, OpenError> {
        check(&config)?;
        let whole = |bytes: u64, unit: i64| bytes.next_multiple_of(unit.unsigned_abs());
        config.queue_file_bytes = whole(config.queue_file_bytes, UNIT_BYTES);
        config.batch_queue_file_bytes = whole(config.batch_queue_file_bytes, BATCH_UNIT_BYTES);
        let disk = &*env.disk;
        tried("make the store directory", disk.make_dirs_durable(&config.root))?;
        let lock_path = config.root.join("lock");
        let lock = tried("lock the store", disk.lock(&lock_path))?.ok_or(OpenError::Locked(lock_path))?;
        let shape = Shape {
            slots: config.index_slots,
            entries: config.index_entries,
        };
        let (mut survey, loaded, reached) = look(&config, disk, &shape)?;
        // From here on the directory is changed, and an end is not an orderly one.
        tried("write the abort file", write_abort(&config.root, disk))?;
        for path in &survey.empty {
            tried("remove an empty file", disk.remove(path))?;
        }
        let layout = tried(
            "remove stale consume queues",
            settle_layout(&config, disk, &mut survey, &loaded),
        )?;
        let parts = tried("open files", Parts::open(&config, &env, (&survey, layout), shape))?;
        let recovery = Recovery::new(&parts, &config, disk, &survey).reaching(reached, survey.is_all_there);
        tried(
            "open compacted queues",
            parts.take_up_compacted(survey.is_abnormal),
        )?;
        let mut found = tried("recover", recovery.run(&loaded, survey.is_abnormal))?;
        let safe = loaded.safe.as_ref().map_or(0, |safe| safe.pos);
        let again = reached::write_again(disk, &config.root, &parts.log, (safe, found.end));
        tried("write again what a failed sync left", again)?;
        let mut times = loaded.times;
        times.confirmed = found.last.max(0);
        let checkpoint = tried(
            "open the checkpoint",
            Checkpoint::open(disk, &config.root.join("checkpoint"), &loaded),
        )?;
        let unsynced = std::mem::take(&mut found.unsynced);
        let can_wait = found.can_wait && layout == config.queue_layout;
        let mut notes = Reached::new(&config.root);
        note_end(&mut notes, disk, (&found, parts.log.min(), reached));
        let mut tidy = Tidy::new((checkpoint, notes), times, unsynced, env.clock.instant());
        tidy.note_layout(layout);
        tracing::info!(
            end = found.end,
            queues = found.queues,
            units = found.units,
            "store is recovered"
        );
        let mut store = Store::assemble(Opened {
            config,
            env,
            parts,
            tidy,
            lock,
            follows_a_crash: survey.is_abnormal || found.is_cut,
            found,
        });
        if can_wait {
            return Ok(Arc::new(store));
        }
        store.end_recovery()?;
        if layout != store.config.queue_layout {
            tried("convert the consume queues", store.convert_queues())?;
        }
        Ok(Arc::new(store))
    }

    /// A recovery is over only when its result is durable. On a full disk that has to wait; reading works.
    fn end_recovery(&self) -> Result<(), OpenError> {
        let Err(error) = self.checkpoint(&mut self.tidy.lock()) else {
            return Ok(());
        };
        if is_sync_failure(&error) {
            return tried("make the recovery durable", Err(error));
        }
        let root = self.config.root.display();
        tracing::warn!(file = %root, %error, "first checkpoint has to wait; trying again");
        Ok(())
    }
}

impl Parts {
    fn open(
        config: &StoreConfig,
        env: &Env,
        (survey, layout): (&Survey, QueueLayout),
        shape: Shape,
    ) -> io::Result<Parts> {
        let mut segments = Vec::with_capacity(survey.segments.len());
        for (base, path) in &survey.segments {
            let file = env.disk.open(path)?;
            segments.push(Arc::new(Segment {
                base: *base,
                path: path.clone(),
                file,
            }));
        }
        let (disk, dirs) = (Arc::clone(&env.disk), config.commit_log_dirs.clone());
        let log = Log::new(
            disk,
            dirs,
            config.segment_bytes as i64,
            segments,
            Hot::new(config.hot_bytes),
        );
        tell_missing_front(&log, reached::load_begin(&*env.disk, &config.root)?);
        let home = |kind, file_bytes: u64| Home {
            root: config.root.join(queue_dir(kind)),
            file_bytes: file_bytes as i64,
        };
        let queue_files = QueueFiles::new(
            Arc::clone(&env.disk),
            home(QueueKind::Plain, config.queue_file_bytes),
            home(QueueKind::Batch, config.batch_queue_file_bytes),
            config.queue_files_open_max,
        );
        let runs = match layout {
            QueueLayout::Files => None,
            QueueLayout::Compact => Some(open_runs(config, &env.disk)?),
        };
        let place = IndexPlace {
            disk: Arc::clone(&env.disk),
            clock: Arc::clone(&env.clock),
            dir: config.root.join("index"),
            shape,
            is_enabled: config.index_enabled,
        };
        let index = KeyIndex::open(place, &survey.index)?;
        Ok(Parts {
            log,
            queues: Queues::new(config.kinds.clone()),
            queue_files: queue_files.with_runs(runs),
            index,
            compaction: Compaction::open(config, Arc::clone(&env.disk))?,
        })
    }

    /// Takes up what was copied of compacted topics.
    fn take_up_compacted(&self, is_abnormal: bool) -> io::Result<()> {
        for (topic, id) in self.compaction.found()? {
            // Of a topic that is compacted no more nothing is asked.
            if self.queues.is_compacted(&topic) {
                self.compaction.shelf(&self.queues.get(&topic, id), is_abnormal)?;
            }
        }
        Ok(())
    }
}

/// Says so if the log began earlier. What is not there is not asked back: another program may have removed what had expired.
fn tell_missing_front(log: &Log, begun: Option<i64>) {
    let min = log.min();
    if let Some(begun) = begun.filter(|begun| *begun < min) {
        tracing::warn!(
            file = %file_name(begun),
            expected = begun,
            min,
            "the first files of the commit log were removed by somebody else: their messages are lost unless they had expired"
        );
    }
}

/// Looks at what is there, and refuses what lacks the end of its log.
fn look(
    config: &StoreConfig,
    disk: &dyn Disk,
    shape: &Shape,
) -> Result<(Survey, Loaded, Option<i64>), OpenError> {
    let mut survey = survey(config, disk, shape.file_bytes())?;
    let loaded = tried(
        "read the checkpoint",
        checkpoint::load(disk, &config.root.join("checkpoint")),
    )?;
    let what = "read how far the log has reached";
    let reached = tried(what, reached_by(config, disk, &loaded))?;
    let noted = tried(what, reached::load(disk, &config.root))?;
    survey.check_whole(config, &loaded, (reached, noted))?;
    // An end in order tells all there is to know, and a slave gets what it cuts off from its master again.
    survey.is_all_there =
        survey.is_abnormal && !config.follows && tried(what, reached::is_of_this_boot(disk, &config.root))?;
    Ok((survey, loaded, reached))
}

/// In which boot that was, and how far the log was: where what lies behind the last record cannot be read the checkpoint will say
/// where that record ends, and only the note tells that.
fn note_end(notes: &mut Reached, disk: &dyn Disk, (found, min, reached): (&Recovered, i64, Option<i64>)) {
    let end = reached.unwrap_or(0).max(found.durable).min(found.end);
    // A power cut shall not have it end at what was passed over now.
    let is_needed = found.end > found.last_end || found.has_passed_over;
    let noted = match is_needed {
        true => notes.note_durably(disk, (min, end)),
        false => notes.note(disk, (min, end)),
    };
    if let Err(error) = noted {
        tracing::warn!(file = reached::NAME, %error, "how far the log has reached cannot be noted");
    }
}

/// How far the log is known to have reached. Nobody knows where another program has worked since.
fn reached_by(config: &StoreConfig, disk: &dyn Disk, loaded: &Loaded) -> io::Result<Option<i64>> {
    let Some(safe) = &loaded.safe else { return Ok(None) };
    Ok(reached::load(disk, &config.root)?.max(Some(safe.pos)))
}

/// So many files of the log a run reaches over at most.
const RUN_SEGMENTS: i64 = 4;

pub(crate) fn open_runs(config: &StoreConfig, disk: &Arc<dyn Disk>) -> io::Result<Runs> {
    let span_max = (config.segment_bytes as i64).saturating_mul(RUN_SEGMENTS);
    Runs::open(Arc::clone(disk), &config.root, span_max)
}

/// Decides in which layout the queues are, and removes what there is of the other one: the rest of a conversion, or runs from before the
/// reference worked on this directory, which then has made files and a checkpoint that is not ours.
fn settle_layout(
    config: &StoreConfig,
    disk: &dyn Disk,
    survey: &mut Survey,
    loaded: &Loaded,
) -> io::Result<QueueLayout> {
    if survey.has_runs && (loaded.safe.is_some() || survey.queues.is_empty()) {
        survey.queues.clear();
        remove_queue_files(config, disk)?;
        return Ok(QueueLayout::Compact);
    }
    runs::remove_all(disk, &config.root)?;
    let is_new = survey.segments.is_empty() && survey.queues.is_empty();
    Ok(if is_new {
        config.queue_layout
    } else {
        QueueLayout::Files
    })
}

/// Removes the queues of the Java layout, if there are any.
pub(crate) fn remove_queue_files(config: &StoreConfig, disk: &dyn Disk) -> io::Result<()> {
    let mut is_changed = false;
    for kind in [QueueKind::Plain, QueueKind::Batch] {
        let dir = config.root.join(queue_dir(kind));
        if disk.entry(&dir)?.is_some() {
            disk.remove_tree(&dir)?;
            is_changed = true;
        }
    }
    if is_changed {
        synced(disk.sync_dir(&config.root))?;
    }
    Ok(())
}

fn check(config: &StoreConfig) -> Result<(), OpenError> {
    if config.segment_bytes < 1024 || i64::try_from(config.segment_bytes).is_err() {
        return Err(OpenError::Config(
            "mappedFileSizeCommitLog is too small or too large",
        ));
    }
    if u32::try_from(config.segment_bytes).is_err() {
        return Err(OpenError::Config(
            "mappedFileSizeCommitLog does not fit into a blank record",
        ));
    }
    if config.queue_file_bytes == 0 || config.queue_file_bytes > 1 << 40 {
        return Err(OpenError::Config(
            "mappedFileSizeConsumeQueue is too small or too large",
        ));
    }
    if config.batch_queue_file_bytes == 0 || config.batch_queue_file_bytes > 1 << 40 {
        return Err(OpenError::Config(
            "mapperFileSizeBatchConsumeQueue is too small or too large",
        ));
    }
    if config.index_slots == 0 || config.index_entries < 2 {
        return Err(OpenError::Config(
            "maxHashSlotNum and maxIndexNum must be positive",
        ));
    }
    if config.commit_log_dirs.is_empty() {
        return Err(OpenError::Config("storePathCommitLog is empty"));
    }
    Ok(())
}

fn write_abort(root: &Path, disk: &dyn Disk) -> io::Result<()> {
    let file = disk.create(&root.join("abort"), 0)?;
    file.write_at(std::process::id().to_string().as_bytes(), 0)?;
    file.sync()?;
    disk.sync_dir(root)
}
