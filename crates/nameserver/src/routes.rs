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
    GetRouteinfoByTopic => route::get_route, open;
    GetBrokerClusterInfo => route::get_cluster_info, open;
    GetBrokerMemberGroup => route::get_member_group, open;
    GetAllTopicListFromNameserver => route::get_all_topics, open;
    GetTopicsByCluster => route::get_topics_of_cluster, open;
    GetSystemTopicListFromNs => route::get_system_topics, open;
    GetUnitTopicList => route::get_unit_topics, open;
    GetHasUnitSubTopicList => route::get_unit_sub_topics, open;
    GetHasUnitSubUnunitTopicList => route::get_unit_sub_only_topics, open;
    RegisterBroker => register::register_broker, open;
    // The broker itself and administrators only, as the handler sees.
    UnregisterBroker => register::unregister_broker, open;
    QueryDataVersion => register::query_data_version, open;
    BrokerHeartbeat => register::broker_heartbeat, open;
    // The brokers named and administrators only, as the handler sees.
    RegisterTopicInNamesrv => register::register_topic, open;
    DeleteTopicInNamesrv => register::delete_topic, logged;
    WipeWritePermOfBroker => register::wipe_write_perm, logged;
    AddWritePermOfBroker => register::add_write_perm, logged;
    PutKvConfig => table::put_kv, logged;
    GetKvConfig => table::get_kv, open;
    DeleteKvConfig => table::delete_kv, logged;
    GetKvlistByNamespace => table::get_kv_list, open;
    UpdateNamesrvConfig => settings::update_config, logged_without_body;
    GetNamesrvConfig => settings::get_config, open;
    ListConfigChanges => settings::changes, open;
}
