// SPDX-License-Identifier: Apache-2.0
//! What a broker tells about itself in numbers, and whether it is well: the pages of its port (`pages.rs`), and what is
//! pushed or logged.
//!
//! Nothing is kept here that stands elsewhere: when somebody asks, the tables of the broker are gone through
//! (`collect.rs`). Only how long requests take has its place here, because nobody else wants to know.

pub(crate) mod catalogue;
mod clients;
mod collect;
mod pages;
pub(crate) mod push;
mod traffic;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ::metrics::{Base, Histogram, Rpc};
use net::{Answered, Manner};
use wire::code::Code;

use self::catalogue::CREATE_BOUNDS;
pub use self::catalogue::{LEFT_OUT, METRICS, metrics_reference};
pub(crate) use self::pages::Showing;
pub use self::pages::{Beside, Pages};
use crate::broker::Broker;
use crate::config::{Config, pairs_of};
use crate::routes::ROUTES;

/// Numbers that are kept for nobody else.
#[derive(Debug)]
pub(crate) struct Measured {
    rpc: Rpc,
    /// By whether it went well, then by whether the topic is one of the system's.
    topics_made: [[Histogram<6>; 2]; 2],
    groups_made: [Histogram<6>; 2],
    /// It was said that values are left out.
    has_warned: AtomicBool,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            rpc: Rpc::of(ROUTES.iter().map(|(code, _)| *code)),
            topics_made: Default::default(),
            groups_made: Default::default(),
            has_warned: AtomicBool::new(false),
        }
    }
}

impl Measured {
    /// A topic was made or changed, or not.
    pub(crate) fn topic_made(&self, is_ok: bool, is_system: bool, took: Duration) {
        let made = &self.topics_made[usize::from(is_ok)][usize::from(is_system)];
        made.add(CREATE_BOUNDS, millis(took), 1);
    }

    /// A group was made or changed, or not.
    pub(crate) fn group_made(&self, is_ok: bool, took: Duration) {
        self.groups_made[usize::from(is_ok)].add(CREATE_BOUNDS, millis(took), 1);
    }
}

/// So many requests ended so.
pub(crate) fn answered(b: &Broker, how: Answered, count: u32, took: Duration) {
    b.measured.rpc.add(how, count, took);
    match Code(how.request) {
        Code::SEND_MESSAGE | Code::SEND_MESSAGE_V2 | Code::SEND_BATCH_MESSAGE => {
            b.counts.latencies.sent(count, took);
        }
        Code::PULL_MESSAGE | Code::LITE_PULL_MESSAGE if how.manner == Manner::Sent => {
            b.counts.latencies.pulled(took);
        }
        _ => {}
    }
}

/// The labels of all values.
fn base(config: &Config) -> Base {
    let mut base: Base = vec![
        ("cluster".to_owned(), config.broker_cluster_name.to_string()),
        ("node_type".to_owned(), "broker".to_owned()),
        ("node_id".to_owned(), config.broker_name.to_string()),
    ];
    if config.metrics_in_delta {
        base.push(("aggregation".to_owned(), "delta".to_owned()));
    }
    let own = pairs_of(&config.metrics_label).unwrap_or_default();
    base.extend(
        own.into_iter()
            .filter(|(name, _)| RESERVED.iter().all(|taken| taken != name)),
    );
    base
}

/// Labels that nobody else may set.
const RESERVED: [&str; 5] = ["cluster", "node_type", "node_id", "aggregation", "le"];

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
