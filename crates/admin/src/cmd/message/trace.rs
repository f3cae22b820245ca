// SPDX-License-Identifier: Apache-2.0
//! `queryMsgTraceById`: what clients noted of a message in the trace topic.

use serde::Serialize;

use super::by_key::HITS;
use super::find::{self, Kind, Search};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::message::{Message, NULL};
use crate::options::{Args, value};
use crate::text::time_of_second;

pub(crate) const QUERY_MSG_TRACE_BY_ID: Command = Command {
    name: "queryMsgTraceById",
    alias: Some("QueryMsgTraceById"),
    about: "Query a message trace.",
    options: &[
        value("i", "msgId", "Message Id").required(),
        value("t", "traceTopic", "The name value of message trace topic").topic(),
        value(
            "b",
            "beginTimestamp",
            "Begin timestamp(ms). default:0, eg:1676730526212",
        ),
        value(
            "e",
            "endTimestamp",
            "End timestamp(ms). default:Long.MAX_VALUE, eg:1676730526212",
        ),
        value(
            "c",
            "maxNum",
            "The maximum number of messages returned by the query, default:64",
        ),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Where clients note what they do, unless they are told otherwise.
pub(crate) const TRACE_TOPIC: &str = "RMQ_SYS_TRACE_TOPIC";

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let id = args.need("i")?;
    let search = Search {
        cluster: None,
        topic: args.get("t").unwrap_or(TRACE_TOPIC),
        name: id,
        kind: Kind::Key,
        most: args.number("c")?.unwrap_or(HITS),
        from: args.number("b")?.unwrap_or(0),
        to: args.number("e")?.unwrap_or(i64::MAX),
        last_key: None,
    };
    let found = find::search(ctx, &search).await?;
    let steps: Vec<Step> = found.iter().flat_map(|message| steps(id, message)).collect();
    ctx.show(&steps, || text(&steps));
    Ok(())
}

/// Something a client did with the message.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    kind: StepKind,
    group: String,
    client_host: String,
    /// Of the send, or of the end of consuming, ms; 0 where the client is too old to say.
    timestamp: i64,
    time: String,
    cost_ms: i32,
    success: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum StepKind {
    Sent,
    Consumed,
}

/// The steps of one message that a message of the trace topic tells of. What cannot be read is passed over.
fn steps(id: &str, traced: &Message) -> Vec<Step> {
    let body = String::from_utf8_lossy(traced.body.as_deref().unwrap_or_default()).into_owned();
    let client = traced.born_host.map(|host| crate::text::ip(host.ip()));
    let client = client.unwrap_or_default();
    body.split('\u{2}')
        .filter_map(|line| step(id, &line.split('\u{1}').collect::<Vec<_>>(), &client))
        .collect()
}

fn step(id: &str, fields: &[&str], client: &str) -> Option<Step> {
    let field = |at: usize| fields.get(at).copied();
    let is_true = |at: usize| field(at).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    let (kind, traced, timestamp, group, cost, success) = match field(0)? {
        "Pub" => (
            StepKind::Sent,
            field(5)?,
            field(1)?.parse().ok()?,
            field(3)?,
            field(10)?,
            is_true(if fields.len() == 13 { 12 } else { 13 }),
        ),
        "SubAfter" => (
            StepKind::Consumed,
            field(2)?,
            field(7).map_or(Some(0), |text| text.parse().ok())?,
            field(8).unwrap_or(NULL),
            field(3)?,
            is_true(4),
        ),
        _ => return None,
    };
    (traced == id).then_some(())?;
    Some(Step {
        kind,
        group: group.to_owned(),
        client_host: client.to_owned(),
        timestamp,
        time: time_of_second(timestamp),
        cost_ms: cost.parse().ok()?,
        success,
    })
}

fn text(steps: &[Step]) -> String {
    let mut out = String::new();
    let (sent, consumed): (Vec<_>, Vec<_>) = steps.iter().partition(|step| step.kind == StepKind::Sent);
    for step in sent {
        out.push_str(&head("#ProducerGroup", "#SendTime"));
        out.push_str(&line(step));
        out.push('\n');
    }
    let mut groups: Vec<(&str, Vec<&Step>)> = Vec::new();
    for step in consumed {
        match groups.iter_mut().find(|(group, _)| *group == step.group) {
            Some((_, known)) => known.push(step),
            None => groups.push((&step.group, vec![step])),
        }
    }
    for (_, steps) in hash_map(groups, |(group, _)| group) {
        out.push_str(&head("#ConsumerGroup", "#ConsumerTime"));
        out.extend(steps.into_iter().map(line));
        out.push('\n');
    }
    out
}

fn head(group: &str, time: &str) -> String {
    columns(["#Type", group, "#ClientHost", time, "#CostTimes", "#Status"])
}

fn line(step: &Step) -> String {
    columns([
        match step.kind {
            StepKind::Sent => "Pub",
            StepKind::Consumed => "Sub",
        },
        &step.group,
        &step.client_host,
        &step.time,
        &format!("{}ms", step.cost_ms),
        if step.success { "success" } else { "failed" },
    ])
}

fn columns([kind, group, host, time, cost, status]: [&str; 6]) -> String {
    format!("{kind:<10} {group:<20} {host:<20} {time:<20} {cost:<10} {status:<10}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_tells_of_the_send_and_of_each_group_that_consumed() {
        let body = "Pub\u{1}1000\u{1}region\u{1}PG\u{1}T\u{1}ID\u{1}tag\u{1}key\u{1}host\u{1}5\u{1}3\u{1}0\u{1}OFF\u{1}true\u{1}me\u{2}\
                    SubBefore\u{1}1000\u{1}region\u{1}CG\u{1}req\u{1}ID\u{1}0\u{1}key\u{2}\
                    SubAfter\u{1}req\u{1}ID\u{1}7\u{1}false\u{1}key\u{1}0\u{1}2000\u{1}CG\u{2}\
                    Pub\u{1}broken\u{2}";
        let message = Message {
            body: Some(body.into()),
            born_host: "127.0.0.1:9".parse().ok(),
            ..Message::default()
        };
        let steps = steps("ID", &message);
        assert_eq!(steps.len(), 2, "{steps:?}");
        assert_eq!(
            (steps[0].kind, steps[0].cost_ms, steps[0].success),
            (StepKind::Sent, 3, true)
        );
        assert_eq!(
            (steps[1].group.as_str(), steps[1].cost_ms, steps[1].success),
            ("CG", 7, false)
        );
        let text = text(&steps);
        assert!(
            text.starts_with("#Type      #ProducerGroup       #ClientHost  "),
            "{text}"
        );
        assert!(text.contains("\n\n#Type      #ConsumerGroup "), "{text}");
        assert!(super::steps("other", &message).is_empty());
    }
}
