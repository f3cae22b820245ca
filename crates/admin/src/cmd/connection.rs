// SPDX-License-Identifier: Apache-2.0
//! `producerConnection`, `consumerConnection` and `producer`: which clients are connected.

use serde::Serialize;
use wire::Str;
use wire::api::group::{GetAllProducerInfo, GetProducerConnectionList};
use wire::body::subscription::{
    Connection, ConsumeFromWhere, ConsumeType, ConsumerConnection, MessageModel, ProducerConnection,
    ProducerTable,
};
use wire::code::ResponseCode;
use wire::properties::java_hash;

use crate::cmd::lookup;
use crate::command::Command;
use crate::ctx::Ctx;
use crate::failure::Failure;
use crate::groups;
use crate::hash_order::{concurrent, hash_map};
use crate::options::{Args, value};
use crate::version;

pub(crate) const PRODUCER_CONNECTION: Command = Command {
    name: "producerConnection",
    about: "Query producer's socket connection and client version.",
    options: &[
        value("g", "producerGroup", "producer group name")
            .required()
            .group(),
        value("t", "topic", "topic name").required().topic(),
    ],
    run: |ctx, args| Box::pin(producers(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const CONSUMER_CONNECTION: Command = Command {
    name: "consumerConnection",
    about: "Query consumer's socket connection, client version and subscription.",
    options: &[
        value("g", "consumerGroup", "consumer group name")
            .required()
            .group(),
        value("b", "brokerAddr", "broker address"),
    ],
    run: |ctx, args| Box::pin(consumers(ctx, args)),
    ..Command::DEFAULT
};

pub(crate) const PRODUCER: Command = Command {
    name: "producer",
    about: "Query producer's instances, connection, status, etc.",
    options: &[value("b", "broker", "broker address").required()],
    run: |ctx, args| Box::pin(all_producers(ctx, args)),
    ..Command::DEFAULT
};

/// A connected client.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client {
    client_id: Str,
    addr: Str,
    language: &'static str,
    version: String,
}

fn client(connection: Connection) -> Client {
    Client {
        client_id: connection.client_id,
        addr: connection.client_addr,
        language: connection.language.name(),
        version: version::name(connection.version),
    }
}

async fn producers(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let (group, topic) = (args.need("g")?, args.need("t")?);
    let route = lookup::route(ctx, topic).await?;
    let addr = route.broker_datas.first().and_then(lookup::any_addr);
    let addr = addr.ok_or_else(|| Failure::Other(format!("no broker has the topic {topic}")))?;
    let header = GetProducerConnectionList {
        producer_group: group.into(),
    };
    let found: ProducerConnection = ctx.client.ask(addr, &header).await?.body()?;
    if found.connection_set.is_empty() {
        return Err(Failure::Found(
            ResponseCode::SYSTEM_ERROR,
            format!("no producer of the group {group} is connected to {addr}"),
        ));
    }
    let clients: Vec<Client> = found.connection_set.into_iter().map(client).collect();
    ctx.show(&clients, || {
        let lines = (1..).zip(&clients).map(|(number, client)| {
            format!(
                "{number:04}  {:<32} {:<22} {:<8} {}\n",
                client.client_id, client.addr, client.language, client.version
            )
        });
        lines.collect()
    });
    Ok(())
}

/// A group of consumers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Consumers {
    consume_type: ConsumeType,
    message_model: MessageModel,
    consume_from_where: ConsumeFromWhere,
    clients: Vec<Client>,
    subscriptions: Vec<Subscription>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscription {
    topic: Str,
    expression: Str,
    expression_type: Str,
}

async fn consumers(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let group = args.need("g")?;
    let members = match args.get("b") {
        Some(addr) => groups::members_at(ctx, addr, group).await?,
        None => groups::members(ctx, group).await?,
    };
    let consumers = report(members);
    ctx.show(&consumers, || text(&consumers));
    Ok(())
}

fn report(members: ConsumerConnection) -> Consumers {
    let subscriptions = concurrent(members.subscription_table, |topic| java_hash(topic));
    let subscription = |(_, known): (Str, wire::body::subscription::SubscriptionData)| Subscription {
        topic: known.topic,
        expression: known.sub_string,
        expression_type: known.expression_type,
    };
    Consumers {
        consume_type: members.consume_type,
        message_model: members.message_model,
        consume_from_where: members.consume_from_where,
        clients: members.connection_set.into_iter().map(client).collect(),
        subscriptions: subscriptions.into_iter().map(subscription).collect(),
    }
}

fn text(consumers: &Consumers) -> String {
    let line =
        |[id, addr, language, version]: [&str; 4]| format!("{id:<36} {addr:<22} {language:<10} {version}\n");
    let mut out = line(["#ClientId", "#ClientAddr", "#Language", "#Version"]);
    out.extend(
        consumers
            .clients
            .iter()
            .map(|client| line([&client.client_id, &client.addr, client.language, &client.version])),
    );
    out.push_str("\nBelow is subscription:\n");
    out.push_str(&format!("{:<20} {}\n", "#Topic", "#SubExpression"));
    for subscription in &consumers.subscriptions {
        out.push_str(&format!(
            "{:<20} {}\n",
            subscription.topic, subscription.expression
        ));
    }
    out.push_str(&format!(
        "\nConsumeType: {}\nMessageModel: {}\nConsumeFromWhere: {}\n",
        name(&consumers.consume_type),
        name(&consumers.message_model),
        name(&consumers.consume_from_where)
    ));
    out
}

/// What a value of a few is called on the wire.
pub(super) fn name<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.trim_matches('"').to_owned()
}

/// A producer, by its group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Producer {
    group: Str,
    client_id: Str,
    addr: Str,
    language: &'static str,
    version: i32,
    last_update_timestamp: i64,
}

async fn all_producers(ctx: &Ctx, args: &Args) -> Result<(), Failure> {
    let addr = args.need("b")?;
    let answer = ctx.client.ask(addr, &GetAllProducerInfo {}).await?;
    let found: ProducerTable = answer.body()?;
    let mut producers = Vec::new();
    for (group, members) in hash_map(found.data, |(group, _)| group) {
        if members.is_empty() {
            ctx.say(format_args!("producer group ({group}) instances are empty\n"));
        }
        producers.extend(members.into_iter().map(|member| Producer {
            group: group.clone(),
            client_id: member.client_id,
            addr: member.remote_ip,
            language: member.language.name(),
            version: member.version,
            last_update_timestamp: member.last_update_timestamp,
        }));
    }
    ctx.show(&producers, || producers.iter().map(producer_text).collect());
    Ok(())
}

fn producer_text(producer: &Producer) -> String {
    format!(
        "producer group ({}) instance : clientId={},remoteIP={}, language={}, version={}, lastUpdateTimestamp={}\n",
        producer.group,
        producer.client_id,
        producer.addr,
        producer.language,
        producer.version,
        producer.last_update_timestamp
    )
}
