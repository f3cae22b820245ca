// SPDX-License-Identifier: Apache-2.0
//! The tables of a name server, and every decision on them: `fn(tables, input, now) -> what to do`. No clock, no socket,
//! no lock: the caller brings the time (milliseconds of any clock that never goes back) and the number of the connection.
//!
//! What always holds: a queue's broker is in `brokers`; a broker has at least one address; `clusters` lists exactly the
//! registered broker names; the limits are kept, since a registration is refused before it changes anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use thiserror::Error;
use wire::Str;
use wire::body::topic::{DataVersion, TopicConfig};
use wire::body::topic_route::{BrokerAddrs, QueueRoute, TopicQueueMapping};

/// The broker id of a master.
pub const MASTER: i64 = 0;
/// Perm bits of a queue.
pub const PERM_READ: i32 = 4;
pub const PERM_WRITE: i32 = 2;
/// Silence after which a broker counts as gone, unless its registration says otherwise.
const TIMEOUT_MS: i64 = 120_000;
/// Filter servers kept of one broker; real ones have a handful.
const FILTER_SERVERS_MAX: usize = 100;

/// How much the tables may hold.
#[derive(Debug, Clone)]
pub struct Limits {
    pub broker_addrs_max: usize,
    pub topics_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            broker_addrs_max: 10_000,
            topics_max: 1_000_000,
        }
    }
}

/// A registration, decoded.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    pub cluster: Str,
    pub broker: Str,
    pub id: i64,
    pub addr: Str,
    pub ha_addr: Str,
    pub zone: Option<Str>,
    /// Absent from brokers that do not know it.
    pub acting_master: Option<bool>,
    pub timeout_ms: Option<i64>,
    pub version: DataVersion,
    pub topics: Vec<TopicConfig>,
    pub mappings: Vec<(Str, TopicQueueMapping)>,
    pub filter_servers: Option<Vec<Str>>,
    /// The connection that brought it; when it ends the broker is gone.
    pub conn: u64,
}

/// What becomes of topics that a registration does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    Keep,
    Remove,
}

/// A registration was accepted (or ignored as outdated: then this is empty).
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// For a slave: the live master of its group.
    pub master: Option<Master>,
    pub notice: Option<Notice>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Master {
    pub addr: Str,
    pub ha_addr: Str,
}

/// A registration was refused; the tables are as before.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// A broker that is not known yet must list all its topics, and every real one has several.
    #[error("register broker failed")]
    LoneTopic,
    #[error("register broker failed: {0} topics are known, the limit is {1}")]
    TopicsFull(usize, usize),
    #[error("register broker failed: {0} broker addresses are known, the limit is {1}")]
    BrokersFull(usize, usize),
}

/// The smallest id of a broker group has changed; its members want to know (code 905).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub broker: Str,
    pub min_id: i64,
    pub min_addr: Str,
    pub offline_addr: Option<Str>,
    pub ha_addr: Option<Str>,
    pub recipients: Vec<Str>,
}

/// A broker was dropped.
#[derive(Debug, PartialEq, Eq)]
pub struct Gone {
    pub broker: Str,
    pub addr: Str,
    pub conn: u64,
    pub notice: Option<Notice>,
}

/// (cluster, address) of a broker process.
type Place = (Str, Str);

#[derive(Debug)]
struct Live {
    broker: Str,
    seen_ms: i64,
    timeout_ms: i64,
    version: DataVersion,
    conn: u64,
    ha_addr: Str,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub brokers: usize,
    pub names: usize,
    pub topics: usize,
}

/// The tables.
#[derive(Debug, Default)]
pub struct Registry {
    limits: Limits,
    /// topic → broker name → queues
    pub(crate) topics: HashMap<Str, BTreeMap<Str, QueueRoute>>,
    /// broker name → addresses. Global by name: the same name in two clusters collides.
    pub(crate) brokers: BTreeMap<Str, BrokerAddrs>,
    /// cluster → broker names
    pub(crate) clusters: BTreeMap<Str, BTreeSet<Str>>,
    live: HashMap<Place, Live>,
    pub(crate) filter_servers: HashMap<Place, Vec<Str>>,
    /// topic → broker name → mapping of a static topic
    pub(crate) mappings: HashMap<Str, BTreeMap<Str, TopicQueueMapping>>,
}

impl Registry {
    pub fn new(limits: Limits) -> Registry {
        Registry {
            limits,
            ..Registry::default()
        }
    }

    /// How much there is of everything.
    pub fn counts(&self) -> Counts {
        Counts {
            brokers: self.live.len(),
            names: self.brokers.len(),
            topics: self.topics.len(),
        }
    }

    /// Takes a registration.
    pub fn register(
        &mut self,
        r: Registration,
        unlisted: Unlisted,
        now_ms: i64,
    ) -> Result<Accepted, Refused> {
        self.admit(&r)?;
        let place = (r.cluster.clone(), r.addr.clone());
        if let Some(before) = self
            .live
            .get(&place)
            .filter(|l| l.broker != r.broker)
            .map(|l| l.broker.clone())
        {
            // The reference keeps the address under its old name for ever.
            self.unregister(&r.cluster, &before, &r.addr);
        }
        self.clusters
            .entry(r.cluster.clone())
            .or_default()
            .insert(r.broker.clone());
        let known = self.brokers.contains_key(&r.broker);
        let data = self
            .brokers
            .entry(r.broker.clone())
            .or_insert_with(|| BrokerAddrs {
                cluster: r.cluster.clone(),
                broker_name: r.broker.clone(),
                ..BrokerAddrs::default()
            });
        data.enable_acting_master = r.acting_master.unwrap_or(false);
        data.zone_name = r.zone.clone();
        let is_new_min = data.broker_addrs.keys().next().is_some_and(|min| r.id < *min);
        data.broker_addrs
            .retain(|id, addr| *id == r.id || *addr != r.addr);

        let other = data.broker_addrs.get(&r.id).filter(|addr| **addr != r.addr);
        let newer = other.and_then(|addr| self.live.get(&(r.cluster.clone(), addr.clone())));
        if newer.is_some_and(|live| live.version.state_version > r.version.state_version) {
            self.live.remove(&place);
            return Ok(Accepted::default());
        }
        let is_first = data.broker_addrs.insert(r.id, r.addr.clone()).is_none() || !known;
        let is_min = data.broker_addrs.keys().next() == Some(&r.id);
        let is_prime_slave = r.acting_master.is_some() && r.id != MASTER && is_min;
        if r.id == MASTER || is_prime_slave {
            let takes_over = is_prime_slave && data.enable_acting_master;
            self.take_topics(
                &r,
                if takes_over { !PERM_WRITE } else { !0 },
                (is_first, unlisted),
            );
        }
        Ok(self.note_live(r, is_new_min, now_ms))
    }

    /// Refuses what must be refused, before anything is changed.
    fn admit(&self, r: &Registration) -> Result<(), Refused> {
        let is_known = self
            .brokers
            .get(&r.broker)
            .is_some_and(|b| b.broker_addrs.contains_key(&r.id));
        if !is_known && r.topics.len() == 1 {
            return Err(Refused::LoneTopic);
        }
        let (topics, max) = (self.topics.len(), self.limits.topics_max);
        if topics + r.topics.len() > max {
            let new = r
                .topics
                .iter()
                .filter(|t| !self.topics.contains_key(&t.topic_name))
                .count();
            if topics + new > max {
                return Err(Refused::TopicsFull(topics, max));
            }
        }
        let (addrs, max) = (self.live.len(), self.limits.broker_addrs_max);
        if addrs >= max && !self.live.contains_key(&(r.cluster.clone(), r.addr.clone())) {
            return Err(Refused::BrokersFull(addrs, max));
        }
        Ok(())
    }

    /// Topics and mappings of a master, or of the slave that stands in for it.
    fn take_topics(&mut self, r: &Registration, perm_mask: i32, (is_first, unlisted): (bool, Unlisted)) {
        let stored = self.live.get(&(r.cluster.clone(), r.addr.clone()));
        let is_changed = is_first || stored.is_none_or(|live| live.version != r.version);
        if unlisted == Unlisted::Remove && r.mappings.is_empty() {
            let listed: BTreeSet<&Str> = r.topics.iter().map(|t| &t.topic_name).collect();
            self.remove_queues(|topic, broker| *broker == r.broker && !listed.contains(topic));
        }
        for config in &r.topics {
            let queues = self.topics.entry(config.topic_name.clone()).or_default();
            if is_changed || !queues.contains_key(&r.broker) {
                let queue = QueueRoute {
                    broker_name: r.broker.clone(),
                    perm: config.perm & perm_mask,
                    read_queue_nums: config.read_queue_nums,
                    topic_sys_flag: config.topic_sys_flag,
                    write_queue_nums: config.write_queue_nums,
                };
                queues.insert(r.broker.clone(), queue);
            }
        }
        for (topic, mapping) in r
            .mappings
            .iter()
            // Nobody speaks for another broker: its mapping would outlive it.
            .filter(|(topic, m)| is_changed && m.bname == r.broker && self.topics.contains_key(topic))
        {
            self.mappings
                .entry(topic.clone())
                .or_default()
                .insert(mapping.bname.clone(), mapping.clone());
        }
    }

    /// The broker is alive; what it and its group are told.
    fn note_live(&mut self, r: Registration, is_new_min: bool, now_ms: i64) -> Accepted {
        let place = (r.cluster.clone(), r.addr.clone());
        match r.filter_servers {
            Some(list) if list.is_empty() => drop(self.filter_servers.remove(&place)),
            Some(mut list) => {
                list.truncate(FILTER_SERVERS_MAX);
                self.filter_servers.insert(place.clone(), list);
            }
            None => {}
        }
        let live = Live {
            broker: r.broker.clone(),
            seen_ms: now_ms,
            timeout_ms: r.timeout_ms.unwrap_or(TIMEOUT_MS),
            version: r.version,
            conn: r.conn,
            ha_addr: r.ha_addr.clone(),
        };
        self.live.insert(place, live);
        let Some(data) = self.brokers.get(&r.broker) else {
            return Accepted::default();
        };
        let master = data
            .broker_addrs
            .get(&MASTER)
            .filter(|_| r.id != MASTER)
            .and_then(|addr| {
                let live = self.live.get(&(r.cluster, addr.clone()))?;
                Some(Master {
                    addr: addr.clone(),
                    ha_addr: live.ha_addr.clone(),
                })
            });
        let notice = is_new_min.then(|| {
            let alone = data.broker_addrs.len() == 1;
            let members = data.broker_addrs.iter().filter(|(id, _)| alone || **id != r.id);
            Notice {
                broker: r.broker,
                min_id: r.id,
                min_addr: r.addr,
                offline_addr: None,
                ha_addr: Some(r.ha_addr),
                recipients: members.map(|(_, addr)| addr.clone()).collect(),
            }
        });
        Accepted { master, notice }
    }

    /// The connections over which a broker has registered last, one for each address; or that of one address.
    pub fn conns_of(&self, broker: &str, addr: Option<&str>) -> Vec<u64> {
        let of_broker = self.live.iter().filter(|(_, live)| live.broker == broker);
        let meant = of_broker.filter(|((_, known), _)| addr.is_none_or(|addr| known == addr));
        meant.map(|(_, live)| live.conn).collect()
    }

    /// Drops one address of a broker; with the last one the broker, and with that its topics.
    pub fn unregister(&mut self, cluster: &str, broker: &str, addr: &str) -> Option<Notice> {
        let place = (Str::from(cluster), Str::from(addr));
        // Whoever names the wrong broker must not make the right one immortal.
        if self.live.get(&place).is_some_and(|live| live.broker == broker) {
            self.live.remove(&place);
            self.filter_servers.remove(&place);
        }
        let data = self.brokers.get_mut(broker)?;
        let min = data
            .broker_addrs
            .first_key_value()
            .map(|(id, addr)| (*id, addr.clone()));
        data.broker_addrs.retain(|_, known| known != addr);
        let Some((min_id, min_addr)) = data
            .broker_addrs
            .first_key_value()
            .map(|(id, addr)| (*id, addr.clone()))
        else {
            self.forget_broker(broker);
            return None;
        };
        if !data.enable_acting_master {
            return None;
        }
        let notice = min.is_some_and(|(id, _)| id != min_id).then(|| Notice {
            broker: Str::from(broker),
            min_id,
            min_addr,
            offline_addr: Some(Str::from(addr)),
            ha_addr: None,
            recipients: data.broker_addrs.values().cloned().collect(),
        });
        if min_id != MASTER {
            self.change_perms(broker, |perm| perm & !PERM_WRITE);
        }
        notice
    }

    fn forget_broker(&mut self, broker: &str) {
        self.brokers.remove(broker);
        self.clusters.retain(|_, names| {
            names.remove(broker);
            !names.is_empty()
        });
        self.remove_queues(|_, name| name == broker);
        // Topics that other brokers hold stay, but not with what this one said of them.
        self.mappings.retain(|_, by_broker| {
            by_broker.remove(broker);
            !by_broker.is_empty()
        });
    }

    /// Removes queues, topics without queues, and the mappings of such topics.
    fn remove_queues(&mut self, gone: impl Fn(&Str, &Str) -> bool) {
        let mappings = &mut self.mappings;
        self.topics.retain(|topic, queues| {
            queues.retain(|broker, _| !gone(topic, broker));
            if queues.is_empty() {
                mappings.remove(topic);
            }
            !queues.is_empty()
        });
    }

    /// A broker that is known is alive; others are ignored.
    pub fn refresh(&mut self, cluster: &str, addr: &str, now_ms: i64) {
        if let Some(live) = self.live.get_mut(&(Str::from(cluster), Str::from(addr))) {
            live.seen_ms = now_ms;
        }
    }

    /// The version of the topics that were taken from an address.
    pub fn version(&self, cluster: &str, addr: &str) -> Option<&DataVersion> {
        self.live
            .get(&(Str::from(cluster), Str::from(addr)))
            .map(|live| &live.version)
    }

    /// Drops the brokers that were silent for too long.
    pub fn expire(&mut self, now_ms: i64) -> Vec<Gone> {
        self.drop_where(|live| live.seen_ms.saturating_add(live.timeout_ms) < now_ms)
    }

    /// Drops the brokers whose latest registration came over this connection.
    pub fn disconnected(&mut self, conn: u64) -> Vec<Gone> {
        self.drop_where(|live| live.conn == conn)
    }

    fn drop_where(&mut self, is_gone: impl Fn(&Live) -> bool) -> Vec<Gone> {
        let gone = self.live.iter().filter(|(_, live)| is_gone(live));
        let gone: Vec<_> = gone
            .map(|(place, live)| (place.clone(), live.broker.clone(), live.conn))
            .collect();
        let drop_one = |((cluster, addr), broker, conn): (Place, Str, u64)| {
            let notice = self.unregister(&cluster, &broker, &addr);
            Gone {
                broker,
                addr,
                conn,
                notice,
            }
        };
        gone.into_iter().map(drop_one).collect()
    }

    /// Takes the write bit from all topics of a broker; how many it has.
    pub fn wipe_write(&mut self, broker: &str) -> i32 {
        self.change_perms(broker, |perm| perm & !PERM_WRITE)
    }

    /// Makes all topics of a broker readable and writable, and nothing else; how many it has.
    pub fn add_write(&mut self, broker: &str) -> i32 {
        self.change_perms(broker, |_| PERM_READ | PERM_WRITE)
    }

    fn change_perms(&mut self, broker: &str, change: impl Fn(i32) -> i32) -> i32 {
        let mut count = 0;
        for queue in self
            .topics
            .values_mut()
            .filter_map(|queues| queues.get_mut(broker))
        {
            queue.perm = change(queue.perm);
            count += 1;
        }
        count
    }

    /// Forgets a topic, everywhere or on the brokers of one cluster. Their next registration brings it back.
    pub fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(queues) = self.topics.get_mut(topic) else {
            return;
        };
        match cluster {
            None => queues.clear(),
            Some(cluster) => {
                let brokers = self.clusters.get(cluster);
                queues.retain(|broker, _| brokers.is_none_or(|names| !names.contains(broker)));
            }
        }
        if queues.is_empty() {
            self.topics.remove(topic);
            self.mappings.remove(topic);
        }
    }

    /// Adds one topic, up to the first broker that is not known.
    pub fn register_topic(&mut self, topic: &str, queues: Vec<QueueRoute>) -> Result<(), Refused> {
        let (topics, max) = (self.topics.len(), self.limits.topics_max);
        if topics >= max && !self.topics.contains_key(topic) {
            return Err(Refused::TopicsFull(topics, max));
        }
        let known = queues
            .into_iter()
            .take_while(|queue| self.brokers.contains_key(&queue.broker_name));
        let known: Vec<_> = known.map(|queue| (queue.broker_name.clone(), queue)).collect();
        if !known.is_empty() {
            self.topics.entry(Str::from(topic)).or_default().extend(known);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
