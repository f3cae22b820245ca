// SPDX-License-Identifier: Apache-2.0
//! What servers say of themselves, gathered for the rules. A server that does not answer is part of it, no failure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use wire::Str;
use wire::api::config::{GetBrokerConfig, GetBrokerRuntimeInfo};
use wire::api::group::ListSubscriptionConflicts;
use wire::api::ha::GetBrokerHaStatus;
use wire::api::query::GetBrokerConsumeStats;
use wire::api::route::{GetAllTopicListFromNameserver, GetBrokerClusterInfo};
use wire::api::transaction::ListTransactions;
use wire::body::conflict::{SubscriptionConflict, SubscriptionConflicts};
use wire::body::ha::HaRuntimeInfo;
use wire::body::stats::{BrokerConsumeStats, KvTable};
use wire::body::topic::TopicList;
use wire::body::topic_route::ClusterInfo;
use wire::body::transaction::PendingTransactions;
use wire::frame::Frame;

use crate::cmd::lookup::MASTER;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::settings::Settings;

/// What a broker counts, by name.
pub(super) type Table = BTreeMap<Str, Str>;
/// Messages that groups have not consumed, by group.
pub(super) type Lags = BTreeMap<Str, i64>;

/// What somebody said, and when: of two of them a rate can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said<T> {
    pub what: T,
    /// On a clock that only counts, ms.
    pub at_ms: i64,
}

/// How far a group is behind, over all brokers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Lag {
    /// By the last answer of each broker.
    pub now: i64,
    /// Messages a second; none where no broker has answered twice.
    pub rate: Option<f64>,
}

/// Everything that was said.
#[derive(Default)]
pub(super) struct Sample {
    pub names: Vec<NameServer>,
    pub brokers: Vec<Broker>,
    /// Groups that are far behind, and how many members each has; none where nobody could be asked.
    pub members: BTreeMap<String, usize>,
}

/// A name server.
pub(super) struct NameServer {
    pub addr: String,
    /// What it knows, or why it does not say.
    pub view: Result<View, String>,
}

/// What a name server knows.
#[derive(Default)]
pub(super) struct View {
    /// Cluster, broker name, id, address.
    pub brokers: BTreeSet<(Str, Str, i64, Str)>,
    pub topics: BTreeSet<Str>,
}

/// One process of a cluster.
pub(super) struct Broker {
    pub cluster: Str,
    pub name: Str,
    pub id: i64,
    pub addr: Str,
    /// What it counts, or why it does not say.
    pub table: Result<Said<Table>, String>,
    /// The same a while later; none where it was not asked again.
    pub later: Option<Result<Said<Table>, String>>,
    pub settings: Option<Settings>,
    pub replication: Option<HaRuntimeInfo>,
    /// How far groups are behind, and the same a while later; none where it was not asked, because it is a slave or does not answer.
    pub lags: Option<Result<Said<Lags>, String>>,
    pub later_lags: Option<Result<Said<Lags>, String>>,
    pub conflicts: Vec<SubscriptionConflict>,
    /// How many there are beside them.
    pub conflicts_left_out: usize,
    /// The oldest transaction that has not ended, ms, and how many there are.
    pub transactions: Option<(i64, usize)>,
}

impl Default for Broker {
    fn default() -> Broker {
        Broker {
            cluster: Str::default(),
            name: Str::default(),
            id: MASTER,
            addr: Str::default(),
            table: Ok(Said::default()),
            later: None,
            settings: None,
            replication: None,
            lags: None,
            later_lags: None,
            conflicts: Vec::new(),
            conflicts_left_out: 0,
            transactions: None,
        }
    }
}

/// Asks, and knows since when.
struct Watcher<'a> {
    ctx: &'a Ctx,
    begun: Instant,
}

impl Watcher<'_> {
    /// What somebody answers, with its time; or why there is no answer.
    async fn said<T>(&self, asked: impl Future<Output = Result<T, Failure>>) -> Result<Said<T>, String> {
        let what = asked.await.map_err(|failure| failure.to_string())?;
        let since = self.ctx.env.clock.instant().duration_since(self.begun);
        let at_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Ok(Said { what, at_ms })
    }
}

/// Groups whose members are looked for: the ones that are furthest behind.
const GROUPS_MAX: usize = 50;
/// Groups whose members want different things that are told of a broker.
const CONFLICTS_MAX: usize = 200;
/// How long a broker may think about all its groups.
const STATS_WITHIN: Duration = Duration::from_secs(30);

impl Sample {
    /// Asks everybody, waits, and asks again what changes.
    pub(super) async fn take(ctx: &Ctx, cluster: Option<&str>, pause: Duration) -> Result<Sample, Failure> {
        let mut sample = Sample::default();
        let watcher = Watcher {
            ctx,
            begun: ctx.env.clock.instant(),
        };
        for addr in ctx.client.name_servers()? {
            sample.names.push(NameServer {
                addr: addr.clone(),
                view: view(ctx, addr).await.map_err(|failure| failure.to_string()),
            });
        }
        let views = sample.names.iter().filter_map(|names| names.view.as_ref().ok());
        let known: BTreeSet<(Str, Str, i64, Str)> = views.flat_map(|view| view.brokers.clone()).collect();
        if known.is_empty() {
            let why = sample.names.iter().find_map(|names| names.view.as_ref().err());
            return Err(Failure::Other(match why {
                Some(why) => format!("no name server knows a broker; the first says: {why}"),
                None => "the name servers know no broker; is one running, with this namesrvAddr?".to_owned(),
            }));
        }
        let wanted = known
            .into_iter()
            .filter(|(known, ..)| cluster.is_none_or(|name| known == name));
        for (cluster, name, id, addr) in wanted {
            let broker = Broker {
                cluster,
                name,
                id,
                addr,
                ..Broker::default()
            };
            sample.brokers.push(first_look(&watcher, broker).await);
        }
        if let (Some(cluster), true) = (cluster, sample.brokers.is_empty()) {
            return Err(Failure::Other(format!("there is no cluster '{cluster}'")));
        }
        tokio::time::sleep(pause).await;
        for broker in sample.brokers.iter_mut().filter(|broker| broker.table.is_ok()) {
            broker.later = Some(watcher.said(table(ctx, &broker.addr)).await);
            if broker.id == MASTER {
                broker.later_lags = Some(watcher.said(lags(ctx, &broker.addr)).await);
            }
        }
        sample.count_members(ctx).await;
        Ok(sample)
    }

    /// How far groups are behind, over all brokers.
    pub(super) fn lags(&self) -> BTreeMap<&Str, Lag> {
        let mut lags: BTreeMap<&Str, Lag> = BTreeMap::new();
        for broker in &self.brokers {
            let [before, later] =
                [&broker.lags, &broker.later_lags].map(|asked| asked.as_ref()?.as_ref().ok());
            for (group, now) in later.or(before).iter().flat_map(|said| &said.what) {
                let lag = lags.entry(group).or_default();
                lag.now = lag.now.saturating_add(*now);
            }
            let (Some(before), Some(later)) = (before, later) else {
                continue;
            };
            let groups: BTreeSet<&Str> = before.what.keys().chain(later.what.keys()).collect();
            for group in groups {
                let of = |said: &Said<Lags>| said.what.get(group).copied().unwrap_or(0);
                let rate = (of(later) - of(before)) as f64 * 1000.0 / later.after(before);
                let lag = lags.entry(group).or_default();
                lag.rate = Some(lag.rate.unwrap_or(0.0) + rate);
            }
        }
        lags
    }

    async fn count_members(&mut self, ctx: &Ctx) {
        let mut behind: Vec<(i64, String)> = self
            .lags()
            .into_iter()
            .filter(|(_, lag)| lag.now > 0)
            .map(|(group, lag)| (lag.now, group.to_string()))
            .collect();
        behind.sort_by(|a, b| b.cmp(a));
        for (_, group) in behind.into_iter().take(GROUPS_MAX) {
            let count = match groups::members(ctx, &group).await {
                Ok(members) => members.connection_set.len(),
                Err(failure) if failure.response_code().is_some() => 0,
                Err(_) => continue,
            };
            self.members.insert(group, count);
        }
    }
}

async fn view(ctx: &Ctx, addr: &str) -> Result<View, Failure> {
    let clusters: ClusterInfo = ctx.client.ask(addr, &GetBrokerClusterInfo).await?.body()?;
    let topics: TopicList = ctx
        .client
        .ask(addr, &GetAllTopicListFromNameserver)
        .await?
        .body()?;
    let mut brokers = BTreeSet::new();
    for (cluster, names) in &clusters.cluster_addr_table {
        for name in names {
            let replicas = clusters.broker_addr_table.get(name).into_iter();
            for (id, addr) in replicas.flat_map(|replicas| &replicas.broker_addrs) {
                brokers.insert((cluster.clone(), name.clone(), *id, addr.clone()));
            }
        }
    }
    Ok(View {
        brokers,
        topics: topics.topic_list.into_iter().collect(),
    })
}

async fn first_look(watcher: &Watcher<'_>, mut broker: Broker) -> Broker {
    let ctx = watcher.ctx;
    let addr = broker.addr.clone();
    broker.table = watcher.said(table(ctx, &addr)).await;
    // Who does not answer once is not waited for again.
    if broker.table.is_err() {
        return broker;
    }
    broker.settings = settings(ctx, &addr).await.ok();
    broker.replication = replication(ctx, &addr).await.ok();
    if broker.id != MASTER {
        return broker;
    }
    broker.lags = Some(watcher.said(lags(ctx, &addr)).await);
    // Brokers of the reference do not know the two that follow.
    (broker.conflicts, broker.conflicts_left_out) = conflicts(ctx, &addr).await.unwrap_or_default();
    broker.transactions = transactions(ctx, &addr).await.ok();
    broker
}

async fn table(ctx: &Ctx, addr: &str) -> Result<Table, Failure> {
    let table: KvTable = ctx.client.ask(addr, &GetBrokerRuntimeInfo).await?.body()?;
    Ok(table.table)
}

async fn settings(ctx: &Ctx, addr: &str) -> Result<Settings, Failure> {
    let answer = ctx.client.ask(addr, &GetBrokerConfig).await?;
    Settings::parse(answer.text()?)
}

async fn replication(ctx: &Ctx, addr: &str) -> Result<HaRuntimeInfo, Failure> {
    ctx.client.ask(addr, &GetBrokerHaStatus).await?.body()
}

async fn lags(ctx: &Ctx, addr: &str) -> Result<Lags, Failure> {
    let header = GetBrokerConsumeStats {
        is_order: Some(false),
    };
    let frame = Frame::request(0, &header);
    let answer = ctx
        .client
        .ask_frame::<GetBrokerConsumeStats>(addr, frame, STATS_WITHIN)
        .await?;
    let stats: BrokerConsumeStats = answer.body()?;
    let mut lags = Lags::new();
    for (group, topics) in stats.consume_stats_list.iter().flatten() {
        let offsets = topics.iter().flat_map(|topic| topic.offset_table.values());
        let lag: i64 = offsets
            .map(|offset| offset.broker_offset.saturating_sub(offset.consumer_offset).max(0))
            .sum();
        *lags.entry(group.clone()).or_default() += lag;
    }
    Ok(lags)
}

/// All groups whose members want different things, as far as they are told, and how many there are beside them.
async fn conflicts(ctx: &Ctx, addr: &str) -> Result<(Vec<SubscriptionConflict>, usize), Failure> {
    let mut header = ListSubscriptionConflicts::default();
    let mut found = Vec::new();
    loop {
        let page: SubscriptionConflicts = ctx.client.ask(addr, &header).await?.body()?;
        let is_empty = page.conflicts.is_empty();
        found.extend(page.conflicts);
        if page.next.is_none() || is_empty || found.len() >= CONFLICTS_MAX {
            found.truncate(CONFLICTS_MAX);
            let left_out = page.total.saturating_sub(found.len());
            return Ok((found, left_out));
        }
        header.next = page.next;
    }
}

async fn transactions(ctx: &Ctx, addr: &str) -> Result<(i64, usize), Failure> {
    let header = ListTransactions {
        max_num: 1,
        ..ListTransactions::default()
    };
    let page: PendingTransactions = ctx.client.ask(addr, &header).await?.body()?;
    let oldest = page.pending.first().map_or(0, |known| known.age_ms);
    Ok((oldest, page.total))
}

/// A text of a table as a number.
pub(super) fn number<T: std::str::FromStr>(table: &Table, key: &str) -> Option<T> {
    table.get(key)?.parse().ok()
}

impl<T> Said<T> {
    /// How long it was said after something else, ms; never nothing.
    pub(super) fn after(&self, other: &Said<T>) -> f64 {
        self.at_ms.saturating_sub(other.at_ms).max(1) as f64
    }
}

impl Broker {
    /// What people call it.
    pub(super) fn label(&self) -> String {
        match self.id {
            MASTER => format!("{} ({})", self.name, self.addr),
            id => format!("{} slave {id} ({})", self.name, self.addr),
        }
    }

    /// What it counted a while later, if it was asked and has answered.
    pub(super) fn again(&self) -> Option<&Said<Table>> {
        self.later.as_ref()?.as_ref().ok()
    }

    pub(super) fn setting(&self, key: &str) -> Option<&str> {
        self.settings.as_ref()?.get(key)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.setting(key)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    pub(super) fn is_master(&self) -> bool {
        self.id == MASTER
    }
}
