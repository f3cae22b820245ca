// SPDX-License-Identifier: Apache-2.0
//! `exportMetadata`: the topics and groups of a cluster or of one broker, in a file.

use std::collections::HashMap;

use serde::Serialize;
use wire::Str;
use wire::body::group::SubscriptionGroupConfig;
use wire::body::topic::TopicConfig;

use super::json::Json;
use super::{DIRECTORY, tables, write};
use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, flag, value};

pub(crate) const EXPORT_METADATA: Command = Command {
    name: "exportMetadata",
    about: "Export metadata.",
    options: &[
        value("c", "clusterName", "choose a cluster to export"),
        value("b", "brokerAddr", "choose a broker to export"),
        value(
            "f",
            "filePath",
            "export metadata.json path | default /tmp/rocketmq/export",
        ),
        flag("t", "topic", "only export topic metadata"),
        flag("g", "subscriptionGroup", "only export subscriptionGroup metadata"),
        flag("s", "specialTopic", "need retryTopic and dlqTopic"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let dir = args.get("f").unwrap_or(DIRECTORY);
    let with_retries = args.has("s");
    if let Some(addr) = args.get("b") {
        return one_broker(ctx, args, (addr, dir)).await;
    }
    let Some(cluster) = args.get("c") else {
        ctx.say(ctx.usage());
        return Err(Failure::Usage("say -c <cluster> or -b <broker>".to_owned()));
    };
    let clusters = lookup::clusters(ctx).await?;
    let mut topics = Merged::default();
    let mut groups = Merged::default();
    for addr in lookup::masters(&clusters, cluster)? {
        for (name, config) in tables::topics(ctx, &addr, with_retries).await?.entries {
            // Queues of a topic add up over the brokers.
            topics.add(name, config, |known: &TopicConfig, new| {
                new.write_queue_nums = new.write_queue_nums.saturating_add(known.write_queue_nums);
                new.read_queue_nums = new.read_queue_nums.saturating_add(known.read_queue_nums);
            });
        }
        for (name, config) in tables::groups(ctx, &addr).await?.entries {
            groups.add(name, config, |known: &SubscriptionGroupConfig, new| {
                new.retry_queue_nums = new.retry_queue_nums.saturating_add(known.retry_queue_nums);
            });
        }
    }
    let (topics, groups) = (topics.table(), groups.table());
    let (name, topics, groups) = match (args.has("t"), args.has("g")) {
        (true, _) => ("topic", Some(topics), None),
        (false, true) => ("subscriptionGroup", None, Some(groups)),
        (false, false) => ("metadata", Some(topics), Some(groups)),
    };
    let document = Json::record([
        ("topicConfigTable", topics),
        ("subscriptionGroupTable", groups),
        ("exportTime", Some(Json::Whole(ctx.env.clock.now_ms()))),
    ]);
    write(ctx, &format!("{dir}/{name}.json"), &document, "\n")
}

/// The tables of several brokers in one.
struct Merged<T> {
    entries: Vec<(Str, T)>,
    places: HashMap<Str, usize>,
}

impl<T> Default for Merged<T> {
    fn default() -> Merged<T> {
        Merged {
            entries: Vec::new(),
            places: HashMap::new(),
        }
    }
}

impl<T: Serialize> Merged<T> {
    /// Of two with one name the newer one holds, into which the older one is put.
    fn add(&mut self, name: Str, mut config: T, merge: impl FnOnce(&T, &mut T)) {
        let place = *self.places.entry(name.clone()).or_insert(self.entries.len());
        match self.entries.get_mut(place) {
            Some((_, known)) => {
                merge(known, &mut config);
                *known = config;
            }
            None => self.entries.push((name, config)),
        }
    }

    fn table(&self) -> Json {
        let entries = self.entries.iter();
        Json::table(entries.map(|(name, config)| (name.to_string(), Json::value(config))))
    }
}

async fn one_broker(ctx: &Ctx, args: &Args, (addr, dir): (&str, &str)) -> Result<(), Failure> {
    let (name, document) = if args.has("t") {
        let table = tables::topics(ctx, addr, args.has("s")).await?;
        let entries = table.entries.iter();
        let topics = entries.map(|(name, config)| (name.to_string(), Json::value(config)));
        let document = vec![
            ("dataVersion".to_owned(), Json::value(&table.version)),
            ("topicConfigTable".to_owned(), Json::Table(topics.collect())),
        ];
        ("topic", document)
    } else if args.has("g") {
        let table = tables::groups(ctx, addr).await?;
        let entries = table.entries.iter();
        let groups = entries.map(|(name, config)| (name.to_string(), Json::value(config)));
        let document = vec![
            ("dataVersion".to_owned(), Json::value(&table.version)),
            ("forbiddenTable".to_owned(), Json::Table(Vec::new())),
            ("subscriptionGroupTable".to_owned(), Json::Table(groups.collect())),
        ];
        ("subscriptionGroup", document)
    } else {
        // The reference does nothing, and says nothing.
        return Err(Failure::Usage(
            "of a single broker, say what: -t or -g".to_owned(),
        ));
    };
    write(ctx, &format!("{dir}/{name}.json"), &Json::Table(document), "")
}
