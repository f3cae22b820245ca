// SPDX-License-Identifier: Apache-2.0
//! Topics: what there is, where it is, how it is kept.

pub(super) mod allocate;
pub(super) mod batch;
pub(super) mod delete;
pub(super) mod list;
pub(super) mod order;
pub(super) mod perm;
pub(super) mod route;
pub(super) mod status;
pub(super) mod update;
