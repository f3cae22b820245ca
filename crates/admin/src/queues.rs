// SPDX-License-Identifier: Apache-2.0
//! The queues of a topic, and reading them: no client, only the few requests that commands need.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use wire::Str;
use wire::api::offset::{GetMaxOffset, GetMinOffset, OffsetReply, SearchOffsetByTimestamp};
use wire::api::pull::{PullMessage, PullReply};
use wire::body::queue::MessageQueue;
use wire::body::topic_route::TopicRoute;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;
use wire::properties::{java_hash, name};

use crate::cmd::lookup::{self, MASTER};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::message::Message;

/// The group in whose name the tools of the reference read.
pub(crate) const TOOLS_GROUP: &str = "TOOLS_CONSUMER";

/// Bits of the permission of a topic.
const READABLE: i32 = 4;
const WRITABLE: i32 = 2;

/// A queue on one line, as the reference prints it.
pub(crate) fn display(queue: &MessageQueue) -> String {
    let MessageQueue {
        topic,
        broker_name,
        queue_id,
    } = queue;
    format!("MessageQueue [topic={topic}, brokerName={broker_name}, queueId={queue_id}]")
}

/// What the reference's tables sort a queue by.
pub(crate) fn hash_code(queue: &MessageQueue) -> i32 {
    let parts = [
        java_hash(&queue.broker_name),
        queue.queue_id,
        java_hash(&queue.topic),
    ];
    let add = |hash: i32, part| hash.wrapping_mul(31).wrapping_add(part);
    parts.into_iter().fold(1, add)
}

/// The queues of a topic that can be read, in the order of the route.
pub(crate) fn readable(topic: &str, route: &TopicRoute) -> Vec<MessageQueue> {
    let brokers = route.queue_datas.iter().filter(|part| part.perm & READABLE != 0);
    brokers
        .flat_map(|part| numbered(topic, &part.broker_name, part.read_queue_nums))
        .collect()
}

/// The queues of a topic that can be written to, in the order in which the producers of the reference have them.
pub(crate) fn writable(topic: &str, route: &TopicRoute) -> Vec<MessageQueue> {
    if let Some(order) = route.order_topic_conf.as_deref().filter(|conf| !conf.is_empty()) {
        let part = |part: &str| {
            let (broker, count) = part.split_once(':')?;
            Some(numbered(topic, broker, count.parse().ok()?))
        };
        return order.split(';').filter_map(part).flatten().collect();
    }
    let mut parts: Vec<_> = route.queue_datas.iter().collect();
    parts.sort_by_key(|part| &part.broker_name);
    parts
        .into_iter()
        .filter(|part| part.perm & WRITABLE != 0 && master(route, &part.broker_name).is_some())
        .flat_map(|part| numbered(topic, &part.broker_name, part.write_queue_nums))
        .collect()
}

/// Queues of one broker. No broker has more than the reference allows.
fn numbered(topic: &str, broker: &str, count: i32) -> Vec<MessageQueue> {
    const QUEUES_MAX: i32 = 16_384;
    let queue = |queue_id| MessageQueue {
        broker_name: broker.into(),
        queue_id,
        topic: topic.into(),
    };
    (0..count.min(QUEUES_MAX)).map(queue).collect()
}

/// The address of the master of a broker.
pub(crate) fn master<'a>(route: &'a TopicRoute, broker: &str) -> Option<&'a Str> {
    let mut brokers = route.broker_datas.iter();
    let found = brokers.find(|known| known.broker_name == broker)?;
    found.broker_addrs.get(&MASTER)
}

/// Reads queues of the brokers of one route.
pub(crate) struct Reader<'a> {
    ctx: &'a Ctx,
    pub route: TopicRoute,
    pub group: Str,
}

/// What is asked of a queue.
pub(crate) struct Ask<'a> {
    pub offset: i64,
    pub most: i32,
    pub filter: &'a Filter,
    /// How long the broker may wait for a message.
    pub hold: Duration,
}

/// Which messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// One of several tags: `a || b`; `*` for any.
    Tags(String),
    /// A condition on properties.
    Sql(String),
}

/// What a read brought.
pub(crate) struct Pulled {
    pub status: Status,
    pub messages: Vec<Message>,
    /// Where to go on.
    pub next: i64,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Found,
    NoNewMsg,
    NoMatchedMsg,
    OffsetIllegal,
}

/// As the reference calls it.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Found => "FOUND",
            Status::NoNewMsg => "NO_NEW_MSG",
            Status::NoMatchedMsg => "NO_MATCHED_MSG",
            Status::OffsetIllegal => "OFFSET_ILLEGAL",
        })
    }
}

impl Filter {
    /// All messages.
    pub(crate) fn all() -> Filter {
        Filter::Tags("*".to_owned())
    }

    /// The tags, if only some are wanted.
    fn tags(&self) -> Option<Vec<&str>> {
        let Filter::Tags(expression) = self else {
            return None;
        };
        let tags = expression
            .split("||")
            .map(str::trim)
            .filter(|tag| !tag.is_empty());
        let tags: Vec<&str> = tags.collect();
        (!tags.is_empty() && expression != "*").then_some(tags)
    }

    /// Brokers compare hash codes of tags only.
    fn lets_pass(&self, message: &Message) -> bool {
        self.tags()
            .is_none_or(|tags| message.tags().is_some_and(|tag| tags.contains(&tag)))
    }
}

/// The broker may hold the request.
const SUSPEND: i32 = 2;
/// The request says what is wanted.
const SUBSCRIPTION: i32 = 4;
/// How long an answer may take on top of what the broker may hold it.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl<'a> Reader<'a> {
    /// Reads in the name of the group of the tools.
    pub(crate) fn new(ctx: &'a Ctx, route: TopicRoute) -> Reader<'a> {
        Reader {
            ctx,
            route,
            group: TOOLS_GROUP.into(),
        }
    }

    /// Whom to ask about offsets.
    fn master(&self, queue: &MessageQueue) -> Result<&Str, Failure> {
        master(&self.route, &queue.broker_name).ok_or_else(|| self.no_broker(queue))
    }

    fn no_broker(&self, queue: &MessageQueue) -> Failure {
        let known: Vec<&str> = self
            .route
            .broker_datas
            .iter()
            .map(|broker| broker.broker_name.as_str())
            .collect();
        Failure::Other(format!(
            "the broker '{}' has no queue of the topic {}, or its master is away; brokers that have: {}",
            queue.broker_name,
            queue.topic,
            known.join(", ")
        ))
    }

    pub(crate) async fn min(&self, queue: &MessageQueue) -> Result<i64, Failure> {
        let header = GetMinOffset {
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
        };
        let answer = self.ctx.client.ask(self.master(queue)?, &header).await?;
        answer.header().map(|reply: OffsetReply| reply.offset)
    }

    pub(crate) async fn max(&self, queue: &MessageQueue) -> Result<i64, Failure> {
        max_offset(self.ctx, self.master(queue)?, queue).await
    }

    /// The first offset at or behind a time.
    pub(crate) async fn at_time(&self, queue: &MessageQueue, ms: i64) -> Result<i64, Failure> {
        offset_at(self.ctx, self.master(queue)?, queue, ms).await
    }

    /// Reads on from an offset.
    pub(crate) async fn pull(&self, queue: &MessageQueue, ask: &Ask<'_>) -> Result<Pulled, Failure> {
        let mut brokers = self.route.broker_datas.iter();
        let broker = brokers.find(|known| known.broker_name == queue.broker_name);
        let addr = broker.and_then(lookup::any_addr);
        let addr = addr.ok_or_else(|| self.no_broker(queue))?;
        let (kind, expression) = match ask.filter {
            Filter::Tags(expression) => ("TAG", expression),
            Filter::Sql(expression) => ("SQL92", expression),
        };
        let header = PullMessage {
            consumer_group: self.group.clone(),
            topic: queue.topic.clone(),
            queue_id: queue.queue_id,
            queue_offset: ask.offset,
            max_msg_nums: ask.most,
            sys_flag: SUBSCRIPTION | if ask.hold.is_zero() { 0 } else { SUSPEND },
            suspend_timeout_millis: i64::try_from(ask.hold.as_millis()).unwrap_or(i64::MAX),
            subscription: Some(expression.as_str().into()),
            expression_type: Some(kind.into()),
            ..PullMessage::default()
        };
        let frame = Frame::request(0, &header);
        let frame = self
            .ctx
            .client
            .call(addr, frame, ANSWER_WITHIN + ask.hold)
            .await?;
        let status = match ResponseCode(frame.code) {
            ResponseCode::SUCCESS => Status::Found,
            ResponseCode::PULL_NOT_FOUND => Status::NoNewMsg,
            ResponseCode::PULL_RETRY_IMMEDIATELY => Status::NoMatchedMsg,
            ResponseCode::PULL_OFFSET_MOVED => Status::OffsetIllegal,
            _ => return Err(Failure::refused(addr, Code::PULL_MESSAGE, &frame)),
        };
        let reply: PullReply = frame.ext.read().map_err(|error| Failure::BadAnswer {
            addr: addr.to_string(),
            request: Code::PULL_MESSAGE,
            why: format!("{error:?}"),
        })?;
        let messages = match status {
            Status::Found => self.received(&frame.body, queue, &reply),
            _ => Vec::new(),
        };
        let wanted = messages
            .into_iter()
            .filter(|message| ask.filter.lets_pass(message));
        Ok(Pulled {
            status,
            messages: wanted.collect(),
            next: reply.next_begin_offset,
        })
    }

    /// What a client does with messages before it hands them out.
    fn received(&self, body: &Bytes, queue: &MessageQueue, reply: &PullReply) -> Vec<Message> {
        let complain = |error| self.ctx.warn(format_args!("{}: {error}", display(queue)));
        let messages = Message::read_all(body, complain).into_iter();
        let mut messages: Vec<Message> = messages.flat_map(Message::unwrapped).collect();
        for message in &mut messages {
            if message
                .property("TRAN_MSG")
                .is_some_and(|is| is.eq_ignore_ascii_case("true"))
            {
                message.transaction_id = message.property(name::UNIQ_KEY).map(Str::from);
            }
            message
                .properties
                .set("MIN_OFFSET", &reply.min_offset.to_string());
            message
                .properties
                .set("MAX_OFFSET", &reply.max_offset.to_string());
            message.broker = Some(queue.broker_name.clone());
            message.queue = queue.queue_id;
            message.offset += reply.offset_delta.unwrap_or(0);
        }
        messages
    }
}

/// The offset behind the last message of a queue.
pub(crate) async fn max_offset(ctx: &Ctx, addr: &str, queue: &MessageQueue) -> Result<i64, Failure> {
    let header = GetMaxOffset {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        committed: None,
    };
    let answer = ctx.client.ask(addr, &header).await?;
    answer.header().map(|reply: OffsetReply| reply.offset)
}

/// The first offset of a queue at or behind a time.
pub(crate) async fn offset_at(ctx: &Ctx, addr: &str, queue: &MessageQueue, ms: i64) -> Result<i64, Failure> {
    let header = SearchOffsetByTimestamp {
        topic: queue.topic.clone(),
        queue_id: queue.queue_id,
        timestamp: ms,
        boundary_type: None,
    };
    let answer = ctx.client.ask(addr, &header).await?;
    answer.header().map(|reply: OffsetReply| reply.offset)
}
