// SPDX-License-Identifier: Apache-2.0
//! What needs the broker or the store: expressions, damaged files, requests over real connections. One program for all of them: they
//! share what takes long to build. `FUZZ_TARGET` says which one runs.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro of libFuzzer opens a file")]

mod broker;
mod journal;
mod nameserver;
mod sql;
mod store;
mod tables;
mod timers;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

const TARGETS: &[(&str, Target)] = &[
    ("broker", broker::run),
    ("journal", journal::run),
    ("nameserver", nameserver::run),
    ("sql", sql::run),
    ("store", store::run),
    ("tables", tables::run),
    ("timers", timers::run),
];

fuzz_target!(|bytes: &[u8]| fuzz::run(TARGETS, bytes));
