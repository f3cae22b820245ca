// SPDX-License-Identifier: Apache-2.0
//! What tests share: a cluster inside the test's own process, the servers as processes of their own (ours and the Java
//! reference), a bare connection to any of them, and the comparison of two servers request by request.
//! Nothing here is part of the product.

pub mod cluster;
pub mod diff;
pub mod golden;
pub mod line;
pub mod power;
pub mod process;
pub mod programs;
pub mod server;
