// SPDX-License-Identifier: Apache-2.0
//! A file system on which nothing changes: for whoever looks at a store. What would make or change something is refused; what
//! would only tidy up is left out.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Disk, Entry, File, Lock, Space};

/// Another file system, frozen.
#[derive(Debug)]
pub struct FrozenDisk(pub Arc<dyn Disk>);

#[derive(Debug)]
struct FrozenFile(Arc<dyn File>);

fn refused<T>() -> io::Result<T> {
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "nothing is written here",
    ))
}

impl File for FrozenFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at(buf, at)
    }

    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.0.read_at_nowait(buf, at)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn zero(&self, _: u64, _: u64) -> io::Result<()> {
        refused()
    }

    fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        self.0.next_written(at)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

impl Disk for FrozenDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(FrozenFile(self.0.open_to_read(path)?)))
    }

    fn create(&self, _: &Path, _: u64) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(dir)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.0.entry(path)
    }

    fn make_dirs(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_tree(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        refused()
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        self.0.is_locked(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.0.space(path)
    }

    fn boot(&self) -> Option<u64> {
        self.0.boot()
    }
}
