// SPDX-License-Identifier: Apache-2.0
//! Code 200050: handing out.
//!
//! A round goes through the queues that were asked for until the answer is full. Each of them is read from the first
//! offset nobody was handed, under the turn of its line, which others pass by meanwhile; what was read is handed out, and
//! is in the journal, before the next queue is looked at. A retry topic is read first by some of the rounds and last by
//! the others.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use net::{Answer, Call, Fault, Peer, Reply};
use store::{Queue, ReadError};
use tracing::warn;
use wire::Str;
use wire::api::pop::{PopMessage, PopReply};
use wire::code::ResponseCode;
use wire::ext::Ext;
use wire::properties::Properties;
use wire::receipt::{ORDERED, OffsetInfo, Receipt};
use wire::record::{PROPERTIES_BYTES_MAX, Parts, RecordHead, Seal, encode_record};

use super::check::{self, About};
use super::flight::Handout;
use super::hold;
use super::line::Line;
use super::log::Name;
use super::order::{Batch, Of};
use super::table::{Written, moved};
use crate::blocking;
use crate::broker::Broker;
use crate::fault::not_read;
use crate::filter::Wanted;
use crate::offset::{begins_in_memory, find_queue};
use crate::pull::{Found, limit_of};
use crate::replication::NO_POPS;
use crate::subject::Subject;
use crate::topic::Topic;

/// Messages of one answer.
pub(super) const MESSAGES_MAX: i32 = 32;
/// How late a request may be.
const LATE_MAX_MS: i64 = 500;
const POP_CK: &str = "POP_CK";

/// A pop, as long as it is not answered.
pub(super) struct Ask {
    pub(super) header: PopMessage,
    pub(super) peer: Arc<Peer>,
    pub(super) wanted: Wanted,
}

impl Ask {
    pub(super) fn is_ordered(&self) -> bool {
        self.header.order == Some(true)
    }

    fn wanted(&self) -> usize {
        usize::try_from(self.header.max_msg_nums).unwrap_or(0)
    }
}

/// What one round came to.
#[derive(Default)]
pub(super) struct Round {
    bodies: Vec<Bytes>,
    count: usize,
    info: OffsetInfo,
    pub(super) rest: i64,
    pop_time: i64,
    revive_qid: i32,
    written: Written,
    /// Queues that have nothing yet behind these offsets.
    pub(super) ended: Vec<(Arc<Queue>, i64)>,
    /// When the first ordered queue that is blocked now hands out again.
    pub(super) blocked_until: Option<i64>,
}

impl Round {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Code 200050.
pub(crate) fn pop_message(b: &Arc<Broker>, call: Call<PopMessage>) -> Result<Answer<PopReply>, Fault> {
    let Call { mut header, peer, .. } = call;
    let now_ms = b.env.clock.now_ms();
    if header.born_time == 0 {
        header.born_time = now_ms;
    }
    let refused = |fault: Fault| fault.with_ext(Ext::of(&PopReply::default()));
    let late = now_ms
        .saturating_sub(header.born_time)
        .saturating_sub(header.poll_time);
    if late > LATE_MAX_MS {
        let remark = format!("the broker[{}] pop message is timeout too much", b.host.ip());
        return Err(refused(Fault::new(ResponseCode::POLLING_TIMEOUT, remark)));
    }
    admit(b, &header, &peer).map_err(refused)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let answer = async {
            check::group_may_consume(&b, &header.consumer_group, &peer).await?;
            let wanted = check::filter_of(&b, header.exp_type.as_deref(), header.exp.as_deref())?;
            hold::serve(&b, Ask { header, peer, wanted }).await
        };
        answer.await.map_err(refused)
    })))
}

fn admit(b: &Broker, header: &PopMessage, peer: &Peer) -> Result<(), Fault> {
    let config = b.config();
    let host = b.host.ip();
    check::broker_is_readable(b, &config, "pop")?;
    if header.max_msg_nums > MESSAGES_MAX {
        let remark = format!("the broker[{host}] pop message's num is greater than 32");
        return Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    }
    if !config.timer_wheel_enable {
        let remark = format!("the broker[{host}] pop message is forbidden because timerWheelEnable is false");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    check::topic_is_readable(b, about, peer).map(drop)
}

/// One round.
pub(super) async fn round(b: &Arc<Broker>, ask: &Ask) -> Result<Round, Fault> {
    if !b.may_pop() {
        // The master came back while this one was held.
        return Err(Fault::new(ResponseCode::SERVICE_NOT_AVAILABLE, NO_POPS));
    }
    let header = &ask.header;
    let topic = check::topic_is_readable(
        b,
        About {
            topic: &header.topic,
            group: &header.consumer_group,
            queue_id: header.queue_id,
        },
        &ask.peer,
    )?;
    let number = b.pop.next_round();
    let (revive_queues, retry_percent, is_v2) = {
        let config = b.config();
        let is_v2 = config.enable_retry_topic_v2 && config.retrieve_message_from_pop_retry_topic_v1;
        (
            config.revive_queue_num.max(1),
            config.pop_from_retry_probability,
            is_v2,
        )
    };
    let mut round = Round {
        pop_time: b.env.clock.now_ms(),
        revive_qid: if ask.is_ordered() {
            ORDERED
        } else {
            (number % revive_queues).cast_signed()
        },
        ..Round::default()
    };
    let chance = b.env.rng.below(100);
    // Of two retry topics one round reads one: they share a digit in the handles of old clients.
    let retries = check::retry_topics(&b.config(), &header.topic, &header.consumer_group);
    let retry = retries
        .get(usize::from(is_v2 && chance.is_multiple_of(2)))
        .or(retries.first());
    let retry = retry
        .filter(|_| !ask.is_ordered())
        .and_then(|retry| b.topics.get(retry));
    let is_retry_first = chance < u64::from(retry_percent);
    let filled = async {
        if let Some(retry) = retry.as_ref().filter(|_| is_retry_first) {
            all_queues(b, ask, (retry, chance), &mut round).await?;
        }
        if header.queue_id < 0 {
            all_queues(b, ask, (&topic, chance), &mut round).await?;
        } else {
            one_queue(b, ask, (&topic, header.queue_id), &mut round).await?;
        }
        if let Some(retry) = retry
            .as_ref()
            .filter(|_| !is_retry_first && round.count < ask.wanted())
        {
            all_queues(b, ask, (retry, chance), &mut round).await?;
        }
        Ok(())
    };
    if let Err(fault) = filled.await {
        // What other queues gave is handed out already, and would have to wait for the end of its leases.
        if round.is_empty() {
            return Err(fault);
        }
        warn!(group = %header.consumer_group, topic = %header.topic, remark = %fault.remark, "one queue could not be popped from, the others were");
    }
    b.pop.safe(round.written).await?;
    Ok(round)
}

async fn all_queues(
    b: &Arc<Broker>,
    ask: &Ask,
    (topic, chance): (&Arc<Topic>, u64),
    round: &mut Round,
) -> Result<(), Fault> {
    let queues = topic.config.read_queue_nums;
    let begin = i32::try_from(chance).unwrap_or(0);
    for step in 0..queues {
        one_queue(b, ask, (topic, (begin + queues - 1 - step) % queues), round).await?;
    }
    Ok(())
}

async fn one_queue(
    b: &Arc<Broker>,
    ask: &Ask,
    (topic, queue_id): (&Topic, i32),
    round: &mut Round,
) -> Result<(), Fault> {
    let Some(queue) = topic.queue(&b.store, queue_id) else {
        return Ok(());
    };
    let line = line_of(b, ask, &queue)?;
    let next = {
        let mut state = line.state.lock();
        b.pop.follow(&b.offsets, &line, &mut state)?;
        state.flight.next()
    };
    if !ask.is_ordered() && next == queue.max() {
        // Whoever took the turn for this would be missed by others that look for nothing either, and ring for all that wait.
        round.ended.push((queue, next));
        return Ok(());
    }
    let Some(turn) = line.take_turn() else {
        if !ask.is_ordered() {
            round.rest += (queue.max() - next).max(0);
        }
        return Ok(());
    };
    let in_flight = line.state.lock().flight.count() as u64;
    let is_stopped = {
        let config = b.config();
        config.enable_pop_message_threshold && in_flight > config.pop_inflight_message_threshold
    };
    if is_stopped {
        warn!(
            group = %line.name.group, topic = %line.name.topic, queue = queue_id, count = in_flight,
            "too many messages are not settled, this queue waits for consumers (popInflightMessageThreshold)"
        );
        round.rest += (queue.max() - next).max(0);
        return Ok(());
    }
    if is_blocked(b, ask, &line, round) {
        return Ok(());
    }
    if round.count >= ask.wanted() {
        round.rest += (queue.max() - next).max(0);
        return Ok(());
    }
    take(b, ask, (&line, &queue), round).await?;
    drop(turn);
    Ok(())
}

/// Whether an ordered queue hands out nothing now, because a batch of it is out.
fn is_blocked(b: &Broker, ask: &Ask, line: &Line, round: &mut Round) -> bool {
    if !ask.is_ordered() {
        return false;
    }
    let until = b.pop.orders.blocked_until(
        order_of(line),
        ask.header.attempt_id.as_deref(),
        ask.header.invisible_time,
        b.env.clock.now_ms(),
    );
    if let Some(until) = until {
        round.blocked_until = Some(round.blocked_until.map_or(until, |first| first.min(until)));
    }
    until.is_some()
}

/// Reads and hands out. The turn of the line is the caller's.
async fn take(
    b: &Arc<Broker>,
    ask: &Ask,
    (line, queue): (&Arc<Line>, &Arc<Queue>),
    round: &mut Round,
) -> Result<(), Fault> {
    let count = ask.wanted() - round.count;
    // A second look where the first says that the offset is none of the queue, or where the group was set elsewhere
    // meanwhile: the turn keeps other pops away, but not acknowledgements of ordered messages, nor commits.
    for is_last in [false, true] {
        let from = line.state.lock().flight.next();
        let found = read(b, ask, queue, (from, count)).await?;
        let corrected = match found {
            Found::Messages { records, next, .. } => {
                if hand_out(b, ask, (line, queue), ((from, next), records), round)? {
                    return Ok(());
                }
                if is_last {
                    return Err(moved());
                }
                if is_blocked(b, ask, line, round) {
                    return Ok(());
                }
                continue;
            }
            Found::NoMatch { next, .. } | Found::Removed { next, .. } => {
                if !skip(b, ask, line, (from, next), round)? {
                    if is_last {
                        return Err(moved());
                    }
                    continue;
                }
                round.rest += (queue.max() - next).max(0);
                round.ended.push((Arc::clone(queue), next));
                return Ok(());
            }
            Found::AtEnd | Found::Empty | Found::NoQueue if from <= queue.max() => {
                round.ended.push((Arc::clone(queue), from));
                return Ok(());
            }
            Found::NoEntries { next, .. } => next,
            Found::Reset { offset } => offset,
            Found::TooSmall { min } => min,
            Found::TooLarge { max } => max,
            Found::AtEnd | Found::Empty | Found::NoQueue | Found::AtMaster { .. } => queue.max(),
        };
        warn!(group = %line.name.group, topic = %line.name.topic, queue = line.name.queue_id, from, to = corrected, "pop goes on where the queue has messages");
        let mut state = line.state.lock();
        if state.flight.next() == from {
            round.written = round.written.max(b.pop.move_to(line, &mut state, corrected)?);
            b.pop.publish(&b.offsets, line, &mut state);
        }
        if is_last {
            round.ended.push((Arc::clone(queue), corrected));
        }
    }
    Ok(())
}

/// What no consumer wants is settled. `false`: the group is not there any more, and nothing is done.
fn skip(
    b: &Broker,
    ask: &Ask,
    line: &Arc<Line>,
    (from, next): (i64, i64),
    round: &mut Round,
) -> Result<bool, Fault> {
    let mut state = line.state.lock();
    if !state.is_at(from) {
        return Ok(false);
    }
    let written = if ask.is_ordered() {
        b.pop.move_to(line, &mut state, next)?
    } else {
        b.pop
            .hand_out(line, &mut state, &Handout::new((from, next), &[], (0, 0)))?
    };
    round.written = round.written.max(written);
    b.pop.publish(&b.offsets, line, &mut state);
    Ok(true)
}

/// Hands out what was read. `false`: the group is not there any more, and nothing is done.
fn hand_out(
    b: &Broker,
    ask: &Ask,
    (line, queue): (&Arc<Line>, &Arc<Queue>),
    ((from, next), records): ((i64, i64), Bytes),
    round: &mut Round,
) -> Result<bool, Fault> {
    let offsets = offsets_of(&records);
    let Name { topic, queue_id, .. } = &line.name;
    let invisible_time = ask.header.invisible_time;
    let visible_at = round.pop_time.saturating_add(invisible_time);
    // A record that holds several messages comes as a whole, also where the group was set to one in the middle.
    let (asked, from) = (from, offsets.first().map_or(from, |first| from.min(*first)));
    {
        let mut state = line.state.lock();
        if !state.is_at(asked) {
            return Ok(false);
        }
        if from < asked {
            round.written = round.written.max(b.pop.move_to(line, &mut state, from)?);
        }
        if ask.is_ordered() {
            let batch = Batch {
                attempt_id: ask.header.attempt_id.as_deref(),
                pop_time: round.pop_time,
                invisible_time,
                offsets: &offsets,
                now_ms: b.env.clock.now_ms(),
            };
            b.pop.orders.hand_out(order_of(line), batch, &mut round.info);
        } else {
            let handout = Handout::new((from, next), &offsets, (round.pop_time, visible_at)).to(ask.peer.id);
            round.written = round.written.max(b.pop.hand_out(line, &mut state, &handout)?);
        }
        b.pop.publish(&b.offsets, line, &mut state);
    }
    round.info.add((topic, *queue_id), from, &offsets);
    round.count += offsets.len();
    round.rest += (queue.max() - next).max(0);
    let is_retry = *topic != ask.header.topic;
    count(b, ask, line, (offsets.len() as u64, records.len() as u64));
    let is_renamed = is_retry && !b.config().pop_response_return_actual_retry_topic;
    if is_renamed {
        let receipt = Receipt {
            start_offset: from,
            pop_time: round.pop_time,
            invisible_time,
            revive_qid: round.revive_qid,
            broker_name: b.config().broker_name.clone(),
        };
        round.bodies.push(renamed(&records, &ask.header.topic, &receipt));
    } else {
        round.bodies.push(records);
    }
    Ok(true)
}

/// Takes note of messages that are handed out, and of their bytes.
fn count(b: &Broker, ask: &Ask, line: &Line, (messages, bytes): (u64, u64)) {
    let (reader, is_system) = line.reader(b);
    b.counts.got(*is_system, messages);
    let flow = if line.name.topic == ask.header.topic {
        &reader.popped
    } else {
        &reader.popped_again
    };
    flow.add(messages, bytes);
    if !ask.is_ordered() {
        b.counts.leases.add(1);
        reader.leases.add(1);
    }
}

/// Records of a retry topic as consumers of the topic itself see them: under its name, with the handle in a property,
/// because it cannot be made from the answer any more.
fn renamed(records: &[u8], topic: &str, receipt: &Receipt) -> Bytes {
    let mut out = Vec::with_capacity(records.len() + 256);
    let mut begin = 0;
    for head in heads(records) {
        let record = records.get(begin..begin + head.total_size).unwrap_or_default();
        begin += head.total_size;
        let (parts, stamp) = (head.parts, head.stamp);
        let mut properties = Properties::from_bytes(parts.properties);
        if properties.get(POP_CK).is_none() {
            let queue_id = parts.queue_id.cast_signed();
            properties.set(POP_CK, &receipt.handle(parts.topic, queue_id, stamp.queue_offset));
        }
        if properties.as_bytes().len() > PROPERTIES_BYTES_MAX {
            // There is no room for the handle: under its own name clients can make it.
            out.extend_from_slice(record);
            continue;
        }
        let renamed = Parts {
            topic,
            properties: properties.as_bytes(),
            ..parts
        };
        encode_record(&mut out, &renamed, &stamp, Seal::Absent);
    }
    out.into()
}

fn heads(records: &[u8]) -> impl Iterator<Item = RecordHead<'_>> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let head = RecordHead::scan(rest).ok()?;
        rest = rest.get(head.total_size..)?;
        Some(head)
    })
}

/// The offsets of records that were read.
pub(super) fn offsets_of(records: &[u8]) -> Vec<i64> {
    heads(records).map(|head| head.stamp.queue_offset).collect()
}

/// Reads a queue, wherever its messages are.
async fn read(
    b: &Arc<Broker>,
    ask: &Ask,
    queue: &Arc<Queue>,
    (from, count): (i64, usize),
) -> Result<Found, Fault> {
    let limit = limit_of(&b.config(), queue, count);
    let found = match Found::of(b.store.read_cached(queue, from, &limit, &ask.wanted)) {
        Err(ReadError::NotCached) => {
            let (store, queue, wanted) = (Arc::clone(&b.store), Arc::clone(queue), ask.wanted.clone());
            blocking::run(b, &ask.peer, move || {
                Found::of(store.read(&queue, from, &limit, &wanted))
            })
            .await?
        }
        found => found,
    };
    found.map_err(|error| {
        let about = Subject::queue(queue.topic(), queue.id(), from).of(&ask.header.consumer_group);
        not_read(&error, about.asked_by(ask.peer.addr))
    })
}

/// The line of a queue for the group that asks. A group that never committed begins where the request says.
fn line_of(b: &Broker, ask: &Ask, queue: &Arc<Queue>) -> Result<Arc<Line>, Fault> {
    let group = &ask.header.consumer_group;
    let queue_id = queue.id().cast_signed();
    if let Some(line) = b.pop.line(group, queue.topic(), queue_id) {
        return Ok(line);
    }
    let name = Name {
        group: group.clone(),
        topic: queue.topic().into(),
        queue_id,
    };
    let committed = b.offsets.query(group, queue.topic(), queue_id);
    let line = b
        .pop
        .ensure_line(name, committed, || first_offset(b, ask, queue))?;
    b.pop.publish(&b.offsets, &line, &mut line.state.lock());
    Ok(line)
}

fn first_offset(b: &Broker, ask: &Ask, queue: &Queue) -> i64 {
    let is_retry = queue.topic() != ask.header.topic.as_str();
    if ask.header.init_mode == 0 || is_retry {
        return queue.min();
    }
    if b.config().init_pop_offset_by_check_msg_in_mem && queue.min() <= 0 && begins_in_memory(b, queue) {
        return 0;
    }
    (queue.max() - 1).max(0)
}

pub(super) fn order_of(line: &Line) -> Of<'_> {
    Of {
        topic: &line.name.topic,
        group: &line.name.group,
        queue_id: line.name.queue_id,
    }
}

/// Where a group goes on in a queue without changing anything.
pub(super) fn position(b: &Broker, group: &str, topic: &str, queue_id: i32) -> i64 {
    let committed = b.offsets.query(group, topic, queue_id);
    let line = b.pop.line(group, topic, queue_id);
    let next = line.map(|line| {
        let state = line.state.lock();
        if state.published == committed {
            state.flight.next()
        } else {
            committed.unwrap_or(0)
        }
    });
    let next = next.or(committed);
    next.unwrap_or_else(|| find_queue(b, topic, queue_id).map_or(0, |queue| queue.min()))
}

/// The answer to a pop.
pub(super) fn reply(ask: &Ask, round: Round, code: ResponseCode) -> Reply<PopReply> {
    let text = |text: String| Some(Str::from(text));
    let header = PopReply {
        pop_time: round.pop_time,
        invisible_time: ask.header.invisible_time,
        revive_qid: round.revive_qid,
        rest_num: round.rest,
        start_offset_info: text(round.info.starts),
        msg_offset_info: text(round.info.offsets),
        order_count_info: ask.is_ordered().then(|| round.info.counts.into()),
    };
    let remark = if round.count > 0 {
        "FOUND"
    } else {
        "NO_MESSAGE_IN_QUEUE"
    };
    Reply {
        code,
        remark: Some(remark.into()),
        header,
        extra: Vec::new(),
        body: joined(round.bodies),
        waited: false,
    }
}

/// Several bodies as one; a single one is not copied.
pub(super) fn joined(mut bodies: Vec<Bytes>) -> Bytes {
    if bodies.len() < 2 {
        return bodies.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(bodies.iter().map(Bytes::len).sum());
    bodies.iter().for_each(|body| all.extend_from_slice(body));
    all.freeze()
}
