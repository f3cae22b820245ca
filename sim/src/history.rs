// SPDX-License-Identifier: Apache-2.0
//! What clients saw, and whether that is what was promised.
//!
//! Every attempt to send a message has a number of its own, which stands in its body. So for each attempt it is known whether
//! it must be there (it was acknowledged), may be there (nobody knows), or must not (it was refused).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::leases::{Batch, Leases, Reset};

/// A broker that ends without order repeats what it delivered within that time before.
const REPEATED_WITHIN_MS: u64 = 2000;

/// What became of an attempt to send, as its sender knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The answer did not come, or says that it is not known.
    Unknown,
    /// It is stored there.
    Stored { broker: String, queue: i32, offset: i64 },
    /// It is not stored.
    Refused,
}

/// What a message is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meant {
    /// To be there.
    Now,
    /// To be there from then on.
    Due(u64),
    /// To be there when its transaction is committed.
    Half,
}

/// How a transaction ended, as its sender knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Open,
    /// The sender has decided so; it may have said so many times.
    Commit,
    Rollback,
}

#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) topic: String,
    pub(crate) meant: Meant,
    pub(crate) fate: Fate,
    pub(crate) known_ms: u64,
    pub(crate) ended: Ended,
    /// When that was first decided.
    pub(crate) ended_ms: u64,
    /// Sender and number: attempts of a sender to one queue are in this order.
    pub(crate) order: Option<(String, u64)>,
}

/// A message as a reader found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) broker: String,
    pub(crate) topic: String,
    pub(crate) queue: i32,
    pub(crate) offset: i64,
    pub(crate) attempt: u64,
    pub(crate) stored_ms: i64,
}

impl Found {
    /// When it was stored, since the beginning.
    pub(crate) fn at_ms(&self) -> u64 {
        self.stored_ms
            .cast_unsigned()
            .saturating_sub(crate::world::START_MS)
    }
}

#[derive(Default)]
pub(crate) struct History {
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    next: u64,
    /// Brokers by when they lost power, and may have lost what was not synced.
    pub(crate) cuts: BTreeMap<String, Vec<u64>>,
    /// When brokers were ended without order.
    pub(crate) crashed: BTreeMap<String, Vec<u64>>,
    /// When brokers had read what is on their disks, and noted that.
    pub(crate) opened: BTreeMap<String, Vec<u64>>,
    /// By group: which attempts it has consumed or given up, each time.
    pub(crate) consumed: BTreeMap<String, BTreeMap<u64, u32>>,
    /// By group and attempt: where it was given back last, and when.
    pub(crate) given: BTreeMap<(String, u64), (String, u64)>,
    /// By group that reads by lease.
    pub(crate) leases: BTreeMap<String, Leases>,
    /// What came to the group that pops in order.
    pub(crate) batches: Vec<Batch>,
    /// Of the group that reads by lease, in order.
    pub(crate) resets: Vec<Reset>,
    /// By group: what it gave up for good, at which broker, and when that was answered.
    pub(crate) dead: BTreeMap<String, BTreeMap<u64, (String, u64)>>,
    /// In the order in which they were tried.
    pub(crate) commits: BTreeMap<Progress, Vec<Commit>>,
    /// When consumers had read up to where.
    pub(crate) reads: BTreeMap<Progress, Vec<(u64, i64)>>,
    /// Resets that consumers may not have been told yet.
    pub(crate) untold: BTreeMap<Progress, Untold>,
    /// Brokers answer when what they say is on the disk.
    pub(crate) is_sync: bool,
    /// From when to when brokers stood still, had a full disk, or were not there after a crash.
    pub(crate) still: BTreeMap<String, Vec<(u64, u64)>>,
    /// By broker: what has changed by itself in its log, which may be lost, and nothing else.
    pub(crate) rotted: BTreeMap<String, Rot>,
    /// What is wrong.
    pub(crate) faults: Vec<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// What bits that change by themselves may cost.
#[derive(Debug, Default)]
pub(crate) struct Rot {
    /// Messages of which a copy is damaged.
    pub(crate) attempts: BTreeSet<u64>,
    /// Where damaged messages lie: at the end of a queue others may take their offsets.
    pub(crate) places: BTreeSet<(String, i32, i64)>,
    /// When a note that a transaction has ended was damaged last.
    pub(crate) end_ms: Option<u64>,
    pub(crate) moments: Vec<Moment>,
}

/// Bits have changed.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) at_ms: u64,
    /// When the oldest message was stored that they belong to.
    pub(crate) from_ms: u64,
}

/// Group, broker, topic, queue: where a group is.
pub(crate) type Progress = (String, String, String, i32);

/// An offset that a group wanted to have kept, or was set to, and when that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Commit {
    pub(crate) offset: i64,
    pub(crate) tried_ms: u64,
    pub(crate) acked_ms: Option<u64>,
    pub(crate) is_reset: bool,
}

/// A reset of which the consumer of the queue has to hear with its next pull.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Untold {
    pub(crate) offset: i64,
    pub(crate) sent_ms: u64,
    pub(crate) answered_ms: Option<u64>,
}

impl History {
    pub(crate) fn new(is_sync: bool) -> History {
        History {
            is_sync,
            ..History::default()
        }
    }

    pub(crate) fn begin(&mut self, attempt: Attempt) -> u64 {
        self.next += 1;
        self.attempts.insert(self.next, attempt);
        self.next
    }

    pub(crate) fn note(&mut self, attempt: u64, fate: Fate, now_ms: u64) {
        *self
            .counts
            .entry(match fate {
                Fate::Unknown => "sends unknown",
                Fate::Stored { .. } => "sends stored",
                Fate::Refused => "sends refused",
            })
            .or_default() += 1;
        if let Some(known) = self.attempts.get_mut(&attempt) {
            known.fate = fate;
            known.known_ms = now_ms;
        }
    }

    /// A transaction is to end so, unless that was decided before. How it ends.
    pub(crate) fn decide(&mut self, attempt: u64, wish: Ended, now_ms: u64) -> Option<Ended> {
        let known = self.attempts.get_mut(&attempt)?;
        if known.ended == Ended::Open {
            (known.ended, known.ended_ms) = (wish, now_ms);
        }
        Some(known.ended)
    }

    pub(crate) fn fault(&mut self, what: String) {
        self.faults.push(what);
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Whether a copy of a message was damaged at a broker.
    pub(crate) fn is_damaged(&self, broker: &str, attempt: u64) -> bool {
        let rot = self.rotted.get(broker);
        rot.is_some_and(|rot| rot.attempts.contains(&attempt))
    }

    /// Whether a message at this place of a broker was damaged.
    pub(crate) fn is_damaged_at(&self, broker: &str, topic: &str, queue: i32, offset: i64) -> bool {
        let rot = self.rotted.get(broker);
        rot.is_some_and(|rot| rot.places.contains(&(topic.to_owned(), queue, offset)))
    }

    /// Whether a message has taken the place of a damaged one, or is it.
    pub(crate) fn is_at_damage(&self, one: &Found) -> bool {
        self.is_damaged_at(&one.broker, &one.topic, one.queue, one.offset)
    }

    /// The first damaged message of a queue.
    pub(crate) fn least_damaged(&self, broker: &str, topic: &str, queue: i32) -> Option<i64> {
        let from = (topic.to_owned(), queue, i64::MIN);
        let to = (topic.to_owned(), queue, i64::MAX);
        let rot = self.rotted.get(broker);
        let (_, _, offset) = rot?.places.range(from..=to).next()?;
        Some(*offset)
    }

    /// Whether a broker has been able to work for at most so long between two moments, which come in this order.
    pub(crate) fn is_within(&self, broker: &str, (from_ms, to_ms): (u64, u64), within_ms: u64) -> bool {
        let still = self.still.get(broker).map_or(&[][..], Vec::as_slice);
        let (mut still_ms, mut counted_ms) = (0, from_ms);
        for (begin, end) in still {
            // They come in order, and one may begin in another.
            let (begin, end) = ((*begin).max(counted_ms), (*end).min(to_ms));
            still_ms += end.saturating_sub(begin);
            counted_ms = counted_ms.max(end);
        }
        (from_ms..=from_ms + within_ms + still_ms).contains(&to_ms)
    }

    /// A broker has read what is on its disk, and works.
    pub(crate) fn note_opened(&mut self, broker: &str, now_ms: u64) {
        self.opened.entry(broker.to_owned()).or_default().push(now_ms);
        for (_, end_ms) in self.still.get_mut(broker).into_iter().flatten() {
            if *end_ms == u64::MAX {
                *end_ms = now_ms;
            }
        }
    }

    /// Where the log of a broker may have ended at damage: after a power cut nobody can tell that from what was never synced. From
    /// when to when that was stored which it lost so: to the cut.
    ///
    /// Only the first start after the damage can take it for the end. What that start passes over it notes, and without a cut
    /// since the last one it passes over everything.
    fn shortened(&self, broker: &str) -> impl Iterator<Item = (u64, u64)> {
        let moments = self.rotted.get(broker).map_or(&[][..], |rot| &rot.moments);
        let cuts = self.cuts.get(broker).map_or(&[][..], Vec::as_slice);
        let opened = self.opened.get(broker).map_or(&[][..], Vec::as_slice);
        moments.iter().filter_map(|moment| {
            let next = opened.partition_point(|opened_ms| *opened_ms <= moment.at_ms);
            let last_ms = next.checked_sub(1).map_or(0, |last| opened[last]);
            let next_ms = opened.get(next).copied().unwrap_or(u64::MAX);
            let cut = cuts.iter().rfind(|cut| (last_ms..next_ms).contains(cut))?;
            Some((moment.from_ms, *cut))
        })
    }

    /// Whether what a broker acknowledged at a moment may have lain behind damage at which its log has ended.
    fn is_cut_short(&self, broker: &str, known_ms: u64) -> bool {
        self.shortened(broker)
            .any(|(from_ms, cut)| (from_ms..=cut).contains(&known_ms))
    }

    /// Whether the log of a broker may have ended at damage with a power cut after a moment: then what followed from something
    /// of that moment may be lost.
    pub(crate) fn is_cut_short_since(&self, broker: &str, since_ms: u64) -> bool {
        self.shortened(broker).any(|(_, cut)| cut >= since_ms)
    }

    /// Whether the log of a broker may have lost its end with a power cut after a moment, to damage or because nothing was synced.
    pub(crate) fn is_shorter_since(&self, broker: &str, since_ms: u64) -> bool {
        self.is_shorter_within(broker, (since_ms, u64::MAX))
    }

    fn is_shorter_within(&self, broker: &str, (from_ms, to_ms): (u64, u64)) -> bool {
        let cuts = self.cuts.get(broker).filter(|_| !self.is_sync);
        let unsynced = cuts.into_iter().flatten().copied();
        let mut all = unsynced.chain(self.shortened(broker).map(|(_, cut)| cut));
        all.any(|cut| (from_ms..=to_ms).contains(&cut))
    }

    fn is_cut_since(&self, broker: &str, since_ms: u64) -> bool {
        let cuts = self.cuts.get(broker);
        cuts.is_some_and(|cuts| cuts.iter().any(|cut| *cut >= since_ms))
    }

    /// Whether a broker may have lost what it acknowledged at a moment, because it lost its power afterwards and had not
    /// promised to sync.
    pub(crate) fn may_be_lost(&self, attempt: u64, broker: &str, known_ms: u64, is_sync: bool) -> bool {
        self.is_damaged(broker, attempt)
            || self.is_cut_short(broker, known_ms)
            || !is_sync && self.is_cut_since(broker, known_ms)
    }

    /// Holds what was promised against all that lies in the queues in the end.
    pub(crate) fn check(&mut self, found: &[Found], is_sync: bool) {
        let mut by_attempt: BTreeMap<u64, Vec<&Found>> = BTreeMap::new();
        let mut by_queue: BTreeMap<(&str, &str, i32), Vec<&Found>> = BTreeMap::new();
        for one in found {
            by_attempt.entry(one.attempt).or_default().push(one);
            by_queue
                .entry((&one.broker, &one.topic, one.queue))
                .or_default()
                .push(one);
        }
        let mut faults = Vec::new();
        for (number, attempt) in &self.attempts {
            let places = by_attempt.get(number).map_or(&[][..], Vec::as_slice);
            self.check_attempt((*number, attempt), places, is_sync, &mut faults);
        }
        for number in by_attempt.keys() {
            if !self.attempts.contains_key(number) {
                faults.push(format!("message {number} was never sent"));
            }
        }
        for ((broker, topic, queue), messages) in by_queue {
            let place = format!("{broker} {topic}/{queue}");
            self.check_order(&place, &messages, &mut faults);
        }
        self.faults.extend(faults);
    }

    fn check_attempt(
        &self,
        (number, attempt): (u64, &Attempt),
        places: &[&Found],
        is_sync: bool,
        faults: &mut Vec<String>,
    ) {
        for place in places {
            if place.topic != attempt.topic {
                faults.push(format!(
                    "message {number} was sent to {} and lies in {}",
                    attempt.topic, place.topic
                ));
            }
        }
        // What comes later lies in the log a second time, from then on when it is due or committed.
        let copied_ms = match attempt.meant {
            Meant::Now => None,
            Meant::Due(due_ms) => Some(due_ms.max(attempt.known_ms)),
            Meant::Half => Some(attempt.ended_ms.max(attempt.known_ms)),
        };
        let is_lost = |broker: &str| {
            self.may_be_lost(number, broker, attempt.known_ms, is_sync)
                || copied_ms.is_some_and(|copied_ms| self.is_cut_short_since(broker, copied_ms))
        };
        let (must, may) = match (&attempt.fate, attempt.meant, attempt.ended) {
            (Fate::Refused, ..) | (_, Meant::Half, Ended::Rollback | Ended::Open) => (false, false),
            (Fate::Stored { broker, .. }, Meant::Now | Meant::Due(_), _)
            | (Fate::Stored { broker, .. }, Meant::Half, Ended::Commit) => (!is_lost(broker), true),
            (Fate::Unknown, ..) => (false, true),
        };
        if must && places.is_empty() {
            faults.push(format!(
                "message {number} was acknowledged and is lost: {attempt:?}"
            ));
        }
        if !may && !places.is_empty() {
            faults.push(format!(
                "message {number} must not be there: {attempt:?} {places:?}"
            ));
        }
        if places.len() > 1 && !self.may_be_repeated(attempt, places) {
            faults.push(format!(
                "message {number} is there {} times: {places:?}",
                places.len()
            ));
        }
        if let (
            Fate::Stored {
                broker,
                queue,
                offset,
            },
            Meant::Now,
        ) = (&attempt.fate, attempt.meant)
            && let [place] = places
            && (&place.broker, place.queue, place.offset) != (broker, *queue, *offset)
            && !is_lost(broker)
        {
            faults.push(format!(
                "message {number} is not where it was said to be: {attempt:?} {place:?}"
            ));
        }
        if let Meant::Due(due_ms) = attempt.meant {
            for place in places {
                // Levels and ticks are in whole seconds at the coarsest; early is early.
                if place.stored_ms < (crate::world::START_MS + due_ms).cast_signed() {
                    faults.push(format!("message {number} came early: {attempt:?} {place:?}"));
                }
            }
        }
    }

    /// A crash repeats what was delivered shortly before it, and nothing else.
    fn may_be_repeated(&self, attempt: &Attempt, places: &[&Found]) -> bool {
        let mut places = places.to_vec();
        places.sort_by_key(|place| place.stored_ms);
        let is_after_crash = |pair: &[&Found]| {
            let (broker, stored_ms) = (&pair[0].broker, pair[0].at_ms());
            let mut crashes = self.crashed.get(broker).into_iter().flatten();
            crashes.any(|crash| self.is_within(broker, (stored_ms, *crash), REPEATED_WITHIN_MS))
        };
        // The note that it has ended was lost, or damaged, between the two.
        let is_end_lost = |pair: &[&Found]| {
            let (broker, between) = (&pair[0].broker, pair[0].at_ms()..=pair[1].at_ms());
            let rot = self.rotted.get(broker);
            let damaged = rot.and_then(|rot| rot.end_ms);
            self.shortened(broker).any(|(_, cut)| between.contains(&cut))
                || damaged.is_some_and(|damaged_ms| damaged_ms >= pair[0].at_ms())
        };
        attempt.meant == Meant::Half && places.windows(2).all(is_end_lost)
            || matches!(attempt.meant, Meant::Due(_)) && places.windows(2).all(is_after_crash)
    }

    fn check_order(&self, place: &str, messages: &[&Found], faults: &mut Vec<String>) {
        for pair in messages.windows(2) {
            if pair[0].offset >= pair[1].offset {
                faults.push(format!(
                    "{place}: offset {} comes behind {}",
                    pair[1].offset, pair[0].offset
                ));
            }
        }
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for message in messages {
            let Some((sender, number)) = self
                .attempts
                .get(&message.attempt)
                .and_then(|attempt| attempt.order.as_ref())
            else {
                continue;
            };
            let last = newest.entry(sender).or_default();
            if number < last {
                faults.push(format!("{place}: {number} of {sender} lies behind its {last}"));
            }
            *last = (*last).max(*number);
        }
    }

    /// What a group finds that asks how far it is: nothing that it never said, and nothing from before what was acknowledged so
    /// long before each crash that it must have outlived it, and before the question. Where it was set to counts as if it had said
    /// so.
    pub(crate) fn check_commit(&mut self, key: &Progress, found: i64, asked_ms: u64, within_ms: u64) {
        let Some(commits) = self.commits.get(key) else {
            return;
        };
        let (_, broker, topic, queue) = key;
        if found > commits.iter().map(|commit| commit.offset).max().unwrap_or(0) {
            let what = format!("offset of {key:?} is {found}, and never was that far");
            return self.fault(what);
        }
        // A queue whose newest messages are damaged may end there, and takes offsets back to its end.
        if self.is_damaged_at(broker, topic, *queue, found) {
            return;
        }
        let crashes = self.crashed.get(broker).map_or(&[][..], Vec::as_slice);
        let reads = self.reads.get(key).map_or(&[][..], Vec::as_slice);
        let is_kept = |commit: &&Commit| {
            commit.acked_ms.is_some_and(|acked_ms| {
                let mut crashes = crashes.iter();
                let is_safe = self.is_sync || commit.is_reset;
                let read = reads.iter().find(|(_, next)| *next >= commit.offset);
                let read_ms = read.map_or(commit.tried_ms, |(ms, _)| commit.tried_ms.min(*ms));
                // A log that lost its end takes offsets back with it, also when a consumer that had read further says so later.
                acked_ms < asked_ms
                    && !self.is_shorter_since(broker, read_ms)
                    && (is_safe
                        || !crashes.any(|crash| self.is_within(broker, (acked_ms, *crash), within_ms)))
            })
        };
        let strays = commits.iter().filter(is_kept).find(|commit| {
            // One may have come behind it that was on its way already, and one without an answer at any time.
            let is_later =
                |other: &&Commit| other.acked_ms.is_none_or(|acked_ms| acked_ms >= commit.tried_ms);
            let later = commits.iter().filter(is_later).map(|other| other.offset);
            let (least, most) = later.fold((commit.offset, commit.offset), |(least, most), offset| {
                (least.min(offset), most.max(offset))
            });
            !(least..=most).contains(&found)
        });
        if let Some(commit) = strays {
            let what = format!("offset of {key:?} is {found} behind {commit:?}, and nobody set it there");
            self.fault(what);
        }
    }

    /// A consumer has an answer to a pull. Whoever was set to another offset hears of it in the first one it asks for after that,
    /// or in one that was held then.
    pub(crate) fn check_told(&mut self, key: &Progress, asked_ms: u64, moved_to: Option<i64>) {
        let Some(untold) = self.untold.get(key).copied() else {
            return;
        };
        let is_told = moved_to == Some(untold.offset);
        let is_late = untold
            .answered_ms
            .is_some_and(|answered_ms| asked_ms > answered_ms);
        if is_told || is_late {
            self.untold.remove(key);
        }
        let crashes = self.crashed.get(&key.1).map_or(&[][..], Vec::as_slice);
        // Who is to be told is in the memory of a broker only.
        let is_forgotten = crashes.iter().any(|crash| *crash >= untold.sent_ms);
        if is_late && !is_told && !is_forgotten {
            let what = format!("{key:?} was set to {untold:?}, and the pull after that says {moved_to:?}");
            self.fault(what);
        }
    }

    /// Whether nobody may have got a message because a broker lost its power: it was stored where others were that were lost, and
    /// a consumer that had those already goes on behind them; or it was given back, and the copy was lost.
    pub(crate) fn may_be_missed(&self, group: &str, one: &Found, copies: &[Found]) -> bool {
        if self.is_damaged(&one.broker, one.attempt) || self.is_at_damage(one) {
            return true;
        }
        let given = self.given.get(&(group.to_owned(), one.attempt));
        // A copy may have taken the place of a damaged one, behind which the group was; or that of one that was lost.
        let again = format!("%RETRY%{group}");
        let mut copies = copies
            .iter()
            .filter(|copy| copy.topic == again && copy.attempt == one.attempt);
        self.is_overtaken(group, one)
            || copies.any(|copy| self.is_at_damage(copy) || self.is_overtaken(group, copy))
            || given.is_some_and(|(broker, given_ms)| self.is_shorter_since(broker, *given_ms))
    }

    /// Whether a message has a place up to which somebody had read before, when others lay there that a broker then lost with its
    /// power.
    fn is_overtaken(&self, group: &str, one: &Found) -> bool {
        let key = (group.to_owned(), one.broker.clone(), one.topic.clone(), one.queue);
        let reads = self.reads.get(&key).map_or(&[][..], Vec::as_slice);
        let mut beyond = reads.iter().filter(|(_, next)| *next > one.offset);
        beyond.any(|(read_ms, _)| self.is_shorter_within(&one.broker, (*read_ms, one.at_ms())))
    }

    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for (what, count) in &self.counts {
            let _in_memory = write!(text, "{count} {what}, ");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: &str = "broker";

    /// Of a broker under SYNC_FLUSH of which a message that was stored at 400 is damaged at 500.
    fn damaged(opened: &[u64], cuts: &[u64]) -> History {
        let mut history = History::new(true);
        history.opened.insert(BROKER.to_owned(), opened.to_vec());
        history.cuts.insert(BROKER.to_owned(), cuts.to_vec());
        let rot = history.rotted.entry(BROKER.to_owned()).or_default();
        rot.moments.push(Moment {
            at_ms: 500,
            from_ms: 400,
        });
        history
    }

    #[test]
    fn what_came_after_a_power_cut_over_damage_is_not_excused() {
        let history = damaged(&[0, 700], &[600]);
        assert!(!history.is_cut_short(BROKER, 399));
        assert!(history.is_cut_short(BROKER, 600));
        assert!(!history.is_cut_short(BROKER, 701));
        assert!(history.is_shorter_since(BROKER, 100));
        assert!(!history.is_shorter_since(BROKER, 701));
    }

    #[test]
    fn a_log_ends_at_damage_only_at_its_first_start_and_after_a_power_cut() {
        // Damaged while it was down: after the cut, and after a kill of the run that came behind the cut.
        assert!(damaged(&[0, 700], &[450]).is_cut_short(BROKER, 450));
        assert!(!damaged(&[0, 470, 700], &[450]).is_cut_short(BROKER, 450));
        // A start after a kill has passed over the damage and noted that.
        assert!(!damaged(&[0, 600, 900], &[800]).is_cut_short(BROKER, 450));
    }
}
