// SPDX-License-Identifier: Apache-2.0
//! `haStatus`, `getBrokerEpoch`, `resetMasterFlushOffset`: how masters and slaves stand to each other.

use std::time::Duration;

use serde::Serialize;
use wire::Str;
use wire::api::elsewhere::GetBrokerEpochCache;
use wire::api::ha::{GetBrokerHaStatus, ResetMasterFlushOffset};
use wire::body::ha::{EpochEntryCache, HaClientRuntimeInfo, HaRuntimeInfo};

use crate::cmd::lookup;
use crate::command::{Command, Effect};
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::hash_order::hash_map;
use crate::options::{Args, value};
use crate::text::{fixed, time};

pub(crate) const HA_STATUS: Command = Command {
    name: "haStatus",
    about: "Fetch ha runtime status data.",
    options: &[
        value("c", "clusterName", "which cluster"),
        value("b", "brokerAddr", "which broker to fetch"),
        value("i", "interval", "the interval(second) of get info"),
    ],
    run: |ctx, args| Box::pin(ha_status(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const GET_BROKER_EPOCH: Command = Command {
    name: "getBrokerEpoch",
    about: "Fetch broker epoch entries.",
    options: &[
        value("c", "clusterName", "which cluster").one_of(1),
        value("b", "brokerName", "which broker to fetch").one_of(1),
        value("i", "interval", "the interval(second) of get info"),
    ],
    run: |ctx, args| Box::pin(epochs(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const RESET_MASTER_FLUSH_OFFSET: Command = Command {
    name: "resetMasterFlushOffset",
    about: "Reset master flush offset in slave.",
    options: &[
        value("b", "brokerAddr", "which broker to reset"),
        value("o", "offset", "the offset to reset at"),
    ],
    effect: Effect::Destroys,
    run: |ctx, args| Box::pin(reset(ctx, args)),
    ..Command::DEFAULT
};

/// The pause of commands that repeat themselves; three seconds where nothing is said behind `-i`.
fn pause(args: &Args) -> Result<Option<Duration>, Failure> {
    match args.get("i") {
        Some("") => Ok(Some(Duration::from_secs(3))),
        _ => Ok(args.number("i")?.map(Duration::from_secs)),
    }
}

/// How a broker replicates.
#[derive(Serialize)]
struct Status<'a> {
    broker: &'a Str,
    #[serde(flatten)]
    status: &'a HaRuntimeInfo,
}

async fn ha_status(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let round = async || {
        for broker in &lookup::targets(ctx, args).await? {
            let status: HaRuntimeInfo = ctx.client.ask(broker, &GetBrokerHaStatus).await?.body()?;
            let status = &status;
            ctx.row(&Status { broker, status }, || {
                if status.master {
                    master_text(broker, status)
                } else {
                    slave_text(&status.ha_client_runtime_info)
                }
            });
        }
        Ok(())
    };
    ctx.repeat(pause(args)?, round).await
}

fn master_text(addr: &str, status: &HaRuntimeInfo) -> String {
    let mut out = format!(
        "\n#MasterAddr\t{addr}\n#MasterCommitLogMaxOffset\t{}\n#SlaveNum\t{}\n#InSyncSlaveNum\t{}\n",
        status.master_commit_log_max_offset,
        status.ha_connection_info.len(),
        status.in_sync_slave_nums
    );
    out.push_str(&format!(
        "{:<32}  {:<16} {:>16} {:>16} {:>16} {:>16}\n",
        "#SlaveAddr", "#SlaveAckOffset", "#Diff", "#TransferSpeed(KB/s)", "#Status", "#TransferFromWhere"
    ));
    for slave in &status.ha_connection_info {
        out.push_str(&format!(
            "{:<32}  {:<16} {:>16} {:>16} {:>16} {:>16}\n",
            slave.addr,
            slave.slave_ack_offset,
            slave.diff,
            speed(slave.transferred_byte_in_second),
            if slave.in_sync { "OK" } else { "Fall Behind" },
            slave.transfer_from_where
        ));
    }
    out
}

fn slave_text(link: &HaClientRuntimeInfo) -> String {
    format!(
        "\n#MasterAddr\t{}\n#CommitLogMaxOffset\t{}\n#TransferSpeed(KB/s)\t{}\n#LastReadTime\t{}\n\
         #LastWriteTime\t{}\n#MasterFlushOffset\t{}\n",
        link.master_addr.as_deref().unwrap_or("null"),
        link.max_offset,
        speed(link.transferred_byte_in_second),
        time(link.last_read_timestamp),
        time(link.last_write_timestamp),
        link.master_flush_offset
    )
}

fn speed(bytes: i64) -> String {
    fixed(bytes as f64 / 1024.0, 2)
}

/// The epochs of a broker.
#[derive(Serialize)]
struct Epochs<'a> {
    address: &'a Str,
    #[serde(flatten)]
    epochs: &'a EpochEntryCache,
}

async fn epochs(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let round = async || {
        let clusters = lookup::clusters(ctx).await?;
        let brokers = match args.get("b") {
            Some(name) => {
                let broker = clusters.broker_addr_table.get(name);
                let addrs = broker
                    .into_iter()
                    .flat_map(|broker| broker.broker_addrs.values().cloned());
                hash_map(addrs, |addr| addr)
            }
            None => lookup::replicas(&clusters, args.need("c")?)?,
        };
        if brokers.is_empty() {
            return Err(Failure::Other("the name server knows no such broker".to_owned()));
        }
        for address in &brokers {
            let mut epochs: EpochEntryCache = ctx.client.ask(address, &GetBrokerEpochCache).await?.body()?;
            let max = epochs.max_offset;
            if let Some(last) = epochs.epoch_list.last_mut() {
                last.end_offset = max;
            }
            let epochs = &epochs;
            ctx.row(&Epochs { address, epochs }, || epochs_text(address, epochs));
        }
        Ok(())
    };
    ctx.repeat(pause(args)?, round).await
}

fn epochs_text(addr: &str, epochs: &EpochEntryCache) -> String {
    let mut out = format!(
        "\n#clusterName\t{}\n#brokerName\t{}\n#brokerAddr\t{addr}\n#brokerId\t{}",
        epochs.cluster_name, epochs.broker_name, epochs.broker_id
    );
    for entry in &epochs.epoch_list {
        out.push_str(&format!(
            "\n#Epoch: EpochEntry{{epoch={}, startOffset={}, endOffset={}}}",
            entry.epoch, entry.start_offset, entry.end_offset
        ));
    }
    out.push('\n');
    out
}

/// A slave that has been told where the log of its master ends.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reset<'a> {
    broker: &'a str,
    master_flush_offset: i64,
}

async fn reset(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let missing = Failure::Incomplete("say -b <broker> and -o <offset>");
    let (Some(broker), Some(master_flush_offset)) = (args.get("b"), args.number("o")?) else {
        return Err(missing);
    };
    let header = ResetMasterFlushOffset {
        master_flush_offset: Some(master_flush_offset),
    };
    ctx.client.ask(broker, &header).await?;
    let reset = Reset {
        broker,
        master_flush_offset,
    };
    ctx.show(&reset, || {
        format!("reset master flush offset to {master_flush_offset} success\n")
    });
    Ok(())
}
