// SPDX-License-Identifier: Apache-2.0
//! What a store is opened with. The defaults are the reference's; its key is named where there is one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::queue_batch::QueueKind;

/// When an append counts as done (`flushDiskType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// The log is written; it becomes durable a little later.
    Async,
    /// The log is durable. Consumers do not see a message before.
    Sync,
}

/// What the units of consume queues are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueueLayout {
    /// The files of the reference: a directory for each queue.
    #[default]
    Files,
    /// Files that hold units of all queues: for very many of them.
    Compact,
}

/// Says of a topic how its queues are kept. Asked when the first queue of a topic is made; a store that has files of a
/// topic goes by them, unless they are of plain queues and it has batch queues.
#[derive(Clone)]
pub struct Kinds(Arc<KindOf>);

type KindOf = dyn Fn(&str) -> Option<Kind> + Send + Sync;

/// How a topic is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kind {
    /// Its queues.
    pub queue: QueueKind,
    /// Whether of each key the newest message is kept (`cleanup.policy=COMPACTION`). Not with batch queues.
    pub is_compacted: bool,
}

impl Kinds {
    /// As this function says.
    pub fn by(kind_of: impl Fn(&str) -> Kind + Send + Sync + 'static) -> Kinds {
        Kinds::knowing(move |topic| Some(kind_of(topic)))
    }

    /// As this function says; `None` of a topic that it does not know. That is kept as most are, but whoever copies another
    /// log is asked first ([`crate::ReplicateError::Topic`]).
    pub fn knowing(kind_of: impl Fn(&str) -> Option<Kind> + Send + Sync + 'static) -> Kinds {
        Kinds(Arc::new(kind_of))
    }

    pub(crate) fn knows(&self, topic: &str) -> bool {
        (self.0)(topic).is_some()
    }

    pub(crate) fn of(&self, topic: &str) -> QueueKind {
        (self.0)(topic).unwrap_or_default().queue
    }

    pub(crate) fn is_compacted(&self, topic: &str) -> bool {
        (self.0)(topic).unwrap_or_default().is_compacted
    }
}

impl Default for Kinds {
    fn default() -> Kinds {
        Kinds::by(|_| Kind::default())
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinds").finish_non_exhaustive()
    }
}

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `storePathRootDir`.
    pub root: PathBuf,
    /// `storePathCommitLog`: one directory or several, between which the files take turns.
    pub commit_log_dirs: Vec<PathBuf>,
    /// `mappedFileSizeCommitLog`. A directory made with another size is refused.
    pub segment_bytes: u64,
    /// What units are kept in. A store that has the other layout is converted when it is opened.
    pub queue_layout: QueueLayout,
    /// `mappedFileSizeConsumeQueue`, rounded up to a multiple of 20.
    pub queue_file_bytes: u64,
    /// `mapperFileSizeBatchConsumeQueue`, rounded up to a multiple of 46.
    pub batch_queue_file_bytes: u64,
    /// How the queues of a topic are kept (`queue.type`).
    pub kinds: Kinds,
    /// `compactionScheduleInternal`: how often compacted topics are compacted.
    pub compaction_interval: Duration,
    /// `compactionMappedFileSize`.
    pub compaction_file_bytes: u64,
    /// `compactionCqMappedFileSize`.
    pub compaction_queue_file_bytes: u64,
    /// `maxOffsetMapSize`: bytes for the keys of a queue that is compacted.
    pub compaction_memory_bytes: usize,
    /// `messageIndexEnable`.
    pub index_enabled: bool,
    /// `maxHashSlotNum`.
    pub index_slots: u32,
    /// `maxIndexNum`.
    pub index_entries: u32,
    /// `flushDiskType`.
    pub flush: FlushMode,
    /// `flushIntervalCommitLog`.
    pub flush_interval: Duration,
    /// `flushIntervalConsumeQueue`.
    pub queue_flush_interval: Duration,
    /// `flushConsumeQueueThoroughInterval`: how often everything derived becomes durable and recovery moves on.
    pub checkpoint_interval: Duration,
    /// A checkpoint is also due after this many bytes of log.
    pub checkpoint_bytes: u64,
    /// A short one is due after this many, which bounds what recovery reads; later when more files have to be synced than that is
    /// worth.
    pub short_checkpoint_bytes: u64,
    /// `checkCRCOnRecover`.
    pub check_crc_on_recover: bool,
    /// `enabledAppendPropCRC`: every record gets a CRC over all of it.
    pub seal_records: bool,
    /// `forceVerifyPropCRC`: recovery demands that CRC.
    pub demand_seals: bool,
    /// `maxMessageSize`: whoever takes messages from clients sees to it. The store takes all that fits into a file, since what
    /// it holds has to be written again after the limit was lowered.
    pub message_bytes_max: usize,
    /// Bytes appended and not yet written at which an append is refused as busy.
    pub pending_bytes_max: usize,
    /// `osPageCacheBusyTimeOutMills`: a write that takes longer makes appends busy.
    pub busy_after: Duration,
    /// Newest bytes of the log kept in memory for readers at the tail.
    pub hot_bytes: usize,
    /// The log follows another one ([`crate::Store::follow`]): nothing is appended to it.
    pub follows: bool,
    /// The sizes of files are not configured, but were taken from the files ([`crate::inspect::measured`]).
    pub is_measured: bool,
    /// Bytes of the log that one read searches for messages whose entries are damaged; the next one goes on there.
    pub search_bytes_max: u64,
    /// Consume queue files kept open.
    pub queue_files_open_max: usize,
    /// `messageDelayLevel` in ms: what the queue of the delay topic holds instead of tag codes.
    pub delay_levels_ms: Vec<i64>,
    /// `fileReservedTime`.
    pub reserved: Duration,
    /// `deleteWhen`: hours of the day, local time.
    pub delete_when: Vec<u8>,
    /// `cleanResourceInterval`.
    pub clean_interval: Duration,
    /// `deleteFileBatchMax`.
    pub delete_batch_max: usize,
    /// `diskMaxUsedSpaceRatio`, percent.
    pub disk_used_max: u64,
    /// `cleanFileForciblyEnable`.
    pub clean_forcibly: bool,
    /// `diskSpaceCleanForciblyRatio`, percent; 30 to 85.
    pub disk_clean_forcibly: u64,
    /// `diskSpaceWarningLevelRatio`, percent; 35 to 90. Above it the store refuses appends.
    pub disk_warning: u64,
}

impl StoreConfig {
    /// The defaults, under `root`.
    #[must_use]
    pub fn at(root: impl AsRef<Path>) -> StoreConfig {
        let root = root.as_ref().to_path_buf();
        StoreConfig {
            commit_log_dirs: vec![root.join("commitlog")],
            root,
            segment_bytes: 1 << 30,
            queue_layout: QueueLayout::Files,
            queue_file_bytes: 6_000_000,
            batch_queue_file_bytes: 13_800_000,
            kinds: Kinds::default(),
            compaction_interval: Duration::from_secs(15 * 60),
            compaction_file_bytes: 100 << 20,
            compaction_queue_file_bytes: 10 << 20,
            compaction_memory_bytes: 100 << 20,
            index_enabled: true,
            index_slots: 5_000_000,
            index_entries: 20_000_000,
            flush: FlushMode::Async,
            flush_interval: Duration::from_millis(500),
            queue_flush_interval: Duration::from_secs(1),
            checkpoint_interval: Duration::from_secs(60),
            checkpoint_bytes: 1 << 30,
            short_checkpoint_bytes: 256 << 20,
            check_crc_on_recover: true,
            seal_records: false,
            demand_seals: false,
            message_bytes_max: 4 << 20,
            pending_bytes_max: 64 << 20,
            busy_after: Duration::from_secs(1),
            hot_bytes: 8 << 20,
            follows: false,
            is_measured: false,
            search_bytes_max: 256 << 20,
            queue_files_open_max: 1024,
            delay_levels_ms: delay_levels(),
            reserved: Duration::from_secs(72 * 3600),
            delete_when: vec![4],
            clean_interval: Duration::from_secs(10),
            delete_batch_max: 10,
            disk_used_max: 75,
            clean_forcibly: true,
            disk_clean_forcibly: 85,
            disk_warning: 90,
        }
    }
}

/// `1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h`
fn delay_levels() -> Vec<i64> {
    [
        1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
    ]
    .map(|seconds| seconds * 1000)
    .to_vec()
}
