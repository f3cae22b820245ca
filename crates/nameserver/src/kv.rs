// SPDX-License-Identifier: Apache-2.0
//! The key-value table: namespaces of string pairs, kept in one JSON file that the reference reads too:
//! `{"configTable":{namespace:{key:value}}}`. A change is on disk before it is visible and answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use store::disk::{Disk, backup_of};
use thiserror::Error;
use tracing::warn;
use wire::Str;
use wire::body::stats::KvTable;
use wire::fastjson::{self, JsonError};

/// The namespace of order configurations.
pub const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";
/// How much the table may hold.
const ENTRIES_MAX: usize = 100_000;
const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// The file could not be read as a table.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a table of configurations: {source}")]
    Format { path: PathBuf, source: JsonError },
}

/// A change was not made.
#[derive(Debug, Error)]
pub enum ChangeError {
    #[error("the table is full: it holds {ENTRIES_MAX} values")]
    Full,
    #[error("{0} bytes are too many for one value, the limit is {ENTRY_BYTES_MAX}")]
    TooLarge(usize),
    #[error("cannot write {path}: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
}

type Namespaces = BTreeMap<Str, Arc<BTreeMap<Str, Str>>>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Table {
    config_table: Namespaces,
}

/// The table.
pub struct Kv {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    table: ArcSwap<Table>,
    /// Held while a change is written.
    writing: Mutex<()>,
}

impl Kv {
    /// Loads the table, from the backup if its file is missing or broken; without both it is empty.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> Result<Kv, LoadError> {
        let table = match load(&*disk, &path) {
            Ok(Some(table)) => table,
            Ok(None) => load(&*disk, &backup_of(&path))?.unwrap_or_default(),
            Err(error) => match load(&*disk, &backup_of(&path)) {
                Ok(Some(table)) => {
                    warn!(file = %path.display(), %error, "the key-value table cannot be read, its backup is used");
                    table
                }
                _ => return Err(error),
            },
        };
        Ok(Kv {
            disk,
            path,
            table: ArcSwap::from_pointee(table),
            writing: Mutex::new(()),
        })
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<Str> {
        self.table.load().config_table.get(namespace)?.get(key).cloned()
    }

    /// All values of a namespace that exists. One whose values were all deleted still exists.
    pub fn namespace(&self, namespace: &str) -> Option<Arc<BTreeMap<Str, Str>>> {
        self.table.load().config_table.get(namespace).cloned()
    }

    /// Sets a value. Blocks until it is on disk.
    pub fn put(&self, namespace: &str, key: &str, value: &str) -> Result<(), ChangeError> {
        let bytes = namespace.len() + key.len() + value.len();
        if bytes > ENTRY_BYTES_MAX {
            return Err(ChangeError::TooLarge(bytes));
        }
        self.change(|namespaces| {
            let held: usize = namespaces.values().map(|values| values.len() + 1).sum();
            let values = Arc::make_mut(namespaces.entry(Str::from(namespace)).or_default());
            let before = values.insert(Str::from(key), Str::from(value));
            if before.is_none() && held >= ENTRIES_MAX {
                Err(ChangeError::Full)
            } else {
                Ok(())
            }
        })
    }

    /// Deletes a value, if it is there. Blocks until that is on disk.
    pub fn delete(&self, namespace: &str, key: &str) -> Result<(), ChangeError> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|namespaces| {
            if let Some(values) = namespaces.get_mut(namespace) {
                Arc::make_mut(values).remove(key);
            }
            Ok(())
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Namespaces) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let _writing = self.writing.lock();
        let mut table = Table::clone(&self.table.load());
        change(&mut table.config_table)?;
        let written = self.disk.replace(&self.path, &fastjson::to_vec_pretty(&table));
        written.map_err(|source| ChangeError::Disk {
            path: self.path.clone(),
            source,
        })?;
        self.table.store(Arc::new(table));
        Ok(())
    }
}

fn load(disk: &dyn Disk, path: &Path) -> Result<Option<Table>, LoadError> {
    let text = disk.load(path).map_err(|source| LoadError::Disk {
        path: path.to_owned(),
        source,
    })?;
    let table = text.map(|text| fastjson::from_slice(&text)).transpose();
    table.map_err(|source| LoadError::Format {
        path: path.to_owned(),
        source,
    })
}

/// The values of one namespace as an answer.
pub(crate) fn table_body(table: &BTreeMap<Str, Str>) -> Vec<u8> {
    fastjson::to_vec(&KvTable { table: table.clone() })
}

#[cfg(test)]
mod tests {
    use store::disk::real::RealDisk;

    use super::*;

    #[test]
    fn a_broken_file_is_replaced_by_its_backup_and_never_by_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.json");
        let disk = Arc::new(RealDisk);
        let open = || Kv::open(Arc::clone(&disk) as Arc<dyn Disk>, path.clone());
        let kv = open().unwrap();
        kv.put("N", "k", "old").unwrap();
        kv.put("N", "k", "new").unwrap();
        assert_eq!(open().unwrap().get("N", "k").unwrap(), "new");
        disk.replace(&path, b"{\"configTable\":").unwrap();
        assert_eq!(open().unwrap().get("N", "k").unwrap(), "new");
        disk.remove(&path).unwrap();
        assert_eq!(open().unwrap().get("N", "k").unwrap(), "new");
        disk.replace(&backup_of(&path), b"{").unwrap();
        disk.replace(&path, b"{").unwrap();
        assert!(matches!(open().err(), Some(LoadError::Format { .. })));
    }

    #[test]
    fn a_value_that_is_too_large_is_refused_and_a_deleted_namespace_still_exists() {
        let dir = tempfile::tempdir().unwrap();
        let kv = Kv::open(Arc::new(RealDisk), dir.path().join("kv.json")).unwrap();
        let large = "x".repeat(ENTRY_BYTES_MAX);
        assert!(matches!(kv.put("N", "k", &large), Err(ChangeError::TooLarge(_))));
        kv.put("N", "k", "v").unwrap();
        kv.delete("N", "k").unwrap();
        assert_eq!(kv.namespace("N").map(|values| values.len()), Some(0));
        assert!(kv.namespace("M").is_none());
    }
}
