// SPDX-License-Identifier: Apache-2.0
//! Requests of operators that a consumer answers: the broker hands them on, and hands the answers back. 307, 309 and 223.
//!
//! The time of the client bounds such a request, and the bytes of an answer what several say; what waits is bounded per
//! connection, as every held answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use net::{Answer, Call, CallError, Fault, Peer, Reply};
use store::LogPos;
use tracing::warn;
use wire::Str;
use wire::api::heartbeat::{ConsumeMessageDirectly, GetConsumerRunningInfo};
use wire::api::offset::{GetConsumerStatusFromClient, InvokeBrokerToGetConsumerStatus};
use wire::body::stats::ConsumerStatus;
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;

use crate::blocking;
use crate::broker::Broker;
use crate::clients::Client;

/// A client has so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// And so long where several are asked.
const PATIENCE_WITH_EACH: Duration = Duration::from_secs(5);
/// Consumers that are asked at the same time, and how long an answer of one may be.
const ASKED_AT_ONCE: usize = 16;
const STATUS_BYTES_MAX: usize = 1 << 20;
/// And how long what all of them say; a client reads no frame above 16 MiB.
const ALL_STATUS_BYTES_MAX: usize = 15 << 20;
/// The oldest version that understands 307 and 309 (an ordinal, 3.1.8-SNAPSHOT).
const VERSION_MIN: i32 = 62;

/// Code 307. How a client is doing.
pub(crate) fn running_info(
    b: &Arc<Broker>,
    call: Call<GetConsumerRunningInfo>,
) -> Result<Answer<NoHeader>, Fault> {
    let (group, client_id) = (call.header.consumer_group.clone(), call.header.client_id.clone());
    let client = find(b, &group, &client_id)?;
    let frame = Frame::request(0, &call.header).with_body(call.body);
    Ok(Answer::Later(Box::pin(hand_on(client, frame, group))))
}

/// Code 309. Has a client consume one message now.
pub(crate) fn consume_directly(
    b: &Arc<Broker>,
    call: Call<ConsumeMessageDirectly>,
) -> Result<Answer<NoHeader>, Fault> {
    let mut header = call.header;
    let (group, id) = (
        header.consumer_group.clone(),
        header.client_id.clone().unwrap_or_default(),
    );
    let client = find(b, &group, &id)?;
    let message = header.msg_id.clone().unwrap_or_default();
    let Some((_, pos)) = decode_offset_id(&message) else {
        let remark =
            format!("the message id \"{message}\" is none that a broker gives (an address and a position)");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    header.broker_name = Some(b.config().broker_name.clone());
    if let Some(topic) = header.topic.as_deref().and_then(|topic| b.topics.get(topic)) {
        header.topic_sys_flag = Some(topic.config.topic_sys_flag);
    }
    if let Some(settings) = b.groups.find(&group) {
        header.group_sys_flag = Some(settings.group_sys_flag);
    }
    let (b, peer) = (Arc::clone(b), call.peer);
    Ok(Answer::Later(Box::pin(async move {
        let reading = Arc::clone(&b);
        let record = blocking::run(&b, &peer, move || reading.store.record_at(LogPos(pos))).await?;
        let record = record.map_err(|error| {
            let remark = format!("there is no message {message} here: {error}");
            Fault::new(ResponseCode::SYSTEM_ERROR, remark)
        })?;
        hand_on(client, Frame::request(0, &header).with_body(record), group).await
    })))
}

/// Code 223. How far the consumers of a group are by their own account.
pub(crate) fn consumer_status(
    b: &Arc<Broker>,
    call: Call<InvokeBrokerToGetConsumerStatus>,
) -> Result<Answer<NoHeader>, Fault> {
    let InvokeBrokerToGetConsumerStatus {
        topic,
        group,
        client_addr,
    } = call.header;
    let members = b
        .clients
        .consumer_group(&group)
        .map(|group| group.members)
        .unwrap_or_default();
    if members.is_empty() {
        let remark = format!("No Any Consumer online in the consumer group: [{group}]");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let only = client_addr.filter(|id| !id.trim().is_empty());
    let asked = members
        .into_iter()
        .filter(move |member| only.as_ref().is_none_or(|id| *id == member.id));
    let asked_group = group.clone();
    let ask = GetConsumerStatusFromClient {
        topic,
        group,
        client_addr: None,
    };
    Ok(Answer::Later(Box::pin(async move {
        let calls = asked.map(|member| {
            let frame = Frame::request(0, &ask);
            async move {
                (
                    member.id.clone(),
                    member.peer.call(frame, PATIENCE_WITH_EACH).await,
                )
            }
        });
        let mut answers = stream::iter(calls).buffer_unordered(ASKED_AT_ONCE);
        let time_is_up = tokio::time::sleep(PATIENCE);
        tokio::pin!(time_is_up);
        let (mut status, mut bytes) = (ConsumerStatus::default(), 0);
        loop {
            let (id, answer) = tokio::select! {
                answered = answers.next() => match answered {
                    Some(answered) => answered,
                    None => break,
                },
                // What was said until now must do.
                () = &mut time_is_up => break,
            };
            let Some(its) = status_of((&asked_group, &id), answer) else {
                continue;
            };
            // As it will stand in the answer: names that were left out are written there.
            bytes += id.len() + fastjson::to_vec(&its).len();
            if bytes > ALL_STATUS_BYTES_MAX {
                warn!(group = %asked_group, client = %id, "consumers say more than an answer holds, the others are left out");
                break;
            }
            status.consumer_table.insert(id, its.message_queue_table);
        }
        Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&status)))
    })))
}

/// What a consumer says of how far it is, if that can be used.
fn status_of((group, id): (&Str, &Str), answer: Result<Frame, CallError>) -> Option<ConsumerStatus> {
    let said = match answer {
        Ok(frame) if frame.code == 0 && frame.body.len() <= STATUS_BYTES_MAX => {
            fastjson::from_slice(&frame.body).map_err(|error| error.to_string())
        }
        Ok(frame) => Err(format!("code {}, {} bytes", frame.code, frame.body.len())),
        Err(error) => Err(error.to_string()),
    };
    said.inspect_err(|error| warn!(%group, client = %id, %error, "a consumer does not say how far it is"))
        .ok()
}

fn find(b: &Broker, group: &Str, id: &Str) -> Result<Arc<Client>, Fault> {
    let members = b
        .clients
        .consumer_group(group)
        .map(|group| group.members)
        .unwrap_or_default();
    let Some(client) = members.into_iter().find(|member| member.id == *id) else {
        let remark = format!("The Consumer <{group}> <{id}> not online");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    if client.version < VERSION_MIN {
        let remark = format!(
            "The Consumer <{id}> Version <{}> too low to finish, please upgrade it to V3_1_8_SNAPSHOT",
            client.version
        );
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(client)
}

/// Asks a client, and says what it says.
async fn hand_on(client: Arc<Client>, frame: Frame, group: Str) -> Result<Reply<NoHeader>, Fault> {
    let answer = Peer::call(&client.peer, frame, PATIENCE).await;
    let answer = answer.map_err(|error| match error {
        CallError::TimedOut(..) => Fault::new(
            ResponseCode::CONSUME_MSG_TIMEOUT,
            format!("consumer <{group}> <{}> Timeout: {error}", client.id),
        ),
        error => Fault::new(
            ResponseCode::SYSTEM_ERROR,
            format!("invoke consumer <{group}> <{}> Exception: {error}", client.id),
        ),
    })?;
    let body: Bytes = answer.body;
    if answer.code == 0 {
        let reply = Reply::ok(NoHeader).with_body(body);
        return Ok(match answer.remark {
            Some(remark) => reply.with_remark(remark),
            None => reply,
        });
    }
    Err(Fault::new(ResponseCode(answer.code), answer.remark.unwrap_or_default()).with_ext(answer.ext))
}
