// SPDX-License-Identifier: Apache-2.0
//! Single brokers: how they do, what they are set to, what they clean up, how they replicate.

pub(super) mod clean;
pub(super) mod config;
pub(super) mod replication;
pub(super) mod status;
pub(super) mod timer;
