// SPDX-License-Identifier: Apache-2.0
//! What one server or one connection may use at most. At a limit we stop reading the socket or close it; we never grow.

use std::sync::Arc;
use std::time::Duration;

use crate::budget::Budget;

/// Bounds of a server and of each of its connections.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest frame, length prefix included (bytes). A larger one closes the connection.
    pub frame_bytes_max: usize,
    /// Connections at once; one more is accepted and closed.
    pub connections_max: usize,
    /// Requests of one connection whose answer waits for the store. At the limit its socket is not read.
    pub gated_max: usize,
    /// Requests of one connection that are held (long polls, relayed calls). At the limit its socket is not read.
    pub held_max: usize,
    /// Bytes of them, as far as they are long; one more may always come.
    pub held_bytes_max: usize,
    /// Requests of one connection that may keep other threads busy at the same time ([`crate::Peer::turns`]).
    pub turns_max: usize,
    /// Answer bytes queued to one reader that does not read. At the limit its socket is not read.
    pub reply_bytes_max: usize,
    /// Frames queued towards one peer by [`crate::Peer::push`] and [`crate::Peer::call`].
    pub push_max: usize,
    /// And bytes; a single frame may be larger.
    pub push_bytes_max: usize,
    /// What all connections may hold together that have a copy of this.
    pub budget: Arc<Budget>,
    /// What the system keeps of a connection until it is read (bytes); it adds as much for what it needs itself. It does not grow, so
    /// that not much waits there, unknown to anybody, of those that send more than is read.
    pub unread_bytes: usize,
    /// A connection on which nothing was read or written for so long is closed; also one of which a frame has not become
    /// complete, or that has read nothing of what waits for it.
    pub idle: Duration,
    /// How long a stopping server works on answers that are still due.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_bytes_max: 16 * 1024 * 1024,
            connections_max: 20_000,
            gated_max: 16_384,
            held_max: 65_536,
            held_bytes_max: 16 * 1024 * 1024,
            turns_max: 16,
            reply_bytes_max: 16 * 1024 * 1024,
            push_max: 1024,
            push_bytes_max: 16 * 1024 * 1024,
            budget: Budget::of(1 << 30),
            unread_bytes: 256 * 1024,
            idle: Duration::from_secs(120),
            drain: Duration::from_secs(3),
        }
    }
}
