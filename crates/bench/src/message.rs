// SPDX-License-Identifier: Apache-2.0
//! Makes the requests that carry messages, as a client of the reference makes them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use wire::Str;
use wire::api::send::{SendBatchMessage, SendMessageV2};
use wire::batch::{SubMessage, encode_sub_message};
use wire::frame::Frame;
use wire::message_id::UniqueIds;
use wire::properties::{Properties, name};
use wire::record::sysflag;

use crate::body::Head;
use crate::options::{Kind, Later};
use crate::random;
use crate::shared::Shared;

/// Other numbers than those of the bodies.
const SIZES: u64 = 0x5121;

/// One for each connection.
pub(crate) struct Maker {
    shared: Arc<Shared>,
    broker: Str,
    ids: UniqueIds,
}

/// A request and what it carries.
pub(crate) struct Made {
    pub(crate) frame: Frame,
    /// Bytes of the bodies.
    pub(crate) bytes: u64,
    /// Unique id of the first message.
    pub(crate) unique: Str,
}

impl Maker {
    pub(crate) fn new(shared: &Arc<Shared>, broker: &Str, connection: usize) -> Maker {
        let salt = shared.run as u32 ^ (connection as u32) << 20;
        Maker {
            shared: Arc::clone(shared),
            broker: broker.clone(),
            ids: UniqueIds::new(IpAddr::V4(Ipv4Addr::LOCALHOST), std::process::id(), salt),
        }
    }

    /// The messages of the request of a number, for a queue. `due` is what their heads say; `later` when they are to be
    /// delivered, ms since 1970.
    pub(crate) fn make(&self, (number, queue): (u64, u64), due: u64, now: u64, later: Option<u64>) -> Made {
        let options = &self.shared.options;
        let first = number * u64::from(options.batch);
        let born_ms = self.shared.clock.wall_ms(now);
        let (properties, unique) = self.properties(first, born_ms, later);
        let mut header = SendMessageV2 {
            producer_group: options.producer_group.as_str().into(),
            topic: options.topic.as_str().into(),
            default_topic: Str::const_new("TBW102"),
            default_topic_queue_nums: 8,
            queue_id: queue as i32,
            sys_flag: if options.kind == Kind::Transaction {
                sysflag::PREPARED
            } else {
                0
            },
            born_timestamp: born_ms as i64,
            flag: 0,
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(options.batch > 1),
            bname: (!self.broker.is_empty()).then(|| self.broker.clone()),
            ..SendMessageV2::default()
        };
        let mut body = Vec::new();
        let mut bytes = 0;
        if options.batch == 1 {
            bytes += self.put_body(&mut body, first, due);
            header.properties = Some(properties);
            let frame = Frame::request(0, &header).with_body(body);
            return Made { frame, bytes, unique };
        }
        let mut one = Vec::new();
        let mut properties = properties;
        for number in first..first + options.in_request(number) {
            if number > first {
                (properties, _) = self.properties(number, born_ms, later);
            }
            one.clear();
            bytes += self.put_body(&mut one, number, due);
            let message = SubMessage {
                flag: 0,
                body: &one,
                properties: properties.as_bytes(),
            };
            encode_sub_message(&mut body, &message);
        }
        header.properties = Some(properties);
        let frame = Frame::request(0, &SendBatchMessage(header)).with_body(body);
        Made { frame, bytes, unique }
    }

    fn put_body(&self, out: &mut Vec<u8>, number: u64, due: u64) -> u64 {
        let options = &self.shared.options;
        let size = options.sizes.pick(random::at(options.seed ^ SIZES, number));
        let head = Head {
            run: self.shared.run,
            number,
            due,
        };
        self.shared.filler.put(out, head, size);
        u64::from(size)
    }

    /// Of a message: as text, and its unique id.
    fn properties(&self, number: u64, born_ms: u64, later: Option<u64>) -> (Str, Str) {
        let options = &self.shared.options;
        let unique = self.ids.next(born_ms as i64);
        let mut all = Properties::default();
        if options.keys > 0 {
            all.push(name::KEYS, &format!("key-{}", number % options.keys));
        }
        all.push(name::UNIQ_KEY, &unique);
        match options.later {
            Some(Later::Level(level)) => all.push(name::DELAY, &level.to_string()),
            Some(Later::Ms(_)) => {
                if let Some(at) = later {
                    all.push("TIMER_DELIVER_MS", &at.to_string());
                }
            }
            None => {}
        }
        if options.kind == Kind::Transaction {
            all.push("TRAN_MSG", "true");
            all.push("PGROUP", &options.producer_group);
        }
        all.push(name::WAIT, "true");
        if let Some(tag) = &options.tag {
            all.push(name::TAGS, tag);
        }
        let text = std::str::from_utf8(all.as_bytes()).unwrap_or_default();
        (text.into(), unique)
    }
}
