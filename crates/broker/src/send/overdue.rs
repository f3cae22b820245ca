// SPDX-License-Identifier: Apache-2.0
//! Sends that have waited too long to be read are refused, which costs much less than to store them: so who sends more than
//! the broker can take hears of it soon, and those behind them are stored in time.
//!
//! It does not know how long a send has waited, but how long at least ([`Peer::waited`]): of a connection that sends no more
//! than is read at once nothing is refused, however slow the machine is.

use std::time::Duration;

use net::{Fault, Outcome, Peer};
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;

use crate::config::Config;

/// How long the sends of a peer have waited, if that is too long.
pub(crate) fn wait(config: &Config, peer: &Peer) -> Option<Duration> {
    let waited = peer.waited();
    let longest = Duration::from_millis(config.wait_time_mills_in_send_queue);
    (!waited.is_zero() && waited >= longest && config.broker_fast_failure_enable).then_some(waited)
}

/// The answer to a send that comes too late; so many others of its peer were read together with it and are not served yet.
pub(crate) fn refusal(config: &Config, peer: &Peer, frame: &Frame, others: usize) -> Option<Outcome> {
    let waited = wait(config, peer)?;
    if !is_send(frame.code) {
        return None;
    }
    if frame.is_oneway() {
        return Some(Outcome::Oneway(ResponseCode::SYSTEM_BUSY));
    }
    let remark = format!(
        "[TIMEOUT_CLEAN_QUEUE]broker busy, start flow control for a while, period in queue: {}ms, size of queue: {others}",
        waited.as_millis()
    );
    let fault = Fault::new(ResponseCode::SYSTEM_BUSY, remark);
    Some(Outcome::Reply(fault.into_frame(frame.opaque)))
}

/// Whether it would wait among the sends of the reference.
fn is_send(code: i32) -> bool {
    matches!(
        Code(code),
        Code::SEND_MESSAGE
            | Code::SEND_MESSAGE_V2
            | Code::SEND_BATCH_MESSAGE
            | Code::CONSUMER_SEND_MSG_BACK
            | Code::RECALL_MESSAGE
    )
}
