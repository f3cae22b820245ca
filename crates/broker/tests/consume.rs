// SPDX-License-Identifier: Apache-2.0
//! What consumers ask of a broker, over real sockets: pulls, offsets, heartbeats, locks, queries.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may panic, and looks at files and clocks"
)]

#[path = "consume/backs.rs"]
mod backs;
#[path = "consume/clients.rs"]
mod clients;
#[path = "consume/conflicts.rs"]
mod conflicts;
#[path = "consume/explain.rs"]
mod explain;
#[path = "consume/filters.rs"]
mod filters;
#[path = "consume/golden.rs"]
mod golden;
#[path = "consume/life.rs"]
#[allow(dead_code, reason = "shared with produce.rs; each uses a part of it")]
mod life;
#[path = "consume/limits.rs"]
mod limits;
#[path = "consume/locks.rs"]
mod locks;
#[path = "consume/offset_faults.rs"]
mod offset_faults;
#[path = "consume/offsets.rs"]
mod offsets;
#[path = "consume/pop_crash.rs"]
mod pop_crash;
#[path = "consume/pop_faults.rs"]
mod pop_faults;
#[path = "consume/pops.rs"]
mod pops;
#[path = "consume/pulls.rs"]
mod pulls;
#[path = "consume/queries.rs"]
mod queries;
#[path = "consume/relays.rs"]
mod relays;
#[path = "consume/resets.rs"]
mod resets;
#[path = "consume/rig.rs"]
mod rig;
