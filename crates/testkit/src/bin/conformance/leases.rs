// SPDX-License-Identifier: Apache-2.0
//! Pops and acknowledgements, with the handles that clients make from the answers.

use anyhow::Context as _;
use bytes::Bytes;
use testkit::line::{Line, request};
use testkit::server::BROKER;
use wire::code::Code;
use wire::frame::{Encoding, Frame};
use wire::receipt::Receipt;
use wire::record::Record;

/// A group that pops from a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leases {
    pub(crate) topic: &'static str,
    pub(crate) group: &'static str,
}

/// A message with its handle.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) body: Bytes,
    queue_id: i32,
    offset: i64,
    /// Where it is acknowledged.
    topic: String,
    handle: String,
}

impl Leases {
    /// Asks for so many messages of any queue; none is fine.
    pub(crate) fn pop(&self, line: &mut Line, max: usize, invisible_ms: i64) -> anyhow::Result<Vec<Got>> {
        let fields = [
            ("consumerGroup", self.group),
            ("topic", self.topic),
            ("queueId", "-1"),
            ("maxMsgNums", &*max.to_string()),
            ("invisibleTime", &*invisible_ms.to_string()),
            ("pollTime", "0"),
            ("bornTime", "0"),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", "*"),
            ("order", "false"),
        ];
        let answer = line.ask(request(Code::POP_MESSAGE, &fields, b""), Encoding::Json)?;
        if answer.code != 0 {
            return Ok(Vec::new());
        }
        let number = |name| -> anyhow::Result<i64> {
            let text = answer.ext.get(name).with_context(|| format!("no {name}"))?;
            Ok(text.parse()?)
        };
        let receipt = Receipt {
            start_offset: 0,
            pop_time: number("popTime")?,
            invisible_time: number("invisibleTime")?,
            revive_qid: i32::try_from(number("reviveQid")?)?,
            broker_name: BROKER.into(),
        };
        let starts = answer.ext.get("startOffsetInfo").unwrap_or_default();
        Record::decode_all(&answer.body)
            .map(|record| self.handed_out(record?, &receipt, &starts))
            .collect()
    }

    fn handed_out(&self, record: Record, receipt: &Receipt, starts: &str) -> anyhow::Result<Got> {
        let queue_id = i32::try_from(record.queue_id)?;
        let (topic, handle) = match record.property("POP_CK") {
            // It bears the name of the topic, and was in the retry topic.
            Some(handle) => (format!("%RETRY%{}_{}", self.group, self.topic), handle.to_owned()),
            None => {
                let begin = format!("0 {queue_id} ");
                let start = starts.split(';').find_map(|entry| entry.strip_prefix(&begin));
                let receipt = Receipt {
                    start_offset: start.context("no start offset")?.parse()?,
                    ..receipt.clone()
                };
                let handle = receipt.handle(self.topic, queue_id, record.queue_offset);
                (self.topic.to_owned(), handle)
            }
        };
        Ok(Got {
            body: record.body,
            queue_id,
            offset: record.queue_offset,
            topic,
            handle,
        })
    }

    /// Says that it is consumed.
    pub(crate) fn acknowledge(&self, line: &mut Line, got: &Got) -> anyhow::Result<Frame> {
        let fields = [
            ("consumerGroup", self.group),
            ("topic", &*got.topic),
            ("queueId", &*got.queue_id.to_string()),
            ("extraInfo", &*got.handle),
            ("offset", &*got.offset.to_string()),
        ];
        line.ask(request(Code::ACK_MESSAGE, &fields, b""), Encoding::Json)
    }
}
