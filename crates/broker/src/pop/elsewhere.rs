// SPDX-License-Identifier: Apache-2.0
//! Messages that lie on another broker. A slave of the reference that acts for its master writes the check points of its pops
//! to a master of another name; when they are due that master reads the messages where they are, and brings them back by
//! its own retry topic, where their group reads too.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use wire::Str;
use wire::api::pull::PullMessage;
use wire::body::pop::CheckPoint;
use wire::code::ResponseCode;
use wire::frame::Frame;

use crate::broker::Broker;
use crate::escape::EscapeError;
use crate::peers::Route;

/// How long another broker has for an answer, as in the reference.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What says that a pull comes from a consumer with a subscription of its own.
const SUBSCRIBED: i32 = 4;
/// After how many seconds a message that cannot be fetched is tried again, as in the reference: more and more seldom.
const AGAIN_AFTER_SECS: [i64; 17] = [
    10, 20, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
];

/// Why a message was not fetched. It may be later.
#[derive(Debug, Error)]
pub(super) enum NotFetched {
    #[error("no name server knows where it is")]
    Unknown,
    #[error(transparent)]
    Unreachable(#[from] EscapeError),
    #[error("it answers {code}: {remark}")]
    Refused { code: ResponseCode, remark: Str },
}

/// Whether the messages of a check point are with a broker of another name.
pub(super) fn is_elsewhere(b: &Broker, check_point: &CheckPoint) -> bool {
    !check_point.bn.is_empty() && check_point.bn != b.config().broker_name
}

/// Reads one message there, at the broker's address. `None`: it is gone.
pub(super) async fn fetch(
    b: &Broker,
    address: &Str,
    check_point: &CheckPoint,
    offset: i64,
) -> Result<Option<Bytes>, NotFetched> {
    let group = {
        let config = b.config();
        format!("InnerConsumerGroup_{}_{}", config.broker_name, config.broker_id)
    };
    let pull = PullMessage {
        consumer_group: group.into(),
        topic: check_point.t.clone(),
        queue_id: check_point.q,
        queue_offset: offset,
        max_msg_nums: 1,
        sys_flag: SUBSCRIBED,
        subscription: Some(Str::const_new("*")),
        expression_type: Some(Str::const_new("TAG")),
        ..PullMessage::default()
    };
    let answer = b
        .escape
        .call(b, address, Frame::request(0, &pull), ANSWER_MAX)
        .await?;
    match ResponseCode(answer.code) {
        ResponseCode::SUCCESS => Ok(Some(answer.body)),
        // Below the first message, or behind the last one: nothing is there.
        ResponseCode::PULL_NOT_FOUND
        | ResponseCode::PULL_OFFSET_MOVED
        | ResponseCode::PULL_RETRY_IMMEDIATELY
        | ResponseCode::TOPIC_NOT_EXIST => Ok(None),
        code => Err(NotFetched::Refused {
            code,
            remark: answer.remark.unwrap_or_default(),
        }),
    }
}

/// Where the broker is, or the slave that acts for it.
pub(super) async fn address_of(b: &Broker, check_point: &CheckPoint) -> Result<Str, NotFetched> {
    let Route::Found(route) = b.peers.route(b, &check_point.t).await else {
        return Err(NotFetched::Unknown);
    };
    let mut brokers = route.broker_datas.into_iter();
    let broker = brokers.find(|broker| broker.broker_name == check_point.bn);
    let first = broker.and_then(|broker| broker.broker_addrs.into_values().next());
    first.ok_or(NotFetched::Unknown)
}

/// The check point of one message of another, for a later try.
pub(super) fn again(check_point: &CheckPoint, offset: i64, now_ms: i64) -> CheckPoint {
    let tries = check_point
        .rp
        .as_deref()
        .and_then(|tries| tries.parse().ok())
        .unwrap_or(0_usize);
    let last = AGAIN_AFTER_SECS.len() - 1;
    let pause_ms = AGAIN_AFTER_SECS.get(tries.min(last)).copied().unwrap_or_default() * 1000;
    // It counts from now: this one may have been read late.
    let it = now_ms.max(check_point.revive_ms()).saturating_add(pause_ms) - check_point.pt;
    CheckPoint {
        bm: 0,
        d: vec![0],
        it,
        n: 1,
        rp: Some((tries + 1).to_string().into()),
        so: offset,
        ..check_point.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_cannot_be_fetched_is_tried_more_and_more_seldom() {
        let mut check_point = CheckPoint {
            pt: 1_000,
            it: 60_000,
            n: 3,
            so: 7,
            d: vec![0, 1, 2],
            ..CheckPoint::default()
        };
        let mut now_ms = 61_000;
        for pause in AGAIN_AFTER_SECS.into_iter().chain([7200]) {
            check_point = again(&check_point, 8, now_ms);
            assert_eq!(check_point.revive_ms(), now_ms + pause * 1000);
            assert_eq!(check_point.open().collect::<Vec<_>>(), [8]);
            now_ms = check_point.revive_ms();
        }
        assert_eq!(check_point.rp.as_deref(), Some("18"));
    }
}
