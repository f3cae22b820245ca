// SPDX-License-Identifier: Apache-2.0
//! How far consumer groups are behind, as they would see it: only messages that their filters let through.
//!
//! Messages are counted by the tag codes of the entries of a queue, or by their properties where a group filters by SQL. What
//! that costs is bounded: of a long queue the first entries are looked at and stand for the rest, of all queues together
//! so many, and what was found out is told again for a while.

mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use store::LogPos;
use wire::Str;
use wire::record::RecordHead;

use self::scan::{Reach, Scan, Seen};
use crate::broker::Broker;
use crate::filter::{Tags, Wanted};
use crate::names::{RETRY_PREFIX, has_system_group_prefix, is_system_group, retry_topic};
use crate::pop;
use crate::topic::{Topic, perm};

/// Entries that are looked at for all groups together, before the looks at each queue become short.
const ENTRIES_MAX: usize = 4 << 20;

/// How far one group is behind on one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lag {
    pub(crate) group: Str,
    pub(crate) topic: Str,
    /// It speaks of messages that come again.
    pub(crate) is_retry: bool,
    pub(crate) is_system: bool,
    /// Messages that are with the group and not consumed.
    pub(crate) inflight: i64,
    /// Messages that it can fetch.
    pub(crate) ready: i64,
    /// Bytes of both.
    pub(crate) bytes: i64,
    /// Age of the oldest of both.
    pub(crate) oldest_ms: i64,
    /// Age of the oldest that it can fetch.
    pub(crate) queueing_ms: i64,
}

/// What was found out last.
#[derive(Debug, Default)]
pub(crate) struct Lags {
    last: Mutex<Option<(Instant, Arc<Vec<Lag>>)>>,
}

impl Lags {
    /// All groups on all their topics. Reads the disk.
    pub(crate) fn look(&self, b: &Broker) -> Arc<Vec<Lag>> {
        // Held meanwhile: who asks at the same time gets the same.
        let mut last = self.last.lock();
        let now = b.env.clock.instant();
        let kept = Duration::from_millis(b.config().consumer_lag_kept_mills);
        if let Some((at, lags)) = &*last
            && now.saturating_duration_since(*at) < kept
        {
            return Arc::clone(lags);
        }
        let lags = Arc::new(all(b));
        *last = Some((b.env.clock.instant(), Arc::clone(&lags)));
        lags
    }
}

fn all(b: &Broker) -> Vec<Lag> {
    let mut left = ENTRIES_MAX;
    let mut lags = Vec::new();
    let groups: BTreeMap<Str, _> = b
        .groups
        .all()
        .groups
        .iter()
        .map(|(k, v)| (k.clone(), Arc::clone(v)))
        .collect();
    for group in groups.keys() {
        for topic in topics_of(b, group) {
            let wanted = wanted(b, group, &topic);
            lags.extend(one(b, (group, &topic, None), &wanted, &mut left));
            let is_popped = b.topics.get(&topic).is_some_and(|topic| pops(b, group, &topic));
            for retry in pop::retry_topics(&b.config(), &topic, group)
                .into_iter()
                .filter(|_| is_popped)
            {
                let all = Wanted::Tags(Tags::All);
                lags.extend(one(b, (group, &topic, Some(&retry)), &all, &mut left));
            }
        }
        let retry = retry_topic(group);
        if b.topics
            .get(&retry)
            .is_some_and(|topic| is_told(b, group, &topic))
        {
            lags.extend(one(
                b,
                (group, &retry, Some(&retry)),
                &Wanted::Tags(Tags::All),
                &mut left,
            ));
        }
    }
    lags
}

/// What a group reads: as its members say or, when it is offline, what it has committed offsets of.
fn topics_of(b: &Broker, group: &str) -> BTreeSet<Str> {
    let topics = match b.clients.consumer_group(group) {
        Some(view) => view.subscriptions.into_keys().collect(),
        // What its master tells of groups that are offline, a slave need not.
        None if b.is_slave() || is_system_group(group) || has_system_group_prefix(group) => BTreeSet::new(),
        None => b.offsets.topics_of(group),
    };
    let is_own = |topic: &Str| !topic.starts_with(RETRY_PREFIX);
    topics.into_iter().filter(is_own).collect()
}

/// What of a topic a group wants. Nobody knows the tags that a group wanted which is offline.
fn wanted(b: &Broker, group: &str, topic: &str) -> Wanted {
    let everything = Wanted::Tags(Tags::All);
    if !b.config().estimate_accumulation {
        return everything;
    }
    let subscription = b.clients.subscription(group, topic);
    if let Some(tags) = subscription.and_then(|subscription| subscription.tags.clone()) {
        return Wanted::Tags(tags);
    }
    let filter = b.filters.find(topic, group);
    filter.map_or(everything, |filter| Wanted::Sql(filter.sql))
}

fn pops(b: &Broker, group: &str, topic: &Topic) -> bool {
    let queues = 0..topic.queue_count().cast_signed();
    let name = &topic.config.topic_name;
    queues
        .into_iter()
        .any(|queue| b.pop.standing(&b.offsets, (group, name, queue)).is_some())
}

/// Whether a retry topic is worth a line: it is made with every group, and mostly nothing has ever come to it.
fn is_told(b: &Broker, group: &str, topic: &Topic) -> bool {
    let name = &topic.config.topic_name;
    let mut queues = b.store.queues_of(name).into_iter();
    queues.any(|queue| queue.max() > 0) && !is_system_group(group)
}

/// One group on one topic, or on the retry topic that belongs to it. `None`: it may not read it.
fn one(
    b: &Broker,
    (group, name, retry): (&Str, &Str, Option<&Str>),
    wanted: &Wanted,
    left: &mut usize,
) -> Option<Lag> {
    let read = retry.unwrap_or(name);
    let topic = b.topics.get(read)?;
    let perm = topic.config.perm & b.config().broker_permission.cast_signed();
    if perm & perm::READ_WRITE == 0 {
        return None;
    }
    let config = b.config();
    let mut scan = Scan {
        store: &b.store,
        wanted,
        scan_max: config.max_consume_queue_scan as usize,
        match_max: config.sample_count_threshold as usize,
        average: average(&topic),
        left,
    };
    let mut seen = Seen::default();
    for queue in 0..topic.queue_count() {
        let Some(handle) = b.store.find_queue(read, queue) else {
            continue;
        };
        let reach = reach(
            b,
            (group, read, queue.cast_signed()),
            (handle.min(), handle.max()),
        );
        seen.add(scan.queue(&handle, reach));
    }
    let age = |pos: Option<LogPos>| pos.map_or(0, |pos| age_ms(b, pos));
    Some(Lag {
        group: group.clone(),
        topic: name.clone(),
        is_retry: retry.is_some(),
        is_system: topic.is_system || has_system_group_prefix(group),
        inflight: seen.inflight.messages as i64,
        ready: seen.ready.messages as i64,
        bytes: (seen.inflight.bytes + seen.ready.bytes) as i64,
        oldest_ms: age(scan::older(seen.inflight.first, seen.ready.first)),
        queueing_ms: age(seen.ready.first),
    })
}

/// Where a group is in a queue. One that never committed is not behind: where it will begin is for its first consumer to say.
fn reach(b: &Broker, of: (&str, &str, i32), (min, end): (i64, i64)) -> Reach {
    let (group, topic, queue) = of;
    if let Some(popped) = b.pop.standing(&b.offsets, of) {
        let next = popped.next.clamp(min, end);
        return Reach {
            from: next,
            pulled: next,
            end,
            leased: popped.leased,
            floor: popped.floor,
        };
    }
    let committed = b.offsets.query(group, topic, queue);
    let from = committed.unwrap_or(end).clamp(min, end);
    let pulled = b.offsets.query_pulled(group, topic, queue);
    Reach {
        from,
        pulled: pulled.unwrap_or(from).clamp(from, end),
        end,
        leased: 0,
        floor: from,
    }
}

/// Bytes of a message of the topic, by what came in since the start.
fn average(topic: &Topic) -> f64 {
    let totals = topic.traffic.totals();
    if totals.number == 0 {
        0.0
    } else {
        totals.bytes as f64 / totals.number as f64
    }
}

fn age_ms(b: &Broker, pos: LogPos) -> i64 {
    let record = b.store.record_at(pos).ok();
    let stored_at = record.and_then(|record| RecordHead::scan(&record).ok().map(|head| head.stamp.stored_at));
    stored_at.map_or(0, |stored_at| (b.env.clock.now_ms() - stored_at).max(0))
}
