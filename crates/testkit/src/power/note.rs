// SPDX-License-Identifier: Apache-2.0
//! What is noted: one record for each thing that was done to the directory, in the order in which it was done. Whoever notes
//! is killed in the middle of it, so that the last record may be torn.
//!
//! ```text
//! length 4 | kind 1 | two numbers 8 | length of a path 4 | path | the rest: another path, or bytes
//! ```

use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A file that was there before has this number from now on.
    Known { file: u64, path: PathBuf },
    /// A new file.
    Made { file: u64, path: PathBuf },
    /// Bytes were written.
    Bytes { file: u64, at: u64, bytes: Vec<u8> },
    /// A range reads as zero.
    Zero { file: u64, at: u64, len: u64 },
    /// A file has this length.
    Len { file: u64, len: u64 },
    /// What was noted of the file before the note of this number is durable.
    Synced { file: u64, before: u64 },
    /// A new directory.
    Dir(PathBuf),
    /// A name is another one now.
    Renamed { from: PathBuf, to: PathBuf },
    /// A name is gone: of a file, or of a directory.
    Removed(PathBuf),
    /// The names in the directory noted before the note of this number are durable.
    DirSynced { dir: PathBuf, before: u64 },
}

impl Note {
    /// The bytes of a record.
    pub(super) fn encode(&self) -> Vec<u8> {
        let nowhere = Path::new("");
        let (kind, one, two, path, rest): (u8, u64, u64, &Path, &[u8]) = match self {
            Note::Known { file, path } => (0, *file, 0, path, &[]),
            Note::Made { file, path } => (1, *file, 0, path, &[]),
            Note::Bytes { file, at, bytes } => (2, *file, *at, nowhere, bytes),
            Note::Zero { file, at, len } => (3, *file, *at, nowhere, &len.to_be_bytes()),
            Note::Len { file, len } => (4, *file, *len, nowhere, &[]),
            Note::Synced { file, before } => (5, *file, *before, nowhere, &[]),
            Note::Dir(path) => (6, 0, 0, path, &[]),
            Note::Renamed { from, to } => (7, 0, 0, from, to.as_os_str().as_encoded_bytes()),
            Note::Removed(path) => (8, 0, 0, path, &[]),
            Note::DirSynced { dir, before } => (9, 0, *before, dir, &[]),
        };
        let path = path.as_os_str().as_encoded_bytes();
        let mut out = Vec::with_capacity(25 + path.len() + rest.len());
        out.extend((21 + path.len() as u32 + rest.len() as u32).to_be_bytes());
        out.push(kind);
        out.extend(one.to_be_bytes());
        out.extend(two.to_be_bytes());
        out.extend((path.len() as u32).to_be_bytes());
        out.extend(path);
        out.extend(rest);
        out
    }

    fn decode(record: &[u8]) -> anyhow::Result<Note> {
        let mut rest = record;
        let [kind] = take(&mut rest)?;
        let one = u64::from_be_bytes(take(&mut rest)?);
        let two = u64::from_be_bytes(take(&mut rest)?);
        let len = u32::from_be_bytes(take(&mut rest)?) as usize;
        let (path, mut rest) = rest.split_at_checked(len).context("a short note")?;
        let path = as_path(path)?;
        Ok(match kind {
            0 => Note::Known { file: one, path },
            1 => Note::Made { file: one, path },
            2 => Note::Bytes {
                file: one,
                at: two,
                bytes: rest.to_vec(),
            },
            3 => Note::Zero {
                file: one,
                at: two,
                len: u64::from_be_bytes(take(&mut rest)?),
            },
            4 => Note::Len { file: one, len: two },
            5 => Note::Synced {
                file: one,
                before: two,
            },
            6 => Note::Dir(path),
            7 => Note::Renamed {
                from: path,
                to: as_path(rest)?,
            },
            8 => Note::Removed(path),
            9 => Note::DirSynced {
                dir: path,
                before: two,
            },
            other => bail!("a note of kind {other}"),
        })
    }

    /// All notes of a file; a torn one at the end was never made.
    pub(super) fn decode_all(bytes: &[u8]) -> anyhow::Result<Vec<Note>> {
        let (mut notes, mut rest) = (Vec::new(), bytes);
        while let Some((len, behind)) = rest.split_first_chunk::<4>() {
            let Some((record, behind)) = behind.split_at_checked(u32::from_be_bytes(*len) as usize) else {
                break;
            };
            notes.push(Note::decode(record)?);
            rest = behind;
        }
        Ok(notes)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk::<N>().context("a short note")?;
    *rest = behind;
    Ok(*taken)
}

fn as_path(bytes: &[u8]) -> anyhow::Result<PathBuf> {
    Ok(PathBuf::from(
        std::str::from_utf8(bytes).context("a path that is no text")?,
    ))
}
