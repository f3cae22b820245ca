// SPDX-License-Identifier: Apache-2.0
//! Files as everybody uses them: replacing a config file, zeroing, locking.

use std::path::Path;

use store::disk::real::RealDisk;
use store::disk::sim::{Loss, SimDisk};
use store::disk::{Disk, Space, backup_of};

const PATH: &str = "/config/topics.json";

#[test]
fn a_replaced_file_is_there_whole_whenever_the_machine_stops() {
    for loss in [Loss::Nothing, Loss::Everything, Loss::Random] {
        for op in 0.. {
            let disk = SimDisk::seeded(op);
            let path = Path::new(PATH);
            disk.replace(path, b"old").unwrap();
            disk.replace(path, b"newer").unwrap();
            let start = disk.ops();
            disk.halt_at(start + op);
            let done = disk.replace(path, b"newest of all");
            let is_past_the_end = !disk.is_halted();
            disk.crash(loss);
            // A reader takes the backup when the file itself is missing.
            let found = disk
                .load(path)
                .unwrap()
                .or_else(|| disk.load(&backup_of(path)).unwrap())
                .unwrap();
            let is_new = found == b"newest of all";
            assert!(
                is_new || found == b"newer",
                "{loss:?} at {op}: {:?}",
                String::from_utf8_lossy(&found)
            );
            assert!(
                is_new || done.is_err(),
                "{loss:?} at {op}: what was done is durable"
            );
            if is_past_the_end {
                assert_eq!(disk.load(&backup_of(path)).unwrap().unwrap(), b"newer");
                break;
            }
        }
    }
}

#[test]
fn a_real_file_is_zeroed_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create(&dir.path().join("file"), 100_000).unwrap();
    file.write_at(&[7; 100_000], 0).unwrap();
    file.zero(1000, 90_000).unwrap();
    file.zero(5, 0).unwrap();
    let mut bytes = vec![1; 100_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    let sevens = bytes.iter().filter(|byte| **byte == 7).count();
    assert_eq!(
        (sevens, bytes[999], bytes[1000], bytes[91_000]),
        (10_000, 7, 0, 7)
    );
    assert!(file.read_exact_at(&mut bytes, 1).is_err());
}

#[test]
fn a_real_lock_is_exclusive_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lock");
    let lock = RealDisk.lock(&path).unwrap();
    assert!(lock.is_some());
    assert!(RealDisk.lock(&path).unwrap().is_none());
    assert!(RealDisk.lock(&dir.path().join("./lock")).unwrap().is_none());
    drop(lock);
    assert!(RealDisk.lock(&path).unwrap().is_some());
    assert_eq!(RealDisk.load(&path).unwrap().unwrap(), b"lock");
}

#[test]
fn a_directory_that_is_not_there_is_empty_and_a_file_is_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    assert!(RealDisk.list(&missing).unwrap().is_empty());
    assert!(RealDisk.entry(&missing).unwrap().is_none());
    assert!(RealDisk.load(&missing).unwrap().is_none());
    RealDisk.remove_tree(&missing).unwrap();
    RealDisk.make_dirs_durable(&missing.join("a/b")).unwrap();
    assert!(RealDisk.entry(&missing.join("a/b")).unwrap().unwrap().is_dir);
    assert!(RealDisk.space(dir.path()).unwrap().total > 0);
}

#[test]
fn used_space_is_rounded_up_and_leaves_out_what_is_reserved() {
    let space = |total, free, available| {
        Space {
            total,
            free,
            available,
        }
        .used_percent()
    };
    assert_eq!(space(100, 100, 100), 0);
    assert_eq!(space(1000, 999, 999), 1);
    // 100 of 200 used, 50 reserved: 100 of 150.
    assert_eq!(space(200, 100, 50), 67);
    assert_eq!(space(0, 0, 0), 0);
}

#[test]
fn a_real_file_tells_what_was_written_from_what_was_not() {
    let dir = tempfile::tempdir().unwrap();
    let file = RealDisk.create(&dir.path().join("sparse"), 1 << 20).unwrap();
    file.write_at(b"here", 300_000).unwrap();
    let found = file.next_written(0).unwrap().expect("something was written");
    assert!(found <= 300_000, "{found}");
    // A file system that cannot say calls everything written, up to the end.
    let rest = file.next_written(600_000).unwrap();
    assert!(rest.is_none_or(|at| at == 600_000), "{rest:?}");
    assert_eq!(file.next_written(1 << 20).unwrap(), None);
}

#[test]
fn a_real_disk_says_in_which_boot_of_the_machine_it_is() {
    let boot = RealDisk.boot();
    assert!(boot.is_some_and(|boot| boot != 0), "{boot:?}");
    assert_eq!(RealDisk.boot(), boot);
}
