// SPDX-License-Identifier: Apache-2.0
//! `updateStaticTopic`: makes a static topic, or gives it more logical queues.

use super::file::{MapFile, When, epoch_of};
use super::servers::{Brokers, Order};
use super::{BROKERS, CLUSTERS, FORCE, MAP_FILE, TOPIC, carry_on, force, found, plan};
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const UPDATE_STATIC_TOPIC: Command = Command {
    name: "updateStaticTopic",
    about: "Update or create static topic, which has fixed number of queues.",
    options: &[
        CLUSTERS,
        BROKERS,
        TOPIC,
        value("qn", "totalQueueNum", "total queue num").required(),
        MAP_FILE,
        FORCE,
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// Most logical queues: what a broker of ours takes.
const QUEUES_MAX: i32 = 65_536;

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let queues: i32 = args.number("qn")?.unwrap_or_default();
    if !(1..=QUEUES_MAX).contains(&queues) {
        return Err(Failure::Usage(format!(
            "option qn: {queues} queues; there can be 1 to {QUEUES_MAX}"
        )));
    }
    if let Some(path) = args.get("mf") {
        return from_file(ctx, args, path, queues).await;
    }
    let _ignored = force(ctx, args);
    let brokers = Brokers::ask(ctx).await?;
    let targets = brokers.targets(args)?;
    let known = brokers.examine(topic).await?;
    let now = ctx.env.clock.now_ms();
    let epoch = if known.is_empty() { now } else { epoch_of(&known) };
    let old = MapFile::of(topic, &known, epoch);
    let chance = ctx.env.rng.as_ref();
    let mut parts = plan::grow(topic, queues, &targets, known, (now, chance)).map_err(found)?;
    let before = old.save(When::Before)?;
    ctx.say(format_args!("The old mapping data is written to file {before}\n"));
    let after = MapFile::of(topic, &parts, epoch_of(&parts)).save(When::After)?;
    ctx.say(format_args!("The new mapping data is written to file {after}\n"));
    brokers.complete(topic, &mut parts);
    let order = Order {
        force: false,
        before: Some(&before),
        after: Some(&after),
    };
    let told = brokers.tell_all(&parts, order).await;
    told.inspect_err(|_| carry_on(ctx, &format!("updateStaticTopic -t {topic} -qn {queues}"), &after))
}

/// Carries out what a file says.
async fn from_file(ctx: &Ctx, args: &Args, path: &str, queues: i32) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let wrong = |why: String| Err(Failure::Usage(format!("the map file {path} {why}")));
    let mut moved = MapFile::read(path, topic)?;
    if !moved.into.is_empty() {
        return wrong("moves queues; carry it out with remappingStaticTopic".to_owned());
    }
    let total = moved
        .parts
        .values()
        .next()
        .map_or(0, |part| part.mapping.total_queues);
    if total != queues {
        return wrong(format!("has {total} queues, and -qn says {queues}"));
    }
    let force = force(ctx, args);
    let brokers = Brokers::ask(ctx).await?;
    brokers.targets(args)?;
    brokers.complete(topic, &mut moved.parts);
    let order = Order {
        force,
        before: None,
        after: None,
    };
    let told = brokers.tell_all(&moved.parts, order).await;
    told.inspect_err(|_| carry_on(ctx, &format!("updateStaticTopic -t {topic} -qn {queues}"), path))
}
