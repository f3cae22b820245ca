// SPDX-License-Identifier: Apache-2.0
//! What consumers saw that read by lease (pop): when each message was with somebody, and whether it was with nobody else then,
//! and with nobody at all once it was acknowledged.

use std::collections::BTreeMap;

use crate::history::{Found, History};

/// What a broker without SYNC_FLUSH may not have on its disk yet when it loses its power.
const UNSYNCED_MS: u64 = 1000;

/// A message was with a consumer.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) broker: String,
    /// When it was handed out, which its handle says too.
    pub(crate) from_ms: u64,
    /// Nobody else gets it before.
    pub(crate) until_ms: u64,
    /// Its holder has asked that it ends then, and has no answer: nobody knows whether the broker heard of it.
    asked_until_ms: Option<u64>,
    /// Out of the topic itself; else it came again.
    is_first: bool,
    /// The holder of the one before asked for it; else it was handed out anew.
    is_longer: bool,
    /// The answer to the acknowledgement came while the lease was good.
    acked_ms: Option<u64>,
}

impl Lease {
    /// When it ends at the earliest.
    fn end_ms(&self) -> u64 {
        self.asked_until_ms.unwrap_or(u64::MAX).min(self.until_ms)
    }
}

/// An operator has set the group to another offset of a queue.
#[derive(Debug, Clone)]
pub(crate) struct Reset {
    pub(crate) broker: String,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) sent_ms: u64,
    pub(crate) answered_ms: Option<u64>,
}

impl Reset {
    fn is_of(&self, one: &Found) -> bool {
        (&self.broker, self.queue) == (&one.broker, one.queue)
    }
}

/// Somebody got messages of a queue in order.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) broker: String,
    pub(crate) queue: i32,
    /// Of the first of them.
    pub(crate) offset: i64,
    pub(crate) got_ms: u64,
}

/// Of one group.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    by_attempt: BTreeMap<u64, Vec<Lease>>,
    /// When somebody first tried to say that it is consumed, or dead.
    let_go: BTreeMap<u64, u64>,
}

impl Leases {
    pub(crate) fn lent(
        &mut self,
        attempt: u64,
        broker: &str,
        (from_ms, until_ms): (u64, u64),
        is_first: bool,
    ) {
        self.by_attempt.entry(attempt).or_default().push(Lease {
            broker: broker.to_owned(),
            from_ms,
            until_ms,
            asked_until_ms: None,
            is_first,
            is_longer: false,
            acked_ms: None,
        });
    }

    fn find(&mut self, attempt: u64, from_ms: u64) -> Option<&mut Lease> {
        let leases = self.by_attempt.get_mut(&attempt)?;
        leases.iter_mut().rev().find(|lease| lease.from_ms == from_ms)
    }

    /// It ends at another time. `false`: it was over when the broker said so, and nothing has changed.
    pub(crate) fn changed(&mut self, attempt: u64, from_ms: u64, next: (u64, u64)) -> bool {
        let Some(lease) = self.find(attempt, from_ms) else {
            return false;
        };
        if next.0 >= lease.end_ms() {
            return false;
        }
        lease.asked_until_ms = None;
        lease.until_ms = next.0;
        let longer = Lease {
            from_ms: next.0,
            until_ms: next.1,
            is_longer: true,
            ..lease.clone()
        };
        self.by_attempt.entry(attempt).or_default().push(longer);
        true
    }

    /// Its holder asks that it ends at another time.
    pub(crate) fn asked_until(&mut self, attempt: u64, from_ms: u64, until_ms: u64) {
        if let Some(lease) = self.find(attempt, from_ms) {
            lease.asked_until_ms = Some(lease.end_ms().min(until_ms));
        }
    }

    /// Somebody is about to say that it is done with.
    pub(crate) fn let_go(&mut self, attempt: u64, now_ms: u64) {
        self.let_go.entry(attempt).or_insert(now_ms);
    }

    /// An acknowledgement was answered.
    pub(crate) fn acked(&mut self, attempt: u64, from_ms: u64, now_ms: u64) {
        let lease = self.find(attempt, from_ms);
        if let Some(lease) = lease.filter(|lease| now_ms < lease.end_ms()) {
            lease.acked_ms = Some(now_ms);
        }
    }

    /// When somebody first had it.
    pub(crate) fn lent_ms(&self, attempt: u64) -> Option<u64> {
        let leases = self.by_attempt.get(&attempt)?;
        leases.iter().map(|lease| lease.from_ms).min()
    }

    pub(crate) fn is_let_go(&self, attempt: u64) -> bool {
        self.let_go.contains_key(&attempt)
    }
}

impl History {
    /// Whether a broker may have lost what it noted of a lease: that it was given, or that it is over. Then the message is with
    /// nobody, and besides its copy in the retry topic may have outlived the note that it was written.
    fn may_forget(&self, lease: &Lease, is_sync: bool) -> bool {
        let noted_ms = lease.acked_ms.unwrap_or(lease.from_ms);
        let is_doubtful = |cut: &u64| {
            let is_noted = *cut >= noted_ms && !self.is_within(&lease.broker, (noted_ms, *cut), UNSYNCED_MS);
            *cut >= lease.from_ms && !is_noted
        };
        let mut cuts = self.cuts.get(&lease.broker).into_iter().flatten();
        !is_sync && cuts.any(is_doubtful)
    }

    /// Nobody gets what is with somebody else, and nobody what was acknowledged; `plain` is all there is of the topic.
    pub(crate) fn check_leases(&mut self, plain: &[Found], is_sync: bool) {
        let places: BTreeMap<u64, &Found> = plain.iter().map(|one| (one.attempt, one)).collect();
        let mut faults = Vec::new();
        for (group, leases) in &self.leases {
            for (attempt, leases) in &leases.by_attempt {
                // What a group is taken back to comes again, and its copies in the retry topic are there still.
                // Of a message that is not readable any more nobody knows the place.
                let is_back = |reset: &&Reset| {
                    let place = places.get(attempt);
                    place.is_none_or(|one| reset.is_of(one) && reset.offset <= one.offset)
                };
                let back = self.resets.iter().filter(is_back);
                let back_ms = back.map(|reset| reset.sent_ms).min().unwrap_or(u64::MAX);
                let mut leases: Vec<&Lease> = leases.iter().filter(|lease| lease.from_ms < back_ms).collect();
                leases.sort_by_key(|lease| lease.from_ms);
                let forgotten = leases.iter().position(|lease| self.may_forget(lease, is_sync));
                leases.truncate(forgotten.map_or(leases.len(), |index| index + 1));
                check_one(group, *attempt, &leases, &mut faults);
            }
        }
        self.faults.extend(faults);
    }

    /// Whoever is taken back to an offset gets everything from there on again, and whoever is taken forward to one gets nothing
    /// before it that is not out already.
    pub(crate) fn check_resets(&mut self, leases: &Leases, plain: &[Found]) {
        let mut faults = Vec::new();
        for one in plain {
            if self.is_damaged(&one.broker, one.attempt) || self.is_at_damage(one) {
                continue;
            }
            let resets: Vec<&Reset> = self.resets.iter().filter(|reset| reset.is_of(one)).collect();
            for reset in &resets {
                let Some(answered_ms) = reset.answered_ms else {
                    continue;
                };
                // A log that lost its end takes the group back to it.
                if self.is_shorter_since(&one.broker, reset.sent_ms) {
                    continue;
                }
                let is_back = reset.offset <= one.offset;
                let may_follow = |other: &&&Reset| other.answered_ms.is_none_or(|ms| ms >= reset.sent_ms);
                let mut later = resets.iter().filter(may_follow);
                if later.any(|other| (other.offset <= one.offset) != is_back) {
                    continue;
                }
                let lent = leases.by_attempt.get(&one.attempt).map_or(&[][..], Vec::as_slice);
                let mut anew = lent.iter().filter(|lease| !lease.is_longer);
                let is_again = anew.clone().any(|lease| lease.from_ms >= reset.sent_ms);
                let is_anew = anew.any(|lease| lease.is_first && lease.from_ms > answered_ms);
                if is_back && !is_again {
                    faults.push(format!("{one:?} did not come again after {reset:?}"));
                } else if !is_back && is_anew {
                    faults.push(format!("{one:?} was handed out in spite of {reset:?}: {lent:?}"));
                }
            }
        }
        self.faults.extend(faults);
    }

    /// Nobody gets messages in order before somebody has at least tried to settle everything in front of them.
    pub(crate) fn check_batches(&mut self, leases: &Leases, found: &[Found]) {
        let mut queues: BTreeMap<(&str, i32), BTreeMap<i64, &Found>> = BTreeMap::new();
        for one in found {
            if self.is_at_damage(one) {
                continue;
            }
            let queue = queues.entry((&one.broker, one.queue)).or_default();
            queue.insert(one.offset, one);
        }
        let mut faults = Vec::new();
        for batch in &self.batches {
            let Some(queue) = queues.get(&(batch.broker.as_str(), batch.queue)) else {
                continue;
            };
            let is_settled = |one: &Found| {
                let let_go = leases.let_go.get(&one.attempt);
                let_go.is_some_and(|let_go_ms| *let_go_ms <= batch.got_ms)
            };
            // Others may have had the offsets then, and be lost.
            let mut before = queue
                .range(..batch.offset)
                .filter(|(_, one)| one.at_ms() <= batch.got_ms);
            if let Some((offset, one)) = before.find(|(_, one)| !is_settled(one)) {
                faults.push(format!(
                    "message {} at {offset} was not settled yet, and {batch:?} came",
                    one.attempt
                ));
            }
        }
        for (queue, messages) in queues {
            for (offset, one) in messages.iter().filter(|(_, one)| !leases.is_let_go(one.attempt)) {
                let attempt = one.attempt;
                faults.push(format!(
                    "message {attempt} at {queue:?} {offset} was not popped in order"
                ));
            }
        }
        self.faults.extend(faults);
    }

    /// Whether the group may have been taken over a message.
    pub(crate) fn is_passed_over(&self, one: &Found) -> bool {
        let mut resets = self.resets.iter();
        resets.any(|reset| reset.is_of(one) && reset.offset > one.offset)
    }
}

/// The leases of one message, in order, none of which a broker may have forgotten but the last.
fn check_one(group: &str, attempt: u64, leases: &[&Lease], faults: &mut Vec<String>) {
    for (index, later) in leases.iter().enumerate().filter(|(_, lease)| !lease.is_longer) {
        for earlier in &leases[..index] {
            if earlier.acked_ms.is_some() {
                faults.push(format!(
                    "{group} have acknowledged message {attempt}, and it came again: {earlier:?} {later:?}"
                ));
            } else if later.from_ms < earlier.end_ms() {
                faults.push(format!(
                    "message {attempt} was with one of {group}, and came to another: {earlier:?} {later:?}"
                ));
            }
        }
    }
}
