// SPDX-License-Identifier: Apache-2.0
//! Consumer groups: how they are kept, and how they consume.

pub(super) mod batch;
pub(super) mod config;
pub(super) mod delete;
pub(super) mod mode;
pub(super) mod update;
