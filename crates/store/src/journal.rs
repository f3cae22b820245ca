// SPDX-License-Identifier: Apache-2.0
//! A write-ahead log for small state that lives in memory: what was appended is read back at the next opening, in order.
//!
//! ```text
//! file <dir>/<20 digits>: magic 8 | version 4 | 0 4, then records
//! record: length 4 | check 4 | payload             check: CRC-32 (31 bits) of the payload, mixed with file and position
//! ```
//!
//! The owner keeps it short: [`Journal::begin`] starts a new file, the owner appends all of its state to it while others
//! go on appending changes, and [`Journal::finish`] removes the older files. Until then an opening reads all files, so a
//! record that sets state must replace what older ones say. A file ends for the reader at its first record that does not
//! check, unless the owner says that each stands for itself ([`Journal::open_past_damage`]). An opening never appends to a file
//! that was there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use wire::record::crc31;

use crate::disk::{Disk, File, SyncFailed, synced};
use crate::env::Env;

const MAGIC: &[u8; 8] = b"BRQJRNL\n";
const VERSION: u32 = 1;
const HEAD_BYTES: u64 = 16;
const RECORD_HEAD_BYTES: usize = 8;
/// A record that claims more is damaged.
const RECORD_BYTES_MAX: usize = 16 << 20;
/// What may be summed up in search of the record behind a damaged one.
const SEARCHED_BYTES_MAX: usize = 256 << 20;

/// A journal, open for appends.
pub struct Journal {
    env: Env,
    dir: PathBuf,
    tail: Mutex<Tail>,
    /// Positions below are durable.
    durable: AtomicU64,
    /// Whoever comes while somebody syncs finds, when it is its turn, that the sync before it or its own covers all who wait.
    syncing: Mutex<()>,
    /// At each sync, and when one fails.
    synced: Notify,
    /// A sync failed. Nothing of this file is durable any more that was not: see [`crate::Store::fail_if_unsynced`].
    failed: AtomicBool,
}

struct Tail {
    file: Arc<dyn File>,
    seq: u64,
    /// Newest number that was tried: the name of a file that could not be made may never become durable.
    tried: u64,
    /// Where the next record goes in the file.
    at: u64,
    /// Bytes appended in this life.
    pos: u64,
    /// Oldest file there is.
    oldest: u64,
    buf: Vec<u8>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Reads everything there is, in order, and starts a new file. Nothing older is removed until [`Journal::finish`].
    pub fn open(env: Env, dir: &Path, read: impl FnMut(&[u8])) -> io::Result<Journal> {
        Journal::open_reading(env, dir, Behind::Nothing, read)
    }

    /// The same for records that each stand for themselves: a damaged one costs none behind it.
    pub fn open_past_damage(env: Env, dir: &Path, read: impl FnMut(&[u8])) -> io::Result<Journal> {
        Journal::open_reading(env, dir, Behind::Counts, read)
    }

    fn open_reading(
        env: Env,
        dir: &Path,
        behind: Behind,
        mut read: impl FnMut(&[u8]),
    ) -> io::Result<Journal> {
        env.disk.make_dirs_durable(dir)?;
        let seqs = read_all(&env, dir, behind, &mut read)?;
        let seq = seqs.last().map_or(0, |last| last + 1);
        let file = create(&*env.disk, dir, seq)?;
        Ok(Journal {
            env,
            dir: dir.to_owned(),
            tail: Mutex::new(Tail {
                file,
                seq,
                tried: seq,
                at: HEAD_BYTES,
                pos: 0,
                oldest: seqs.first().copied().unwrap_or(seq),
                buf: Vec::new(),
            }),
            durable: AtomicU64::new(0),
            syncing: Mutex::new(()),
            synced: Notify::new(),
            failed: AtomicBool::new(false),
        })
    }

    /// Reads everything there is, in order and past damage, and changes nothing; there need not be a journal.
    pub fn read(env: &Env, dir: &Path, mut read: impl FnMut(&[u8])) -> io::Result<()> {
        match read_all(env, dir, Behind::Counts, &mut read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    /// Writes a record; what comes back is the position to wait for with [`Journal::reach`]. After an error nothing was
    /// appended.
    pub fn append(&self, payload: &[u8]) -> io::Result<u64> {
        let mut tail = self.tail.lock();
        let Tail {
            file, seq, at, buf, ..
        } = &mut *tail;
        buf.clear();
        buf.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        buf.extend_from_slice(&check(payload, *seq, *at).to_be_bytes());
        buf.extend_from_slice(payload);
        file.write_at(buf, *at)?;
        let len = buf.len() as u64;
        tail.at += len;
        tail.pos += len;
        Ok(tail.pos)
    }

    /// Bytes in the newest file.
    pub fn file_bytes(&self) -> u64 {
        self.tail.lock().at
    }

    /// Whether everything appended so far is durable.
    pub fn is_synced(&self) -> bool {
        self.durable.load(Ordering::Acquire) >= self.tail.lock().pos
    }

    /// Makes durable what was appended so far. Waits for the disk. A failure is final: the system may have dropped the
    /// data, and a second sync would claim that all is well; only [`Journal::begin`] leads out of it.
    pub fn sync(&self) -> io::Result<()> {
        let wanted = self.tail.lock().pos;
        let _one_at_a_time = self.syncing.lock();
        if self.durable.load(Ordering::Acquire) < wanted {
            let (file, pos) = {
                let tail = self.tail.lock();
                (Arc::clone(&tail.file), tail.pos)
            };
            self.sync_file(&*file)?;
            self.durable.fetch_max(pos, Ordering::AcqRel);
        }
        self.synced.notify_waiters();
        Ok(())
    }

    fn sync_file(&self, file: &dyn File) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(has_failed());
        }
        synced(file.sync()).inspect_err(|_| {
            self.failed.store(true, Ordering::Release);
            self.synced.notify_waiters();
        })
    }

    /// Whether a sync has failed, after which only [`Journal::begin`] helps.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Resolves when everything before the position is durable, for which somebody has to [`Journal::sync`]; with an
    /// error when it never will be.
    pub async fn reach(&self, pos: u64) -> io::Result<()> {
        loop {
            let synced = self.synced.notified();
            let mut synced = std::pin::pin!(synced);
            synced.as_mut().enable();
            if self.durable.load(Ordering::Acquire) >= pos {
                return Ok(());
            }
            if self.failed.load(Ordering::Acquire) {
                return Err(has_failed());
            }
            synced.await;
        }
    }

    /// Starts a new file, to which the caller now appends all of the state. Waits for the disk.
    pub fn begin(&self) -> io::Result<()> {
        let fresh = {
            let mut tail = self.tail.lock();
            tail.tried += 1;
            tail.tried
        };
        let file = create(&*self.env.disk, &self.dir, fresh)?;
        // A position in the new file covers all of the old one: no sync of the new file may vouch for it before the old one is
        // synced.
        let _one_at_a_time = self.syncing.lock();
        let old = {
            let mut tail = self.tail.lock();
            let old = std::mem::replace(&mut tail.file, file);
            tail.seq = fresh;
            tail.at = HEAD_BYTES;
            old
        };
        // Meanwhile others append to the new file. That is not understood wrongly if the machine ends before the old one
        // is durable: records of changes say from which state on they count.
        // After a failed sync the state that the caller writes now makes good for what is lost.
        if self.failed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        self.sync_file(&*old)
    }

    /// The new file holds all of the state: makes it durable and removes the older ones. Waits for the disk.
    pub fn finish(&self) -> io::Result<()> {
        self.sync()?;
        let (oldest, newest) = {
            let tail = self.tail.lock();
            (tail.oldest, tail.seq)
        };
        for seq in oldest..newest {
            match self.env.disk.remove(&path_of(&self.dir, seq)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.tail.lock().oldest = newest;
        synced(self.env.disk.sync_dir(&self.dir))
    }
}

/// What a record that does not check means for those behind it in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// They count.
    Counts,
    /// They may speak of what it said: none counts.
    Nothing,
}

/// Hands all records to `read`; the numbers of the files.
fn read_all(env: &Env, dir: &Path, behind: Behind, read: &mut impl FnMut(&[u8])) -> io::Result<Vec<u64>> {
    let entries = env.disk.list(dir)?;
    let mut seqs: Vec<u64> = entries
        .iter()
        .filter_map(|entry| entry.name.parse().ok())
        .collect();
    seqs.sort_unstable();
    for seq in &seqs {
        let path = path_of(dir, *seq);
        let bytes = env.disk.load(&path)?.unwrap_or_default();
        let mut at = replay(&bytes, *seq, 0, read);
        while at < bytes.len() {
            let from = at;
            let next = match behind {
                Behind::Counts if from > 0 => next_record(&bytes, *seq, from),
                _ => None,
            };
            at = next.map_or(bytes.len(), |next| replay(&bytes, *seq, next, read));
            match next {
                Some(next) => {
                    tracing::warn!(file = %path.display(), from, bytes = next - from, "a part of a journal is damaged; what was changed in it is lost, unless its table has it");
                }
                None => {
                    tracing::warn!(file = %path.display(), from, bytes = bytes.len() - from, "a journal ends before its file does; what was changed behind that is lost, unless its table has it");
                }
            }
        }
    }
    Ok(seqs)
}

/// The files of a journal, with where the last good record ends and how long they are. Changes nothing.
pub(crate) fn read_through(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(PathBuf, u64, u64)>> {
    let mut seqs: Vec<u64> = disk
        .list(dir)?
        .iter()
        .filter_map(|entry| entry.name.parse().ok())
        .collect();
    seqs.sort_unstable();
    let mut files = Vec::new();
    for seq in seqs {
        let path = path_of(dir, seq);
        if let Some(bytes) = disk.load(&path)? {
            let good = replay(&bytes, seq, 0, &mut |_| {});
            files.push((path, good as u64, bytes.len() as u64));
        }
    }
    Ok(files)
}

/// What everybody is told after a sync has failed. It is marked like the failure itself: whoever ends the process for it may
/// not have been the first to be told.
fn has_failed() -> io::Error {
    SyncFailed(io::Error::other("one of this journal before")).into()
}

fn create(disk: &dyn Disk, dir: &Path, seq: u64) -> io::Result<Arc<dyn File>> {
    let path = path_of(dir, seq);
    let begin = || {
        let file = disk.create(&path, 0)?;
        let mut head = Vec::with_capacity(HEAD_BYTES as usize);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_be_bytes());
        head.extend_from_slice(&[0; 4]);
        file.write_at(&head, 0)?;
        synced(file.sync())?;
        synced(disk.sync_dir(dir))?;
        Ok(file)
    };
    begin().inspect_err(|_| {
        // Nothing is in it, and the next try takes another number: on a full disk each would leave a file.
        let _may_not_be_there = disk.remove(&path);
    })
}

fn path_of(dir: &Path, seq: u64) -> PathBuf {
    dir.join(format!("{seq:020}"))
}

/// A record that was moved to another place is none.
fn check(payload: &[u8], seq: u64, at: u64) -> u32 {
    crc31(payload) ^ (at.wrapping_add(seq.wrapping_mul(0x9E37_79B9)) as u32)
}

/// Gives the payloads of a file to `read`, from its beginning (0) or from a record on; returns where the last good one of them
/// ends.
fn replay(bytes: &[u8], seq: u64, from: usize, read: &mut impl FnMut(&[u8])) -> usize {
    let version = bytes.get(8..12).map(|b| [b[0], b[1], b[2], b[3]]);
    if from == 0 && (!bytes.starts_with(MAGIC) || version != Some(VERSION.to_be_bytes())) {
        return 0;
    }
    let mut at = from.max(HEAD_BYTES as usize);
    while let Some(payload) = claimed(bytes, at) {
        if !checks(bytes, (seq, at), payload) {
            break;
        }
        read(payload);
        at += RECORD_HEAD_BYTES + payload.len();
    }
    at
}

/// The payload that a place claims to have.
fn claimed(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let len = bytes.get(at..)?.first_chunk::<4>()?;
    let len = u32::from_be_bytes(*len) as usize;
    let start = at + RECORD_HEAD_BYTES;
    let payload = bytes.get(start..start.saturating_add(len))?;
    (1..=RECORD_BYTES_MAX).contains(&len).then_some(payload)
}

fn checks(bytes: &[u8], (seq, at): (u64, usize), payload: &[u8]) -> bool {
    let said = bytes.get(at + 4..).and_then(|said| said.first_chunk());
    said.is_some_and(|said| u32::from_be_bytes(*said) == check(payload, seq, at as u64))
}

/// Where the first record behind a damaged one begins.
fn next_record(bytes: &[u8], seq: u64, from: usize) -> Option<usize> {
    let mut left = SEARCHED_BYTES_MAX;
    for at in from + 1..bytes.len() {
        let Some(payload) = claimed(bytes, at) else {
            continue;
        };
        left = left.checked_sub(payload.len())?;
        if checks(bytes, (seq, at), payload) {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::disk::sim::{Fault, Loss, SimDisk};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_damaged_record_costs_those_behind_it_only_where_they_need_it() {
        let (disk, env) = world(1);
        let dir = Path::new("/journal");
        let journal = Journal::open(env.clone(), dir, |_| {}).unwrap();
        let payloads = [&b"one"[..], b"two and more", b"three", b"four"];
        for payload in payloads {
            journal.append(payload).unwrap();
        }
        drop(journal);
        let file = disk.open(&path_of(dir, 0)).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        // All of the second record: its length, its check, its payload.
        for at in 27..47 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            file.write_at(&damaged, 0).unwrap();
            let read = |behind| {
                let mut found = Vec::new();
                read_all(&env, dir, behind, &mut |payload| found.push(payload.to_vec())).unwrap();
                found
            };
            assert_eq!(read(Behind::Nothing), payloads[..1], "byte {at}");
            assert_eq!(
                read(Behind::Counts),
                [payloads[0], payloads[2], payloads[3]],
                "byte {at}"
            );
        }
    }

    fn world(seed: u64) -> (Arc<SimDisk>, Env) {
        let disk = Arc::new(SimDisk::seeded(seed));
        let env = Env {
            disk: Arc::clone(&disk) as Arc<dyn Disk>,
            ..Env::real()
        };
        (disk, env)
    }

    fn open(env: &Env) -> (Journal, Vec<Vec<u8>>) {
        let mut found = Vec::new();
        let journal = Journal::open(env.clone(), Path::new("/j"), |payload| {
            found.push(payload.to_vec())
        });
        (journal.unwrap(), found)
    }

    #[test]
    fn what_was_appended_is_read_in_order_after_an_end_of_the_process() {
        let (disk, env) = world(1);
        let (journal, found) = open(&env);
        assert!(found.is_empty());
        for payload in ["a", "bb", "ccc"] {
            journal.append(payload.as_bytes()).unwrap();
        }
        disk.crash(Loss::Nothing);
        let (journal, found) = open(&env);
        assert_eq!(found, [b"a".to_vec(), b"bb".to_vec(), b"ccc".to_vec()]);
        journal.append(b"d").unwrap();
        disk.crash(Loss::Nothing);
        assert_eq!(
            open(&env).1.len(),
            4,
            "older files stay until their state is written again"
        );
    }

    #[test]
    fn a_new_file_with_all_state_replaces_the_older_ones() {
        let (disk, env) = world(2);
        let (journal, _) = open(&env);
        journal.append(b"old").unwrap();
        journal.begin().unwrap();
        journal.append(b"state").unwrap();
        assert!(journal.file_bytes() < 40);
        journal.finish().unwrap();
        journal.append(b"change").unwrap();
        disk.crash(Loss::Nothing);
        let (_, found) = open(&env);
        assert_eq!(found, [b"state".to_vec(), b"change".to_vec()]);
    }

    #[test]
    fn a_crash_keeps_a_first_part_and_all_that_was_synced() {
        for seed in 0..200 {
            let (disk, env) = world(seed);
            let (journal, _) = open(&env);
            let synced = seed % 7;
            for number in 0..10_u64 {
                journal.append(&number.to_be_bytes()).unwrap();
                if number + 1 == synced {
                    journal.sync().unwrap();
                }
            }
            disk.crash(Loss::Random);
            let (_, found) = open(&env);
            assert!(found.len() as u64 >= synced, "seed {seed}");
            for (number, payload) in (0_u64..).zip(&found) {
                assert_eq!(payload, &number.to_be_bytes(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_failed_sync_is_final() {
        let (disk, env) = world(4);
        let (journal, _) = open(&env);
        let pos = journal.append(b"one").unwrap();
        disk.fail_at(disk.ops(), Fault::Broken);
        assert!(crate::disk::is_sync_failure(&journal.sync().unwrap_err()));
        // A second one would succeed; and whoever ends the process for it may come second.
        assert!(crate::disk::is_sync_failure(&journal.sync().unwrap_err()));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let reached = runtime.block_on(journal.reach(pos));
        assert!(crate::disk::is_sync_failure(&reached.unwrap_err()));
        // All of the state in another file does not need what was lost.
        journal.begin().unwrap();
        journal.append(b"state").unwrap();
        journal.finish().unwrap();
        disk.crash(crate::disk::sim::Loss::Everything);
        assert_eq!(open(&env).1, [b"state".to_vec()]);
    }

    #[test]
    fn while_a_new_file_begins_nothing_of_the_old_one_counts_as_durable_that_is_not_synced() {
        let (disk, env) = world(6);
        let (journal, _) = open(&env);
        journal.append(b"old").unwrap();
        let held = disk.hold_syncs_of(&path_of(Path::new("/j"), 0));
        let (told, synced) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let beginning = scope.spawn(|| journal.begin());
            assert!(held.wait_for_one(PATIENCE), "the old file is synced");
            // Appended to the new file; its position covers what is in the old one.
            let pos = journal.append(b"new").unwrap();
            scope.spawn(|| told.send(journal.sync().map(|()| journal.is_synced())));
            let early = synced.recv_timeout(Duration::from_millis(200));
            let is_reached = journal.durable.load(Ordering::Acquire) >= pos;
            drop(held);
            beginning.join().unwrap().unwrap();
            assert!(
                early.is_err() && !is_reached,
                "told {early:?} before the old file was synced"
            );
            assert!(synced.recv_timeout(PATIENCE).unwrap().unwrap());
        });
        disk.crash(Loss::Everything);
        assert_eq!(open(&env).1, [b"old".to_vec(), b"new".to_vec()]);
    }

    #[test]
    fn a_new_file_that_cannot_be_made_leaves_none_behind() {
        let (disk, env) = world(5);
        let (journal, _) = open(&env);
        journal.append(b"one").unwrap();
        let files = || env.disk.list(Path::new("/j")).unwrap().len();
        // Its name, its length, its head, and both syncs.
        for step in 0..5 {
            disk.fail_at(disk.ops() + step, Fault::Full);
            journal.begin().unwrap_err();
            assert_eq!(files(), 1, "step {step}");
        }
        journal.append(b"two").unwrap();
        journal.begin().unwrap();
        journal.append(b"state").unwrap();
        disk.crash(Loss::Nothing);
        let found = [b"one".to_vec(), b"two".to_vec(), b"state".to_vec()];
        assert_eq!(open(&env).1, found);
    }

    #[test]
    fn a_failed_append_leaves_no_trace() {
        let (disk, env) = world(3);
        let (journal, _) = open(&env);
        journal.append(b"one").unwrap();
        disk.fail_at(disk.ops(), Fault::Broken);
        assert!(journal.append(b"never").is_err());
        journal.append(b"two").unwrap();
        disk.crash(Loss::Nothing);
        assert_eq!(open(&env).1, [b"one".to_vec(), b"two".to_vec()]);
    }
}
