// SPDX-License-Identifier: Apache-2.0
//! What clients and operators ask about timer messages: 370 takes one back, 60 and 61 tell how far all is. Listing
//! (900060) and cancelling (900061) are ours: the reference has nothing of the kind.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use store::{Gate, IndexKind, LogPos, Lookup, Order, TimerEntry};
use wire::api::timer::{
    CancelTimer, GetTimerCheckPoint, GetTimerMetrics, ListTimers, RecallMessage, RecallReply,
};
use wire::body::timer::{PendingTimer, PendingTimers};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;
use wire::properties::name::{REAL_QID, REAL_TOPIC, TAGS, UNIQ_KEY};
use wire::properties::{Properties, get};
use wire::record::RecordHead;
use wire::{Str, fastjson};

use super::deliver::ROLL_TIMES;
use super::handle::{self, Handle};
use super::park;
use super::run::Running;
use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::{not_appended, not_read};
use crate::names::TIMER_TOPIC;
use crate::put::Put;
use crate::send::properties::Asks;
use crate::send::properties::name::{TIMER_DEL_UNIQKEY, TIMER_DELIVER_MS, TIMER_OUT_MS};
use crate::subject::Subject;
use crate::topic::perm;

const RECALL_TAG: &str = "_RECALL_TAG_";
/// Messages of an answer to a listing.
const LISTED_MAX: usize = 1000;
/// Entries one listing looks at, and as many more for what is taken back in a tick.
const LOOKED_AT_MAX: usize = 20_000;
/// Entries that are read under one lock.
const PIECE: usize = 1000;
/// Messages with one key that a cancellation looks at.
const SAME_KEY_MAX: usize = 64;
const SAME_KEY_BYTES_MAX: usize = 16 << 20;

/// Code 370. Writes a message that takes another one back when its tick fires; success even when there is none.
pub(crate) fn recall_message(
    b: &Arc<Broker>,
    call: Call<RecallMessage>,
) -> Result<Answer<RecallReply>, Fault> {
    let config = b.config();
    let region = Ext::default().with("MSG_REGION", &config.region_id);
    let handle = check_recall(b, &config, &call.header).map_err(|fault| fault.with_ext(region.clone()))?;
    let failed = || Fault::new(ResponseCode::SYSTEM_ERROR, "recall failed, execute error");
    let marker = Marker {
        topic: &call.header.topic,
        unique: &handle.unique,
        deliver: &handle.deliver,
        producer_group: call.header.producer_group.as_deref(),
        sent_from: call.peer.addr,
    };
    let gate = marker
        .put(b, &config)
        .map_err(|_| failed().with_ext(region.clone()))?;
    let reply = Reply::ok(RecallReply {
        msg_id: Some(handle.unique.into()),
        region: Some(config.region_id.clone()),
    })
    // The reference never takes its preset remark away here.
    .with_remark("not set any response code");
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        b.store.drive();
        b.settled(gate).await.map_err(|_| failed().with_ext(region))?;
        Ok(reply)
    })))
}

fn check_recall(b: &Broker, config: &Config, header: &RecallMessage) -> Result<Handle, Fault> {
    let refused = |code, remark: &str| Err(Fault::new(code, format!("recall failed, {remark}")));
    if !config.recall_message_enable {
        return refused(ResponseCode::NO_PERMISSION, "operation is forbidden");
    }
    let now_ms = b.env.clock.now_ms();
    let is_read_only = config.broker_permission.cast_signed() & perm::WRITE == 0;
    if now_ms < config.start_accept_send_request_time_stamp
        || (is_read_only && !config.allow_recall_when_broker_not_writeable)
    {
        return refused(
            ResponseCode::SERVICE_NOT_AVAILABLE,
            "broker service not available",
        );
    }
    let topic = &header.topic;
    if b.topics.get(topic).is_none() {
        let remark = format!("the topic[{topic}] not exist");
        return refused(ResponseCode::TOPIC_NOT_EXIST, &remark);
    }
    let Some(handle) = handle::decode(&header.recall_handle) else {
        return Err(Fault::new(
            ResponseCode::ILLEGAL_OPERATION,
            "recall handle is invalid",
        ));
    };
    if *topic != handle.topic {
        return refused(ResponseCode::ILLEGAL_OPERATION, "topic not match");
    }
    if config.broker_name != handle.broker {
        return refused(ResponseCode::ILLEGAL_OPERATION, "broker service not available");
    }
    let left_ms = handle.deliver.parse().unwrap_or(-1_i64).saturating_sub(now_ms);
    if left_ms <= 0 || left_ms >= i64::from(config.timer_max_delay_sec) * 1000 {
        return refused(ResponseCode::ILLEGAL_OPERATION, "timestamp invalid");
    }
    Ok(handle)
}

/// A message that takes another one back.
struct Marker<'a> {
    topic: &'a Str,
    unique: &'a str,
    deliver: &'a str,
    producer_group: Option<&'a str>,
    sent_from: SocketAddr,
}

impl Marker<'_> {
    fn put(&self, b: &Broker, config: &Config) -> Result<Gate, Fault> {
        let key = if config.append_topic_for_timer_delete_key {
            format!("{}+{}", self.topic, self.unique)
        } else {
            self.unique.to_owned()
        };
        let asks = Asks {
            deliver_ms: Some(self.deliver),
            recalls: Some(&key),
            ..Asks::default()
        };
        let late = || Fault::new(ResponseCode::ILLEGAL_OPERATION, "the message has been delivered");
        let parked = park(b, config, &asks, (self.topic, 0))?.ok_or_else(late)?;
        let now_ms = b.env.clock.now_ms();
        let mut properties = Properties::default();
        properties.push(TAGS, RECALL_TAG);
        properties.push(TIMER_DEL_UNIQKEY, &key);
        properties.push(UNIQ_KEY, self.unique);
        properties.push(TIMER_DELIVER_MS, self.deliver);
        properties.push("BORN_TIMESTAMP", &now_ms.to_string());
        properties.push("PGROUP", self.producer_group.unwrap_or_default());
        let put = Put {
            topic: &parked.topic,
            queue_id: parked.queue_id,
            flag: 0,
            sys_flag: 0,
            born_at: now_ms,
            born_host: self.sent_from,
            reconsume_times: 0,
            prepared_pos: 0,
            body: b"0",
            properties: &parked.rewrite(properties.as_bytes()),
        };
        b.put(&put)
            .map(|receipt| receipt.gate)
            .map_err(|e| not_appended(&e, Subject::topic(&parked.topic)))
    }
}

/// Code 60. How far the timers are.
pub(crate) fn check_point(
    b: &Arc<Broker>,
    call: Call<GetTimerCheckPoint>,
) -> Result<Answer<NoHeader>, Fault> {
    running(b).map_err(|_| Fault::new(ResponseCode::SYSTEM_ERROR, "The checkpoint is null"))?;
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let mark = running(&b)?.lock().timers.mark();
        Ok(Reply::ok(NoHeader).with_body(mark.encode().to_vec()))
    }))
}

/// Code 61. How many messages wait.
pub(crate) fn metrics(b: &Arc<Broker>, _: Call<GetTimerMetrics>) -> Result<Answer<NoHeader>, Fault> {
    running(b)?;
    Ok(Reply::ok(NoHeader).with_body(b.timing.counts.to_json()).into())
}

fn running(b: &Broker) -> Result<&Mutex<Running>, Fault> {
    let missing = || Fault::new(ResponseCode::SYSTEM_ERROR, "The timer message store is null");
    b.timing.running.as_ref().ok_or_else(missing)
}

/// Code 900060. Messages that wait.
pub(crate) fn list_timers(b: &Arc<Broker>, call: Call<ListTimers>) -> Result<Answer<NoHeader>, Fault> {
    running(b)?;
    let b = Arc::clone(b);
    Ok(blocking::later(&b.clone(), &call.peer.clone(), move || {
        let listed = Listing::of(&b, &call.header)?.run()?;
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&listed)))
    }))
}

/// A listing on its way.
struct Listing<'a> {
    b: &'a Broker,
    header: &'a ListTimers,
    max: usize,
    /// The tick, and the entry in it; `None`: its newest.
    at: Option<(i64, Option<i64>)>,
    looked_at: usize,
    /// What is taken back in a tick.
    recalled: (i64, HashSet<String>),
    pending: Vec<PendingTimer>,
}

impl<'a> Listing<'a> {
    fn of(b: &'a Broker, header: &'a ListTimers) -> Result<Listing<'a>, Fault> {
        let bad = |what: &str| Fault::new(ResponseCode::INVALID_PARAMETER, what.to_owned());
        let max = usize::try_from(header.max.unwrap_or(100)).unwrap_or(0);
        if !(1..=LISTED_MAX).contains(&max) {
            return Err(bad(&format!("max must be 1 to {LISTED_MAX}")));
        }
        let at = match &header.next {
            None => {
                let from = header.from_ms.unwrap_or(0);
                running(b)?
                    .lock()
                    .timers
                    .pending_from(from)
                    .map_err(unread)?
                    .map(|tick| (tick, None))
            }
            Some(next) => {
                let place = next.split_once(':').and_then(|(tick, pos)| {
                    let pos = if pos.is_empty() {
                        None
                    } else {
                        Some(pos.parse().ok()?)
                    };
                    let tick = tick.parse::<i64>().ok().filter(|tick| *tick > 0)?;
                    Some((tick, pos))
                });
                Some(place.ok_or_else(|| bad("next must be what the answer before said"))?)
            }
        };
        Ok(Listing {
            b,
            header,
            max,
            at,
            looked_at: 0,
            recalled: (-1, HashSet::new()),
            pending: Vec::new(),
        })
    }

    fn run(mut self) -> Result<PendingTimers, Fault> {
        while let Some((tick, from)) = self.at {
            if self.pending.len() >= self.max || self.looked_at >= LOOKED_AT_MAX {
                break;
            }
            if self.recalled.0 != tick {
                self.recalled = (tick, self.recalled_in(tick)?);
            }
            // A lock for each piece, so that what is due meanwhile is not late.
            let mut timers = running(self.b)?.lock();
            let left = (self.max - self.pending.len()).min(PIECE);
            let (entries, next) = timers.timers.entries(tick, from, left).map_err(unread)?;
            self.looked_at += entries.len().max(1);
            self.at = match next {
                Some(pos) => Some((tick, Some(pos))),
                None => timers
                    .timers
                    .pending_from(tick.saturating_add(1))
                    .map_err(unread)?
                    .map(|tick| (tick, None)),
            };
            drop(timers);
            let shown = entries.iter().filter(|entry| !entry.is_delete());
            let shown: Vec<_> = shown.filter_map(|entry| self.show(entry)).collect();
            self.pending.extend(shown);
        }
        let next = self.at.map(|(tick, from)| {
            let pos = from.map(|pos| pos.to_string()).unwrap_or_default();
            format!("{tick}:{pos}").into()
        });
        Ok(PendingTimers {
            next,
            pending: self.pending,
        })
    }

    /// What is taken back in a tick, as far as that is known from its newest entries.
    fn recalled_in(&mut self, tick: i64) -> Result<HashSet<String>, Fault> {
        let (mut recalled, mut from, mut seen) = (HashSet::new(), None, 0);
        while seen < LOOKED_AT_MAX {
            let mut timers = running(self.b)?.lock();
            let (entries, next) = timers.timers.entries(tick, from, PIECE).map_err(unread)?;
            drop(timers);
            let deletes = entries.iter().filter(|entry| entry.is_delete());
            recalled.extend(deletes.filter_map(|entry| {
                let record = self.b.store.record_at(LogPos(entry.pos)).ok()?;
                let head = RecordHead::scan(&record).ok()?;
                get(head.parts.properties, TIMER_DEL_UNIQKEY).map(str::to_owned)
            }));
            seen += entries.len();
            match next {
                Some(_) => from = next,
                None => break,
            }
        }
        // Many small ticks cost little, one large one much.
        self.looked_at += seen / 16;
        Ok(recalled)
    }

    fn show(&self, entry: &TimerEntry) -> Option<PendingTimer> {
        let (_, recalled) = &self.recalled;
        let record = self.b.store.record_at(LogPos(entry.pos)).ok()?;
        let head = RecordHead::scan(&record).ok()?;
        let property = |name| get(head.parts.properties, name);
        let (topic, unique) = (property(REAL_TOPIC)?, property(UNIQ_KEY).unwrap_or_default());
        let is_recalled = recalled.contains(unique) || recalled.contains(&format!("{topic}+{unique}"));
        let is_other = self.header.topic.as_deref().is_some_and(|wanted| wanted != topic);
        // What takes another message back, and rolls, is no message.
        if is_recalled || is_other || property(TIMER_DEL_UNIQKEY).is_some() {
            return None;
        }
        Some(PendingTimer {
            out_ms: property(TIMER_OUT_MS)?.parse().ok()?,
            queue_id: property(REAL_QID)?.parse().ok()?,
            roll_times: property(ROLL_TIMES)
                .and_then(|times| times.parse().ok())
                .unwrap_or(0),
            size: entry.size,
            store_timestamp: head.stamp.stored_at,
            topic: topic.into(),
            uniq_key: unique.into(),
        })
    }
}

fn unread(error: std::io::Error) -> Fault {
    not_read(&error.into(), Subject::topic(TIMER_TOPIC))
}

/// Code 900061. Takes a message back as an operator, whether or not producers may. It is found by its key.
pub(crate) fn cancel_timer(b: &Arc<Broker>, call: Call<CancelTimer>) -> Result<Answer<Empty>, Fault> {
    running(b)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let addr = call.peer.addr;
        let (finding, peer) = (Arc::clone(&b), Arc::clone(&call.peer));
        let gate = blocking::run(&b, &peer, move || cancel(&finding, &call.header, addr)).await??;
        b.store.drive();
        b.settled(gate).await?;
        Ok(Reply::ok(Empty {}))
    })))
}

fn cancel(b: &Broker, header: &CancelTimer, sent_from: SocketAddr) -> Result<Gate, Fault> {
    let now_ms = b.env.clock.now_ms();
    let lookup = Lookup {
        topic: TIMER_TOPIC,
        key: &header.uniq_key,
        kind: IndexKind::Unique,
        max: SAME_KEY_MAX,
        max_bytes: SAME_KEY_BYTES_MAX,
        begin_ms: 0,
        end_ms: i64::MAX,
    };
    let time_of = |record: &[u8]| {
        let head = RecordHead::scan(record).ok()?;
        let property = |name| get(head.parts.properties, name);
        let is_it = head.parts.topic == TIMER_TOPIC
            && property(UNIQ_KEY) == Some(&header.uniq_key)
            && property(REAL_TOPIC) == Some(&header.topic)
            && property(TIMER_DEL_UNIQKEY).is_none();
        property(TIMER_OUT_MS).filter(|_| is_it)?.parse::<i64>().ok()
    };
    let mut out_ms = None;
    let looked = b.store.visit(&lookup, Order::NewestFirst, |record| {
        out_ms = time_of(record);
        match out_ms {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    looked.map_err(|e| not_read(&e, Subject::topic(&header.topic).asked_by(sent_from)))?;
    let Some(out_ms) = out_ms else {
        let remark = format!("no message {} for topic {} waits", header.uniq_key, header.topic);
        return Err(Fault::new(ResponseCode::QUERY_NOT_FOUND, remark));
    };
    // One more, so that it lies in the tick.
    let deliver_ms = out_ms.saturating_add(1);
    if deliver_ms <= now_ms {
        let remark = format!("message {} has been delivered, or is being", header.uniq_key);
        return Err(Fault::new(ResponseCode::ILLEGAL_OPERATION, remark));
    }
    Marker {
        topic: &header.topic,
        unique: &header.uniq_key,
        deliver: &deliver_ms.to_string(),
        producer_group: None,
        sent_from,
    }
    .put(b, &b.config())
}
