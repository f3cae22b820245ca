// SPDX-License-Identifier: Apache-2.0
//! How clients make themselves known (34, 35), check what the broker can do (46), learn of each other (38, 40), and are
//! shown to admin tools (203, 204, 328).
//!
//! Joining a group brings the group and its retry topic into being if they are missing. Everybody else in a consumer
//! group is told of a change by request 40, at once and before the heartbeat is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use net::{Answer, Call, Fault, Peer, Reply};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use wire::api::group::{GetAllProducerInfo, GetConsumerConnectionList, GetProducerConnectionList};
use wire::api::heartbeat::{
    CheckClientConfig, GetConsumerListByGroup, HeartBeat, HeartBeatReply, NotifyConsumerIdsChanged,
    UnregisterClient,
};
use wire::body::subscription::{
    CheckClientBody, ConnectedProducer, Connection, ConsumeType, ConsumerConnection, ConsumerData,
    ConsumerList, HeartbeatBody, ProducerConnection, ProducerTable, SubscriptionData,
};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;
use wire::fastjson;
use wire::frame::Frame;

use crate::blocking;
use crate::broker::{Broker, Joined};
use crate::clients::{Beat, Client, Kind, TooManyMembers};
use crate::fault::bad_body;
use crate::filter::is_tag;
use crate::names::retry_topic;

/// Longest heartbeat that is read.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest client id and producer group that is kept.
const NAME_BYTES_MAX: usize = 255;
/// Flag of a retry topic whose group consumes in unit mode.
const HAS_UNIT_SUBSCRIPTION: i32 = 2;
/// How often silent clients and expired locks are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// And if clients expire sooner than that.
const SWEEP_EVERY_MIN: Duration = Duration::from_millis(100);
/// How often members are told of changes when they are not told at once.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(15);

/// Code 34. Registers the client in all its groups. Groups that are new are written to disk first, elsewhere.
pub(crate) fn heart_beat(b: &Arc<Broker>, call: Call<HeartBeat>) -> Result<Answer<HeartBeatReply>, Fault> {
    let body = read_body(&call.body, b.config().groups_per_heartbeat_max as usize)?;
    let client = Arc::new(Client {
        peer: Arc::clone(&call.peer),
        id: body.client_id.clone(),
        language: call.language,
        version: call.version,
    });
    let without_sub = is_without_sub(&body);
    let changes_nothing = body.consumer_data_set.iter().all(|consumer| {
        let group = &consumer.group_name;
        let retry = b.topics.get(&retry_topic(group));
        b.groups.find(group).is_some()
            && retry.is_some_and(|topic| without_sub || topic.config.order == is_ordered(b, consumer))
    });
    if changes_nothing {
        return Ok(register(b, &client, body)?.into());
    }
    let room = b.workers.room(call.body.len())?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let work = move |b: &Broker| {
            b.ensure_groups(&joined(b, &body));
            let registered = register(b, &client, body);
            drop(room);
            registered
        };
        blocking::create(&b, &call.peer, work).await?
    })))
}

/// Code 35. Takes the client out of one producer group, one consumer group, or both.
pub(crate) fn unregister_client(
    b: &Arc<Broker>,
    call: Call<UnregisterClient>,
) -> Result<Answer<Empty>, Fault> {
    let UnregisterClient {
        producer_group,
        consumer_group,
        ..
    } = &call.header;
    if let Some(group) = producer_group {
        b.clients.leave_producers(call.peer.id, group);
    }
    if let Some(group) = consumer_group {
        let now = b.env.clock.instant();
        let member = b.clients.member(group, call.peer.id);
        let rest = b.clients.leave(call.peer.id, group, now);
        if let Some(client) = member {
            note_offline(b, group);
            // Before the others are told: they ask for its queues then. It has given back all it knew of, and what it did
            // not know of (a lock that was granted while it stopped) nobody would renew or give back.
            if !b.clients.ids(group).contains(&client.id) {
                b.locks.leave(group, &client.id, now);
            }
        }
        let wants_to_know = b
            .groups
            .find(group)
            .is_none_or(|config| config.notify_consumer_ids_changed_enable);
        if wants_to_know {
            tell(b, group, &rest);
        }
    }
    Ok(Reply::ok(Empty {}).into())
}

/// Code 46. Clients ask before they subscribe with an expression that is not TAG, and learn what is wrong with it.
pub(crate) fn check_client(
    b: &Arc<Broker>,
    call: Call<CheckClientConfig>,
) -> Result<Answer<NoHeader>, Fault> {
    let body: CheckClientBody = fastjson::from_slice(&call.body).map_err(|error| bad_body(&error))?;
    let SubscriptionData {
        expression_type,
        sub_string,
        ..
    } = &body.subscription_data;
    if is_tag(Some(expression_type)) {
        return Ok(Reply::ok(NoHeader).into());
    }
    if !b.config().enable_property_filter {
        return Err(no_property_filter(expression_type));
    }
    match b.filters.compile(expression_type, sub_string) {
        Ok(_) => Ok(Reply::ok(NoHeader).into()),
        Err(error) => Err(Fault::new(
            ResponseCode::SUBSCRIPTION_PARSE_FAILED,
            error.to_string(),
        )),
    }
}

/// The answer to whoever wants messages chosen by their properties.
pub(crate) fn no_property_filter(expression_type: &str) -> Fault {
    let remark = format!("The broker does not support consumer to filter message by {expression_type}");
    Fault::new(ResponseCode::SYSTEM_ERROR, remark)
}

/// Code 38. The ids of all members; clients divide the queues among these.
pub(crate) fn consumer_ids(
    b: &Arc<Broker>,
    call: Call<GetConsumerListByGroup>,
) -> Result<Answer<Empty>, Fault> {
    let group = &call.header.consumer_group;
    let consumer_id_list = b.clients.ids(group);
    if consumer_id_list.is_empty() {
        let fault = Fault::new(
            ResponseCode::SYSTEM_ERROR,
            format!("no consumer for this group, {group}"),
        );
        return Err(fault.with_ext(Ext::of(&Empty {})));
    }
    Ok(Reply::ok(Empty {})
        .with_body(fastjson::to_vec(&ConsumerList { consumer_id_list }))
        .into())
}

/// Code 203. Who consumes in a group, and what.
pub(crate) fn consumer_connections(
    b: &Arc<Broker>,
    call: Call<GetConsumerConnectionList>,
) -> Result<Answer<NoHeader>, Fault> {
    let group = &call.header.consumer_group;
    let Some(view) = b.clients.consumer_group(group) else {
        let remark = format!("the consumer group[{group}] not online");
        return Err(Fault::new(ResponseCode::CONSUMER_NOT_ONLINE, remark));
    };
    let body = ConsumerConnection {
        connection_set: view.members.iter().map(connection).collect(),
        consume_from_where: view.kind.consume_from_where,
        consume_type: view.kind.consume_type,
        message_model: view.kind.message_model,
        subscription_table: view
            .subscriptions
            .iter()
            .map(|(t, s)| (t.clone(), s.data.clone()))
            .collect(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)).into())
}

/// Code 204. Who produces in a group.
pub(crate) fn producer_connections(
    b: &Arc<Broker>,
    call: Call<GetProducerConnectionList>,
) -> Result<Answer<NoHeader>, Fault> {
    let group = &call.header.producer_group;
    let Some(members) = b.clients.producer_group(group) else {
        let remark = format!("the producer group[{group}] not exist");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let body = ProducerConnection {
        connection_set: members.iter().map(connection).collect(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)).into())
}

/// Code 328. All producers.
pub(crate) fn all_producers(b: &Arc<Broker>, _: Call<GetAllProducerInfo>) -> Result<Answer<NoHeader>, Fault> {
    let (now, now_ms) = (b.env.clock.instant(), b.env.clock.now_ms());
    let producer = |(client, seen): (Arc<Client>, Instant)| ConnectedProducer {
        client_id: client.id.clone(),
        language: client.language,
        last_update_timestamp: now_ms - i64::try_from((now - seen).as_millis()).unwrap_or(0),
        remote_ip: format!("/{}", client.peer.addr).into(),
        version: client.version,
    };
    let groups = b.clients.producer_groups().into_iter();
    let data = groups
        .map(|(group, members)| (group, members.into_iter().map(producer).collect()))
        .collect();
    Ok(Reply::ok(NoHeader)
        .with_body(fastjson::to_vec(&ProducerTable { data }))
        .into())
}

/// The connection has ended: its client leaves all groups, and the other members are told.
pub(crate) fn disconnected(b: &Broker, peer: u64) {
    for (group, rest) in b.clients.leave_all(peer, b.env.clock.instant()) {
        note_offline(b, &group);
        tell(b, &group, &rest);
    }
}

/// Looks after the clients until `stop`: those that fell silent are disconnected, locks that nobody renews forgotten,
/// and members told that are not told at once.
pub(crate) async fn keep_watch(b: Arc<Broker>, stop: CancellationToken) {
    let mut announce = tokio::time::interval(ANNOUNCE_EVERY);
    announce.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let expiry = || Duration::from_millis(b.config().channel_expired_timeout);
    let next_sweep = || tokio::time::Instant::now() + expiry().clamp(SWEEP_EVERY_MIN, SWEEP_EVERY);
    let mut sweep_at = next_sweep();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep_until(sweep_at) => {
                sweep(&b, expiry());
                sweep_at = next_sweep();
            }
            _ = announce.tick() => {
                for (group, members) in b.clients.take_unannounced() {
                    push(&group, &members);
                }
            }
        }
    }
}

/// Takes note when a group has no members any more.
fn note_offline(b: &Broker, group: &str) {
    if !b.clients.is_online(group) {
        b.filters.offline(group);
        b.absences.note(group, b.env.clock.now_ms());
    }
}

fn sweep(b: &Broker, expiry: Duration) {
    let now = b.env.clock.instant();
    for peer in b.clients.expired(now, expiry) {
        info!(peer = %peer.addr, "client sent no heartbeat and is disconnected");
        peer.close();
        disconnected(b, peer.id);
    }
    b.locks.sweep(now);
}

fn read_body(text: &[u8], groups_max: usize) -> Result<HeartbeatBody, Fault> {
    let refused = |remark: String| Err(Fault::new(ResponseCode::INVALID_PARAMETER, remark));
    if text.len() > BODY_BYTES_MAX {
        return refused(format!(
            "the heartbeat has {} bytes, allowed are {BODY_BYTES_MAX}",
            text.len()
        ));
    }
    let body: HeartbeatBody = fastjson::from_slice(text).map_err(|error| bad_body(&error))?;
    let groups = body.consumer_data_set.len() + body.producer_data_set.len();
    if groups > groups_max {
        return refused(format!(
            "the heartbeat names {groups} groups, allowed are {groups_max}"
        ));
    }
    if body.client_id.is_empty() || body.client_id.len() > NAME_BYTES_MAX {
        let bytes = body.client_id.len();
        return refused(format!(
            "clientID has {bytes} bytes, allowed are 1 to {NAME_BYTES_MAX}"
        ));
    }
    Ok(body)
}

/// The consumer groups of a heartbeat.
fn joined(b: &Broker, body: &HeartbeatBody) -> Vec<Joined> {
    let rejects_pull = b.config().reject_pull_consumer_enable;
    let without_sub = is_without_sub(body);
    let consumers = body.consumer_data_set.iter();
    consumers
        .filter(|consumer| !rejects_pull || consumer.consume_type != ConsumeType::ConsumeActively)
        .map(|consumer| Joined {
            group: consumer.group_name.clone(),
            topic_flags: topic_flags(consumer),
            is_ordered: (!without_sub).then(|| is_ordered(b, consumer)),
        })
        .collect()
}

fn topic_flags(consumer: &ConsumerData) -> i32 {
    if consumer.unit_mode {
        HAS_UNIT_SUBSCRIPTION
    } else {
        0
    }
}

/// Whether the client only shows that it is alive. Without a fingerprint it cannot.
fn is_without_sub(body: &HeartbeatBody) -> bool {
    body.without_sub && body.heartbeat_fingerprint != 0
}

/// Whether the group reads a topic that is ordered: then its retry topic is, too.
fn is_ordered(b: &Broker, consumer: &ConsumerData) -> bool {
    let topics = consumer.subscription_data_set.iter();
    topics
        .filter_map(|data| b.topics.get(&data.topic))
        .any(|topic| topic.config.order)
}

fn register(b: &Broker, client: &Arc<Client>, body: HeartbeatBody) -> Result<Reply<HeartBeatReply>, Fault> {
    let config = b.config();
    let limit = (b.env.clock.instant(), config.group_members_max as usize);
    let (fingerprint, without_sub) = (body.heartbeat_fingerprint, is_without_sub(&body));
    // A client that sends no fingerprint is always told to send everything.
    let mut is_sub_change = fingerprint == 0;
    for consumer in body.consumer_data_set {
        if config.reject_pull_consumer_enable && consumer.consume_type == ConsumeType::ConsumeActively {
            continue;
        }
        let group = consumer.group_name.clone();
        // A group that does not exist, and may not come into being, is passed over as if it had not been named.
        let Some(settings) = b.group(&group) else { continue };
        let beat = beat(consumer, fingerprint, without_sub);
        let filters = beat.subscriptions.as_ref();
        let filters = filters.filter(|all| b.filters.concerns(&group, all)).cloned();
        let joined = b.clients.join(client, &group, beat, limit).map_err(full)?;
        b.locks.is_back(&group, &client.id);
        if let Some(filters) = filters {
            b.filters.register(&group, &filters);
        }
        is_sub_change |= joined.wants_all;
        if settings.notify_consumer_ids_changed_enable {
            tell(b, &group, &joined.tell);
        }
    }
    for producer in body.producer_data_set {
        let group = producer.group_name;
        if !group.is_empty() && group.len() <= NAME_BYTES_MAX {
            b.clients.join_producers(client, &group, limit).map_err(full)?;
        }
    }
    if !client.peer.is_open() {
        // It went away meanwhile; nobody else will take it out again.
        disconnected(b, client.peer.id);
    }
    Ok(Reply::ok(HeartBeatReply {
        is_support_heart_beat_v2: true,
        is_sub_change,
    }))
}

fn beat(consumer: ConsumerData, fingerprint: i32, without_sub: bool) -> Beat {
    let mut subscriptions = consumer.subscription_data_set;
    subscriptions.retain(|data| data.topic.len() <= NAME_BYTES_MAX);
    Beat {
        kind: Kind {
            consume_type: consumer.consume_type,
            message_model: consumer.message_model,
            consume_from_where: consumer.consume_from_where,
        },
        subscriptions: (!without_sub).then_some(subscriptions),
        fingerprint,
    }
}

fn full(error: TooManyMembers) -> Fault {
    Fault::new(ResponseCode::SYSTEM_BUSY, format!("{error}"))
}

fn connection(client: &Arc<Client>) -> Connection {
    Connection {
        client_addr: client.peer.addr.to_string().into(),
        client_id: client.id.clone(),
        language: client.language,
        version: client.version,
    }
}

/// Tells members that their group changed, now or with the next batch.
fn tell(b: &Broker, group: &str, members: &[Arc<Peer>]) {
    let config = b.config();
    if members.is_empty() || !config.notify_consumer_ids_changed_enable {
        return;
    }
    if config.real_time_notify_consumer_change {
        push(group, members);
    } else {
        b.clients.announce_later(group);
    }
}

fn push(group: &str, members: &[Arc<Peer>]) {
    let frame = Frame::request(
        0,
        &NotifyConsumerIdsChanged {
            consumer_group: group.into(),
        },
    )
    .oneway();
    for member in members {
        if let Err(error) = member.push(frame.clone()) {
            // It looks by itself every 20 s.
            debug!(group, %error, "member is not told that its group changed");
        }
    }
}
