// SPDX-License-Identifier: Apache-2.0
//! What a power cut leaves of a directory: made from what was durable before and from the notes of what was done since.
#![expect(clippy::disallowed_methods, reason = "directories of tests are real files")]

use super::note::Note;
use anyhow::{Context as _, ensure};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::env::Rng;
use store::env::sim::SimRng;

/// What becomes of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// All of it is lost.
    Everything,
    /// A random part is there, some of it torn.
    Random,
}

/// What is on the disk whatever happens.
#[derive(Debug)]
pub struct Durable {
    dir: PathBuf,
    image: PathBuf,
}

/// What was lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Changes of files that were not synced, and how many of them are not there, or not all of them.
    pub unsynced: u64,
    /// See there.
    pub changes: u64,
    /// Changes of names that are not there.
    pub names: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inode {
    Dir,
    /// As it is in the image.
    Untouched(PathBuf),
    File(u64),
}

type Names = BTreeMap<PathBuf, Inode>;

/// A file that was opened since.
#[derive(Debug, Default)]
struct Node {
    /// Where it is in the image.
    base: Option<PathBuf>,
    changes: Vec<(u64, Note)>,
    synced: u64,
}

#[derive(Debug)]
enum NameChange {
    Put(PathBuf, Inode),
    Gone(PathBuf),
    Moved(PathBuf, PathBuf, Inode),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            NameChange::Put(path, inode) => {
                names.insert(path.clone(), inode.clone());
            }
            NameChange::Gone(path) => {
                names.remove(path);
            }
            NameChange::Moved(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), inode.clone());
            }
        }
    }

    fn dir(&self) -> PathBuf {
        let (NameChange::Put(path, _) | NameChange::Gone(path) | NameChange::Moved(_, path, _)) = self;
        path.parent().unwrap_or(Path::new("")).to_owned()
    }
}

/// What was done, sorted by what it was done to.
#[derive(Debug, Default)]
struct Story {
    nodes: HashMap<u64, Node>,
    names: BTreeMap<PathBuf, Vec<(u64, NameChange)>>,
    dirs_synced: HashMap<PathBuf, u64>,
}

impl Durable {
    /// Takes a directory as it is for durable. `image` is where what is durable is kept.
    pub fn of(dir: &Path, image: &Path) -> anyhow::Result<Durable> {
        remove_tree(image)?;
        copy_tree(dir, image)?;
        Ok(Durable {
            dir: dir.to_owned(),
            image: image.to_owned(),
        })
    }

    /// Makes the directory what a power cut leaves, after a process that noted has ended. What is there then is durable.
    pub fn cut(&self, notes: &Path, loss: Loss, seed: u64) -> anyhow::Result<Lost> {
        let notes = Note::decode_all(&std::fs::read(notes)?)?;
        let mut names = self.names()?;
        let story = Story::of(notes, &mut names)?;
        let (rng, mut lost) = (SimRng::seeded(seed), Lost::default());
        for (dir, changes) in &story.names {
            let synced = story.dirs_synced.get(dir).copied().unwrap_or(0);
            let durable = changes.iter().filter(|(at, _)| *at < synced).count();
            let open = (changes.len() - durable) as u64;
            let kept = match loss {
                Loss::Everything => 0,
                Loss::Random => rng.below(open + 1),
            };
            lost.names += open - kept;
            let kept = durable + usize::try_from(kept)?;
            changes
                .iter()
                .take(kept)
                .for_each(|(_, change)| change.apply(&mut names));
        }
        let all = names.clone();
        // What lies in a directory whose own name was lost is lost too.
        names.retain(|path, _| {
            let mut above = path.ancestors().skip(1).take_while(|dir| *dir != self.dir);
            above.all(|dir| all.contains_key(dir))
        });
        let next = self.image.with_extension("next");
        remove_tree(&next)?;
        std::fs::create_dir_all(&next)?;
        for (path, inode) in &names {
            let to = next.join(path.strip_prefix(&self.dir)?);
            match inode {
                Inode::Dir => std::fs::create_dir_all(&to)?,
                Inode::Untouched(path) => std::fs::hard_link(self.in_image(path)?, &to)?,
                Inode::File(file) => {
                    let node = story.nodes.get(file).context("a file without a note")?;
                    write_sparse(&to, &self.content(node, (loss, &rng), &mut lost)?)?;
                }
            }
        }
        remove_tree(&self.image)?;
        std::fs::rename(&next, &self.image)?;
        remove_tree(&self.dir)?;
        copy_tree(&self.image, &self.dir)?;
        Ok(lost)
    }

    fn in_image(&self, path: &Path) -> anyhow::Result<PathBuf> {
        Ok(self.image.join(path.strip_prefix(&self.dir)?))
    }

    /// All names of the image, as they are called in the directory.
    fn names(&self) -> anyhow::Result<Names> {
        let mut names = Names::new();
        let mut open = vec![self.image.clone()];
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(&dir)? {
                let entry = entry?;
                let path = self.dir.join(entry.path().strip_prefix(&self.image)?);
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                    names.insert(path, Inode::Dir);
                } else {
                    names.insert(path.clone(), Inode::Untouched(path));
                }
            }
        }
        Ok(names)
    }

    /// What is in a file afterwards.
    fn content(&self, node: &Node, (loss, rng): (Loss, &SimRng), lost: &mut Lost) -> anyhow::Result<Vec<u8>> {
        let mut content = match &node.base {
            Some(path) => std::fs::read(self.in_image(path)?)?,
            None => Vec::new(),
        };
        let durable = node.changes.iter().filter(|(at, _)| *at < node.synced).count();
        let open = &node.changes[durable..];
        for (_, change) in &node.changes[..durable] {
            apply(change, &mut content, usize::MAX);
        }
        lost.unsynced += open.len() as u64;
        if loss == Loss::Everything {
            lost.changes += open.len() as u64;
            return Ok(content);
        }
        let fates: Vec<u64> = open.iter().map(|_| rng.below(4)).collect();
        for (at, (_, change)) in open.iter().enumerate() {
            // A journaling file system knows the length before it takes bytes that were written later.
            let is_needed =
                matches!(change, Note::Len { .. }) && fates[at + 1..].iter().any(|fate| *fate > 0);
            match (fates[at], change) {
                (0, _) if !is_needed => lost.changes += 1,
                (1, Note::Bytes { bytes, .. }) => {
                    lost.changes += 1;
                    let torn = rng.below(bytes.len() as u64 + 1);
                    apply(change, &mut content, usize::try_from(torn)?);
                }
                _ => apply(change, &mut content, usize::MAX),
            }
        }
        Ok(content)
    }
}

impl Story {
    /// `before` are the names of the image; those of files that have a number get it.
    fn of(notes: Vec<Note>, before: &mut Names) -> anyhow::Result<Story> {
        let mut story = Story::default();
        for note in &notes {
            if let Note::Known { file, path } = note {
                let named = before.insert(path.clone(), Inode::File(*file));
                named.with_context(|| format!("{} was not there", path.display()))?;
                story.nodes.entry(*file).or_default().base = Some(path.clone());
            }
        }
        let mut now = before.clone();
        for (at, note) in (0_u64..).zip(notes) {
            match note {
                Note::Known { .. } => {}
                Note::Made { file, path } => {
                    story.nodes.entry(file).or_default();
                    story.rename(&mut now, at, NameChange::Put(path, Inode::File(file)));
                }
                Note::Dir(path) => story.rename(&mut now, at, NameChange::Put(path, Inode::Dir)),
                Note::Removed(path) => story.rename(&mut now, at, NameChange::Gone(path)),
                Note::Renamed { from, to } => {
                    let inode = now.get(&from).cloned().context("a name that was not there")?;
                    story.rename(&mut now, at, NameChange::Moved(from, to, inode));
                }
                Note::DirSynced { dir, before } => {
                    // One that began earlier may end later.
                    let synced = story.dirs_synced.entry(dir).or_default();
                    *synced = before.max(*synced);
                }
                Note::Synced { file, before } => {
                    let node = story.nodes.entry(file).or_default();
                    node.synced = node.synced.max(before);
                }
                Note::Bytes { file, .. } | Note::Zero { file, .. } | Note::Len { file, .. } => {
                    story.nodes.entry(file).or_default().changes.push((at, note));
                }
            }
        }
        Ok(story)
    }

    fn rename(&mut self, now: &mut Names, at: u64, change: NameChange) {
        change.apply(now);
        self.names.entry(change.dir()).or_default().push((at, change));
    }
}

/// Does a change again, of bytes at most so many.
fn apply(change: &Note, content: &mut Vec<u8>, most: usize) {
    match change {
        Note::Bytes { at, bytes, .. } => {
            let (at, bytes) = (*at as usize, &bytes[..bytes.len().min(most)]);
            if content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            content[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Note::Zero { at, len, .. } => {
            let end = content.len().min(at.saturating_add(*len) as usize);
            if let Some(range) = content.get_mut(*at as usize..end) {
                range.fill(0);
            }
        }
        Note::Len { len, .. } => content.resize(*len as usize, 0),
        _ => {}
    }
}

/// Leaves holes where there are zeros.
fn write_sparse(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    const STEP: usize = 64 << 10;
    static ZEROS: [u8; STEP] = [0; STEP];
    let file = std::fs::File::create(path)?;
    file.set_len(content.len() as u64)?;
    for (at, part) in content.chunks(STEP).enumerate() {
        if *part != ZEROS[..part.len()] {
            file.write_all_at(part, (at * STEP) as u64)?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut copy = Command::new("cp");
    let status = copy
        .args(["-a", "--sparse=always", "-T"])
        .arg(from)
        .arg(to)
        .status()?;
    ensure!(status.success(), "{copy:?}: {status}");
    Ok(())
}

fn remove_tree(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::NotedDisk;
    use super::*;
    use std::io::Write as _;
    use store::disk::Disk as _;

    struct Rig {
        home: tempfile::TempDir,
        durable: Durable,
        disk: NotedDisk,
    }

    impl Rig {
        fn new(before: &[(&str, &str)]) -> Rig {
            let home = tempfile::tempdir().unwrap();
            let dir = home.path().join("d");
            std::fs::create_dir(&dir).unwrap();
            for (name, content) in before {
                std::fs::write(dir.join(name), content).unwrap();
            }
            let durable = Durable::of(&dir, &home.path().join("image")).unwrap();
            let disk = NotedDisk::noting_to(&home.path().join("notes")).unwrap();
            Rig { home, durable, disk }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.durable.dir.join(name)
        }

        fn cut(&self, loss: Loss, seed: u64) -> Lost {
            self.durable
                .cut(&self.home.path().join("notes"), loss, seed)
                .unwrap()
        }

        fn read(&self, name: &str) -> Option<String> {
            let found = std::fs::read(self.path(name)).ok()?;
            Some(String::from_utf8(found).unwrap())
        }
    }

    #[test]
    fn what_was_synced_is_there_and_the_rest_is_not() {
        let rig = Rig::new(&[("old", "before")]);
        let old = rig.disk.open(&rig.path("old")).unwrap();
        old.write_at(b"B", 0).unwrap();
        old.sync().unwrap();
        old.write_at(b"lost", 2).unwrap();
        let named = rig.disk.create(&rig.path("named"), 3).unwrap();
        rig.disk.sync_dir(&rig.path("")).unwrap();
        named.write_at(b"never synced", 0).unwrap();
        let unnamed = rig.disk.create(&rig.path("unnamed"), 0).unwrap();
        unnamed.write_at(b"x", 0).unwrap();
        unnamed.sync().unwrap();
        let lost = rig.cut(Loss::Everything, 1);
        assert_eq!(rig.read("old").unwrap(), "Before");
        assert_eq!(rig.read("named").unwrap(), "");
        assert_eq!(rig.read("unnamed"), None);
        assert_eq!((lost.changes, lost.names), (3, 1));
    }

    #[test]
    fn names_come_back_with_what_they_had() {
        let rig = Rig::new(&[("conf", "one"), ("gone", "two")]);
        let fresh = rig.disk.create(&rig.path("conf.tmp"), 0).unwrap();
        fresh.write_at(b"new", 0).unwrap();
        fresh.sync().unwrap();
        rig.disk.rename(&rig.path("conf"), &rig.path("conf.bak")).unwrap();
        rig.disk.rename(&rig.path("conf.tmp"), &rig.path("conf")).unwrap();
        rig.disk.remove(&rig.path("gone")).unwrap();
        rig.cut(Loss::Everything, 1);
        assert_eq!(rig.read("conf").unwrap(), "one");
        assert_eq!(rig.read("gone").unwrap(), "two");
        assert_eq!(rig.read("conf.bak"), None);
    }

    #[test]
    fn a_replaced_file_is_there_after_any_cut() {
        for seed in 0..50 {
            let rig = Rig::new(&[("conf", "old")]);
            rig.disk.replace(&rig.path("conf"), b"new").unwrap();
            rig.disk.replace(&rig.path("conf"), b"newer").unwrap();
            rig.cut(Loss::Random, seed);
            assert_eq!(rig.read("conf").unwrap(), "newer", "seed {seed}");
        }
    }

    #[test]
    fn a_sync_that_began_earlier_and_ends_later_takes_nothing_back() {
        let rig = Rig::new(&[("conf", "old")]);
        rig.disk.replace(&rig.path("conf"), b"new").unwrap();
        let slow = Note::DirSynced {
            dir: rig.durable.dir.clone(),
            before: 0,
        };
        let notes = std::fs::File::options()
            .append(true)
            .open(rig.home.path().join("notes"));
        notes.unwrap().write_all(&slow.encode()).unwrap();
        rig.cut(Loss::Everything, 1);
        assert_eq!(rig.read("conf").unwrap(), "new");
    }

    #[test]
    fn what_one_cut_has_left_is_durable_in_the_next_one() {
        let rig = Rig::new(&[("log", "")]);
        let log = rig.disk.open(&rig.path("log")).unwrap();
        log.write_at(b"first", 0).unwrap();
        let mut kept = 0..;
        let seed = kept.find(|seed| {
            rig.cut(Loss::Random, *seed);
            rig.read("log").unwrap() == "first"
        });
        assert!(seed.is_some());
        let disk = NotedDisk::noting_to(&rig.home.path().join("notes")).unwrap();
        let log = disk.open(&rig.path("log")).unwrap();
        log.write_at(b"second", 5).unwrap();
        rig.cut(Loss::Everything, 1);
        assert_eq!(rig.read("log").unwrap(), "first");
    }
}
