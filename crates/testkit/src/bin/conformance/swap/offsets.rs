// SPDX-License-Identifier: Apache-2.0
//! What a group has read, after a kill, between the two brokers: our journal beside `consumerOffset.json` counts for us,
//! and for nothing once the reference has written that file.

use super::Relay;
use super::ways::{ask, make_topic, send};
use anyhow::ensure;
use std::path::Path;
use std::time::Duration;
use testkit::line::{Line, request};
use testkit::process::eventually;
use testkit::server::{Plan, Program};
use wire::code::Code;
use wire::frame::Encoding;

const TOPIC: &str = "SwapOffsets";
const GROUP: &str = "CG_swap_offsets";
/// A commit is in the journal, and in the reference's file, well before.
const WRITTEN_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn run(dir: &Path, programs: [&Program; 2], relay: &mut Relay<'_>) {
    relay.tell("offsets after kills".to_owned(), hand_over(dir, programs));
}

fn hand_over(dir: &Path, [reference, barque]: [&Program; 2]) -> anyhow::Result<()> {
    let nameserver = Plan::new(barque, &dir.join("names")).start_nameserver()?;
    let start = |program: &Program| {
        let plan = Plan::new(program, dir).known_to(nameserver.nameserver());
        // Ours is to live by its journal alone.
        match program {
            Program::Barque(_) => plan.set("flushConsumerOffsetInterval", "3600000"),
            Program::Reference(_) => plan.set("flushConsumerOffsetInterval", "1000"),
        }
        .start_broker()
    };
    let journal = journal_bytes(dir);
    let broker = start(barque)?;
    let mut line = Line::open(broker.broker())?;
    make(&mut line)?;
    for n in 0..10 {
        // A start after a crash takes back offsets beyond the end of a queue.
        send(&mut line, TOPIC, &format!("UNIQ_KEY\u{1}{n}\u{2}"), b"x", false)?;
    }
    for offset in 1..=5 {
        commit(&mut line, offset)?;
    }
    eventually("the journal", WRITTEN_WITHIN, || {
        Ok(journal_bytes(dir) > journal + 60)
    })?;
    broker.kill()?;

    let broker = start(barque)?;
    let mut line = Line::open(broker.broker())?;
    let found = committed(&mut line)?;
    ensure!(found == Some(5), "after a kill of ours: {found:?} instead of 5");
    // Into the file, and something newer beside it.
    broker.stop()?;
    let broker = start(barque)?;
    commit_for_good(&mut Line::open(broker.broker())?, dir, 9)?;
    broker.kill()?;

    // The reference knows what was in the file, and goes on from there.
    let broker = start(reference)?;
    let mut line = Line::open(broker.broker())?;
    let found = committed(&mut line)?;
    ensure!(found == Some(5), "the reference finds {found:?} instead of 5");
    commit(&mut line, 7)?;
    broker.stop()?;

    let broker = start(barque)?;
    let found = committed(&mut Line::open(broker.broker())?)?;
    ensure!(found == Some(7), "after the reference: {found:?} instead of 7");
    broker.stop()?;
    nameserver.stop()?;
    Ok(())
}

/// Of the journal, wherever the store of the directory is.
fn journal_bytes(dir: &Path) -> u64 {
    let store = dir.join("store/config/consumerOffset.journal");
    let files = std::fs::read_dir(store).into_iter().flatten().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
}

fn make(line: &mut Line) -> anyhow::Result<()> {
    make_topic(line, TOPIC, "")?;
    let group = format!("{{\"groupName\":\"{GROUP}\"}}");
    let code = Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    ask(line, code, &[], group.as_bytes())?;
    Ok(())
}

fn commit(line: &mut Line, offset: i64) -> anyhow::Result<()> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("commitOffset", &*offset.to_string()),
    ];
    ask(line, Code::UPDATE_CONSUMER_OFFSET, &fields, b"")?;
    Ok(())
}

/// Returns when the commit is in our journal.
fn commit_for_good(line: &mut Line, dir: &Path, offset: i64) -> anyhow::Result<()> {
    let before = journal_bytes(dir);
    commit(line, offset)?;
    eventually("the journal", WRITTEN_WITHIN, || Ok(journal_bytes(dir) > before))
}

fn committed(line: &mut Line) -> anyhow::Result<Option<i64>> {
    let fields = [
        ("consumerGroup", GROUP),
        ("topic", TOPIC),
        ("queueId", "0"),
        ("setZeroIfNotFound", "false"),
    ];
    let answer = line.ask(request(Code::QUERY_CONSUMER_OFFSET, &fields, b""), Encoding::Json)?;
    Ok(answer.ext.get("offset").and_then(|offset| offset.parse().ok()))
}
