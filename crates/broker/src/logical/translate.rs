// SPDX-License-Identifier: Apache-2.0
//! Requests about logical queues, turned into requests about queues, and the answers back: sends (10, 310, 320), pulls (11, 361) and
//! offsets (14, 15, 29 to 32). `lo=false` says that a request names a queue already: that is how brokers ask each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::{Fault, Late, Outcome, Peer};
use wire::Str;
use wire::api::offset::{OffsetReply, SearchOffsetByTimestamp};
use wire::api::pull::{PullMessage, PullReply};
use wire::body::topic_route::{LogicQueueItem, TopicQueueMapping};
use wire::code::{Code, ResponseCode};
use wire::ext::Ext;
use wire::frame::Frame;

use super::item::{behind, holding, is_ended, is_placed, to_logical, to_logical_within, to_physical};
use super::{items, pull};
use crate::broker::Broker;
use crate::routes::route;

const ONEWAY: i32 = 2;
/// Flags of a pull: commit an offset, wait for messages.
const COMMITS: i32 = 1;
const WAITS: i32 = 2;

/// A request about a logical queue.
struct Asked {
    b: Arc<Broker>,
    peer: Arc<Peer>,
    mapping: Arc<TopicQueueMapping>,
    topic: Str,
    /// Number of the logical queue.
    queue: i32,
    frame: Frame,
    /// Whether the answer waited for messages.
    waited: AtomicBool,
}

/// Serves a request, which may name a logical queue.
pub(crate) fn serve(b: &Arc<Broker>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
    let Some((mapping, topic, queue, queue_key)) = named_by(b, &frame) else {
        return route(b, peer, frame);
    };
    let asked = Asked {
        b: Arc::clone(b),
        peer: Arc::clone(peer),
        mapping,
        topic,
        queue,
        frame,
        waited: AtomicBool::new(false),
    };
    asked.serve(queue_key)
}

/// The logical queue that a request names, and in which field.
fn named_by(b: &Broker, frame: &Frame) -> Option<(Arc<TopicQueueMapping>, Str, i32, &'static str)> {
    if b.logical.is_empty() {
        return None;
    }
    let (topic, queue) = match Code(frame.code) {
        Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE => ("b", "e"),
        Code::SEND_MESSAGE
        | Code::PULL_MESSAGE
        | Code::LITE_PULL_MESSAGE
        | Code::QUERY_CONSUMER_OFFSET
        | Code::UPDATE_CONSUMER_OFFSET
        | Code::SEARCH_OFFSET_BY_TIMESTAMP
        | Code::GET_MAX_OFFSET
        | Code::GET_MIN_OFFSET
        | Code::GET_EARLIEST_MSG_STORETIME => ("topic", "queueId"),
        _ => return None,
    };
    let is_direct = frame
        .ext
        .get("lo")
        .is_some_and(|lo| lo.eq_ignore_ascii_case("false"));
    let topic = frame.ext.get(topic).filter(|_| !is_direct)?;
    let number = frame.ext.get(queue)?.parse().ok()?;
    Some((b.logical.get(&topic)?, topic, number, queue))
}

impl Asked {
    fn serve(mut self, queue_key: &str) -> Outcome {
        let is_send = matches!(
            Code(self.frame.code),
            Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE
        );
        if is_send && self.queue < 0 {
            // The broker may choose.
            let hosted = self.mapping.hosted_queues.iter().flatten();
            self.queue = hosted.map(|(queue, _)| *queue).next().unwrap_or(self.queue);
        }
        let leader = items(&self.mapping, self.queue).last();
        let Some(leader) = leader
            .filter(|leader| leader.bname == self.mapping.bname)
            .cloned()
        else {
            return self.refused(self.not_leader());
        };
        if is_send {
            return self.send(queue_key, &leader);
        }
        let is_oneway = self.frame.is_oneway();
        let opaque = self.frame.opaque;
        Outcome::Later(Box::pin(async move {
            let answer = match Code(self.frame.code) {
                Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE => self.pull().await,
                Code::QUERY_CONSUMER_OFFSET => self.committed().await,
                Code::UPDATE_CONSUMER_OFFSET => self.commit().await,
                Code::SEARCH_OFFSET_BY_TIMESTAMP => self.search().await,
                Code::GET_MAX_OFFSET => self.end().await,
                Code::GET_MIN_OFFSET => self.begin().await,
                _ => self.earliest().await,
            };
            let mut frame = answer.unwrap_or_else(|fault| fault.into_frame(opaque));
            frame.opaque = opaque;
            let waited = self.waited.load(Ordering::Relaxed);
            (!is_oneway).then_some(Late { frame, waited })
        }))
    }

    fn refused(&self, fault: Fault) -> Outcome {
        match self.frame.is_oneway() {
            true => Outcome::Oneway(fault.code),
            false => Outcome::Reply(fault.into_frame(self.frame.opaque)),
        }
    }

    /// In the words of the reference, which has others for each.
    fn not_leader(&self) -> Fault {
        let (topic, queue, broker) = (&self.topic, self.queue, &self.mapping.bname);
        let remark = match Code(self.frame.code) {
            Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE => {
                format!(
                    "{topic}-{queue} cannot find mapping item in request process of current broker {broker}"
                )
            }
            Code::GET_MIN_OFFSET => {
                let code = self.frame.code;
                format!("{topic}-{queue} is not leader in broker {broker}, request code {code}")
            }
            _ => format!("{topic}-{queue} does not exit in request process of current broker {broker}"),
        };
        Fault::new(ResponseCode::NOT_LEADER_FOR_QUEUE, remark)
    }

    fn items(&self) -> &[LogicQueueItem] {
        items(&self.mapping, self.queue)
    }

    /// The message goes to the queue that is written to; its offset is told as that of the logical queue.
    fn send(self, queue_key: &str, leader: &LogicQueueItem) -> Outcome {
        let mut frame = self.frame;
        frame.ext = with(&frame.ext, &[(queue_key, leader.queue_id.to_string())]);
        let (queue, leader) = (self.queue, leader.clone());
        let told = move |mut reply: Frame| {
            let offset = reply
                .ext
                .get("queueOffset")
                .and_then(|offset| offset.parse().ok());
            if let Some(offset) = offset.filter(|_| is_stored(reply.code)) {
                let offset = to_logical_within(&leader, offset);
                let fields = [
                    ("queueId", queue.to_string()),
                    ("queueOffset", offset.to_string()),
                ];
                reply.ext = with(&reply.ext, &fields);
            }
            reply
        };
        match route(&self.b, &self.peer, frame) {
            Outcome::Reply(reply) => Outcome::Reply(told(reply)),
            Outcome::Gated(reply, ticket) => Outcome::Gated(told(reply), ticket),
            Outcome::Later(reply) => Outcome::Later(Box::pin(async move {
                let late = reply.await?;
                Some(Late {
                    frame: told(late.frame),
                    ..late
                })
            })),
            unanswered => unanswered,
        }
    }

    async fn pull(&self) -> Result<Frame, Fault> {
        let header: PullMessage = self.read()?;
        let (items, asked) = (self.items(), header.queue_offset);
        let item = holding(items, asked).ok_or_else(|| self.no_item())?;
        let is_here = item.bname == self.mapping.bname;
        let is_leader = behind(items, item).is_none() && items.last().is_some_and(|last| last == item);
        let mut flags = header.sys_flag;
        if !is_leader {
            // Nothing comes there any more.
            flags &= !WAITS;
        }
        let committed = header.commit_offset;
        if !is_here || committed < item.logic_offset {
            flags &= !COMMITS;
        }
        let offset = to_physical(item, asked);
        let mut wanted = i64::from(header.max_msg_nums);
        if is_ended(item) {
            let left = item.end_offset.saturating_sub(offset);
            if left <= 0 && !is_leader {
                // What stands there in the queue is not of this logical queue.
                return Ok(self.passed(item, (offset, &header.consumer_group)));
            }
            wanted = wanted.min(left.max(1));
        }
        let fields = [
            ("queueOffset", offset.to_string()),
            ("commitOffset", to_physical(item, committed).to_string()),
            ("sysFlag", flags.to_string()),
            ("maxMsgNums", wanted.to_string()),
        ];
        let answer = self.ask(item, &fields).await?;
        Ok(self.revised(item, offset, answer))
    }

    /// The answer to a pull from the end of a stretch that others follow.
    fn passed(&self, item: &LogicQueueItem, (offset, group): (i64, &str)) -> Frame {
        let (topic, group) = (self.b.topics.get(&self.topic), self.b.groups.find(group));
        let reply = PullReply {
            topic_sys_flag: Some(topic.map_or(0, |topic| topic.config.topic_sys_flag)),
            group_sys_flag: Some(group.map_or(0, |group| group.group_sys_flag)),
            next_begin_offset: item.end_offset,
            min_offset: item.start_offset,
            max_offset: item.end_offset,
            ..PullReply::default()
        };
        let mut frame = Frame::reply(self.frame.opaque, ResponseCode::PULL_NOT_FOUND);
        frame.ext = Ext::of(&reply);
        self.revised(item, offset, frame)
    }

    fn revised(&self, item: &LogicQueueItem, offset: i64, mut answer: Frame) -> Frame {
        // One that does not say where the queue is says that it is not pulled from at all.
        if let Ok(reply) = answer.ext.read::<PullReply>() {
            let told = (ResponseCode(answer.code), reply);
            let (code, reply) = pull::revise(self.items(), item, offset, told);
            answer.code = code.0;
            answer.ext = Ext::of(&reply);
            if code != ResponseCode::SUCCESS {
                // It says how the queue stands, which may be another thing by now; the reference leaves it out.
                answer.remark = None;
            }
        }
        answer
    }

    /// Code 14: what the newest of the brokers knows that knows anything.
    async fn committed(&self) -> Result<Frame, Fault> {
        let items = self.items();
        if let [only] = items
            && only.logic_offset == 0
        {
            return self.offset_of(only, &[]).await;
        }
        let mut last = None;
        for item in items.iter().rev().filter(|item| is_placed(item)) {
            let answer = self
                .ask(item, &[("setZeroIfNotFound", "false".to_owned())])
                .await?;
            match ResponseCode(answer.code) {
                ResponseCode::SUCCESS => return Ok(shifted(item, answer)),
                ResponseCode::QUERY_NOT_FOUND => last = Some(answer),
                _ => return Ok(answer),
            }
        }
        last.ok_or_else(|| self.no_item())
    }

    /// Code 15: noted where the offset is.
    async fn commit(&self) -> Result<Frame, Fault> {
        let offset = self.number("commitOffset")?;
        let item = holding(self.items(), offset).ok_or_else(|| self.no_item())?;
        let fields = [("commitOffset", to_physical(item, offset).to_string())];
        self.ask(item, &fields).await
    }

    /// Code 29: the first stretch that has such a message.
    async fn search(&self) -> Result<Frame, Fault> {
        let _checked: SearchOffsetByTimestamp = self.read()?;
        let placed = self.items().iter().filter(|item| is_placed(item));
        let mut found = None;
        for item in placed {
            let answer = self.ask(item, &[]).await?;
            let Ok(reply) = answer.ext.read::<OffsetReply>() else {
                return Ok(answer);
            };
            let is_beyond = is_ended(item) && reply.offset >= item.end_offset;
            found = Some(shifted(item, answer));
            if !is_beyond {
                break;
            }
        }
        found.ok_or_else(|| self.no_item())
    }

    /// Code 30.
    async fn end(&self) -> Result<Frame, Fault> {
        let item = holding(self.items(), i64::MAX).ok_or_else(|| self.no_item())?;
        self.offset_of(item, &[]).await
    }

    /// Code 31.
    async fn begin(&self) -> Result<Frame, Fault> {
        let item = holding(self.items(), 0).ok_or_else(|| self.no_item())?;
        self.offset_of(item, &[]).await
    }

    /// Code 32.
    async fn earliest(&self) -> Result<Frame, Fault> {
        let item = holding(self.items(), 0).ok_or_else(|| self.no_item())?;
        self.ask(item, &[]).await
    }

    async fn offset_of(&self, item: &LogicQueueItem, fields: &[(&str, String)]) -> Result<Frame, Fault> {
        let answer = self.ask(item, fields).await?;
        Ok(shifted(item, answer))
    }

    /// Asks about the queue of an item, here or where it is.
    async fn ask(&self, item: &LogicQueueItem, fields: &[(&str, String)]) -> Result<Frame, Fault> {
        let mut changed: Vec<(&str, String)> = fields.to_vec();
        changed.push(("queueId", item.queue_id.to_string()));
        changed.push(("lo", "false".to_owned()));
        let mut frame = self.frame.clone();
        frame.flag &= !ONEWAY;
        if item.bname == self.mapping.bname {
            frame.ext = with(&frame.ext, &changed);
            return match route(&self.b, &self.peer, frame) {
                Outcome::Reply(reply) => Ok(reply),
                Outcome::Later(reply) => {
                    let late = reply.await.ok_or_else(unanswered)?;
                    self.waited.fetch_or(late.waited, Ordering::Relaxed);
                    Ok(late.frame)
                }
                // Only sends wait for the disk, and somebody waits for this.
                Outcome::Gated(..) | Outcome::Silent | Outcome::Oneway(_) => Err(unanswered()),
            };
        }
        changed.push(("bname", item.bname.to_string()));
        frame.ext = with(&frame.ext, &changed);
        let unreachable = |why: &dyn std::fmt::Display| {
            let remark = format!(
                "{}-{} lies on broker {}, which cannot be asked: {why}",
                self.topic, self.queue, item.bname
            );
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        };
        let away = &self.b.logical.away;
        let address = away.address(&self.b, &self.topic, &item.bname).await;
        let address = address.map_err(|why| unreachable(&why))?;
        let patience = Duration::from_millis(self.b.config().forward_timeout);
        let answer = self.b.escape.call(&self.b, &address, frame, patience).await;
        answer.map_err(|error| {
            away.forget(&item.bname);
            unreachable(&error)
        })
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Fault> {
        let malformed =
            |error: wire::ext::ExtError| Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string());
        self.frame.ext.read().map_err(malformed)
    }

    fn number(&self, field: &str) -> Result<i64, Fault> {
        let number = self.frame.ext.get(field).and_then(|number| number.parse().ok());
        number.ok_or_else(|| {
            let remark = format!("the custom field <{field}> is null, or no number");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        })
    }

    fn no_item(&self) -> Fault {
        let remark = format!("no stretch of {}-{} has begun", self.topic, self.queue);
        Fault::new(ResponseCode::NOT_LEADER_FOR_QUEUE, remark)
    }
}

fn unanswered() -> Fault {
    Fault::new(ResponseCode::SYSTEM_ERROR, "the request was not answered")
}

/// Whether an answer to a send says that the message is stored.
fn is_stored(code: i32) -> bool {
    [
        ResponseCode::SUCCESS,
        ResponseCode::FLUSH_DISK_TIMEOUT,
        ResponseCode::SLAVE_NOT_AVAILABLE,
        ResponseCode::FLUSH_SLAVE_TIMEOUT,
    ]
    .contains(&ResponseCode(code))
}

/// An answer with an offset of the queue, as one of the logical queue.
fn shifted(item: &LogicQueueItem, mut answer: Frame) -> Frame {
    let offset = answer.ext.get("offset").and_then(|offset| offset.parse().ok());
    if let Some(offset) = offset.filter(|_| answer.code == ResponseCode::SUCCESS.0) {
        answer.ext = with(&answer.ext, &[("offset", to_logical(item, offset).to_string())]);
    }
    answer
}

/// The same fields with other values.
fn with(ext: &Ext, fields: &[(&str, String)]) -> Ext {
    let is_other = |name: &str| !fields.iter().any(|(changed, _)| *changed == name);
    let kept = ext.iter().filter(|(name, _)| is_other(name));
    let kept = kept.fold(Ext::default(), |ext, (name, value)| ext.with(&name, &value));
    fields
        .iter()
        .fold(kept, |ext, (name, value)| ext.with(name, value))
}
