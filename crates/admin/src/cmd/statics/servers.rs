// SPDX-License-Identifier: Apache-2.0
//! What the brokers have of a static topic, and what they are told.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use wire::Str;
use wire::api::topic::{GetTopicConfig, GetTopicStatsInfo, UpdateAndCreateStaticTopic, UpdateAndCreateTopic};
use wire::body::queue::{MessageQueue, QueueKey};
use wire::body::stats::TopicStats;
use wire::body::topic_route::{ClusterInfo, LogicQueueItem};
use wire::code::ResponseCode;
use wire::fastjson;

use super::found;
use super::layout::{Layout, Part, PartText, in_order};
use super::plan::Moved;
use crate::cmd::lookup;
use crate::cmd::topic::update::asking_for;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::Args;

/// The logical offsets of a stretch begin at a multiple of this, with room before it for messages that are still on their way.
const BLOCK: i64 = 10_000;

/// All brokers that a name server knows.
pub(super) struct Brokers<'a> {
    ctx: &'a Ctx,
    clusters: ClusterInfo,
}

/// How a change is told.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    /// Brokers take it whatever they have.
    pub force: bool,
    /// The map files of it.
    pub before: Option<&'a str>,
    pub after: Option<&'a str>,
}

/// A broker that has its part now.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done<'a> {
    broker: &'a str,
    address: &'a str,
    topic: &'a str,
    epoch: i64,
    total_queues: i32,
    written_here: Vec<i32>,
    before: Option<&'a str>,
    after: Option<&'a str>,
}

impl<'a> Brokers<'a> {
    pub(super) async fn ask(ctx: &'a Ctx) -> Result<Brokers<'a>, Failure> {
        let clusters = lookup::clusters(ctx).await?;
        if clusters.cluster_addr_table.is_empty() {
            return Err(found(
                "the name server knows no broker; is one running, and does its namesrvAddr name this name server?".to_owned(),
            ));
        }
        Ok(Brokers { ctx, clusters })
    }

    /// The brokers that `-b` names, or those of the clusters that `-c` names.
    pub(super) fn targets(&self, args: &Args) -> Result<BTreeSet<Str>, Failure> {
        let named = |option| {
            let list = args.get(option).into_iter().flat_map(|list| list.split(','));
            list.map(str::trim).filter(|name| !name.is_empty())
        };
        let mut targets = BTreeSet::new();
        for broker in named("b") {
            self.master(broker)?;
            targets.insert(broker.into());
        }
        for cluster in named("c") {
            let brokers = lookup::broker_names(&self.clusters, cluster)?;
            targets.extend(brokers.into_iter().cloned());
        }
        if targets.is_empty() {
            return Err(Failure::Usage(
                "no broker is named: say -b <broker>,… or -c <cluster>,…".to_owned(),
            ));
        }
        Ok(targets)
    }

    /// The address of the master of a broker.
    fn master(&self, broker: &str) -> Result<&Str, Failure> {
        let known = &self.clusters.broker_addr_table;
        let Some(addrs) = known.get(broker) else {
            let known: Vec<&str> = known.keys().map(Str::as_str).collect();
            return Err(found(format!(
                "there is no broker '{broker}'; the name server knows: {}",
                known.join(", ")
            )));
        };
        lookup::master_addr(addrs).ok_or_else(|| {
            found(format!(
                "the master of {broker} is away; start it first: it may have a part of the topic"
            ))
        })
    }

    /// What every broker of every cluster has of a topic.
    pub(super) async fn examine(&self, topic: &str) -> Result<Layout, Failure> {
        let mut parts = Layout::new();
        for broker in hash_map(self.clusters.broker_addr_table.keys(), |broker| broker) {
            let addr = self.master(broker)?;
            let Some(text) = part_text(self.ctx, addr, topic).await? else {
                continue;
            };
            let part = Part::read(text).ok_or_else(|| {
                found(format!(
                    "{broker} has the topic {topic}, and it is not a static one; take another name, or delete it first: deleteTopic"
                ))
            })?;
            parts.insert(broker.clone(), part);
        }
        Ok(parts)
    }

    /// Adds the other brokers of the clusters that a topic is in: they are told of it, and have no queue.
    pub(super) fn complete(&self, topic: &str, parts: &mut Layout) {
        let Some(part) = parts.values().next() else { return };
        let (epoch, queues) = (part.mapping.epoch, part.mapping.total_queues);
        let clusters = self.clusters.cluster_addr_table.values();
        let touched = clusters.filter(|brokers| brokers.iter().any(|broker| parts.contains_key(broker)));
        let brokers: BTreeSet<Str> = touched.flatten().cloned().collect();
        for broker in brokers {
            parts.entry(broker.clone()).or_insert_with(|| {
                let mut part = Part::empty(topic, &broker);
                part.mapping.epoch = epoch;
                part.mapping.total_queues = queues;
                part
            });
        }
    }

    /// Tells all brokers. The first that refuses ends it.
    pub(super) async fn tell_all(&self, parts: &Layout, order: Order<'_>) -> Result<(), Failure> {
        self.all_there(parts)?;
        for (broker, part) in in_order(parts) {
            self.tell(broker, part, order.force).await?;
            self.done(broker, part, order)?;
        }
        Ok(())
    }

    /// Tells brokers that logical queues move, in the order that loses nothing: who gets them is told, who had them takes no more
    /// messages, then it is decided where they go on, and only then they can be written to.
    pub(super) async fn tell_move(&self, moved: &mut Moved, order: Order<'_>) -> Result<(), Failure> {
        self.all_there(&moved.parts)?;
        let ordered = |brokers: &BTreeSet<Str>| hash_map(brokers.iter().cloned(), |broker| broker);
        let (into, out_of) = (ordered(&moved.into), ordered(&moved.out_of));
        for broker in &into {
            self.tell_one(&moved.parts, broker, order.force).await?;
        }
        for broker in &out_of {
            let part = self.tell_one(&moved.parts, broker, order.force).await?;
            self.done(broker, part, order)?;
        }
        self.place(moved).await?;
        for broker in &into {
            let part = self.tell_one(&moved.parts, broker, order.force).await?;
            self.done(broker, part, order)?;
        }
        for (broker, part) in in_order(&moved.parts) {
            if !moved.into.contains(broker) && !moved.out_of.contains(broker) {
                self.tell(broker, part, order.force).await?;
                self.done(broker, part, order)?;
            }
        }
        Ok(())
    }

    /// Decides where queues go on that have moved: behind all that is in them.
    async fn place(&self, moved: &mut Moved) -> Result<(), Failure> {
        let mut known: BTreeMap<Str, TopicStats> = BTreeMap::new();
        for broker in &moved.into {
            let Some(part) = moved.parts.get_mut(broker) else {
                continue;
            };
            let topic = part.topic.topic_name.clone();
            for (_, items) in part.mapping.hosted_queues.iter_mut().flatten() {
                let [.., old, new] = items.as_mut_slice() else {
                    continue;
                };
                if new.bname != *broker || new.logic_offset > 0 {
                    continue;
                }
                if !known.contains_key(&old.bname) {
                    let header = GetTopicStatsInfo { topic: topic.clone() };
                    let answer = self.ctx.client.ask(self.master(&old.bname)?, &header).await?;
                    known.insert(old.bname.clone(), answer.body()?);
                }
                let queue = QueueKey(MessageQueue {
                    broker_name: old.bname.clone(),
                    queue_id: old.queue_id,
                    topic: topic.clone(),
                });
                let ends = known
                    .get(&old.bname)
                    .and_then(|stats| stats.offset_table.get(&queue));
                new.logic_offset = next_place(old, ends.map(|ends| ends.max_offset)).map_err(found)?;
            }
        }
        Ok(())
    }

    /// Takes over where queues go on that a first run of the same change has decided already.
    pub(super) async fn resume(&self, moved: &mut Moved) -> Result<(), Failure> {
        for broker in &moved.into {
            let Some(part) = moved.parts.get_mut(broker) else {
                continue;
            };
            let topic = part.topic.topic_name.clone();
            let known = part_text(self.ctx, self.master(broker)?, &topic).await?;
            if let Some(known) = known.and_then(Part::read) {
                take_places(part, &known);
            }
        }
        Ok(())
    }

    fn all_there(&self, parts: &Layout) -> Result<(), Failure> {
        parts
            .keys()
            .try_for_each(|broker| self.master(broker).map(|_| ()))
    }

    async fn tell_one<'p>(&self, parts: &'p Layout, broker: &Str, force: bool) -> Result<&'p Part, Failure> {
        let part = parts
            .get(broker)
            .ok_or_else(|| found(format!("{broker} is to change, and nothing says how")))?;
        self.tell(broker, part, force).await?;
        Ok(part)
    }

    async fn tell(&self, broker: &str, part: &Part, force: bool) -> Result<(), Failure> {
        let header = UpdateAndCreateStaticTopic(UpdateAndCreateTopic {
            force: Some(force),
            ..asking_for(&part.topic)
        });
        let body = fastjson::to_vec(&part.mapping);
        let addr = self.master(broker)?;
        self.ctx.client.ask_with(addr, &header, body).await.map(|_| ())
    }

    fn done(&self, broker: &str, part: &Part, order: Order<'_>) -> Result<(), Failure> {
        let done = Done {
            broker,
            address: self.master(broker)?,
            topic: &part.topic.topic_name,
            epoch: part.mapping.epoch,
            total_queues: part.mapping.total_queues,
            written_here: part.written(),
            before: order.before,
            after: order.after,
        };
        self.ctx.row(&done, String::new);
        Ok(())
    }
}

/// What a broker has of a topic, if it has it.
pub(super) async fn part_text(ctx: &Ctx, addr: &str, topic: &str) -> Result<Option<PartText>, Failure> {
    let header = GetTopicConfig {
        topic: topic.into(),
        lo: Some(true),
    };
    match ctx.client.ask(addr, &header).await {
        Ok(answer) => answer.body().map(Some),
        Err(failure) if failure.response_code() == Some(ResponseCode::TOPIC_NOT_EXIST) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Where a logical queue goes on behind a stretch that ends here.
fn next_place(old: &LogicQueueItem, end: Option<i64>) -> Result<i64, String> {
    let end = end.ok_or_else(|| {
        format!(
            "{} does not tell the end of queue {} of the topic, so it is not known where it goes on",
            old.bname, old.queue_id
        )
    })?;
    if end < old.start_offset {
        return Err(format!(
            "queue {} of {} ends at {end}, before it begins ({}); look at it with topicStatus",
            old.queue_id, old.bname, old.start_offset
        ));
    }
    let logical = old.logic_offset.saturating_add(end - old.start_offset);
    let blocks = if logical % BLOCK < BLOCK / 2 { 1 } else { 2 };
    Ok((logical / BLOCK).saturating_add(blocks).saturating_mul(BLOCK))
}

/// Of queues whose last stretch is the same on both sides, and is placed on the other one.
fn take_places(part: &mut Part, known: &Part) {
    for (queue, items) in part.mapping.hosted_queues.iter_mut().flatten() {
        let (Some(ours), Some(theirs)) = (items.last_mut(), known.items(*queue).last()) else {
            continue;
        };
        let is_same = |a: &LogicQueueItem, b: &LogicQueueItem| {
            a.generation == b.generation && a.bname == b.bname && a.queue_id == b.queue_id
        };
        if ours.logic_offset < 0 && theirs.logic_offset > 0 && is_same(ours, theirs) {
            ours.logic_offset = theirs.logic_offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::tests::item;
    use super::*;

    #[test]
    fn a_queue_goes_on_at_least_half_a_block_behind_its_end() {
        let old = item(0, "a", 0, 0);
        for (end, place) in [
            (0, 10_000),
            (4_999, 10_000),
            (5_000, 20_000),
            (12_345, 20_000),
            (15_000, 30_000),
        ] {
            assert_eq!(next_place(&old, Some(end)), Ok(place), "{end}");
        }
        assert_eq!(next_place(&item(1, "b", 0, 20_000), Some(3)), Ok(30_000));
        assert!(next_place(&old, None).is_err());
        let mut later = item(0, "a", 0, 0);
        later.start_offset = 7;
        assert!(next_place(&later, Some(6)).is_err());
    }

    #[test]
    fn only_the_same_stretch_is_taken_over() {
        let with = |last: LogicQueueItem| {
            let mut part = Part::empty("T", "b");
            part.put(0, vec![item(0, "a", 0, 0), last]);
            part
        };
        let placed = |known: LogicQueueItem| {
            let mut part = with(item(1, "b", 0, -1));
            take_places(&mut part, &with(known));
            part.items(0)[1].logic_offset
        };
        assert_eq!(placed(item(1, "b", 0, 10_000)), 10_000);
        assert_eq!(placed(item(1, "b", 0, -1)), -1);
        assert_eq!(placed(item(2, "b", 0, 20_000)), -1, "another generation");
        assert_eq!(placed(item(1, "b", 3, 10_000)), -1, "another queue");
    }
}
