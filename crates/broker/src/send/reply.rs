// SPDX-License-Identifier: Apache-2.0
//! Replies to requests (324, 325): handed to the client that asked (326), and stored beside that.
//!
//! A request is a normal message that names its sender; whoever consumed it answers with a send of this kind to the reply
//! topic of the cluster. The client that asked must be connected to this very broker as a producer. Whether it got the
//! reply decides the code of the answer; the place of the stored copy is told either way, as in the reference.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use net::{Answer, Call, Fault, Reply};
use store::Receipt;
use tracing::{debug, warn};
use wire::Str;
use wire::api::send::{
    PushReplyMessageToClient, SendMessage, SendReceipt, SendReplyMessage, SendReplyMessageV2,
};
use wire::code::{Request, ResponseCode};
use wire::frame::Frame;
use wire::message_id::offset_id;
use wire::properties::Properties;
use wire::record::sysflag;

use super::properties::name::{MSG_REGION, TRACE_ON};
use super::properties::{Asks, MessageType};
use super::room::{BYTES_MAX, ReplyRoom, SHARE_BYTES_MAX};
use super::{Send, Target, check, park, traced};
use crate::blocking;
use crate::broker::Broker;
use crate::config::Config;
use crate::fault::not_appended;
use crate::put::Put;
use crate::subject::Subject;

/// The client id of who asked.
const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
/// When the broker handed the reply over.
const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
/// How long the client that asked has to take the reply.
const PUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Code 325.
pub(crate) fn send_reply_message_v2(
    b: &Arc<Broker>,
    call: Call<SendReplyMessageV2>,
) -> Result<Answer<SendReceipt>, Fault> {
    answer(b, call)
}

/// Code 324.
pub(crate) fn send_reply_message(
    b: &Arc<Broker>,
    call: Call<SendReplyMessage>,
) -> Result<Answer<SendReceipt>, Fault> {
    answer(b, call)
}

fn answer<R: Request + Into<SendMessage>>(
    b: &Arc<Broker>,
    call: Call<R>,
) -> Result<Answer<SendReceipt>, Fault> {
    let send = Send::of(call);
    let found = b.topics.get(&send.header.topic);
    check::may_send(b, &b.config(), &send, found.as_deref()).map_err(|fault| fault.with_ext(traced(b)))?;
    let room = ReplyRoom::take(&b.replies, send.peer.id, send.bytes()).ok_or_else(|| {
        let remark = format!(
            "[OVERLOAD]system busy: {SHARE_BYTES_MAX} bytes of replies of this connection wait for those that asked, or {BYTES_MAX} of all"
        );
        Fault::new(ResponseCode::SYSTEM_BUSY, remark).with_ext(traced(b))
    })?;
    let b = Arc::clone(b);
    Ok(Answer::Later(Box::pin(async move {
        let handing = Arc::clone(&b);
        // Apart, so that the room comes back even if the one who replies does not read.
        let handled = blocking::apart(async move {
            let handled = hand_over_and_store(&handing, send).await;
            drop(room);
            handled
        });
        handled.await.map_err(|fault| match fault.ext {
            Some(_) => fault,
            None => fault.with_ext(traced(&b)),
        })
    })))
}

async fn hand_over_and_store(b: &Arc<Broker>, send: Send) -> Result<Reply<SendReceipt>, Fault> {
    let (target, send) = find_target(b, send).await?;
    let queue_id = check::queue_id(b, &target, &send)?;
    let properties = properties_of(&b.config(), &send.header);
    let mut pushed = properties.clone();
    let handed = hand_over(b, &send, &mut pushed).await;
    let mut told = SendReceipt::default();
    if handed.is_ok() {
        told.msg_id = Str::const_new("0");
        told.queue_id = queue_id;
    }
    if b.config().store_reply_message_enable {
        match store(b, &send, &target, queue_id, (&properties, &pushed)).await {
            Ok(receipt) => {
                told.msg_id = offset_id(b.host, receipt.pos.0);
                told.queue_id = queue_id;
                told.queue_offset = receipt.queue_offset;
            }
            // Nobody is waiting for the copy: who asked has the reply, or will not get it.
            Err(fault) => {
                let (topic, peer) = (&send.header.topic, send.peer.addr);
                warn!(%topic, queue = queue_id, %peer, remark = %fault.remark, "the copy of a reply is not stored");
            }
        }
    }
    let mark = |fault: Fault| {
        let mut ext = traced(b);
        if !told.msg_id.is_empty() {
            ext = ext
                .with("msgId", &told.msg_id)
                .with("queueId", &told.queue_id.to_string())
                .with("queueOffset", &told.queue_offset.to_string());
        }
        fault.with_ext(ext)
    };
    handed.map_err(mark)?;
    told.region = Some(b.config().region_id.clone());
    told.trace_on = Some(Str::const_new(trace_on(&b.config())));
    Ok(Reply::ok(told))
}

/// The reply topic, made if it is missing and may be made.
async fn find_target(b: &Arc<Broker>, send: Send) -> Result<(Target, Send), Fault> {
    let found = b.topics.get(&send.header.topic);
    if let Some(target) = Target::of(b, &b.config(), &send, found)? {
        return Ok((target, send));
    }
    let peer = Arc::clone(&send.peer);
    let create = move |b: &Broker| Target::create(b, &send).map(|announced| (announced, send));
    let (announced, send) = blocking::create(b, &peer, create).await??;
    announced.await;
    let found = b.topics.get(&send.header.topic);
    match Target::of(b, &b.config(), &send, found)? {
        Some(target) => Ok((target, send)),
        None => Err(check::no_topic(&send.header.topic)),
    }
}

/// The properties of the reply, as they are handed over and stored.
fn properties_of(config: &Config, header: &SendMessage) -> Properties {
    let mut properties = Properties::from_bytes(header.properties.as_deref().unwrap_or_default().as_bytes());
    properties.set(MSG_REGION, &config.region_id);
    properties.set(TRACE_ON, trace_on(config));
    properties
}

fn trace_on(config: &Config) -> &'static str {
    if config.trace_on { "true" } else { "false" }
}

/// Hands the reply to the client that asked, and waits until it has taken it.
async fn hand_over(b: &Broker, send: &Send, properties: &mut Properties) -> Result<(), Fault> {
    let failed = |remark: String| Fault::new(ResponseCode::SYSTEM_ERROR, remark);
    let Some(asker) = properties.get(REPLY_TO_CLIENT).map(str::to_owned) else {
        return Err(failed(format!(
            "reply message properties[{REPLY_TO_CLIENT}] is null"
        )));
    };
    let Some(peer) = b.clients.producer(&asker) else {
        return Err(failed(format!(
            "push reply message fail, channel of <{asker}> not found."
        )));
    };
    let now_ms = b.env.clock.now_ms();
    properties.set(PUSH_REPLY_TIME, &now_ms.to_string());
    let header = PushReplyMessageToClient {
        properties: String::from_utf8(properties.as_bytes().to_vec())
            .ok()
            .map(Str::from),
        born_host: send.peer.addr.to_string().into(),
        store_host: b.host.to_string().into(),
        store_timestamp: now_ms,
        ..push_of(&send.header)
    };
    let frame = Frame::request(0, &header).with_body(send.body.clone());
    let remark = match peer.call(frame, PUSH_TIMEOUT).await {
        Ok(reply) if reply.code == ResponseCode::SUCCESS.0 => return Ok(()),
        Ok(reply) => reply.remark.unwrap_or_default().to_string(),
        Err(error) => error.to_string(),
    };
    debug!(asker, remark, "a reply is not taken");
    Err(failed(format!("push reply message to {asker}fail. {remark}")))
}

fn push_of(header: &SendMessage) -> PushReplyMessageToClient {
    PushReplyMessageToClient {
        producer_group: header.producer_group.clone(),
        topic: header.topic.clone(),
        default_topic: header.default_topic.clone(),
        default_topic_queue_nums: header.default_topic_queue_nums,
        queue_id: header.queue_id,
        sys_flag: header.sys_flag,
        born_timestamp: header.born_timestamp,
        flag: header.flag,
        reconsume_times: header.reconsume_times,
        // The reference says false for a sender that says nothing.
        unit_mode: Some(header.unit_mode == Some(true)),
        ..PushReplyMessageToClient::default()
    }
}

/// Stores a reply as it came or, when it asks for a delay or a time, where it waits for that, with the properties as they
/// were handed over: the reference rewrites the text of those only then.
async fn store(
    b: &Broker,
    send: &Send,
    target: &Target,
    queue_id: i32,
    (properties, pushed): (&Properties, &Properties),
) -> Result<Receipt, Fault> {
    let topic = &target.topic;
    let asks = Asks {
        // Its flags do not say so: the reference forgets them.
        is_half: false,
        ..Asks::of(properties.as_bytes())
    };
    let real = (&topic.config.topic_name, queue_id);
    let parked = park::decide(b, &b.config(), &send.header, (&asks, ""), real)?;
    let rewritten = parked.as_ref().map(|parked| parked.rewrite(pushed.as_bytes()));
    let (name, queue_id) = parked
        .as_ref()
        .map_or((real.0, real.1), |parked| (&parked.topic, parked.queue_id));
    let receipt = b.put(&Put {
        topic: name,
        queue_id,
        flag: send.header.flag,
        // The reference forgets that the body is compressed.
        sys_flag: send.header.sys_flag & (sysflag::COMPRESSED | sysflag::COMPRESSION),
        born_at: send.header.born_timestamp,
        born_host: send.peer.addr,
        reconsume_times: send.header.reconsume_times.unwrap_or_default(),
        prepared_pos: 0,
        body: &send.body,
        properties: rewritten.as_deref().unwrap_or(properties.as_bytes()),
    });
    let receipt = receipt.map_err(|error| {
        b.counts.put_failures.fetch_add(1, Ordering::Relaxed);
        not_appended(&error, Subject::topic(name))
    })?;
    b.store.drive();
    b.settled(receipt.gate).await?;
    b.counts.put(topic, (MessageType::Normal, 1, receipt.size as u64));
    Ok(receipt)
}
