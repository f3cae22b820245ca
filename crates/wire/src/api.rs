// SPDX-License-Identifier: Apache-2.0
//! Typed headers, one struct per request and per reply, named after the request code.
//!
//! The fields are the protocol: their wire names are the serde names, every value travels as a string. What a peer must
//! send is a plain field, the rest is an `Option`. Fields any request may carry besides (`bname`, `ns`, `nsd`, `oway`,
//! `lo`, signatures) stay in `Ext`.

pub mod auth;
pub mod clean;
pub mod config;
pub mod elsewhere;
pub mod explain;
pub mod group;
pub mod ha;
pub mod heartbeat;
pub mod kv;
pub mod lock;
pub mod offset;
pub mod pop;
pub mod pull;
pub mod query;
pub mod register;
pub mod route;
pub mod send;
pub mod stats;
pub mod timer;
pub mod topic;
pub mod transaction;
