// SPDX-License-Identifier: Apache-2.0
//! `dumpCompactionLog`: the messages in a file of a compacted topic, one a line, without their bodies.

use std::path::Path;

use wire::record::RECORD_BYTES_MIN;

use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::message::{Body, Message};
use crate::options::{Args, value};

pub(crate) const DUMP_COMPACTION_LOG: Command = Command {
    name: "dumpCompactionLog",
    about: "Parse compaction log to message.",
    options: &[value("f", "file", "to dump file name")],
    run: |ctx, args| Box::pin(async { run(ctx, args) }),
    ..Command::DEFAULT
};

/// No broker stores a larger record.
const RECORD_BYTES_MAX: usize = 256 << 20;

fn run(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let Some(name) = args.raw("f") else {
        ctx.say("miss dump log file name\n");
        return Err(Failure::Usage("say which file: -f <file>".to_owned()));
    };
    let path = Path::new(name);
    let wrong = |error: std::io::Error| Failure::Other(format!("the file {name} cannot be read: {error}"));
    let entry = ctx.env.disk.entry(path).map_err(wrong)?;
    let entry = entry.ok_or_else(|| Failure::Usage(format!("the file {name} does not exist")))?;
    if entry.is_dir {
        return Err(Failure::Usage(format!(
            "{name} is a directory; say one of the files in it"
        )));
    }
    let file = ctx.env.disk.open(path).map_err(wrong)?;
    let len = file.len().map_err(wrong)?;
    let mut at = 0;
    while at + 4 <= len && !ctx.is_closed() {
        let mut size = [0; 4];
        file.read_exact_at(&mut size, at).map_err(wrong)?;
        // The rest of a file that is not full is zeros.
        let size = i32::from_be_bytes(size);
        let Ok(size) = usize::try_from(size) else { break };
        if size == 0 || size as u64 > len - at {
            break;
        }
        let damaged = |why: &str| Failure::Other(format!("{name} is damaged at {at}: {why}"));
        if !(RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&size) {
            return Err(damaged("no record has that size"));
        }
        let mut record = vec![0; size];
        file.read_exact_at(&mut record, at).map_err(wrong)?;
        let message = Message::read_first(&record.into(), Body::Left).map_err(|why| damaged(&why))?;
        ctx.row(&message, || message.display() + "\n");
        at += size as u64;
    }
    Ok(())
}
