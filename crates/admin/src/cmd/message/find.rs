// SPDX-License-Identifier: Apache-2.0
//! Finding messages by what they are called: their place, the id of their sender, a key, a tag.

use std::time::Duration;

use wire::Str;
use wire::api::heartbeat::ConsumeMessageDirectly;
use wire::api::query::{QueryMessage, ViewMessageById};
use wire::body::running::{ConsumeDirectly, ConsumerRunningInfo};
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::message_id::decode_offset_id;
use wire::properties::name;

use crate::cmd::lookup;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::message::{Body, Message, or_null};

/// What a message is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Tag,
    UniqueId,
}

/// What is looked for, and where.
pub(super) struct Search<'a> {
    pub cluster: Option<&'a str>,
    pub topic: &'a str,
    pub name: &'a str,
    pub kind: Kind,
    /// Most hits of one broker.
    pub most: i32,
    /// Between these store times, ms.
    pub from: i64,
    pub to: i64,
    /// Where the page before ended.
    pub last_key: Option<&'a str>,
}

/// How far back a message is looked for by the id of its sender.
const DAYS_BACK_MS: i64 = 3 * 24 * 60 * 60 * 1000;
/// Most messages with one id.
pub(super) const SAME_ID_MAX: i32 = 32;
/// How long a search may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(18);

/// Asks all brokers of a topic. None at all is a failure, as in the reference.
pub(super) async fn search(ctx: &Ctx, search: &Search<'_>) -> Result<Vec<Message>, Failure> {
    let route = lookup::route(ctx, groups::found_by(search.topic, search.cluster)).await?;
    let is_light = search.topic.starts_with("%LMQ%");
    let cluster = search.cluster.filter(|name| !name.is_empty() && !is_light);
    let (index, is_unique) = match search.kind {
        Kind::Key => ("K", false),
        Kind::Tag => ("T", false),
        Kind::UniqueId => ("U", true),
    };
    let header = QueryMessage {
        topic: search.cluster.filter(|_| is_light).unwrap_or(search.topic).into(),
        key: search.name.into(),
        max_num: search.most,
        begin_timestamp: search.from,
        end_timestamp: search.to,
        index_type: Some(index.into()),
        last_key: search.last_key.map(Str::from),
        unique_key_query: Some(is_unique),
    };
    let mut found = Vec::new();
    let mut failed = None;
    let brokers = route.broker_datas.iter();
    let wanted = brokers.filter(|broker| cluster.is_none_or(|name| broker.cluster == name));
    for addr in wanted.filter_map(lookup::any_addr) {
        let frame = Frame::request(0, &header);
        let answer = ctx
            .client
            .ask_frame::<QueryMessage>(addr, frame, ANSWER_WITHIN)
            .await;
        match answer {
            Ok(answer) => {
                let complain = |error| ctx.warn(format_args!("{addr}: {error}"));
                let messages = Message::read_all(&answer.frame.body, complain);
                found.extend(
                    messages
                        .into_iter()
                        .filter(|message| is_it(search, message, is_light)),
                );
            }
            Err(failure) if failure.response_code() == Some(ResponseCode::QUERY_NOT_FOUND) => {}
            // Another broker may have it.
            Err(failure) => failed = Some(failure),
        }
    }
    match failed {
        Some(failure) if found.is_empty() => Err(failure),
        Some(failure) => {
            ctx.warn(format_args!("not all brokers could be asked: {failure}"));
            Ok(found)
        }
        None if found.is_empty() => Err(nothing(search)),
        None => Ok(found),
    }
}

/// Brokers look for hash codes.
fn is_it(search: &Search<'_>, message: &Message, is_light: bool) -> bool {
    let topic = is_light || message.topic == search.topic;
    match search.kind {
        Kind::UniqueId => message.id() == Some(search.name),
        Kind::Key => {
            let keys = message.keys().unwrap_or_default();
            topic && keys.split(' ').any(|key| key == search.name)
        }
        Kind::Tag => topic && message.tags() == Some(search.name),
    }
}

fn nothing(search: &Search<'_>) -> Failure {
    let what = match search.kind {
        Kind::Key => "the key",
        Kind::Tag => "the tag",
        Kind::UniqueId => "the id",
    };
    let why = format!(
        "no broker has a message of the topic {} with {what} '{}' (it may never have been stored, be older than the \
         brokers keep it, or be of another topic)",
        search.topic, search.name
    );
    Failure::Found(ResponseCode::NO_MESSAGE, why)
}

/// The message with this id: that of its place, or else the one its sender gave it.
pub(super) async fn by_id(
    ctx: &Ctx,
    cluster: Option<&str>,
    topic: &str,
    id: &str,
) -> Result<Message, Failure> {
    if let Some((addr, offset)) = decode_offset_id(id)
        && let Ok(message) = view(ctx, &addr.to_string(), topic, offset).await
    {
        return Ok(message);
    }
    let now = ctx.env.clock.now_ms();
    let wanted = Search {
        cluster,
        topic,
        name: id,
        kind: Kind::UniqueId,
        most: SAME_ID_MAX,
        from: now - DAYS_BACK_MS,
        to: i64::MAX,
        last_key: None,
    };
    let mut found = search(ctx, &wanted).await?;
    Ok(found.swap_remove(0))
}

async fn view(ctx: &Ctx, addr: &str, topic: &str, offset: i64) -> Result<Message, Failure> {
    let header = ViewMessageById {
        topic: Some(topic.into()),
        offset,
    };
    let answer = ctx.client.ask(addr, &header).await?;
    let read = Message::read_first(&answer.frame.body, Body::Wanted);
    read.map_err(|error| Failure::Other(format!("what {addr} sent is no message: {error}")))
}

/// Has one consumer consume one message now.
pub(super) async fn consume_directly(
    ctx: &Ctx,
    message: &Message,
    group: &str,
    client: &str,
) -> Result<ConsumeDirectly, Failure> {
    let id = message.offset_id.as_deref().or(message.property(name::UNIQ_KEY));
    let header = ConsumeMessageDirectly {
        consumer_group: group.into(),
        client_id: Some(client.into()),
        msg_id: id.map(Str::from),
        topic: Some(message.topic.clone()),
        ..ConsumeMessageDirectly::default()
    };
    let addr = message
        .store_host
        .map(|host| host.to_string())
        .unwrap_or_default();
    let frame = Frame::request(0, &header);
    let answer = ctx
        .client
        .ask_frame::<ConsumeMessageDirectly>(&addr, frame, ANSWER_WITHIN)
        .await?;
    answer.body()
}

/// The result as the reference prints it.
pub(super) fn display(result: &ConsumeDirectly) -> String {
    format!(
        "ConsumeMessageDirectlyResult [order={}, autoCommit={}, consumeResult={}, remark={}, spentTimeMills={}]",
        result.order,
        result.auto_commit,
        or_null(result.consume_result.as_deref()),
        or_null(result.remark.as_deref()),
        result.spent_time_mills
    )
}

/// Whether a member gets messages pushed by its client, so that it can be handed one.
pub(super) fn is_push(info: &ConsumerRunningInfo) -> bool {
    info.properties.get("PROP_CONSUME_TYPE") == Some("CONSUME_PASSIVELY")
}
