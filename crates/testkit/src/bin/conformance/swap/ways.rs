// SPDX-License-Identifier: Apache-2.0
//! What every store that changes hands has in common: both directions, each way of ending, and the plainest requests.

use super::{End, Relay};
use anyhow::ensure;
use std::path::{Path, PathBuf};
use testkit::line::{Line, request};
use testkit::server::{Plan, Program, Server};
use wire::code::Code;
use wire::frame::{Encoding, Frame};

/// What is handed over, and how it is told.
pub(super) struct Kind<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a [(&'a str, &'a str)],
    /// After each of these the other one must go on.
    pub(super) ends: &'a [End],
}

/// One store, in the hands of one program and then of another.
pub(super) struct HandOver<'a> {
    pub(super) dir: PathBuf,
    pub(super) from: &'a Program,
    pub(super) to: &'a Program,
    pub(super) end: End,
    nameserver: Server,
    settings: &'a [(&'a str, &'a str)],
}

impl HandOver<'_> {
    pub(super) fn start(&self, program: &Program) -> anyhow::Result<Server> {
        let mut plan = Plan::new(program, &self.dir).known_to(self.nameserver.nameserver());
        for (key, value) in self.settings {
            plan = plan.set(key, value);
        }
        plan.start_broker()
    }

    /// Ends the broker that had the store first.
    pub(super) fn leave(&self, broker: Server) -> anyhow::Result<()> {
        match self.end {
            End::Stopped => broker.stop(),
            End::Killed => broker.kill(),
        }
    }
}

/// Plays a hand-over from the reference to barque and back, after each end, and notes how it went.
pub(super) fn both_ways(
    kind: &Kind<'_>,
    dir: &Path,
    [reference, barque]: [&Program; 2],
    relay: &mut Relay<'_>,
    play: impl Fn(&HandOver<'_>) -> anyhow::Result<()>,
) {
    for (from, to, names) in [
        (reference, barque, "from reference to barque"),
        (barque, reference, "from barque to reference"),
    ] {
        for end in kind.ends {
            let way = end.way();
            let dir = dir.join(names.replace(' ', "-")).join(way);
            let played = || {
                let at = HandOver {
                    nameserver: Plan::new(to, &dir.join("names")).start_nameserver()?,
                    dir: dir.clone(),
                    from,
                    to,
                    end: *end,
                    settings: kind.settings,
                };
                play(&at)?;
                at.nameserver.stop()
            };
            relay.tell(format!("{} {names} after a {way}", kind.name), played());
        }
    }
}

/// Makes a topic of one queue.
pub(super) fn make_topic(line: &mut Line, topic: &str, attributes: &str) -> anyhow::Result<()> {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", "1"),
        ("writeQueueNums", "1"),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
        ("attributes", attributes),
    ];
    ask(line, Code::UPDATE_AND_CREATE_TOPIC, &fields, b"")?;
    Ok(())
}

/// Asks what must be answered with success.
pub(super) fn ask(
    line: &mut Line,
    code: Code,
    fields: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Frame> {
    let answer = line.ask(request(code, fields, body), Encoding::Json)?;
    ensure!(
        answer.code == 0,
        "{code} {fields:?}: {} {:?}",
        answer.code,
        answer.remark
    );
    Ok(answer)
}

/// Sends a message, or a batch of them, to the first queue.
pub(super) fn send(
    line: &mut Line,
    topic: &str,
    properties: &str,
    body: &[u8],
    is_batch: bool,
) -> anyhow::Result<Frame> {
    let fields = [
        ("a", "PG"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("m", if is_batch { "true" } else { "false" }),
    ];
    let code = if is_batch {
        Code::SEND_BATCH_MESSAGE
    } else {
        Code::SEND_MESSAGE_V2
    };
    ask(line, code, &fields, body)
}

/// Reads the first queue from an offset on, without waiting and without a commit.
pub(super) fn pull(line: &mut Line, topic: &str, offset: i64) -> anyhow::Result<Frame> {
    let fields = [
        ("consumerGroup", "CG_swap"),
        ("topic", topic),
        ("queueId", "0"),
        ("queueOffset", &offset.to_string()),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "1"),
        ("expressionType", "TAG"),
    ];
    line.ask(request(Code::PULL_MESSAGE, &fields, b""), Encoding::Json)
}
