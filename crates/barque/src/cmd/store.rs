// SPDX-License-Identifier: Apache-2.0
//! `barque store`: what is said about the directory of a broker that is stopped. What is looked at and mended is decided by
//! `store::inspect`.

use crate::{cli, cmd, configuration, report};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use store::StoreConfig;
use store::env::Env;
use store::inspect::{self, DumpFilter, DumpedQueue, DumpedRecord, Finding, Mend, Repaired, Report};

/// Something is wrong with the store.
const WRONG: u8 = 1;
/// It cannot be looked at.
const REFUSED: u8 = 2;

pub(crate) fn run(options: &cli::store::Store) -> ExitCode {
    let done = match &options.command {
        cli::store::Command::Check(options) => check(options),
        cli::store::Command::Repair(options) => repair(options),
        cli::store::Command::Dump(options) => dump(options),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", report::one_line(&error));
            ExitCode::from(REFUSED)
        }
    }
}

/// What the store is opened with.
fn settings(place: &cli::store::Place) -> anyhow::Result<StoreConfig> {
    let (mut config, _) = configuration::broker(place.config.as_deref(), &place.settings)?;
    if let Some(dir) = &place.dir {
        let Some(dir) = dir.to_str() else {
            bail!("{} is not UTF-8", dir.display());
        };
        config.set("storePathRootDir", dir)?;
    } else if place.config.is_none() {
        bail!("which store? Name its directory, or the configuration of its broker with -c");
    }
    config.complete(&configuration::surroundings())?;
    let store = config.store();
    if place.config.is_some() || !place.settings.set.is_empty() {
        return Ok(store);
    }
    let root = store.root.clone();
    let measured = inspect::measured(store, &*Env::real().disk);
    measured.with_context(|| format!("cannot look at {}", root.display()))
}

fn check(options: &cli::store::Check) -> anyhow::Result<ExitCode> {
    let config = settings(&options.place)?;
    let report = inspect::check(&config, &Env::real())?;
    if options.place.json {
        cmd::print(&format!("{}\n", to_json(&report)));
    } else {
        cmd::print(&told(&report, &config.root));
    }
    Ok(code_of(&report))
}

fn code_of(report: &Report) -> ExitCode {
    if report.findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(WRONG)
    }
}

/// The findings, a line each, and what was looked at.
fn told(report: &Report, root: &Path) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        text.push_str(&line(finding, root));
        text.push('\n');
    }
    let totals = &report.totals;
    let found = match report.findings.len() {
        0 => "sound".to_owned(),
        1 => "1 finding".to_owned(),
        many => format!("{many} findings"),
    };
    let (begin, end) = report.log;
    text.push_str(&format!(
        "{found}: {} records in the log from {begin} to {end}, {} entries in {} queues, {} in the key index, {} timers, {} tables{}\n",
        totals.records,
        totals.entries,
        totals.queues,
        totals.index_entries,
        totals.timers,
        totals.tables,
        if report.is_abnormal {
            "; the last broker was killed, the next start completes what is derived"
        } else {
            ""
        },
    ));
    text
}

fn line(finding: &Finding, root: &Path) -> String {
    let at = finding.at.map(|at| format!(" at byte {at}")).unwrap_or_default();
    let lost = match finding.lost.as_str() {
        "" => String::new(),
        lost => format!("; lost: {lost}"),
    };
    let mended = match finding.mend {
        Mend::Start => "mended by the next start".to_owned(),
        Mend::Repair => format!("mended by: barque store repair --write {}", root.display()),
        Mend::Copy => "mended only by a copy of the file".to_owned(),
    };
    let (kind, file, what) = (finding.kind, finding.file.display(), &finding.what);
    format!("{kind} {file}{at}: {what}{lost}; {mended}")
}

fn to_json(report: &Report) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "kind": finding.kind,
                "file": finding.file.display().to_string(),
                "at": finding.at,
                "what": finding.what,
                "lost": finding.lost,
                "mend": match finding.mend {
                    Mend::Start => "start",
                    Mend::Repair => "repair",
                    Mend::Copy => "copy",
                },
            })
        })
        .collect();
    let totals = &report.totals;
    json!({
        "findings": findings,
        "log": { "begin": report.log.0, "end": report.log.1 },
        "killed": report.is_abnormal,
        "records": totals.records,
        "queues": totals.queues,
        "entries": totals.entries,
        "indexEntries": totals.index_entries,
        "timers": totals.timers,
        "tables": totals.tables,
    })
}

fn repair(options: &cli::store::Repair) -> anyhow::Result<ExitCode> {
    let config = settings(&options.place)?;
    let repaired = inspect::repair(&config, &Env::real(), !options.write)?;
    if options.place.json {
        cmd::print(&format!("{}\n", repaired_json(&repaired, options.write)));
    } else {
        cmd::print(&repaired_text(&repaired, options.write, &config.root));
    }
    Ok(code_of(&repaired.left))
}

fn repaired_json(repaired: &Repaired, is_written: bool) -> Value {
    let actions: Vec<Value> = repaired
        .actions
        .iter()
        .map(|action| json!({ "file": action.file.display().to_string(), "what": action.what }))
        .collect();
    json!({
        "written": is_written,
        "actions": actions,
        "copies": repaired.copies.as_ref().map(|dir| dir.display().to_string()),
        "left": to_json(&repaired.left),
    })
}

fn repaired_text(repaired: &Repaired, is_written: bool, root: &Path) -> String {
    let mut text = String::new();
    let done = if is_written { "done" } else { "would be done" };
    for action in &repaired.actions {
        text.push_str(&format!("{done}: {}: {}\n", action.file.display(), action.what));
    }
    match (&repaired.copies, repaired.actions.is_empty()) {
        (Some(copies), _) => text.push_str(&format!("what was replaced is kept in {}\n", copies.display())),
        (None, true) => text.push_str("nothing to do\n"),
        (None, false) => text.push_str("nothing was written; do it with --write\n"),
    }
    text.push_str(&told(&repaired.left, root));
    text
}

fn dump(options: &cli::store::Dump) -> anyhow::Result<ExitCode> {
    let config = settings(&options.place)?;
    let env = Env::real();
    let limit = options.limit.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    if options.queues {
        let queues = inspect::dump_queues(&config, &env)?;
        let wanted = |queue: &&DumpedQueue| {
            options.topic.as_ref().is_none_or(|topic| *topic == queue.topic)
                && options.queue.is_none_or(|id| id == queue.id)
        };
        for queue in queues
            .iter()
            .filter(wanted)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
        {
            // A pipe that nobody reads any more is no error.
            if writeln!(out, "{}", queue_line(queue, options.place.json)).is_err() {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let filter = DumpFilter {
        topic: options.topic.clone(),
        queue: options.queue,
        from: options.from,
        to: options.to,
        key: options.key.clone(),
    };
    let mut count = 0;
    inspect::dump(&config, &env, &filter, |record| {
        if count >= limit {
            return ControlFlow::Break(());
        }
        count += 1;
        match writeln!(out, "{}", record_line(&record, options)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn queue_line(queue: &DumpedQueue, is_json: bool) -> String {
    let kind = match queue.kind {
        store::QueueKind::Plain => "plain",
        store::QueueKind::Batch => "batch",
    };
    if is_json {
        let value = json!({
            "topic": queue.topic, "queue": queue.id, "kind": kind, "first": queue.first, "entries": queue.entries,
            "firstPosition": queue.first_pos, "lastPosition": queue.last_pos,
        });
        return value.to_string();
    }
    let pos = |pos: Option<i64>| pos.map_or("-".to_owned(), |pos| pos.to_string());
    format!(
        "{}/{} {kind} entries {} to {} positions {} to {}",
        queue.topic,
        queue.id,
        queue.first,
        queue.first + queue.entries,
        pos(queue.first_pos),
        pos(queue.last_pos),
    )
}

fn record_line(record: &DumpedRecord, options: &cli::store::Dump) -> String {
    let body = String::from_utf8_lossy(&record.body);
    if options.place.json {
        let mut value = json!({
            "position": record.pos, "size": record.size, "topic": record.topic, "queue": record.queue,
            "offset": record.offset, "storedAt": record.stored_ms, "keys": record.keys, "tags": record.tags,
            "state": record.state, "bodySize": record.body.len(),
        });
        if options.body
            && let Some(fields) = value.as_object_mut()
        {
            fields.insert("body".to_owned(), json!(body));
        }
        return value.to_string();
    }
    let (pos, size, state) = (record.pos, record.size, &record.state);
    if record.topic.is_empty() {
        return format!("{pos} {size} bytes {state}");
    }
    let mut text = format!(
        "{pos} {size} bytes {}/{} offset {} stored {} {state} body {} bytes",
        record.topic,
        record.queue,
        record.offset,
        record.stored_ms,
        record.body.len(),
    );
    for (name, value) in [("keys", &record.keys), ("tags", &record.tags)] {
        if !value.is_empty() {
            text.push_str(&format!(" {name} {}", value.escape_debug()));
        }
    }
    if options.body {
        text.push_str(&format!(" {}", body.escape_debug()));
    }
    text
}
