// SPDX-License-Identifier: Apache-2.0
//! What is read from the tables: routes, lists, groups. Only what is asked for is copied.

use std::collections::{BTreeMap, BTreeSet};

use wire::Str;
use wire::body::topic_route::{BrokerAddrs, ClusterInfo, QueueRoute, TopicRoute};

use crate::registry::{MASTER, PERM_WRITE, Registry};

/// Topics that groups use among themselves: nobody stands in for their master.
const GROUP_TOPIC_PREFIX: &str = "rmq_sys_SYNC_BROKER_MEMBER_";
/// Bits of a topic's system flag.
const FLAG_UNIT: i32 = 1;
const FLAG_UNIT_SUB: i32 = 2;

/// Topics of the unit mode, by the flag of their first broker.
#[derive(Debug, Clone, Copy)]
pub enum UnitList {
    Unit,
    HasUnitSub,
    HasUnitSubButNoUnit,
}

impl Registry {
    /// The route of a topic that has queues on a known broker.
    pub fn route(&self, topic: &str) -> Option<TopicRoute> {
        let queues = self.topics.get(topic)?;
        let brokers: Vec<_> = queues
            .keys()
            .filter_map(|name| self.brokers.get(name))
            .cloned()
            .collect();
        if brokers.is_empty() {
            return None;
        }
        let mut filter_servers = BTreeMap::new();
        if !self.filter_servers.is_empty() {
            for (data, addr) in brokers
                .iter()
                .flat_map(|b| b.broker_addrs.values().map(move |addr| (b, addr)))
            {
                if let Some(list) = self.filter_servers.get(&(data.cluster.clone(), addr.clone())) {
                    filter_servers.insert(addr.clone(), list.clone());
                }
            }
        }
        Some(TopicRoute {
            broker_datas: brokers,
            filter_server_table: filter_servers,
            order_topic_conf: None,
            queue_datas: queues.values().cloned().collect(),
            topic_queue_mapping_by_broker: self.mappings.get(topic).cloned(),
        })
    }

    /// All brokers and clusters.
    pub fn cluster_info(&self) -> ClusterInfo {
        let clusters = self.clusters.iter();
        ClusterInfo {
            broker_addr_table: self.brokers.clone(),
            cluster_addr_table: clusters
                .map(|(name, brokers)| (name.clone(), brokers.iter().cloned().collect()))
                .collect(),
        }
    }

    /// The addresses of a broker group.
    pub fn members(&self, broker: &str) -> BTreeMap<i64, Str> {
        self.brokers
            .get(broker)
            .map(|data| data.broker_addrs.clone())
            .unwrap_or_default()
    }

    /// All topics.
    pub fn topic_names(&self) -> BTreeSet<Str> {
        self.topics.keys().cloned().collect()
    }

    /// The topics on brokers of a cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> BTreeSet<Str> {
        let Some(brokers) = self.clusters.get(cluster) else {
            return BTreeSet::new();
        };
        let here = self
            .topics
            .iter()
            .filter(|(_, queues)| queues.keys().any(|name| brokers.contains(name)));
        here.map(|(topic, _)| topic.clone()).collect()
    }

    /// Topics of the unit mode.
    pub fn unit_topics(&self, list: UnitList) -> BTreeSet<Str> {
        let is_listed = |flag: i32| match list {
            UnitList::Unit => flag & FLAG_UNIT != 0,
            UnitList::HasUnitSub => flag & FLAG_UNIT_SUB != 0,
            UnitList::HasUnitSubButNoUnit => flag & (FLAG_UNIT | FLAG_UNIT_SUB) == FLAG_UNIT_SUB,
        };
        let first_flag =
            |queues: &BTreeMap<Str, QueueRoute>| queues.values().next().map(|q| q.topic_sys_flag);
        let here = self
            .topics
            .iter()
            .filter(|(_, queues)| first_flag(queues).is_some_and(is_listed));
        here.map(|(topic, _)| topic.clone()).collect()
    }

    /// The topics that every broker has: one by the name of each cluster and broker. And any one broker address.
    pub fn system_topics(&self) -> (Vec<Str>, Option<Str>) {
        let names = self
            .clusters
            .iter()
            .flat_map(|(cluster, brokers)| std::iter::once(cluster).chain(brokers));
        let addr = self
            .brokers
            .values()
            .find_map(|data| data.broker_addrs.values().next());
        (names.cloned().collect(), addr.cloned())
    }
}

/// Presents the smallest slave of a group as its master, where the group agreed to that, has no master, and its topic
/// is closed for writing meanwhile.
pub(crate) fn put_acting_masters(topic: &str, route: &mut TopicRoute) {
    if topic.starts_with(GROUP_TOPIC_PREFIX) {
        return;
    }
    for data in &mut route.broker_datas {
        if !data.enable_acting_master || data.broker_addrs.contains_key(&MASTER) {
            continue;
        }
        let queue = route
            .queue_datas
            .iter()
            .find(|q| q.broker_name == data.broker_name);
        if queue.is_some_and(|q| q.perm & PERM_WRITE == 0)
            && let Some((_, addr)) = data.broker_addrs.pop_first()
        {
            data.broker_addrs.insert(MASTER, addr);
        }
    }
}

/// Leaves the brokers of one zone, and those without a master.
pub(crate) fn keep_zone(zone: &str, route: &mut TopicRoute) {
    let is_near = |name: &Option<Str>| name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(zone));
    let (kept, removed) = std::mem::take(&mut route.broker_datas)
        .into_iter()
        .partition(|data| is_near(&data.zone_name) || !data.broker_addrs.contains_key(&MASTER));
    route.broker_datas = kept;
    let removed: Vec<BrokerAddrs> = removed;
    for data in &removed {
        route
            .queue_datas
            .retain(|queue| queue.broker_name != data.broker_name);
        for addr in data.broker_addrs.values() {
            route.filter_server_table.remove(addr);
        }
    }
}
