// SPDX-License-Identifier: Apache-2.0
//! Who is connected: the members of consumer and producer groups, and what each consumer group subscribes to.
//!
//! A member is a connection, not a client id: two processes with one id are two members. What a group is (its kind and
//! its subscriptions) is what the last heartbeat of any member said. A group without members is forgotten at once, with
//! its subscriptions. The tables do not know sockets beyond [`Peer`], nor group settings; `heartbeat.rs` decides who may
//! join, and tells the others.

mod conflict;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::Peer;
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use wire::Str;
use wire::body::subscription::{ConsumeFromWhere, ConsumeType, MessageModel, SubscriptionData};
use wire::frame::Language;

pub(crate) use self::conflict::{Conflict, Side};
use self::conflict::{Heard, Opinions, Reports, Turn};
use crate::filter::Subscription;

/// One client on one connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) peer: Arc<Peer>,
    pub(crate) id: Str,
    pub(crate) language: Language,
    pub(crate) version: i32,
}

/// How a consumer group consumes; the last heartbeat decides for all members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) consume_type: ConsumeType,
    pub(crate) message_model: MessageModel,
    pub(crate) consume_from_where: ConsumeFromWhere,
}

impl Kind {
    fn is_broadcast(self) -> bool {
        self.message_model == MessageModel::Broadcasting
    }
}

/// What a heartbeat says about one consumer group.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) kind: Kind,
    /// All subscriptions of the group; `None` when the client only shows that it is alive.
    pub(crate) subscriptions: Option<Vec<SubscriptionData>>,
    /// Stands for all that the client would say; 0 from clients that do not send one.
    pub(crate) fingerprint: i32,
}

/// What a heartbeat changed in one consumer group.
#[derive(Debug)]
pub(crate) struct Joined {
    /// The client has to say everything again.
    pub(crate) wants_all: bool,
    /// Members that must look at the group again.
    pub(crate) tell: Vec<Arc<Peer>>,
}

/// A group whose members changed, and who is to be told.
pub(crate) type Changed = (Str, Vec<Arc<Peer>>);

/// There are as many members as there may be.
#[derive(Debug, Error)]
#[error("{0} group members are connected, which is the limit")]
pub(crate) struct TooManyMembers(usize);

/// A consumer group with its members, as admin tools see it.
#[derive(Debug)]
pub(crate) struct GroupView {
    pub(crate) kind: Kind,
    pub(crate) subscriptions: BTreeMap<Str, Arc<Subscription>>,
    pub(crate) members: Vec<Arc<Client>>,
}

/// What a pull has to know about its group.
pub(crate) enum Lookup {
    /// No member is connected.
    Offline,
    /// The group does not subscribe to the topic.
    NotSubscribed(Kind),
    /// It does.
    Found(Kind, Arc<Subscription>),
}

#[derive(Debug)]
struct Member {
    client: Arc<Client>,
    seen: Instant,
    /// What it said of the group; of consumers only.
    heard: Option<Heard>,
}

#[derive(Debug)]
struct Group {
    kind: Kind,
    subscriptions: HashMap<Str, Arc<Subscription>>,
    members: BTreeMap<u64, Member>,
    opinions: Opinions,
    fingerprint: i32,
}

/// What one connection has joined: so that its end costs what it used, not what all use.
#[derive(Debug, Default)]
struct Memberships {
    consumers: BTreeSet<Str>,
    producers: BTreeSet<Str>,
}

/// All connected clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    tables: RwLock<Tables>,
    /// Groups whose members will be told with the next batch.
    unannounced: Mutex<BTreeSet<Str>>,
    reports: Reports,
}

#[derive(Debug, Default)]
struct Tables {
    consumers: HashMap<Str, Group>,
    producers: HashMap<Str, BTreeMap<u64, Member>>,
    /// Producers by client id, then connection: with how many groups each has joined.
    producer_ids: HashMap<Str, BTreeMap<u64, (Arc<Peer>, usize)>>,
    peers: HashMap<u64, Memberships>,
    /// Members of all groups.
    count: usize,
    /// Groups whose members do not want the same.
    conflicting: BTreeSet<Str>,
}

impl Clients {
    /// Lets a client join a consumer group, or shows that it is still there.
    pub(crate) fn join(
        &self,
        client: &Arc<Client>,
        group: &str,
        beat: Beat,
        (now, members_max): (Instant, usize),
    ) -> Result<Joined, TooManyMembers> {
        let mut tables = self.tables.write();
        let Tables {
            consumers,
            peers,
            count,
            conflicting,
            ..
        } = &mut *tables;
        let peer = client.peer.id;
        let known = consumers.get(group);
        let is_new_member = known.is_none_or(|known| !known.members.contains_key(&peer));
        if is_new_member && *count >= members_max {
            return Err(TooManyMembers(members_max));
        }
        let wants_all = match known {
            // A client that says nothing about subscriptions nobody remembers.
            None => beat.subscriptions.is_none(),
            Some(known) => known.fingerprint != beat.fingerprint,
        };
        if known.is_none() {
            consumers.insert(group.into(), Group::new(beat.kind));
        }
        let Some(entry) = consumers.get_mut(group) else {
            return Ok(Joined {
                wants_all,
                tell: Vec::new(),
            });
        };
        entry.kind = beat.kind;
        entry.fingerprint = beat.fingerprint;
        let before = entry.members.get(&peer).and_then(|member| member.heard);
        let member = Member {
            client: Arc::clone(client),
            seen: now,
            heard: entry.opinions.hear(group, before, &beat, now),
        };
        entry.members.insert(peer, member);
        let turn = entry.turn(group, conflicting, now);
        let subscriptions_changed = beat.subscriptions.is_some_and(|all| entry.subscribe(all));
        if is_new_member {
            *count += 1;
            peers.entry(peer).or_default().consumers.insert(group.into());
        }
        let tell = if is_new_member || subscriptions_changed {
            entry.audience()
        } else {
            Vec::new()
        };
        drop(tables);
        self.report(group, turn, now);
        Ok(Joined { wants_all, tell })
    }

    /// The same for a producer group.
    pub(crate) fn join_producers(
        &self,
        client: &Arc<Client>,
        group: &str,
        (now, members_max): (Instant, usize),
    ) -> Result<(), TooManyMembers> {
        let mut tables = self.tables.write();
        let peer = client.peer.id;
        let member = Member {
            client: Arc::clone(client),
            seen: now,
            heard: None,
        };
        let members = tables.producers.get_mut(group);
        if let Some(known) = members.and_then(|members| members.get_mut(&peer)) {
            let before = std::mem::replace(known, member);
            if before.client.id != client.id {
                tables.forget_id(&before.client);
                tables.note_id(client);
            }
            return Ok(());
        }
        if tables.count >= members_max {
            return Err(TooManyMembers(members_max));
        }
        tables
            .producers
            .entry(group.into())
            .or_default()
            .insert(peer, member);
        tables
            .peers
            .entry(peer)
            .or_default()
            .producers
            .insert(group.into());
        tables.note_id(client);
        tables.count += 1;
        Ok(())
    }

    /// A connection leaves a consumer group; returns who is to be told, were it a member or not.
    pub(crate) fn leave(&self, peer: u64, group: &str, now: Instant) -> Vec<Arc<Peer>> {
        let mut tables = self.tables.write();
        tables.forget(peer, |memberships| memberships.consumers.remove(group));
        let (rest, turn) = tables.leave(peer, group, now);
        drop(tables);
        self.report(group, turn, now);
        rest
    }

    /// A connection leaves a producer group.
    pub(crate) fn leave_producers(&self, peer: u64, group: &str) {
        let mut tables = self.tables.write();
        tables.forget(peer, |memberships| memberships.producers.remove(group));
        tables.leave_producers(peer, group);
    }

    /// A connection has ended: it leaves all its groups.
    pub(crate) fn leave_all(&self, peer: u64, now: Instant) -> Vec<Changed> {
        let mut tables = self.tables.write();
        let Some(memberships) = tables.peers.remove(&peer) else {
            return Vec::new();
        };
        for group in &memberships.producers {
            tables.leave_producers(peer, group);
        }
        let consumers = memberships.consumers.into_iter();
        let left: Vec<_> = consumers
            .map(|group| (tables.leave(peer, &group, now), group))
            .collect();
        drop(tables);
        left.into_iter()
            .map(|((rest, turn), group)| {
                self.report(&group, turn, now);
                (group, rest)
            })
            .collect()
    }

    /// Connections that belong to a group in which they have not been heard of for `expiry`.
    pub(crate) fn expired(&self, now: Instant, expiry: Duration) -> Vec<Arc<Peer>> {
        let tables = self.tables.read();
        let consumers = tables.consumers.values().flat_map(|group| group.members.values());
        let producers = tables.producers.values().flat_map(BTreeMap::values);
        let silent = consumers
            .chain(producers)
            .filter(|m| now.saturating_duration_since(m.seen) > expiry);
        let peers: BTreeMap<u64, Arc<Peer>> = silent
            .map(|member| (member.client.peer.id, Arc::clone(&member.client.peer)))
            .collect();
        peers.into_values().collect()
    }

    /// What a pull has to know.
    pub(crate) fn lookup(&self, group: &str, topic: &str) -> Lookup {
        let tables = self.tables.read();
        let Some(group) = tables.consumers.get(group) else {
            return Lookup::Offline;
        };
        match group.subscriptions.get(topic) {
            None => Lookup::NotSubscribed(group.kind),
            Some(subscription) => Lookup::Found(group.kind, Arc::clone(subscription)),
        }
    }

    /// The subscription of an online group to a topic.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<Arc<Subscription>> {
        match self.lookup(group, topic) {
            Lookup::Found(_, subscription) => Some(subscription),
            Lookup::Offline | Lookup::NotSubscribed(_) => None,
        }
    }

    /// The kind of a group, if it is online, and whether the connection is a member of it.
    pub(crate) fn membership(&self, group: &str, peer: u64) -> Option<(Kind, bool)> {
        let tables = self.tables.read();
        tables
            .consumers
            .get(group)
            .map(|group| (group.kind, group.members.contains_key(&peer)))
    }

    /// The member of a group that a connection is.
    pub(crate) fn member(&self, group: &str, peer: u64) -> Option<Arc<Client>> {
        let tables = self.tables.read();
        let member = tables.consumers.get(group)?.members.get(&peer)?;
        Some(Arc::clone(&member.client))
    }

    /// Who is at the other end of a connection, if it has said so in a heartbeat.
    pub(crate) fn at(&self, peer: u64) -> Option<Arc<Client>> {
        let tables = self.tables.read();
        let joined = tables.peers.get(&peer)?;
        let consumer = || {
            let group = tables.consumers.get(joined.consumers.first()?)?;
            group.members.get(&peer)
        };
        let producer = || tables.producers.get(joined.producers.first()?)?.get(&peer);
        let member = consumer().or_else(producer)?;
        Some(Arc::clone(&member.client))
    }

    /// Whether the group has members.
    pub(crate) fn is_online(&self, group: &str) -> bool {
        self.tables.read().consumers.contains_key(group)
    }

    /// How many topics the group subscribes to; 0 when it is offline.
    pub(crate) fn subscription_count(&self, group: &str) -> usize {
        self.tables
            .read()
            .consumers
            .get(group)
            .map_or(0, |group| group.subscriptions.len())
    }

    /// The client ids of a consumer group, in the order the connections came.
    pub(crate) fn ids(&self, group: &str) -> Vec<Str> {
        let tables = self.tables.read();
        let members = tables
            .consumers
            .get(group)
            .into_iter()
            .flat_map(|group| group.members.values());
        members.map(|member| member.client.id.clone()).collect()
    }

    /// The members to be told of a change; none when the group broadcasts.
    pub(crate) fn audience(&self, group: &str) -> Vec<Arc<Peer>> {
        self.tables
            .read()
            .consumers
            .get(group)
            .map_or_else(Vec::new, Group::audience)
    }

    /// The online groups that subscribe to a topic, sorted.
    pub(crate) fn groups_consuming(&self, topic: &str) -> BTreeSet<Str> {
        let tables = self.tables.read();
        let groups = tables
            .consumers
            .iter()
            .filter(|(_, group)| group.subscriptions.contains_key(topic));
        groups.map(|(name, _)| name.clone()).collect()
    }

    /// All consumer groups that are online, sorted.
    pub(crate) fn consumer_groups(&self) -> BTreeSet<Str> {
        self.tables.read().consumers.keys().cloned().collect()
    }

    /// A consumer group, if it is online.
    pub(crate) fn consumer_group(&self, group: &str) -> Option<GroupView> {
        let tables = self.tables.read();
        tables.consumers.get(group).map(|group| GroupView {
            kind: group.kind,
            subscriptions: group
                .subscriptions
                .iter()
                .map(|(t, s)| (t.clone(), Arc::clone(s)))
                .collect(),
            members: group
                .members
                .values()
                .map(|member| Arc::clone(&member.client))
                .collect(),
        })
    }

    /// The members of a producer group, if it is online.
    pub(crate) fn producer_group(&self, group: &str) -> Option<Vec<Arc<Client>>> {
        let tables = self.tables.read();
        tables
            .producers
            .get(group)
            .map(|members| members.values().map(|m| Arc::clone(&m.client)).collect())
    }

    /// The newest connection of a producer, by its client id.
    pub(crate) fn producer(&self, client_id: &str) -> Option<Arc<Peer>> {
        let tables = self.tables.read();
        let (peer, _) = tables.producer_ids.get(client_id)?.last_key_value()?.1;
        Some(Arc::clone(peer))
    }

    /// All producer groups with their members and when these were last heard of.
    pub(crate) fn producer_groups(&self) -> BTreeMap<Str, Vec<(Arc<Client>, Instant)>> {
        let tables = self.tables.read();
        let members =
            |all: &BTreeMap<u64, Member>| all.values().map(|m| (Arc::clone(&m.client), m.seen)).collect();
        tables
            .producers
            .iter()
            .map(|(group, all)| (group.clone(), members(all)))
            .collect()
    }

    /// The groups whose members do not want the same, sorted, from behind the name `after` on or only `group`: at most
    /// `most`, with at most `sides_max` sides each. And how many there are of all groups.
    pub(crate) fn conflicts(
        &self,
        (group, after): (Option<&str>, Option<&str>),
        (most, sides_max): (usize, usize),
    ) -> (Vec<Conflict>, usize) {
        let tables = self.tables.read();
        let conflict = |name: &Str| {
            let group = tables.consumers.get(name)?;
            group.opinions.conflict(name, &group.members, sides_max)
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = match group {
            Some(group) => {
                let only = tables.conflicting.get(group);
                let only = only.filter(|name| after.is_none_or(|after| name.as_str() > after));
                only.and_then(conflict).into_iter().take(most).collect()
            }
            None => {
                let names = tables.conflicting.range::<str, _>((from, Bound::Unbounded));
                names.filter_map(conflict).take(most).collect()
            }
        };
        (found, tables.conflicting.len())
    }

    /// Groups whose members do not want the same: how many there are now, and how often there came to be one.
    pub(crate) fn conflict_counts(&self) -> (usize, u64) {
        (self.tables.read().conflicting.len(), self.reports.total())
    }

    fn report(&self, group: &str, turn: Turn, now: Instant) {
        match turn {
            Turn::None => {}
            Turn::Began => {
                // None if it is over already.
                let conflict = self.conflicts((Some(group), None), (1, 2)).0.pop();
                self.reports.began(conflict.as_ref());
            }
            Turn::Ended => self.reports.ended(group, now),
        }
    }

    /// Notes that the members of the group are to be told later.
    pub(crate) fn announce_later(&self, group: &str) {
        self.unannounced.lock().insert(group.into());
    }

    /// The groups that were noted since the last time, with their members of now.
    pub(crate) fn take_unannounced(&self) -> Vec<Changed> {
        let groups = std::mem::take(&mut *self.unannounced.lock());
        groups
            .into_iter()
            .map(|group| (group.clone(), self.audience(&group)))
            .collect()
    }
}

impl Tables {
    fn leave(&mut self, peer: u64, name: &str, now: Instant) -> (Vec<Arc<Peer>>, Turn) {
        let Some(group) = self.consumers.get_mut(name) else {
            return (Vec::new(), Turn::None);
        };
        if let Some(left) = group.members.remove(&peer) {
            self.count -= 1;
            group.opinions.forget(left.heard);
        }
        let turn = group.turn(name, &mut self.conflicting, now);
        let rest = group.audience();
        if group.members.is_empty() {
            self.consumers.remove(name);
        }
        (rest, turn)
    }

    fn leave_producers(&mut self, peer: u64, name: &str) {
        let Some(members) = self.producers.get_mut(name) else {
            return;
        };
        let left = members.remove(&peer);
        if members.is_empty() {
            self.producers.remove(name);
        }
        if let Some(left) = left {
            self.count -= 1;
            self.forget_id(&left.client);
        }
    }

    fn note_id(&mut self, client: &Client) {
        let connections = self.producer_ids.entry(client.id.clone()).or_default();
        let connection = connections.entry(client.peer.id);
        connection.or_insert_with(|| (Arc::clone(&client.peer), 0)).1 += 1;
    }

    fn forget_id(&mut self, client: &Client) {
        let Some(connections) = self.producer_ids.get_mut(&client.id) else {
            return;
        };
        if let Some((_, groups)) = connections.get_mut(&client.peer.id) {
            *groups -= 1;
            if *groups == 0 {
                connections.remove(&client.peer.id);
            }
        }
        if connections.is_empty() {
            self.producer_ids.remove(&client.id);
        }
    }

    fn forget(&mut self, peer: u64, change: impl FnOnce(&mut Memberships) -> bool) {
        let Some(memberships) = self.peers.get_mut(&peer) else {
            return;
        };
        change(memberships);
        if memberships.consumers.is_empty() && memberships.producers.is_empty() {
            self.peers.remove(&peer);
        }
    }
}

impl Group {
    fn new(kind: Kind) -> Group {
        Group {
            kind,
            subscriptions: HashMap::new(),
            members: BTreeMap::new(),
            opinions: Opinions::default(),
            fingerprint: 0,
        }
    }

    /// Whether members began to differ, or ceased to.
    fn turn(&mut self, name: &str, conflicting: &mut BTreeSet<Str>, now: Instant) -> Turn {
        let turn = self.opinions.turn(now);
        match turn {
            Turn::None => {}
            Turn::Began => drop(conflicting.insert(name.into())),
            Turn::Ended => drop(conflicting.remove(name)),
        }
        turn
    }

    /// Makes these the subscriptions of the group; returns whether a topic came or went. A subscription that is there
    /// already gives way only to a newer version of itself, which alone is no change.
    fn subscribe(&mut self, all: Vec<SubscriptionData>) -> bool {
        let mut changed = false;
        let topics: BTreeSet<Str> = all.iter().map(|data| data.topic.clone()).collect();
        for data in all {
            match self.subscriptions.get_mut(&data.topic) {
                Some(known) if data.sub_version <= known.data.sub_version => {}
                Some(known) => *known = Arc::new(Subscription::new(data)),
                None => {
                    self.subscriptions
                        .insert(data.topic.clone(), Arc::new(Subscription::new(data)));
                    changed = true;
                }
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| topics.contains(topic));
        changed || self.subscriptions.len() != before
    }

    fn audience(&self) -> Vec<Arc<Peer>> {
        if self.kind.is_broadcast() {
            return Vec::new();
        }
        self.members
            .values()
            .map(|member| Arc::clone(&member.client.peer))
            .collect()
    }
}
