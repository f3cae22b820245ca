// SPDX-License-Identifier: Apache-2.0
//! Ordered queues: a queue hands out one batch, and nothing more until all of it is settled or visible again.
//!
//! The committed offset follows on the settled messages, so that what was not settled is handed out again from the queue
//! itself. The state is the reference's `config/consumerOrderInfo.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use store::Env;
use wire::Str;
use wire::body::pop::{OrderState, OrderTable};
use wire::receipt::OffsetInfo;

use crate::config::Config;
use crate::saved::{self, LoadError, SaveError};

/// Messages of a batch: the bits of a number.
const BATCH_MAX: usize = 63;

/// The batches of all ordered queues.
pub(crate) struct Orders {
    env: Env,
    path: PathBuf,
    table: Mutex<OrderTable>,
    changed: AtomicBool,
    saving: Mutex<()>,
}

/// What an acknowledgement comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// The group goes on there.
    Commit(i64),
    /// The batch was handed out again since: no effect.
    Stale,
    /// Nothing is known of a batch.
    NoBatch,
    /// The message is not in the batch.
    Unknown,
}

/// One queue of one group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) topic: &'a str,
    pub(super) group: &'a str,
    pub(super) queue_id: i32,
}

impl Of<'_> {
    fn key(&self) -> Str {
        [self.topic, "@", self.group].into_iter().collect()
    }
}

/// A batch that is handed out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batch<'a> {
    pub(super) attempt_id: Option<&'a str>,
    pub(super) pop_time: i64,
    pub(super) invisible_time: i64,
    /// Ascending, not empty.
    pub(super) offsets: &'a [i64],
    pub(super) now_ms: i64,
}

impl Orders {
    pub(crate) fn open(config: &Config, env: Env) -> Result<Orders, LoadError> {
        let path = config.config_dir().join("consumerOrderInfo.json");
        let table = saved::load::<OrderTable>(&env, &path)?.unwrap_or_default();
        Ok(Orders {
            env,
            path,
            table: Mutex::new(table),
            changed: AtomicBool::new(false),
            saving: Mutex::new(()),
        })
    }

    /// Brings the batches together with the queues after a crash: `at` tells the next offset and the end of one. A batch that
    /// does not begin where its queue goes on is from before something that set the queue elsewhere; one that reaches beyond
    /// the end names messages that are lost. Neither may be settled any more. Their messages come again.
    pub(super) fn reconcile(&self, at: impl Fn(Of<'_>) -> Option<(i64, i64)>) {
        let mut table = self.table.lock();
        for (key, queues) in &mut table.table {
            let (topic, group) = key.split_once('@').unwrap_or((key, ""));
            let before = queues.len();
            queues.retain(|queue_id, state| {
                let of = Of {
                    topic,
                    group,
                    queue_id: *queue_id,
                };
                at(of).is_some_and(|(next, end)| goes_on(state, next, end))
            });
            if queues.len() != before {
                self.changed.store(true, Ordering::Release);
            }
        }
    }

    /// Writes the file if anything changed since it was last written. Blocks.
    pub(crate) fn save(&self) -> Result<(), SaveError> {
        let _one_at_a_time = self.saving.lock();
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let table = self.table.lock().clone();
        let saved = saved::save(&self.env, &self.path, &table);
        if saved.is_err() {
            self.changed.store(true, Ordering::Release);
        }
        saved
    }

    /// When the queue hands out again, ms; `None`: now.
    pub(super) fn blocked_until(
        &self,
        of: Of<'_>,
        attempt_id: Option<&str>,
        invisible_time: i64,
        now_ms: i64,
    ) -> Option<i64> {
        let mut table = self.table.lock();
        let state = table.table.get_mut(&of.key())?.get_mut(&of.queue_id)?;
        blocked_until(state, attempt_id, invisible_time, now_ms)
    }

    /// Notes a batch, and how often its messages were handed out before.
    pub(super) fn hand_out(&self, of: Of<'_>, batch: Batch<'_>, info: &mut OffsetInfo) {
        let mut table = self.table.lock();
        let queues = table.table.entry(of.key()).or_default();
        let state = hand_out(queues.get(&of.queue_id), batch);
        let counts = state.counts.as_ref();
        for (offset, count) in counts.into_iter().flatten() {
            info.add_count((of.topic, of.queue_id), *offset, *count);
        }
        let is_all_old = counts.is_some_and(|counts| counts.len() == state.offsets.len());
        let least = counts.and_then(|counts| counts.values().min().copied());
        let least = least.filter(|_| is_all_old).unwrap_or(0);
        info.add_least_count((of.topic, of.queue_id), least);
        queues.insert(of.queue_id, state);
        self.changed.store(true, Ordering::Release);
    }

    /// A message is settled.
    pub(super) fn settle(&self, of: Of<'_>, offset: i64, pop_time: i64) -> Settled {
        let mut table = self.table.lock();
        let queues = table.table.get_mut(&of.key());
        let Some(state) = queues.and_then(|queues| queues.get_mut(&of.queue_id)) else {
            return Settled::NoBatch;
        };
        let settled = settle(state, offset, pop_time);
        if matches!(settled, Settled::Commit(_)) {
            self.changed.store(true, Ordering::Release);
        }
        settled
    }

    /// A message of the batch is visible at another time.
    pub(super) fn change(&self, of: Of<'_>, offset: i64, pop_time: i64, visible_at: i64) {
        let mut table = self.table.lock();
        let queues = table.table.get_mut(&of.key());
        if let Some(state) = queues.and_then(|queues| queues.get_mut(&of.queue_id))
            && state.pop_time == pop_time
        {
            let times = state.visible_at.get_or_insert_default();
            // Only messages of the batch: others would be kept for ever.
            if offsets_of(&state.offsets).any(|of_batch| of_batch == offset) {
                times.insert(offset, visible_at);
                self.changed.store(true, Ordering::Release);
            }
        }
    }

    /// Forgets the batch of a queue that goes on elsewhere.
    pub(super) fn clear(&self, of: Of<'_>) {
        let mut table = self.table.lock();
        if let Some(queues) = table.table.get_mut(&of.key())
            && queues.remove(&of.queue_id).is_some()
        {
            self.changed.store(true, Ordering::Release);
        }
    }

    pub(super) fn remove_topic(&self, topic: &str) {
        self.retain(|of, _| of != topic);
    }

    pub(super) fn remove_group(&self, group: &str) {
        self.retain(|_, of| of != group);
    }

    fn retain(&self, is_kept: impl Fn(&str, &str) -> bool) {
        let mut table = self.table.lock();
        let before = table.table.len();
        table.table.retain(|key, _| {
            let (topic, group) = key.split_once('@').unwrap_or((key, ""));
            is_kept(topic, group)
        });
        if table.table.len() != before {
            self.changed.store(true, Ordering::Release);
        }
    }
}

fn offsets_of(list: &[i64]) -> impl Iterator<Item = i64> {
    let first = list.first().copied().unwrap_or(0);
    let others = list
        .iter()
        .skip(1)
        .map(move |distance| first.saturating_add(*distance));
    list.first().copied().into_iter().chain(others)
}

fn is_open(state: &OrderState, number: usize) -> bool {
    number > BATCH_MAX || state.settled >> number & 1 == 0
}

/// Whether the first message of a batch that is not settled is the one where its queue goes on, and all of them are there.
fn goes_on(state: &OrderState, next: i64, end: i64) -> bool {
    let mut offsets = offsets_of(&state.offsets).enumerate();
    let first = offsets.find(|(number, _)| is_open(state, *number));
    let last = offsets_of(&state.offsets).last();
    match first {
        Some((_, first)) => first == next && last.is_some_and(|last| last < end),
        None => last.is_none_or(|last| last < next),
    }
}

fn blocked_until(
    state: &mut OrderState,
    attempt_id: Option<&str>,
    invisible_time: i64,
    now_ms: i64,
) -> Option<i64> {
    if state.attempt_id.is_some() && state.attempt_id.as_deref() == attempt_id {
        return None;
    }
    let lasts = state
        .invisible_time
        .filter(|time| *time > 0)
        .unwrap_or(invisible_time);
    state.invisible_time = Some(lasts);
    let open = offsets_of(&state.offsets)
        .enumerate()
        .filter(|(number, _)| is_open(state, *number));
    let ends = open.map(|(_, offset)| {
        let own = state.visible_at.as_ref().and_then(|times| times.get(&offset));
        own.copied()
            .unwrap_or_else(|| state.pop_time.saturating_add(lasts))
    });
    ends.max().filter(|end| now_ms < *end)
}

fn hand_out(before: Option<&OrderState>, batch: Batch<'_>) -> OrderState {
    let first = batch.offsets.first().copied().unwrap_or(0);
    let attempt_id = batch.attempt_id.map(Str::from);
    let counts = before.map(|before| {
        let counted = before.counts.clone().unwrap_or_default();
        if before.attempt_id.is_some() && before.attempt_id == attempt_id {
            return counted;
        }
        let seen: Vec<i64> = offsets_of(&before.offsets).collect();
        let again = batch.offsets.iter().filter(|offset| seen.contains(offset));
        again
            .map(|offset| {
                (
                    *offset,
                    counted.get(offset).map_or(1, |count| count.saturating_add(1)),
                )
            })
            .collect::<BTreeMap<_, _>>()
    });
    OrderState {
        attempt_id,
        settled: 0,
        invisible_time: Some(batch.invisible_time),
        consumed_at: batch.now_ms,
        offsets: batch
            .offsets
            .iter()
            .enumerate()
            .map(|(number, offset)| if number == 0 { first } else { offset - first })
            .collect(),
        counts,
        visible_at: None,
        pop_time: batch.pop_time,
    }
}

fn settle(state: &mut OrderState, offset: i64, pop_time: i64) -> Settled {
    if state.offsets.is_empty() {
        return Settled::Unknown;
    }
    if pop_time != state.pop_time {
        return Settled::Stale;
    }
    let Some(number) = offsets_of(&state.offsets).position(|of_batch| of_batch == offset) else {
        return Settled::Unknown;
    };
    if number <= BATCH_MAX {
        state.settled |= 1 << number;
    }
    let all: Vec<i64> = offsets_of(&state.offsets).collect();
    let open = (0..all.len()).find(|number| is_open(state, *number));
    let next = match open {
        Some(number) => all.get(number).copied(),
        None => all.last().map(|last| last.saturating_add(1)),
    };
    next.map_or(Settled::Unknown, Settled::Commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: Batch<'_> = Batch {
        attempt_id: Some("a"),
        pop_time: 1000,
        invisible_time: 500,
        offsets: &[5, 6, 8],
        now_ms: 1000,
    };

    #[test]
    fn a_batch_blocks_its_queue_until_all_of_it_is_settled_or_visible() {
        let mut state = hand_out(None, BATCH);
        assert_eq!(state.offsets, [5, 1, 3]);
        assert_eq!(blocked_until(&mut state, None, 0, 1000), Some(1500));
        assert_eq!(
            blocked_until(&mut state, Some("a"), 0, 1000),
            None,
            "the same attempt"
        );
        assert_eq!(
            blocked_until(&mut state, Some("b"), 0, 1500),
            None,
            "visible again"
        );
        assert_eq!(settle(&mut state, 6, 1000), Settled::Commit(5));
        assert_eq!(settle(&mut state, 5, 1000), Settled::Commit(8));
        assert_eq!(blocked_until(&mut state, None, 0, 1499), Some(1500));
        assert_eq!(settle(&mut state, 8, 1000), Settled::Commit(9));
        assert_eq!(blocked_until(&mut state, None, 0, 1000), None);
    }

    #[test]
    fn after_a_crash_a_batch_counts_only_where_its_queue_goes_on() {
        let mut state = hand_out(None, BATCH);
        assert!(goes_on(&state, 5, 9));
        assert!(!goes_on(&state, 0, 9), "the queue was set back");
        assert!(!goes_on(&state, 5, 8), "the log has lost its end");
        assert_eq!(settle(&mut state, 5, 1000), Settled::Commit(6));
        assert!(goes_on(&state, 6, 9));
        assert!(!goes_on(&state, 5, 9));
        settle(&mut state, 6, 1000);
        settle(&mut state, 8, 1000);
        assert!(goes_on(&state, 9, 9), "all of it is settled");
        assert!(!goes_on(&state, 8, 9));
    }

    #[test]
    fn a_handle_of_another_pop_is_stale_and_an_offset_outside_the_batch_unknown() {
        let mut state = hand_out(None, BATCH);
        assert_eq!(settle(&mut state, 5, 999), Settled::Stale);
        assert_eq!(settle(&mut state, 7, 1000), Settled::Unknown);
    }

    #[test]
    fn what_was_handed_out_before_is_counted_but_not_for_the_same_attempt() {
        let first = hand_out(None, BATCH);
        let again = hand_out(
            Some(&first),
            Batch {
                attempt_id: Some("b"),
                offsets: &[6, 8, 9],
                ..BATCH
            },
        );
        assert_eq!(again.counts, Some(BTreeMap::from([(6, 1), (8, 1)])));
        let third = hand_out(
            Some(&again),
            Batch {
                attempt_id: Some("c"),
                offsets: &[8],
                ..BATCH
            },
        );
        assert_eq!(third.counts, Some(BTreeMap::from([(8, 2)])));
        let repeated = hand_out(
            Some(&third),
            Batch {
                attempt_id: Some("c"),
                offsets: &[8],
                ..BATCH
            },
        );
        assert_eq!(repeated.counts, third.counts);
    }

    #[test]
    fn the_file_has_the_short_names_of_the_reference() {
        let state = hand_out(
            None,
            Batch {
                attempt_id: None,
                ..BATCH
            },
        );
        let text = wire::fastjson::to_string(&state);
        assert_eq!(text, r#"{"cm":0,"i":500,"l":1000,"o":[5,1,3],"popTime":1000}"#);
    }
}
