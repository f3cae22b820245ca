// SPDX-License-Identifier: Apache-2.0
//! `explain`: what became of a message, and why a group has not consumed it.

use serde::Serialize;
use wire::Str;
use wire::api::explain::ExplainMessage;
use wire::body::explain::{Explanation, GroupExplanation, MessageVerdict};
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
            "name of the broker; without it all of the topic are asked",
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
    let only = args.get("b");
    let brokers = route.broker_datas.iter();
    let wanted = brokers.filter(|broker| only.is_none_or(|name| broker.broker_name == name));
    let mut best: Option<Explained> = None;
    let mut failed = None;
    for broker in wanted {
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
        // Brokers that never had the message say so; the one that has it knows better.
        let is_better = best.as_ref().is_none_or(|best| {
            best.explanation.verdict == MessageVerdict::NotFound
                && explanation.verdict != MessageVerdict::NotFound
        });
        if is_better {
            best = Some(Explained {
                broker: broker.broker_name.clone(),
                explanation,
            });
        }
    }
    let Some(best) = best else {
        return Err(failed.unwrap_or_else(|| {
            let which = only.map(|name| format!(" called '{name}'")).unwrap_or_default();
            Failure::Other(format!("the topic {} is on no broker{which}", header.topic))
        }));
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
    Ok(())
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
