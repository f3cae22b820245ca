// SPDX-License-Identifier: Apache-2.0
//! Code 900012, ours: why a group has not consumed a message, and what became of a message at all.
//!
//! Facts are gathered where they are ([`mod@find`]: the message and its copies; here: the group), and judged by
//! [`mod@verdict`], which knows nothing else. Nothing is changed, and no group comes into being. The work is bounded: so many
//! groups per answer, so many records per look, off the threads that serve sockets.

mod absence;
mod find;
mod verdict;

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use store::Filter as _;
use wire::api::explain::ExplainMessage;
use wire::body::explain::{
    Explanation, GroupExplanation, LastPull, MemberSeen, MessageVerdict, StoredMessage, SubscriptionSeen,
};
use wire::body::queue::MessageQueue;
use wire::body::subscription::MessageModel;
use wire::code::{NoHeader, ResponseCode};
use wire::message_id::decode_offset_id;
use wire::properties::java_hash;
use wire::{Str, fastjson};

pub(crate) use self::absence::Absences;
use self::find::{Found, Message, Named};
use self::verdict::{Facts, Try, Wish, verdict};
use crate::blocking::later;
use crate::broker::Broker;
use crate::clients::GroupView;
use crate::filter::{Registered, SQL92};
use crate::group;
use crate::group::conflicts::{PAGE_BYTES, shortened};
use crate::names::{DLQ_PREFIX, SCHEDULE_TOPIC};
use crate::offset::find_queue;
use crate::pop::{Lease, Whereabouts};
use crate::topic::{Topic, perm};

/// Groups of one answer, and what is shown of each.
const GROUPS_MAX: usize = 50;
const MEMBERS_MAX: usize = 32;
const SUBSCRIPTIONS_MAX: usize = 32;
const COPIES_MAX: usize = 32;
/// Messages with the same unique id that are shown.
const SAME_KEY_MAX: usize = 16;

/// Code 900012.
pub(crate) fn explain_message(
    b: &Arc<Broker>,
    call: Call<ExplainMessage>,
) -> Result<Answer<NoHeader>, Fault> {
    named(&call.header)?;
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let explanation = explain(&b, &call.header)?;
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&explanation)))
    }))
}

/// The one way in which the request names its message.
fn named(header: &ExplainMessage) -> Result<Named<'_>, Fault> {
    let bad = |remark: String| Fault::new(ResponseCode::INVALID_PARAMETER, remark);
    match (
        &header.offset_msg_id,
        &header.uniq_key,
        header.queue_id,
        header.queue_offset,
    ) {
        (Some(id), None, None, None) => match decode_offset_id(id) {
            Some((_, pos)) => Ok(Named::Pos(pos)),
            None => Err(bad(format!(
                "the offsetMsgId \"{id}\" is none that a broker gives"
            ))),
        },
        (None, Some(key), None, None) if !key.is_empty() => Ok(Named::Key(key)),
        (None, None, Some(queue_id), Some(offset)) if queue_id >= 0 && offset >= 0 => {
            Ok(Named::Place(queue_id, offset))
        }
        _ => Err(bad(
            "a message is named by offsetMsgId, or by uniqKey, or by queueId and queueOffset".to_owned(),
        )),
    }
}

fn explain(b: &Broker, header: &ExplainMessage) -> Result<Explanation, Fault> {
    let topic = &header.topic;
    let Some(known) = b.topics.get(topic) else {
        let remark = format!("topic[{topic}] not exist, apply first please!");
        return Err(Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    let message = Message::find(b, topic, named(header)?)?;
    let (groups, groups_left_out) = match &header.group {
        Some(group) if !group.is_empty() => (vec![group.clone()], 0),
        _ => groups_of(b, topic),
    };
    let case = Case {
        b,
        topic: &known,
        tries: match &message.unique {
            Some(key) => find::waiting_tries(b, key)?,
            None => Vec::new(),
        },
        message: &message,
    };
    let (groups, unfit) = case.of_all(groups)?;
    let same_key = message.same_key.into_iter().take(SAME_KEY_MAX);
    Ok(Explanation {
        due_ms: message.due_ms,
        groups,
        groups_left_out: groups_left_out + unfit,
        message: message.found.map(|found| found.shown),
        same_key: same_key.map(|found| found.shown).collect(),
        sentence: message.sentence.into(),
        topic: topic.clone(),
        verdict: message.verdict,
    })
}

/// The groups that have to do with a topic, and how many more there are.
fn groups_of(b: &Broker, topic: &str) -> (Vec<Str>, usize) {
    let mut groups = b.clients.groups_consuming(topic);
    groups.extend(b.offsets.groups_of(topic));
    let left_out = groups.len().saturating_sub(GROUPS_MAX);
    (groups.into_iter().take(GROUPS_MAX).collect(), left_out)
}

/// A message, for whatever groups.
struct Case<'a> {
    b: &'a Broker,
    topic: &'a Topic,
    message: &'a Message,
    /// What waits for the next try of any group.
    tries: Vec<Found>,
}

impl Case<'_> {
    /// As many groups as an answer holds, and how many more there are.
    fn of_all(&self, groups: Vec<Str>) -> Result<(Vec<GroupExplanation>, usize), Fault> {
        let (mut explained, mut bytes, all) = (Vec::new(), 0, groups.len());
        for group in groups {
            if bytes >= PAGE_BYTES {
                break;
            }
            let group = self.of(group)?;
            bytes += fastjson::to_vec(&group).len();
            explained.push(group);
        }
        let unfit = all - explained.len();
        Ok((explained, unfit))
    }

    fn of(&self, group: Str) -> Result<GroupExplanation, Fault> {
        let (b, topic) = (self.b, &self.topic.config.topic_name);
        let copies = match &self.message.unique {
            Some(key) => find::copies(b, (topic, &group), key, &self.tries)?,
            None => Vec::new(),
        };
        let view = b.clients.consumer_group(&group);
        let place = self.message.place;
        let committed = place.and_then(|(queue_id, _)| b.offsets.query(&group, topic, queue_id));
        let last_pull = place.and_then(|(queue_id, _)| self.last_pull(&group, queue_id, view.as_ref()));
        let is_stored = self.message.verdict == MessageVerdict::Stored;
        let newest = copies.last().map(|copy| &copy.shown);
        let newest_try = newest.map(|copy| newest_try(b, &group, copy));
        let popped = match newest {
            Some(copy) => whereabouts(b, &group, copy),
            None => place.and_then(|(queue_id, offset)| b.pop.whereabouts((&group, topic, queue_id), offset)),
        };
        let is_settled = popped == Some(Whereabouts::Settled);
        let leased = match popped {
            Some(Whereabouts::With(lease)) => Some(lessee(&lease, view.as_ref())),
            _ => None,
        };
        let facts = Facts {
            is_known: view.is_some()
                || b.groups.find(&group).is_some()
                || !b.offsets.topics_of(&group).is_empty(),
            is_online: view.is_some(),
            offline_since_ms: self.offline_since_ms(&group, view.as_ref()),
            is_broadcast: model(view.as_ref()) == Some(MessageModel::Broadcasting),
            forbidden: self.forbidden(&group, view.as_ref()),
            wish: self.wish(&group, view.as_ref()),
            committed,
            handed_out: self.handed_out(last_pull.as_ref()),
            offset: place.filter(|_| is_stored).map(|(_, offset)| offset),
            newest_try,
            leased,
            is_settled,
        };
        let (verdict, sentence) = verdict(&facts);
        let due_ms = match facts.newest_try {
            Some(Try::Waiting { due_ms, .. }) => Some(due_ms),
            _ => None,
        };
        let more_copies = copies.len().saturating_sub(COPIES_MAX);
        Ok(GroupExplanation {
            committed_offset: committed,
            conflict: group::conflicts::of(b, &group),
            copies: copies
                .into_iter()
                .skip(more_copies)
                .map(|copy| copy.shown)
                .collect(),
            due_ms,
            last_pull,
            locked_by: place.and_then(|(queue_id, _)| self.locked_by(&group, queue_id)),
            max_offset: place.and_then(|(queue_id, _)| Some(find_queue(b, topic, queue_id)?.max())),
            member_count: view.as_ref().map_or(0, |view| view.members.len()),
            members: members(view.as_ref()),
            message_model: model(view.as_ref()),
            offline_since_ms: facts.offline_since_ms,
            sentence: sentence.into(),
            subscriptions: subscriptions(view.as_ref()),
            verdict,
            group,
        })
    }

    fn offline_since_ms(&self, group: &str, view: Option<&GroupView>) -> Option<i64> {
        match view {
            Some(_) => None,
            None => self.b.absences.since_ms(group),
        }
    }

    /// Whether the message is with a consumer, and which: as far as a pull can tell that came after it.
    fn handed_out(&self, last_pull: Option<&LastPull>) -> Option<String> {
        let (_, offset) = self.message.place?;
        let pull = last_pull.filter(|pull| pull.next_offset > offset)?;
        let client = pull.client_id.as_deref().unwrap_or("a client that has gone");
        Some(format!("{client}, not after {}", pull.at_ms))
    }

    fn last_pull(&self, group: &str, queue_id: i32, view: Option<&GroupView>) -> Option<LastPull> {
        let (b, topic) = (self.b, &self.topic.config.topic_name);
        let (next_offset, puller) = b.offsets.last_pull(group, topic, queue_id)?;
        let members = view.map(|view| &view.members[..]).unwrap_or_default();
        let member = members.iter().find(|member| member.peer.id == puller.peer);
        Some(LastPull {
            at_ms: puller.at_ms,
            client_id: member.map(|member| member.id.clone()),
            next_offset,
        })
    }

    fn locked_by(&self, group: &str, queue_id: i32) -> Option<Str> {
        let queue = MessageQueue {
            broker_name: self.b.config().broker_name.clone(),
            queue_id,
            topic: self.topic.config.topic_name.clone(),
        };
        self.b.locks.holder(group, &queue, self.b.env.clock.instant())
    }

    /// What keeps the group from reading at all.
    fn forbidden(&self, group: &str, view: Option<&GroupView>) -> Option<&'static str> {
        let (b, topic) = (self.b, &self.topic.config);
        let settings = b.groups.find(group);
        let settings = settings.as_deref();
        if b.config().broker_permission.cast_signed() & perm::READ == 0 {
            Some("the broker (brokerPermission)")
        } else if settings.is_some_and(|group| !group.consume_enable) {
            Some("the settings of the group (consumeEnable)")
        } else if topic.perm & perm::READ == 0 {
            Some("the topic (perm)")
        } else if b.groups.may_not_read(group, &topic.topic_name) {
            Some("the table of topics that groups may not read (request 353)")
        } else if model(view) == Some(MessageModel::Broadcasting)
            && settings.is_some_and(|group| !group.consume_broadcast_enable)
        {
            Some("the settings of the group (consumeBroadcastEnable)")
        } else {
            None
        }
    }

    /// What the group wants of the topic. Of groups that are offline only SQL expressions are remembered.
    fn wish(&self, group: &str, view: Option<&GroupView>) -> Wish {
        let (b, topic) = (self.b, &self.topic.config.topic_name);
        let registered = b.filters.find(topic, group);
        let Some(view) = view else {
            return match registered {
                Some(filter) => self.by_sql(&filter),
                None => Wish::Unknown,
            };
        };
        let Some(subscription) = view.subscriptions.get(topic) else {
            return Wish::None;
        };
        let expression = &subscription.data.sub_string;
        if let Some(tags) = &subscription.tags {
            let Some(found) = self.message.found.as_ref() else {
                return Wish::Wants;
            };
            let tag = found.shown.tags.as_deref();
            if tags.by_code(i64::from(java_hash(tag.unwrap_or_default()))) {
                return Wish::Wants;
            }
            let tag = tag.map_or("the message has no tag".to_owned(), |tag| {
                format!("the tag is {:?}", shortened(tag))
            });
            let expression = shortened(expression);
            return Wish::Rejects(format!("{tag}, and the group subscribes to {expression:?}"));
        }
        match registered {
            Some(filter) => self.by_sql(&filter),
            None => Wish::Unusable(format!(
                "the {SQL92} expression {:?} of the group is not registered",
                shortened(expression)
            )),
        }
    }

    fn by_sql(&self, filter: &Registered) -> Wish {
        let Some(found) = self.message.found.as_ref() else {
            return Wish::Wants;
        };
        if filter.sql.matches(found.properties()) {
            return Wish::Wants;
        }
        let expression = shortened(filter.expression());
        Wish::Rejects(format!(
            "the {SQL92} expression {expression:?} of the group is not true for it"
        ))
    }
}

fn whereabouts(b: &Broker, group: &str, copy: &StoredMessage) -> Option<Whereabouts> {
    let queue = (group, copy.topic.as_str(), copy.queue_id);
    b.pop.whereabouts(queue, copy.queue_offset)
}

/// Who has a popped message, since when, and until when.
fn lessee(lease: &Lease, view: Option<&GroupView>) -> String {
    let members = view.map(|view| &view.members[..]).unwrap_or_default();
    let member = members.iter().find(|member| member.peer.id == lease.by);
    let client = member.map_or("a client that has gone, or sends no heartbeats", |member| {
        &*member.id
    });
    // Negative while it is on its way to the retry topic.
    let since = lease.popped_at.saturating_abs();
    format!(
        "{client} at {since}, and comes again at {} unless it is acknowledged",
        lease.visible_at
    )
}

fn newest_try(b: &Broker, group: &str, copy: &StoredMessage) -> Try {
    let attempt = copy.reconsume_times;
    if copy.topic.starts_with(DLQ_PREFIX) {
        return Try::Dead { attempt };
    }
    if copy.topic == SCHEDULE_TOPIC {
        return if find::is_delivered(b, copy) {
            Try::Ready { attempt }
        } else {
            let due_ms = find::due_ms(b, copy);
            Try::Waiting { attempt, due_ms }
        };
    }
    let popped = whereabouts(b, group, copy);
    if let Some(Whereabouts::With(_)) = popped {
        return Try::Leased { attempt };
    }
    let committed = b.offsets.query(group, &copy.topic, copy.queue_id);
    let is_behind = committed.is_some_and(|committed| committed > copy.queue_offset);
    if is_behind || popped == Some(Whereabouts::Settled) {
        Try::Consumed { attempt }
    } else {
        Try::Ready { attempt }
    }
}

fn model(view: Option<&GroupView>) -> Option<MessageModel> {
    view.map(|view| view.kind.message_model)
}

fn members(view: Option<&GroupView>) -> Vec<MemberSeen> {
    let members = view.map(|view| &view.members[..]).unwrap_or_default();
    let shown = members.iter().take(MEMBERS_MAX).map(|member| MemberSeen {
        addr: member.peer.addr.to_string().into(),
        client_id: member.id.clone(),
    });
    shown.collect()
}

fn subscriptions(view: Option<&GroupView>) -> Vec<SubscriptionSeen> {
    let Some(view) = view else { return Vec::new() };
    let all = view.subscriptions.values().take(SUBSCRIPTIONS_MAX);
    all.map(|subscription| SubscriptionSeen {
        expression: shortened(&subscription.data.sub_string),
        expression_type: shortened(&subscription.data.expression_type),
        topic: subscription.data.topic.clone(),
        version: subscription.data.sub_version,
    })
    .collect()
}
