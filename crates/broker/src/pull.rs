// SPDX-License-Identifier: Apache-2.0
//! Reading a queue: 11 and 361.
//!
//! A pull goes through [`admit`] (may it read at all, and what does it want), [`read`] (what is there) and
//! [`Found::verdict`] (what that is called, and where to go on). Nothing there and permission to wait: `hold.rs`. What
//! is in memory is read at once, on the thread of the connection; what is not, on threads that may wait for the disk.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{Answer, Call, Fault, Peer, Reply};
use serde::Serialize;
use store::{Batch, FarLimit, Queue, ReadError, ReadLimit, ReadStatus};
use tracing::debug;
use wire::api::pull::{LitePullMessage, PullMessage, PullReply};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::subscription::{ConsumeType, MessageModel};
use wire::code::ResponseCode;
use wire::ext::Ext;

use crate::blocking;
use crate::broker::Broker;
use crate::clients::Lookup;
use crate::config::Config;
use crate::fault::not_read;
use crate::filter::{Subscription, Tags, Wanted, is_tag};
use crate::heartbeat::no_property_filter;
use crate::hold::{self, Place};
use crate::memory;
use crate::names::{SYSTEM_GROUP_PREFIX, SYSTEM_GROUPS, group_of_retry_topic};
use crate::offset::{self, Arrival, Puller};
use crate::subject::Subject;
use crate::topic::{Topic, perm};

/// Bits of a pull's flags.
mod flag {
    pub(super) const COMMIT: i32 = 1;
    pub(super) const SUSPEND: i32 = 2;
    pub(super) const SUBSCRIPTION: i32 = 4;
}

/// Who forbids a pull; the client is told the number.
mod forbidden_by {
    pub(super) const BROKER: i32 = 1;
    pub(super) const GROUP: i32 = 2;
    pub(super) const TOPIC: i32 = 3;
    pub(super) const BROADCASTING: i32 = 4;
    pub(super) const SUBSCRIPTION: i32 = 5;
}

/// What the reference adds to some remarks.
pub(crate) const SEE_FAQ: &str =
    "\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details.";

/// A client that has so many messages of a queue that it has not consumed yet gets more of them a little later. Push consumers
/// stop pulling a queue for 50 ms when they hold more than 1000 of it, and have consumed those long before.
const AHEAD: i64 = 800;
/// How much later: 32 messages every 2 ms are fewer than the 1000 every 50 ms that such a client gets by itself.
const LATER: Duration = Duration::from_millis(2);

/// The replica that takes writes.
pub(crate) const MASTER_ID: i64 = 0;

/// One pull, as long as it is not answered.
pub(crate) struct Ask {
    pub(crate) header: PullMessage,
    peer: Arc<Peer>,
    is_lite: bool,
}

/// A pull that may read: where, and what it wants.
pub(crate) struct Plan {
    pub(crate) queue: Arc<Queue>,
    topic: Arc<Topic>,
    wanted: Wanted,
    group_sys_flag: i32,
}

impl Plan {
    /// What an error of reading is about.
    pub(crate) fn about<'a>(&'a self, ask: &'a Ask, from: i64) -> Subject<'a> {
        let about = Subject::queue(self.queue.topic(), self.queue.id(), from);
        about.of(&ask.header.consumer_group).asked_by(ask.peer.addr)
    }
}

/// What a look into a queue came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Messages.
    Messages {
        records: Bytes,
        count: usize,
        next: i64,
        /// Bytes of log behind the last message that was looked at.
        behind_bytes: i64,
    },
    /// Messages, none of them wanted.
    NoMatch { next: i64, behind_bytes: i64 },
    /// Messages that are being deleted.
    Removed { next: i64, behind_bytes: i64 },
    /// The file that says where the messages are is missing.
    NoEntries { next: i64, behind_bytes: i64 },
    /// No message yet behind those that were asked for before.
    AtEnd,
    /// No message ever.
    Empty,
    /// The queue was deleted in this moment.
    NoQueue,
    /// Asked for messages that are deleted.
    TooSmall { min: i64 },
    /// Asked for messages that there cannot be yet.
    TooLarge { max: i64 },
    /// An operator has set the group to another offset.
    Reset { offset: i64 },
    /// A slave does not have it; its master may.
    AtMaster { remark: &'static str },
}

/// How a client is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    code: ResponseCode,
    /// The name that clients and admin tools know.
    remark: &'static str,
    next: i64,
}

impl Found {
    pub(crate) fn of(read: Result<Batch, ReadError>) -> Result<Found, ReadError> {
        let batch = match read {
            Ok(batch) => batch,
            Err(ReadError::Empty) => return Ok(Found::Empty),
            Err(ReadError::NoQueue) => return Ok(Found::NoQueue),
            Err(ReadError::AtEnd { .. }) => return Ok(Found::AtEnd),
            Err(ReadError::TooSmall { min, .. }) => return Ok(Found::TooSmall { min }),
            Err(ReadError::BeyondEnd { max, .. }) => return Ok(Found::TooLarge { max }),
            Err(error) => return Err(error),
        };
        let (next, behind_bytes) = (batch.next_offset, batch.behind_bytes);
        Ok(match batch.status {
            ReadStatus::Found => Found::Messages {
                records: batch.bytes,
                count: batch.count,
                next,
                behind_bytes,
            },
            ReadStatus::NoMatch => Found::NoMatch { next, behind_bytes },
            ReadStatus::Removed => Found::Removed { next, behind_bytes },
            ReadStatus::EntriesMissing => Found::NoEntries { next, behind_bytes },
        })
    }

    /// What a slave makes of it: it never sends a group to another offset, because its master may have what it lacks. While
    /// that can be reached it is to be asked, and otherwise waited for.
    fn on_slave(self, asked: i64, has_master: bool) -> Found {
        let Verdict { code, remark, .. } = self.verdict(asked);
        match code {
            ResponseCode::PULL_OFFSET_MOVED if has_master => Found::AtMaster { remark },
            ResponseCode::PULL_OFFSET_MOVED => Found::AtEnd,
            _ => self,
        }
    }

    /// Whether a pull may wait for more.
    pub(crate) fn is_nothing_yet(&self, asked: i64) -> bool {
        *self == Found::AtEnd || (*self == Found::Empty && asked == 0)
    }

    fn verdict(&self, asked: i64) -> Verdict {
        let (code, remark, next) = match *self {
            Found::Messages { next, .. } => (ResponseCode::SUCCESS, "FOUND", next),
            Found::NoMatch { next, .. } => (ResponseCode::PULL_RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE", next),
            Found::Removed { next, .. } => {
                (ResponseCode::PULL_RETRY_IMMEDIATELY, "MESSAGE_WAS_REMOVING", next)
            }
            Found::NoEntries { next, .. } => (ResponseCode::PULL_NOT_FOUND, "OFFSET_FOUND_NULL", next),
            Found::AtEnd => (ResponseCode::PULL_NOT_FOUND, "OFFSET_OVERFLOW_ONE", asked),
            Found::Empty if asked == 0 => (ResponseCode::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE", 0),
            Found::Empty => (ResponseCode::PULL_OFFSET_MOVED, "NO_MESSAGE_IN_QUEUE", 0),
            Found::NoQueue if asked == 0 => (ResponseCode::PULL_NOT_FOUND, "NO_MATCHED_LOGIC_QUEUE", 0),
            Found::NoQueue => (ResponseCode::PULL_OFFSET_MOVED, "NO_MATCHED_LOGIC_QUEUE", 0),
            Found::TooSmall { min } => (ResponseCode::PULL_OFFSET_MOVED, "OFFSET_TOO_SMALL", min),
            Found::TooLarge { max } => (ResponseCode::PULL_OFFSET_MOVED, "OFFSET_OVERFLOW_BADLY", max),
            Found::Reset { offset } => (ResponseCode::PULL_OFFSET_MOVED, "OFFSET_RESET", offset),
            Found::AtMaster { remark } => (ResponseCode::PULL_RETRY_IMMEDIATELY, remark, asked),
        };
        Verdict { code, remark, next }
    }
}

/// Code 11.
pub(crate) fn pull_message(b: &Arc<Broker>, call: Call<PullMessage>) -> Result<Answer<PullReply>, Fault> {
    start(
        b,
        Ask {
            header: call.header,
            peer: call.peer,
            is_lite: false,
        },
    )
}

/// Code 361. The same from the lite pull consumer.
pub(crate) fn lite_pull_message(
    b: &Arc<Broker>,
    call: Call<LitePullMessage>,
) -> Result<Answer<PullReply>, Fault> {
    start(
        b,
        Ask {
            header: call.header.0,
            peer: call.peer,
            is_lite: true,
        },
    )
}

fn start(b: &Arc<Broker>, ask: Ask) -> Result<Answer<PullReply>, Fault> {
    if b.groups.find(&ask.header.consumer_group).is_none() {
        return Ok(Answer::Later(Box::pin(create_and_pull(Arc::clone(b), ask))));
    }
    let plan = admit(b, &ask)?;
    if let Some(reset) = reset(b, &ask) {
        return Ok(reply(b, &ask, &plan, reset).into());
    }
    if is_ahead(&ask.header) {
        arrive(b, &ask, None);
        return Ok(Answer::Later(Box::pin(pull_later(Arc::clone(b), ask))));
    }
    let found = look(b, &ask, &plan, ask.header.queue_offset);
    arrive(b, &ask, found.as_ref().ok());
    let found = match found {
        Err(ReadError::NotCached) => return Ok(Answer::Later(Box::pin(first(Arc::clone(b), ask, plan)))),
        found => found.map_err(|error| not_read(&error, plan.about(&ask, ask.header.queue_offset)))?,
    };
    if may_wait(&ask, &found) {
        return Ok(Answer::Later(Box::pin(hold::hold(Place::take(b)?, ask, plan))));
    }
    Ok(reply(b, &ask, &plan, found).into())
}

/// Looks only when the time is over: until then nothing is kept for the client but its request.
async fn pull_later(b: Arc<Broker>, ask: Ask) -> Result<Reply<PullReply>, Fault> {
    tokio::time::sleep(LATER).await;
    let plan = admit(&b, &ask)?;
    if let Some(reset) = reset(&b, &ask) {
        return Ok(reply(&b, &ask, &plan, reset));
    }
    Ok(Reply {
        waited: true,
        ..first(b, ask, plan).await?
    })
}

/// Whether the client says that it is far ahead of what it has consumed.
fn is_ahead(header: &PullMessage) -> bool {
    let commits = header.sys_flag & flag::COMMIT != 0 && header.commit_offset >= 0;
    commits && header.queue_offset.saturating_sub(header.commit_offset) >= AHEAD
}

/// The group comes into being, if it may; that is written to disk first.
async fn create_and_pull(b: Arc<Broker>, ask: Ask) -> Result<Reply<PullReply>, Fault> {
    let group = ask.header.consumer_group.clone();
    blocking::create(&b, &ask.peer, move |b| b.group(&group)).await?;
    let plan = admit(&b, &ask)?;
    arrive(&b, &ask, None);
    first(b, ask, plan).await
}

async fn first(b: Arc<Broker>, ask: Ask, plan: Plan) -> Result<Reply<PullReply>, Fault> {
    let found = read(&b, &ask, &plan, ask.header.queue_offset).await?;
    note_next(&b, &ask, &found);
    if may_wait(&ask, &found) {
        return hold::hold(Place::take(&b)?, ask, plan).await;
    }
    Ok(reply(&b, &ask, &plan, found))
}

/// The offset an operator has set the group to since it last pulled; told once, and in place of messages. What the pull
/// says of how far the group has consumed is from before that, and does not count.
pub(crate) fn reset(b: &Broker, ask: &Ask) -> Option<Found> {
    let PullMessage {
        consumer_group,
        topic,
        queue_id,
        ..
    } = &ask.header;
    let offset = b.offsets.take_reset(consumer_group, topic, *queue_id)?;
    b.offsets.note_pull(consumer_group, topic, *queue_id, offset);
    Some(Found::Reset { offset })
}

fn may_wait(ask: &Ask, found: &Found) -> bool {
    ask.header.sys_flag & flag::SUSPEND != 0 && found.is_nothing_yet(ask.header.queue_offset)
}

/// The answer to a pull that was held.
pub(crate) fn end(b: &Broker, ask: &Ask, plan: &Plan, found: Found) -> Reply<PullReply> {
    note_next(b, ask, &found);
    Reply {
        waited: true,
        ..reply(b, ask, plan, found)
    }
}

/// Where the client of a pull goes on that took its time.
fn note_next(b: &Broker, ask: &Ask, found: &Found) {
    let PullMessage {
        consumer_group,
        topic,
        queue_id,
        queue_offset,
        ..
    } = &ask.header;
    let next = found.verdict(*queue_offset).next;
    b.offsets
        .note_next((consumer_group, topic, *queue_id), next, puller(b, ask));
}

fn puller(b: &Broker, ask: &Ask) -> Puller {
    Puller {
        peer: ask.peer.id,
        at_ms: b.env.clock.now_ms(),
    }
}

/// Takes note of who pulls, and of how far the client has consumed, when the pull says so. That must not wait for the disk,
/// nor for a message: until then the queue may get another owner, or the topic may be deleted.
fn arrive(b: &Broker, ask: &Ask, found: Option<&Found>) {
    let PullMessage {
        consumer_group,
        topic,
        queue_id,
        queue_offset,
        commit_offset,
        ..
    } = &ask.header;
    let commits = ask.header.sys_flag & flag::COMMIT != 0 && *commit_offset >= 0;
    let pull = Arrival {
        by: puller(b, ask),
        next: found.map_or(*queue_offset, |found| found.verdict(*queue_offset).next),
        commit: match found {
            Some(found) if store::seeded!("offset-before-delivery") => {
                Some(found.verdict(*queue_offset).next)
            }
            _ => commits.then_some(*commit_offset),
        },
    };
    offset::pull_of_client(b, (consumer_group, topic, *queue_id), pull);
}

/// All that a pull must pass before it may read, in the reference's order.
pub(crate) fn admit(b: &Broker, ask: &Ask) -> Result<Plan, Fault> {
    let PullMessage {
        consumer_group: group,
        topic,
        queue_id,
        ..
    } = &ask.header;
    let config = b.config();
    if config.broker_permission & 4 == 0 {
        let remark = format!("the broker[{}] pulling message is forbidden", b.host.ip());
        return Err(forbidden(forbidden_by::BROKER, remark));
    }
    if ask.is_lite && !config.lite_pull_message_enable {
        let remark = format!("the broker[{}] for lite pull consumer is forbidden", b.host.ip());
        return Err(forbidden(forbidden_by::BROKER, remark));
    }
    let Some(settings) = b.groups.find(group) else {
        let remark = format!("subscription group [{group}] does not exist, {SEE_FAQ}");
        return Err(refused(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, remark));
    };
    if !settings.consume_enable {
        return Err(forbidden(
            forbidden_by::GROUP,
            format!("subscription group no permission, {group}"),
        ));
    }
    let Some(known) = b.topics.get(topic) else {
        let remark = format!("topic[{topic}] not exist, apply first please! {SEE_FAQ}");
        return Err(refused(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if known.config.perm & perm::READ == 0 {
        return Err(forbidden(
            forbidden_by::TOPIC,
            format!("the topic[{topic}] pulling message is forbidden"),
        ));
    }
    let queues = known.config.read_queue_nums;
    let queue = known.queue(&b.store, *queue_id).filter(|_| *queue_id < queues);
    let Some(queue) = queue else {
        let remark = format!(
            "queueId[{queue_id}] is illegal, topic:[{topic}] topicConfig.readQueueNums:[{queues}] consumer:[/{}]",
            ask.peer.addr
        );
        return Err(refused(ResponseCode::INVALID_PARAMETER, remark));
    };
    let wanted = subscribed(b, ask, &settings)?;
    if config.reject_pull_consumer_enable {
        must_be_registered(b, ask)?;
    }
    Ok(Plan {
        queue,
        topic: known,
        wanted,
        group_sys_flag: settings.group_sys_flag,
    })
}

/// What the pull wants: as it says itself, or as the last heartbeat of its group said.
fn subscribed(b: &Broker, ask: &Ask, settings: &SubscriptionGroupConfig) -> Result<Wanted, Fault> {
    let PullMessage {
        consumer_group: group,
        topic,
        expression_type,
        ..
    } = &ask.header;
    if ask.header.sys_flag & flag::SUBSCRIPTION != 0 {
        let expression = ask.header.subscription.as_deref().unwrap_or_default();
        return match expression_type.as_deref() {
            kind if is_tag(kind) => Tags::parse(expression)
                .map(Wanted::Tags)
                .map_err(|error| unparsable(&error)),
            _ if expression.is_empty() => Err(unparsable(&"the expression is empty")),
            kind => brought(b, ask, kind.unwrap_or_default(), expression),
        };
    }
    let (kind, subscription) = match b.clients.lookup(group, topic) {
        Lookup::Offline => {
            let remark = format!("the consumer's group info not exist{SEE_FAQ}");
            return Err(refused(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark));
        }
        Lookup::NotSubscribed(kind) => (kind, None),
        Lookup::Found(kind, subscription) => (kind, Some(subscription)),
    };
    if !settings.consume_broadcast_enable && kind.message_model == MessageModel::Broadcasting {
        let remark = format!("the consumer group[{group}] can not consume by broadcast way");
        return Err(forbidden(forbidden_by::BROADCASTING, remark));
    }
    if b.groups.may_not_read(group, topic) {
        let remark = format!("the consumer group[{group}] is forbidden for topic[{topic}]");
        return Err(forbidden(forbidden_by::SUBSCRIPTION, remark));
    }
    let Some(subscription) = subscription else {
        let remark = format!("the consumer's subscription not exist{SEE_FAQ}");
        return Err(refused(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark));
    };
    if subscription.data.sub_version < ask.header.sub_version {
        return Err(refused(
            ResponseCode::SUBSCRIPTION_NOT_LATEST,
            "the consumer's subscription not latest",
        ));
    }
    match &subscription.tags {
        Some(tags) if tags.within_limit().is_err() => Err(refused(
            ResponseCode::SUBSCRIPTION_PARSE_FAILED,
            "the consumer's subscription has too many tags",
        )),
        Some(tags) => Ok(Wanted::Tags(tags.clone())),
        None => registered(b, ask, &subscription),
    }
}

/// An SQL expression that came with the pull. One that makes no sense is refused; the reference would deliver
/// everything.
fn brought(b: &Broker, ask: &Ask, kind: &str, expression: &str) -> Result<Wanted, Fault> {
    may_use_sql(b, kind)?;
    let sql = b.filters.compile(kind, expression);
    let sql = sql.map_err(|error| unparsable(&error))?;
    Ok(retried(b, ask).unwrap_or(Wanted::Sql(sql)))
}

/// The SQL expression that a heartbeat registered.
fn registered(b: &Broker, ask: &Ask, subscription: &Subscription) -> Result<Wanted, Fault> {
    let PullMessage {
        consumer_group,
        topic,
        sub_version,
        ..
    } = &ask.header;
    let Some(filter) = b.filters.find(topic, consumer_group) else {
        return Err(refused(
            ResponseCode::FILTER_DATA_NOT_EXIST,
            "The broker's consumer filter data is not exist!Your expression may be wrong!",
        ));
    };
    if filter.version < *sub_version {
        return Err(refused(
            ResponseCode::FILTER_DATA_NOT_LATEST,
            "the consumer's consumer filter data not latest",
        ));
    }
    may_use_sql(b, &subscription.data.expression_type)?;
    if subscription.data.class_filter_mode {
        return Ok(Wanted::Tags(Tags::All));
    }
    Ok(retried(b, ask).unwrap_or(Wanted::Sql(filter.sql)))
}

fn may_use_sql(b: &Broker, kind: &str) -> Result<(), Fault> {
    if b.config().enable_property_filter {
        return Ok(());
    }
    Err(no_property_filter(kind).with_ext(Ext::of(&Refusal { forbidden_type: None })))
}

/// The filter for a retry topic, when its messages are to pass the filters of the topics they came from.
fn retried(b: &Broker, ask: &Ask) -> Option<Wanted> {
    if !b.config().filter_support_retry {
        return None;
    }
    let group = group_of_retry_topic(&ask.header.topic)?;
    Some(Wanted::Retried {
        filters: Arc::clone(&b.filters),
        group: group.into(),
    })
}

/// With `rejectPullConsumerEnable` pull consumers have to send heartbeats like others.
fn must_be_registered(b: &Broker, ask: &Ask) -> Result<(), Fault> {
    let group = ask.header.consumer_group.as_str();
    let is_allowed = match b.clients.membership(group, ask.peer.id) {
        Some((kind, is_member)) => kind.consume_type != ConsumeType::ConsumeActively || is_member,
        None => false,
    };
    if is_allowed || group.starts_with(SYSTEM_GROUP_PREFIX) || SYSTEM_GROUPS.contains(&group) {
        return Ok(());
    }
    let remark =
        format!("the consumer's group info not exist, or the pull consumer is rejected by server.{SEE_FAQ}");
    Err(refused(ResponseCode::SUBSCRIPTION_NOT_EXIST, remark))
}

/// Looks into the queue, wherever its messages are.
pub(crate) async fn read(b: &Arc<Broker>, ask: &Ask, plan: &Plan, from: i64) -> Result<Found, Fault> {
    let found = match look(b, ask, plan, from) {
        Err(ReadError::NotCached) => {
            let limit = limit(b, ask, &plan.queue);
            let (store, queue, wanted) = (Arc::clone(&b.store), Arc::clone(&plan.queue), plan.wanted.clone());
            let began = b.env.clock.instant();
            let found = blocking::run(b, &ask.peer, move || {
                Found::of(store.read(&queue, from, &limit, &wanted))
            })
            .await?;
            let took_ms = b.env.clock.instant().saturating_duration_since(began).as_millis();
            let reader = plan.topic.traffic.reader(&ask.header.consumer_group);
            reader.waited_ms.add(u64::try_from(took_ms).unwrap_or(u64::MAX));
            found
        }
        found => found,
    };
    found
        .map(|found| as_role(b, found, from))
        .map_err(|error| not_read(&error, plan.about(ask, from)))
}

/// Looks into the part of the queue that is in memory.
pub(crate) fn look(b: &Broker, ask: &Ask, plan: &Plan, from: i64) -> Result<Found, ReadError> {
    let limit = limit(b, ask, &plan.queue);
    let read = b.store.read_cached(&plan.queue, from, &limit, &plan.wanted);
    Found::of(read).map(|found| as_role(b, found, from))
}

fn as_role(b: &Broker, found: Found, asked: i64) -> Found {
    if b.is_slave() {
        found.on_slave(asked, b.replication.is_linked())
    } else {
        found
    }
}

/// What one pull may take.
fn limit(b: &Broker, ask: &Ask, queue: &Queue) -> ReadLimit {
    // `maxMsgBytes` is not looked at: the reference does not either, and a pull must bring as much here as there.
    limit_of(
        &b.config(),
        queue,
        usize::try_from(ask.header.max_msg_nums).unwrap_or(0),
    )
}

/// As many messages as a client wants, and no more than is configured for memory or disk.
pub(crate) fn limit_of(config: &Config, queue: &Queue, wanted: usize) -> ReadLimit {
    let count = u32::try_from(wanted).unwrap_or(u32::MAX);
    let count = count.min(config.max_transfer_count_on_message_in_memory).max(1);
    let entry_bytes = u32::try_from(queue.unit_bytes()).unwrap_or(u32::MAX);
    let scan = config.max_filter_message_size.div_ceil(entry_bytes).max(count);
    let far = far_bytes(config).map(|behind_bytes| FarLimit {
        behind_bytes,
        count: config.max_transfer_count_on_message_in_disk.min(count) as usize,
        bytes: config.max_transfer_bytes_on_message_in_disk as usize,
    });
    ReadLimit {
        count: count as usize,
        bytes: config.max_transfer_bytes_on_message_in_memory as usize,
        scan: scan as usize,
        far,
    }
}

/// Messages so many bytes behind the end of the log are probably not in memory.
fn far_bytes(config: &Config) -> Option<i64> {
    let ratio = i64::from(config.access_message_in_memory_max_ratio);
    memory::total_bytes().map(|memory_bytes| memory_bytes / 100 * ratio)
}

/// The replica to ask next time: with `slaveReadEnable` a group that reads far behind the end is sent to another one.
fn suggestion(b: &Broker, group: &str, found: &Found) -> i64 {
    let config = b.config();
    let settings = config.slave_read_enable.then(|| b.groups.find(group)).flatten();
    let Some(settings) = settings else {
        return MASTER_ID;
    };
    match found {
        Found::Messages { behind_bytes, .. }
        | Found::NoMatch { behind_bytes, .. }
        | Found::Removed { behind_bytes, .. }
        | Found::NoEntries { behind_bytes, .. }
            if far_bytes(&config).is_some_and(|far| *behind_bytes > far) =>
        {
            settings.which_broker_when_consume_slowly
        }
        _ => settings.broker_id,
    }
}

/// The answer to a pull.
pub(crate) fn reply(b: &Broker, ask: &Ask, plan: &Plan, found: Found) -> Reply<PullReply> {
    let PullMessage {
        consumer_group,
        topic,
        queue_id,
        queue_offset,
        ..
    } = &ask.header;
    let Verdict { code, remark, next } = found.verdict(*queue_offset);
    if code == ResponseCode::PULL_OFFSET_MOVED {
        debug!(%topic, queue = queue_id, group = %consumer_group, asked = queue_offset, next, remark, "offset moved");
    }
    let suggest_which_broker_id = suggestion(b, consumer_group, &found);
    let body = match found {
        Found::Messages { records, count, .. } => {
            b.counts.got(plan.topic.is_system, count as u64);
            let reader = plan.topic.traffic.reader(consumer_group);
            reader.pulled.add(count as u64, records.len() as u64);
            records
        }
        _ => {
            b.counts.missed.add(1);
            Bytes::new()
        }
    };
    let header = PullReply {
        suggest_which_broker_id,
        next_begin_offset: next,
        min_offset: plan.queue.min(),
        max_offset: plan.queue.max(),
        offset_delta: None,
        topic_sys_flag: Some(plan.topic.config.topic_sys_flag),
        group_sys_flag: Some(plan.group_sys_flag),
        forbidden_type: None,
    };
    Reply {
        code,
        remark: Some(remark.into()),
        header,
        extra: Vec::new(),
        body,
        waited: false,
    }
}

/// The header of an answer that refuses a pull.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Refusal {
    forbidden_type: Option<i32>,
}

fn refused(code: ResponseCode, remark: impl Into<wire::Str>) -> Fault {
    Fault::new(code, remark).with_ext(Ext::of(&Refusal { forbidden_type: None }))
}

fn unparsable(why: &dyn Display) -> Fault {
    let remark = format!("parse the consumer's subscription failed: {why}");
    refused(ResponseCode::SUBSCRIPTION_PARSE_FAILED, remark)
}

fn forbidden(by: i32, remark: String) -> Fault {
    Fault::new(ResponseCode::NO_PERMISSION, remark).with_ext(Ext::of(&Refusal {
        forbidden_type: Some(by),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_client_that_says_what_it_has_consumed_is_known_to_be_ahead() {
        let ask = |sys_flag, commit_offset| {
            is_ahead(&PullMessage {
                queue_offset: 5000,
                commit_offset,
                sys_flag,
                ..PullMessage::default()
            })
        };
        assert!(ask(flag::COMMIT, 4200));
        assert!(ask(flag::COMMIT | flag::SUSPEND, 0));
        assert!(!ask(flag::COMMIT, 4201));
        assert!(!ask(flag::SUSPEND, 0));
        assert!(!ask(flag::COMMIT, -1));
        assert!(!ask(flag::COMMIT, 6000));
        assert!(!ask(flag::COMMIT, i64::MIN));
    }

    #[test]
    fn what_was_found_decides_code_status_and_next_offset() {
        let found = Found::Messages {
            records: Bytes::from_static(b"record"),
            count: 1,
            next: 8,
            behind_bytes: 0,
        };
        let behind_bytes = 0;
        let no_match = |next| Found::NoMatch { next, behind_bytes };
        let removed = Found::Removed {
            next: 8,
            behind_bytes,
        };
        let no_entries = Found::NoEntries {
            next: 600,
            behind_bytes,
        };
        let table = [
            (found, 7, (0, "FOUND", 8)),
            (no_match(807), 7, (20, "NO_MATCHED_MESSAGE", 807)),
            (removed, 7, (20, "MESSAGE_WAS_REMOVING", 8)),
            (no_entries, 7, (19, "OFFSET_FOUND_NULL", 600)),
            (Found::NoQueue, 0, (19, "NO_MATCHED_LOGIC_QUEUE", 0)),
            (Found::NoQueue, 7, (21, "NO_MATCHED_LOGIC_QUEUE", 0)),
            (Found::AtEnd, 7, (19, "OFFSET_OVERFLOW_ONE", 7)),
            (Found::Empty, 0, (19, "NO_MESSAGE_IN_QUEUE", 0)),
            (Found::Empty, 7, (21, "NO_MESSAGE_IN_QUEUE", 0)),
            (Found::TooSmall { min: 9 }, 7, (21, "OFFSET_TOO_SMALL", 9)),
            (Found::TooLarge { max: 5 }, 7, (21, "OFFSET_OVERFLOW_BADLY", 5)),
        ];
        for (found, asked, (code, remark, next)) in table {
            let expected = Verdict {
                code: ResponseCode(code),
                remark,
                next,
            };
            assert_eq!(found.verdict(asked), expected, "{found:?}");
        }
    }

    #[test]
    fn a_pull_may_wait_where_the_next_message_will_be_the_one_it_asks_for() {
        assert!(Found::AtEnd.is_nothing_yet(7) && Found::Empty.is_nothing_yet(0));
        let (next, behind_bytes) = (8, 0);
        assert!(!Found::Empty.is_nothing_yet(7) && !Found::NoQueue.is_nothing_yet(0));
        assert!(!Found::NoMatch { next, behind_bytes }.is_nothing_yet(7));
        assert!(!Found::NoEntries { next, behind_bytes }.is_nothing_yet(7));
    }
}
