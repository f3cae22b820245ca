// SPDX-License-Identifier: Apache-2.0
//! `consumerStatus`: what consumers of a group say of themselves, of each in a file of its own.

use std::io;
use std::path::Path;

use serde::Serialize;
use wire::Str;
use wire::body::running::ConsumerRunningInfo;

use super::info::{self, Members, by_topic};
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::options::{Args, flag, value};
use crate::version;

pub(crate) const CONSUMER_STATUS: Command = Command {
    name: "consumerStatus",
    about: "Query consumer's internal data structure.",
    options: &[
        value("g", "consumerGroup", "consumer group name")
            .required()
            .group(),
        value("i", "clientId", "The consumer's client id"),
        value("b", "brokerAddr", "broker address"),
        flag("s", "jstack", "Run jstack command in the consumer progress"),
    ],
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A consumer, as data.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Consumer<'a> {
    client_id: &'a str,
    settings: std::collections::BTreeMap<&'a str, &'a str>,
    subscriptions: Vec<Subscription<'a>>,
    queues: Vec<Queue<'a>>,
    topics: Vec<Rates<'a>>,
    jstack: Option<&'a str>,
    findings: Vec<String>,
}

#[derive(Serialize)]
struct Subscription<'a> {
    topic: &'a str,
    expression: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Queue<'a> {
    topic: &'a str,
    broker: &'a str,
    queue: i32,
    commit_offset: i64,
    cached: i32,
    last_pull_timestamp: i64,
    last_consume_timestamp: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rates<'a> {
    topic: &'a str,
    pull_tps: f64,
    consume_ok_tps: f64,
    consume_failed_tps: f64,
    consume_ms: f64,
    failed_in_hour: i64,
}

fn consumer<'a>(client_id: &'a str, info: &'a ConsumerRunningInfo, now: i64) -> Consumer<'a> {
    let settings = info.properties.0.iter();
    Consumer {
        client_id,
        settings: settings
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect(),
        subscriptions: info
            .subscription_set
            .iter()
            .map(|known| Subscription {
                topic: &known.topic,
                expression: &known.sub_string,
            })
            .collect(),
        queues: by_topic(info.mq_table.iter().map(|(key, queue)| (&key.0, queue)))
            .into_iter()
            .map(|(queue, state)| Queue {
                topic: &queue.topic,
                broker: &queue.broker_name,
                queue: queue.queue_id,
                commit_offset: state.commit_offset,
                cached: state.cached_msg_count,
                last_pull_timestamp: state.last_pull_timestamp,
                last_consume_timestamp: state.last_consume_timestamp,
            })
            .collect(),
        topics: info
            .status_table
            .iter()
            .map(|(topic, status)| Rates {
                topic,
                pull_tps: status.pull_tps,
                consume_ok_tps: status.ok_tps,
                consume_failed_tps: status.failed_tps,
                consume_ms: status.consume_rt,
                failed_in_hour: status.failed_in_hour,
            })
            .collect(),
        jstack: info.jstack.as_deref(),
        findings: info::odd_queues(client_id, info, now)
            .lines()
            .map(str::to_owned)
            .collect(),
    }
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = args.need("g")?;
    let found = match args.get("b") {
        Some(addr) => groups::members_at(ctx, addr, group).await?,
        None => groups::members(ctx, group).await?,
    };
    let jstack = args.has("s");
    let now = ctx.env.clock.now_ms();
    if let Some(client) = args.get("i") {
        let info = groups::running(ctx, group, client, jstack).await?;
        ctx.show(&consumer(client, &info, now), || info::text(&info));
        return Ok(());
    }
    ctx.say(line([
        "#Index",
        "#ClientId",
        "#Version",
        "#ConsumerRunningInfoFile",
    ]));
    let mut members = Members::new();
    let mut failed = None;
    for connection in found.connection_set {
        let id: Str = connection.client_id;
        let info = match groups::running(ctx, group, &id, jstack).await {
            Ok(info) => info,
            // The others are asked all the same.
            Err(failure) => {
                ctx.warn(format_args!("{id}: {failure}"));
                failed = Some(failure);
                continue;
            }
        };
        if ctx.is_reference() {
            let file = format!("{now}/{}", file_name(&id));
            save(ctx, &file, &info::text(&info))?;
            let number = (members.len() + 1).to_string();
            ctx.say(line([&number, &id, &version::name(connection.version), &file]));
        } else {
            ctx.row(&consumer(&id, &info, now), String::new);
        }
        members.insert(id, info);
    }
    if !members.is_empty() {
        ctx.say(verdict(&members, now));
    }
    failed.map_or(Ok(()), Err)
}

fn line([number, id, version, file]: [&str; 4]) -> String {
    format!("{number:<10} {id:<40} {version:<20} {file}\n")
}

/// What can be said of all members together.
fn verdict(members: &Members, now: i64) -> String {
    if !info::same_subscriptions(members, now) {
        return "\n\nWARN: Different subscription in the same group of consumer!!!".to_owned();
    }
    let odd: String = members
        .iter()
        .map(|(client, info)| info::odd_queues(client, info, now))
        .collect();
    format!("\n\nSame subscription in the same group of consumer\n\nRebalance OK\n{odd}")
}

/// Clients choose their ids; a file must not end up elsewhere for that.
fn file_name(client: &str) -> String {
    match client {
        "." | ".." => "client".to_owned(),
        _ => client.replace(['/', '\\', '\0'], "_"),
    }
}

/// Below the directory the command was called in, as in the reference.
fn save(ctx: &Ctx, file: &str, text: &str) -> Result<(), Failure> {
    let path = Path::new(file);
    let write = || -> io::Result<()> {
        let disk = &ctx.env.disk;
        disk.make_dirs(path.parent().unwrap_or(Path::new(".")))?;
        disk.create(path, 0)?.write_at(text.as_bytes(), 0)
    };
    write().map_err(|error| {
        Failure::Other(format!(
            "{file} cannot be written here: {error}; call it in another directory, or with --output json"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_client_names_a_file_and_no_place() {
        assert_eq!(file_name("192.0.2.2@c1"), "192.0.2.2@c1");
        assert_eq!(file_name("../../etc/passwd"), ".._.._etc_passwd");
        assert_eq!(file_name(".."), "client");
    }
}
