// SPDX-License-Identifier: Apache-2.0
//! `cloneGroupOffset`: gives one group the offsets of another.

use serde::Serialize;
use wire::Str;
use wire::api::offset::UpdateConsumerOffset;

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::options::{Args, value};

pub(crate) const CLONE_GROUP_OFFSET: Command = Command {
    name: "cloneGroupOffset",
    about: "Clone offset from other group.",
    options: &[
        value("s", "srcGroup", "set source consumer group")
            .required()
            .group(),
        value("d", "destGroup", "set destination consumer group")
            .required()
            .group(),
        value("t", "topic", "set the topic").required().topic(),
        value("o", "offline", "the group or the topic is offline"),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(run(ctx, args)),
    ..Command::DEFAULT
};

/// An offset that was copied.
#[derive(Serialize)]
struct Copied {
    topic: Str,
    broker: Str,
    queue: i32,
    offset: i64,
}

async fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (from, to, topic) = (args.need("s")?, args.need("d")?, args.need("t")?);
    let stats = groups::progress(ctx, None, from, None).await?;
    if !stats.offset_table.is_empty() {
        let route = lookup::route(ctx, topic).await?;
        // As in the reference: all queues the group has read, whatever their topic; the topic only says where brokers are.
        for (key, offset) in &stats.offset_table {
            let queue = &key.0;
            if offset.consumer_offset < 0 {
                continue;
            }
            let mut brokers = route.broker_datas.iter();
            let broker = brokers.find(|known| known.broker_name == queue.broker_name);
            let addr = broker.and_then(lookup::any_addr).ok_or_else(|| {
                Failure::Other(format!(
                    "the topic {topic} is not on the broker {}, where {from} has read {}; offsets copied so far stay",
                    queue.broker_name, queue.topic
                ))
            })?;
            let header = UpdateConsumerOffset {
                consumer_group: to.into(),
                topic: queue.topic.clone(),
                queue_id: queue.queue_id,
                commit_offset: offset.consumer_offset,
            };
            ctx.client.ask(addr, &header).await?;
            let copied = Copied {
                topic: queue.topic.clone(),
                broker: queue.broker_name.clone(),
                queue: queue.queue_id,
                offset: offset.consumer_offset,
            };
            ctx.row(&copied, String::new);
        }
    }
    ctx.say(format_args!(
        "clone group offset success. srcGroup[{from}], destGroup=[{to}], topic[{topic}]"
    ));
    Ok(())
}
