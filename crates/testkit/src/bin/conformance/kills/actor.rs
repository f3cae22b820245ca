// SPDX-License-Identifier: Apache-2.0
//! Who loads the server and looks afterwards: what all of them share. Each knows what it was promised, in its own memory, which
//! survives every kill.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use testkit::line::{Line, request};
use testkit::process::eventually;
use wire::code::Code;
use wire::frame::{Encoding, Frame};
use wire::record::Record;

/// The server that runs now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) broker: SocketAddr,
    pub(crate) nameserver: Option<SocketAddr>,
    /// Counts from 1.
    pub(crate) life: usize,
}

/// What is promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Under SYNC_FLUSH; else ASYNC_FLUSH.
    pub(crate) is_sync: bool,
    /// The power is cut, too.
    pub(crate) has_cuts: bool,
}

impl Rules {
    /// What was acknowledged may be gone.
    pub(crate) fn may_lose(self) -> bool {
        self.has_cuts && !self.is_sync
    }

    /// What was acknowledged so long before a kill is there after it, where the journals of offsets and leases keep it.
    pub(crate) fn journal_delay(self) -> Duration {
        if self.is_sync {
            Duration::ZERO
        } else {
            Duration::from_secs(1)
        }
    }
}

/// What came before a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) at: At,
    pub(crate) rules: Rules,
    pub(crate) killed: Instant,
    pub(crate) killed_ms: i64,
    /// When the next one was, while it started.
    pub(crate) killed_again_ms: Option<i64>,
    /// Look at everything, not only at what is new.
    pub(crate) is_whole: bool,
}

/// Loads the server with one kind of thing.
pub(crate) trait Actor: Send {
    /// What it needs, before the first round.
    fn prepare(&mut self, at: At) -> anyhow::Result<()>;
    /// Goes on until something fails, which is returned.
    fn load(&mut self, at: At) -> anyhow::Error;
    /// Looks after a restart.
    fn look(&mut self, after: &After, verdict: &mut Verdict) -> anyhow::Result<()>;
    /// What has to come in the end: looks for it when there is no more load.
    fn end(&mut self, _after: &After, _verdict: &mut Verdict) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// How many things of each kind were promised, or seen and fine.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// The largest values of some kinds.
    pub(crate) most: BTreeMap<&'static str, u64>,
    /// How many promises of each kind were not kept.
    pub(crate) broken: BTreeMap<&'static str, u64>,
    /// Of those, the first ones in words.
    pub(crate) examples: Vec<String>,
    /// Where we are, for the words.
    pub(crate) place: String,
}

const EXAMPLES: usize = 40;

impl Verdict {
    pub(crate) fn count(&mut self, what: &'static str, more: usize) {
        *self.counts.entry(what).or_default() += more as u64;
    }

    pub(crate) fn note_most(&mut self, what: &'static str, value: u64) {
        let most = self.most.entry(what).or_default();
        *most = value.max(*most);
    }

    pub(crate) fn against(&mut self, what: &'static str, words: impl FnOnce() -> String) {
        *self.broken.entry(what).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            let Verdict { examples, place, .. } = self;
            examples.push(format!("{place}: {what}: {}", words()));
        }
    }
}

/// The clock of messages.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}

/// Asks, whatever the answer.
pub(crate) fn ask(
    line: &mut Line,
    code: Code,
    fields: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Frame> {
    line.ask(request(code, fields, body), Encoding::Json)
}

/// Asks what must be answered with success.
pub(crate) fn must(
    line: &mut Line,
    code: Code,
    fields: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Frame> {
    let answer = ask(line, code, fields, body)?;
    if answer.code != 0 {
        bail!("{code} {fields:?}: {} {:?}", answer.code, answer.remark);
    }
    Ok(answer)
}

/// A number of a header.
pub(crate) fn number(answer: &Frame, name: &str) -> anyhow::Result<i64> {
    let text = answer.ext.get(name).with_context(|| format!("no {name}"))?;
    Ok(text.parse()?)
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: u32,
    pub(crate) properties: &'a str,
    pub(crate) sys_flag: i32,
    pub(crate) is_batch: bool,
    pub(crate) body: &'a [u8],
}

/// Where it is, if the server took it: queue offset and message id.
pub(crate) fn send(line: &mut Line, letter: &Letter<'_>) -> anyhow::Result<Option<(i64, String)>> {
    let born = now_ms().to_string();
    let fields = [
        ("a", "PG"),
        ("b", letter.topic),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", &*letter.queue.to_string()),
        ("f", &*letter.sys_flag.to_string()),
        ("g", &*born),
        ("h", "0"),
        ("i", letter.properties),
        ("j", "0"),
        ("m", if letter.is_batch { "true" } else { "false" }),
    ];
    let code = if letter.is_batch {
        Code::SEND_BATCH_MESSAGE
    } else {
        Code::SEND_MESSAGE_V2
    };
    let answer = ask(line, code, &fields, letter.body)?;
    if answer.code != 0 {
        return Ok(None);
    }
    let id = answer.ext.get("msgId").unwrap_or_default();
    Ok(Some((number(&answer, "queueOffset")?, id.to_string())))
}

/// Makes a topic, or changes it.
pub(crate) fn make_topic(line: &mut Line, topic: &str, queues: u32) -> anyhow::Result<Frame> {
    let queues = queues.to_string();
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &*queues),
        ("writeQueueNums", &*queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    ask(line, Code::UPDATE_AND_CREATE_TOPIC, &fields, b"")
}

/// Makes a group, or changes it.
pub(crate) fn make_group(line: &mut Line, group: &str, retries: usize) -> anyhow::Result<Frame> {
    let body = format!("{{\"groupName\":\"{group}\",\"retryMaxTimes\":{retries}}}");
    ask(
        line,
        Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP,
        &[],
        body.as_bytes(),
    )
}

/// One look at a queue, without a commit: what there is from an offset on, and where to go on; `None` at its end.
pub(crate) fn pull(
    line: &mut Line,
    (topic, queue): (&str, u32),
    from: i64,
) -> anyhow::Result<Option<(Vec<Record>, i64)>> {
    let fields = [
        ("consumerGroup", "CG_look"),
        ("topic", topic),
        ("queueId", &*queue.to_string()),
        ("queueOffset", &*from.to_string()),
        ("maxMsgNums", "1000"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "1"),
        ("expressionType", "TAG"),
    ];
    let answer = ask(line, Code::PULL_MESSAGE, &fields, b"")?;
    match answer.code {
        0 => {
            let records = Record::decode_all(&answer.body).collect::<Result<Vec<_>, _>>()?;
            Ok(Some((records, number(&answer, "nextBeginOffset")?)))
        }
        // Nothing there; the offset is beyond the end, or before the beginning.
        19 | 21 => Ok(None),
        20 => Ok(Some((Vec::new(), number(&answer, "nextBeginOffset")?))),
        code => bail!(
            "a pull of {topic} {queue} from {from}: {code} {:?}",
            answer.remark
        ),
    }
}

/// All that is in a queue from an offset on.
pub(crate) fn read(line: &mut Line, queue: (&str, u32), from: i64) -> anyhow::Result<Vec<Record>> {
    let (mut all, mut next) = (Vec::new(), from);
    while let Some((records, behind)) = pull(line, queue, next)? {
        all.extend(records);
        next = behind.max(next);
    }
    Ok(all)
}

/// Waits for something that a server that runs does by itself. Whether it came.
pub(crate) fn in_the_end(
    within: Duration,
    mut probe: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<bool> {
    let (mut failed, mut came) = (None, false);
    let waited = eventually("the end", within, || {
        match probe() {
            Ok(holds) => came = holds,
            Err(error) => failed = Some(error),
        }
        Ok(came || failed.is_some())
    });
    match failed {
        Some(error) => Err(error),
        // That the time is over is for the caller to tell.
        None => Ok(waited.is_ok() && came),
    }
}

/// The words of a body, as long as they are numbers.
pub(crate) fn numbers(body: &[u8]) -> Vec<usize> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    text.split(' ').map_while(|word| word.parse().ok()).collect()
}

/// A body that says who sent it and its number, of some length, and nothing like another one.
pub(crate) fn body_of(sender: usize, number: usize) -> Vec<u8> {
    let mut body = format!("{sender} {number} -").into_bytes();
    let mut state = (sender * 7919 + number) as u64 | 1;
    for _ in 0..number * 37 % 400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        body.push(b'a' + (state >> 59) as u8 % 26);
    }
    body
}
