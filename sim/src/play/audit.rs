// SPDX-License-Identifier: Apache-2.0
//! The last look: every group is at the end of every queue, and all that lies in the queues.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use wire::api::offset::{GetMaxOffset, GetMinOffset, OffsetReply, QueryConsumerOffset};
use wire::api::pull::{PullMessage, PullReply};
use wire::record::Record;

use super::{GROUP, LINED, POPPED_AGAIN, POPPERS, REWOUND, Topic, attempt_of};
use crate::client::{Client, Place, TIMEOUT};
use crate::history::Found;
use crate::operator;
use crate::world::now_ms;

/// Reads all queues, once the groups are at the end of each.
pub(super) async fn audit(client: &Client, brokers: &[(String, SocketAddr)]) -> Vec<Found> {
    let mut found = Vec::new();
    let again = format!("%RETRY%{GROUP}");
    let dead = [GROUP, POPPERS].map(|group| format!("%DLQ%{group}"));
    let topics = Topic::ALL.map(Topic::name);
    let consumed = topics.map(|topic| (GROUP, topic, 2));
    let groups = consumed.into_iter().chain([
        (GROUP, again.as_str(), 1),
        (POPPERS, Topic::Plain.name(), 2),
        (POPPERS, POPPED_AGAIN, 1),
        (LINED, Topic::Ordered.name(), 2),
        (REWOUND, operator::PULLED.name(), 2),
    ]);
    for (broker, addr) in brokers {
        let place = |queue| Place {
            broker: broker.clone(),
            addr: *addr,
            queue,
        };
        for (group, topic, queues) in groups.clone() {
            for queue in 0..queues {
                while !has_read(client, group, &place(queue), topic).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    let others = [again.as_str(), POPPED_AGAIN]
        .into_iter()
        .chain(dead.iter().map(String::as_str));
    for (broker, addr) in brokers {
        for topic in topics.into_iter().chain(others.clone()) {
            for queue in 0..2 {
                let place = Place {
                    broker: broker.clone(),
                    addr: *addr,
                    queue,
                };
                read(client, &place, topic, &mut found).await;
            }
        }
    }
    found
}

pub(crate) async fn bounds(client: &Client, place: &Place, topic: &str) -> Option<(i64, i64)> {
    let least = GetMinOffset {
        topic: topic.into(),
        queue_id: place.queue,
    };
    let most = GetMaxOffset {
        topic: topic.into(),
        queue_id: place.queue,
        committed: None,
    };
    let least = client.ask(place.addr, &least, Bytes::new(), TIMEOUT).await.ok()?;
    let most = client.ask(place.addr, &most, Bytes::new(), TIMEOUT).await.ok()?;
    let least: OffsetReply = least.ext.read().ok()?;
    let most: OffsetReply = most.ext.read().ok()?;
    Some((least.offset, most.offset))
}

/// Whether the group is at the end of a queue.
async fn has_read(client: &Client, group: &str, place: &Place, topic: &str) -> bool {
    let Some((_, most)) = bounds(client, place, topic).await else {
        return false;
    };
    if most <= 0 {
        return true;
    }
    let ask = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: place.queue,
        set_zero_if_not_found: None,
    };
    let Ok(reply) = client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await else {
        return false;
    };
    let found = reply.ext.read::<OffsetReply>().ok().filter(|_| reply.code == 0);
    let is_there = found.as_ref().is_some_and(|found| found.offset == most);
    if !is_there && now_ms().is_multiple_of(10_000 / 100) {
        let found = found.map(|found| found.offset);
        client.say(format!(
            "{} {topic}/{} ends at {most}, {group} are at {found:?}",
            place.broker, place.queue
        ));
    }
    is_there
}

async fn read(client: &Client, place: &Place, topic: &str, found: &mut Vec<Found>) {
    let bounds = loop {
        match bounds(client, place, topic).await {
            Some(bounds) => break bounds,
            None => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let (mut next, most) = bounds;
    while next < most {
        let ask = PullMessage {
            consumer_group: "audit".into(),
            topic: topic.into(),
            queue_id: place.queue,
            queue_offset: next,
            max_msg_nums: 32,
            sys_flag: 4,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..PullMessage::default()
        };
        let Ok(reply) = client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(header) = reply.ext.read::<PullReply>() else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if reply.code == 0 {
            for record in Record::decode_all(&reply.body).flatten() {
                match attempt_of(&record.body) {
                    Some(attempt) => found.push(Found {
                        broker: place.broker.clone(),
                        topic: topic.to_owned(),
                        queue: place.queue,
                        offset: record.queue_offset,
                        attempt,
                        stored_ms: record.stored_at,
                    }),
                    None => client.fault(format!(
                        "a damaged message at {} {topic}/{} {}",
                        place.broker, place.queue, record.queue_offset
                    )),
                }
            }
        }
        if header.next_begin_offset <= next {
            client.fault(format!(
                "{} {topic}/{} ends at {most}, and does not go on at {next}: {}",
                place.broker, place.queue, reply.code
            ));
            return;
        }
        next = header.next_begin_offset;
    }
}
