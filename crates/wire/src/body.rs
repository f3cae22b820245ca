// SPDX-License-Identifier: Apache-2.0
//! JSON bodies, shared by requests, replies and configuration files.
//!
//! Fields stand in alphabetical order, as the reference writes them. Reading never misses a field: what is absent or null
//! takes its default. Read and written with `fastjson`.

pub mod compaction;
pub mod config;
pub mod conflict;
pub mod explain;
pub mod filter;
pub mod group;
pub mod ha;
pub mod pop;
pub mod queue;
pub mod register;
pub mod running;
pub mod stats;
pub mod subscription;
pub mod timer;
pub mod topic;
pub mod topic_route;
pub mod transaction;
