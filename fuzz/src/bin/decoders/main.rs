// SPDX-License-Identifier: Apache-2.0
//! What reads bytes of peers and of files, without a file or a socket. One program for all of them: they
//! share what takes long to build. `FUZZ_TARGET` says which one runs.
#![no_main]
#![expect(clippy::disallowed_methods, reason = "the macro of libFuzzer opens a file")]

mod batch;
mod bodies;
mod ext;
mod fastjson;
mod frame;
mod ha;
mod java_properties;
mod message_id;
mod properties;
mod receipt;
mod record;
mod registration;

use fuzz::Target;
use libfuzzer_sys::fuzz_target;

const TARGETS: &[(&str, Target)] = &[
    ("batch", batch::run),
    ("bodies", bodies::run),
    ("ext", ext::run),
    ("fastjson", fastjson::run),
    ("frame", frame::run),
    ("ha", ha::run),
    ("java_properties", java_properties::run),
    ("message_id", message_id::run),
    ("properties", properties::run),
    ("receipt", receipt::run),
    ("record", record::run),
    ("registration", registration::run),
];

fuzz_target!(|bytes: &[u8]| fuzz::run(TARGETS, bytes));
