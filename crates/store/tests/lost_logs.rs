// SPDX-License-Identifier: Apache-2.0
//! Logs of which all is gone, or an unknown part: what a start refuses, a repair can give up, and no position is given out again.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "support/rig.rs"]
mod rig;

use std::path::Path;

use rig::*;
use store::disk::Disk;
use store::disk::sim::Loss;
use store::inspect::{self, InspectError};
use store::{FlushMode, OpenError, QueueLayout};

const LOG: &str = "/store/commitlog/00000000000000000000";

/// A store with some messages, closed. Returns where its log ended.
fn filled(layout: QueueLayout) -> (Rig, i64) {
    let mut rig = Rig::new(3, FlushMode::Async);
    rig.config.queue_layout = layout;
    let store = rig.open();
    for number in 0..10 {
        send(&store, "T", 0, &number.to_string());
    }
    store.turn_tidy();
    let end = store.written().0;
    store.close().unwrap();
    (rig, end)
}

fn remove(rig: &Rig, names: &[&str]) {
    for name in names {
        let path = Path::new("/store").join(name);
        if rig.disk.entry(&path).unwrap().is_some_and(|found| found.is_dir) {
            rig.disk.remove_tree(&path).unwrap();
        } else {
            rig.disk.remove(&path).unwrap();
        }
    }
}

#[test]
fn a_log_that_is_gone_is_refused_whatever_else_is_and_given_up_by_a_repair() {
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        for others in [vec![], vec!["checkpoint"], vec!["checkpoint", "barque-reached"]] {
            let why = format!("{layout:?}, without {others:?}");
            let (rig, end) = filled(layout);
            remove(&rig, &["commitlog"]);
            remove(&rig, &others);
            let refused = rig.try_open();
            assert!(matches!(refused, Err(OpenError::Lost { .. })), "{why}");
            let report = inspect::check(&rig.config, &rig.env()).unwrap();
            assert!(report.is_mendable(), "{why}: {:?}", report.findings);
            let done = inspect::repair(&rig.config, &rig.env(), false).unwrap();
            assert!(done.copies.is_some(), "{why}");
            assert!(!done.left.is_mendable(), "{why}: {:?}", done.left.findings);
            let store = rig.open();
            let sent = send(&store, "T", 0, "new");
            let is_known = others.len() < 2;
            assert!(!is_known || sent.pos.0 >= end, "{why}: {sent:?}");
            assert_eq!(bodies(&store, "T", 0), ["new"], "{why}");
        }
    }
}

#[test]
fn a_store_that_never_had_a_message_opens_without_its_checkpoint() {
    for layout in [QueueLayout::Files, QueueLayout::Compact] {
        let mut rig = Rig::new(3, FlushMode::Async);
        rig.config.queue_layout = layout;
        rig.open().close().unwrap();
        remove(&rig, &["checkpoint"]);
        rig.open();
    }
}

#[test]
fn a_repair_asks_for_the_size_of_files_that_nobody_knows() {
    let (rig, end) = filled(QueueLayout::Files);
    let file = rig.disk.open(Path::new(LOG)).unwrap();
    file.set_len(1000).unwrap();
    file.sync().unwrap();
    let measured = inspect::measured(rig.config.clone(), &*rig.disk).unwrap();
    let before = rig.disk.bytes_written();
    let refused = inspect::repair(&measured, &rig.env(), false).unwrap_err();
    assert!(matches!(refused, InspectError::Size { len: 1000, reached, .. } if reached == end));
    assert!(refused.to_string().contains("-c"), "{refused}");
    assert_eq!(rig.disk.bytes_written(), before);
    inspect::check(&measured, &rig.env()).unwrap();
    inspect::repair(&rig.config, &rig.env(), false).unwrap();
    let store = rig.open();
    assert!(send(&store, "T", 0, "new").pos.0 >= end);
}

#[test]
fn how_far_an_unreadable_end_reached_is_known_after_a_power_cut_too() {
    let (rig, end) = filled(QueueLayout::Files);
    let file = rig.disk.open(Path::new(LOG)).unwrap();
    file.write_at(&vec![0; 500], end as u64 - 500).unwrap();
    file.sync().unwrap();
    let store = rig.open();
    assert_eq!(store.written().0, end);
    rig.disk.crash(Loss::Everything);
    drop(store);
    let store = rig.open();
    assert!(send(&store, "T", 0, "new").pos.0 >= end);
}
