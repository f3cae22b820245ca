// SPDX-License-Identifier: Apache-2.0
//! The real disk, with a note of each change below one directory and of each sync. A change is noted behind it and under one
//! lock with it: the notes stand in the order of the changes, and a process that is killed between the two has lost a change that
//! nobody was promised.
#![expect(clippy::disallowed_methods, reason = "notes are no file of the product")]

use super::note::Note;
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::disk::real::RealDisk;
use store::disk::{Disk, Entry, File, Lock, Space};

/// See the head of the file.
#[derive(Debug, Clone)]
pub struct NotedDisk {
    notes: Arc<Mutex<Notes>>,
}

#[derive(Debug)]
struct Notes {
    out: std::fs::File,
    /// How many there are.
    count: u64,
    /// The files that have a number, by their names of now.
    files: HashMap<PathBuf, u64>,
    next_file: u64,
}

impl Notes {
    fn add(&mut self, note: &Note) -> io::Result<()> {
        self.out.write_all(&note.encode())?;
        self.count += 1;
        Ok(())
    }

    fn new_file(&mut self, path: &Path) -> u64 {
        let file = self.next_file;
        self.next_file += 1;
        self.files.insert(path.to_owned(), file);
        file
    }

    /// The number of a file that is there.
    fn file(&mut self, path: &Path) -> io::Result<u64> {
        if let Some(file) = self.files.get(path) {
            return Ok(*file);
        }
        let file = self.new_file(path);
        self.add(&Note::Known {
            file,
            path: path.to_owned(),
        })?;
        Ok(file)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.files.remove(path);
        self.add(&Note::Removed(path.to_owned()))
    }
}

impl NotedDisk {
    /// Notes go to a new file.
    pub fn noting_to(file: &Path) -> io::Result<NotedDisk> {
        let notes = Notes {
            out: std::fs::File::create(file)?,
            count: 0,
            files: HashMap::new(),
            next_file: 0,
        };
        Ok(NotedDisk {
            notes: Arc::new(Mutex::new(notes)),
        })
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct NotedFile {
    file: u64,
    real: Arc<dyn File>,
    disk: NotedDisk,
}

impl NotedFile {
    fn change(&self, change: impl FnOnce() -> io::Result<()>, note: Note) -> io::Result<()> {
        let mut notes = self.disk.notes();
        change()?;
        notes.add(&note)
    }
}

impl File for NotedFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.real.read_at(buf, at)
    }

    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.real.read_at_nowait(buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        let note = Note::Bytes {
            file: self.file,
            at,
            bytes: buf.to_vec(),
        };
        self.change(|| self.real.write_at(buf, at), note)
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let note = Note::Zero {
            file: self.file,
            at,
            len,
        };
        self.change(|| self.real.zero(at, len), note)
    }

    fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        self.real.next_written(at)
    }

    fn sync(&self) -> io::Result<()> {
        let before = self.disk.notes().count;
        self.real.sync()?;
        self.disk.notes().add(&Note::Synced {
            file: self.file,
            before,
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let note = Note::Len { file: self.file, len };
        self.change(|| self.real.set_len(len), note)
    }

    fn len(&self) -> io::Result<u64> {
        self.real.len()
    }
}

impl Disk for NotedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut notes = self.notes();
        let real = RealDisk.open(path)?;
        let file = notes.file(path)?;
        Ok(Arc::new(NotedFile {
            file,
            real,
            disk: self.clone(),
        }))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let mut notes = self.notes();
        let was_there = RealDisk.entry(path)?.is_some();
        let real = RealDisk.create(path, len)?;
        let file = if was_there {
            let file = notes.file(path)?;
            notes.add(&Note::Len { file, len: 0 })?;
            file
        } else {
            let file = notes.new_file(path);
            notes.add(&Note::Made {
                file,
                path: path.to_owned(),
            })?;
            file
        };
        if len > 0 {
            notes.add(&Note::Len { file, len })?;
        }
        Ok(Arc::new(NotedFile {
            file,
            real,
            disk: self.clone(),
        }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        RealDisk.entry(path)
    }

    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut notes = self.notes();
        let mut missing = Vec::new();
        for dir in dir.ancestors().filter(|dir| !dir.as_os_str().is_empty()) {
            if RealDisk.entry(dir)?.is_some() {
                break;
            }
            missing.push(dir.to_owned());
        }
        RealDisk.make_dirs(dir)?;
        missing
            .into_iter()
            .rev()
            .try_for_each(|dir| notes.add(&Note::Dir(dir)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut notes = self.notes();
        let is_dir = RealDisk.entry(from)?.is_some_and(|entry| entry.is_dir);
        if is_dir {
            // Nobody does; `cut` would have to move what is in it.
            return Err(io::ErrorKind::Unsupported.into());
        }
        let file = notes.file(from)?;
        RealDisk.rename(from, to)?;
        notes.files.remove(from);
        notes.files.insert(to.to_owned(), file);
        notes.add(&Note::Renamed {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut notes = self.notes();
        RealDisk.remove(path)?;
        notes.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut notes = self.notes();
        RealDisk.remove_dir(dir)?;
        notes.remove(dir)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        for entry in RealDisk.list(dir)? {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                self.remove_tree(&path)?;
            } else {
                self.remove(&path)?;
            }
        }
        match self.remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let before = self.notes().count;
        RealDisk.sync_dir(dir)?;
        self.notes().add(&Note::DirSynced {
            dir: dir.to_owned(),
            before,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        RealDisk.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        RealDisk.space(path)
    }
}
