// SPDX-License-Identifier: Apache-2.0
//! Messages that are not to be delivered as they are: where they are kept until then, and what is noted on them.

use net::Fault;
use wire::Str;
use wire::api::send::SendMessage;
use wire::code::ResponseCode;
use wire::properties::Properties;

use super::properties::Asks;
use crate::broker::Broker;
use crate::config::Config;
use crate::{delay, timer, transaction};

/// Where a message is kept, and how its properties change for that.
#[derive(Debug)]
pub(crate) struct Parked {
    /// Instead of its own.
    pub(crate) topic: Str,
    /// Instead of its own.
    pub(crate) queue_id: i32,
    /// Properties that go.
    pub(crate) without: &'static [&'static str],
    /// Properties that are set.
    pub(crate) with: Vec<(&'static str, Str)>,
}

impl Parked {
    /// The properties as they are kept.
    pub(crate) fn rewrite(&self, text: &[u8]) -> Vec<u8> {
        let mut properties = Properties::from_bytes(text);
        for name in self.without {
            properties.remove(name);
        }
        for (name, value) in &self.with {
            properties.set(name, value);
        }
        properties.into_bytes()
    }
}

/// Decides where a message goes that asks for more than being delivered; `None`: to its own queue after all. What is
/// asked for more than once counts in this order: a transaction, a delay level, a time.
pub(super) fn decide(
    b: &Broker,
    config: &Config,
    header: &SendMessage,
    (asks, unique): (&Asks<'_>, &str),
    real: (&Str, i32),
) -> Result<Option<Parked>, Fault> {
    let level = asks.delay.map_or(Ok(0), delay::level_of)?;
    // Old clients send what failed to be consumed with all its properties.
    let is_retry = header.reconsume_times.unwrap_or_default() > 0 && level > 0;
    if asks.is_half && !is_retry {
        let delay = if level > 0 {
            Some(wire::properties::name::DELAY)
        } else {
            asks.timer()
        };
        if b.transactions.is_crowded(&header.producer_group) {
            let group = &header.producer_group;
            let remark =
                format!("[OVERLOAD]too many transactions of group {group} are pending, try again later");
            return Err(Fault::new(ResponseCode::SYSTEM_BUSY, remark));
        }
        return transaction::park(config, delay, unique, real).map(Some);
    }
    if level > 0 {
        return Ok(Some(delay::park(b, level, real)));
    }
    timer::park(b, config, asks, real)
}
