// SPDX-License-Identifier: Apache-2.0
//! Questions that many commands begin with: which brokers a cluster has, where a topic is.

use wire::Str;
use wire::api::route::{GetBrokerClusterInfo, GetRouteinfoByTopic};
use wire::body::topic_route::{BrokerAddrs, ClusterInfo, TopicRoute};
use wire::code::Request;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::Args;

/// The id of a master among the replicas of its name.
pub(crate) const MASTER: i64 = 0;

/// All clusters and brokers.
pub(crate) async fn clusters(ctx: &Ctx) -> Result<ClusterInfo, Failure> {
    ctx.client.ask_names(&GetBrokerClusterInfo).await?.body()
}

/// Where a topic is.
pub(crate) async fn route(ctx: &Ctx, topic: &str) -> Result<TopicRoute, Failure> {
    let header = GetRouteinfoByTopic {
        topic: Some(topic.into()),
        ..GetRouteinfoByTopic::default()
    };
    ctx.client.ask_names(&header).await?.body()
}

/// The address to ask about a broker: its master, or else any other.
pub(crate) fn any_addr(broker: &BrokerAddrs) -> Option<&Str> {
    let master = broker.broker_addrs.get(&MASTER);
    master.or_else(|| broker.broker_addrs.values().next())
}

/// The address of the master.
pub(crate) fn master_addr(broker: &BrokerAddrs) -> Option<&Str> {
    broker.broker_addrs.get(&MASTER)
}

/// The names of the brokers of a cluster, in the order of the reference.
pub(crate) fn broker_names<'a>(clusters: &'a ClusterInfo, cluster: &str) -> Result<Vec<&'a Str>, Failure> {
    let names = clusters.cluster_addr_table.get(cluster).ok_or_else(|| {
        let known: Vec<&str> = clusters.cluster_addr_table.keys().map(Str::as_str).collect();
        Failure::Other(format!(
            "there is no cluster '{cluster}'; the name server knows: {}",
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        ))
    })?;
    Ok(hash_map(names, |name| name))
}

/// The addresses of the masters of a cluster, in the order of the reference.
pub(crate) fn masters(clusters: &ClusterInfo, cluster: &str) -> Result<Vec<Str>, Failure> {
    let brokers = brokers(clusters, cluster)?;
    let masters = brokers
        .iter()
        .filter_map(|broker| broker.broker_addrs.get(&MASTER).cloned());
    Ok(hash_map(masters, |addr| addr))
}

/// The addresses of all brokers of a cluster, slaves too, in the order of the reference.
pub(crate) fn replicas(clusters: &ClusterInfo, cluster: &str) -> Result<Vec<Str>, Failure> {
    let brokers = brokers(clusters, cluster)?;
    let addrs = brokers
        .iter()
        .flat_map(|broker| broker.broker_addrs.values().cloned());
    Ok(hash_map(addrs, |addr| addr))
}

fn brokers<'a>(clusters: &'a ClusterInfo, cluster: &str) -> Result<Vec<&'a BrokerAddrs>, Failure> {
    let names = broker_names(clusters, cluster)?;
    Ok(names
        .into_iter()
        .filter_map(|name| clusters.broker_addr_table.get(name))
        .collect())
}

/// The brokers that a command is meant for: `-b` names one, `-c` the masters of a cluster.
pub(crate) async fn targets(ctx: &Ctx, args: &Args) -> Result<Vec<Str>, Failure> {
    if let Some(addr) = args.get("b") {
        return Ok(vec![addr.into()]);
    }
    match args.get("c") {
        Some(cluster) => masters(&clusters(ctx).await?, cluster),
        None => Err(Failure::Incomplete("say -b <broker> or -c <cluster>")),
    }
}

/// The name of the broker at an address.
pub(crate) fn name_of<'a>(clusters: &'a ClusterInfo, addr: &str) -> Result<&'a Str, Failure> {
    let mut brokers = clusters.broker_addr_table.iter();
    let found = brokers.find(|(_, broker)| broker.broker_addrs.values().any(|known| known == addr));
    found
        .map(|(name, _)| name)
        .ok_or_else(|| Failure::Other(format!("the name server knows no broker at {addr}")))
}

/// Tells all name servers the same; the last that refuses is the failure, as in the reference.
pub(crate) async fn tell_names<R: Request>(ctx: &Ctx, header: &R) -> Result<(), Failure> {
    let mut refused = None;
    for addr in ctx.client.name_servers()? {
        match ctx.client.ask(addr, header).await {
            Ok(_) => {}
            Err(failure) if failure.response_code().is_some() => refused = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    refused.map_or(Ok(()), Err)
}
