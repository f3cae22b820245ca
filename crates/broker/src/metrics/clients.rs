// SPDX-License-Identifier: Apache-2.0
//! Numbers of connected clients.

use std::collections::BTreeMap;

use metrics::Export;
use wire::body::subscription::ConsumeType;
use wire::version;

use super::catalogue::{self as c};
use crate::broker::Broker;
use crate::names::has_system_group_prefix;

const REMOTING: &str = "remoting";

pub(super) fn connections(b: &Broker, export: &mut Export<'_>) {
    let mut producers: BTreeMap<(String, String), u64> = BTreeMap::new();
    for (client, _) in b.clients.producer_groups().values().flatten() {
        let place = producers.entry((client.language.name().to_lowercase(), version(client.version)));
        *place.or_default() += 1;
    }
    export.metric(c::PRODUCERS, |series| {
        for ((language, version), count) in &producers {
            series.count(&[language, version, REMOTING], *count);
        }
    });
    let groups = b.clients.consumer_groups();
    export.metric(c::CONSUMERS, |series| {
        for group in groups {
            let Some(view) = b.clients.consumer_group(&group) else {
                continue;
            };
            let mode = match view.kind.consume_type {
                ConsumeType::ConsumeActively => "pull",
                ConsumeType::ConsumePassively => "push",
                ConsumeType::ConsumePop => "pop",
            };
            let mut members: BTreeMap<(String, String), u64> = BTreeMap::new();
            for client in &view.members {
                let place = members.entry((client.language.name().to_lowercase(), version(client.version)));
                *place.or_default() += 1;
            }
            let is_system = if has_system_group_prefix(&group) {
                "true"
            } else {
                "false"
            };
            for ((language, version), count) in &members {
                series.count(&[&group, language, version, mode, REMOTING, is_system], *count);
            }
        }
    });
}

fn version(ordinal: i32) -> String {
    version::name(ordinal).to_lowercase()
}
