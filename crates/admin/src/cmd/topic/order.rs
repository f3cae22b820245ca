// SPDX-License-Identifier: Apache-2.0
//! `updateOrderConf`: where the queues of ordered topics are, as the name servers keep it.

use serde::Serialize;
use wire::Str;
use wire::api::kv::{DeleteKvConfig, GetKvConfig, GetKvConfigReply, PutKvConfig};
use wire::code::ResponseCode;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};

pub(crate) const UPDATE_ORDER_CONF: Command = Command {
    name: "updateOrderConf",
    about: "Create or update or delete order conf.",
    options: &[
        value("t", "topic", "topic name").required().topic(),
        value(
            "v",
            "orderConf",
            "set order conf [eg. brokerName1:num;brokerName2:num]",
        ),
        value("m", "method", "option type [eg. put|get|delete").required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// The namespace of ordered topics in the table of the name servers.
const NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderConf<'a> {
    topic: &'a str,
    order_conf: Option<&'a str>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let show = |order_conf: Option<&str>, text: String| ctx.show(&OrderConf { topic, order_conf }, || text);
    match args.need("m")? {
        "get" => {
            let conf = get(ctx, topic).await?;
            let text = format!("get orderConf success. topic=[{topic}], orderConf=[{conf}] ");
            show(Some(&conf), text);
        }
        "put" => {
            let conf = args.get("v").filter(|conf| !conf.is_empty());
            let conf = conf.ok_or(Failure::Incomplete("please set orderConf with option -v."))?;
            put(ctx, topic, conf).await?;
            let text = format!("update orderConf success. topic=[{topic}], orderConf=[{conf}]");
            show(Some(conf), text);
        }
        "delete" => {
            let header = DeleteKvConfig {
                namespace: NAMESPACE.into(),
                key: topic.into(),
            };
            lookup::tell_names(ctx, &header).await?;
            show(None, format!("delete orderConf success. topic=[{topic}]"));
        }
        _ => return Err(Failure::Incomplete("-m is put, get or delete")),
    }
    Ok(())
}

async fn get(ctx: &Ctx, topic: &str) -> Result<Str, Failure> {
    let header = GetKvConfig {
        namespace: NAMESPACE.into(),
        key: topic.into(),
    };
    let reply: GetKvConfigReply = ctx.client.ask_names(&header).await?.header()?;
    Ok(reply.value.unwrap_or_default())
}

/// Replaces what the name servers know.
pub(crate) async fn put(ctx: &Ctx, topic: &str, conf: &str) -> Result<(), Failure> {
    let header = PutKvConfig {
        namespace: NAMESPACE.into(),
        key: topic.into(),
        value: conf.into(),
    };
    lookup::tell_names(ctx, &header).await
}

/// Adds one broker to it, or replaces its part.
pub(crate) async fn merge(ctx: &Ctx, topic: &str, part: &str) -> Result<(), Failure> {
    let known = match get(ctx, topic).await {
        Err(failure) if failure.response_code() == Some(ResponseCode::QUERY_NOT_FOUND) => Str::default(),
        known => known?,
    };
    let broker = |part: &str| part.split(':').next().unwrap_or_default().to_owned();
    let mut parts: Vec<(String, &str)> = Vec::new();
    for part in known.split(';').filter(|part| !part.is_empty()).chain([part]) {
        match parts.iter_mut().find(|(name, _)| *name == broker(part)) {
            Some((_, old)) => *old = part,
            None => parts.push((broker(part), part)),
        }
    }
    let parts = hash_map(parts, |(broker, _)| broker);
    let parts: Vec<&str> = parts.iter().map(|(_, part)| *part).collect();
    put(ctx, topic, &parts.join(";")).await
}
