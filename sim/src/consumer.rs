// SPDX-License-Identifier: Apache-2.0
//! A push consumer: shares the queues of its topics with the other members of its group, pulls, gives back what fails, commits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::api::heartbeat::{GetConsumerListByGroup, HeartBeat};
use wire::api::offset::{OffsetReply, QueryConsumerOffset, UpdateConsumerOffset};
use wire::api::pull::{PullMessage, PullReply};
use wire::api::send::ConsumerSendMsgBack;
use wire::body::subscription::{ConsumerData, ConsumerList, HeartbeatBody, SubscriptionData};
use wire::code::Code;
use wire::fastjson;
use wire::frame::Frame;
use wire::record::Record;

use crate::client::{AskError, Client, Phase, Place, Shared, TIMEOUT};
use crate::history::Progress;
use crate::play;
use crate::world::{Begin, now_ms};

/// Of an official client these are 20, 30 and 5 seconds.
const REBALANCE_EVERY: Duration = Duration::from_secs(2);
const BEAT_EVERY: Duration = Duration::from_secs(2);
const COMMIT_EVERY_MS: u64 = 500;
/// How long a pull may be held.
const HOLD: Duration = Duration::from_millis(500);
/// So often a message is given back before it is dead.
const TIMES_MAX: i32 = 2;

struct Member {
    client: Arc<Client>,
    group: String,
    topics: Vec<String>,
    changed: Notify,
    queues: Mutex<BTreeMap<(String, Place), JoinHandle<()>>>,
}

/// Consumes until the run ends.
pub(crate) fn consumer(name: &str, group: &str, topics: &[&str], shared: Shared) -> Begin {
    let (name, group) = (name.to_owned(), group.to_owned());
    let mut topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    topics.push(format!("%RETRY%{group}"));
    Box::new(move |env| {
        let (client, mut asked) = Client::new(&name, env, shared.clone());
        let member = Arc::new(Member {
            client,
            group: group.clone(),
            topics: topics.clone(),
            changed: Notify::new(),
            queues: Mutex::default(),
        });
        Box::pin(async move {
            let told = Arc::clone(&member);
            tokio::spawn(async move {
                while let Some((_, frame)) = asked.recv().await {
                    if frame.code == Code::NOTIFY_CONSUMER_IDS_CHANGED.0 {
                        told.changed.notify_one();
                    }
                }
            });
            tokio::spawn(beat(Arc::clone(&member)));
            loop {
                let _late = tokio::time::timeout(REBALANCE_EVERY, member.changed.notified()).await;
                member.rebalance().await;
            }
        })
    })
}

async fn beat(member: Arc<Member>) {
    loop {
        let body = HeartbeatBody {
            client_id: member.client.name.as_str().into(),
            consumer_data_set: vec![ConsumerData {
                group_name: member.group.as_str().into(),
                subscription_data_set: member.topics.iter().map(|topic| subscription(topic)).collect(),
                ..ConsumerData::default()
            }],
            ..HeartbeatBody::default()
        };
        for addr in member.brokers().await {
            let _again = member
                .client
                .ask(addr, &HeartBeat {}, fastjson::to_vec(&body), TIMEOUT)
                .await;
        }
        tokio::time::sleep(BEAT_EVERY).await;
    }
}

fn subscription(topic: &str) -> SubscriptionData {
    SubscriptionData {
        topic: topic.into(),
        sub_string: "*".into(),
        sub_version: 1,
        ..SubscriptionData::default()
    }
}

impl Member {
    async fn brokers(&self) -> BTreeSet<SocketAddr> {
        let mut addrs = BTreeSet::new();
        for topic in &self.topics {
            addrs.extend(self.client.places(topic).await.iter().map(|place| place.addr));
        }
        addrs
    }

    async fn rebalance(self: &Arc<Member>) {
        for topic in &self.topics {
            let places = self.client.places(topic).await;
            let Some(members) = self.members(&places).await else {
                continue;
            };
            let mine = share(&places, &members, &self.client.name);
            let mut queues = self.queues.lock();
            queues.retain(|(of, place), task| {
                let stays = of != topic || mine.contains(place);
                if !stays {
                    // What it commits later would be too late: another one may be further.
                    task.abort();
                }
                stays && !task.is_finished()
            });
            for place in mine {
                let key = (topic.clone(), place.clone());
                queues
                    .entry(key)
                    .or_insert_with(|| tokio::spawn(Arc::clone(self).consume(topic.clone(), place)));
            }
        }
    }

    async fn members(&self, places: &[Place]) -> Option<Vec<String>> {
        let ask = GetConsumerListByGroup {
            consumer_group: self.group.as_str().into(),
        };
        let addrs: BTreeSet<SocketAddr> = places.iter().map(|place| place.addr).collect();
        for addr in addrs {
            let Ok(reply) = self.client.ask(addr, &ask, Bytes::new(), TIMEOUT).await else {
                continue;
            };
            if let Ok(list) = fastjson::from_slice::<ConsumerList>(&reply.body) {
                let mut members: Vec<String> =
                    list.consumer_id_list.iter().map(ToString::to_string).collect();
                members.sort();
                return Some(members);
            }
        }
        None
    }

    /// Takes a queue until it belongs to somebody else.
    async fn consume(self: Arc<Member>, topic: String, place: Place) {
        let Some(mut next) = self.begin_at(&topic, &place).await else {
            return;
        };
        let mut due_ms = now_ms() + COMMIT_EVERY_MS;
        loop {
            // As an official client does it: whether it has moved or not.
            if now_ms() >= due_ms {
                self.commit(&topic, &place, next).await;
                due_ms = now_ms() + COMMIT_EVERY_MS;
            }
            let ask = PullMessage {
                consumer_group: self.group.as_str().into(),
                topic: topic.as_str().into(),
                queue_id: place.queue,
                queue_offset: next,
                max_msg_nums: 32,
                sys_flag: 2 | 4,
                suspend_timeout_millis: HOLD.as_millis() as i64,
                subscription: Some("*".into()),
                sub_version: 1,
                expression_type: Some("TAG".into()),
                ..PullMessage::default()
            };
            let asked_ms = now_ms();
            let reply = self
                .client
                .ask(place.addr, &ask, Bytes::new(), HOLD + TIMEOUT)
                .await;
            let Ok(reply) = reply else {
                // It may have been told, and not have heard it.
                self.forget_reset(&topic, &place);
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let header = reply.ext.read::<PullReply>();
            if let Ok(header) = &header
                && matches!(reply.code, 0 | 19..=21)
            {
                let moved_to = (reply.code == 21).then_some(header.next_begin_offset);
                let key = self.key(&topic, &place);
                let mut history = self.client.shared.history.lock();
                history.check_told(&key, asked_ms, moved_to);
            }
            match (reply.code, header) {
                (0, Ok(header)) => {
                    self.check_run(&topic, &place, next..header.next_begin_offset, &reply.body);
                    if !self.take(&topic, &place, &reply.body).await {
                        continue;
                    }
                    self.client.say(format!(
                        "{topic} {}/{}: {next} to {}",
                        place.broker, place.queue, header.next_begin_offset
                    ));
                    next = header.next_begin_offset;
                    self.note_read(&topic, &place, next);
                }
                // Nothing new, nothing that matches, or an offset that is not there: the answer says where to go on.
                (19..=21, Ok(header)) => {
                    if header.next_begin_offset != next {
                        self.client.say(format!(
                            "{topic} {}/{}: {} from {next} to {}",
                            place.broker, place.queue, reply.code, header.next_begin_offset
                        ));
                        next = header.next_begin_offset;
                        self.note_read(&topic, &place, next);
                    }
                    if reply.code == 21 {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn begin_at(&self, topic: &str, place: &Place) -> Option<i64> {
        let ask = QueryConsumerOffset {
            consumer_group: self.group.as_str().into(),
            topic: topic.into(),
            queue_id: place.queue,
            set_zero_if_not_found: None,
        };
        let asked_ms = now_ms();
        let reply = self
            .client
            .ask(place.addr, &ask, Bytes::new(), TIMEOUT)
            .await
            .ok()?;
        self.forget_reset(topic, place);
        let key = self.key(topic, place);
        match reply.code {
            0 => {
                let found: OffsetReply = reply.ext.read().ok()?;
                self.client.say(format!(
                    "{topic} {}/{}: begins at {}",
                    place.broker, place.queue, found.offset
                ));
                play::check_commit(&self.client.shared, &key, found.offset, asked_ms);
                self.note_read(topic, place, found.offset);
                Some(found.offset)
            }
            // It never committed: it begins with the first message.
            22 => {
                play::check_commit(&self.client.shared, &key, 0, asked_ms);
                Some(0)
            }
            _ => None,
        }
    }

    fn key(&self, topic: &str, place: &Place) -> Progress {
        (
            self.group.clone(),
            place.broker.clone(),
            topic.to_owned(),
            place.queue,
        )
    }

    async fn commit(&self, topic: &str, place: &Place, offset: i64) {
        let ask = UpdateConsumerOffset {
            consumer_group: self.group.as_str().into(),
            topic: topic.into(),
            queue_id: place.queue,
            commit_offset: offset,
        };
        let key = self.key(topic, place);
        play::try_commit(&self.client.shared, key.clone(), offset);
        let reply = self.client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await;
        let is_set = |reply: &Frame| reply.remark.as_deref() == Some("Offset has been previously reset");
        match reply {
            Ok(reply) if is_set(&reply) => play::not_committed(&self.client.shared, key, offset),
            Ok(reply) if reply.code == 0 => play::committed(&self.client.shared, key, offset),
            Err(AskError::Connect(_)) => play::not_committed(&self.client.shared, key, offset),
            _ => {}
        }
    }

    /// It goes on from there.
    fn note_read(&self, topic: &str, place: &Place, next: i64) {
        let key = self.key(topic, place);
        let mut history = self.client.shared.history.lock();
        history.reads.entry(key).or_default().push((now_ms(), next));
    }

    /// What it begins with, or what it did not hear, is where it was set to.
    fn forget_reset(&self, topic: &str, place: &Place) {
        let key = self.key(topic, place);
        self.client.shared.history.lock().untold.remove(&key);
    }

    /// A pull brings what comes next, and passes nothing over.
    fn check_run(&self, topic: &str, place: &Place, wanted: Range<i64>, body: &Bytes) {
        let records: Vec<Record> = Record::decode_all(body).flatten().collect();
        let offsets: Vec<i64> = records.iter().map(|record| record.queue_offset).collect();
        let mut history = self.client.shared.history.lock();
        let is_there = |offset: &i64| offsets.contains(offset);
        let is_damaged = |offset: &i64| history.is_damaged_at(&place.broker, topic, place.queue, *offset);
        // Without a seal nothing guards the offset that a record says; what is in front of a wrong one never was.
        let least = history.least_damaged(&place.broker, topic, place.queue);
        let is_astray = |record: &&Record| {
            let attempt = play::attempt_of(&record.body);
            attempt.is_some_and(|attempt| history.is_damaged(&place.broker, attempt))
                && !is_damaged(&record.queue_offset)
                && least.is_some_and(|least| least < record.queue_offset)
        };
        let astray = records.iter().filter(is_astray);
        let behind = astray.map(|record| record.queue_offset).max();
        let may_lack = |offset: &i64| is_damaged(offset) || behind.is_some_and(|behind| *offset < behind);
        let all = wanted
            .clone()
            .filter(|offset| !may_lack(offset) || is_there(offset));
        if !offsets.iter().copied().eq(all) {
            let what = format!(
                "a pull of {wanted:?} of {topic} at {}/{} brought {offsets:?}",
                place.broker, place.queue
            );
            history.fault(what);
        }
    }

    /// Works on messages. `false`: one could neither be consumed nor be given back.
    async fn take(&self, topic: &str, place: &Place, body: &Bytes) -> bool {
        for record in Record::decode_all(body) {
            let Ok(record) = record else {
                let what = format!(
                    "a pull of {topic} at {}/{} brought no message",
                    place.broker, place.queue
                );
                self.client.shared.history.lock().fault(what);
                return true;
            };
            let Some(attempt) = play::attempt_of(&record.body) else {
                let what = format!(
                    "a damaged message at {} {topic}/{}",
                    place.broker, record.queue_offset
                );
                self.client.shared.history.lock().fault(what);
                continue;
            };
            let fails = self.client.shared.phase() == Phase::Busy && self.client.below(10) == 0;
            if fails && !self.give_back(topic, place, &record).await {
                return false;
            }
            let mut history = self.client.shared.history.lock();
            if fails {
                let given = (self.group.clone(), attempt);
                history.given.insert(given, (place.broker.clone(), now_ms()));
                history.count("given back");
                drop(history);
                let times = record.reconsume_times;
                self.client
                    .say(format!("gives {attempt} of {topic} back, {times} times before"));
            } else {
                let times = history.consumed.entry(self.group.clone()).or_default();
                *times.entry(attempt).or_default() += 1;
                history.count("consumed");
            }
        }
        true
    }

    async fn give_back(&self, topic: &str, place: &Place, record: &Record) -> bool {
        let ask = ConsumerSendMsgBack {
            offset: record.physical_offset,
            group: self.group.as_str().into(),
            delay_level: 1,
            origin_msg_id: record.property("UNIQ_KEY").map(Into::into),
            origin_topic: Some(topic.into()),
            unit_mode: Some(false),
            max_reconsume_times: Some(TIMES_MAX),
        };
        let reply = self.client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await;
        reply.is_ok_and(|reply| reply.code == 0)
    }
}

/// What a member takes: as evenly as possible, in the order of both lists.
fn share(places: &[Place], members: &[String], me: &str) -> Vec<Place> {
    let Some(index) = members.iter().position(|member| member == me) else {
        return Vec::new();
    };
    let (each, more) = (places.len() / members.len(), places.len() % members.len());
    let count = each + usize::from(index < more);
    let begin = index * each + index.min(more);
    places.iter().skip(begin).take(count).cloned().collect()
}
