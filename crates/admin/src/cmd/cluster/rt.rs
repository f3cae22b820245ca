// SPDX-License-Identifier: Apache-2.0
//! `clusterRT`: how long brokers take for a message. Sends to the topic that is called like each broker, again and again.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use wire::Str;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};
use crate::queues;
use crate::sending::{Draft, Sender};
use crate::text::{china_time, fixed};

pub(crate) const CLUSTER_RT: Command = Command {
    name: "clusterRT",
    about: "List All clusters Message Send RT.",
    options: &[
        value("a", "amount", "message amount | default 100"),
        value("s", "size", "message size | default 128 Byte"),
        value("c", "cluster", "cluster name | default display all cluster"),
        value("p", "print log", "print as tlog | default false"),
        value("m", "machine room", "machine room name | default noname"),
        value("i", "interval", "print interval | default 10 seconds"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// The largest message that a broker takes where nothing else is set.
const SIZE_MAX: usize = 4 << 20;

/// What is sent, and how it is told.
struct Plan<'a> {
    amount: u64,
    body: Bytes,
    as_log: bool,
    room: &'a str,
    cluster: Option<&'a str>,
}

/// How long a broker took.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    cluster: Str,
    broker: Str,
    /// Of all but the first message; nothing where there is no other.
    #[serde(rename = "meanMs")]
    known_mean_ms: Option<f64>,
    #[serde(skip)]
    mean_ms: f64,
    succeeded: u64,
    failed: u64,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let size = args.number::<usize>("s")?.unwrap_or(128);
    if size > SIZE_MAX {
        return Err(Failure::Usage(format!(
            "-s: a message has at most {SIZE_MAX} bytes"
        )));
    }
    let plan = Plan {
        amount: args.number("a")?.unwrap_or(100),
        body: vec![b'a'; size].into(),
        as_log: args.truth("p").unwrap_or(false),
        room: args.get("m").unwrap_or("noname"),
        cluster: args.get("c"),
    };
    let pause = Duration::from_secs(args.number("i")?.unwrap_or(10));
    let sender = Sender::new(ctx, &ctx.env.clock.now_ms().to_string());
    if !plan.as_log {
        ctx.say(format_args!(
            "{:<24}  {:<24}  {:<4}  {:<8}  {:<8}\n",
            "#Cluster Name", "#Broker Name", "#RT", "#successCount", "#failCount"
        ));
    }
    let clusters = lookup::clusters(ctx).await?;
    let names = match plan.cluster {
        Some(name) => vec![name],
        None => hash_map(clusters.cluster_addr_table.keys().map(Str::as_str), |name| name),
    };
    let round = async || {
        for cluster in &names {
            for broker in lookup::broker_names(&clusters, cluster)? {
                let measured = measure(ctx, &sender, &plan, (cluster, broker)).await;
                ctx.row(&measured, || text(ctx, &plan, &measured));
            }
        }
        Ok(())
    };
    ctx.repeat(Some(pause), round).await
}

async fn measure(
    ctx: &Ctx,
    sender: &Sender<'_>,
    plan: &Plan<'_>,
    (cluster, broker): (&str, &str),
) -> Measured {
    let (mut succeeded, mut failed, mut elapsed) = (0, 0, Duration::ZERO);
    let route = sender.route(broker).await.unwrap_or_default();
    let queues = queues::writable(broker, &route);
    let mut queues = queues.iter().cycle();
    let draft = Draft::new(broker, plan.body.clone());
    for round in 0..plan.amount {
        let begun = ctx.env.clock.instant();
        let sent = match queues.next() {
            None => false,
            Some(queue) => sender.send_to(&route, queue, &draft).await.is_ok(),
        };
        if sent {
            succeeded += 1;
        } else {
            failed += 1;
        }
        // The first one also opens the connection.
        if round > 0 {
            elapsed += ctx.env.clock.instant().duration_since(begun);
        }
    }
    let mean_ms = elapsed.as_secs_f64() * 1000.0 / (plan.amount as f64 - 1.0);
    Measured {
        cluster: cluster.into(),
        broker: broker.into(),
        known_mean_ms: (plan.amount > 1).then_some(mean_ms),
        mean_ms,
        succeeded,
        failed,
    }
}

fn text(ctx: &Ctx, plan: &Plan<'_>, measured: &Measured) -> String {
    let Measured { cluster, broker, .. } = measured;
    if plan.as_log {
        let now = china_time(ctx.env.clock.now_ms());
        let ms = fixed(measured.mean_ms, 0);
        return format!("{now}|{}|{cluster}|{broker}|{ms}\n", plan.room);
    }
    format!(
        "{cluster:<24}  {broker:<24}  {:<8}  {:<16}  {:<16}\n",
        fixed(measured.mean_ms, 2),
        measured.succeeded,
        measured.failed
    )
}
