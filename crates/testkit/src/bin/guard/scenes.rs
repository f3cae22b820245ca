// SPDX-License-Identifier: Apache-2.0
//! The scenes: what the broker is asked while it is counted. Requests are those of a client of the reference with default
//! settings, in JSON; every run sends the same bytes, but for the handles of leases.

use crate::client::Client;
use anyhow::ensure;
use std::ops::Range;
use wire::Str;
use wire::api::pop::{AckMessage, PopMessage, PopReply};
use wire::api::pull::PullMessage;
use wire::api::send::{SendBatchMessage, SendMessageV2};
use wire::batch::{SubMessage, encode_sub_message};
use wire::frame::Frame;
use wire::properties::{Properties, name};
use wire::receipt::Receipt;
use wire::record::RecordHead;

/// Something to count.
pub(crate) struct Scene {
    /// Also that of its topic.
    pub(crate) name: &'static str,
    /// So many are counted.
    pub(crate) messages: usize,
    /// Bytes of each.
    body: usize,
    work: Work,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    /// Single messages, so many requests written at once.
    Send { together: usize },
    /// Requests of [`MANY`] messages, one at a time.
    Batch,
    /// The same number, read by pulls, one at a time.
    Pull,
    /// Read by pops; each message is acknowledged by a request, all of one pop written at once.
    Pop,
}

/// Messages of a batch, a pull or a pop.
const MANY: usize = 32;
/// Messages in the queue that is pulled; then the pulls begin again. Few enough to stay in memory.
const PULLED: usize = 4096;
/// Queues that are sent to in turn, as a producer does.
const QUEUES: usize = 8;
const GROUP: &str = "guard";
const BROKER: &str = "broker-a";
/// Longer than any run.
const INVISIBLE_MS: i64 = 3_600_000;
/// The pull may be held, and brings its subscription with it.
const SUSPEND_AND_SUBSCRIPTION: i32 = 2 | 4;

/// All of them, in the order in which they are played.
pub(crate) const SCENES: [Scene; 8] = [
    scene("send-128-x32", 16_384, 128, Work::Send { together: 32 }),
    scene("send-1k-x32", 16_384, 1024, Work::Send { together: 32 }),
    scene("send-128-x1", 8192, 128, Work::Send { together: 1 }),
    scene("batch-128", 32_768, 128, Work::Batch),
    scene("batch-1k", 32_768, 1024, Work::Batch),
    scene("pull-128", 65_536, 128, Work::Pull),
    scene("pull-1k", 65_536, 1024, Work::Pull),
    scene("pop-ack-128", 8192, 128, Work::Pop),
];

const fn scene(name: &'static str, messages: usize, body: usize, work: Work) -> Scene {
    Scene {
        name,
        messages,
        body,
        work,
    }
}

impl Scene {
    /// What has to be there before so many messages are played.
    pub(crate) fn prepare(&self, client: &mut Client, messages: usize) -> anyhow::Result<()> {
        let filled = match self.work {
            Work::Send { .. } | Work::Batch => 0,
            Work::Pull => PULLED,
            Work::Pop => messages,
        };
        for number in (0..filled).step_by(MANY) {
            client.exchange(&[self.batch(number, 0)])?;
        }
        Ok(())
    }

    /// Plays messages of these numbers.
    pub(crate) fn play(&self, client: &mut Client, numbers: Range<usize>) -> anyhow::Result<()> {
        let step = match self.work {
            Work::Send { together } => together,
            Work::Batch | Work::Pull | Work::Pop => MANY,
        };
        for number in numbers.step_by(step) {
            match self.work {
                Work::Send { together } => {
                    let requests: Vec<Frame> = (number..number + together).map(|n| self.send(n)).collect();
                    client.exchange(&requests)?;
                }
                Work::Batch => {
                    client.exchange(&[self.batch(number, number / MANY % QUEUES)])?;
                }
                Work::Pull => {
                    let answers = client.exchange(&[self.pull(number % PULLED)])?;
                    offsets(&answers[0])?;
                }
                Work::Pop => {
                    let answers = client.exchange(&[self.pop()])?;
                    client.exchange(&self.acks(&answers[0])?)?;
                }
            }
        }
        Ok(())
    }

    fn header(&self, number: usize, queue: usize) -> SendMessageV2 {
        SendMessageV2 {
            producer_group: GROUP.into(),
            topic: self.name.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: QUEUES as i32,
            queue_id: queue as i32,
            born_timestamp: 1_760_000_000_000,
            properties: Some(properties(number)),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(false),
            bname: Some(BROKER.into()),
            ..SendMessageV2::default()
        }
    }

    fn send(&self, number: usize) -> Frame {
        let header = self.header(number, number % QUEUES);
        Frame::request(number as i32, &header).with_body(vec![b'x'; self.body])
    }

    fn batch(&self, number: usize, queue: usize) -> Frame {
        let mut messages = Vec::new();
        let body = vec![b'x'; self.body];
        for number in number..number + MANY {
            let properties = properties(number);
            let message = SubMessage {
                flag: 0,
                body: &body,
                properties: properties.as_bytes(),
            };
            encode_sub_message(&mut messages, &message);
        }
        let header = SendMessageV2 {
            batch: Some(true),
            ..self.header(number, queue)
        };
        Frame::request(number as i32, &SendBatchMessage(header)).with_body(messages)
    }

    fn pull(&self, offset: usize) -> Frame {
        let header = PullMessage {
            consumer_group: GROUP.into(),
            topic: self.name.into(),
            queue_offset: offset as i64,
            max_msg_nums: MANY as i32,
            sys_flag: SUSPEND_AND_SUBSCRIPTION,
            suspend_timeout_millis: 15_000,
            subscription: Some("*".into()),
            expression_type: Some("TAG".into()),
            ..PullMessage::default()
        };
        Frame::request(offset as i32, &header)
    }

    fn pop(&self) -> Frame {
        let header = PopMessage {
            consumer_group: GROUP.into(),
            topic: self.name.into(),
            max_msg_nums: MANY as i32,
            invisible_time: INVISIBLE_MS,
            poll_time: 15_000,
            exp_type: Some("TAG".into()),
            exp: Some("*".into()),
            order: Some(false),
            ..PopMessage::default()
        };
        Frame::request(0, &header)
    }

    /// One for each message of the answer to a pop.
    fn acks(&self, answer: &Frame) -> anyhow::Result<Vec<Frame>> {
        let reply: PopReply = answer.ext.read()?;
        let offsets = offsets(answer)?;
        let receipt = Receipt {
            start_offset: offsets[0],
            pop_time: reply.pop_time,
            invisible_time: reply.invisible_time,
            revive_qid: reply.revive_qid,
            broker_name: BROKER.into(),
        };
        let ack = |offset: i64| AckMessage {
            consumer_group: GROUP.into(),
            topic: self.name.into(),
            queue_id: 0,
            extra_info: receipt.handle(self.name, 0, offset).into(),
            offset,
        };
        let acks = offsets.into_iter().map(ack);
        Ok(acks.map(|ack| Frame::request(ack.offset as i32, &ack)).collect())
    }
}

/// Those that the default producer gives a message, and a tag.
fn properties(number: usize) -> Str {
    let mut all = Properties::default();
    all.push(name::UNIQ_KEY, &format!("7F00000100000000000000000{number:07}"));
    all.push(name::WAIT, "true");
    all.push(name::TAGS, "tag-a");
    String::from_utf8_lossy(all.as_bytes()).as_ref().into()
}

/// Of the messages in an answer, which must be as many as were asked for.
fn offsets(answer: &Frame) -> anyhow::Result<Vec<i64>> {
    let mut offsets = Vec::new();
    let mut rest: &[u8] = &answer.body;
    while !rest.is_empty() {
        let record = RecordHead::scan(rest)?;
        offsets.push(record.stamp.queue_offset);
        rest = rest.get(record.total_size..).unwrap_or_default();
    }
    ensure!(offsets.len() == MANY, "{} messages in an answer", offsets.len());
    Ok(offsets)
}
