// SPDX-License-Identifier: Apache-2.0
//! The options of `barque store`.

use super::Settings;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at everything in a store and tell what is wrong; writes nothing
    #[command(after_help = EXIT)]
    Check(Check),
    /// Tell what would mend a store, or mend it with --write
    #[command(after_help = EXIT)]
    Repair(Repair),
    /// Show the records or the queues of a store; writes nothing
    Dump(Dump),
}

const EXIT: &str = "\
Exit codes:
  0  the store is sound (after what was mended)
  1  something is wrong with it
  2  it cannot be looked at: a broker runs there, or there is no store";

#[derive(Debug, Args)]
pub(crate) struct Place {
    /// Directory of the store (storePathRootDir), written by barque or by a Java broker [default: that of the configuration]
    #[arg(value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Configuration file of the broker; without one, sizes of files are taken from the files
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Do it, and keep what is replaced in DIR/repair-TIME
    #[arg(long)]
    pub(crate) write: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Dump {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Show the queues instead of records
    #[arg(long, conflicts_with_all = ["from", "to", "key", "body"])]
    pub(crate) queues: bool,
    /// Only of this topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    /// Only of this queue
    #[arg(long, value_name = "NUMBER")]
    pub(crate) queue: Option<u32>,
    /// Only from this offset of the queue on
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<i64>,
    /// Only up to this offset of the queue, which is left out
    #[arg(long, value_name = "OFFSET")]
    pub(crate) to: Option<i64>,
    /// Only with this key or unique id
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// Show bodies
    #[arg(long)]
    pub(crate) body: bool,
    /// As many at most
    #[arg(long, value_name = "COUNT")]
    pub(crate) limit: Option<u64>,
}
