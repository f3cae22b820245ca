// SPDX-License-Identifier: Apache-2.0
//! Topics: what there is, where it is, how it is kept.

pub(super) mod list;
pub(super) mod order;
pub(super) mod route;
pub(super) mod status;
pub(super) mod update;
