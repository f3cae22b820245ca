// SPDX-License-Identifier: Apache-2.0
//! Code 200052: what a pop would bring, without leases and without going on.

use std::sync::Arc;

use bytes::Bytes;
use net::{Answer, Call, Fault, Peer, Reply};
use store::All;
use wire::api::pop::{PeekMessage, PopReply};
use wire::code::ResponseCode;
use wire::ext::Ext;

use super::check::{self, About};
use super::take::{joined, position};
use crate::blocking;
use crate::broker::Broker;
use crate::fault::not_read;
use crate::pull::{Found, limit_of};
use crate::subject::Subject;
use crate::topic::Topic;

/// What was found so far.
#[derive(Default)]
struct Peeked {
    bodies: Vec<Bytes>,
    count: usize,
    rest: i64,
}

/// Code 200052.
pub(crate) fn peek_message(b: &Arc<Broker>, call: Call<PeekMessage>) -> Result<Answer<PopReply>, Fault> {
    let Call { header, peer, .. } = call;
    let refused = |fault: Fault| fault.with_ext(Ext::of(&PopReply::default()));
    check::broker_is_readable(b, &b.config(), "peeking").map_err(refused)?;
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    let topic = check::topic_is_readable(b, about, &peer).map_err(refused)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let group = &header.consumer_group;
        check::group_may_consume(&b, group, &peer)
            .await
            .map_err(refused)?;
        peek(&b, &header, &topic, &peer).await.map_err(refused)
    })))
}

async fn peek(
    b: &Arc<Broker>,
    header: &PeekMessage,
    topic: &Topic,
    peer: &Arc<Peer>,
) -> Result<Reply<PopReply>, Fault> {
    let mut peeked = Peeked::default();
    let retry = b.topics.get(&check::retry_topic(
        &b.config(),
        &header.topic,
        &header.consumer_group,
    ));
    let chance = b.env.rng.below(100);
    let is_retry_first = chance.is_multiple_of(5);
    if let Some(retry) = retry.as_ref().filter(|_| is_retry_first) {
        all_queues(b, (header, peer), (retry, chance), &mut peeked).await?;
    }
    if header.queue_id >= 0 {
        one_queue(b, (header, peer), (topic, header.queue_id), &mut peeked).await?;
    } else {
        all_queues(b, (header, peer), (topic, chance), &mut peeked).await?;
    }
    let wanted = usize::try_from(header.max_msg_nums).unwrap_or(0);
    if let Some(retry) = retry
        .as_ref()
        .filter(|_| !is_retry_first && peeked.count < wanted)
    {
        all_queues(b, (header, peer), (retry, chance), &mut peeked).await?;
    }
    let (code, remark) = if peeked.count > 0 {
        let bytes: usize = peeked.bodies.iter().map(Bytes::len).sum();
        b.counts.got(topic.is_system, peeked.count as u64);
        let reader = topic.traffic.reader(&header.consumer_group);
        reader.pulled.add(peeked.count as u64, bytes as u64);
        (ResponseCode::SUCCESS, "FOUND")
    } else {
        (ResponseCode::PULL_NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
    };
    Ok(Reply {
        code,
        remark: Some(remark.into()),
        header: PopReply {
            rest_num: peeked.rest,
            ..PopReply::default()
        },
        extra: Vec::new(),
        body: joined(peeked.bodies),
        waited: false,
    })
}

async fn all_queues(
    b: &Arc<Broker>,
    from: (&PeekMessage, &Arc<Peer>),
    (topic, chance): (&Topic, u64),
    peeked: &mut Peeked,
) -> Result<(), Fault> {
    let queues = topic.config.read_queue_nums;
    let begin = i32::try_from(chance).unwrap_or(0);
    for step in 0..queues {
        one_queue(b, from, (topic, (begin + step) % queues), peeked).await?;
    }
    Ok(())
}

async fn one_queue(
    b: &Arc<Broker>,
    (header, peer): (&PeekMessage, &Arc<Peer>),
    (topic, queue_id): (&Topic, i32),
    peeked: &mut Peeked,
) -> Result<(), Fault> {
    let Some(queue) = topic.queue(&b.store, queue_id) else {
        return Ok(());
    };
    let from = position(b, &header.consumer_group, &topic.config.topic_name, queue_id);
    peeked.rest += queue.max() - from;
    let wanted = usize::try_from(header.max_msg_nums).unwrap_or(0);
    if peeked.count >= wanted {
        return Ok(());
    }
    let limit = limit_of(&b.config(), &queue, wanted - peeked.count);
    // An offset that is none of the queue is put right, for this look only.
    let from = from.clamp(queue.min(), queue.max().max(queue.min()));
    let store = Arc::clone(&b.store);
    let found = blocking::run(b, peer, move || Found::of(store.read(&queue, from, &limit, &All))).await?;
    if let Found::Messages { records, count, .. } = found.map_err(|error| {
        not_read(
            &error,
            Subject::queue(&topic.config.topic_name, queue_id, from)
                .of(&header.consumer_group)
                .asked_by(peer.addr),
        )
    })? {
        peeked.bodies.push(records);
        peeked.count += count;
    }
    Ok(())
}
