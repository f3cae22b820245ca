// SPDX-License-Identifier: Apache-2.0
//! Commands about messages, clients and groups, against a name server and a broker on real sockets.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

#[path = "clients/export.rs"]
mod export;
#[path = "clients/fakes.rs"]
mod fakes;
#[path = "clients/groups.rs"]
mod groups;
#[path = "clients/messages.rs"]
mod messages;
#[path = "clients/offsets.rs"]
mod offsets;
#[path = "clients/ours.rs"]
mod ours;
#[path = "clients/printed.rs"]
mod printed;
#[path = "clients/rig.rs"]
mod rig;
#[path = "clients/rounds.rs"]
mod rounds;
