// SPDX-License-Identifier: Apache-2.0
//! Sends messages as a producer of the reference does: to one queue after the other of those that may be written.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use wire::Str;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::body::topic_route::TopicRoute;
use wire::code::{Request as _, ResponseCode};
use wire::frame::Frame;
use wire::message_id::UniqueIds;
use wire::properties::{Properties, name};

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;

/// How long a broker has for one message; it may wait for a disk or a slave.
const SENT_WITHIN: Duration = Duration::from_secs(3);
/// The topic whose settings a topic gets that comes into being with its first message.
const MODEL_TOPIC: &str = "TBW102";
/// Queues of such a topic.
const MODEL_QUEUES: i32 = 4;

/// A queue that may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) broker: Str,
    pub(crate) addr: Str,
    pub(crate) queue: i32,
}

/// Sends in the name of one group.
pub(crate) struct Producer<'a> {
    ctx: &'a Ctx,
    group: Str,
    ids: UniqueIds,
}

impl<'a> Producer<'a> {
    pub(crate) fn new(ctx: &'a Ctx, group: &str) -> Producer<'a> {
        let salt = ctx.env.rng.next_u64() as u32;
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Producer {
            ctx,
            group: group.into(),
            ids: UniqueIds::new(ip, std::process::id(), salt),
        }
    }

    /// The queues of a topic that may be written; of one that does not exist, those it would come into being with.
    pub(crate) async fn targets(&self, topic: &str) -> Result<Vec<Target>, Failure> {
        let route = match lookup::route(self.ctx, topic).await {
            Err(failure) if failure.response_code() == Some(ResponseCode::TOPIC_NOT_EXIST) => {
                let mut route = lookup::route(self.ctx, MODEL_TOPIC).await.map_err(|_| failure)?;
                for queues in &mut route.queue_datas {
                    queues.write_queue_nums = queues.write_queue_nums.min(MODEL_QUEUES);
                }
                route
            }
            route => route?,
        };
        let targets = writable(&route);
        if targets.is_empty() {
            return Err(Failure::Other(format!(
                "no queue of the topic {topic} can be written"
            )));
        }
        Ok(targets)
    }

    /// Sends one message. The properties are completed with its id.
    pub(crate) async fn send(
        &self,
        topic: &str,
        target: &Target,
        mut properties: Properties,
        body: Bytes,
    ) -> Result<SendReceipt, Failure> {
        let now = self.ctx.env.clock.now_ms();
        let id = match properties.get(name::UNIQ_KEY) {
            Some(id) => id.into(),
            None => self.ids.next(now),
        };
        properties.set(name::UNIQ_KEY, &id);
        if properties.get(name::WAIT).is_none() {
            properties.set(name::WAIT, "true");
        }
        let header = SendMessageV2 {
            producer_group: self.group.clone(),
            topic: topic.into(),
            default_topic: MODEL_TOPIC.into(),
            default_topic_queue_nums: MODEL_QUEUES,
            queue_id: target.queue,
            sys_flag: 0,
            born_timestamp: now,
            flag: 0,
            properties: Some(String::from_utf8_lossy(properties.as_bytes()).into()),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            max_reconsume_times: None,
            batch: Some(false),
            bname: Some(target.broker.clone()),
        };
        let frame = Frame::request(0, &header).with_body(body);
        let answer = self.ctx.client.call(&target.addr, frame, SENT_WITHIN).await?;
        let code = ResponseCode(answer.code);
        if !is_stored(code) {
            return Err(Failure::Refused {
                addr: target.addr.to_string(),
                request: SendMessageV2::CODE,
                code,
                remark: answer.remark.as_deref().unwrap_or_default().to_owned(),
            });
        }
        answer.ext.read().map_err(|error| Failure::BadAnswer {
            addr: target.addr.to_string(),
            request: SendMessageV2::CODE,
            why: error.to_string(),
        })
    }
}

/// The message is there, but perhaps not yet as safe as it will be.
fn is_stored(code: ResponseCode) -> bool {
    let stored = [
        ResponseCode::SUCCESS,
        ResponseCode::FLUSH_DISK_TIMEOUT,
        ResponseCode::FLUSH_SLAVE_TIMEOUT,
        ResponseCode::SLAVE_NOT_AVAILABLE,
    ];
    stored.contains(&code)
}

/// The queues on masters that may be written.
fn writable(route: &TopicRoute) -> Vec<Target> {
    let mut targets = Vec::new();
    for queues in route.queue_datas.iter().filter(|queues| queues.perm & 2 != 0) {
        let mut brokers = route.broker_datas.iter();
        let broker = brokers.find(|broker| broker.broker_name == queues.broker_name);
        let Some(addr) = broker.and_then(lookup::master_addr) else {
            continue;
        };
        targets.extend((0..queues.write_queue_nums).map(|queue| Target {
            broker: queues.broker_name.clone(),
            addr: addr.clone(),
            queue,
        }));
    }
    targets
}
