// SPDX-License-Identifier: Apache-2.0
//! `switchTimerEngine`: where a broker keeps messages that wait for their time.

use serde::Serialize;
use wire::api::elsewhere::SwitchTimerEngine;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const SWITCH_TIMER_ENGINE: Command = Command {
    name: "switchTimerEngine",
    about: "switch the engine of timer message in broker",
    options: &[
        value("b", "brokerAddr", "update which broker"),
        value("c", "clusterName", "update which cluster"),
        value(
            "e",
            "engineType",
            "R/F, R for rocksdb timeline engine, F for file time wheel engine",
        )
        .required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// A broker with another engine.
#[derive(Serialize)]
struct Switched<'a> {
    broker: &'a str,
    engine: &'a str,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let letter = args.need("e")?;
    let name = match letter {
        "R" => "ROCKSDB_TIMELINE",
        "F" => "FILE_TIME_WHEEL",
        _ => {
            return Err(Failure::Usage(
                "switchTimerEngine engineType must be R or F".to_owned(),
            ));
        }
    };
    // The reference says the letter of one broker, and the name of those of a cluster.
    let engine = if args.has("b") { letter } else { name };
    let header = SwitchTimerEngine {
        engine: Some(letter.into()),
    };
    let mut failed = None;
    for broker in &lookup::targets(ctx, args).await? {
        match ctx.client.ask(broker, &header).await {
            Ok(_) => ctx.row(&Switched { broker, engine }, || {
                format!("switchTimerEngine to {engine} success, {broker}\n")
            }),
            // The others are told all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}
