// SPDX-License-Identifier: Apache-2.0
//! The tables of a slave follow those of its master: requests 21, 43, 45, 60, 61, 201 and 402, with any master of the reference's.
//!
//! A table speaks of messages: an offset says that they were consumed, delivered, or fired. So tables count only when the
//! log has come here up to where the master's ended after they were fetched; otherwise a slave that takes over would
//! skip what it does not have. They are fetched often when they are small ([`PAUSE_MIN`]), and at least each [`PAUSE_MAX`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use net::{CallError, Channel, ConnectError};
use serde::de::DeserializeOwned;
use store::{LogPos, TimerMark};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wire::api::config::GetBrokerRuntimeInfo;
use wire::api::group::GetAllSubscriptiongroupConfig;
use wire::api::offset::{GetAllConsumerOffset, GetAllDelayOffset};
use wire::api::pop::GetAllMessageRequestMode;
use wire::api::timer::{GetTimerCheckPoint, GetTimerMetrics};
use wire::api::topic::GetAllTopicConfig;
use wire::body::group::SubscriptionGroupTable;
use wire::body::queue::MessageRequestModeTable;
use wire::body::stats::{DelayOffsetTable, KvTable, OffsetTable};
use wire::body::timer::TimerMetrics;
use wire::body::topic::TopicConfigTable;
use wire::code::{Request, ResponseCode};
use wire::frame::Frame;
use wire::{Str, fastjson};

use crate::broker::Broker;
use crate::saved::SaveError;

/// Between two fetches of tables that are small.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Between two fetches in any case.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A table of so many bytes is fetched half as often as possible.
const SMALL_BYTES: usize = 64 << 10;
/// How long a master has for an answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long tables wait for the log that they speak of.
const LOG_MAX: Duration = Duration::from_secs(5);

/// Why tables are not fetched.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    #[error("no master is known")]
    Unknown,
    #[error("the name is not resolved: {0}")]
    Resolve(#[source] std::io::Error),
    #[error("the address has no host")]
    NoSuchHost,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("code {code} for request {request}: {remark}")]
    Refused { request: i32, code: i32, remark: Str },
    #[error("the answer to request {request} makes no sense: {error}")]
    Body { request: i32, error: String },
    #[error("the log is {behind} bytes behind what the tables speak of")]
    Behind { behind: i64 },
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("timers: {0}")]
    Timers(#[source] std::io::Error),
    #[error("this address is our own")]
    Own,
}

/// What a master said at one time.
#[derive(Debug)]
struct Tables {
    config: Settings,
    offsets: OffsetTable,
    delays: DelayOffsetTable,
    timers: Option<(TimerMark, Option<TimerMetrics>)>,
    /// The log of the master ended here afterwards.
    end: i64,
    bytes: usize,
}

/// What it said of topics and groups. That speaks of no message, so what is new in it counts at once.
#[derive(Debug)]
struct Settings {
    topics: TopicConfigTable,
    groups: SubscriptionGroupTable,
    modes: MessageRequestModeTable,
}

/// What a master had when it was asked the last time. What is not among it came into being here, while the master was away.
#[derive(Debug, Clone, Default)]
struct Names {
    topics: BTreeSet<Str>,
    groups: BTreeSet<Str>,
}

/// Fetches tables again and again until `stop`.
pub(super) async fn keep_fetching(b: Arc<Broker>, stop: CancellationToken) {
    let mut link: Option<(Str, Channel)> = None;
    let mut known = Names::default();
    let mut said = String::new();
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = fetch_and_follow(&b, &mut link, &mut known) => done,
        };
        let pause = match done {
            Ok(pause) => {
                if !said.is_empty() {
                    info!("tables of the master are followed again");
                    said.clear();
                }
                pause
            }
            Err(error) => {
                link = None;
                let now = error.to_string();
                if now != said && !matches!(error, FetchError::Unknown) {
                    let master = followed(&b);
                    warn!(master = master.as_deref(), %error, "tables of the master are not followed; trying again");
                    said = now;
                }
                PAUSE_MIN
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn fetch_and_follow(
    b: &Arc<Broker>,
    link: &mut Option<(Str, Channel)>,
    known: &mut Names,
) -> Result<Duration, FetchError> {
    let address = followed(b).ok_or(FetchError::Unknown)?;
    let channel = match link.take() {
        Some((at, channel)) if at == address => channel,
        _ => connect(b, &address).await?,
    };
    let begun = b.store.written();
    let asked = Instant::now();
    let tables = fetch(b, &channel).await?;
    let took = asked.elapsed();
    *link = Some((address.clone(), channel));
    arrive(b, tables.end).await?;
    // A fetch takes at most a tenth of the time of both sides, and of the line.
    let by_size = PAUSE_MIN
        * u32::try_from(tables.bytes / SMALL_BYTES)
            .unwrap_or(u32::MAX)
            .clamp(1, 10);
    let pause = by_size.max(took * 10).min(PAUSE_MAX);
    let names = Names {
        topics: tables.config.topics.topic_config_table.keys().cloned().collect(),
        groups: tables
            .config
            .groups
            .subscription_group_table
            .keys()
            .cloned()
            .collect(),
    };
    let before = known.clone();
    blocking(b, move |b| {
        // What was asked before it went may be older than what was committed here since.
        followed(b)
            .filter(|now| *now == address)
            .ok_or(FetchError::Unknown)?;
        follow(b, tables, &before, begun)
    })
    .await?;
    *known = names;
    Ok(pause)
}

/// The master whose tables count.
fn followed(b: &Broker) -> Option<Str> {
    let master = b.replication.master.borrow();
    master
        .address
        .clone()
        .filter(|_| master.in_service && !b.duty.is_on())
}

pub(super) async fn blocking<T: Send + 'static>(
    b: &Arc<Broker>,
    work: impl FnOnce(&Broker) -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let b = Arc::clone(b);
    let done = store::env::aside(move || work(&b)).await;
    done.unwrap_or_else(|ended| Err(FetchError::Timers(std::io::Error::other(ended))))
}

/// Asks the master for its topics now: one has come up that is not known here.
pub(super) async fn learn(b: &Arc<Broker>) -> Result<(), FetchError> {
    let address = b
        .replication
        .master
        .borrow()
        .address
        .clone()
        .ok_or(FetchError::Unknown)?;
    let channel = connect(b, &address).await?;
    fetch_settings(b, &channel, &mut 0).await.map(drop)
}

/// Connects to where the master takes requests.
pub(crate) async fn connect(b: &Broker, address: &Str) -> Result<Channel, FetchError> {
    if *address == b.address {
        return Err(FetchError::Own);
    }
    let wait = Duration::from_millis(u64::from(b.config().connect_timeout_millis));
    let found = tokio::net::lookup_host(address.as_str()).await;
    let mut found = found.map_err(FetchError::Resolve)?;
    let address = found.next().ok_or(FetchError::NoSuchHost)?;
    Ok(Channel::connect(address, wait).await?)
}

/// Topics and groups; what is new or other than here is taken over.
async fn fetch_settings(
    b: &Arc<Broker>,
    channel: &Channel,
    bytes: &mut usize,
) -> Result<Settings, FetchError> {
    // Without fields of a page the whole table comes at once; the pages of the reference leave out the last name.
    let topics: TopicConfigTable = whole(channel, &GetAllTopicConfig::default(), bytes).await?;
    let groups = whole(channel, &GetAllSubscriptiongroupConfig::default(), bytes).await?;
    let modes = whole(channel, &GetAllMessageRequestMode, bytes).await?;
    blocking(b, move |b| {
        let changed = b.topics.follow(&topics)?;
        for topic in &changed {
            b.note_topic(topic);
        }
        let mappings = topics.topic_queue_mapping_detail_map.as_ref();
        let version = topics.mapping_data_version.unwrap_or_default();
        let has_others = match mappings {
            Some(mappings) => b.logical.follow(version, mappings)?,
            None => false,
        };
        if has_others {
            b.topics.touch()?;
        }
        if has_others || !changed.is_empty() {
            // Nobody waits for it.
            drop(b.announce());
        }
        Ok(Settings {
            topics,
            groups,
            modes,
        })
    })
    .await
}

async fn fetch(b: &Arc<Broker>, channel: &Channel) -> Result<Tables, FetchError> {
    let mut bytes = 0;
    let config = fetch_settings(b, channel, &mut bytes).await?;
    let delays = whole(channel, &GetAllDelayOffset, &mut bytes).await?;
    let timers = fetch_timers(channel, &mut bytes).await?;
    let offsets = whole(channel, &GetAllConsumerOffset, &mut bytes).await?;
    // Last: everything that the tables speak of lies before this end.
    let info: KvTable = whole(channel, &GetBrokerRuntimeInfo, &mut bytes).await?;
    let end = info
        .table
        .get("commitLogMaxOffset")
        .and_then(|end| end.parse().ok());
    let end = end.ok_or_else(|| FetchError::Body {
        request: GetBrokerRuntimeInfo::CODE.0,
        error: "commitLogMaxOffset is missing".to_owned(),
    })?;
    Ok(Tables {
        config,
        offsets,
        delays,
        timers,
        end,
        bytes,
    })
}

/// How far the timers are; a master may have none.
async fn fetch_timers(
    channel: &Channel,
    bytes: &mut usize,
) -> Result<Option<(TimerMark, Option<TimerMetrics>)>, FetchError> {
    let Some(mark) = timer_mark(channel, bytes).await? else {
        return Ok(None);
    };
    let waiting = channel
        .call(Frame::request(0, &GetTimerMetrics), ANSWER_MAX)
        .await?;
    *bytes += waiting.body.len();
    Ok(Some((mark, fastjson::from_slice(&waiting.body).ok())))
}

/// How far the timers are, without how many wait.
pub(super) async fn timer_mark(
    channel: &Channel,
    bytes: &mut usize,
) -> Result<Option<TimerMark>, FetchError> {
    let reply = channel
        .call(Frame::request(0, &GetTimerCheckPoint), ANSWER_MAX)
        .await?;
    let Some(mark) = Some(reply).filter(|reply| reply.code == ResponseCode::SUCCESS.0) else {
        return Ok(None);
    };
    *bytes += mark.body.len();
    let read = TimerMark::of(&mark.body).ok_or_else(|| FetchError::Body {
        request: GetTimerCheckPoint::CODE.0,
        error: format!("{} bytes", mark.body.len()),
    });
    read.map(Some)
}

pub(super) async fn whole<Q: Request, T: DeserializeOwned>(
    channel: &Channel,
    ask: &Q,
    bytes: &mut usize,
) -> Result<T, FetchError> {
    let request = Q::CODE.0;
    let reply = channel.call(Frame::request(0, ask), ANSWER_MAX).await?;
    if reply.code != ResponseCode::SUCCESS.0 {
        return Err(FetchError::Refused {
            request,
            code: reply.code,
            remark: reply.remark.unwrap_or_default(),
        });
    }
    *bytes += reply.body.len();
    fastjson::from_slice(&reply.body).map_err(|error| FetchError::Body {
        request,
        error: error.to_string(),
    })
}

/// Returns when the log has come as far as that.
async fn arrive(b: &Broker, end: i64) -> Result<(), FetchError> {
    let arrived = async {
        loop {
            let progress = b.store.progress();
            if b.store.written().0 >= end {
                return;
            }
            progress.await;
        }
    };
    let behind = |_| FetchError::Behind {
        behind: end - b.store.written().0,
    };
    timeout(LOG_MAX, arrived).await.map_err(behind)
}

/// Takes the tables over. `known` are those the master had the last time, and `begun` is where our log ended before
/// it was asked: a queue that has grown since may belong to a topic that was made again. Blocks.
fn follow(b: &Broker, tables: Tables, known: &Names, begun: LogPos) -> Result<(), FetchError> {
    let Settings {
        topics,
        groups,
        modes,
    } = tables.config;
    // Before topics are forgotten: it was fetched after them, and may speak of one that is gone.
    b.offsets.follow(tables.offsets);
    let gone = b.topics.remove_others(&topics)?;
    for topic in gone.iter().filter(|topic| known.topics.contains(*topic)) {
        forget(b, topic, begun);
    }
    if !gone.is_empty() {
        drop(b.announce());
    }
    let gone = b.groups.follow(groups)?;
    for group in gone.iter().filter(|group| known.groups.contains(*group)) {
        b.offsets.remove_group(group);
    }
    b.delays.follow(&tables.delays, b.store.written());
    b.modes.follow(modes)?;
    if let Some((mark, waiting)) = tables.timers {
        b.timing.follow(b, mark, waiting).map_err(FetchError::Timers)?;
    }
    Ok(())
}

/// Forgets a topic that the master has deleted.
fn forget(b: &Broker, topic: &Str, begun: LogPos) {
    b.offsets.remove_topic(topic);
    b.timing.forget(topic);
    b.dedup.forget_topic(topic);
    b.pop.remove_topic(topic);
    if b.store
        .queues_of(topic)
        .iter()
        .any(|queue| b.store.may_end_behind(queue, begun))
    {
        return;
    }
    if let Err(error) = b.store.delete_topic(topic) {
        warn!(%topic, %error, "files of a deleted topic remain; trying again");
    }
}
