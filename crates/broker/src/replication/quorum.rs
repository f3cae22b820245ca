// SPDX-License-Identifier: Apache-2.0
//! Who has how much of the log, and what follows from that: pure, so that every order of events can be tried.
//!
//! A SYNC_MASTER promises that so many replicas, itself among them, have a message. How many, is decided when the message
//! is stored ([`Quorum::wanted`]); whether enough slaves have reported its end, when its sender is answered
//! ([`Quorum::acked_by`]). Readers see what the promise holds for ([`Quorum::visible`]), and what waited longer than
//! `slaveTimeout`: its sender was told FLUSH_SLAVE_TIMEOUT. Where too few slaves are near enough to begin with, the sender is
//! told SLAVE_NOT_AVAILABLE at once, and nothing is held back but by what was stored before and still waits.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::SLAVES_MAX;
use super::rate::Rate;

/// Marks of the end of the log kept to know what is older than `slaveTimeout`: one each twentieth of it.
const MARKS_PER_TIMEOUT: i64 = 20;

/// One slave that is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slave {
    /// The number of its link.
    pub(crate) link: u64,
    /// Where it is.
    pub(crate) addr: SocketAddr,
    /// Its number, if it says so.
    pub(crate) id: Option<i64>,
    /// Up to where it says it has the log.
    pub(crate) acked: i64,
    /// Up to where the log was sent to it. What it says to have beyond that is no acknowledgement.
    pub(crate) sent: i64,
    /// It began with nothing, and lacks for ever what is before.
    pub(crate) lacks: i64,
    /// How much it is sent in a second.
    pub(crate) rate: Rate,
}

/// What a master promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Promise {
    /// Replicas that must have a message, the master among them. 1 or less: no promise.
    pub(crate) replicas: usize,
    /// When fewer are in step, wait for those that are, but for no fewer than so many.
    pub(crate) at_least: Option<usize>,
    /// Wait for every slave that is in step, however many are needed.
    pub(crate) all: bool,
    /// How far behind a slave may be, in bytes, and count as in step.
    pub(crate) gap_max: i64,
    /// For how long a message waits, ms.
    pub(crate) timeout_ms: i64,
}

/// How many slaves a message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// So many; 0: none.
    Slaves(usize),
    /// More than there are: it is stored, and its sender told so.
    Missing,
    /// More than there are, and the settings say that it must not be stored then.
    Refused,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    Taken,
    /// It speaks of more than was sent, which no slave can have.
    Boast,
    /// The link is not there, or the slave has opened another one.
    NoLink,
}

#[derive(Debug)]
pub(crate) struct Quorum {
    promise: Promise,
    slaves: Vec<Slave>,
    /// Ends of the log with the time they were seen, oldest first.
    marks: VecDeque<(i64, i64)>,
    /// What lies below has waited long enough.
    given_up: i64,
    /// Slaves that began with nothing a little while ago, and what they lack: such a one may come again.
    begun: VecDeque<(Option<i64>, IpAddr, i64)>,
    /// For how many slaves new messages waited when somebody looked last.
    asked: usize,
    /// So many slaves are waited for by what was stored before it became fewer, and where that ends.
    held: Option<(usize, i64)>,
}

impl Quorum {
    pub(crate) fn new(promise: Promise) -> Quorum {
        Quorum {
            promise,
            slaves: Vec::new(),
            marks: VecDeque::new(),
            given_up: 0,
            begun: VecDeque::new(),
            asked: 0,
            held: None,
        }
    }

    pub(crate) fn promise(&self) -> Promise {
        self.promise
    }

    pub(crate) fn set_promise(&mut self, promise: Promise) {
        self.promise = promise;
    }

    /// Nobody waits for what is below: it was stored before this broker started.
    pub(crate) fn begin(&mut self, end: i64) {
        self.given_up = self.given_up.max(end);
    }

    /// A slave has asked for the log from a position on: it has what is before.
    pub(crate) fn join(&mut self, link: u64, (addr, id): (SocketAddr, Option<i64>), from: i64) {
        self.leave(link);
        // One slave counts once: its old link may not know yet that it has ended.
        self.slaves.retain(|slave| id.is_none() || slave.id != id);
        self.slaves.push(Slave {
            link,
            addr,
            id,
            acked: from,
            sent: from,
            lacks: self.lacked_by(addr, id),
            rate: Rate::begin(from),
        });
    }

    /// It began with nothing, and has nothing below.
    pub(crate) fn lacks(&mut self, link: u64, below: i64) {
        let Some(slave) = self.slaves.iter_mut().find(|slave| slave.link == link) else {
            return;
        };
        slave.lacks = slave.lacks.max(below);
        let given_up = self.given_up;
        self.begun.push_back((slave.id, slave.addr.ip(), slave.lacks));
        self.begun.retain(|(_, _, lacks)| *lacks > given_up);
        if self.begun.len() > SLAVES_MAX {
            self.begun.pop_front();
        }
    }

    fn lacked_by(&self, addr: SocketAddr, id: Option<i64>) -> i64 {
        let is_it = |(other, ip, _): &&(Option<i64>, IpAddr, i64)| match (id, other) {
            (Some(id), Some(other)) => id == *other,
            _ => *ip == addr.ip(),
        };
        let lacks = self.begun.iter().filter(is_it).map(|(_, _, lacks)| *lacks);
        lacks.max().unwrap_or(0)
    }

    /// Whether a slave of this number is there.
    pub(crate) fn has(&self, id: Option<i64>) -> bool {
        id.is_some() && self.slaves.iter().any(|slave| slave.id == id)
    }

    /// Returns the slave that is gone.
    pub(crate) fn leave(&mut self, link: u64) -> Option<Slave> {
        let place = self.slaves.iter().position(|slave| slave.link == link)?;
        Some(self.slaves.remove(place))
    }

    /// The log was sent to a slave up to a position.
    pub(crate) fn sent(&mut self, link: u64, upto: i64) {
        if let Some(slave) = self.slaves.iter_mut().find(|slave| slave.link == link) {
            slave.sent = slave.sent.max(upto);
        }
    }

    /// A slave says how much it has.
    pub(crate) fn acked(&mut self, link: u64, upto: i64) -> Acked {
        let Some(slave) = self.slaves.iter_mut().find(|slave| slave.link == link) else {
            return Acked::NoLink;
        };
        if upto > slave.sent {
            return Acked::Boast;
        }
        slave.acked = slave.acked.max(upto);
        Acked::Taken
    }

    /// Time passes; the log ends there.
    pub(crate) fn tick(&mut self, now_ms: i64, end: i64) {
        for slave in &mut self.slaves {
            slave.rate.tick(now_ms, slave.sent);
        }
        let step = (self.promise.timeout_ms / MARKS_PER_TIMEOUT).max(1);
        if self.marks.back().is_none_or(|(at, _)| now_ms - at >= step) {
            self.marks.push_back((now_ms, end));
        }
        while let Some((at, mark)) = self.marks.front().copied() {
            if now_ms - at < self.promise.timeout_ms {
                return;
            }
            self.given_up = self.given_up.max(mark);
            self.marks.pop_front();
        }
    }

    /// Slaves that are near the end of the log.
    pub(crate) fn in_step(&self, end: i64) -> usize {
        let near = |slave: &&Slave| end - slave.acked < self.promise.gap_max;
        self.slaves.iter().filter(near).count()
    }

    /// What a message waits for that is stored now, where the log ends there.
    pub(crate) fn wanted(&self, end: i64) -> Wanted {
        let Promise {
            replicas,
            at_least,
            all,
            ..
        } = self.promise;
        if replicas < 2 && !all {
            return Wanted::Slaves(0);
        }
        let in_step = self.in_step(end);
        let needed = match at_least {
            Some(at_least) => replicas.min(in_step + 1).max(at_least),
            None => replicas,
        };
        let others = needed.saturating_sub(1);
        match (others > in_step, at_least) {
            (true, Some(_)) => Wanted::Refused,
            (true, None) => Wanted::Missing,
            (false, _) if all => Wanted::Slaves(in_step),
            (false, _) => Wanted::Slaves(others),
        }
    }

    /// Up to where so many slaves have the log. One that began with nothing counts once nobody waits any more for what it
    /// lacks.
    pub(crate) fn acked_by(&self, slaves: usize) -> i64 {
        let Some(place) = slaves.checked_sub(1) else {
            return i64::MAX;
        };
        let counted = self.slaves.iter().filter(|slave| slave.lacks <= self.given_up);
        let mut acked: Vec<i64> = counted.map(|slave| slave.acked).collect();
        acked.sort_unstable_by(|a, b| b.cmp(a));
        acked.get(place).copied().unwrap_or(0)
    }

    /// For how many slaves a message waits that is stored now.
    fn needed(&self, end: i64) -> usize {
        match self.wanted(end) {
            Wanted::Slaves(slaves) => slaves,
            Wanted::Missing | Wanted::Refused => 0,
        }
    }

    /// To be called after each change: when fewer slaves are to have a message from now on, what was stored before still waits for
    /// as many as its senders wait for.
    pub(crate) fn hold(&mut self, end: i64, stored_end: i64) {
        let needed = self.needed(end);
        if needed < self.asked {
            let before = self.held.map_or(0, |(slaves, _)| slaves);
            self.held = Some((self.asked.max(before), stored_end));
        }
        self.asked = needed;
        if self.held.is_some_and(|(slaves, to)| self.settled(slaves) >= to) {
            self.held = None;
        }
    }

    /// Up to where senders that wait for so many slaves are answered.
    fn settled(&self, slaves: usize) -> i64 {
        self.acked_by(slaves).max(self.given_up)
    }

    /// Up to where readers may see the log; `None`: all of it.
    pub(crate) fn visible(&self, end: i64) -> Option<i64> {
        match (self.held, self.needed(end)) {
            (Some((slaves, _)), _) => Some(self.settled(slaves)),
            (None, 0) => None,
            (None, slaves) => Some(self.settled(slaves)),
        }
    }

    pub(crate) fn slaves(&self) -> &[Slave] {
        &self.slaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISE: Promise = Promise {
        replicas: 2,
        at_least: None,
        all: false,
        gap_max: 1_000,
        timeout_ms: 3_000,
    };

    fn quorum(replicas: usize) -> Quorum {
        Quorum::new(Promise { replicas, ..PROMISE })
    }

    fn join(quorum: &mut Quorum, link: u64, from: i64) {
        quorum.join(link, (([127, 0, 0, 1], 1).into(), None), from);
    }

    #[test]
    fn a_master_alone_needs_nobody() {
        let quorum = quorum(1);
        assert_eq!(quorum.wanted(500), Wanted::Slaves(0));
        assert_eq!((quorum.visible(500), quorum.acked_by(0)), (None, i64::MAX));
    }

    #[test]
    fn what_one_slave_has_is_kept_and_seen() {
        let mut quorum = quorum(2);
        assert_eq!(quorum.wanted(0), Wanted::Missing);
        assert_eq!(quorum.visible(500), None, "nobody to wait for");
        join(&mut quorum, 1, 100);
        quorum.sent(1, 300);
        assert_eq!(quorum.wanted(500), Wanted::Slaves(1));
        assert_eq!((quorum.visible(500), quorum.acked_by(1)), (Some(100), 100));
        assert_eq!(quorum.acked(1, 300), Acked::Taken);
        assert_eq!(quorum.visible(500), Some(300));
        assert!(quorum.leave(1).is_some());
        assert_eq!((quorum.visible(500), quorum.acked_by(1)), (None, 0));
    }

    #[test]
    fn the_slowest_of_those_that_are_needed_counts() {
        let mut quorum = quorum(3);
        for (link, from) in [(1, 100), (2, 300), (3, 200)] {
            join(&mut quorum, link, from);
        }
        assert_eq!(
            (quorum.acked_by(1), quorum.acked_by(2), quorum.acked_by(3)),
            (300, 200, 100)
        );
        assert_eq!(quorum.visible(500), Some(200));
        quorum.leave(2);
        assert_eq!(quorum.visible(500), Some(100));
    }

    #[test]
    fn nobody_has_what_was_not_sent() {
        let mut quorum = quorum(2);
        join(&mut quorum, 1, 100);
        assert_eq!(quorum.acked(1, 101), Acked::Boast);
        assert_eq!(quorum.acked(2, 1), Acked::NoLink);
        assert_eq!(quorum.acked_by(1), 100);
    }

    #[test]
    fn a_slave_that_comes_again_counts_once() {
        let mut quorum = quorum(3);
        let at = ([127, 0, 0, 1], 1).into();
        quorum.join(1, (at, Some(7)), 100);
        quorum.join(2, (at, Some(7)), 200);
        assert_eq!((quorum.acked_by(1), quorum.acked_by(2)), (200, 0));
        assert_eq!(quorum.acked(1, 100), Acked::NoLink);
        quorum.join(3, (at, None), 50);
        quorum.join(4, (at, None), 60);
        assert_eq!(quorum.slaves().len(), 3, "who they are is not known");
    }

    #[test]
    fn a_slave_that_is_far_behind_is_not_waited_for() {
        let mut quorum = quorum(2);
        join(&mut quorum, 1, 100);
        assert_eq!(quorum.wanted(1_099), Wanted::Slaves(1));
        assert_eq!(quorum.wanted(1_100), Wanted::Missing);
        assert_eq!(quorum.visible(1_100), None);
    }

    #[test]
    fn fewer_will_do_while_fewer_are_in_step_but_not_too_few() {
        let mut quorum = quorum(3);
        quorum.set_promise(Promise {
            at_least: Some(2),
            ..quorum.promise()
        });
        assert_eq!(quorum.wanted(500), Wanted::Refused);
        join(&mut quorum, 1, 100);
        assert_eq!(quorum.wanted(500), Wanted::Slaves(1));
        join(&mut quorum, 2, 100);
        assert_eq!(quorum.wanted(500), Wanted::Slaves(2));
        join(&mut quorum, 3, 100);
        assert_eq!(quorum.wanted(500), Wanted::Slaves(2));
    }

    #[test]
    fn all_that_are_in_step_are_waited_for() {
        let mut quorum = quorum(2);
        quorum.set_promise(Promise {
            all: true,
            ..quorum.promise()
        });
        assert_eq!(quorum.wanted(500), Wanted::Missing);
        for link in 1..=3 {
            join(&mut quorum, link, 100);
        }
        assert_eq!(quorum.wanted(500), Wanted::Slaves(3));
    }

    #[test]
    fn what_waits_for_a_slave_that_leaves_is_not_seen_before_its_sender_is_told() {
        let mut quorum = quorum(2);
        join(&mut quorum, 1, 100);
        quorum.tick(0, 200);
        quorum.hold(200, 200);
        quorum.leave(1);
        quorum.hold(300, 350);
        assert_eq!(quorum.wanted(300), Wanted::Missing);
        assert_eq!(quorum.visible(300), Some(0), "somebody waits for it");
        quorum.tick(1_000, 400);
        quorum.tick(3_000, 400);
        quorum.hold(400, 400);
        assert_eq!(quorum.visible(400), Some(200));
        quorum.tick(4_000, 400);
        quorum.hold(400, 400);
        assert_eq!(quorum.visible(400), None);
    }

    #[test]
    fn what_waits_for_two_slaves_is_not_seen_with_one_when_one_will_do() {
        let mut quorum = quorum(3);
        quorum.set_promise(Promise {
            at_least: Some(2),
            ..quorum.promise()
        });
        join(&mut quorum, 1, 100);
        join(&mut quorum, 2, 100);
        quorum.sent(1, 400);
        quorum.hold(300, 300);
        quorum.leave(2);
        quorum.hold(300, 300);
        assert_eq!(quorum.acked(1, 300), Acked::Taken);
        quorum.hold(300, 300);
        assert_eq!(
            (quorum.wanted(300), quorum.visible(300)),
            (Wanted::Slaves(1), Some(0))
        );
        join(&mut quorum, 3, 300);
        quorum.hold(300, 300);
        assert_eq!(quorum.visible(300), Some(300));
    }

    #[test]
    fn a_slave_that_begins_in_the_middle_does_not_confirm_what_is_before() {
        let mut quorum = quorum(2);
        quorum.begin(100);
        quorum.tick(0, 400);
        join(&mut quorum, 1, 300);
        quorum.lacks(1, 300);
        quorum.sent(1, 400);
        assert_eq!(quorum.acked(1, 400), Acked::Taken);
        assert_eq!((quorum.acked_by(1), quorum.visible(400)), (0, Some(100)));
        join(&mut quorum, 2, 400);
        quorum.leave(1);
        assert_eq!(quorum.acked_by(1), 0, "nor when it comes again");
        assert_eq!(
            quorum.wanted(400),
            Wanted::Slaves(1),
            "what comes now is kept by it"
        );
        quorum.tick(3_000, 400);
        assert_eq!((quorum.acked_by(1), quorum.visible(400)), (400, Some(400)));
        join(&mut quorum, 3, 100);
        quorum.lacks(3, 100);
        assert_eq!(
            quorum.acked_by(2),
            100,
            "nobody waits for what was here at the start"
        );
    }

    #[test]
    fn what_was_given_up_is_seen() {
        let mut quorum = quorum(2);
        join(&mut quorum, 1, 100);
        quorum.tick(0, 200);
        quorum.tick(1_000, 300);
        assert_eq!(quorum.visible(400), Some(100));
        quorum.tick(3_000, 400);
        assert_eq!(quorum.visible(400), Some(200));
        quorum.tick(4_000, 400);
        assert_eq!(quorum.visible(400), Some(300));
        assert_eq!(quorum.acked_by(1), 100, "but not kept");
    }
}
