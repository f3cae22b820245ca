// SPDX-License-Identifier: Apache-2.0
//! A load generator for servers that speak the RocketMQ remoting protocol, ours and the reference.
//!
//! Messages are due at the times of a schedule, whatever the server does, and latency is counted from there: a server
//! that stands still for a second is seen by all messages of that second, not by the one that was under way
//! ("coordinated omission"). Each connection is a task that owns its socket: [`run()`] starts them, looks at their notes
//! every second, and adds up.
//!
//! What this crate does not know: files, command lines, terminals. It connects to servers as a client does.
#![warn(missing_docs)]

mod body;
mod clock;
mod cluster;
mod crew;
mod flight;
mod ledger;
mod line;
mod message;
mod options;
mod percentiles;
mod pop;
mod produce;
mod pull;
mod random;
mod receive;
mod report;
mod run;
mod schedule;
mod shared;
mod tally;
mod transact;

pub use cluster::{ClusterError, Server};
pub use ledger::Delivery;
pub use options::{From, Kind, Later, Options, Rate, Sizes, Usage};
pub use percentiles::Percentiles;
pub use report::{Latency, Report, Second, VERSION};
pub use run::{Progress, RunError, run};
pub use tally::{Counts, Measure};
