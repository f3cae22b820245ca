// SPDX-License-Identifier: Apache-2.0
//! Every request that a name server takes, and where it is handled.

use wire::api::config::{GetNamesrvConfig, ListConfigChanges, UpdateNamesrvConfig};
use wire::api::kv::{DeleteKvConfig, GetKvConfig, GetKvlistByNamespace, PutKvConfig};
use wire::api::register::{
    BrokerHeartbeat, GetBrokerMemberGroup, QueryDataVersion, RegisterBroker, UnregisterBroker,
};
use wire::api::route::{
    AddWritePermOfBroker, DeleteTopicInNamesrv, GetAllTopicListFromNameserver, GetBrokerClusterInfo,
    GetHasUnitSubTopicList, GetHasUnitSubUnunitTopicList, GetRouteinfoByTopic, GetSystemTopicListFromNs,
    GetTopicsByCluster, GetUnitTopicList, RegisterTopicInNamesrv, WipeWritePermOfBroker,
};

use crate::nameserver::NameServer;
use crate::{register, route, settings, table};

net::routes! { NameServer;
    GetRouteinfoByTopic => route::get_route;
    GetBrokerClusterInfo => route::get_cluster_info;
    GetBrokerMemberGroup => route::get_member_group;
    GetAllTopicListFromNameserver => route::get_all_topics;
    GetTopicsByCluster => route::get_topics_of_cluster;
    GetSystemTopicListFromNs => route::get_system_topics;
    GetUnitTopicList => route::get_unit_topics;
    GetHasUnitSubTopicList => route::get_unit_sub_topics;
    GetHasUnitSubUnunitTopicList => route::get_unit_sub_only_topics;
    RegisterBroker => register::register_broker;
    UnregisterBroker => register::unregister_broker;
    QueryDataVersion => register::query_data_version;
    BrokerHeartbeat => register::broker_heartbeat;
    RegisterTopicInNamesrv => register::register_topic, logged;
    DeleteTopicInNamesrv => register::delete_topic, logged;
    WipeWritePermOfBroker => register::wipe_write_perm, logged;
    AddWritePermOfBroker => register::add_write_perm, logged;
    PutKvConfig => table::put_kv, logged;
    GetKvConfig => table::get_kv;
    DeleteKvConfig => table::delete_kv, logged;
    GetKvlistByNamespace => table::get_kv_list;
    UpdateNamesrvConfig => settings::update_config, logged_without_body;
    GetNamesrvConfig => settings::get_config;
    ListConfigChanges => settings::changes;
}
