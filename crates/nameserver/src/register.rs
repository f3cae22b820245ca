// SPDX-License-Identifier: Apache-2.0
//! Requests that change the tables: registrations, heartbeats, perms, topics.

use std::sync::Arc;

use net::routes::stranger;
use net::{Call, Fault, Peer, Reply, Service};
use serde::de::DeserializeOwned;
use tracing::info;
use wire::api::register::{
    BrokerHeartbeat, QueryDataVersion, QueryDataVersionReply, RegisterBroker, RegisterBrokerReply,
    UnregisterBroker,
};
use wire::api::route::{
    AddWritePermOfBroker, AddWritePermReply, DeleteTopicInNamesrv, RegisterTopicInNamesrv,
    WipeWritePermOfBroker, WipeWritePermReply,
};
use wire::body::register::RegisterBrokerBody;
use wire::body::topic::{DataVersion, TopicConfigTable};
use wire::body::topic_route::{QueueRoute, TopicRoute};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;
use wire::fastjson;

use crate::kv::{ORDER_TOPIC_CONFIG, table_body};
use crate::nameserver::{Answered, NameServer};
use crate::registry::{Registration, Unlisted};

/// Since 3.0.11 the body has the filter servers beside the topics.
const FILTER_SERVERS_SINCE: i32 = 37;

/// 103
pub(crate) fn register_broker(
    s: &Arc<NameServer>,
    call: Call<RegisterBroker>,
) -> Answered<RegisterBrokerReply> {
    let claimed = call.header.body_crc32.unwrap_or(0);
    let actual = crc32fast::hash(&call.body) & 0x7fff_ffff;
    if claimed != 0 && u32::try_from(claimed) != Ok(actual) {
        return Err(not_registered("crc32 not match"));
    }
    let registration = decode(&call)?;
    let config = s.config.load();
    let unlisted = if config.delete_topic_with_broker_registration {
        Unlisted::Remove
    } else {
        Unlisted::Keep
    };
    s.registrants.lock().insert(call.peer.id, Arc::clone(&call.peer));
    let is_new = s
        .registry
        .read()
        .version(&registration.cluster, &registration.addr)
        .is_none();
    let accepted = s.registry.write().register(registration, unlisted, s.now_ms());
    let accepted = accepted.map_err(|e| not_registered(&e.to_string()))?;
    if is_new {
        info!(broker = %call.header.broker_name, id = call.header.broker_id, addr = %call.header.broker_addr, "broker registered");
    }
    s.notify(accepted.notice);
    let (ha_server_addr, master_addr) = accepted.master.map(|m| (m.ha_addr, m.addr)).unzip();
    let mut reply = Reply::ok(RegisterBrokerReply {
        ha_server_addr,
        master_addr,
    });
    let order =
        s.kv.namespace(ORDER_TOPIC_CONFIG)
            .filter(|table| !table.is_empty());
    if let Some(table) = order.filter(|_| config.return_order_topic_config_to_broker) {
        reply = reply.with_body(table_body(&table));
    }
    Ok(reply.into())
}

fn decode(call: &Call<RegisterBroker>) -> Result<Registration, Fault> {
    let h = &call.header;
    let has_filter_servers = call.version >= FILTER_SERVERS_SINCE && !call.body.is_empty();
    let body = if call.version < FILTER_SERVERS_SINCE {
        let topics = if call.body.is_empty() {
            TopicConfigTable::default()
        } else {
            json(&call.body, "topics")?
        };
        RegisterBrokerBody {
            topic_config_serialize_wrapper: topics,
            ..RegisterBrokerBody::default()
        }
    } else if h.compressed == Some(true) && !call.body.is_empty() {
        RegisterBrokerBody::decode_compressed(&call.body, call.version).map_err(|e| malformed("body", &e))?
    } else {
        RegisterBrokerBody::decode(&call.body).map_err(|e| malformed("body", &e))?
    };
    let topics = body.topic_config_serialize_wrapper;
    Ok(Registration {
        cluster: h.cluster_name.clone(),
        broker: h.broker_name.clone(),
        id: h.broker_id,
        addr: h.broker_addr.clone(),
        ha_addr: h.ha_server_addr.clone(),
        zone: h.zone_name.clone().filter(|zone| !zone.is_empty()),
        acting_master: h.enable_acting_master,
        timeout_ms: h.heartbeat_timeout_millis,
        version: topics.data_version,
        topics: topics.topic_config_table.into_values().collect(),
        mappings: topics
            .topic_queue_mapping_info_map
            .unwrap_or_default()
            .into_iter()
            .collect(),
        filter_servers: has_filter_servers.then_some(body.filter_server_list),
        conn: call.peer.id,
    })
}

fn json<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Fault> {
    fastjson::from_slice(body).map_err(|e| malformed(what, &e))
}

/// The reference answers with its header even so, without a field in it.
fn not_registered(remark: &str) -> Fault {
    Fault::new(ResponseCode::SYSTEM_ERROR, remark).with_ext(Ext::of(&Empty {}))
}

fn malformed(what: &str, reason: &dyn std::error::Error) -> Fault {
    Fault::new(ResponseCode::SYSTEM_ERROR, format!("malformed {what}: {reason}"))
}

/// Whether somebody may speak for a broker that has registered over these connections: over one of them, from the same host (it
/// may have come back over another one and not have registered yet), or as an administrator.
fn speaks_for(s: &Arc<NameServer>, peer: &Peer, conns: &[u64]) -> bool {
    let host_of = |peer: &Peer| peer.addr.ip().to_canonical();
    let is_there = {
        let registrants = s.registrants.lock();
        conns.iter().any(|conn| {
            let there = registrants.get(conn);
            *conn == peer.id || there.is_some_and(|there| host_of(there) == host_of(peer))
        })
    };
    is_there || s.may_administer(peer)
}

/// 104. Takes effect before it is answered.
pub(crate) fn unregister_broker(s: &Arc<NameServer>, call: Call<UnregisterBroker>) -> Answered<NoHeader> {
    let UnregisterBroker {
        cluster_name,
        broker_name,
        broker_addr,
        ..
    } = &call.header;
    let conns = s.registry.read().conns_of(broker_name, Some(broker_addr));
    if conns.is_empty() {
        return Ok(Reply::ok(NoHeader).into());
    }
    if !speaks_for(s, &call.peer, &conns) {
        return Err(stranger(&call.peer, call.code));
    }
    let notice = s
        .registry
        .write()
        .unregister(cluster_name, broker_name, broker_addr);
    info!(broker = %broker_name, addr = %broker_addr, "broker unregistered");
    s.notify(notice);
    Ok(Reply::ok(NoHeader).into())
}

/// 322
pub(crate) fn query_data_version(
    s: &Arc<NameServer>,
    call: Call<QueryDataVersion>,
) -> Answered<QueryDataVersionReply> {
    let QueryDataVersion {
        cluster_name,
        broker_addr,
        ..
    } = &call.header;
    let asked: DataVersion = json(&call.body, "data version")?;
    let mut registry = s.registry.write();
    registry.refresh(cluster_name, broker_addr, s.now_ms());
    let known = registry.version(cluster_name, broker_addr);
    let reply = Reply::ok(QueryDataVersionReply {
        changed: known != Some(&asked),
    });
    Ok(match known {
        Some(version) => reply.with_body(fastjson::to_vec(version)).into(),
        None => reply.into(),
    })
}

/// 904
pub(crate) fn broker_heartbeat(s: &Arc<NameServer>, call: Call<BrokerHeartbeat>) -> Answered<NoHeader> {
    s.registry
        .write()
        .refresh(&call.header.cluster_name, &call.header.broker_addr, s.now_ms());
    Ok(Reply::ok(NoHeader).into())
}

/// 217
pub(crate) fn register_topic(s: &Arc<NameServer>, call: Call<RegisterTopicInNamesrv>) -> Answered<NoHeader> {
    let route: TopicRoute = json(&call.body, "route")?;
    let own = |queue: &QueueRoute| {
        let conns = s.registry.read().conns_of(&queue.broker_name, None);
        // What is not known is not taken.
        conns.is_empty() || speaks_for(s, &call.peer, &conns)
    };
    if !route.queue_datas.iter().all(own) {
        return Err(stranger(&call.peer, call.code));
    }
    let added = s
        .registry
        .write()
        .register_topic(&call.header.topic, route.queue_datas);
    added.map_err(|e| Fault::new(ResponseCode::SYSTEM_ERROR, e.to_string()))?;
    Ok(Reply::ok(NoHeader).into())
}

/// 216
pub(crate) fn delete_topic(s: &Arc<NameServer>, call: Call<DeleteTopicInNamesrv>) -> Answered<NoHeader> {
    let cluster = call
        .header
        .cluster_name
        .as_deref()
        .filter(|name| !name.is_empty());
    s.registry.write().delete_topic(&call.header.topic, cluster);
    info!(topic = %call.header.topic, cluster, "topic deleted");
    Ok(Reply::ok(NoHeader).into())
}

/// 205
pub(crate) fn wipe_write_perm(
    s: &Arc<NameServer>,
    call: Call<WipeWritePermOfBroker>,
) -> Answered<WipeWritePermReply> {
    let wipe_topic_count = s.registry.write().wipe_write(&call.header.broker_name);
    info!(broker = %call.header.broker_name, topics = wipe_topic_count, "write perm wiped");
    Ok(Reply::ok(WipeWritePermReply { wipe_topic_count }).into())
}

/// 327
pub(crate) fn add_write_perm(
    s: &Arc<NameServer>,
    call: Call<AddWritePermOfBroker>,
) -> Answered<AddWritePermReply> {
    let add_topic_count = s.registry.write().add_write(&call.header.broker_name);
    info!(broker = %call.header.broker_name, topics = add_topic_count, "write perm added");
    Ok(Reply::ok(AddWritePermReply { add_topic_count }).into())
}
