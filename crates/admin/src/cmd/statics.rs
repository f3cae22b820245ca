// SPDX-License-Identifier: Apache-2.0
//! Static topics: a fixed number of logical queues, each a row of stretches of queues on some brokers. These commands decide
//! what is where, and tell every broker; brokers take what does not contradict what they have.
//!
//! What is decided is computed without asking anybody (`plan`, `allot`), checked before and after (`check`), written to a map
//! file (`file`), and only then told (`servers`). A change that stops half-way is carried on with that file: `-mf`.

mod allot;
mod check;
pub(super) mod ends;
mod file;
mod layout;
mod plan;
pub(super) mod remap;
mod servers;
pub(super) mod update;

use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, Opt, value};

/// The options that both commands have.
const CLUSTERS: Opt = value(
    "c",
    "clusters",
    "remapping static topic to clusters, comma separated",
)
.one_of(1);
const BROKERS: Opt = value(
    "b",
    "brokers",
    "remapping static topic to brokers, comma separated",
)
.one_of(1);
const TOPIC: Opt = value("t", "topic", "topic name").required().topic();
const MAP_FILE: Opt = value("mf", "mapFile", "The mapping data file name");
const FORCE: Opt = value("fr", "forceReplace", "Force replace the old mapping");

/// What brokers have, or would have, is not as it must be.
fn found(why: String) -> Failure {
    Failure::Other(why)
}

/// Whether brokers are to take a map file whatever they have. Nothing else is ever forced on them.
fn force(ctx: &Ctx, args: &Args) -> bool {
    let asked = args.truth("fr") == Some(true);
    if asked && !args.has("mf") {
        ctx.warn("-fr says something about a map file (-mf) and nothing without one");
    }
    asked
}

/// What to do after a change that has perhaps begun and has not ended.
fn carry_on(ctx: &Ctx, call: &str, file: &str) {
    ctx.warn(format_args!(
        "the brokers may not agree about the topic now; when what is wrong is mended, go on with: mqadmin {call} -b <any broker> -mf {file}"
    ));
}
