// SPDX-License-Identifier: Apache-2.0
//! Codes 200051, 200151 and 200053: a message is settled, or stays with its consumer for another time.
//!
//! A handle is good for the time at which it was handed out. One that is not good any more changes nothing and is answered
//! with success, as in the reference: its message is settled, or comes again.
//!
//! A batch of acknowledgements is dealt with at once, on the thread of its connection, so how much it may name is limited.

use std::sync::Arc;

use net::{Answer, Call, Fault, Peer, Reply};
use wire::Str;
use wire::api::pop::{AckMessage, BatchAckMessage, ChangeMessageInvisibletime, ChangedReply};
use wire::body::pop::{BatchAck, BatchAcks};
use wire::code::{NoHeader, ResponseCode};
use wire::ext::Ext;
use wire::fastjson;
use wire::receipt::{ORDERED, Origin, Receipt};

use super::check::{self, About};
use super::line::Line;
use super::log::Single;
use super::order::{Of, Settled};
use super::table::Written;
use super::take::MESSAGES_MAX;
use super::takeover;
use crate::broker::Broker;
use crate::fault::bad_body;
use crate::offset::find_queue;

/// Offsets one entry of a batch may be about.
const BITS_MAX: usize = 1 << 16;
/// Entries of a batch and messages that they name, all told: some ten milliseconds. A pop hands out 32 messages.
const BATCH_MAX: usize = 1 << 14;

/// Code 200051.
pub(crate) fn ack_message(b: &Arc<Broker>, call: Call<AckMessage>) -> Result<Answer<NoHeader>, Fault> {
    let Call { header, peer, .. } = call;
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    check::queue_is_there(b, about, &peer)?;
    let (min, max) = bounds(b, about);
    if header.offset < min || header.offset > max {
        let remark = format!(
            "offset is illegal, key:{}@{}, commit:{}, store:{min}~{max}",
            header.topic, header.queue_id, header.offset
        );
        return Err(Fault::new(ResponseCode::NO_MESSAGE, remark));
    }
    let receipt = receipt_of(&header.extra_info)?;
    let written = ack(b, about, &receipt, &[header.offset], &peer)?;
    Ok(when_safe(b, written, Reply::ok(NoHeader)))
}

/// Code 200151.
pub(crate) fn batch_ack_message(
    b: &Arc<Broker>,
    call: Call<BatchAckMessage>,
) -> Result<Answer<NoHeader>, Fault> {
    let body: BatchAcks = if call.body.is_empty() {
        BatchAcks::default()
    } else {
        fastjson::from_slice(&call.body).map_err(|e| bad_body(&e))?
    };
    if body.acks.is_empty() {
        return Err(Fault::new(
            ResponseCode::NO_MESSAGE,
            "there is no acknowledgement in the batch",
        ));
    }
    // Before anything is done: what is refused for its size can be sent again in parts.
    let bits = all_bits(&body.acks)?;
    let mut written = Written::default();
    let mut refused = None;
    for (one, (origin, bits)) in body.acks.iter().zip(bits) {
        let broker_name = body.broker_name.clone();
        // One entry that is refused does not keep the others from being settled.
        match ack_entry(b, (one, origin, broker_name), &bits, &call.peer) {
            Ok(one) => written = written.max(one),
            Err(fault) => refused = Some(fault),
        }
    }
    refused.map_or_else(|| Ok(when_safe(b, written, Reply::ok(NoHeader))), Err)
}

/// Which topic each entry is about, and its bits.
fn all_bits(acks: &[BatchAck]) -> Result<Vec<(Origin, Vec<u8>)>, Fault> {
    let mut named = acks.len();
    let mut all = Vec::with_capacity(acks.len().min(BATCH_MAX));
    for one in acks {
        let Some(origin) = Origin::parse(&one.retry) else {
            let remark = format!("\"{}\" names no topic: 0, 1 or 2 do", one.retry);
            return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
        };
        let bits = base64(&one.bits).filter(|bytes| bytes.len() <= BITS_MAX / 8);
        let bits = bits.ok_or_else(|| {
            let remark = format!("the offsets of a batch are no base 64 of at most {BITS_MAX} bits");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        named += bits.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        if named > BATCH_MAX {
            let remark = format!("a batch of acknowledgements may name {BATCH_MAX} entries and messages");
            return Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
        all.push((origin, bits));
    }
    Ok(all)
}

/// One entry of a batch. What it names of a queue there is not, or beyond the ends of one, is passed over, as in the reference.
fn ack_entry(
    b: &Arc<Broker>,
    (one, origin, broker_name): (&BatchAck, Origin, Str),
    bits: &[u8],
    peer: &Peer,
) -> Result<Written, Fault> {
    let topic = origin.topic(&one.topic, &one.consumer_group);
    let about = About {
        topic: &topic,
        group: &one.consumer_group,
        queue_id: one.queue_id,
    };
    let queue = find_queue(b, about.topic, about.queue_id);
    let Some(queue) = queue.filter(|_| b.topics.get(about.topic).is_some()) else {
        return Ok(Written::default());
    };
    let is_there = queue.min()..=queue.max();
    let offsets = bits_of(bits).filter_map(|bit| one.start_offset.checked_add(bit));
    let offsets: Vec<i64> = offsets.filter(|offset| is_there.contains(offset)).collect();
    if offsets.is_empty() {
        return Ok(Written::default());
    }
    let receipt = Receipt {
        start_offset: one.start_offset,
        pop_time: one.pop_time,
        invisible_time: one.invisible_time,
        revive_qid: one.revive_qid,
        broker_name,
    };
    ack(b, about, &receipt, &offsets, peer)
}

/// Settles messages of one queue that were handed out together.
fn ack(
    b: &Arc<Broker>,
    about: About<'_>,
    receipt: &Receipt,
    offsets: &[i64],
    peer: &Peer,
) -> Result<Written, Fault> {
    let line = b.pop.line(about.group, about.topic, about.queue_id);
    if receipt.revive_qid == ORDERED {
        let Some(line) = &line else {
            return Ok(Written::default());
        };
        let mut written = Written::default();
        let mut refused = None;
        count_acks(b, line, offsets.len());
        for offset in offsets {
            // One that is refused does not keep the others from being settled; the last of them is told.
            match ack_ordered(b, (about, line), receipt, *offset, peer) {
                Ok(one) => written = written.max(one),
                Err(fault) => refused = Some(fault),
            }
        }
        return refused.map_or(Ok(written), Err);
    }
    let mut good = Vec::with_capacity(offsets.len());
    let mut written = Written::default();
    if let Some(line) = &line {
        let mut state = line.state.lock();
        good.extend(
            offsets
                .iter()
                .filter(|offset| state.flight.holds(**offset, receipt.pop_time)),
        );
        written = b.pop.settle(line, &mut state, &good)?;
        b.pop.publish(&b.offsets, line, &mut state);
        drop(state);
        count_acks(b, line, good.len());
    }
    if good.len() < offsets.len() {
        let strange = offsets
            .iter()
            .copied()
            .filter(|offset| good.binary_search(offset).is_err());
        // Ascending, both; and one pop of the reference hands out no more.
        let strange: Vec<i64> = strange.take(MESSAGES_MAX.unsigned_abs() as usize).collect();
        takeover::ack(b, about, receipt, &strange)?;
    }
    Ok(written)
}

fn count_acks(b: &Broker, line: &Line, count: usize) {
    b.counts.acks.add(count as u64);
    line.reader(b).0.acks.add(count as u64);
}

fn ack_ordered(
    b: &Broker,
    (about, line): (About<'_>, &Arc<Line>),
    receipt: &Receipt,
    offset: i64,
    peer: &Peer,
) -> Result<Written, Fault> {
    let of = of(about);
    let mut state = line.state.lock();
    let old = state.flight.next();
    if offset < old {
        return Ok(Written::default());
    }
    let next = match b.pop.orders.settle(of, offset, receipt.pop_time) {
        Settled::Commit(next) => next,
        // The batch was forgotten in a crash. What comes first of it may be believed, the rest comes again.
        Settled::NoBatch if offset == old && was_there(b, about, offset, receipt.pop_time) => offset + 1,
        Settled::NoBatch | Settled::Stale => return Ok(Written::default()),
        Settled::Unknown => {
            let About {
                topic,
                group,
                queue_id,
            } = about;
            let remark = format!(
                "offset is illegal, key:{topic}@{group}@{queue_id}, old:{old}, commit:{offset}, next:-1, /{}",
                peer.addr
            );
            return Err(Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark));
        }
    };
    let mut written = Written::default();
    if next > old {
        written = b.pop.move_to(line, &mut state, next)?;
        b.pop.publish(&b.offsets, line, &mut state);
    }
    drop(state);
    let now_ms = b.env.clock.now_ms();
    if b.pop
        .orders
        .blocked_until(of, None, receipt.invisible_time, now_ms)
        .is_none()
    {
        line.bell.ring();
    }
    Ok(written)
}

/// Whether the message at an offset can be one that was handed out then, and not another that has taken its place since.
fn was_there(b: &Broker, about: About<'_>, offset: i64, pop_time: i64) -> bool {
    let queue = find_queue(b, about.topic, about.queue_id);
    let stored_at = queue.and_then(|queue| b.store.stored_at(&queue, offset));
    stored_at.is_some_and(|stored_at| stored_at <= pop_time)
}

/// Code 200053.
pub(crate) fn change_invisible_time(
    b: &Arc<Broker>,
    call: Call<ChangeMessageInvisibletime>,
) -> Result<Answer<ChangedReply>, Fault> {
    let Call { header, peer, .. } = call;
    let refused = |fault: Fault| fault.with_ext(Ext::of(&ChangedReply::default()));
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    check::queue_is_there(b, about, &peer).map_err(refused)?;
    let (min, max) = bounds(b, about);
    if header.offset < min || header.offset >= max {
        let remark = format!(
            "there is no message at offset {}, the queue has {min}~{max}",
            header.offset
        );
        return Err(refused(Fault::new(ResponseCode::NO_MESSAGE, remark)));
    }
    let receipt = receipt_of(&header.extra_info)?;
    let now_ms = b.env.clock.now_ms();
    let visible_at = now_ms.saturating_add(header.invisible_time);
    if receipt.revive_qid == ORDERED {
        let line = b.pop.line(about.group, about.topic, about.queue_id);
        if line.is_some_and(|line| header.offset < line.state.lock().flight.next()) {
            return Ok(Reply::ok(ChangedReply::default()).into());
        }
        b.pop
            .orders
            .change(of(about), header.offset, receipt.pop_time, visible_at);
        // A request that waits for the queue must wait another time now.
        if let Some(bell) = b.pop.find_bell(about.group, about.topic) {
            bell.ring();
        }
        let reply = Reply::ok(ChangedReply {
            pop_time: receipt.pop_time,
            invisible_time: visible_at.saturating_sub(receipt.pop_time),
            revive_qid: receipt.revive_qid,
        });
        return Ok(reply.into());
    }
    let one = Single {
        offset: header.offset,
        popped_at: now_ms,
        visible_at,
    };
    let written = change(b, about, &receipt, one).map_err(refused)?;
    let reply = Reply::ok(ChangedReply {
        pop_time: now_ms,
        invisible_time: header.invisible_time,
        revive_qid: receipt.revive_qid,
    });
    Ok(when_safe(b, written, reply))
}

fn change(b: &Arc<Broker>, about: About<'_>, receipt: &Receipt, one: Single) -> Result<Written, Fault> {
    let line = b.pop.line(about.group, about.topic, about.queue_id);
    if let Some(line) = &line {
        let mut state = line.state.lock();
        if state.flight.holds(one.offset, receipt.pop_time) {
            return b.pop.change(line, &mut state, one);
        }
    }
    takeover::change(b, about, receipt, one)
}

/// The answer to a change that is in the journal; it leaves when that is as safe as a send.
fn when_safe<T: Send + 'static>(b: &Arc<Broker>, written: Written, reply: Reply<T>) -> Answer<T> {
    if !b.pop.must_wait(written) {
        return reply.into();
    }
    let b = Arc::clone(b);
    Answer::Later(Box::pin(async move {
        b.pop.safe(written).await?;
        Ok(reply)
    }))
}

fn of(about: About<'_>) -> Of<'_> {
    Of {
        topic: about.topic,
        group: about.group,
        queue_id: about.queue_id,
    }
}

fn receipt_of(handle: &str) -> Result<Receipt, Fault> {
    Receipt::parse(handle).map_err(|error| Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string()))
}

fn bounds(b: &Broker, about: About<'_>) -> (i64, i64) {
    let queue = find_queue(b, about.topic, about.queue_id);
    queue.map_or((0, 0), |queue| (queue.min(), queue.max()))
}

/// The numbers of the bits that are set.
fn bits_of(bytes: &[u8]) -> impl Iterator<Item = i64> {
    bytes.iter().enumerate().flat_map(|(number, byte)| {
        // Most are zero in a batch that is as long as it may be.
        let bits = if *byte == 0 { 0..0 } else { 0..8_i64 };
        let set = bits.filter(move |bit| byte >> bit & 1 == 1);
        set.map(move |bit| number as i64 * 8 + bit)
    })
}

/// Base 64 with `+` and `/`.
fn base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    let (mut word, mut bits) = (0_u32, 0);
    for letter in letters {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        word = word << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    (letters.len() % 4 != 1).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_a_batch_are_read_from_the_low_end() {
        let bits = |text| base64(text).map(|bytes| bits_of(&bytes).collect::<Vec<i64>>());
        assert_eq!(bits("BQE="), Some(vec![0, 2, 8]));
        assert_eq!(bits(""), Some(vec![]));
        assert_eq!(bits("?"), None);
        assert_eq!(bits("A"), None);
    }
}
