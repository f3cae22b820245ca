// SPDX-License-Identifier: Apache-2.0
//! Sends: 310, 10 and 320.
//!
//! check → decide where it goes → rewrite the properties → append → answer when the store's gate has passed. A send to a
//! topic that does not exist yet takes a detour over the disk (`create_and_send`) and comes back here. Per message there
//! is one lookup of the topic, no map and no task.
//!
//! Messages that must not be delivered as they are (delayed, timed, half messages) go to a topic of the system until their
//! time has come (`park`); the answer speaks of the queue they were sent to, and of the record that is kept.

pub(crate) mod back;
mod check;
mod group;
mod inner_batch;
mod once;
pub(crate) mod overdue;
pub(crate) mod park;
pub(crate) mod properties;
mod reply;
mod room;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use net::{Answer, Call, Fault, Peer, Reply, Ticket};
use store::{AppendError, Draft, Queue};
use wire::api::send::{SendBatchMessage, SendMessage, SendMessageV2, SendReceipt};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::{TopicConfig, TopicFilterType};
use wire::code::{Request, ResponseCode};
use wire::ext::Ext;
use wire::message_id::{offset_id, offset_ids};
use wire::record::sysflag;
use wire::{Str, batch};

use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::dedup::{self, First, Print};
use crate::fault::{batch_malformed, no_group, not_appended, unsaved};
use crate::names::{dlq_topic, group_of_retry_topic};
use crate::peers::Announced;
use crate::subject::Subject;
use crate::timer;
use crate::topic::{Topic, sys_flag};
pub(crate) use group::send_group;
use once::Shared;
use properties::MessageType;
pub(crate) use reply::{send_reply_message, send_reply_message_v2};
pub(crate) use room::ReplyRoom;

/// From this client version on the limit of deliveries comes with the request.
const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// A send without the request it came in.
struct Send {
    header: SendMessage,
    body: Bytes,
    version: i32,
    peer: Arc<Peer>,
}

/// Code 310.
pub(crate) fn send_message_v2(
    b: &Arc<Broker>,
    call: Call<SendMessageV2>,
) -> Result<Answer<SendReceipt>, Fault> {
    answer(b, Send::of(call))
}

/// Code 10.
pub(crate) fn send_message(b: &Arc<Broker>, call: Call<SendMessage>) -> Result<Answer<SendReceipt>, Fault> {
    answer(b, Send::of(call))
}

/// Code 320: a batch unless it says that it is none.
pub(crate) fn send_batch_message(
    b: &Arc<Broker>,
    call: Call<SendBatchMessage>,
) -> Result<Answer<SendReceipt>, Fault> {
    let mut send = Send::of(call);
    send.header.batch.get_or_insert(true);
    answer(b, send)
}

impl Send {
    fn of<R: Request + Into<SendMessage>>(call: Call<R>) -> Send {
        Send {
            header: call.header.into(),
            body: call.body,
            version: call.version,
            peer: call.peer,
        }
    }

    /// What it takes while it waits.
    fn bytes(&self) -> usize {
        self.body.len() + self.properties().len()
    }

    fn is_batch(&self) -> bool {
        self.header.batch == Some(true)
    }

    fn properties(&self) -> &str {
        self.header.properties.as_deref().unwrap_or_default()
    }
}

fn answer(b: &Arc<Broker>, send: Send) -> Result<Answer<SendReceipt>, Fault> {
    let config = b.config();
    let found = Target::find(b, &config, &send);
    let answered = found.and_then(|target| answer_at(b, &config, send, target));
    answered.map_err(|fault| fault.with_ext(traced(b)))
}

/// Answers a send for which [`Target::find`] has found this.
fn answer_at(
    b: &Arc<Broker>,
    config: &Config,
    mut send: Send,
    target: Option<Target>,
) -> Result<Answer<SendReceipt>, Fault> {
    if let Some(target) = target {
        let (reply, ticket) = stage(b, config, &send, &target)?;
        return Ok(Answer::Gated(reply, ticket));
    }
    // A topic is not made for a message that would be refused then.
    let topic = Subject::topic(&send.header.topic);
    b.store.takes_messages().map_err(|e| not_appended(&e, topic))?;
    let room = b.workers.room(send.bytes())?;
    // It may lie in a much larger buffer, which is not kept for it.
    send.body = Bytes::copy_from_slice(&send.body);
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let sending = Arc::clone(&b);
        let sent = blocking::apart(async move {
            let sent = create_and_send(&sending, send).await;
            drop(room);
            sent
        });
        sent.await.map_err(|fault| fault.with_ext(traced(&b)))
    })))
}

/// What every answer to a send says, failed or not.
fn traced(b: &Broker) -> Ext {
    let config = b.config();
    Ext::default()
        .with("MSG_REGION", &config.region_id)
        .with("TRACE_ON", if config.trace_on { "true" } else { "false" })
}

/// Hands a send to the store.
fn stage(
    b: &Broker,
    config: &Config,
    send: &Send,
    target: &Target,
) -> Result<(Reply<SendReceipt>, Ticket), Fault> {
    let staging = Staging {
        b,
        config,
        send,
        target,
    };
    let staged = if send.is_batch() {
        staging.batch()?
    } else {
        staging.single()?
    };
    Ok(staging.counted(staged))
}

/// A message for a retry topic that was given up. Told of the group of that topic: the reference tells of the sender's, which
/// is the same for all clients, and which a sender could make up without end.
fn count_dead(b: &Broker, dead: &Topic, header: &SendMessage) {
    let Some(group) = group_of_retry_topic(&header.topic) else {
        return;
    };
    let retry = b.topics.get(&header.topic);
    let retry = retry.as_deref().unwrap_or(dead);
    retry.traffic.reader(group).dead.add(1);
}

/// Makes what is missing, lets the name servers know, and sends again. The answer comes after that, so that a consumer
/// that starts then finds the topic.
async fn create_and_send(b: &Arc<Broker>, send: Send) -> Result<Reply<SendReceipt>, Fault> {
    let peer = Arc::clone(&send.peer);
    let create = move |b: &Broker| Target::create(b, &send).map(|announced| (announced, send));
    let (announced, send) = blocking::create(b, &peer, create).await??;
    announced.await;
    let (reply, ticket) = {
        let config = b.config();
        let target = Target::find(b, &config, &send)?;
        // Deleted again in between.
        let target = target.ok_or_else(|| check::no_topic(&send.header.topic))?;
        stage(b, &config, &send, &target)?
    };
    b.store.drive();
    b.pass(reply, ticket).await
}

/// The topic a message is written to.
struct Target {
    topic: Arc<Topic>,
    /// It was meant for a retry topic, but is given up and goes to the dead-letter topic of the group.
    dead: bool,
}

impl Target {
    /// Checks a send and finds where it goes. `None`: a topic or a group is missing and can be made.
    fn find(b: &Broker, config: &Config, send: &Send) -> Result<Option<Target>, Fault> {
        let found = b.topics.get(&send.header.topic);
        check::may_send(b, config, send, found.as_deref())?;
        Target::of(b, config, send, found)
    }

    /// `found` is the topic that the send names.
    fn of(
        b: &Broker,
        config: &Config,
        send: &Send,
        found: Option<Arc<Topic>>,
    ) -> Result<Option<Target>, Fault> {
        let Some(group) = group_of_retry_topic(&send.header.topic) else {
            let Some(topic) = found else {
                return check::may_create(b, config, &send.header).map(|()| None);
            };
            return Ok(Some(Target { topic, dead: false }));
        };
        if send.is_batch() {
            let remark = format!("batch request does not support retry group {group}");
            return Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
        let Some(settings) = b.groups.find(group) else {
            let made = b.groups.may_come_into_being(config, group);
            return if made { Ok(None) } else { Err(no_group(group)) };
        };
        let dead = Target::is_dead(b, send, &settings);
        let topic = if dead {
            b.topics.get(&dlq_topic(group))
        } else {
            found
        };
        Ok(topic.map(|topic| Target { topic, dead }))
    }

    /// Whether a message for a retry topic is given up: it failed too often, or its group consumes in order, where a
    /// message that comes back later would come out of order.
    fn is_dead(b: &Broker, send: &Send, group: &SubscriptionGroupConfig) -> bool {
        let asked = send
            .header
            .max_reconsume_times
            .filter(|_| send.version >= VERSION_WITH_MAX_RECONSUME);
        let max = asked.unwrap_or(group.retry_max_times);
        send.header.reconsume_times.unwrap_or_default() > max
            || b.locks.holds_any(&group.group_name, b.env.clock.instant())
    }

    /// Makes what [`Target::find`] misses. Writes files.
    fn create(b: &Broker, send: &Send) -> Result<Announced, Fault> {
        let header = &send.header;
        let unit_mode = header.unit_mode == Some(true);
        let Some(group) = group_of_retry_topic(&header.topic) else {
            let queues = header.default_topic_queue_nums;
            let derived = b
                .topics
                .derive(&b.config(), &header.topic, &header.default_topic, queues);
            let mut topic = derived.ok_or_else(|| check::no_topic(&header.topic))?;
            topic.topic_sys_flag = if unit_mode { sys_flag::UNIT } else { 0 };
            return Target::make(b, topic);
        };
        let group = b.group(group).ok_or_else(|| no_group(group))?;
        let topic = if Target::is_dead(b, send, &group) {
            TopicConfig {
                topic_name: dlq_topic(&group.group_name),
                ..TopicConfig::default()
            }
        } else {
            let topic_sys_flag = if unit_mode { sys_flag::UNIT_SUB } else { 0 };
            TopicConfig {
                topic_name: header.topic.clone(),
                topic_sys_flag,
                ..TopicConfig::default()
            }
        };
        Target::make(
            b,
            TopicConfig {
                read_queue_nums: 1,
                write_queue_nums: 1,
                ..topic
            },
        )
    }

    fn make(b: &Broker, topic: TopicConfig) -> Result<Announced, Fault> {
        let name = topic.topic_name.clone();
        let made = b.ensure_topic(topic);
        let (_, announced) = made.map_err(|e| unsaved(&e, Subject::topic(&name)))?;
        Ok(announced)
    }
}

/// One send on its way into the store.
struct Staging<'a> {
    b: &'a Broker,
    config: &'a Config,
    send: &'a Send,
    target: &'a Target,
}

/// Where a part of a text stands in it.
fn place(part: &str, text: &str) -> Range<usize> {
    let begin = part.as_ptr().addr() - text.as_ptr().addr();
    begin..begin + part.len()
}

/// Writes the end of `texts` anew.
fn rewrite(texts: &mut Vec<u8>, begin: usize, anew: impl FnOnce(&[u8]) -> Vec<u8>) {
    let text = anew(&texts[begin..]);
    texts.truncate(begin);
    texts.extend_from_slice(&text);
}

/// A message that can be appended.
struct Ready {
    /// Where its properties are, as they are stored.
    text: Range<usize>,
    unique: Unique,
    wait: bool,
    kind: MessageType,
    queue_id: i32,
    /// Where it is kept.
    queue: Arc<Queue>,
    /// Why that is not its own queue.
    parked: Option<park::Parked>,
    /// For how long its topic remembers it.
    window_ms: Option<i64>,
}

/// The unique id of a message.
enum Unique {
    /// The sender's: where it stands in the properties that were sent.
    Sent(Range<usize>),
    Made(Str),
}

/// A send that the store has taken.
struct Staged {
    /// What the sender is told.
    told: SendReceipt,
    /// When.
    ticket: Ticket,
    messages: u64,
    bytes: u64,
    kind: MessageType,
    /// The topic it was kept in instead of its own.
    parked: Option<Str>,
}

impl<'a> Staging<'a> {
    /// Counts what was stored.
    fn counted(&self, staged: Staged) -> (Reply<SendReceipt>, Ticket) {
        let came = (staged.kind, staged.messages, staged.bytes);
        match &staged.parked {
            None => self.b.counts.put(&self.target.topic, came),
            Some(topic) => self.b.count_put(topic, came),
        }
        if self.target.dead {
            count_dead(self.b, &self.target.topic, &self.send.header);
        }
        (Reply::ok(staged.told), staged.ticket)
    }

    fn single(&self) -> Result<Staged, Fault> {
        let mut texts = Vec::new();
        let ready = self.ready(&mut texts)?;
        let draft = self.draft_of(&ready, &texts);
        let (group, body) = (&self.send.header.producer_group, &self.send.body);
        let is_named = matches!(ready.unique, Unique::Sent(_));
        let print = || is_named.then(|| Print::of(group, self.unique(&ready.unique), body));
        let first = self.append_once(&draft, ready.queue_id, ready.window_ms, print)?;
        Ok(self.told(ready, first))
    }

    /// Everything about one message that comes before it is appended. Its properties are written behind `texts`.
    fn ready(&self, texts: &mut Vec<u8>) -> Result<Ready, Fault> {
        check::replicas(self.b, self.config)?;
        let header = &self.send.header;
        let topic = &self.target.topic;
        let (begin, sent) = (texts.len(), self.send.properties());
        let sifted = properties::sift(sent, self.target.dead, texts);
        check::message_type(self.config, &topic.config, sifted.kind)?;
        check::transaction_bits(header.sys_flag, sifted.asks.is_half)?;
        if header.sys_flag & sysflag::INNER_BATCH != 0 || sifted.asks.inner.is_some() {
            self.check_inner(&sifted)?;
        }
        if topic.is_compacted && !sifted.has_keys {
            return Err(check::no_key());
        }
        let made = match sifted.unique {
            Some(_) => Str::default(),
            None => self.b.ids.next(self.b.env.clock.now_ms()),
        };
        let unique = sifted.unique.unwrap_or(&made);
        let queue_id = match sifted.priority {
            Some(priority) => priority.min(topic.config.write_queue_nums - 1),
            None => check::queue_id(self.b, self.target, self.send)?,
        };
        let parked = if sifted.asks.is_any() {
            let real = (&topic.config.topic_name, queue_id);
            park::decide(self.b, self.config, header, (&sifted.asks, unique), real)?
        } else {
            None
        };
        sifted.finish(self.config, unique, texts);
        let queue = match &parked {
            None => self.queue(queue_id)?,
            Some(parked) => {
                rewrite(texts, begin, |text| parked.rewrite(text));
                let id = u32::try_from(parked.queue_id).unwrap_or_default();
                self.b.store.queue(&parked.topic, id)
            }
        };
        let window_ms = self.window_ms(parked.is_some());
        if window_ms.is_some() {
            rewrite(texts, begin, |text| {
                dedup::with_group(text, &header.producer_group)
            });
        }
        Ok(Ready {
            text: begin..texts.len(),
            unique: match sifted.unique {
                Some(unique) => Unique::Sent(place(unique, sent)),
                None => Unique::Made(made),
            },
            wait: sifted.wait,
            kind: sifted.kind,
            queue_id,
            queue,
            parked,
            window_ms,
        })
    }

    fn draft_of<'d>(&self, ready: &'d Ready, texts: &'d [u8]) -> Draft<'d>
    where
        'a: 'd,
    {
        let bytes = (&self.send.body[..], &texts[ready.text.clone()]);
        self.draft(&ready.queue, self.send.header.flag, bytes, ready.wait)
    }

    /// What comes after it.
    fn told(&self, ready: Ready, first: First) -> Staged {
        let (name, unique) = (&self.target.topic.config.topic_name, self.unique(&ready.unique));
        let recall_handle = timer::recall_handle(self.config, ready.parked.as_ref(), name, unique);
        Staged {
            kind: ready.kind,
            parked: ready.parked.map(|parked| parked.topic),
            ..self.staged(first, (unique.into(), ready.wait), recall_handle)
        }
    }

    fn unique<'r>(&self, unique: &'r Unique) -> &'r str
    where
        'a: 'r,
    {
        match unique {
            Unique::Sent(place) => &self.send.properties()[place.clone()],
            Unique::Made(unique) => unique,
        }
    }

    /// Appends one record, unless its topic remembers it.
    fn append_once(
        &self,
        draft: &Draft<'_>,
        queue_id: i32,
        window_ms: Option<i64>,
        print: impl FnOnce() -> Option<Print>,
    ) -> Result<First, Fault> {
        let append = || {
            self.b
                .store
                .append(draft)
                .map(|receipt| First::of(&receipt, queue_id))
        };
        let Some(window_ms) = window_ms else {
            return append().map_err(|e| self.not_appended(&e));
        };
        let firsts = self.once(window_ms, &[print()], |_| Ok(vec![append()?]))?;
        let first = firsts.first().copied();
        first.ok_or_else(|| self.not_appended(&AppendError::Empty))
    }

    /// What the sender of one record is told.
    fn staged(&self, first: First, (unique, wait): (Str, bool), recall_handle: Option<Str>) -> Staged {
        let told = SendReceipt {
            msg_id: offset_id(self.b.host, first.pos),
            queue_id: first.queue_id,
            queue_offset: first.queue_offset + i64::from(store::seeded!("wrong-offset")),
            recall_handle,
            transaction_id: Some(unique),
            ..self.receipt()
        };
        Staged {
            told,
            ticket: self.b.ticket(self.config, first.gate, wait),
            messages: u64::from(first.size > 0),
            bytes: first.size as u64,
            kind: MessageType::Normal,
            parked: None,
        }
    }

    fn batch(&self) -> Result<Staged, Fault> {
        check::replicas(self.b, self.config)?;
        let header = &self.send.header;
        let mut text = Vec::new();
        let shared = properties::sift(self.send.properties(), false, &mut text);
        check::message_type(self.config, &self.target.topic.config, shared.kind)?;
        check::transaction_bits(header.sys_flag, false)?;
        if let Some(level) = shared.asks.delay {
            crate::delay::level_of(level)?;
        }
        if self.is_inner(&shared) {
            return self.inner_batch(&shared, &text);
        }
        check::no_marks(header.sys_flag)?;
        let queue_id = check::queue_id(self.b, self.target, self.send)?;
        let queue = self.queue(queue_id)?;
        let mut deferred = shared.asks.deferral();
        if let Some(window_ms) = self.window_ms(false) {
            let shared = Shared {
                queue: &queue,
                queue_id,
                wait: shared.wait,
                deferred,
                unique: shared.unique.map(Str::from),
                kind: shared.kind,
            };
            return self.batch_once(&shared, window_ms);
        }
        let mut drafts = Vec::new();
        for message in batch::sub_messages(&self.send.body) {
            let message = message.map_err(|e| batch_malformed(&e))?;
            deferred = deferred.or_else(|| properties::deferred_in(message.properties));
            self.must_have_key(message.properties)?;
            drafts.push(self.draft(
                &queue,
                message.flag,
                (message.body, message.properties),
                shared.wait,
            ));
        }
        if let Some(name) = deferred {
            return Err(check::deferred(self.config, name));
        }
        let receipts = self
            .b
            .store
            .append_batch(&drafts)
            .map_err(|e| self.not_appended(&e))?;
        let Some(last) = receipts.last() else {
            return Err(self.not_appended(&AppendError::Empty));
        };
        let told = SendReceipt {
            msg_id: offset_ids(self.b.host, receipts.iter().map(|receipt| receipt.pos.0)),
            queue_id,
            queue_offset: receipts[0].queue_offset,
            transaction_id: shared.unique.map(Str::from),
            ..self.receipt()
        };
        Ok(Staged {
            told,
            ticket: self.b.ticket(self.config, last.gate, shared.wait),
            messages: receipts.len() as u64,
            bytes: receipts.iter().map(|receipt| receipt.size as u64).sum(),
            kind: shared.kind,
            parked: None,
        })
    }

    /// A message of a batch to a compacted topic needs a key like any other. The reference takes it and never delivers it.
    fn must_have_key(&self, properties: &[u8]) -> Result<(), Fault> {
        let keys = || wire::properties::get(properties, wire::properties::name::KEYS);
        if self.target.topic.is_compacted && keys().is_none_or(|keys| keys.trim().is_empty()) {
            return Err(check::no_key());
        }
        Ok(())
    }

    fn queue(&self, id: i32) -> Result<Arc<Queue>, Fault> {
        // A topic whose queues were taken away between the check and here.
        self.target
            .topic
            .queue(&self.b.store, id)
            .ok_or_else(|| check::no_topic(&self.target.topic.config.topic_name))
    }

    fn draft<'d>(
        &self,
        queue: &'d Arc<Queue>,
        flag: i32,
        (body, properties): (&'d [u8], &'d [u8]),
        wait: bool,
    ) -> Draft<'d> {
        let header = &self.send.header;
        let multi_tags = self.target.topic.config.topic_filter_type == TopicFilterType::MultiTag;
        Draft {
            queue,
            flag,
            // Whether it is a half is said by the properties, and stands in the record only where it is committed.
            sys_flag: header.sys_flag & !sysflag::TRANSACTION
                | if multi_tags { sysflag::MULTI_TAGS } else { 0 },
            born_at: header.born_timestamp,
            born_host: self.send.peer.addr,
            store_host: self.b.host,
            reconsume_times: header.reconsume_times.unwrap_or_default(),
            prepared_pos: 0,
            body,
            properties,
            wait,
        }
    }

    fn receipt(&self) -> SendReceipt {
        SendReceipt {
            region: Some(self.config.region_id.clone()),
            trace_on: Some(Str::const_new(if self.config.trace_on {
                "true"
            } else {
                "false"
            })),
            ..SendReceipt::default()
        }
    }

    fn not_appended(&self, error: &AppendError) -> Fault {
        self.b.counts.put_failures.fetch_add(1, Ordering::Relaxed);
        not_appended(error, Subject::topic(&self.target.topic.config.topic_name))
    }
}
