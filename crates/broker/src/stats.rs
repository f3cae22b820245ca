// SPDX-License-Identifier: Apache-2.0
//! Request 315: what was counted in the last minute, hour and day, under the names and keys of the reference.
//!
//! Statistics that the reference keeps of single queues, of accounts and of reads from the disk are not kept here: they do
//! not exist, as those of a topic that nobody has written to.

use std::sync::Arc;

use net::{Answer, Call, Fault, Reply};
use wire::api::stats::ViewBrokerStatsData;
use wire::body::stats::{BrokerStatsData, BrokerStatsItem};
use wire::code::{NoHeader, ResponseCode};
use wire::fastjson;

use crate::broker::Broker;
use crate::counts::Flow;
use crate::traffic::{Span, Totals};

/// What is taken of the totals: a number, and the occasions it is divided by.
type Pick = fn(&Totals) -> (u64, u64);

/// Whose totals.
#[derive(Debug, Clone, Copy)]
enum Of {
    Topic(Pick),
    /// `topic@group`.
    Reader(Pick),
    Broker(Flow),
}

/// The statistics by name.
fn named(name: &str) -> Option<Of> {
    Some(match name {
        "TOPIC_PUT_NUMS" => Of::Topic(|totals| (totals.number, totals.times)),
        "TOPIC_PUT_SIZE" => Of::Topic(|totals| (totals.bytes, totals.times)),
        "GROUP_GET_NUMS" => Of::Reader(|totals| (totals.number, totals.times)),
        "GROUP_GET_SIZE" => Of::Reader(|totals| (totals.bytes, totals.times)),
        "GROUP_GET_LATENCY" => Of::Reader(|totals| (totals.waited_ms, totals.times)),
        "SNDBCK_PUT_NUMS" => Of::Reader(|totals| (totals.backs, totals.backs)),
        "GROUP_ACK_NUMS" => Of::Reader(|totals| (totals.acks, totals.acks)),
        "GROUP_CK_NUMS" => Of::Reader(|totals| (totals.leases, totals.leases)),
        "BROKER_PUT_NUMS" => Of::Broker(Flow::Puts),
        "BROKER_GET_NUMS" => Of::Broker(Flow::Gets),
        "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => Of::Broker(Flow::UserPuts),
        "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => Of::Broker(Flow::UserGets),
        "BROKER_ACK_NUMS" => Of::Broker(Flow::Acks),
        "BROKER_CK_NUMS" => Of::Broker(Flow::Leases),
        _ => return None,
    })
}

/// Code 315.
pub(crate) fn view(b: &Arc<Broker>, call: Call<ViewBrokerStatsData>) -> Result<Answer<NoHeader>, Fault> {
    let ViewBrokerStatsData {
        stats_name,
        stats_key,
    } = &call.header;
    let found = named(stats_name).and_then(|of| lately(b, of, stats_key));
    let Some((spans, pick)) = found else {
        let remark = format!("The stats <{stats_name}> <{stats_key}> not exist");
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    };
    let [stats_minute, stats_hour, stats_day] = spans.map(|span| item(&span, pick));
    let data = BrokerStatsData {
        stats_day,
        stats_hour,
        stats_minute,
    };
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&data)).into())
}

fn lately(b: &Broker, of: Of, key: &str) -> Option<([Span; 3], Pick)> {
    match of {
        Of::Topic(pick) => Some((b.topics.get(key)?.traffic.lately()?, pick)),
        Of::Reader(pick) => {
            let (topic, group) = key.rsplit_once('@')?;
            // The reference may say the queue in front of it, when it counts pulls by queue.
            let topic = topic.split_once('@').map_or(topic, |(_, topic)| topic);
            let reader = b.topics.get(topic)?.traffic.find_reader(group)?;
            Some((reader.lately()?, pick))
        }
        Of::Broker(flow) if key == b.config().broker_cluster_name => {
            // The reference does not count how often.
            Some((b.counts.lately(flow)?, |totals| (totals.number, 0)))
        }
        Of::Broker(_) => None,
    }
}

fn item(span: &Span, pick: Pick) -> BrokerStatsItem {
    let (number, times) = pick(&span.grown);
    BrokerStatsItem {
        avgpt: if times == 0 {
            0.0
        } else {
            number as f64 / times as f64
        },
        sum: i64::try_from(number).unwrap_or(i64::MAX),
        tps: span.per_second(number),
    }
}
