// SPDX-License-Identifier: Apache-2.0
//! Where the queues of ordered topics are, as the name servers keep it.

use wire::Str;
use wire::api::kv::{GetKvConfig, PutKvConfig};
use wire::code::ResponseCode;

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;

/// The namespace of ordered topics in the table of the name servers.
const NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

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
    let header = GetKvConfig {
        namespace: NAMESPACE.into(),
        key: topic.into(),
    };
    let known = match ctx.client.ask_names(&header).await {
        Ok(answer) => answer.frame.ext.get("value").unwrap_or_default(),
        Err(failure) if failure.response_code() == Some(ResponseCode::QUERY_NOT_FOUND) => Str::default(),
        Err(failure) => return Err(failure),
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
