// SPDX-License-Identifier: Apache-2.0
//! The log of a broker as its files have it, whoever wrote them and whether or not it still runs.
#![expect(clippy::disallowed_methods, reason = "logs of other processes are real files")]

use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use wire::record::{RecordError, RecordHead};

/// Bytes of the files, by the position at which they begin.
pub(super) struct Log {
    files: BTreeMap<u64, Vec<u8>>,
}

impl Log {
    /// Reads the files of a store from the one on that holds a position.
    pub(super) fn read(dir: &Path, from: u64) -> anyhow::Result<Log> {
        let dir = dir.join("store/commitlog");
        let mut paths = BTreeMap::new();
        let entries = std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let Ok(base) = name.parse() else { continue };
            paths.insert(base, path);
        }
        let first = paths.range(..=from).next_back().map_or(from, |(base, _)| *base);
        let files = paths.split_off(&first).into_iter();
        let files = files.map(|(base, path)| Ok((base, std::fs::read(path)?)));
        Ok(Log {
            files: files.collect::<anyhow::Result<_>>()?,
        })
    }

    fn begin(&self) -> u64 {
        self.files.keys().next().copied().unwrap_or(0)
    }

    /// Where the last whole record ends: what lies behind is zeros.
    pub(super) fn end(&self) -> u64 {
        let mut end = self.begin();
        for (base, bytes) in &self.files {
            if end != *base {
                // The file before it is not full.
                break;
            }
            let mut at = 0;
            loop {
                match RecordHead::scan(&bytes[at..]) {
                    Ok(head) => at += head.total_size,
                    Err(RecordError::Blank(_)) => at = bytes.len(),
                    Err(_) => break,
                }
                if at >= bytes.len() {
                    break;
                }
            }
            end = base + at as u64;
        }
        end
    }

    /// The bytes of the record at a position, if there is a whole one.
    pub(super) fn record(&self, at: u64) -> Option<(&[u8], RecordHead<'_>)> {
        let (base, bytes) = self.files.range(..=at).next_back()?;
        let bytes = bytes.get(usize::try_from(at - base).ok()?..)?;
        let head = RecordHead::scan(bytes).ok()?;
        Some((bytes.get(..head.total_size)?, head))
    }

    /// Compares what both have. Returns how many bytes that is.
    pub(super) fn same_as(&self, other: &Log) -> anyhow::Result<u64> {
        let from = self.begin().max(other.begin());
        let (mine, others) = (self.end(), other.end());
        let end = mine.min(others);
        ensure!(from < end, "one ends at {end}, the other begins at {from}");
        for (base, bytes) in self.files.range(from..end) {
            let file = other.files.get(base);
            let file = file.with_context(|| format!("only one has a file at {base}"))?;
            ensure!(
                file.len() == bytes.len(),
                "files at {base} have {} and {} bytes",
                bytes.len(),
                file.len()
            );
            let used = bytes.len().min(usize::try_from(end - base)?);
            let differs = bytes.iter().zip(file).take(used).position(|(a, b)| a != b);
            if let Some(at) = differs {
                bail!(
                    "logs differ at {}, in the file at {base}; they end at {mine} and {others}",
                    base + at as u64
                );
            }
        }
        Ok(end - from)
    }
}
