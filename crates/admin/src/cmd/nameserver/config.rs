// SPDX-License-Identifier: Apache-2.0
//! `getNamesrvConfig` and `updateNamesrvConfig`: what name servers are set to.

use serde::Serialize;
use wire::api::config::{GetNamesrvConfig, UpdateNamesrvConfig};
use wire::java_properties;

use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::small_hash_map;
use crate::options::{Args, value};
use crate::settings::{self, Settings};

pub(crate) const GET_NAMESRV_CONFIG: Command = Command {
    name: "getNamesrvConfig",
    about: "Get configs of name server.",
    run: |ctx, args| Box::pin(get(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const UPDATE_NAMESRV_CONFIG: Command = Command {
    name: "updateNamesrvConfig",
    about: "Update configs of name server.",
    options: &[
        value("k", "key", "config key").required(),
        value("v", "value", "config value").required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(update(ctx, args)),
    ..Command::DEFAULT
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    name_server: String,
    settings: Settings,
}

async fn get(ctx: &Ctx, _args: &Args) -> Result<(), Failure> {
    let mut configs = Vec::new();
    let mut failed = None;
    for addr in ctx.client.name_servers()? {
        match settings_of(ctx, addr).await {
            Ok(settings) => configs.push(Config {
                name_server: addr.clone(),
                settings,
            }),
            // The reference tells nothing at all then.
            Err(failure) if ctx.is_reference() => return Err(failure),
            Err(failure) => failed = Some(failure),
        }
    }
    let configs = small_hash_map(configs, |config| &config.name_server);
    ctx.show(&configs, || {
        let text = |config: &Config| {
            let title = &config.name_server;
            format!("============{title}============\n{}", config.settings.text())
        };
        configs.iter().map(text).collect()
    });
    failed.map_or(Ok(()), Err)
}

async fn settings_of(ctx: &Ctx, addr: &str) -> Result<Settings, Failure> {
    let answer = ctx.client.ask(addr, &GetNamesrvConfig).await?;
    Settings::parse(answer.text()?)
}

/// A name server that has another setting now. The value is not told: it may be a secret, and who asks has said it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated<'a> {
    name_server: &'a str,
    key: &'a str,
    /// What becomes of it, where the server says that.
    remark: Option<&'a str>,
}

async fn update(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (key, value) = (args.need("k")?, args.need("v")?);
    let body = java_properties::write([(key, value)]);
    let mut refused = None;
    let servers = ctx.client.name_servers()?;
    for name_server in servers {
        let told = ctx
            .client
            .ask_with(name_server, &UpdateNamesrvConfig, body.clone())
            .await;
        match told {
            Ok(answer) => {
                let remark = answer.frame.remark.as_deref();
                let remark =
                    settings::with_meant(remark, key, async || settings_of(ctx, name_server).await).await;
                let remark = remark.as_deref();
                let updated = Updated {
                    name_server,
                    key,
                    remark,
                };
                ctx.row(&updated, String::new);
                ctx.remark(name_server, remark);
            }
            Err(failure) if failure.response_code().is_some() => refused = Some(failure),
            Err(failure) => return Err(failure),
        }
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    // Those that were not named are not listed.
    let listed = match args.get("n") {
        Some(_) => format!("[{}]", servers.join(", ")),
        None => String::new(),
    };
    ctx.say(format_args!(
        "update name server config success!{listed}\n{key} : {value}\n"
    ));
    Ok(())
}
