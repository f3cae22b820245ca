// SPDX-License-Identifier: Apache-2.0
//! `updateTopic`: creates a topic, or changes how it is kept.

use std::collections::BTreeMap;

use serde::Serialize;
use wire::Str;
use wire::api::topic::UpdateAndCreateTopic;
use wire::body::topic::{TopicConfig, TopicFilterType};

use super::order;
use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};

pub(crate) const UPDATE_TOPIC: Command = Command {
    name: "updateTopic",
    about: "Update or create topic.",
    options: &[
        value("b", "brokerAddr", "create topic to which broker").one_of(1),
        value("c", "clusterName", "create topic to which cluster").one_of(1),
        value("a", "attributes", "attribute(+a=b,+c=d,-e)"),
        value("t", "topic", "topic name").required().topic(),
        value("r", "readQueueNums", "set read queue nums"),
        value("w", "writeQueueNums", "set write queue nums"),
        value("p", "perm", "set topic's permission(2|4|6), intro[2:W 4:R; 6:RW]"),
        value("o", "order", "set topic's order(true|false)"),
        value("u", "unit", "is unit topic (true|false)"),
        value("s", "hasUnitSub", "has unit sub (true|false)"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A topic that is in unit mode, and one that has a subscription of a unit.
const UNIT: i32 = 1;
const UNIT_SUBSCRIPTION: i32 = 2;

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = config(args)?;
    if let Some(addr) = args.get("b") {
        create(ctx, addr, &topic).await?;
        if topic.order {
            let clusters = lookup::clusters(ctx).await?;
            let broker = lookup::name_of(&clusters, addr)?;
            let conf = format!("{broker}:{}", topic.write_queue_nums);
            order::merge(ctx, &topic.topic_name, &conf).await?;
            ctx.say(format_args!(
                "set broker orderConf. isOrder=true, orderConf=[{conf}]\n"
            ));
        }
        done(ctx, addr, &topic);
    } else {
        let cluster = args.need("c")?;
        let clusters = lookup::clusters(ctx).await?;
        for addr in lookup::masters(&clusters, cluster)? {
            create(ctx, &addr, &topic).await?;
            done(ctx, &addr, &topic);
        }
        if topic.order {
            let names = lookup::broker_names(&clusters, cluster)?;
            let part = |name: &&Str| format!("{name}:{}", topic.write_queue_nums);
            let conf = names.iter().map(part).collect::<Vec<_>>().join(";");
            order::put(ctx, &topic.topic_name, &conf).await?;
            ctx.say(format_args!(
                "set cluster orderConf. isOrder=true, orderConf=[{conf}]\n"
            ));
        }
    }
    ctx.say(format_args!("{}\n", display(&topic)));
    Ok(())
}

/// A broker that has a topic now.
#[derive(Serialize)]
struct Created<'a> {
    broker: &'a str,
    topic: &'a TopicConfig,
}

fn done(ctx: &Ctx, broker: &str, topic: &TopicConfig) {
    ctx.row(&Created { broker, topic }, || {
        format!("create topic to {broker} success.\n")
    });
}

fn config(args: &Args) -> Result<TopicConfig, Failure> {
    let flag = |name, bit| if args.truth(name) == Some(true) { bit } else { 0 };
    Ok(TopicConfig {
        attributes: args.get("a").map_or_else(|| Ok(BTreeMap::new()), attributes)?,
        order: args.truth("o").unwrap_or(false),
        perm: args.number("p")?.unwrap_or(6),
        read_queue_nums: args.number("r")?.unwrap_or(8),
        topic_name: args.need("t")?.into(),
        topic_sys_flag: flag("u", UNIT) | flag("s", UNIT_SUBSCRIPTION),
        write_queue_nums: args.number("w")?.unwrap_or(8),
        ..TopicConfig::default()
    })
}

/// Reads `+a=b,+c=d,-e`: what is set has a plus, what is taken away a minus.
pub(crate) fn attributes(text: &str) -> Result<BTreeMap<Str, Str>, Failure> {
    let mut changes = BTreeMap::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let wrong = if part.contains('=') {
            !key.contains('+') || value.is_empty()
        } else {
            !key.contains('-')
        };
        if wrong || changes.insert(key.into(), value.into()).is_some() {
            return Err(Failure::Usage(format!(
                "attribute '{part}': expected +key=value to set or -key to take away, each key once"
            )));
        }
    }
    Ok(changes)
}

/// The header of a request for a topic like this one, without its attributes.
pub(crate) fn asking_for(topic: &TopicConfig) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic: topic.topic_name.clone(),
        default_topic: "TBW102".into(),
        read_queue_nums: topic.read_queue_nums,
        write_queue_nums: topic.write_queue_nums,
        perm: topic.perm,
        topic_filter_type: filter_name(topic.topic_filter_type).into(),
        topic_sys_flag: Some(topic.topic_sys_flag),
        order: topic.order,
        ..UpdateAndCreateTopic::default()
    }
}

/// Creates or changes a topic on one broker.
pub(crate) async fn create(ctx: &Ctx, addr: &str, topic: &TopicConfig) -> Result<(), Failure> {
    if !(0..=7).contains(&topic.perm) {
        return Err(Failure::Usage(format!(
            "the permission {} is invalid: 2 is to write, 4 to read, 6 both",
            topic.perm
        )));
    }
    let part = |(key, value): (&Str, &Str)| match value.as_str() {
        "" => key.to_string(),
        value => format!("{key}={value}"),
    };
    let attributes: Vec<String> = topic.attributes.iter().map(part).collect();
    let header = UpdateAndCreateTopic {
        attributes: Some(attributes.join(",").into()),
        ..asking_for(topic)
    };
    ctx.client.ask(addr, &header).await.map(|_| ())
}

fn filter_name(kind: TopicFilterType) -> &'static str {
    match kind {
        TopicFilterType::SingleTag => "SINGLE_TAG",
        TopicFilterType::MultiTag => "MULTI_TAG",
    }
}

/// A topic on one line, as the reference shows it.
pub(crate) fn display(topic: &TopicConfig) -> String {
    let attributes = hash_map(&topic.attributes, |(key, _)| key);
    let attributes: Vec<String> = attributes
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    format!(
        "TopicConfig [topicName={}, readQueueNums={}, writeQueueNums={}, perm={}, topicFilterType={}, \
         topicSysFlag={}, order={}, attributes={{{}}}]",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        perm_letters(topic.perm),
        filter_name(topic.topic_filter_type),
        topic.topic_sys_flag,
        topic.order,
        attributes.join(", ")
    )
}

fn perm_letters(perm: i32) -> String {
    let letter = |bit, letter| if perm & bit == bit { letter } else { '-' };
    [letter(4, 'R'), letter(2, 'W'), letter(1, 'X')].iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_set_with_a_plus_and_taken_away_with_a_minus() {
        let changes = attributes("+a=b,-c").unwrap();
        assert_eq!(changes.get("+a").map(Str::as_str), Some("b"));
        assert_eq!(changes.get("-c").map(Str::as_str), Some(""));
        for wrong in ["a=b", "c", "+a", "+a=b,+a=c", "+a="] {
            assert!(attributes(wrong).is_err(), "{wrong}");
        }
    }
}
