// SPDX-License-Identifier: Apache-2.0
//! Single brokers: how they do, what they are set to, what they clean up.

pub(super) mod config;
pub(super) mod status;
