// SPDX-License-Identifier: Apache-2.0
//! A message as the clients of the reference have it, and as they print it.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use wire::Str;
use wire::batch::sub_messages;
use wire::message_id::offset_id;
use wire::properties::{self, java_hash, name};
use wire::record::{Record, RecordError, sysflag};

use crate::compressed;
use crate::hash_order::in_buckets;
use crate::text::{host, time};

/// A message and where it lies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// Known only to who asked for a queue.
    pub broker: Option<Str>,
    pub topic: Str,
    pub queue: i32,
    pub offset: i64,
    /// Bytes of its record.
    pub size: usize,
    pub sys_flag: i32,
    pub flag: i32,
    pub born_at: i64,
    pub born_host: Option<SocketAddr>,
    pub stored_at: i64,
    pub store_host: Option<SocketAddr>,
    /// The id made of its place; none for one of a batch.
    pub offset_id: Option<Str>,
    pub log_offset: i64,
    pub body_crc: u32,
    pub reconsume_times: i32,
    pub prepared_offset: i64,
    pub properties: Properties,
    /// Not compressed any more.
    pub body: Option<Bytes>,
    pub transaction_id: Option<Str>,
}

/// The properties of a message, in the order of the reference's table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Properties {
    entries: Vec<(Str, Str)>,
    /// None at all, which is shown otherwise than an empty table.
    present: bool,
    buckets: usize,
}

/// Buckets of the table into which the properties of a record are read.
const READ_BUCKETS: usize = 128;
/// Buckets of one that is made when a property is set.
const BUCKETS: usize = 16;

impl Properties {
    fn read(text: &[u8]) -> Properties {
        let mut read = Properties {
            entries: Vec::new(),
            present: !text.is_empty(),
            buckets: READ_BUCKETS,
        };
        for (key, value) in properties::pairs(text) {
            read.set(key, value);
        }
        read
    }

    /// The value of a property.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.entries.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if !self.present {
            (self.present, self.buckets) = (true, BUCKETS);
        }
        match self.entries.iter_mut().find(|(key, _)| key == name) {
            Some(known) => known.1 = value.into(),
            None => self.entries.push((name.into(), value.into())),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.entries.retain(|(key, _)| key != name);
    }

    /// In the reference's order.
    pub(crate) fn ordered(&self) -> Vec<&(Str, Str)> {
        let buckets = self.buckets.max(BUCKETS);
        in_buckets(buckets, &self.entries, |(key, _)| java_hash(key))
    }

    /// As they travel.
    pub(crate) fn encoded(&self) -> String {
        let ordered = self.ordered();
        let part = |(key, value): &&(Str, Str)| format!("{key}\u{1}{value}\u{2}");
        ordered.iter().map(part).collect()
    }

    /// As the reference prints them.
    pub(crate) fn display(&self) -> Option<String> {
        let ordered = self.ordered();
        let parts: Vec<String> = ordered
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.present.then(|| format!("{{{}}}", parts.join(", ")))
    }
}

/// Whether the body of a message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    Wanted,
    Left,
}

impl Message {
    /// Reads records that lie one behind the other. As in the reference the first that cannot be read ends the list.
    pub(crate) fn read_all(bytes: &Bytes, mut complain: impl FnMut(String)) -> Vec<Message> {
        let mut messages = Vec::new();
        for record in Record::decode_all(bytes) {
            let read = record.map_err(|error| error.to_string());
            match read.and_then(|record| Message::read(&record, Body::Wanted)) {
                Ok(message) => messages.push(message),
                Err(error) => {
                    complain(format!("a message was passed over, and those behind it: {error}"));
                    break;
                }
            }
        }
        messages
    }

    /// Reads the record at the start, whatever follows it.
    pub(crate) fn read_first(bytes: &Bytes, body: Body) -> Result<Message, String> {
        let record = Record::decode(bytes).map_err(|error: RecordError| error.to_string())?;
        Message::read(&record, body)
    }

    fn read(record: &Record, body: Body) -> Result<Message, String> {
        let mut sys_flag = record.sys_flag;
        let content = match body {
            Body::Left => None,
            Body::Wanted if record.body.is_empty() => None,
            Body::Wanted if sys_flag & sysflag::COMPRESSED != 0 => {
                sys_flag &= !sysflag::COMPRESSED;
                let grown = compressed::grown(record.sys_flag, &record.body);
                let id = offset_id(record.store_host, record.physical_offset);
                Some(
                    grown
                        .map_err(|error| format!("the body of {id} is damaged: {error}"))?
                        .into(),
                )
            }
            Body::Wanted => Some(record.body.clone()),
        };
        Ok(Message {
            broker: None,
            topic: record.topic.clone(),
            queue: record.queue_id.cast_signed(),
            offset: record.queue_offset,
            size: record.total_size,
            sys_flag,
            flag: record.flag,
            born_at: record.born_at,
            born_host: Some(record.born_host),
            stored_at: record.stored_at,
            store_host: Some(record.store_host),
            offset_id: Some(offset_id(record.store_host, record.physical_offset)),
            log_offset: record.physical_offset,
            body_crc: record.body_crc,
            reconsume_times: record.reconsume_times,
            prepared_offset: record.prepared_pos,
            properties: Properties::read(&record.properties),
            body: content,
            transaction_id: None,
        })
    }

    /// The messages inside, if it is a batch that its consumer has to take apart; else itself.
    pub(crate) fn unwrapped(self) -> Vec<Message> {
        let wrapped = sysflag::INNER_BATCH | sysflag::NEED_UNWRAP;
        if self.sys_flag & wrapped != wrapped {
            return vec![self];
        }
        let body = self.body.clone().unwrap_or_default();
        let inner: Result<Vec<_>, _> = sub_messages(&body).collect();
        let Ok(inner) = inner else {
            return vec![self];
        };
        let one = |(at, part): (i64, wire::batch::SubMessage<'_>)| {
            let mut properties = Properties::read(part.properties);
            let waits = self.properties.get(name::WAIT).is_none_or(|wait| wait == "true");
            properties.set(name::WAIT, if waits { "true" } else { "false" });
            Message {
                topic: self.topic.clone(),
                queue: self.queue,
                offset: self.offset + at,
                flag: part.flag,
                sys_flag: self.sys_flag,
                born_at: self.born_at,
                born_host: self.born_host,
                stored_at: self.stored_at,
                store_host: self.store_host,
                log_offset: self.log_offset,
                properties,
                body: Some(body.slice_ref(part.body)),
                ..Message::default()
            }
        };
        (0..).zip(inner).map(one).collect()
    }

    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)
    }

    /// The id its sender gave it, or else the one of its place.
    pub(crate) fn id(&self) -> Option<&str> {
        self.property(name::UNIQ_KEY).or(self.offset_id.as_deref())
    }

    pub(crate) fn tags(&self) -> Option<&str> {
        self.property(name::TAGS)
    }

    pub(crate) fn keys(&self) -> Option<&str> {
        self.property(name::KEYS)
    }

    /// Everything about it on one line, as the reference prints it.
    pub(crate) fn display(&self) -> String {
        let host = |addr: Option<SocketAddr>| addr.map_or(NULL.to_owned(), |addr| format!("/{}", host(addr)));
        format!(
            "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, \
             bornHost={}, storeTimestamp={}, storeHost={}, msgId={}, commitLogOffset={}, bodyCRC={}, \
             reconsumeTimes={}, preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, \
             properties={}, body={}, transactionId='{}'}}]",
            or_null(self.broker.as_deref()),
            self.queue,
            self.size,
            self.offset,
            self.sys_flag,
            self.born_at,
            host(self.born_host),
            self.stored_at,
            host(self.store_host),
            or_null(self.offset_id.as_deref()),
            self.log_offset,
            self.body_crc.cast_signed(),
            self.reconsume_times,
            self.prepared_offset,
            self.topic,
            self.flag,
            or_null(self.properties.display().as_deref()),
            self.body.as_deref().map_or(NULL.to_owned(), numbers),
            or_null(self.transaction_id.as_deref()),
        )
    }
}

/// What stands for something that is not there.
pub(crate) const NULL: &str = "null";

pub(crate) fn or_null(text: Option<&str>) -> &str {
    text.unwrap_or(NULL)
}

/// Bytes as the reference prints them: with a sign.
fn numbers(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| byte.cast_signed().to_string()).collect();
    format!("[{}]", parts.join(", "))
}

/// As data. A body that is no text is shown as hexadecimal digits.
impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIELDS: usize = 17;
        let hosts = |addr: Option<SocketAddr>| addr.map(host);
        let body = self.body.as_deref().unwrap_or_default();
        let mut out = serializer.serialize_struct("Message", FIELDS)?;
        out.serialize_field("msgId", &self.id())?;
        out.serialize_field("offsetId", &self.offset_id)?;
        out.serialize_field("topic", &self.topic)?;
        out.serialize_field("broker", &self.broker)?;
        out.serialize_field("queue", &self.queue)?;
        out.serialize_field("offset", &self.offset)?;
        out.serialize_field("tags", &self.tags())?;
        out.serialize_field("keys", &self.keys())?;
        out.serialize_field("born", &time(self.born_at))?;
        out.serialize_field("stored", &time(self.stored_at))?;
        out.serialize_field("bornHost", &hosts(self.born_host))?;
        out.serialize_field("storeHost", &hosts(self.store_host))?;
        out.serialize_field("commitLogOffset", &self.log_offset)?;
        out.serialize_field("reconsumeTimes", &self.reconsume_times)?;
        out.serialize_field("sysFlag", &self.sys_flag)?;
        let properties: std::collections::BTreeMap<&str, &str> = self
            .properties
            .entries
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        out.serialize_field("properties", &properties)?;
        match std::str::from_utf8(body) {
            Ok(text) => out.serialize_field("body", text)?,
            Err(_) => {
                let digits: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
                out.serialize_field("bodyHex", &digits)?;
            }
        }
        out.end()
    }
}
