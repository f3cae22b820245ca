// SPDX-License-Identifier: Apache-2.0
//! Requests that read the tables: routes, clusters, groups, lists of topics.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use net::{Call, Fault, Reply};
use wire::api::register::GetBrokerMemberGroup;
use wire::api::route::{
    GetAllTopicListFromNameserver, GetBrokerClusterInfo, GetHasUnitSubTopicList,
    GetHasUnitSubUnunitTopicList, GetRouteinfoByTopic, GetSystemTopicListFromNs, GetTopicsByCluster,
    GetUnitTopicList,
};
use wire::body::topic::TopicList;
use wire::body::topic_route::{BrokerMemberGroup, BrokerMemberGroupBody};
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use crate::kv::ORDER_TOPIC_CONFIG;
use crate::lookup::{UnitList, keep_zone, put_acting_masters};
use crate::nameserver::{Answered, NameServer};

/// From this version on (4.9.4) clients read standard JSON.
const STANDARD_JSON_SINCE: i32 = 401;

/// 105
pub(crate) fn get_route(s: &Arc<NameServer>, call: Call<GetRouteinfoByTopic>) -> Answered<NoHeader> {
    let config = s.config.load();
    if config.need_wait_for_service && s.uptime() < Duration::from_secs(config.wait_seconds_for_service) {
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, "name server not ready"));
    }
    // A client that names no topic asks for "null", as far as the reference is concerned.
    let topic = call.header.topic.as_deref().unwrap_or("null");
    let Some(mut route) = s.registry.read().route(topic) else {
        let remark = format!(
            "No topic route info in name server for the topic: {topic}\n\
             See https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
        );
        return Err(Fault::new(ResponseCode::TOPIC_NOT_EXIST, remark));
    };
    if config.support_acting_master {
        put_acting_masters(topic, &mut route);
    }
    if config.order_message_enable {
        route.order_topic_conf = s.kv.get(ORDER_TOPIC_CONFIG, topic);
    }
    let zone = call.header.zone_name.as_deref().unwrap_or_default().trim();
    let is_zoned = call.header.zone_mode == Some(true) && !zone.is_empty();
    let wants_standard =
        call.version >= STANDARD_JSON_SINCE || call.header.accept_standard_json_only == Some(true);
    let body = if is_zoned {
        keep_zone(zone, &mut route);
        fastjson::to_vec(&route)
    } else if wants_standard {
        fastjson::to_vec_standard(&route)
    } else {
        fastjson::to_vec(&route)
    };
    Ok(Reply::ok(NoHeader).with_body(body).into())
}

/// 106
pub(crate) fn get_cluster_info(s: &Arc<NameServer>, _: Call<GetBrokerClusterInfo>) -> Answered<NoHeader> {
    let clusters = s.registry.read().cluster_info();
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&clusters)).into())
}

/// 901
pub(crate) fn get_member_group(s: &Arc<NameServer>, call: Call<GetBrokerMemberGroup>) -> Answered<NoHeader> {
    let GetBrokerMemberGroup {
        cluster_name: cluster,
        broker_name,
    } = call.header;
    let broker_addrs = s.registry.read().members(&broker_name);
    let group = BrokerMemberGroup {
        broker_addrs,
        broker_name,
        cluster,
    };
    let body = fastjson::to_vec(&BrokerMemberGroupBody {
        broker_member_group: Some(group),
    });
    // The reference leaves this remark on the successful answer.
    Ok(Reply::ok(NoHeader)
        .with_remark("not set any response code")
        .with_body(body)
        .into())
}

/// 206
pub(crate) fn get_all_topics(
    s: &Arc<NameServer>,
    _: Call<GetAllTopicListFromNameserver>,
) -> Answered<NoHeader> {
    permit(s.config.load().enable_all_topic_list)?;
    list(s.registry.read().topic_names())
}

/// 224
pub(crate) fn get_topics_of_cluster(
    s: &Arc<NameServer>,
    call: Call<GetTopicsByCluster>,
) -> Answered<NoHeader> {
    permit(s.config.load().enable_topic_list)?;
    list(s.registry.read().topics_of_cluster(&call.header.cluster))
}

/// 304
pub(crate) fn get_system_topics(
    s: &Arc<NameServer>,
    _: Call<GetSystemTopicListFromNs>,
) -> Answered<NoHeader> {
    let (topic_list, broker_addr) = s.registry.read().system_topics();
    let body = fastjson::to_vec(&TopicList {
        broker_addr,
        topic_list,
    });
    Ok(Reply::ok(NoHeader).with_body(body).into())
}

/// 311
pub(crate) fn get_unit_topics(s: &Arc<NameServer>, _: Call<GetUnitTopicList>) -> Answered<NoHeader> {
    unit_list(s, UnitList::Unit)
}

/// 312
pub(crate) fn get_unit_sub_topics(
    s: &Arc<NameServer>,
    _: Call<GetHasUnitSubTopicList>,
) -> Answered<NoHeader> {
    unit_list(s, UnitList::HasUnitSub)
}

/// 313
pub(crate) fn get_unit_sub_only_topics(
    s: &Arc<NameServer>,
    _: Call<GetHasUnitSubUnunitTopicList>,
) -> Answered<NoHeader> {
    unit_list(s, UnitList::HasUnitSubButNoUnit)
}

fn unit_list(s: &NameServer, which: UnitList) -> Answered<NoHeader> {
    permit(s.config.load().enable_topic_list)?;
    list(s.registry.read().unit_topics(which))
}

fn permit(enabled: bool) -> Result<(), Fault> {
    if enabled {
        Ok(())
    } else {
        Err(Fault::new(ResponseCode::SYSTEM_ERROR, "disable"))
    }
}

fn list(topics: BTreeSet<Str>) -> Answered<NoHeader> {
    let body = TopicList {
        broker_addr: None,
        topic_list: topics.into_iter().collect(),
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&body)).into())
}
