// SPDX-License-Identifier: Apache-2.0
//! The broker: decides what a request about topics, groups, messages and offsets means, and answers it.
//!
//! `wire` knows the bytes, `net` the sockets, `store` the files; here is what the reference's broker *does*. Start
//! reading in `routes.rs`, the table of contents; every capability has one file. Handlers have one shape, check →
//! decide → store → answer, and never block: what waits goes into the answer as a ticket or a future.

mod admin;
mod admission;
mod assign;
mod attributes;
mod blocking;
mod broker;
mod clients;
pub mod config;
mod counts;
mod dedup;
mod delay;
mod duty;
mod escape;
mod explain;
mod fast;
mod fault;
mod filter;
mod group;
mod heartbeat;
mod hold;
mod lag;
mod latency;
mod lock;
mod logical;
mod memory;
mod metrics;
mod names;
mod offset;
mod peers;
mod pop;
mod ports;
mod pull;
mod put;
mod query;
mod rebuild;
mod relay;
mod replication;
mod routes;
mod saved;
mod send;
mod shards;
mod stats;
mod subject;
mod timer;
mod topic;
mod traffic;
mod transaction;
#[cfg(test)]
#[path = "../../store/tests/support/warnings.rs"]
mod warnings;
#[cfg(test)]
mod world;

pub use broker::{Broker, CloseError, OpenError, RunError};
pub use config::{Config, ConfigError, Warning};
pub use filter::sql;
pub use metrics::{Beside, LEFT_OUT, METRICS, Pages, metrics_reference};
pub use pop::PopError;
pub use ports::{PortError, Ports};
pub use routes::{ROUTES, WORDS};
pub use saved::{LoadError, SaveError};
pub use timer::{TimerCloseError, TimerError};
pub use transaction::RecoverError;
