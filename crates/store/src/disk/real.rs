// SPDX-License-Identifier: Apache-2.0
//! The system's files: the only place of the workspace that opens any.

use std::fs::{self, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::Builder;
use std::time::UNIX_EPOCH;

use parking_lot::Mutex;
use rustix::fs::{
    FallocateFlags, FlockOperation, SeekFrom, fallocate, fcntl_lock, fdatasync, fsync, seek, statvfs,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use super::{Disk, Entry, File, Lock, Space, Unsynced};

/// Files that are made durable side by side.
const SYNCS_AT_ONCE: usize = 16;

/// The system's file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(fs::File);

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let wanted = buf.len();
        match preadv2(&self.0, &mut [IoSliceMut::new(buf)], at, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == wanted => Ok(read),
            // Short: the rest is not cached (or the file ends, which the waiting read will tell). Where the file
            // system cannot say, every read counts as one that would wait.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(buf, at)
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        match fallocate(
            &self.0,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            at,
            len,
        ) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => zero_by_writing(self, at, len),
            done => Ok(done?),
        }
    }

    fn next_written(&self, at: u64) -> io::Result<Option<u64>> {
        match seek(&self.0, SeekFrom::Data(at)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NXIO) => Ok(None),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok((at < self.len()?).then_some(at)),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(fdatasync(&self.0)?)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Writes zeros where there are none yet, so that a sparse file stays sparse.
fn zero_by_writing(file: &RealFile, at: u64, len: u64) -> io::Result<()> {
    const STEP: u64 = 64 * 1024;
    let zeros = vec![0; STEP as usize];
    let mut found = vec![0; STEP as usize];
    let mut done = 0;
    while done < len {
        let step = STEP.min(len - done);
        let read = file.read_at(&mut found[..step as usize], at + done)?;
        if read == 0 {
            break;
        }
        if found[..read].iter().any(|byte| *byte != 0) {
            file.write_at(&zeros[..read], at + done)?;
        }
        done += read as u64;
    }
    Ok(())
}

fn open(path: &Path, options: &OpenOptions) -> io::Result<Arc<dyn File>> {
    Ok(Arc::new(RealFile(options.open(path)?)))
}

fn entry(name: String, of: &fs::Metadata) -> Entry {
    let modified = of
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Entry {
        name,
        is_dir: of.is_dir(),
        len: of.len(),
        modified_ms: modified.map_or(0, |since| since.as_millis() as i64),
    }
}

/// The parent of a relative path of one name is the empty path, which the system does not know.
fn or_current(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open(path, OpenOptions::new().read(true).write(true))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open(path, OpenOptions::new().read(true))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let file = open(
            path,
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(true),
        )?;
        if len > 0 {
            file.set_len(len)?;
        }
        Ok(file)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let names = match fs::read_dir(dir) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for name in names {
            let name = name?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(text) = name.file_name().into_string() {
                entries.push(entry(text, &fs::metadata(name.path())?));
            }
        }
        Ok(entries)
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match fs::metadata(or_current(path)) {
            Ok(found) => Ok(Some(entry(name.to_owned(), &found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Side by side: the file system makes what is asked for at the same moment durable in one go.
    fn sync_many(&self, things: &[Unsynced]) -> Vec<io::Result<()>> {
        let share = things.len().div_ceil(SYNCS_AT_ONCE).max(1);
        std::thread::scope(|scope| {
            let work = |part: &[Unsynced]| part.iter().map(|thing| thing.sync(self)).collect::<Vec<_>>();
            let begin = |part| {
                let thread = Builder::new().name("store-sync".to_owned());
                (part, thread.spawn_scoped(scope, move || work(part)))
            };
            let threads: Vec<_> = things.chunks(share).map(begin).collect();
            let joined = threads.into_iter().flat_map(|(part, thread)| {
                let ended = || {
                    part.iter()
                        .map(|_| Err(io::Error::other("a thread has ended")))
                        .collect()
                };
                match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|_| ended()),
                    // The system gives no more threads: this one does it.
                    Err(_) => work(part),
                }
            });
            joined.collect()
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        Ok(fsync(OpenOptions::new().read(true).open(or_current(dir))?)?)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        lock(path)
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        if HELD.lock().contains(&canonical(path)?) {
            return Ok(true);
        }
        // Without the right to write there no broker runs there.
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(false),
                Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
                Err(error) => Err(error.into()),
            },
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = statvfs(path)?;
        Ok(Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bfree.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    fn boot(&self) -> Option<u64> {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
        u64::from_str_radix(&digits, 16).ok()
    }
}

/// Record locks belong to a process, not to a handle: a second one of the same process would be granted, and closing
/// its file would drop the first. So what this process holds is remembered here, before the file is touched.
static HELD: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct RealLock {
    path: PathBuf,
    _file: fs::File,
}

impl Lock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        HELD.lock().retain(|held| *held != self.path);
    }
}

/// The same path for the same file, which need not be there.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::canonicalize(or_current(dir))?.join(name))
}

fn lock(path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
    let path = canonical(path)?;
    let mut held = HELD.lock();
    if held.contains(&path) {
        return Ok(None);
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    if file.metadata()?.len() == 0 {
        file.write_all_at(b"lock", 0)?;
    }
    held.push(path.clone());
    Ok(Some(Box::new(RealLock { path, _file: file })))
}
