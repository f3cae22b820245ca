// SPDX-License-Identifier: Apache-2.0
//! `explain`: what became of a message, and why a group has not consumed it.

use serde::Serialize;
use wire::Str;
use wire::api::explain::ExplainMessage;
use wire::body::explain::{Explanation, GroupExplanation, MessageVerdict};
use wire::body::topic_route::{BrokerAddrs, TopicRoute};
use wire::message_id::decode_offset_id;

use super::super::connection::name;
use super::{is_of_reference, lookup};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, long_value, value};
use crate::text::time;

pub(crate) const EXPLAIN: Command = Command {
    name: "explain",
    about: "Say what became of a message, and why a group has not consumed it.",
    options: &[
        value("t", "topic", "topic the message was sent to")
            .required()
            .topic(),
        value(
            "i",
            "msgId",
            "id of the message: that of its sender, or of its place",
        ),
        long_value("queue", "queue of the message, with --offset"),
        long_value("offset", "offset of the message in its queue"),
        value("g", "group", "only this consumer group").group(),
        value(
            "b",
            "broker",
            "name of the broker; a place needs it where several have the topic",
        ),
    ],
    ours: true,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// An explanation, and who gave it.
#[derive(Serialize)]
struct Explained {
    broker: Str,
    #[serde(flatten)]
    explanation: Explanation,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let header = header(args)?;
    let route = lookup::route(ctx, &header.topic).await?;
    let mut best: Option<Explained> = None;
    let mut failed = None;
    for broker in asked(&route, &header, args.get("b"))? {
        let Some(addr) = lookup::any_addr(broker) else {
            continue;
        };
        let explanation: Explanation = match ask(ctx, addr, &header).await {
            Ok(explanation) => explanation,
            Err(failure) => {
                failed = Some(failure);
                continue;
            }
        };
        let verdict = explanation.verdict;
        let is_better = |best: &Explained| trace(verdict) > trace(best.explanation.verdict);
        if best.as_ref().is_none_or(is_better) {
            best = Some(Explained {
                broker: broker.broker_name.clone(),
                explanation,
            });
        }
    }
    let Some(best) = best else {
        let nobody = || Failure::Other(format!("no broker of the topic {} can be asked", header.topic));
        return Err(failed.unwrap_or_else(nobody));
    };
    if ctx.is_table() {
        ctx.show(&Summary::of(&best), String::new);
    } else {
        ctx.show(&best, String::new);
    }
    if let Some(failure) = failed {
        ctx.warn(format_args!(
            "not all brokers of the topic could be asked: {failure}"
        ));
    }
    match trace(best.explanation.verdict) {
        Trace::There => Ok(()),
        _ => Err(Failure::Other(format!(
            "there is no such message: {}",
            best.explanation.sentence
        ))),
    }
}

/// How much a broker knows of a message: of several answers the one that knows most is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trace {
    Nothing,
    NotYet,
    NotAnyMore,
    There,
}

fn trace(verdict: MessageVerdict) -> Trace {
    match verdict {
        MessageVerdict::NotFound => Trace::Nothing,
        MessageVerdict::NotStoredYet => Trace::NotYet,
        MessageVerdict::Expired => Trace::NotAnyMore,
        _ => Trace::There,
    }
}

/// The brokers that may have the message. A place, and the id that is made of one, mean something else on each: what has to
/// be known then is which.
fn asked<'a>(
    route: &'a TopicRoute,
    header: &ExplainMessage,
    only: Option<&str>,
) -> Result<Vec<&'a BrokerAddrs>, Failure> {
    let topic = &header.topic;
    let all = || route.broker_datas.iter();
    if let Some(name) = only {
        let found: Vec<_> = all().filter(|broker| broker.broker_name == name).collect();
        return match found.is_empty() {
            true => Err(Failure::Other(format!(
                "the topic {topic} is on no broker called '{name}'"
            ))),
            false => Ok(found),
        };
    }
    if header.uniq_key.is_some() {
        return Ok(all().collect());
    }
    let host = header.offset_msg_id.as_deref().and_then(decode_offset_id);
    let host = host.map(|(host, _)| host.to_string());
    let may_have = |broker: &&BrokerAddrs| match (&host, header.queue_id) {
        (Some(host), _) => broker.broker_addrs.values().any(|addr| addr == host),
        (None, Some(queue)) => has_queue(route, &broker.broker_name, queue),
        (None, None) => true,
    };
    let mut found: Vec<_> = all().filter(may_have).collect();
    if found.is_empty() {
        // It has moved, or has fewer queues now.
        found = all().collect();
    }
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().map(|broker| broker.broker_name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "the topic {topic} is on {} brokers, and a place means another message on each; say -b with one of {}",
            names.len(),
            names.join(", ")
        )));
    }
    Ok(found)
}

fn has_queue(route: &TopicRoute, broker: &str, queue: i32) -> bool {
    let mut parts = route.queue_datas.iter().filter(|part| part.broker_name == broker);
    parts.any(|part| queue < part.read_queue_nums.max(part.write_queue_nums))
}

fn header(args: &Args) -> Result<ExplainMessage, Failure> {
    let id = args.get("i").or(args.rest.first().map(String::as_str));
    let place = (args.number("queue")?, args.number("offset")?);
    let is_place = id.is_some_and(|id| decode_offset_id(id).is_some());
    let header = ExplainMessage {
        topic: args.need("t")?.into(),
        group: args.get("g").map(Str::from),
        offset_msg_id: id.filter(|_| is_place).map(Str::from),
        uniq_key: id.filter(|_| !is_place).map(Str::from),
        queue_id: place.0,
        queue_offset: place.1,
    };
    match (id, place) {
        (Some(_), (None, None)) | (None, (Some(_), Some(_))) => Ok(header),
        _ => Err(Failure::Usage(
            "say which message: -i <id>, or --queue <number> --offset <offset>".to_owned(),
        )),
    }
}

async fn ask(ctx: &Ctx, addr: &str, header: &ExplainMessage) -> Result<Explanation, Failure> {
    match ctx.client.ask(addr, header).await {
        Ok(answer) => answer.body(),
        Err(failure) if is_of_reference(&failure) => Err(Failure::Other(format!(
            "{addr} is no broker of barque and cannot explain; `queryMsgById` shows what offsets tell"
        ))),
        Err(failure) => Err(failure),
    }
}

/// What a person wants to know first.
#[derive(Serialize)]
struct Summary {
    verdict: String,
    explanation: Str,
    broker: Str,
    place: String,
    stored: String,
    due: String,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    group: Str,
    verdict: String,
    explanation: Str,
}

impl Summary {
    fn of(explained: &Explained) -> Summary {
        let explanation = &explained.explanation;
        let message = explanation.message.as_ref();
        let none = || "-".to_owned();
        let group = |group: &GroupExplanation| Group {
            group: group.group.clone(),
            verdict: name(&group.verdict),
            explanation: group.sentence.clone(),
        };
        Summary {
            verdict: name(&explanation.verdict),
            explanation: explanation.sentence.clone(),
            broker: explained.broker.clone(),
            place: message.map_or_else(none, |message| {
                format!("{}/{}@{}", message.topic, message.queue_id, message.queue_offset)
            }),
            stored: message.map_or_else(none, |message| time(message.store_timestamp)),
            due: explanation.due_ms.map_or_else(none, time),
            groups: explanation.groups.iter().map(group).collect(),
        }
    }
}
