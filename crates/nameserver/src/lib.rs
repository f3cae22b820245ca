// SPDX-License-Identifier: Apache-2.0
//! The name server: which broker has which topic, and where.
//!
//! All routes are in memory and come from the brokers; name servers do not know each other. Only the key-value table
//! and changed settings are on disk. [`registry`] decides, without a clock or a socket; the rest is the shell around
//! it: [`routes`] lists the requests, [`kv`] keeps the table, `liveness` drops brokers that are gone.

pub mod config;
pub mod kv;
mod liveness;
mod lookup;
mod metrics;
pub mod nameserver;
mod notify;
mod register;
pub mod registry;
mod route;
pub mod routes;
mod settings;
mod table;

pub use metrics::METRICS;
