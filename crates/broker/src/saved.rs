// SPDX-License-Identifier: Apache-2.0
//! Tables kept as JSON files in the reference's layout: tabs, sorted keys, and the previous content in `<file>.bak`.

pub(crate) mod ledger;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use store::Env;
use store::disk::backup_of;
use thiserror::Error;
use tracing::warn;
use wire::fastjson;

/// A table cannot be read. The broker must not start without it: it would forget what operators and clients made.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The disk failed.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Neither the file nor its backup makes sense.
    #[error(
        "neither {path} nor its .bak is a valid table: {source}; `barque store repair --write` puts them aside, and the next start \
         makes of the rest of the store what it can"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: fastjson::JsonError,
    },
}

/// A table cannot be written, so the change it came with is not made.
#[derive(Debug, Error)]
#[error("cannot write {path}: {source}")]
pub struct SaveError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Reads a table; `None` when there is none yet. A file that is missing, empty or damaged gives way to its backup.
pub(crate) fn load<T: DeserializeOwned>(env: &Env, path: &Path) -> Result<Option<T>, LoadError> {
    Ok(load_with_bytes(env, path)?.map(|loaded| loaded.table))
}

/// A table, and what it was read from.
pub(crate) struct Loaded<T> {
    pub(crate) table: T,
    pub(crate) bytes: Vec<u8>,
    /// The file itself is missing, empty or damaged.
    pub(crate) is_backup: bool,
}

/// The same, with what the table was read from.
pub(crate) fn load_with_bytes<T: DeserializeOwned>(
    env: &Env,
    path: &Path,
) -> Result<Option<Loaded<T>>, LoadError> {
    let mut damage = None;
    for candidate in [path.to_path_buf(), backup_of(path)] {
        let bytes = env.disk.load(&candidate);
        let bytes = bytes.map_err(|source| LoadError::Io {
            path: candidate.clone(),
            source,
        })?;
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            continue;
        };
        match fastjson::from_slice(&bytes) {
            Ok(table) => {
                let is_backup = candidate != path;
                if is_backup && damage.is_none() {
                    warn!(file = %path.display(), "a table is missing or empty; its backup is used, and what changed since is lost");
                }
                return Ok(Some(Loaded {
                    table,
                    bytes,
                    is_backup,
                }));
            }
            Err(error) => {
                warn!(file = %candidate.display(), %error, "a table is damaged; its backup is used if that is whole");
                damage.get_or_insert(error);
            }
        }
    }
    match damage {
        Some(source) => Err(LoadError::Damaged {
            path: path.to_path_buf(),
            source,
        }),
        None => Ok(None),
    }
}

/// Replaces the file and returns when that is durable.
pub(crate) fn save<T: Serialize>(env: &Env, path: &Path, table: &T) -> Result<(), SaveError> {
    save_bytes(env, path, &fastjson::to_vec_pretty(table))
}

/// The same, of a table that is bytes already.
pub(crate) fn save_bytes(env: &Env, path: &Path, bytes: &[u8]) -> Result<(), SaveError> {
    env.disk.replace(path, bytes).map_err(|source| SaveError {
        path: path.to_path_buf(),
        source,
    })
}
