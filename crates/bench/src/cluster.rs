// SPDX-License-Identifier: Apache-2.0
//! Finds where the topic is, makes it where it is missing, and asks the servers what a run has to know of them. All of
//! this happens before the first message.

use std::net::SocketAddr;
use std::time::Duration;

use net::{Channel, ConnectError};
use thiserror::Error;
use wire::Str;
use wire::api::config::{GetBrokerConfig, GetBrokerRuntimeInfo};
use wire::api::group::UpdateAndCreateSubscriptiongroup;
use wire::api::offset::{GetMaxOffset, GetMinOffset, OffsetReply, UpdateConsumerOffset};
use wire::api::route::{GetBrokerClusterInfo, GetRouteinfoByTopic};
use wire::api::topic::{GetTopicConfig, UpdateAndCreateTopic};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::stats::KvTable;
use wire::body::topic::TopicConfig;
use wire::body::topic_route::{BrokerAddrs, ClusterInfo, TopicRoute};
use wire::code::{Request, ResponseCode};
use wire::frame::Frame;
use wire::{fastjson, java_properties};

use crate::options::{From, Options};

/// For one question.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until the name server knows a topic that was made.
const ANNOUNCED_MAX: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const READ: i32 = 4;
const WRITE: i32 = 2;
const DEFAULT_LEVELS: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Why a run cannot begin.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// A name that stands for no address.
    #[error("`{0}` is no address of a server (host:port): {1}")]
    Address(String, String),
    /// Nobody there.
    #[error("{0}; is the server running, and reachable from here?")]
    Connect(#[from] ConnectError),
    /// The connection broke or took too long.
    #[error("{what} failed: {why}")]
    Call {
        /// What was asked.
        what: String,
        /// Why there is no answer.
        why: String,
    },
    /// An answer that helps nobody.
    #[error("{what} was refused with {code}: {remark}")]
    Refused {
        /// What was asked.
        what: String,
        /// The code.
        code: ResponseCode,
        /// What the server said.
        remark: String,
    },
    /// The topic is not there or not usable.
    #[error("{0}")]
    Topic(String),
    /// The system has no timer for a connection.
    #[error("no timer for connection {0}: {1}; each connection takes two descriptors (`ulimit -n`)")]
    Alarm(usize, std::io::Error),
}

/// A broker that has the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) name: Str,
    pub(crate) addr: SocketAddr,
    /// Queues to write to: from 0 on.
    pub(crate) write_queues: u32,
    /// Queues to read from.
    pub(crate) read_queues: u32,
}

/// What the servers said about themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Server {
    /// Name of the broker.
    pub name: String,
    /// Where it was reached.
    pub address: String,
    /// Its version, as it tells it; empty when it did not.
    pub version: String,
    /// Queues of the topic that were written to.
    pub write_queues: u32,
    /// Queues that were read.
    pub read_queues: u32,
}

async fn resolve(text: &str) -> Result<SocketAddr, ClusterError> {
    let wrong = |why: &str| ClusterError::Address(text.to_owned(), why.to_owned());
    match tokio::net::lookup_host(text).await {
        Ok(mut found) => found.next().ok_or_else(|| wrong("it has no address")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// Asks one question. An answer with a code other than success is an answer.
async fn ask<R: Request>(channel: &Channel, what: &str, header: &R) -> Result<Frame, ClusterError> {
    let answer = channel.call(Frame::request(0, header), PATIENCE).await;
    answer.map_err(|error| ClusterError::Call {
        what: what.to_owned(),
        why: error.to_string(),
    })
}

fn refused(what: &str, answer: &Frame) -> ClusterError {
    ClusterError::Refused {
        what: what.to_owned(),
        code: ResponseCode(answer.code),
        remark: answer.remark.as_deref().unwrap_or("no reason given").to_owned(),
    }
}

async fn ask_well<R: Request>(channel: &Channel, what: &str, header: &R) -> Result<Frame, ClusterError> {
    let answer = ask(channel, what, header).await?;
    if answer.code == ResponseCode::SUCCESS.0 {
        return Ok(answer);
    }
    Err(refused(what, &answer))
}

fn read_body<T: serde::de::DeserializeOwned>(what: &str, answer: &Frame) -> Result<T, ClusterError> {
    fastjson::from_slice(&answer.body).map_err(|error| ClusterError::Call {
        what: what.to_owned(),
        why: error.to_string(),
    })
}

/// Finds the brokers of the topic.
pub(crate) async fn find(options: &Options) -> Result<Vec<Place>, ClusterError> {
    let places = match &options.broker {
        Some(broker) => vec![alone(options, broker).await?],
        None => by_name_server(options).await?,
    };
    let needed = |place: &Place| {
        !(options.kind.sends() && place.write_queues == 0 || !options.kind.sends() && place.read_queues == 0)
    };
    let places: Vec<Place> = places.into_iter().filter(needed).collect();
    if places.is_empty() {
        let may = if options.kind.sends() { "written" } else { "read" };
        return Err(ClusterError::Topic(format!(
            "no broker has a queue of the topic {} that may be {may}; look at its perm",
            options.topic
        )));
    }
    Ok(places)
}

fn missing(options: &Options) -> ClusterError {
    ClusterError::Topic(format!(
        "the topic {} does not exist; make it, or leave out --no-create",
        options.topic
    ))
}

/// One broker, without a name server.
async fn alone(options: &Options, broker: &str) -> Result<Place, ClusterError> {
    let addr = resolve(broker).await?;
    let channel = Channel::connect(addr, PATIENCE).await?;
    let header = GetTopicConfig {
        topic: options.topic.as_str().into(),
        lo: None,
    };
    let what = format!("asking {addr} for the topic {}", options.topic);
    let mut answer = ask(&channel, &what, &header).await?;
    if answer.code == ResponseCode::TOPIC_NOT_EXIST.0 {
        if !options.create {
            return Err(missing(options));
        }
        create(&channel, options).await?;
        answer = ask_well(&channel, &what, &header).await?;
    } else if answer.code != ResponseCode::SUCCESS.0 {
        return Err(refused(&what, &answer));
    }
    let topic: TopicConfig = read_body(&what, &answer)?;
    let settings = settings(&channel, addr).await?;
    let name = setting(&settings, "brokerName").unwrap_or_default();
    let queues = |count: i32, bit: i32| {
        if topic.perm & bit == 0 {
            0
        } else {
            count.max(0) as u32
        }
    };
    Ok(Place {
        name: name.into(),
        addr,
        write_queues: queues(topic.write_queue_nums, WRITE),
        read_queues: queues(topic.read_queue_nums, READ),
    })
}

/// The settings of a broker, as text; empty when it does not tell them.
async fn settings(channel: &Channel, addr: SocketAddr) -> Result<String, ClusterError> {
    let answer = ask(
        channel,
        &format!("asking {addr} for its settings"),
        &GetBrokerConfig,
    )
    .await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

fn setting(settings: &str, key: &str) -> Option<String> {
    let mut all = java_properties::parse(settings).ok()?.into_iter();
    Some(all.find(|entry| entry.key == key)?.value.into())
}

async fn by_name_server(options: &Options) -> Result<Vec<Place>, ClusterError> {
    let channel = name_server(&options.nameservers).await?;
    let mut route = route(&channel, options).await?;
    if route.is_none() {
        if !options.create {
            return Err(missing(options));
        }
        let masters = masters(&channel).await?;
        for master in &masters {
            let broker = Channel::connect(*master, PATIENCE).await?;
            create(&broker, options).await?;
        }
        let deadline = tokio::time::Instant::now() + ANNOUNCED_MAX;
        while route
            .as_ref()
            .is_none_or(|route| route.queue_datas.len() < masters.len())
        {
            if tokio::time::Instant::now() > deadline {
                return Err(ClusterError::Topic(format!(
                    "the topic {} was made, but the name server does not know it on all brokers after {ANNOUNCED_MAX:?}",
                    options.topic
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
            route = self::route(&channel, options).await?;
        }
    }
    places(&route.unwrap_or_default()).await
}

/// The first name server of the list that can be reached.
async fn name_server(list: &str) -> Result<Channel, ClusterError> {
    let mut last = ClusterError::Address(list.to_owned(), "the list is empty".to_owned());
    for text in list
        .split([';', ','])
        .map(str::trim)
        .filter(|text| !text.is_empty())
    {
        let text = text.strip_prefix("http://").unwrap_or(text);
        match resolve(text).await {
            Ok(addr) => match Channel::connect(addr, PATIENCE).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error.into(),
            },
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn route(channel: &Channel, options: &Options) -> Result<Option<TopicRoute>, ClusterError> {
    let what = format!("asking the name server for the topic {}", options.topic);
    let header = GetRouteinfoByTopic {
        topic: Some(options.topic.as_str().into()),
        accept_standard_json_only: Some(true),
        ..GetRouteinfoByTopic::default()
    };
    let answer = ask(channel, &what, &header).await?;
    match ResponseCode(answer.code) {
        ResponseCode::SUCCESS => Ok(Some(read_body(&what, &answer)?)),
        ResponseCode::TOPIC_NOT_EXIST => Ok(None),
        _ => Err(refused(&what, &answer)),
    }
}

/// The replica to talk to: the master, or who stands in for it.
fn first_replica(replicas: &BrokerAddrs) -> Option<&Str> {
    replicas.broker_addrs.values().next()
}

async fn masters(channel: &Channel) -> Result<Vec<SocketAddr>, ClusterError> {
    let what = "asking the name server for the brokers";
    let answer = ask_well(channel, what, &GetBrokerClusterInfo).await?;
    let cluster: ClusterInfo = read_body(what, &answer)?;
    let mut masters = Vec::new();
    for replicas in cluster.broker_addr_table.values() {
        if let Some(addr) = replicas.broker_addrs.get(&0) {
            masters.push(resolve(addr).await?);
        }
    }
    if masters.is_empty() {
        return Err(ClusterError::Topic(
            "the name server knows no master to make the topic on".to_owned(),
        ));
    }
    Ok(masters)
}

async fn places(route: &TopicRoute) -> Result<Vec<Place>, ClusterError> {
    let mut places = Vec::new();
    for queues in &route.queue_datas {
        let replicas = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_name == queues.broker_name);
        let Some(addr) = replicas.and_then(first_replica) else {
            continue;
        };
        let count = |count: i32, bit: i32| {
            if queues.perm & bit == 0 {
                0
            } else {
                count.max(0) as u32
            }
        };
        places.push(Place {
            name: queues.broker_name.clone(),
            addr: resolve(addr).await?,
            write_queues: count(queues.write_queue_nums, WRITE),
            read_queues: count(queues.read_queue_nums, READ),
        });
    }
    places.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(places)
}

async fn create(broker: &Channel, options: &Options) -> Result<(), ClusterError> {
    let header = UpdateAndCreateTopic {
        topic: options.topic.as_str().into(),
        default_topic: "TBW102".into(),
        read_queue_nums: options.queues as i32,
        write_queue_nums: options.queues as i32,
        perm: READ | WRITE,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: Some(0),
        order: false,
        ..UpdateAndCreateTopic::default()
    };
    let what = format!("making the topic {} on {}", options.topic, broker.addr);
    ask_well(broker, &what, &header).await.map(drop)
}

/// What a broker says about itself. That it does not is no reason not to run.
pub(crate) async fn server(place: &Place) -> Server {
    let version = async {
        let channel = Channel::connect(place.addr, PATIENCE).await.ok()?;
        let answer = ask_well(&channel, "asking for the version", &GetBrokerRuntimeInfo)
            .await
            .ok()?;
        let table: KvTable = fastjson::from_slice(&answer.body).ok()?;
        table.table.get("brokerVersionDesc").map(ToString::to_string)
    };
    Server {
        name: place.name.to_string(),
        address: place.addr.to_string(),
        version: version.await.unwrap_or_default(),
        write_queues: place.write_queues,
        read_queues: place.read_queues,
    }
}

/// How long a message of a level is held by a broker, ms.
pub(crate) async fn level_ms(place: &Place, level: u32) -> Result<u64, ClusterError> {
    let channel = Channel::connect(place.addr, PATIENCE).await?;
    let settings = settings(&channel, place.addr).await?;
    let table = setting(&settings, "messageDelayLevel").unwrap_or_else(|| DEFAULT_LEVELS.to_owned());
    let entry = table.split_whitespace().nth(level.saturating_sub(1) as usize);
    entry.and_then(milliseconds).ok_or_else(|| {
        ClusterError::Topic(format!(
            "the broker {} has no delay level {level}; its levels are: {table}",
            place.name
        ))
    })
}

fn milliseconds(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Where each queue of a broker begins and ends: `(first, behind the last)`.
pub(crate) async fn bounds(place: &Place, options: &Options) -> Result<Vec<(i64, i64)>, ClusterError> {
    let channel = Channel::connect(place.addr, PATIENCE).await?;
    let topic: Str = options.topic.as_str().into();
    let mut all = Vec::new();
    for queue in 0..place.read_queues {
        let queue_id = queue as i32;
        let what = format!(
            "asking {} where queue {queue_id} of {topic} begins and ends",
            place.addr
        );
        let first = GetMinOffset {
            topic: topic.clone(),
            queue_id,
        };
        let first = ask_well(&channel, &what, &first).await?;
        let last = GetMaxOffset {
            topic: topic.clone(),
            queue_id,
            committed: None,
        };
        let last = ask_well(&channel, &what, &last).await?;
        let read = |answer: &Frame| {
            answer
                .ext
                .read::<OffsetReply>()
                .map_or(0, |reply| reply.offset.max(0))
        };
        all.push((read(&first), read(&last)));
    }
    Ok(all)
}

/// Makes a group as it would be made by its first member: only one that exists can be told where to begin.
async fn create_group(broker: &Channel, options: &Options) -> Result<(), ClusterError> {
    let config = SubscriptionGroupConfig {
        group_name: options.group.as_str().into(),
        ..SubscriptionGroupConfig::default()
    };
    let what = format!("making the group {} on {}", options.group, broker.addr);
    let frame = Frame::request(0, &UpdateAndCreateSubscriptiongroup).with_body(fastjson::to_vec(&config));
    let answer = broker.call(frame, PATIENCE).await;
    match answer {
        Ok(answer) if answer.code == ResponseCode::SUCCESS.0 => Ok(()),
        Ok(answer) => Err(refused(&what, &answer)),
        Err(error) => Err(ClusterError::Call {
            what,
            why: error.to_string(),
        }),
    }
}

/// Puts a group that pops where it is to begin, on each queue of a broker.
pub(crate) async fn commit(place: &Place, options: &Options, from: From) -> Result<(), ClusterError> {
    let bounds = bounds(place, options).await?;
    let channel = Channel::connect(place.addr, PATIENCE).await?;
    for (queue, (first, last)) in bounds.into_iter().enumerate() {
        let header = UpdateConsumerOffset {
            consumer_group: options.group.as_str().into(),
            topic: options.topic.as_str().into(),
            queue_id: queue as i32,
            commit_offset: if from == From::First { first } else { last },
        };
        let what = format!("putting the group {} to its first message", options.group);
        let mut answer = ask(&channel, &what, &header).await?;
        if answer.code == ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST.0 && options.create {
            create_group(&channel, options).await?;
            answer = ask(&channel, &what, &header).await?;
        }
        if answer.code != ResponseCode::SUCCESS.0 {
            return Err(refused(&what, &answer));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_levels_are_read_as_brokers_write_them() {
        assert_eq!(milliseconds("1s"), Some(1000));
        assert_eq!(milliseconds("2h"), Some(7_200_000));
        for wrong in ["", "s", "1", "1x", "é"] {
            assert_eq!(milliseconds(wrong), None, "{wrong}");
        }
    }
}
