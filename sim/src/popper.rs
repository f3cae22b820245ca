// SPDX-License-Identifier: Apache-2.0
//! A consumer that reads by lease (pop): it acknowledges one by one or in batches, asks for more time, gives messages back by
//! asking for less, forgets some, and gives those up that came too often.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use wire::api::pop::{
    AckMessage, BatchAckMessage, ChangeMessageInvisibletime, ChangedReply, PopMessage, PopReply,
};
use wire::api::send::ConsumerSendMsgBack;
use wire::body::pop::{BatchAck, BatchAcks};
use wire::fastjson;
use wire::receipt::{Origin, Receipt};
use wire::record::Record;

use crate::client::{Client, Phase, Shared, TIMEOUT};
use crate::leases::{Batch, Leases};
use crate::play::{self, Topic};
use crate::world::{Begin, START_MS, now_ms};

/// So often brokers are looked for again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a pop may be held.
const HOLD: Duration = Duration::from_millis(500);
/// So often a message comes again before it is given up.
const TIMES_MAX: i32 = 2;

struct Popper {
    client: Arc<Client>,
    group: String,
    topic: &'static str,
    /// Nothing of a queue comes before what was handed out of it is settled.
    is_ordered: bool,
}

/// A message that was handed out.
struct Held {
    attempt: u64,
    record: Record,
    receipt: Receipt,
    origin: Origin,
    queue: i32,
    offset: i64,
}

/// Pops until the run ends.
pub(crate) fn popper(name: &str, group: &str, topic: Topic, shared: Shared) -> Begin {
    let is_ordered = topic == Topic::Ordered;
    let (name, group) = (name.to_owned(), group.to_owned());
    Box::new(move |env| {
        let (client, _asked) = Client::new(&name, env, shared.clone());
        let popper = Arc::new(Popper {
            client,
            group: group.clone(),
            topic: topic.name(),
            is_ordered,
        });
        Box::pin(async move {
            let mut brokers: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
            loop {
                for place in popper.client.places(popper.topic).await {
                    brokers.entry(place.broker.clone()).or_insert_with(|| {
                        tokio::spawn(Arc::clone(&popper).take_all(place.broker, place.addr))
                    });
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
    })
}

/// As the history counts.
fn ms_of(at: i64) -> u64 {
    at.cast_unsigned().saturating_sub(START_MS)
}

/// `<R> <queue> <start>;..`
fn starts_of(text: &str) -> BTreeMap<(char, i32), i64> {
    let entry = |text: &str| {
        let mut words = text.split(' ');
        let digit = words.next()?.chars().next()?;
        let queue = words.next()?.parse().ok()?;
        Some(((digit, queue), words.next()?.parse().ok()?))
    };
    text.split(';').filter_map(entry).collect()
}

impl Popper {
    fn below(&self, bound: u64) -> u64 {
        self.client.below(bound)
    }

    async fn take_all(self: Arc<Popper>, broker: String, addr: SocketAddr) {
        loop {
            let ask = PopMessage {
                consumer_group: self.group.as_str().into(),
                topic: self.topic.into(),
                queue_id: self.below(3) as i32 - 1,
                max_msg_nums: 1 + self.below(32) as i32,
                invisible_time: 500 + self.below(2500) as i64,
                poll_time: HOLD.as_millis() as i64,
                born_time: self.client.env.clock.now_ms(),
                init_mode: 0,
                exp_type: Some("TAG".into()),
                exp: Some("*".into()),
                order: Some(self.is_ordered),
                attempt_id: None,
            };
            let reply = self.client.ask(addr, &ask, Bytes::new(), HOLD + TIMEOUT).await;
            match reply {
                Ok(reply) if reply.code == 0 => match reply.ext.read::<PopReply>() {
                    Ok(header) => {
                        let held = self.unpack(&broker, &header, &reply.body);
                        self.work((&broker, addr), held).await;
                    }
                    Err(error) => self
                        .client
                        .fault(format!("an answer to a pop without a lease: {error}")),
                },
                // Nobody had anything for it, or the broker did not want to hold it.
                Ok(reply) if matches!(reply.code, 209 | 210) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn unpack(&self, broker: &str, header: &PopReply, body: &Bytes) -> Vec<Held> {
        let starts = starts_of(header.start_offset_info.as_deref().unwrap_or_default());
        let mut all = Vec::new();
        for record in Record::decode_all(body) {
            let Ok(record) = record else {
                self.client
                    .fault(format!("a pop at {broker} brought no message: {record:?}"));
                break;
            };
            let Some(attempt) = play::attempt_of(&record.body) else {
                self.client.fault(format!("a damaged message popped at {broker}"));
                continue;
            };
            let Some(held) = held_of(record, attempt, (broker, header), &starts) else {
                self.client.fault(format!(
                    "message {attempt} was popped without a handle: {header:?}"
                ));
                continue;
            };
            let lease = (
                ms_of(header.pop_time),
                ms_of(header.pop_time + header.invisible_time),
            );
            if !self.is_ordered {
                let mut history = self.client.shared.history.lock();
                history.count("popped");
                let leases = history.leases.entry(self.group.clone()).or_default();
                leases.lent(attempt, broker, lease, held.origin == Origin::Topic);
            }
            all.push(held);
        }
        if self.is_ordered {
            self.note_batch(broker, &all);
        }
        self.client.say(format!(
            "pops at {broker} until {}: {:?}",
            header.pop_time + header.invisible_time,
            all.iter().map(|held| held.attempt).collect::<Vec<_>>()
        ));
        all
    }

    /// What came in order, and of which queue it was the next.
    fn note_batch(&self, broker: &str, batch: &[Held]) {
        let mut first: BTreeMap<i32, i64> = BTreeMap::new();
        for held in batch {
            let offset = first.entry(held.queue).or_insert(held.offset);
            *offset = held.offset.min(*offset);
        }
        let mut history = self.client.shared.history.lock();
        for (queue, offset) in first {
            history.count("popped in order");
            history.batches.push(Batch {
                broker: broker.to_owned(),
                queue,
                offset,
                got_ms: now_ms(),
            });
        }
    }

    async fn work(&self, at: (&str, SocketAddr), held: Vec<Held>) {
        let is_busy = self.client.shared.phase() == Phase::Busy;
        if is_busy && self.below(4) == 0 {
            tokio::time::sleep(Duration::from_millis(self.below(1500))).await;
        }
        let mut done = Vec::new();
        for mut one in held {
            match self.below(if is_busy { 20 } else { 1 }) {
                // Its consumer hangs.
                17 => {}
                18 => {
                    if self.later(at.1, &mut one, 1000).await {
                        done.push(one);
                    }
                }
                19 if one.record.reconsume_times >= TIMES_MAX => {
                    if self.give_up(at.1, &one).await {
                        done.push(one);
                    }
                }
                19 => {
                    self.later(at.1, &mut one, 100 + self.below(1000) as i64).await;
                }
                _ => done.push(one),
            }
        }
        if done.len() > 3 || self.below(2) == 0 {
            self.ack_all(at, &done).await;
        } else {
            for one in &done {
                self.ack(at.1, one).await;
            }
        }
    }

    fn topic_of(&self, held: &Held) -> wire::Str {
        held.origin.topic(self.topic, &self.group)
    }

    /// Asks that the lease ends at another time. Whether it is good after that.
    async fn later(&self, addr: SocketAddr, held: &mut Held, invisible_time: i64) -> bool {
        let topic = self.topic_of(held);
        let ask = ChangeMessageInvisibletime {
            consumer_group: self.group.as_str().into(),
            extra_info: handle_of(held, &topic),
            topic,
            queue_id: held.queue,
            offset: held.offset,
            invisible_time,
        };
        let from_ms = ms_of(held.receipt.pop_time);
        let sooner_ms = now_ms() + invisible_time.cast_unsigned();
        // Whoever is killed before the answer comes has asked all the same.
        self.note(|leases| leases.asked_until(held.attempt, from_ms, sooner_ms));
        let reply = self.client.ask(addr, &ask, Bytes::new(), TIMEOUT).await;
        let changed = reply.ok().filter(|reply| reply.code == 0);
        let changed = changed.and_then(|reply| reply.ext.read::<ChangedReply>().ok());
        let mut history = self.client.shared.history.lock();
        history.count("leases changed");
        let leases = history.leases.entry(self.group.clone()).or_default();
        let Some(changed) = changed else { return false };
        let next = (
            ms_of(changed.pop_time),
            ms_of(changed.pop_time + changed.invisible_time),
        );
        held.receipt.pop_time = changed.pop_time;
        held.receipt.invisible_time = changed.invisible_time;
        held.receipt.revive_qid = changed.revive_qid;
        leases.changed(held.attempt, from_ms, next)
    }

    /// Makes a dead letter of it. Whether that is done.
    async fn give_up(&self, addr: SocketAddr, held: &Held) -> bool {
        self.let_go(held);
        let ask = ConsumerSendMsgBack {
            offset: held.record.physical_offset,
            group: self.group.as_str().into(),
            delay_level: -1,
            origin_msg_id: held.record.property("UNIQ_KEY").map(Into::into),
            origin_topic: Some(self.topic.into()),
            unit_mode: Some(false),
            max_reconsume_times: Some(TIMES_MAX),
        };
        let reply = self.client.ask(addr, &ask, Bytes::new(), TIMEOUT).await;
        let is_dead = reply.is_ok_and(|reply| reply.code == 0);
        if is_dead {
            let mut history = self.client.shared.history.lock();
            history.count("popped dead");
            let dead = history.dead.entry(self.group.clone()).or_default();
            dead.insert(held.attempt, (held.receipt.broker_name.to_string(), now_ms()));
        }
        is_dead
    }

    async fn ack(&self, addr: SocketAddr, held: &Held) {
        self.let_go(held);
        let topic = self.topic_of(held);
        let ask = AckMessage {
            consumer_group: self.group.as_str().into(),
            extra_info: handle_of(held, &topic),
            topic,
            queue_id: held.queue,
            offset: held.offset,
        };
        let reply = self.client.ask(addr, &ask, Bytes::new(), TIMEOUT).await;
        if reply.is_ok_and(|reply| reply.code == 0) {
            self.acked(held);
        }
    }

    async fn ack_all(&self, (broker, addr): (&str, SocketAddr), all: &[Held]) {
        if all.is_empty() {
            return;
        }
        let acks = all.iter().map(|held| {
            self.let_go(held);
            // The reference takes offsets from the first that was looked at on; any will do.
            BatchAck {
                bits: "AQ==".into(),
                consumer_group: self.group.as_str().into(),
                invisible_time: held.receipt.invisible_time,
                pop_time: held.receipt.pop_time,
                queue_id: held.queue,
                retry: held.origin.digit().to_string().as_str().into(),
                revive_qid: held.receipt.revive_qid,
                start_offset: held.offset,
                topic: self.topic.into(),
            }
        });
        let body = BatchAcks {
            acks: acks.collect(),
            broker_name: broker.into(),
        };
        let reply = self
            .client
            .ask(addr, &BatchAckMessage, fastjson::to_vec(&body), TIMEOUT)
            .await;
        if reply.is_ok_and(|reply| reply.code == 0) {
            all.iter().for_each(|held| self.acked(held));
        }
    }

    fn let_go(&self, held: &Held) {
        self.note(|leases| leases.let_go(held.attempt, now_ms()));
    }

    fn note(&self, what: impl FnOnce(&mut Leases)) {
        let mut history = self.client.shared.history.lock();
        what(history.leases.entry(self.group.clone()).or_default());
    }

    fn acked(&self, held: &Held) {
        let mut history = self.client.shared.history.lock();
        history.count("acked");
        let leases = history.leases.entry(self.group.clone()).or_default();
        leases.acked(held.attempt, ms_of(held.receipt.pop_time), now_ms());
    }
}

/// The handle is made from the answer, or stands in a property of messages that came again.
fn held_of(
    record: Record,
    attempt: u64,
    (broker, header): (&str, &PopReply),
    starts: &BTreeMap<(char, i32), i64>,
) -> Option<Held> {
    if let Some(handle) = record.property("POP_CK").map(str::to_owned) {
        let receipt = Receipt::parse(&handle).ok()?;
        let mut words = handle.split(' ').skip(4);
        let origin = Origin::parse(words.next()?)?;
        let queue = words.nth(1)?.parse().ok()?;
        let offset = words.next()?.parse().ok()?;
        let is_of_answer =
            (receipt.pop_time, receipt.invisible_time) == (header.pop_time, header.invisible_time);
        return is_of_answer.then_some(Held {
            attempt,
            record,
            receipt,
            origin,
            queue,
            offset,
        });
    }
    let origin = Origin::of(&record.topic);
    let queue = record.queue_id.cast_signed();
    let receipt = Receipt {
        start_offset: *starts.get(&(origin.digit(), queue))?,
        pop_time: header.pop_time,
        invisible_time: header.invisible_time,
        revive_qid: header.revive_qid,
        broker_name: broker.into(),
    };
    Some(Held {
        attempt,
        offset: record.queue_offset,
        record,
        receipt,
        origin,
        queue,
    })
}

fn handle_of(held: &Held, topic: &str) -> wire::Str {
    let handle = held.receipt.handle(topic, held.queue, held.offset);
    handle.as_str().into()
}
