// SPDX-License-Identifier: Apache-2.0
//! Sending: the long-name and the short-name header, batches, replies, and sending back what failed.

use serde::{Deserialize, Serialize};

use crate::Str;
use crate::code::{Code, NoHeader, Request};
use crate::ext::letters::Letters;
use crate::ext::object::Object;
use crate::ext::{Ext, ExtError};

/// Sends one message; the long field names. Handlers work on this form whatever came in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// Group of the sender.
    pub producer_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Topic whose settings a new topic copies.
    pub default_topic: Str,
    /// Queues of a topic created on the fly.
    pub default_topic_queue_nums: i32,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Bit set, meaning depends on the request.
    pub sys_flag: i32,
    /// When the sender made the message, ms.
    pub born_timestamp: i64,
    /// User flag, opaque to the broker.
    pub flag: i32,
    /// Message properties, `name\x01value\x02` repeated.
    pub properties: Option<Str>,
    /// Deliveries that have failed so far.
    pub reconsume_times: Option<i32>,
    /// Unit (cell) mode of the client.
    pub unit_mode: Option<bool>,
    /// Failed deliveries after which a message is dead.
    pub max_reconsume_times: Option<i32>,
    /// The body holds several messages.
    pub batch: Option<bool>,
    /// Broker the sender meant, by name.
    pub bname: Option<Str>,
}

impl Request for SendMessage {
    const CODE: Code = Code::SEND_MESSAGE;
    type Reply = SendReceipt;
}

/// Sends one message; the one-letter field names every modern client uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendMessageV2 {
    /// Group of the sender.
    #[serde(rename = "a")]
    pub producer_group: Str,
    /// Topic asked about or written to.
    #[serde(rename = "b")]
    pub topic: Str,
    /// Topic whose settings a new topic copies.
    #[serde(rename = "c")]
    pub default_topic: Str,
    /// Queues of a topic created on the fly.
    #[serde(rename = "d")]
    pub default_topic_queue_nums: i32,
    /// Queue of the topic; -1 where the broker may choose.
    #[serde(rename = "e")]
    pub queue_id: i32,
    /// Bit set, meaning depends on the request.
    #[serde(rename = "f")]
    pub sys_flag: i32,
    /// When the sender made the message, ms.
    #[serde(rename = "g")]
    pub born_timestamp: i64,
    /// User flag, opaque to the broker.
    #[serde(rename = "h")]
    pub flag: i32,
    /// Message properties, `name\x01value\x02` repeated.
    #[serde(rename = "i")]
    pub properties: Option<Str>,
    /// Deliveries that have failed so far.
    #[serde(rename = "j")]
    pub reconsume_times: Option<i32>,
    /// Unit (cell) mode of the client.
    #[serde(rename = "k")]
    pub unit_mode: Option<bool>,
    /// Failed deliveries after which a message is dead.
    #[serde(rename = "l")]
    pub max_reconsume_times: Option<i32>,
    /// The body holds several messages.
    #[serde(rename = "m")]
    pub batch: Option<bool>,
    /// Broker the sender meant, by name.
    #[serde(rename = "n")]
    pub bname: Option<Str>,
}

impl Request for SendMessageV2 {
    const CODE: Code = Code::SEND_MESSAGE_V2;
    type Reply = SendReceipt;

    fn read(ext: &Ext) -> Result<SendMessageV2, ExtError> {
        SendMessageV2::by_letters(ext).map_or_else(|| ext.read(), Ok)
    }

    fn reply_ext(reply: &SendReceipt) -> Ext {
        reply.ext()
    }
}

impl SendMessageV2 {
    /// Reads the header if it is as clients send it.
    fn by_letters(ext: &Ext) -> Option<SendMessageV2> {
        let letters = Letters::of(ext)?;
        Some(SendMessageV2 {
            producer_group: letters.text(b'a')?,
            topic: letters.text(b'b')?,
            default_topic: letters.text(b'c')?,
            default_topic_queue_nums: letters.number(b'd')?,
            queue_id: letters.number(b'e')?,
            sys_flag: letters.number(b'f')?,
            born_timestamp: letters.number(b'g')?,
            flag: letters.number(b'h')?,
            properties: letters.maybe_text(b'i')?,
            reconsume_times: letters.maybe_number(b'j')?,
            unit_mode: letters.maybe_bool(b'k')?,
            max_reconsume_times: letters.maybe_number(b'l')?,
            batch: letters.maybe_bool(b'm')?,
            bname: letters.maybe_text(b'n')?,
        })
    }
}

/// Sends several messages of one topic in one body.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SendBatchMessage(pub SendMessageV2);

impl Request for SendBatchMessage {
    const CODE: Code = Code::SEND_BATCH_MESSAGE;
    type Reply = SendReceipt;

    fn read(ext: &Ext) -> Result<SendBatchMessage, ExtError> {
        SendMessageV2::read(ext).map(SendBatchMessage)
    }

    fn reply_ext(reply: &SendReceipt) -> Ext {
        reply.ext()
    }
}

/// Answers a request message; long names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SendReplyMessage(pub SendMessage);

impl Request for SendReplyMessage {
    const CODE: Code = Code::SEND_REPLY_MESSAGE;
    type Reply = SendReceipt;
}

/// Answers a request message; one-letter names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SendReplyMessageV2(pub SendMessageV2);

impl Request for SendReplyMessageV2 {
    const CODE: Code = Code::SEND_REPLY_MESSAGE_V2;
    type Reply = SendReceipt;
}

/// What the sender of a message is told: where it went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SendReceipt {
    /// Message id.
    pub msg_id: Str,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Offset inside the queue.
    pub queue_offset: i64,
    /// Unique id the sender gave the message.
    pub transaction_id: Option<Str>,
    /// Id of an inner batch.
    pub batch_uniq_id: Option<Str>,
    /// Handle that takes a timer message back.
    pub recall_handle: Option<Str>,
    /// Region of the broker.
    #[serde(rename = "MSG_REGION")]
    pub region: Option<Str>,
    /// Whether the message may be traced.
    #[serde(rename = "TRACE_ON")]
    pub trace_on: Option<Str>,
}

impl SendReceipt {
    /// The same bytes that serde writes.
    fn ext(&self) -> Ext {
        let mut object = Object::new();
        object.text("msgId", &self.msg_id);
        object.number("queueId", self.queue_id.into());
        object.number("queueOffset", self.queue_offset);
        let texts = [
            ("transactionId", &self.transaction_id),
            ("batchUniqId", &self.batch_uniq_id),
            ("recallHandle", &self.recall_handle),
            ("MSG_REGION", &self.region),
            ("TRACE_ON", &self.trace_on),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                object.text(key, text);
            }
        }
        object.into()
    }
}

/// Gives a message back that could not be consumed; the broker delivers it again later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerSendMsgBack {
    /// Offset.
    pub offset: i64,
    /// Consumer group.
    pub group: Str,
    /// Delay level of the retry; 0 lets the broker choose.
    pub delay_level: i32,
    /// Id of the first copy.
    pub origin_msg_id: Option<Str>,
    /// Topic of the first copy.
    pub origin_topic: Option<Str>,
    /// Unit (cell) mode of the client.
    pub unit_mode: Option<bool>,
    /// Failed deliveries after which a message is dead.
    pub max_reconsume_times: Option<i32>,
}

impl Request for ConsumerSendMsgBack {
    const CODE: Code = Code::CONSUMER_SEND_MSG_BACK;
    type Reply = NoHeader;
}

/// The broker hands a reply message to the client that asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushReplyMessageToClient {
    /// Group of the sender.
    pub producer_group: Str,
    /// Topic asked about or written to.
    pub topic: Str,
    /// Topic whose settings a new topic copies.
    pub default_topic: Str,
    /// Queues of a topic created on the fly.
    pub default_topic_queue_nums: i32,
    /// Queue of the topic; -1 where the broker may choose.
    pub queue_id: i32,
    /// Bit set, meaning depends on the request.
    pub sys_flag: i32,
    /// When the sender made the message, ms.
    pub born_timestamp: i64,
    /// User flag, opaque to the broker.
    pub flag: i32,
    /// Message properties, `name\x01value\x02` repeated.
    pub properties: Option<Str>,
    /// Deliveries that have failed so far.
    pub reconsume_times: Option<i32>,
    /// Unit (cell) mode of the client.
    pub unit_mode: Option<bool>,
    /// Address of the sender.
    pub born_host: Str,
    /// Address of the broker.
    pub store_host: Str,
    /// When the broker stored it, ms.
    pub store_timestamp: i64,
}

impl Request for PushReplyMessageToClient {
    const CODE: Code = Code::PUSH_REPLY_MESSAGE_TO_CLIENT;
    type Reply = NoHeader;
}

impl From<SendMessageV2> for SendMessage {
    fn from(v2: SendMessageV2) -> SendMessage {
        SendMessage {
            producer_group: v2.producer_group,
            topic: v2.topic,
            default_topic: v2.default_topic,
            default_topic_queue_nums: v2.default_topic_queue_nums,
            queue_id: v2.queue_id,
            sys_flag: v2.sys_flag,
            born_timestamp: v2.born_timestamp,
            flag: v2.flag,
            properties: v2.properties,
            reconsume_times: v2.reconsume_times,
            unit_mode: v2.unit_mode,
            max_reconsume_times: v2.max_reconsume_times,
            batch: v2.batch,
            bname: v2.bname,
        }
    }
}

impl From<SendMessage> for SendMessageV2 {
    fn from(v1: SendMessage) -> SendMessageV2 {
        SendMessageV2 {
            producer_group: v1.producer_group,
            topic: v1.topic,
            default_topic: v1.default_topic,
            default_topic_queue_nums: v1.default_topic_queue_nums,
            queue_id: v1.queue_id,
            sys_flag: v1.sys_flag,
            born_timestamp: v1.born_timestamp,
            flag: v1.flag,
            properties: v1.properties,
            reconsume_times: v1.reconsume_times,
            unit_mode: v1.unit_mode,
            max_reconsume_times: v1.max_reconsume_times,
            batch: v1.batch,
            bname: v1.bname,
        }
    }
}

impl From<SendBatchMessage> for SendMessage {
    fn from(batch: SendBatchMessage) -> SendMessage {
        batch.0.into()
    }
}

impl From<SendReplyMessageV2> for SendMessage {
    fn from(reply: SendReplyMessageV2) -> SendMessage {
        reply.0.into()
    }
}

impl From<SendReplyMessage> for SendMessage {
    fn from(reply: SendReplyMessage) -> SendMessage {
        reply.0
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
