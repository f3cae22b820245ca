// SPDX-License-Identifier: Apache-2.0
//! Consumers that run: what each says of itself, and what is odd about it.

mod info;
pub(super) mod monitor;
pub(super) mod status;
