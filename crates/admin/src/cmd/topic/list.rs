// SPDX-License-Identifier: Apache-2.0
//! `topicList` and `topicClusterList`: which topics there are, who reads them, and which clusters have one.

use serde::Serialize;
use wire::Str;
use wire::api::route::GetAllTopicListFromNameserver;
use wire::api::topic::QueryTopicConsumeByWho;
use wire::body::topic::{GroupList, TopicList};
use wire::body::topic_route::{ClusterInfo, TopicRoute};

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, flag, value};
use crate::text::front;

pub(crate) const TOPIC_LIST: Command = Command {
    name: "topicList",
    about: "Fetch all topic list from name server.",
    options: &[flag("c", "clusterModel", "clusterModel")],
    run: |ctx, args| Box::pin(list(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const TOPIC_CLUSTER_LIST: Command = Command {
    name: "topicClusterList",
    about: "Get cluster info for topic.",
    options: &[value("t", "topic", "topic name").required().topic()],
    run: |ctx, args| Box::pin(clusters_of(ctx, args)),
    ..Command::DEFAULT
};

async fn list(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    if args.has("c") {
        return with_readers(ctx).await;
    }
    let topics = all(ctx).await?;
    ctx.show(&topics, || {
        topics.iter().map(|topic| format!("{topic}\n")).collect()
    });
    Ok(())
}

/// All topics the name server knows, in the order of the reference.
pub(crate) async fn all(ctx: &Ctx) -> Result<Vec<Str>, Failure> {
    let list: TopicList = ctx
        .client
        .ask_names(&GetAllTopicListFromNameserver)
        .await?
        .body()?;
    Ok(hash_map(list.topic_list, |topic| topic))
}

/// Whether the broker made a topic for the failed messages of a group.
pub(crate) fn belongs_to_group(topic: &str) -> bool {
    topic.starts_with("%RETRY%") || topic.starts_with("%DLQ%")
}

/// A topic and a group that reads it.
#[derive(Serialize)]
struct Reader {
    cluster: Option<Str>,
    topic: Str,
    group: Option<Str>,
}

async fn with_readers(ctx: &Ctx) -> Result<(), Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let mut readers = Vec::new();
    ctx.say(format_args!(
        "{:<20}  {:<48}  {:<48}\n",
        "#Cluster Name", "#Topic", "#Consumer Group"
    ));
    for topic in all(ctx).await? {
        if belongs_to_group(&topic) {
            continue;
        }
        let (cluster, groups) = readers_of(ctx, &clusters, &topic).await;
        let mut groups: Vec<Option<Str>> = groups.into_iter().map(Some).collect();
        if groups.is_empty() {
            groups.push(None);
        }
        for group in groups {
            ctx.say(format_args!(
                "{:<20}  {:<64}  {:<64}\n",
                front(cluster.as_deref().unwrap_or_default(), 20),
                front(&topic, 64),
                front(group.as_deref().unwrap_or_default(), 64)
            ));
            readers.push(Reader {
                cluster: cluster.clone(),
                topic: topic.clone(),
                group,
            });
        }
    }
    ctx.show(&readers, String::new);
    Ok(())
}

/// The cluster and the readers of a topic, as far as they can be found out.
async fn readers_of(ctx: &Ctx, clusters: &ClusterInfo, topic: &str) -> (Option<Str>, Vec<Str>) {
    let Ok(route) = lookup::route(ctx, topic).await else {
        return (None, Vec::new());
    };
    let cluster = clusters_with(clusters, &route).into_iter().next();
    let groups = groups_of(ctx, &route, topic).await;
    (cluster, groups.unwrap_or_default())
}

/// The groups that read a topic, by the word of the first broker that has it.
pub(crate) async fn groups_of(ctx: &Ctx, route: &TopicRoute, topic: &str) -> Result<Vec<Str>, Failure> {
    let Some(addr) = route.broker_datas.iter().find_map(lookup::any_addr) else {
        return Ok(Vec::new());
    };
    let header = QueryTopicConsumeByWho { topic: topic.into() };
    let groups: GroupList = ctx.client.ask(addr, &header).await?.body()?;
    Ok(hash_map(groups.group_list, |group| group))
}

/// The clusters of the first broker of a route.
fn clusters_with(clusters: &ClusterInfo, route: &TopicRoute) -> Vec<Str> {
    let Some(broker) = route.broker_datas.first() else {
        return Vec::new();
    };
    let table = clusters.cluster_addr_table.iter();
    let with = table.filter(|(_, brokers)| brokers.contains(&broker.broker_name));
    hash_map(with.map(|(cluster, _)| cluster.clone()), |cluster| cluster)
}

async fn clusters_of(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let route = lookup::route(ctx, args.need("t")?).await?;
    let found = clusters_with(&clusters, &route);
    ctx.show(&found, || {
        found.iter().map(|cluster| format!("{cluster}\n")).collect()
    });
    Ok(())
}
