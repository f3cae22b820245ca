// SPDX-License-Identifier: Apache-2.0
//! `getBrokerConfig` and `updateBrokerConfig`: what a broker is set to.

use serde::Serialize;
use wire::Str;
use wire::api::config::{GetBrokerConfig, UpdateBrokerConfig};
use wire::java_properties;

use crate::cmd::lookup::{self, MASTER};
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::small_hash_map;
use crate::options::{Args, value};
use crate::settings::{self, Settings};

pub(crate) const GET_BROKER_CONFIG: Command = Command {
    name: "getBrokerConfig",
    about: "Get broker config by cluster or special broker.",
    options: &[
        value("b", "brokerAddr", "get which broker").one_of(1),
        value("c", "clusterName", "get which cluster").one_of(1),
    ],
    run: |ctx, args| Box::pin(get(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const UPDATE_BROKER_CONFIG: Command = Command {
    name: "updateBrokerConfig",
    about: "Update broker's config.",
    options: &[
        value("b", "brokerAddr", "update which broker"),
        value("c", "clusterName", "update which cluster"),
        value("a", "updateAllBroker", "update all brokers include slave"),
        value("k", "key", "config key").required(),
        value("v", "value", "config value").required(),
    ],
    effect: Effect::Changes,
    run: |ctx, args| Box::pin(update(ctx, args)),
    ..Command::DEFAULT
};

async fn get(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    if let Some(addr) = args.get("b") {
        return show(ctx, addr, &format!("============{addr}============\n")).await;
    }
    for (master, slaves) in families(ctx, args.need("c")?).await? {
        let title = format!("============Master: {master}============\n");
        if master == NO_MASTER {
            ctx.say(title);
        } else {
            show(ctx, &master, &title).await?;
        }
        for slave in slaves {
            let title = format!("============My Master: {master}=====Slave: {slave}============\n");
            show(ctx, &slave, &title).await?;
        }
    }
    Ok(())
}

/// Stands in the reference's output for the masters that are missing.
const NO_MASTER: &str = "NO_MASTER";

/// The masters of a cluster, each with its slaves. Slaves without a master are all together.
async fn families(ctx: &Ctx, cluster: &str) -> Result<Vec<(Str, Vec<Str>)>, Failure> {
    let clusters = lookup::clusters(ctx).await?;
    let mut families: Vec<(Str, Vec<Str>)> = Vec::new();
    for name in lookup::broker_names(&clusters, cluster)? {
        let Some(broker) = clusters.broker_addr_table.get(name) else {
            continue;
        };
        let addrs = &broker.broker_addrs;
        let master = addrs.get(&MASTER).cloned().unwrap_or(NO_MASTER.into());
        let slaves = addrs.iter().filter(|(id, _)| **id != MASTER);
        let slaves = slaves.map(|(_, addr)| addr.clone());
        match families.iter_mut().find(|(known, _)| *known == master) {
            Some((_, known)) => known.extend(slaves),
            None => families.push((master, slaves.collect())),
        }
    }
    Ok(small_hash_map(families, |(master, _)| master))
}

#[derive(Serialize)]
struct Config<'a> {
    broker: &'a str,
    settings: &'a Settings,
}

async fn settings_of(ctx: &Ctx, addr: &str) -> Result<Settings, Failure> {
    let answer = ctx.client.ask(addr, &GetBrokerConfig).await?;
    Settings::parse(answer.text()?)
}

async fn show(ctx: &Ctx, addr: &str, title: &str) -> Result<(), Failure> {
    let settings = settings_of(ctx, addr).await?;
    let config = Config {
        broker: addr,
        settings: &settings,
    };
    ctx.row(&config, || format!("{title}{}\n", settings.text()));
    Ok(())
}

/// A broker that has another setting now. The value is not told: it may be a secret, and who asks has said it.
#[derive(Serialize)]
struct Updated<'a> {
    broker: &'a str,
    key: &'a str,
    /// What becomes of it, where the server says that.
    remark: Option<&'a str>,
}

async fn update(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (key, value) = (args.need("k")?, args.need("v")?);
    let body = java_properties::write([(key, value)]);
    let brokers = match args.get("c").filter(|_| args.has("a") && !args.has("b")) {
        Some(cluster) => lookup::replicas(&lookup::clusters(ctx).await?, cluster)?,
        None => lookup::targets(ctx, args).await?,
    };
    let mut failed = None;
    for broker in &brokers {
        let told = ctx
            .client
            .ask_with(broker, &UpdateBrokerConfig, body.clone())
            .await;
        match told {
            Ok(answer) => {
                let remark = answer.frame.remark.as_deref();
                let remark = settings::with_meant(remark, key, async || settings_of(ctx, broker).await).await;
                let remark = remark.as_deref();
                let updated = Updated { broker, key, remark };
                ctx.row(&updated, || format!("update broker config success, {broker}\n"));
                ctx.remark(broker, remark);
            }
            // The others are told all the same.
            Err(failure) => failed = Some(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}
