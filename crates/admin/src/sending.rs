// SPDX-License-Identifier: Apache-2.0
//! Sending single messages: no producer, only the request, and the few tries that a producer of the reference makes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use wire::Str;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::body::queue::MessageQueue;
use wire::body::topic_route::TopicRoute;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;
use wire::message_id::UniqueIds;
use wire::properties::name;

use crate::cmd::lookup;
use crate::compressed;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::message::{Message, Properties};
use crate::queues::{self, display};

/// The topic by which brokers make others.
const TEMPLATE: &str = "TBW102";
/// Queues of a topic that a send makes.
const NEW_QUEUES: i32 = 4;
/// Larger bodies are compressed.
const PLAIN_BYTES_MAX: usize = 4096;
/// Tries, in all.
const TRIES: usize = 3;
/// How long a send may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The status of a send that did all that was promised.
pub(crate) const SEND_OK: &str = "SEND_OK";

/// A message to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub topic: Str,
    pub flag: i32,
    pub sys_flag: i32,
    pub properties: Properties,
    pub body: Bytes,
}

/// What became of a send.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    pub status: &'static str,
    pub id: Str,
    pub offset_id: Str,
    pub queue: MessageQueue,
    pub offset: i64,
    pub recall_handle: Option<Str>,
}

/// As the reference prints it.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SendResult [sendStatus={}, msgId={}, offsetMsgId={}, messageQueue={}, queueOffset={}, recallHandle={}]",
            self.status,
            self.id,
            self.offset_id,
            display(&self.queue),
            self.offset,
            self.recall_handle.as_deref().unwrap_or("null")
        )
    }
}

impl Draft {
    /// A message of this topic.
    pub(crate) fn new(topic: &str, body: impl Into<Bytes>) -> Draft {
        let mut draft = Draft {
            topic: topic.into(),
            body: body.into(),
            ..Draft::default()
        };
        draft.properties.set(name::WAIT, "true");
        draft
    }

    /// The same message again.
    pub(crate) fn again(message: &Message) -> Draft {
        Draft {
            topic: message.topic.clone(),
            flag: message.flag,
            sys_flag: 0,
            properties: message.properties.clone(),
            body: message.body.clone().unwrap_or_default(),
        }
    }
}

/// Sends in the name of a group.
pub(crate) struct Sender<'a> {
    ctx: &'a Ctx,
    pub group: Str,
    ids: UniqueIds,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(ctx: &'a Ctx, group: &str) -> Sender<'a> {
        // Nobody reads an address out of an id; these bits only have to be ours alone.
        let random = ctx.env.rng.next_u64();
        let ip = IpAddr::V4(Ipv4Addr::from_bits(random as u32));
        Sender {
            ctx,
            group: group.into(),
            ids: UniqueIds::new(ip, std::process::id(), (random >> 32) as u32),
        }
    }

    /// Where a topic is, or would be once it is made.
    pub(crate) async fn route(&self, topic: &str) -> Result<TopicRoute, Failure> {
        let found = lookup::route(self.ctx, topic).await;
        let Err(failure) = found else { return found };
        if failure.response_code() != Some(ResponseCode::TOPIC_NOT_EXIST) {
            return Err(failure);
        }
        let mut template = lookup::route(self.ctx, TEMPLATE).await.map_err(|_| failure)?;
        for part in &mut template.queue_datas {
            part.write_queue_nums = part.write_queue_nums.min(NEW_QUEUES);
            part.read_queue_nums = part.read_queue_nums.min(NEW_QUEUES);
        }
        Ok(template)
    }

    /// Sends to any queue; where that fails, to one of another broker. As with every producer of the reference a message may come
    /// twice, where an answer is lost.
    pub(crate) async fn send(&self, draft: &Draft) -> Result<Sent, Failure> {
        self.try_to_send(draft, is_worth_a_try).await
    }

    /// The same for what must not come twice: nothing is tried again that may have arrived.
    pub(crate) async fn send_but_once(&self, draft: &Draft) -> Result<Sent, Failure> {
        let again = |failure: &Failure| is_worth_a_try(failure) && !failure.is_lost_answer();
        self.try_to_send(draft, again).await
    }

    async fn try_to_send(&self, draft: &Draft, again: impl Fn(&Failure) -> bool) -> Result<Sent, Failure> {
        let route = self.route(&draft.topic).await?;
        let mut queues = queues::writable(&draft.topic, &route);
        if queues.is_empty() {
            return Err(no_queue(&draft.topic));
        }
        let first = self.ctx.env.rng.below(queues.len() as u64) as usize;
        queues.rotate_left(first);
        let mut failed = None;
        let mut last: Option<MessageQueue> = None;
        for _ in 0..TRIES {
            let other = queues.iter().find(|queue| {
                last.as_ref()
                    .is_none_or(|last| last.broker_name != queue.broker_name)
            });
            let Some(queue) = other.or(queues.first()).cloned() else {
                break;
            };
            match self.send_to(&route, &queue, draft).await {
                Err(failure) if again(&failure) => failed = Some(failure),
                sent => return sent,
            }
            last = Some(queue);
        }
        Err(failed.unwrap_or_else(|| no_queue(&draft.topic)))
    }

    /// Sends to one queue, once.
    pub(crate) async fn send_to(
        &self,
        route: &TopicRoute,
        queue: &MessageQueue,
        draft: &Draft,
    ) -> Result<Sent, Failure> {
        let addr = queues::master(route, &queue.broker_name);
        let addr = addr.ok_or_else(|| {
            Failure::Other(format!(
                "the broker '{}' has no master that is known to the name server",
                queue.broker_name
            ))
        })?;
        let mut properties = draft.properties.clone();
        let now = self.ctx.env.clock.now_ms();
        if properties.get(name::UNIQ_KEY).is_none() {
            properties.set(name::UNIQ_KEY, &self.ids.next(now));
        }
        let id = properties.get(name::UNIQ_KEY).unwrap_or_default().into();
        let (body, compressed) = small(&draft.body);
        let header = SendMessageV2 {
            producer_group: self.group.clone(),
            topic: draft.topic.clone(),
            default_topic: TEMPLATE.into(),
            default_topic_queue_nums: NEW_QUEUES,
            queue_id: queue.queue_id,
            sys_flag: draft.sys_flag | compressed,
            born_timestamp: now,
            flag: draft.flag,
            properties: Some(properties.encoded().into()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            bname: Some(queue.broker_name.clone()),
        };
        let frame = Frame::request(0, &header).with_body(body);
        let frame = self.ctx.client.call(addr, frame, ANSWER_WITHIN).await?;
        let status = match ResponseCode(frame.code) {
            ResponseCode::SUCCESS => SEND_OK,
            ResponseCode::FLUSH_DISK_TIMEOUT => "FLUSH_DISK_TIMEOUT",
            ResponseCode::FLUSH_SLAVE_TIMEOUT => "FLUSH_SLAVE_TIMEOUT",
            ResponseCode::SLAVE_NOT_AVAILABLE => "SLAVE_NOT_AVAILABLE",
            _ => return Err(Failure::refused(addr, Code::SEND_MESSAGE_V2, &frame)),
        };
        let receipt: SendReceipt = frame.ext.read().map_err(|error| Failure::BadAnswer {
            addr: addr.to_string(),
            request: Code::SEND_MESSAGE_V2,
            why: format!("{error:?}"),
        })?;
        Ok(Sent {
            status,
            id,
            offset_id: receipt.msg_id,
            queue: MessageQueue {
                queue_id: receipt.queue_id,
                ..queue.clone()
            },
            offset: receipt.queue_offset,
            recall_handle: receipt.recall_handle,
        })
    }
}

/// The body as it travels, and what the system flag says of it.
fn small(body: &Bytes) -> (Bytes, i32) {
    if body.len() < PLAIN_BYTES_MAX {
        return (body.clone(), 0);
    }
    match compressed::shrunk(body) {
        Ok(shrunk) => (shrunk.into(), compressed::SHRUNK),
        Err(_) => (body.clone(), 0),
    }
}

fn no_queue(topic: &str) -> Failure {
    Failure::Other(format!(
        "no broker takes messages of the topic {topic}; `mqadmin topicRoute -t {topic}` shows its permissions, \
         `mqadmin updateTopic` makes it"
    ))
}

/// Whether another broker could take the message.
fn is_worth_a_try(failure: &Failure) -> bool {
    match failure.response_code() {
        None => failure.is_of_the_way(),
        Some(code) => matches!(
            code,
            ResponseCode::TOPIC_NOT_EXIST
                | ResponseCode::SERVICE_NOT_AVAILABLE
                | ResponseCode::SYSTEM_ERROR
                | ResponseCode::SYSTEM_BUSY
                | ResponseCode::NO_PERMISSION
                | ResponseCode::NO_BUYER_ID
                | ResponseCode::NOT_IN_CURRENT_UNIT
                | ResponseCode::GO_AWAY
        ),
    }
}
