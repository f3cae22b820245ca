// SPDX-License-Identifier: Apache-2.0
//! `exportPopRecord`: has brokers hand their open leases over to the revive topic, before a version is installed that knows
//! no others.

use std::time::Duration;

use serde::Serialize;
use wire::Str;
use wire::api::elsewhere::PopRollback;
use wire::frame::Frame;

use super::configs::settings;
use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const EXPORT_POP_RECORD: Command = Command {
    name: "exportPopRecord",
    about: "Export pop consumer record",
    options: &[
        value("c", "clusterName", "choose one cluster to export"),
        value("b", "brokerAddr", "choose one broker to export"),
        value("d", "dryRun", "no actual changes will be made"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Leases may be many.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A broker that was asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    broker: Str,
    addr: Str,
    dry_run: bool,
    error: Option<String>,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    // The reference has it the wrong way round. Its scripts say what it understands.
    let dry_run = args.truth("d") == Some(false)
        && args
            .get("d")
            .is_some_and(|text| text.eq_ignore_ascii_case("false"));
    if args.has("d") && !dry_run {
        ctx.warn("as in the reference, only '-d false' is a dry run");
    }
    let mut targets: Vec<(Str, Str)> = Vec::new();
    if let Some(addr) = args.get("b") {
        let settings = settings(ctx, addr).await?;
        targets.push((settings.get("brokerName").unwrap_or("null").into(), addr.into()));
    } else if let Some(cluster) = args.get("c") {
        let clusters = lookup::clusters(ctx).await?;
        for name in lookup::broker_names(&clusters, cluster)? {
            let replicas = clusters.broker_addr_table.get(name).into_iter();
            let addrs = replicas.flat_map(|replicas| replicas.broker_addrs.values());
            targets.extend(addrs.map(|addr| (name.clone(), addr.clone())));
        }
    } else {
        return Err(Failure::Usage("say -b <broker> or -c <cluster>".to_owned()));
    }
    let mut failed = None;
    for (broker, addr) in targets {
        let result = if dry_run { Ok(()) } else { ask(ctx, &addr).await };
        let asked = Asked {
            error: result.as_ref().err().map(exception),
            broker,
            addr,
            dry_run,
        };
        ctx.row(&asked, || text(&asked));
        failed = result.err().or(failed);
    }
    failed.map_or(Ok(()), Err)
}

async fn ask(ctx: &Ctx, addr: &str) -> Result<(), Failure> {
    let frame = Frame::request(0, &PopRollback);
    let answer = ctx
        .client
        .ask_frame::<PopRollback>(addr, frame, ANSWER_WITHIN)
        .await;
    answer.map(|_| ())
}

/// What the reference prints of a failure.
fn exception(failure: &Failure) -> String {
    match failure {
        Failure::Refused { code, remark, .. } => format!(
            "org.apache.rocketmq.client.exception.MQBrokerException: CODE: {}  DESC: {remark}\n\
             For more information, please visit the url, https://rocketmq.apache.org/docs/bestPractice/06FAQ",
            code.0
        ),
        other => other.to_string(),
    }
}

fn text(asked: &Asked) -> String {
    let Asked {
        broker,
        addr,
        dry_run,
        error,
    } = asked;
    let of = format!("brokerName={broker}, brokerAddr={addr}, dryRun={dry_run}\n");
    match error {
        None => format!("Export broker records, {of}"),
        Some(error) => format!("Export broker records error, {of}{error}"),
    }
}
