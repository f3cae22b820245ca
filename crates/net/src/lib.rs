// SPDX-License-Identifier: Apache-2.0
//! Sockets around `wire`: a server, a client channel, and the one connection loop that both run.
//!
//! This crate does not know what a topic, a group or a file is. It turns bytes into frames, hands them to a
//! [`Service`] and writes what comes back, within limits: see [`Limits`]. The path of a request is
//! `Conn::run` → `Decoder::next` → `Service::serve` → (`Service::settle`) → one write.
#![warn(missing_docs)]

mod access;
mod budget;
mod channel;
mod conn;
mod gates;
mod inbox;
mod leaving;
mod levels;
mod limits;
mod link;
mod outbox;
mod peer;
mod pipe;
mod places;
/// The table of a server's requests: what a handler gets, what it returns.
pub mod routes;
mod server;
mod service;
pub mod socket;
mod tally;
mod waiting;

pub use access::Logged;
pub use budget::Budget;
pub use channel::{Channel, ConnectError};
pub use leaving::Leaving;
pub use levels::Levels;
pub use limits::Limits;
pub use link::{LinkError, LinkReader, LinkWriter};
pub use peer::{CallError, Peer, PushError, Room, Taken};
pub use pipe::{Pipe, PipeError};
pub use places::Places;
pub use routes::{Answer, Call, Fault, Reply};
pub use server::{BindError, Listening, Server};
pub use service::{Answered, BoxFuture, Copies, Due, Late, Level, Manner, Outcome, Service, Ticket};
