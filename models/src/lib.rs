// SPDX-License-Identifier: Apache-2.0
//! The pieces of the store that threads share, run through all interleavings that their memory orders allow (loom). `handover` and
//! `bell` are the very files of the product, with loom's types for those of `sync`; the others are models, and say of what.
//!
//! `cargo xtask models` runs them. A workspace of its own, so that the product does not depend on loom.

#![cfg(test)]

#[path = "../../crates/store/src/bell.rs"]
#[expect(dead_code, reason = "what waits here is a thread, and never a task")]
mod bell;
mod gates;
mod handed;
#[path = "../../crates/store/src/handover.rs"]
mod handover;
mod rung;
mod sync;
mod syncing;
mod waiting;
