// SPDX-License-Identifier: Apache-2.0
//! One test per rule of registration, liveness and administration.

use proptest::prelude::*;
use wire::body::topic_route::TopicRoute;

use super::*;
use crate::lookup::{UnitList, keep_zone, put_acting_masters};

fn topic(name: &str, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.into(),
        perm,
        read_queue_nums: 4,
        write_queue_nums: 4,
        ..TopicConfig::default()
    }
}

/// Broker `name` with this id, at address `name-id`, with the topics SYS, TBW102 and `extra`.
fn broker(name: &str, id: i64, extra: &[&str]) -> Registration {
    let mut topics = vec![topic("SYS", 6), topic("TBW102", 7)];
    topics.extend(extra.iter().map(|name| topic(name, 6)));
    Registration {
        cluster: "C".into(),
        broker: name.into(),
        id,
        addr: format!("{name}-{id}").into(),
        ha_addr: format!("ha-{name}-{id}").into(),
        topics,
        conn: 1,
        ..Registration::default()
    }
}

fn acting(mut r: Registration) -> Registration {
    r.acting_master = Some(true);
    r
}

fn newer(mut r: Registration, counter: i64) -> Registration {
    r.version.counter = counter;
    r
}

fn registry(list: impl IntoIterator<Item = Registration>) -> Registry {
    let mut registry = Registry::new(Limits::default());
    for r in list {
        registry.register(r, Unlisted::Keep, 0).unwrap();
    }
    registry
}

fn keep(registry: &mut Registry, r: Registration) -> Accepted {
    registry.register(r, Unlisted::Keep, 0).unwrap()
}

fn perm(registry: &Registry, topic: &str) -> i32 {
    registry.route(topic).unwrap().queue_datas[0].perm
}

fn addrs(registry: &Registry, broker: &str) -> Vec<(i64, String)> {
    registry
        .members(broker)
        .into_iter()
        .map(|(id, addr)| (id, addr.to_string()))
        .collect()
}

#[test]
fn a_broker_that_is_not_known_may_not_bring_a_single_topic() {
    let mut registry = registry([]);
    let lone = Registration {
        topics: vec![topic("T", 6)],
        ..broker("a", 0, &[])
    };
    assert_eq!(
        registry.register(lone.clone(), Unlisted::Keep, 0),
        Err(Refused::LoneTopic)
    );
    assert!(registry.brokers.is_empty() && registry.clusters.is_empty());
    keep(
        &mut registry,
        Registration {
            topics: vec![],
            ..broker("a", 0, &[])
        },
    );
    keep(&mut registry, lone);
    assert!(registry.route("T").is_some());
}

#[test]
fn an_incremental_registration_adds_its_topic_and_keeps_the_others() {
    let mut registry = registry([broker("a", 0, &["T"])]);
    let one = Registration {
        topics: vec![topic("U", 6)],
        ..newer(broker("a", 0, &[]), 1)
    };
    keep(&mut registry, one);
    assert_eq!(
        registry.topic_names().into_iter().collect::<Vec<_>>(),
        ["SYS", "T", "TBW102", "U"]
    );
}

#[test]
fn unlisted_topics_are_removed_only_when_asked_for() {
    let mut registry = registry([broker("a", 0, &["T", "U"]), broker("b", 0, &["U"])]);
    registry
        .register(newer(broker("a", 0, &["V"]), 1), Unlisted::Remove, 0)
        .unwrap();
    assert_eq!(
        registry.topic_names().into_iter().collect::<Vec<_>>(),
        ["SYS", "TBW102", "U", "V"]
    );
    assert_eq!(registry.route("U").unwrap().queue_datas[0].broker_name, "b");
}

#[test]
fn a_known_version_changes_nothing_but_brings_back_a_deleted_topic() {
    let mut registry = registry([broker("a", 0, &["T", "U"])]);
    registry.wipe_write("a");
    registry.delete_topic("U", None);
    keep(&mut registry, broker("a", 0, &["T", "U"]));
    assert_eq!((perm(&registry, "T"), perm(&registry, "U")), (4, 6));
    keep(&mut registry, newer(broker("a", 0, &["T", "U"]), 1));
    assert_eq!(perm(&registry, "T"), 6);
}

#[test]
fn an_address_has_one_id_and_one_name() {
    let mut registry = registry([broker("a", 0, &["T"]), broker("a", 1, &[])]);
    registry.unregister("C", "a", "a-0");
    keep(
        &mut registry,
        Registration {
            addr: "a-1".into(),
            ..newer(broker("a", 0, &["T"]), 1)
        },
    );
    assert_eq!(addrs(&registry, "a"), [(0, "a-1".to_owned())]);
    keep(
        &mut registry,
        Registration {
            addr: "a-1".into(),
            ..broker("b", 0, &["T"])
        },
    );
    assert_eq!(registry.brokers.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn of_two_brokers_with_one_id_the_higher_state_version_stays() {
    let with_state = |addr: &str, state_version| {
        let mut r = Registration {
            addr: addr.into(),
            ..broker("a", 0, &["T"])
        };
        r.version.state_version = state_version;
        r
    };
    let mut registry = registry([with_state("old", 2)]);
    assert_eq!(keep(&mut registry, with_state("late", 1)), Accepted::default());
    assert_eq!(addrs(&registry, "a"), [(0, "old".to_owned())]);
    assert_eq!(registry.version("C", "late"), None);
    keep(&mut registry, with_state("new", 2));
    assert_eq!(addrs(&registry, "a"), [(0, "new".to_owned())]);
}

#[test]
fn a_slave_brings_no_topics_and_is_told_its_live_master() {
    let mut registry = registry([broker("a", 0, &["T"])]);
    let told = keep(&mut registry, acting(broker("a", 1, &["S"])));
    assert_eq!(
        told.master,
        Some(Master {
            addr: "a-0".into(),
            ha_addr: "ha-a-0".into()
        })
    );
    assert!(registry.route("S").is_none());
    assert_eq!(keep(&mut registry, broker("a", 0, &["T"])).master, None);
}

#[test]
fn the_smallest_slave_brings_topics_closed_for_writing_when_it_stands_in() {
    let mut registry = registry([acting(broker("a", 1, &["T"]))]);
    assert_eq!(perm(&registry, "TBW102"), 5);
    keep(&mut registry, acting(broker("a", 2, &["U"])));
    assert!(registry.route("U").is_none());
    keep(
        &mut registry,
        Registration {
            acting_master: Some(false),
            ..broker("b", 1, &["V"])
        },
    );
    assert_eq!(perm(&registry, "V"), 6);
    keep(&mut registry, broker("c", 1, &["W"]));
    assert!(
        registry.route("W").is_none(),
        "a broker that does not know acting masters"
    );
}

#[test]
fn the_last_address_takes_broker_cluster_and_topics_with_it() {
    let mut registry = registry([
        broker("a", 0, &["T"]),
        broker("a", 1, &[]),
        broker("b", 0, &["U"]),
    ]);
    registry.unregister("C", "a", "a-0");
    assert_eq!(perm(&registry, "T"), 6, "without acting masters nothing closes");
    registry.unregister("C", "a", "a-1");
    assert!(registry.route("T").is_none());
    assert_eq!(registry.clusters["C"].len(), 1);
    registry.unregister("C", "b", "b-0");
    assert!(registry.clusters.is_empty() && registry.topics.is_empty() && registry.live.is_empty());
}

#[test]
fn a_group_without_master_is_closed_for_writing_when_it_agreed_to_acting_masters() {
    let mut registry = registry([acting(broker("a", 0, &["T"])), acting(broker("a", 1, &["T"]))]);
    registry.unregister("C", "a", "a-0");
    assert_eq!(perm(&registry, "T"), 4);
    let mut route = registry.route("T").unwrap();
    put_acting_masters("T", &mut route);
    assert_eq!(
        route.broker_datas[0].broker_addrs,
        BTreeMap::from([(0, "a-1".into())])
    );
    let mut route = registry.route("T").unwrap();
    put_acting_masters("rmq_sys_SYNC_BROKER_MEMBER_a", &mut route);
    assert_eq!(
        route.broker_datas[0].broker_addrs,
        BTreeMap::from([(1, "a-1".into())])
    );
}

#[test]
fn a_group_that_keeps_its_master_stays_open_for_writing() {
    let mut registry = registry([acting(broker("a", 0, &["T"])), acting(broker("a", 1, &[]))]);
    assert_eq!(registry.unregister("C", "a", "a-1"), None);
    assert_eq!(perm(&registry, "T"), 6);
}

#[test]
fn mappings_of_static_topics_follow_the_version_and_keep_unlisted_topics() {
    let mapping = |epoch| TopicQueueMapping {
        bname: "a".into(),
        topic: "T".into(),
        epoch,
        ..Default::default()
    };
    let mapped = |epoch, topics: &[&str]| {
        let mappings = vec![("T".into(), mapping(epoch))];
        Registration {
            mappings,
            ..broker("a", 0, topics)
        }
    };
    let epoch = |registry: &Registry| {
        registry
            .route("T")
            .unwrap()
            .topic_queue_mapping_by_broker
            .unwrap()["a"]
            .epoch
    };
    let mut registry = registry([mapped(1, &["T", "U"])]);
    keep(&mut registry, mapped(2, &["T"]));
    assert_eq!(epoch(&registry), 1);
    registry
        .register(newer(mapped(2, &["T"]), 1), Unlisted::Remove, 0)
        .unwrap();
    assert_eq!(epoch(&registry), 2);
    assert!(registry.route("U").is_some());
    registry.delete_topic("T", None);
    assert!(registry.mappings.is_empty());
}

#[test]
fn a_broker_maps_only_its_own_queues_and_takes_its_mappings_along() {
    let mapping = |bname: &str| TopicQueueMapping {
        bname: bname.into(),
        topic: "T".into(),
        ..Default::default()
    };
    let mappings = vec![("T".into(), mapping("a")), ("T".into(), mapping("b"))];
    let mut registry = registry([
        broker("b", 0, &["T", "U"]),
        Registration {
            mappings,
            ..broker("a", 0, &["T", "U"])
        },
    ]);
    let mapped: Vec<&str> = registry.mappings["T"].keys().map(Str::as_str).collect();
    assert_eq!(mapped, ["a"]);
    registry.unregister("C", "a", "a-0");
    assert!(registry.route("T").is_some() && registry.mappings.is_empty());
}

#[test]
fn members_are_told_when_the_smallest_id_changes() {
    let mut registry = registry([acting(broker("a", 2, &["T"]))]);
    let told = keep(&mut registry, acting(broker("a", 1, &["T"])))
        .notice
        .unwrap();
    assert_eq!(
        (told.min_id, told.ha_addr.as_deref(), told.offline_addr),
        (1, Some("ha-a-1"), None)
    );
    assert_eq!(told.recipients, ["a-2"]);
    assert_eq!(keep(&mut registry, acting(broker("a", 1, &["T"]))).notice, None);
    assert_eq!(registry.unregister("C", "a", "nobody"), None);
    let told = registry.unregister("C", "a", "a-1").unwrap();
    assert_eq!(
        (told.min_id, told.min_addr.as_str(), told.offline_addr.as_deref()),
        (2, "a-2", Some("a-1"))
    );
    assert_eq!(told.recipients, ["a-2"]);
}

#[test]
fn a_broker_is_dropped_after_the_silence_that_it_agreed_to() {
    let mut registry = registry([broker("a", 0, &[]), broker("b", 0, &[])]);
    keep(
        &mut registry,
        Registration {
            timeout_ms: Some(10_000),
            ..broker("c", 0, &[])
        },
    );
    registry.refresh("C", "b-0", 1);
    registry.refresh("C", "unknown", 1);
    let gone = |list: Vec<Gone>| list.into_iter().map(|g| g.broker.to_string()).collect::<Vec<_>>();
    assert_eq!(gone(registry.expire(10_000)), Vec::<String>::new());
    assert_eq!(gone(registry.expire(10_001)), ["c"]);
    assert_eq!(gone(registry.expire(120_001)), ["a"]);
}

#[test]
fn the_end_of_a_connection_drops_only_who_registered_over_it_last() {
    let mut registry = registry([broker("a", 0, &[]), broker("b", 0, &[])]);
    keep(
        &mut registry,
        Registration {
            conn: 2,
            ..broker("b", 0, &[])
        },
    );
    assert_eq!(registry.disconnected(1).len(), 1);
    assert!(registry.brokers.contains_key("b"));
    assert_eq!(registry.disconnected(2).len(), 1);
}

#[test]
fn wiping_takes_the_write_bit_and_adding_leaves_only_read_and_write() {
    let mut registry = registry([broker("a", 0, &["T"]), broker("b", 0, &["U"])]);
    assert_eq!(registry.wipe_write("a"), 3);
    assert_eq!((perm(&registry, "TBW102"), perm(&registry, "U")), (5, 6));
    assert_eq!(registry.add_write("a"), 3);
    assert_eq!(perm(&registry, "TBW102"), 6);
    assert_eq!(registry.wipe_write("nobody"), 0);
}

#[test]
fn a_topic_is_deleted_everywhere_or_in_one_cluster() {
    let mut registry = registry([
        broker("a", 0, &["T"]),
        Registration {
            cluster: "D".into(),
            ..broker("d", 0, &["T"])
        },
    ]);
    registry.delete_topic("T", Some("nowhere"));
    registry.delete_topic("T", Some("D"));
    assert_eq!(registry.route("T").unwrap().broker_datas[0].broker_name, "a");
    registry.delete_topic("T", None);
    assert!(registry.route("T").is_none());
}

#[test]
fn a_single_topic_is_registered_for_known_brokers_only() {
    let mut registry = registry([broker("a", 0, &[])]);
    let queue = |name: &str| QueueRoute {
        broker_name: name.into(),
        perm: 6,
        ..QueueRoute::default()
    };
    registry.register_topic("T", vec![queue("unknown")]).unwrap();
    assert!(registry.route("T").is_none());
    registry
        .register_topic("T", vec![queue("a"), queue("unknown")])
        .unwrap();
    assert_eq!(registry.route("T").unwrap().queue_datas.len(), 1);
}

#[test]
fn a_zone_sees_its_own_brokers_and_those_without_a_master() {
    let zoned = |name, id, zone: &str| Registration {
        zone: Some(zone.into()),
        ..acting(broker(name, id, &["T"]))
    };
    let mut near = zoned("a", 0, "Near");
    near.filter_servers = Some(vec!["f".into()]);
    let far = Registration {
        filter_servers: Some(vec!["g".into()]),
        ..zoned("b", 0, "far")
    };
    let mut route = registry([near, far, broker("c", 0, &["T"]), zoned("d", 1, "far")])
        .route("T")
        .unwrap();
    keep_zone("nEAR", &mut route);
    let names: Vec<_> = route
        .broker_datas
        .iter()
        .map(|b| b.broker_name.as_str())
        .collect();
    assert_eq!(names, ["a", "d"]);
    assert_eq!(route.queue_datas.len(), 2);
    assert_eq!(route.filter_server_table.into_keys().collect::<Vec<_>>(), ["a-0"]);
}

#[test]
fn lists_are_by_cluster_and_by_flag() {
    let mut a = broker("a", 0, &["unit", "sub", "both"]);
    a.topics.remove(0);
    for (topic, flag) in a.topics.iter_mut().zip([0, 1, 2, 3]) {
        topic.topic_sys_flag = flag;
    }
    let registry = registry([
        a,
        Registration {
            cluster: "D".into(),
            ..broker("d", 0, &["T"])
        },
    ]);
    let names = |set: BTreeSet<Str>| set.into_iter().map(String::from).collect::<Vec<_>>();
    assert_eq!(names(registry.unit_topics(UnitList::Unit)), ["both", "unit"]);
    assert_eq!(names(registry.unit_topics(UnitList::HasUnitSub)), ["both", "sub"]);
    assert_eq!(
        names(registry.unit_topics(UnitList::HasUnitSubButNoUnit)),
        ["sub"]
    );
    assert_eq!(names(registry.topics_of_cluster("D")), ["SYS", "T", "TBW102"]);
    assert!(registry.topics_of_cluster("nowhere").is_empty());
    assert_eq!(
        registry.system_topics(),
        (["C", "a", "D", "d"].map(Str::from).to_vec(), Some("a-0".into()))
    );
}

#[test]
fn full_tables_refuse_what_is_new_and_take_what_they_have() {
    let limits = Limits {
        broker_addrs_max: 1,
        topics_max: 3,
    };
    let mut registry = Registry::new(limits);
    keep(&mut registry, broker("a", 0, &["T"]));
    let more = registry.register(newer(broker("a", 0, &["U"]), 1), Unlisted::Keep, 0);
    assert_eq!(more, Err(Refused::TopicsFull(3, 3)));
    let other = registry.register(broker("b", 0, &["T"]), Unlisted::Keep, 0);
    assert_eq!(other, Err(Refused::BrokersFull(1, 1)));
    assert!(registry.register_topic("U", vec![]).is_err());
    keep(&mut registry, newer(broker("a", 0, &["T"]), 1));
}

fn check(registry: &Registry) {
    for (topic, queues) in &registry.topics {
        assert!(!queues.is_empty(), "{topic} has no queues");
        assert!(
            queues.keys().all(|name| registry.brokers.contains_key(name)),
            "{topic} is on an unknown broker"
        );
    }
    for (name, data) in &registry.brokers {
        assert!(!data.broker_addrs.is_empty(), "{name} has no address");
        let distinct: BTreeSet<_> = data.broker_addrs.values().collect();
        assert_eq!(
            distinct.len(),
            data.broker_addrs.len(),
            "{name} has an address twice"
        );
        assert!(
            registry.clusters.values().any(|names| names.contains(name)),
            "{name} is in no cluster"
        );
    }
    for names in registry.clusters.values() {
        assert!(!names.is_empty() && names.iter().all(|name| registry.brokers.contains_key(name)));
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_tables_agree_and_the_end_of_all_connections_empties_them(
        steps in proptest::collection::vec((0..8u8, 0..2usize, 0..3i64, 0..4u64, 0..3i64), 1..60)
    ) {
        let mut registry = Registry::new(Limits::default());
        for (now, (step, name, id, pick, counter)) in (0i64..).zip(steps) {
            let name = ["a", "b"][name];
            let addr = format!("addr-{pick}");
            match step {
                0..4 => {
                    let r = newer(acting(broker(name, id, &["T", "U"])), counter);
                    let mut r = Registration { addr: addr.as_str().into(), conn: pick, ..r };
                    r.version.state_version = counter;
                    r.topics.truncate(usize::try_from(pick).unwrap());
                    drop(registry.register(r, Unlisted::Keep, now * 10_000));
                }
                4 => drop(registry.unregister("C", name, &addr)),
                5 => drop(registry.disconnected(pick)),
                6 => drop(registry.expire(now * 10_000)),
                _ => registry.delete_topic("T", None),
            }
            check(&registry);
        }
        for conn in 0..4 {
            registry.disconnected(conn);
        }
        check(&registry);
        prop_assert!(registry.brokers.is_empty() && registry.topics.is_empty() && registry.live.is_empty());
    }
}

#[test]
fn a_route_lists_every_broker_of_the_topic() {
    let route: TopicRoute = registry([broker("a", 0, &["T"]), broker("b", 0, &["T"])])
        .route("T")
        .unwrap();
    assert_eq!(route.broker_datas.len(), 2);
    assert_eq!(
        route.queue_datas.iter().map(|q| q.write_queue_nums).sum::<i32>(),
        8
    );
}
