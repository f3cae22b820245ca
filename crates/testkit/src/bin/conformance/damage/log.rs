// SPDX-License-Identifier: Apache-2.0
//! Where each record of the log lies, read from the files of a stopped store, whoever wrote them.
#![expect(clippy::disallowed_methods, reason = "a stopped server left real files")]

use super::fill::SENDER;
use crate::kills::actor::{body_of, numbers};
use anyhow::Context as _;
use bytes::Bytes;
use std::path::{Path, PathBuf};
use wire::record::Record;

/// A record in a file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Where it begins in the log.
    pub(super) pos: u64,
    pub(super) size: u64,
    /// The name of its file.
    pub(super) file: String,
    /// Where that begins in the log.
    pub(super) file_pos: u64,
    pub(super) topic: String,
    pub(super) queue_offset: i64,
    pub(super) body: u64,
    /// If it is one of ours.
    pub(super) number: Option<usize>,
}

/// The number of a message whose body is whole.
pub(super) fn number_of(body: &[u8]) -> Option<usize> {
    match *numbers(body).as_slice() {
        [SENDER, number, ..] if body_of(SENDER, number) == body => Some(number),
        _ => None,
    }
}

/// All records, in order.
pub(super) fn places(dir: &Path) -> anyhow::Result<Vec<Place>> {
    let mut all = Vec::new();
    for path in files(dir)? {
        let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
        let Ok(file_pos) = name.parse::<u64>() else {
            continue;
        };
        let bytes = Bytes::from(std::fs::read(&path)?);
        let mut at = 0;
        while let Ok(record) = Record::decode(&bytes.slice(at..)) {
            all.push(Place {
                pos: file_pos + at as u64,
                size: record.total_size as u64,
                file: name.clone(),
                file_pos,
                topic: record.topic.to_string(),
                queue_offset: record.queue_offset,
                body: record.body.len() as u64,
                number: number_of(&record.body),
            });
            at += record.total_size;
        }
    }
    Ok(all)
}

/// The files of a directory, by name.
pub(super) fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file());
    paths.sort();
    Ok(paths)
}
