// SPDX-License-Identifier: Apache-2.0
//! Files as somebody left them, and what may have happened to them since.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arbitrary::Arbitrary;
use store::disk::Disk;
use store::disk::sim::SimDisk;
use store::env::Env;
use store::env::sim::{SimClock, SimRng};

/// The time at which all of them were written, ms since 1970.
pub const THEN_MS: i64 = 1_800_000_000_000;

/// The files below a folder.
#[derive(Debug, Clone)]
pub struct Files(Vec<(PathBuf, Vec<u8>)>);

/// What happens to one of them.
#[derive(Debug, Arbitrary)]
pub struct Damage<'a> {
    which: u8,
    what: What<'a>,
}

#[derive(Debug, Arbitrary)]
enum What<'a> {
    /// Other bytes somewhere.
    Over(u32, &'a [u8]),
    /// One number at a place where numbers begin.
    Number(u16, Number),
    /// Cut there.
    Cut(u32),
    /// Extended by so many zeros.
    Longer(u16),
    /// As if it had never been.
    Gone,
    /// The content of another.
    Other(u8),
    /// Nothing but these bytes.
    Only(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
enum Number {
    Least,
    Most,
    MinusOne,
    Zero,
    Any(i64),
}

impl Files {
    /// All files of a disk.
    pub fn of(disk: &SimDisk, below: &Path) -> Files {
        let mut files = Vec::new();
        let mut folders = vec![below.to_path_buf()];
        while let Some(folder) = folders.pop() {
            for entry in disk.list(&folder).expect("a simulated disk lists") {
                let path = folder.join(&entry.name);
                if entry.is_dir {
                    folders.push(path);
                } else if let Ok(Some(bytes)) = disk.load(&path) {
                    files.push((path, bytes));
                }
            }
        }
        files.sort();
        Files(files)
    }

    /// A disk with these files after all of that.
    pub fn damaged<'f>(&'f self, damages: &[Damage<'_>]) -> Arc<SimDisk> {
        let whole = |(path, bytes): &'f (PathBuf, Vec<u8>)| (&**path, Cow::Borrowed(&**bytes));
        let mut files: Vec<(&Path, Cow<'f, [u8]>)> = self.0.iter().map(whole).collect();
        for Damage { which, what } in damages {
            let count = files.len();
            if count == 0 {
                break;
            }
            let which = usize::from(*which) % count;
            match what {
                What::Gone => drop(files.remove(which)),
                What::Other(other) => files[which].1 = files[usize::from(*other) % count].1.clone(),
                what => spoil(files[which].1.to_mut(), what),
            }
        }
        let disk = SimDisk::seeded(1);
        disk.set_now_ms(THEN_MS);
        for (path, bytes) in files {
            let folder = path.parent().expect("a file is in a folder");
            disk.make_dirs(folder).expect("a simulated disk takes folders");
            let file = disk
                .create(path, bytes.len() as u64)
                .expect("a simulated disk takes files");
            file.write_at(&bytes, 0).expect("a simulated disk takes bytes");
        }
        Arc::new(disk)
    }
}

fn spoil(bytes: &mut Vec<u8>, what: &What<'_>) {
    match what {
        What::Over(at, new) => over(bytes, *at as usize, new),
        What::Number(at, number) => {
            let number = match number {
                Number::Least => i64::MIN,
                Number::Most => i64::MAX,
                Number::MinusOne => -1,
                Number::Zero => 0,
                Number::Any(number) => *number,
            };
            over(bytes, usize::from(*at) * 4, &number.to_be_bytes());
        }
        What::Cut(at) => bytes.truncate(*at as usize % (bytes.len() + 1)),
        What::Longer(by) => bytes.resize(bytes.len() + usize::from(*by), 0),
        What::Only(new) => *bytes = new.to_vec(),
        What::Gone | What::Other(_) => {}
    }
}

fn over(bytes: &mut [u8], at: usize, new: &[u8]) {
    let at = at % (bytes.len() + 1);
    for (old, new) in bytes[at..].iter_mut().zip(new) {
        *old = *new;
    }
}

/// The surroundings of whatever opens them.
pub fn env(disk: &Arc<SimDisk>) -> Env {
    Env {
        clock: Arc::new(SimClock::at(THEN_MS)),
        disk: Arc::clone(disk) as Arc<dyn Disk>,
        rng: Arc::new(SimRng::seeded(1)),
    }
}
