// SPDX-License-Identifier: Apache-2.0
//! One thing at a time.

use std::time::Duration;

use store::disk::sim::Loss;
use store::{FlushMode, LogPos};
use tokio::time::sleep;

use super::cable::{Cable, Port};
use super::node::{Node, SEGMENT_BYTES, Virtual, append, config, difference, walk};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const SYNC: [(&str, &str); 1] = [("brokerRole", "SYNC_MASTER")];

struct Pair {
    port: Port,
    cable: std::sync::Arc<Cable>,
    master: Node,
    slave: Node,
}

impl Pair {
    fn new(flush: FlushMode) -> Pair {
        let (clock, port) = (Virtual::begin(), Port::default());
        Pair {
            cable: Cable::to(&port, 1),
            master: Node::new(1, flush, &clock),
            slave: Node::new(2, flush, &clock),
            port,
        }
    }

    fn start(flush: FlushMode) -> Pair {
        let mut pair = Pair::new(flush);
        pair.lead();
        pair.follow();
        pair
    }

    fn lead(&mut self) {
        self.master.lead(&self.port, &config(&SYNC));
    }

    fn follow(&mut self) {
        self.slave.follow(&self.cable);
    }

    fn send(&self, count: usize, body: &[u8]) {
        for _ in 0..count {
            append(self.master.store(), "T", 0, body).unwrap();
        }
    }

    async fn in_step(&self) {
        let end = self.master.store().written();
        for _ in 0..100 {
            if self.slave.store().written() == end {
                return;
            }
            sleep(secs(1)).await;
        }
        panic!(
            "{:?} of {end:?}: {}",
            self.slave.store().written(),
            self.slave.last_said()
        );
    }

    fn assert_same(&self) {
        assert_eq!(difference(self.master.store(), self.slave.store()), None);
        assert_eq!(self.master.store().written(), self.slave.store().written());
    }
}

#[tokio::test(start_paused = true)]
async fn a_link_on_which_nothing_happens_stays() {
    let pair = Pair::start(FlushMode::Async);
    pair.send(1, b"one");
    sleep(secs(60)).await;
    pair.assert_same();
    let ends = (pair.master.last_said(), pair.slave.last_said());
    assert_eq!(ends, (String::new(), String::new()));
}

/// A master may say something more often than its slave has to: both count from what they said themselves.
#[tokio::test(start_paused = true)]
async fn what_the_other_side_says_does_not_put_off_a_heartbeat() {
    let pair = Pair::start(FlushMode::Async);
    pair.send(1, b"one");
    pair.in_step().await;
    // Something comes twice a second, none of it a whole record.
    pair.send(1, &[b'x'; 3900]);
    pair.cable
        .change(|state| state.delay = Duration::from_millis(500));
    sleep(secs(30)).await;
    let ends = (pair.master.last_said(), pair.slave.last_said());
    assert_eq!(ends, (String::new(), String::new()));
}

/// The unused end of a file is not written: a link may be cut behind its first eight bytes.
#[tokio::test(start_paused = true)]
async fn a_slave_goes_on_where_a_file_ends() {
    let mut pair = Pair::start(FlushMode::Async);
    pair.send(1, &[b'a'; 3000]);
    pair.in_step().await;
    pair.cable.change(|state| state.is_cut_down = true);
    pair.send(1, &[b'b'; 3000]);
    sleep(secs(1)).await;
    // The first file reaches the slave, and its link ends there.
    pair.cable.change(|state| state.drops += 1);
    pair.slave.stop().await;
    pair.follow();
    let mut replica = pair.slave.store().follow();
    let from = replica.next();
    let rest = pair
        .master
        .store()
        .log_bytes(from, SEGMENT_BYTES as usize, true)
        .unwrap();
    pair.slave.store().replicate(&mut replica, from, &rest).unwrap();
    assert_eq!(replica.next(), LogPos(SEGMENT_BYTES as i64));
    assert_eq!(pair.slave.store().written(), replica.next());
    pair.cable.change(|state| state.is_cut_down = false);
    pair.in_step().await;
    pair.assert_same();
}

#[tokio::test(start_paused = true)]
async fn a_slave_ahead_of_its_master_is_refused_and_keeps_what_it_has() {
    let mut pair = Pair::start(FlushMode::Async);
    pair.send(3, b"kept");
    pair.in_step().await;
    // Between two flushes.
    sleep(Duration::from_millis(1_100)).await;
    pair.send(3, b"not synced by the master");
    pair.in_step_at_once().await;
    let ahead = pair.slave.store().written();
    pair.master.crash(Loss::Everything).await;
    pair.lead();
    assert!(pair.master.store().written() < ahead);
    sleep(secs(2)).await;
    assert!(
        pair.master.last_said().contains("is ahead"),
        "{}",
        pair.master.last_said()
    );
    assert_eq!(pair.slave.store().written(), ahead);
    // Later the master is longer, and still another one.
    pair.send(9, b"of another life");
    sleep(secs(2)).await;
    assert!(
        pair.slave.last_said().contains("are not the same"),
        "{}",
        pair.slave.last_said()
    );
    assert_eq!(
        (pair.slave.store().written(), walk(pair.slave.store()).len()),
        (ahead, 6)
    );
}

/// The records have the same sizes, so that the end of the one log is the end of a record in the other.
#[tokio::test(start_paused = true)]
async fn two_logs_of_one_length_are_not_taken_for_one() {
    let mut pair = Pair::start(FlushMode::Async);
    pair.send(2, b"both");
    pair.in_step().await;
    pair.slave.stop().await;
    pair.send(1, b"only the old master");
    sleep(secs(1)).await;
    pair.master.stop().await;
    // The slave takes over.
    std::mem::swap(&mut pair.master, &mut pair.slave);
    pair.lead();
    pair.send(1, b"only the new master");
    pair.follow();
    sleep(secs(2)).await;
    assert_eq!(pair.slave.store().written(), pair.master.store().written());
    assert!(
        pair.slave.last_said().contains("are not the same"),
        "{}",
        pair.slave.last_said()
    );
    pair.send(5, b"more");
    sleep(secs(2)).await;
    assert_eq!(walk(pair.slave.store()).len(), 3);
}

impl Pair {
    /// Before anybody flushes.
    async fn in_step_at_once(&self) {
        while self.slave.store().written() < self.master.store().written() {
            sleep(Duration::from_millis(1)).await;
        }
    }
}
