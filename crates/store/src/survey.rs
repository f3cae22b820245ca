// SPDX-License-Identifier: Apache-2.0
//! Looking at a store directory without touching it: what is there, and whether it is what we can open.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::Loaded;
use crate::config::StoreConfig;
use crate::disk::{Disk, Entry};
use crate::index;
use crate::log::{file_name, parse_file_name};
use crate::queue_batch::QueueKind;
use crate::runs;

/// Why a store cannot be opened. Nothing was changed, unless it is an I/O error.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{0} is locked: the store is open already")]
    Locked(PathBuf),
    /// A setting makes no sense.
    #[error("{0}")]
    Config(&'static str),
    /// A file was made with other settings.
    #[error(
        "{path} has {found} bytes, {key} asks for {expected}; if the setting is right, the file is damaged: see `barque store repair`"
    )]
    FileSize {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length by the settings.
        expected: u64,
        /// The setting.
        key: &'static str,
    },
    /// Something is not as a store is laid out.
    #[error("{path}: {why}; see `barque store check`")]
    Layout {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// Files of the log are gone, or lost their end.
    #[error(
        "{path} is missing or too short: the log reached {reached} and its files end at {end}; put the file back, or give up what \
         was in it with `barque store repair --write`"
    )]
    Lost {
        /// The file, or the directory when there is none at all.
        path: PathBuf,
        /// The position that the log is known to have reached.
        reached: i64,
        /// Where its files end.
        end: i64,
    },
    /// The disk failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Adds what was tried to an I/O error.
pub(crate) fn tried<T>(what: &'static str, done: io::Result<T>) -> Result<T, OpenError> {
    done.map_err(|source| OpenError::Io { what, source })
}

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Log files by first position, without gaps.
    pub(crate) segments: BTreeMap<i64, PathBuf>,
    /// Consume queues, those with records of several messages first.
    pub(crate) queues: Vec<FoundQueue>,
    /// Whether there are runs.
    pub(crate) has_runs: bool,
    /// Whether there was ever something in them.
    pub(crate) runs_have_units: bool,
    pub(crate) index: Vec<i64>,
    /// Empty files, left by an end between making a file and giving it its size.
    pub(crate) empty: Vec<PathBuf>,
    /// The last run did not end in order.
    pub(crate) is_abnormal: bool,
    /// No power cut has been since the last run: whatever it wrote is there.
    pub(crate) is_all_there: bool,
}

impl Survey {
    /// Refuses a log that lacks its end, or all of it: to start with less would give out positions and offsets again that
    /// messages had.
    pub(crate) fn check_whole(
        &self,
        config: &StoreConfig,
        loaded: &Loaded,
        (reached, noted): (Option<i64>, Option<i64>),
    ) -> Result<(), OpenError> {
        let last = self.segments.last_key_value();
        let end = last.map_or(0, |(base, _)| base + config.segment_bytes as i64);
        let has_queues = self.queues.iter().any(|queue| !queue.bases.is_empty());
        let reached = match reached {
            Some(reached) => reached,
            None if last.is_some() => end,
            // By what a broker of the reference leaves, or ours without its checkpoint.
            None => noted
                .unwrap_or_else(|| i64::from(has_queues || self.runs_have_units || loaded.times.log_ms > 0)),
        };
        if reached <= end {
            return Ok(());
        }
        let dir = config.commit_log_dirs.first().cloned().unwrap_or_default();
        let path = match last {
            Some(_) => dir.join(file_name(end)),
            None => dir,
        };
        Err(OpenError::Lost { path, reached, end })
    }
}

/// A consume queue.
#[derive(Debug)]
pub(crate) struct FoundQueue {
    pub(crate) kind: QueueKind,
    pub(crate) topic: String,
    pub(crate) id: u32,
    /// Starts of its files, ascending.
    pub(crate) bases: Vec<i64>,
}

/// The directory of the queues of a kind, in that of the store.
pub(crate) fn queue_dir(kind: QueueKind) -> &'static str {
    match kind {
        QueueKind::Plain => "consumequeue",
        QueueKind::Batch => "batchconsumequeue",
    }
}

pub(crate) fn survey(config: &StoreConfig, disk: &dyn Disk, index_bytes: u64) -> Result<Survey, OpenError> {
    let mut found = Survey {
        is_abnormal: tried("look for the abort file", disk.entry(&config.root.join("abort")))?.is_some(),
        is_all_there: false,
        ..Survey::default()
    };
    survey_log(config, disk, &mut found)?;
    found.has_runs = tried(
        "look at the compact consume queues",
        runs::are_there(disk, &config.root),
    )?;
    found.runs_have_units = tried(
        "look at the compact consume queues",
        runs::have_units(disk, &config.root),
    )?;
    survey_queues(config, disk, QueueKind::Batch, &mut found)?;
    survey_queues(config, disk, QueueKind::Plain, &mut found)?;
    if config.index_enabled {
        let dir = config.root.join("index");
        for entry in tried("list the index", disk.list(&dir))? {
            let Some(name) = index::parse_name(&entry.name).filter(|_| !entry.is_dir) else {
                tracing::warn!(file = %dir.join(&entry.name).display(), "not an index file, left alone");
                continue;
            };
            let path = dir.join(&entry.name);
            if entry.len == 0 {
                found.empty.push(path);
                continue;
            }
            check_size(path, &entry, index_bytes, "maxHashSlotNum/maxIndexNum")?;
            found.index.push(name);
        }
        found.index.sort_unstable();
    }
    Ok(found)
}

fn check_size(path: PathBuf, entry: &Entry, expected: u64, key: &'static str) -> Result<(), OpenError> {
    if entry.len == expected {
        Ok(())
    } else {
        Err(OpenError::FileSize {
            path,
            found: entry.len,
            expected,
            key,
        })
    }
}

fn survey_log(config: &StoreConfig, disk: &dyn Disk, found: &mut Survey) -> Result<(), OpenError> {
    let mut files = BTreeMap::new();
    for dir in &config.commit_log_dirs {
        for entry in tried("list the commit log", disk.list(dir))? {
            let path = dir.join(&entry.name);
            // A mount point has its `lost+found`.
            if entry.is_dir {
                continue;
            }
            let Some(base) = parse_file_name(&entry.name) else {
                return Err(OpenError::Layout {
                    path,
                    why: "not the name of a commit log file",
                });
            };
            if files.insert(base, (path.clone(), entry)).is_some() {
                return Err(OpenError::Layout {
                    path,
                    why: "commit log file exists twice",
                });
            }
        }
    }
    if let Some(last) = files.last_entry()
        && last.get().1.len == 0
    {
        found.empty.push(last.remove().0);
    }
    let mut next = None;
    for (base, (path, entry)) in files {
        check_size(
            path.clone(),
            &entry,
            config.segment_bytes,
            "mappedFileSizeCommitLog",
        )?;
        let is_aligned = base.unsigned_abs() % config.segment_bytes == 0;
        if let Some(missing) = next.filter(|next| is_aligned && *next != base) {
            return Err(OpenError::Layout {
                path: path.with_file_name(file_name(missing)),
                why: "is missing: commit log files do not follow each other",
            });
        }
        if !is_aligned {
            return Err(OpenError::Layout {
                path,
                why: "commit log file has an odd start",
            });
        }
        next = Some(base + config.segment_bytes as i64);
        found.segments.insert(base, path);
    }
    Ok(())
}

fn survey_queues(
    config: &StoreConfig,
    disk: &dyn Disk,
    kind: QueueKind,
    found: &mut Survey,
) -> Result<(), OpenError> {
    let root = config.root.join(queue_dir(kind));
    if tried("look at the consume queues", disk.entry(&root.join("CURRENT")))?.is_some() {
        return Err(OpenError::Layout {
            path: root,
            why: "consume queues are kept in RocksDB",
        });
    }
    let (expected, key) = match kind {
        QueueKind::Plain => (config.queue_file_bytes, "mappedFileSizeConsumeQueue"),
        QueueKind::Batch => (config.batch_queue_file_bytes, "mapperFileSizeBatchConsumeQueue"),
    };
    for (topic, id, dir) in numbered_dirs(disk, &root)? {
        let mut bases = Vec::new();
        let mut files = tried("list a consume queue", disk.list(&dir))?;
        files.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        for entry in &files {
            let path = dir.join(&entry.name);
            let Some(base) = parse_file_name(&entry.name).filter(|_| !entry.is_dir) else {
                return Err(OpenError::Layout {
                    path,
                    why: "not the name of a consume queue file",
                });
            };
            if entry.len == 0 {
                found.empty.push(path);
                continue;
            }
            check_size(path.clone(), entry, expected, key)?;
            if base.unsigned_abs() % expected != 0 {
                return Err(OpenError::Layout {
                    path,
                    why: "consume queue file has an odd start",
                });
            }
            bases.push(base);
        }
        found.queues.push(FoundQueue {
            kind,
            topic,
            id,
            bases,
        });
    }
    Ok(())
}

/// `<root>/<topic>/<number>` directories.
pub(crate) fn numbered_dirs(disk: &dyn Disk, root: &Path) -> Result<Vec<(String, u32, PathBuf)>, OpenError> {
    let mut dirs = Vec::new();
    for topic in tried("list topics", disk.list(root))? {
        if !topic.is_dir {
            continue;
        }
        let of_topic = root.join(&topic.name);
        for queue in tried("list queues", disk.list(&of_topic))? {
            match queue.name.parse() {
                Ok(id) if queue.is_dir => dirs.push((topic.name.clone(), id, of_topic.join(&queue.name))),
                _ => {
                    let path = of_topic.join(&queue.name);
                    tracing::warn!(topic = topic.name, file = %path.display(), "not a queue, left alone");
                }
            }
        }
    }
    Ok(dirs)
}
