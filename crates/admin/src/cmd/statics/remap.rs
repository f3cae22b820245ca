// SPDX-License-Identifier: Apache-2.0
//! `remappingStaticTopic`: moves the logical queues of a static topic to other brokers. Messages stay where they are, and are read
//! there as long as they are kept.

use super::file::{MapFile, When, epoch_of};
use super::servers::{Brokers, Order};
use super::{BROKERS, CLUSTERS, FORCE, MAP_FILE, TOPIC, carry_on, force, found, plan};
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::Args;

pub(crate) const REMAPPING_STATIC_TOPIC: Command = Command {
    name: "remappingStaticTopic",
    about: "Remapping static topic.",
    options: &[CLUSTERS, BROKERS, TOPIC, MAP_FILE, FORCE],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let topic = args.need("t")?;
    if let Some(path) = args.get("mf") {
        return from_file(ctx, args, path).await;
    }
    let _ignored = force(ctx, args);
    let brokers = Brokers::ask(ctx).await?;
    let targets = brokers.targets(args)?;
    let known = brokers.examine(topic).await?;
    if known.is_empty() {
        return Err(found(format!(
            "there is no topic {topic}; updateStaticTopic makes a static one"
        )));
    }
    let old = MapFile::of(topic, &known, epoch_of(&known));
    let mut moved = plan::spread(topic, &targets, known, ctx.env.clock.now_ms()).map_err(found)?;
    let before = old.save(When::Before)?;
    ctx.say(format_args!("The old mapping data is written to file {before}\n"));
    let after = MapFile::of_move(topic, &moved).save(When::After)?;
    // Both are the old one in the words of the reference.
    ctx.say(format_args!("The old mapping data is written to file {after}\n"));
    brokers.complete(topic, &mut moved.parts);
    let order = Order {
        force: false,
        before: Some(&before),
        after: Some(&after),
    };
    let told = brokers.tell_move(&mut moved, order).await;
    told.inspect_err(|_| carry_on(ctx, &format!("remappingStaticTopic -t {topic}"), &after))
}

/// Carries out what a file says, or the rest of it.
async fn from_file(ctx: &Ctx, args: &Args, path: &str) -> Result<(), Failure> {
    let topic = args.need("t")?;
    let mut moved = MapFile::read(path, topic)?;
    let force = force(ctx, args);
    let brokers = Brokers::ask(ctx).await?;
    brokers.targets(args)?;
    brokers.resume(&mut moved).await?;
    brokers.complete(topic, &mut moved.parts);
    let order = Order {
        force,
        before: None,
        after: None,
    };
    let told = brokers.tell_move(&mut moved, order).await;
    told.inspect_err(|_| carry_on(ctx, &format!("remappingStaticTopic -t {topic}"), path))
}
