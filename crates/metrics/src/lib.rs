// SPDX-License-Identifier: Apache-2.0
//! What a server tells about itself in numbers: how they are counted, and how they leave the process.
//!
//! A server keeps [`Counter`]s and [`Histogram`]s beside what they speak of, describes each number once ([`Metric`]), and
//! writes all of them into a [`Sink`] when somebody asks: nothing is kept twice, and counting is a relaxed addition. This
//! crate does not know what a topic or a group is.
#![warn(missing_docs)]

mod count;
mod delta;
/// The port for people and programs that watch a server.
pub mod http;
mod lines;
/// Pushes over gRPC.
pub mod otlp;
mod rpc;
mod sink;
mod text;

pub use count::{Counter, Histogram, Reading, Sharded};
pub use delta::{Deltas, Since};
pub use lines::Lines;
pub use rpc::{RPC_BOUNDS, RPC_LABELS, Rpc};
pub use sink::{Base, Export, Kind, Metric, Series, Sink, Unit};
pub use text::{CONTENT_TYPE, Text};
