// SPDX-License-Identifier: Apache-2.0
//! Writing down what a cluster has: settings, tables, counts.

pub(super) mod configs;
mod json;
pub(super) mod metadata;
pub(super) mod metrics;
pub(super) mod pop;
pub(super) mod rocksdb;
mod tables;

use std::io;
use std::path::Path;

use serde::Serialize;

use crate::ctx::Ctx;
use crate::failure::Failure;
use json::Json;

/// Where files go when nothing else is said, as in the reference.
const DIRECTORY: &str = "/tmp/rocketmq/export";

/// A file that was written.
#[derive(Serialize)]
struct Written<'a> {
    file: &'a str,
}

/// Writes a document, and says so.
fn write(ctx: &Ctx, file: &str, document: &Json, end: &str) -> Result<(), Failure> {
    let text = wire::fastjson::to_vec_pretty(document);
    let path = Path::new(file);
    let save = || -> io::Result<()> {
        let disk = &ctx.env.disk;
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            disk.make_dirs(dir)?;
        }
        disk.create(path, 0)?.write_at(&text, 0)
    };
    save().map_err(|error| {
        Failure::Other(format!(
            "{file} cannot be written: {error}; say another place with -f"
        ))
    })?;
    ctx.row(&Written { file }, || format!("export {file} success{end}"));
    Ok(())
}
