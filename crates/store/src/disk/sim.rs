// SPDX-License-Identifier: Apache-2.0
//! A file system in memory that breaks on request, the same way for the same seed.
//!
//! Every file has the content that readers see and the content that would be found after a crash; a sync moves the one
//! to the other. Names become durable by a sync of their directory. [`SimDisk::crash`] throws away what was not synced,
//! or keeps a random part of it, with writes torn at any byte.

mod content;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use self::content::Content;
use super::{Disk, Entry, File, Lock, Space};
use crate::env::Rng;
use crate::env::sim::SimRng;

/// What a crash does to everything that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is kept, and is lost with the power later if nobody syncs it: only the process ended.
    Nothing,
    /// It is lost.
    Everything,
    /// A random part of the writes is kept, some of them torn; of the names in a directory a random first part.
    Random,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error. A write was done in part; what a sync was to make durable is lost although it stays readable.
    Broken,
    /// No space left. A write was done in part.
    Full,
}

/// A file system in memory.
#[derive(Debug)]
pub struct SimDisk {
    world: Arc<Mutex<World>>,
    changed: Arc<Condvar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inode {
    Dir,
    File(usize),
}

#[derive(Debug, Clone)]
enum NameChange {
    Link(PathBuf, Inode),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf, Inode),
}

#[derive(Debug, Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Len(usize),
}

impl Change {
    fn apply(&self, content: &mut Content) {
        match self {
            Change::Bytes(at, bytes) => content.write(*at, bytes),
            Change::Len(len) => content.resize(*len),
        }
    }
}

#[derive(Debug, Default)]
struct Node {
    content: Content,
    durable: Content,
    unsynced: Vec<Change>,
    /// A sync has failed: what is read holds more than what is durable and what is not synced.
    is_torn: bool,
    modified_ms: i64,
}

#[derive(Debug)]
struct World {
    rng: SimRng,
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    /// By directory, in order.
    unsynced_names: BTreeMap<PathBuf, Vec<NameChange>>,
    locked: BTreeSet<PathBuf>,
    /// Counts crashes: handles of a former life are dead.
    life: u64,
    /// Counts those in which something was lost.
    boot: u64,
    ops: u64,
    halt_at: Option<u64>,
    is_halted: bool,
    faults: BTreeMap<u64, Fault>,
    is_full: bool,
    is_cold: bool,
    /// Reads that may wait for the disk do, or writes, or syncs of a file, and how many.
    is_held: bool,
    holds_writes: bool,
    holds_syncs_of: Option<usize>,
    waiting: usize,
    /// Reads that are to fail, by file.
    bad_reads: BTreeMap<usize, Range<u32>>,
    /// Bytes that cannot be read until they are written.
    bad_bytes: BTreeMap<usize, Range<usize>>,
    bytes_read: u64,
    bytes_written: u64,
    now_ms: i64,
    space: Space,
}

#[derive(Debug)]
struct SimFile {
    world: Arc<Mutex<World>>,
    changed: Arc<Condvar>,
    node: usize,
    life: u64,
}

#[derive(Debug)]
struct SimLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    life: u64,
}

/// Reads, writes, or syncs of a file stand still until this is dropped.
#[derive(Debug)]
pub struct HeldCalls {
    world: Arc<Mutex<World>>,
    changed: Arc<Condvar>,
}

impl HeldCalls {
    /// Blocks until one stands still. `false`: none did for so long.
    #[must_use]
    pub fn wait_for_one(&self, patience: Duration) -> bool {
        let ended = self
            .changed
            .wait_while_for(&mut self.world.lock(), |world| world.waiting == 0, patience);
        !ended.timed_out()
    }
}

impl Drop for HeldCalls {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        (world.is_held, world.is_cold, world.holds_writes) = (false, false, false);
        world.holds_syncs_of = None;
        self.changed.notify_all();
    }
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        if world.life == self.life {
            world.locked.remove(&self.path);
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn seeded(seed: u64) -> SimDisk {
        let free = 1 << 40;
        let world = World {
            rng: SimRng::seeded(seed),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: BTreeMap::new(),
            locked: BTreeSet::new(),
            life: 0,
            boot: 0,
            ops: 0,
            halt_at: None,
            is_halted: false,
            faults: BTreeMap::new(),
            is_full: false,
            is_cold: false,
            is_held: false,
            holds_writes: false,
            holds_syncs_of: None,
            waiting: 0,
            bad_reads: BTreeMap::new(),
            bad_bytes: BTreeMap::new(),
            bytes_read: 0,
            bytes_written: 0,
            now_ms: 0,
            space: Space {
                total: free,
                free,
                available: free,
            },
        };
        SimDisk {
            world: Arc::new(Mutex::new(world)),
            changed: Arc::default(),
        }
    }

    /// Operations so far that change something or sync.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.world.lock().ops
    }

    /// Stops the machine at an operation: that one is done in part, everything after fails until [`SimDisk::crash`].
    pub fn halt_at(&self, op: u64) {
        self.world.lock().halt_at = Some(op);
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.world.lock().is_halted
    }

    /// Lets one operation fail.
    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.world.lock().faults.insert(op, fault);
    }

    /// Takes back what [`SimDisk::fail_at`] and [`SimDisk::fail_reads`] have set and has not come yet.
    pub fn fail_no_more(&self) {
        let mut world = self.world.lock();
        world.faults.clear();
        world.bad_reads.clear();
    }

    /// Lets every write and every new file fail for lack of space, or not any more.
    pub fn set_full(&self, is_full: bool) {
        self.world.lock().is_full = is_full;
    }

    /// Lets the next reads of a file fail.
    pub fn fail_reads(&self, path: &Path, times: u32) {
        let mut world = self.world.lock();
        if let Some(Inode::File(node)) = world.names.get(path).copied() {
            world.bad_reads.insert(node, 0..times);
        }
    }

    /// Lets one read of a file fail, after some that succeed.
    pub fn fail_read_after(&self, path: &Path, reads: u32) {
        let mut world = self.world.lock();
        if let Some(Inode::File(node)) = world.names.get(path).copied() {
            world.bad_reads.insert(node, reads..reads + 1);
        }
    }

    /// Lets all reads of these bytes of a file fail until something is written to them.
    pub fn fail_bytes(&self, path: &Path, bytes: Range<usize>) {
        let mut world = self.world.lock();
        if let Some(Inode::File(node)) = world.names.get(path).copied() {
            world.bad_bytes.insert(node, bytes);
        }
    }

    /// Lets every read that may wait for the disk wait until what is returned is dropped, and none be answered without
    /// waiting.
    #[must_use]
    pub fn hold_reads(&self) -> HeldCalls {
        let mut world = self.world.lock();
        (world.is_held, world.is_cold) = (true, true);
        drop(world);
        self.held()
    }

    /// Lets every write wait until what is returned is dropped.
    #[must_use]
    pub fn hold_writes(&self) -> HeldCalls {
        self.world.lock().holds_writes = true;
        self.held()
    }

    /// Lets every sync of a file that is there wait until what is returned is dropped.
    #[must_use]
    pub fn hold_syncs_of(&self, path: &Path) -> HeldCalls {
        let mut world = self.world.lock();
        world.holds_syncs_of = world.file(path).ok();
        drop(world);
        self.held()
    }

    fn held(&self) -> HeldCalls {
        HeldCalls {
            world: Arc::clone(&self.world),
            changed: Arc::clone(&self.changed),
        }
    }

    /// Lets no read be answered without waiting, or all.
    pub fn set_cold(&self, is_cold: bool) {
        self.world.lock().is_cold = is_cold;
    }

    /// The time files are stamped with.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.world.lock().now_ms = now_ms;
    }

    /// What [`Disk::space`] answers.
    pub fn set_space(&self, space: Space) {
        self.world.lock().space = space;
    }

    /// How many bytes were written to files so far.
    pub fn bytes_written(&self) -> u64 {
        self.world.lock().bytes_written
    }

    /// Bytes read so far.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.world.lock().bytes_read
    }

    /// Ends everything that uses the disk and starts it anew: open files and locks are gone.
    pub fn crash(&self, loss: Loss) {
        let mut world = self.world.lock();
        world.life += 1;
        world.boot += u64::from(loss != Loss::Nothing);
        world.locked.clear();
        world.halt_at = None;
        world.is_halted = false;
        world.faults.clear();
        if loss == Loss::Nothing {
            // The machine went on: what only its system knew may still be lost with its power.
            return;
        }
        let World { rng, nodes, .. } = &mut *world;
        for node in nodes
            .iter_mut()
            .filter(|node| node.is_torn || !node.unsynced.is_empty())
        {
            if loss == Loss::Random {
                keep_some(node, rng);
            }
            node.unsynced.clear();
            node.is_torn = false;
            node.content.clone_from(&node.durable);
        }
        world.crash_names(loss);
    }
}

fn keep_some(node: &mut Node, rng: &SimRng) {
    let fates: Vec<u64> = node.unsynced.iter().map(|_| rng.below(4)).collect();
    for (index, change) in node.unsynced.iter().enumerate() {
        // A journaling file system knows the length before it takes bytes that were written later.
        let is_needed = matches!(change, Change::Len(_)) && fates[index + 1..].iter().any(|fate| *fate > 0);
        match (fates[index], change) {
            (0, _) if !is_needed => {}
            (1, Change::Bytes(at, bytes)) => {
                let torn = rng.below(bytes.len() as u64 + 1) as usize;
                Change::Bytes(*at, bytes[..torn].to_vec()).apply(&mut node.durable);
            }
            _ => change.apply(&mut node.durable),
        }
    }
}

impl World {
    fn crash_names(&mut self, loss: Loss) {
        for (_, changes) in std::mem::take(&mut self.unsynced_names) {
            let kept = match loss {
                Loss::Random => self.rng.below(changes.len() as u64 + 1) as usize,
                Loss::Nothing | Loss::Everything => 0,
            };
            for change in &changes[..kept] {
                apply_name(&mut self.durable_names, change);
            }
        }
        let found = self.durable_names.clone();
        // What lies in a directory whose own name was lost is lost too.
        self.durable_names.retain(|path, _| {
            path.ancestors()
                .skip(1)
                .all(|above| above.parent().is_none() || found.contains_key(above))
        });
        self.names = self.durable_names.clone();
    }

    /// Counts an operation. `Err` when the machine has stopped before it; else what happens to it.
    fn step(&mut self) -> io::Result<Option<io::Error>> {
        if self.is_halted {
            return Err(io::Error::other("machine has stopped"));
        }
        let op = self.ops;
        self.ops += 1;
        if self.halt_at == Some(op) {
            self.is_halted = true;
            return Ok(Some(io::Error::other("machine stops")));
        }
        Ok(match self.faults.remove(&op) {
            Some(Fault::Broken) => Some(io::Error::other("broken")),
            Some(Fault::Full) => Some(io::ErrorKind::StorageFull.into()),
            None => None,
        })
    }

    fn step_or_fail(&mut self) -> io::Result<()> {
        self.step()?.map_or(Ok(()), Err)
    }

    fn inode(&self, path: &Path) -> io::Result<Inode> {
        if path.parent().is_none() {
            return Ok(Inode::Dir);
        }
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.inode(path)? {
            Inode::File(node) => Ok(node),
            Inode::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn change_name(&mut self, dir: &Path, change: NameChange) {
        apply_name(&mut self.names, &change);
        self.unsynced_names
            .entry(dir.to_path_buf())
            .or_default()
            .push(change);
    }

    fn change(&mut self, node: usize, change: Change) {
        let now_ms = self.now_ms;
        if let Some(node) = self.nodes.get_mut(node) {
            change.apply(&mut node.content);
            node.unsynced.push(change);
            node.modified_ms = now_ms;
        }
    }

    fn write(&mut self, node: usize, at: usize, bytes: &[u8]) -> io::Result<()> {
        self.bytes_written += bytes.len() as u64;
        let mut failure = self.step()?;
        if failure.is_none() && self.is_full {
            failure = Some(io::ErrorKind::StorageFull.into());
        }
        let Some(error) = failure else {
            let end = at + bytes.len();
            self.bad_bytes
                .retain(|bad, range| *bad != node || at > range.start || range.end > end);
            self.change(node, Change::Bytes(at, bytes.to_vec()));
            return Ok(());
        };
        let done = self.rng.below(bytes.len() as u64 + 1) as usize;
        if done > 0 {
            self.change(node, Change::Bytes(at, bytes[..done].to_vec()));
        }
        Err(error)
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, Inode>, change: &NameChange) {
    match change {
        NameChange::Link(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        NameChange::Unlink(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
    }
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

impl SimFile {
    /// Waits as long as something is held.
    fn stand_still(&self, is_held: impl Fn(&World) -> bool) {
        let mut world = self.world.lock();
        if is_held(&world) {
            world.waiting += 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut world, |world| is_held(world));
            world.waiting -= 1;
        }
    }

    fn with<T>(&self, run: impl FnOnce(&mut World, usize) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.world.lock();
        if world.life != self.life {
            return Err(io::Error::other("file of a former life"));
        }
        run(&mut world, self.node)
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        self.stand_still(|world| world.is_held);
        self.with(|world, node| {
            if let Some(bad) = world.bad_reads.get_mut(&node).filter(|bad| bad.end > 0) {
                let is_bad = bad.start == 0;
                *bad = bad.start.saturating_sub(1)..bad.end - 1;
                if is_bad {
                    return Err(io::Error::other("the disk cannot read this"));
                }
            }
            let asked = at as usize..at as usize + buf.len();
            let bad = world.bad_bytes.get(&node);
            if bad.is_some_and(|bad| bad.start < asked.end && asked.start < bad.end) {
                return Err(io::Error::other("the disk cannot read these bytes"));
            }
            let read = world.nodes[node].content.read(at as usize, buf);
            world.bytes_read += read as u64;
            Ok(read)
        })
    }

    fn read_at_nowait(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if self.world.lock().is_cold {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.read_at(buf, at)
    }

    fn write_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.stand_still(|world| world.holds_writes);
        self.with(|world, node| world.write(node, at as usize, buf))
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.with(|world, node| {
            world.step_or_fail()?;
            let end = (at + len).min(world.nodes[node].content.len() as u64);
            world.change(
                node,
                Change::Bytes(at as usize, vec![0; end.saturating_sub(at) as usize]),
            );
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.stand_still(|world| world.holds_syncs_of == Some(self.node));
        self.with(|world, node| {
            let failure = world.step()?;
            if world.is_halted {
                return failure.map_or(Ok(()), Err);
            }
            let node = &mut world.nodes[node];
            if let Some(error) = failure {
                // The system drops the pages and calls them clean: readable now, gone after a crash.
                node.unsynced.clear();
                node.is_torn = true;
                return Err(error);
            }
            for change in std::mem::take(&mut node.unsynced) {
                change.apply(&mut node.durable);
            }
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|world, node| {
            world.step_or_fail()?;
            world.change(node, Change::Len(len as usize));
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.with(|world, node| Ok(world.nodes[node].content.len() as u64))
    }
}

impl SimDisk {
    fn handle(&self, world: &World, node: usize) -> Arc<dyn File> {
        Arc::new(SimFile {
            world: Arc::clone(&self.world),
            changed: Arc::clone(&self.changed),
            node,
            life: world.life,
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let world = self.world.lock();
        Ok(self.handle(&world, world.file(path)?))
    }

    fn create(&self, path: &Path, len: u64) -> io::Result<Arc<dyn File>> {
        let mut world = self.world.lock();
        let dir = parent(path)?;
        world.inode(dir)?;
        world.step_or_fail()?;
        if world.is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let node = match world.names.get(path) {
            Some(Inode::File(node)) => *node,
            Some(Inode::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None => {
                world.nodes.push(Node::default());
                let node = world.nodes.len() - 1;
                world.change_name(dir, NameChange::Link(path.to_path_buf(), Inode::File(node)));
                node
            }
        };
        world.change(node, Change::Len(0));
        // The name comes first, the length is one more step.
        world.step_or_fail()?;
        world.change(node, Change::Len(len as usize));
        Ok(self.handle(&world, node))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let world = self.world.lock();
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|(path, inode)| entry(&world, path, *inode))
            .collect())
    }

    fn entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let world = self.world.lock();
        Ok(world
            .inode(path)
            .ok()
            .and_then(|inode| entry(&world, path, inode)))
    }

    fn make_dirs(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let above: Vec<&Path> = dir.ancestors().filter(|dir| dir.parent().is_some()).collect();
        for dir in above.into_iter().rev() {
            if world.inode(dir).is_err() {
                world.step_or_fail()?;
                world.change_name(parent(dir)?, NameChange::Link(dir.to_path_buf(), Inode::Dir));
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let inode = world.inode(from)?;
        world.step_or_fail()?;
        world.change_name(
            parent(to)?,
            NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode),
        );
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.file(path)?;
        world.step_or_fail()?;
        world.change_name(parent(path)?, NameChange::Unlink(path.to_path_buf()));
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.inode(dir)?;
        if world
            .names
            .keys()
            .any(|path| path != dir && path.starts_with(dir))
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        world.step_or_fail()?;
        world.change_name(parent(dir)?, NameChange::Unlink(dir.to_path_buf()));
        Ok(())
    }

    fn remove_tree(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let inside: Vec<PathBuf> = world
            .names
            .keys()
            .filter(|path| path.starts_with(dir))
            .rev()
            .cloned()
            .collect();
        for path in inside {
            world.step_or_fail()?;
            world.change_name(parent(&path)?, NameChange::Unlink(path.clone()));
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.inode(dir)?;
        if let Some(error) = world.step()? {
            if !world.is_halted {
                // As with a file: nothing will make these names durable any more.
                world.unsynced_names.remove(dir);
            }
            return Err(error);
        }
        for change in world.unsynced_names.remove(dir).unwrap_or_default() {
            apply_name(&mut world.durable_names, &change);
        }
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if self.entry(path)?.is_none() {
            self.create(path, 0)?.write_at(b"lock", 0)?;
        }
        let mut world = self.world.lock();
        if !world.locked.insert(path.to_path_buf()) {
            return Ok(None);
        }
        let life = world.life;
        Ok(Some(Box::new(SimLock {
            world: Arc::clone(&self.world),
            path: path.to_path_buf(),
            life,
        })))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(self.world.lock().space)
    }

    fn boot(&self) -> Option<u64> {
        Some(self.world.lock().boot)
    }
}

fn entry(world: &World, path: &Path, inode: Inode) -> Option<Entry> {
    let name = path.file_name().unwrap_or_default().to_str()?.to_owned();
    Some(match inode {
        Inode::Dir => Entry {
            name,
            is_dir: true,
            len: 0,
            modified_ms: 0,
        },
        Inode::File(node) => {
            let node = world.nodes.get(node)?;
            Entry {
                name,
                is_dir: false,
                len: node.content.len() as u64,
                modified_ms: node.modified_ms,
            }
        }
    })
}
