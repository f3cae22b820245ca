// SPDX-License-Identifier: Apache-2.0
//! `updateKvConfig` and `deleteKvConfig`: the key-value table of the name servers.

use serde::Serialize;
use wire::api::kv::{DeleteKvConfig, PutKvConfig};

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::options::{Args, value};

pub(crate) const UPDATE_KV_CONFIG: Command = Command {
    name: "updateKvConfig",
    about: "Create or update KV config.",
    options: &[
        value("s", "namespace", "set the namespace").required(),
        value("k", "key", "set the key name").required(),
        value("v", "value", "set the key value").required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(update(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const DELETE_KV_CONFIG: Command = Command {
    name: "deleteKvConfig",
    about: "Delete KV config.",
    options: &[
        value("s", "namespace", "set the namespace").required(),
        value("k", "key", "set the key name").required(),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(delete(ctx, args)),
    ..Command::DEFAULT
};

#[derive(Serialize)]
struct Entry<'a> {
    namespace: &'a str,
    key: &'a str,
    value: Option<&'a str>,
}

async fn update(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (namespace, key, value) = (args.need("s")?, args.need("k")?, args.need("v")?);
    let header = PutKvConfig {
        namespace: namespace.into(),
        key: key.into(),
        value: value.into(),
    };
    lookup::tell_names(ctx, &header).await?;
    let value = Some(value);
    ctx.show(
        &Entry {
            namespace,
            key,
            value,
        },
        || "create or update kv config to namespace success.\n".to_owned(),
    );
    Ok(())
}

async fn delete(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (namespace, key) = (args.need("s")?, args.need("k")?);
    let header = DeleteKvConfig {
        namespace: namespace.into(),
        key: key.into(),
    };
    lookup::tell_names(ctx, &header).await?;
    let value = None;
    ctx.show(
        &Entry {
            namespace,
            key,
            value,
        },
        || "delete kv config from namespace success.\n".to_owned(),
    );
    Ok(())
}
