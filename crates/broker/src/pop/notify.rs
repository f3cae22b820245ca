// SPDX-License-Identifier: Apache-2.0
//! Codes 200054 and 200055: whether a pop would find something, and how many pops are held.

use std::pin::pin;
use std::sync::Arc;

use net::{Answer, Call, Fault, Peer, Reply};
use store::Queue;
use wire::api::pop::{Notification, NotificationReply, PollingInfo, PollingInfoReply};
use wire::ext::Ext;

use super::bell::{Bell, NoPlace};
use super::check::{self, About};
use super::hold::Patience;
use super::order::Of;
use super::take::position;
use crate::broker::Broker;
use crate::offset::find_queue;
use crate::topic::Topic;

/// A look at queues.
struct Look {
    has_message: bool,
    ended: Vec<(Arc<Queue>, i64)>,
    blocked_until: Option<i64>,
}

/// Code 200054.
pub(crate) fn notification(
    b: &Arc<Broker>,
    call: Call<Notification>,
) -> Result<Answer<NotificationReply>, Fault> {
    let Call { mut header, peer, .. } = call;
    if header.born_time == 0 {
        header.born_time = b.env.clock.now_ms();
    }
    let refused = |fault: Fault| fault.with_ext(Ext::of(&NotificationReply::default()));
    check::broker_is_readable(b, &b.config(), "peeking").map_err(refused)?;
    topic_of(b, &header, &peer).map_err(refused)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let group = &header.consumer_group;
        check::group_may_consume(&b, group, &peer)
            .await
            .map_err(refused)?;
        serve(&b, &header, &peer).await.map_err(refused)
    })))
}

fn topic_of(b: &Broker, header: &Notification, peer: &Peer) -> Result<Arc<Topic>, Fault> {
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    check::topic_is_readable(b, about, peer)
}

async fn serve(
    b: &Arc<Broker>,
    header: &Notification,
    peer: &Peer,
) -> Result<Reply<NotificationReply>, Fault> {
    let bell = b.pop.bell(&header.consumer_group, &header.topic);
    // Held notifications have places of their own.
    let own: Arc<Bell> = b.pop.notified(&header.consumer_group, &header.topic);
    let patience = Patience {
        born_time: header.born_time,
        poll_time: header.poll_time,
    };
    let mut place = None;
    loop {
        let waited = place.is_some();
        let answer = |has_msg, polling_full| {
            Ok(Reply {
                waited,
                ..Reply::ok(NotificationReply {
                    has_msg,
                    polling_full,
                })
            })
        };
        let mut rung = pin!(bell.rung.notified());
        rung.as_mut().enable();
        let topic = topic_of(b, header, peer)?;
        let look = look(b, header, &topic);
        if look.has_message {
            return answer(true, false);
        }
        let held = patience.check(b.env.clock.now_ms());
        let held = held.and_then(|()| match place.take() {
            Some(place) => Ok(place),
            None => {
                let config = b.config();
                let limits = (
                    config.pop_polling_size as usize,
                    config.max_pop_polling_size as usize,
                );
                own.take_place(header.queue_id, &b.pop.held_notifications, limits)
            }
        });
        match held {
            Ok(taken) => place = Some(taken),
            Err(NoPlace::Full) => return answer(false, true),
            Err(NoPlace::TimeIsUp) => return answer(false, false),
        }
        patience.sleep(b, rung, &look.ended, look.blocked_until).await;
        tokio::task::yield_now().await;
    }
}

fn look(b: &Broker, header: &Notification, topic: &Topic) -> Look {
    let mut look = Look {
        has_message: false,
        ended: Vec::new(),
        blocked_until: None,
    };
    let group = header.consumer_group.as_str();
    if header.queue_id >= 0 {
        look_at(b, header, (topic, header.queue_id), &mut look);
    } else {
        look_at_all(b, header, topic, &mut look);
    }
    for retry in check::retry_topics(&b.config(), &header.topic, group) {
        if let Some(retry) = b.topics.get(&retry) {
            look_at_all(b, header, &retry, &mut look);
        }
    }
    look
}

fn look_at_all(b: &Broker, header: &Notification, topic: &Topic, look: &mut Look) {
    for queue_id in 0..topic.config.read_queue_nums {
        if look.has_message {
            return;
        }
        look_at(b, header, (topic, queue_id), look);
    }
}

fn look_at(b: &Broker, header: &Notification, (topic, queue_id): (&Topic, i32), look: &mut Look) {
    let (group, name) = (header.consumer_group.as_str(), topic.config.topic_name.as_str());
    if header.order == Some(true) {
        let of = Of {
            topic: &header.topic,
            group,
            queue_id,
        };
        let attempt = header.attempt_id.as_deref();
        let blocked = b.pop.orders.blocked_until(of, attempt, 0, b.env.clock.now_ms());
        if let Some(until) = blocked {
            look.blocked_until = Some(look.blocked_until.map_or(until, |first| first.min(until)));
            return;
        }
    }
    let from = position(b, group, name, queue_id);
    // A queue nobody has written to yet is made: the request waits for its first message.
    let queue = find_queue(b, name, queue_id).or_else(|| topic.queue(&b.store, queue_id));
    let Some(queue) = queue else { return };
    look.has_message |= queue.max() > from;
    look.ended.push((queue, from));
}

/// Code 200055.
pub(crate) fn polling_info(
    b: &Arc<Broker>,
    call: Call<PollingInfo>,
) -> Result<Answer<PollingInfoReply>, Fault> {
    let Call { header, peer, .. } = call;
    let refused = |fault: Fault| fault.with_ext(Ext::of(&PollingInfoReply::default()));
    check::broker_is_readable(b, &b.config(), "peeking").map_err(refused)?;
    let about = About {
        topic: &header.topic,
        group: &header.consumer_group,
        queue_id: header.queue_id,
    };
    check::topic_is_readable(b, about, &peer).map_err(refused)?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let group = &header.consumer_group;
        check::group_may_consume(&b, group, &peer)
            .await
            .map_err(refused)?;
        let held = b.pop.bell(group, &header.topic).held(header.queue_id);
        Ok(Reply::ok(PollingInfoReply {
            polling_num: i32::try_from(held).unwrap_or(i32::MAX),
        }))
    })))
}
