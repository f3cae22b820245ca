// SPDX-License-Identifier: Apache-2.0
//! Whether a slave acts for its master, and what it does when that changes.
//!
//! Name servers may disagree, may have just started, and may not be reached for a while, so that none of them decides alone.
//! A slave acts only while
//!
//! * one of them has it registered, for otherwise no client finds it, and another slave may have taken its place;
//! * none of them says that a smaller id is alive;
//! * nothing is heard of a master over the link: one that is only cut off from name servers still delivers what is due, and
//!   a master that stops hands over the end of its log after it has left them.
//!
//! The last word of a name server counts as long as it would count that of a broker (`brokerNotActiveTimeoutMillis`): one
//! question that fails changes nothing, and a slave that is cut off from all of them acts no longer than they have it
//! registered. Where two brokers act at the same time in spite of this, messages are delivered twice; none is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::info;
use wire::Str;

use super::{Master, Replication};
use crate::broker::Broker;
use crate::pull::MASTER_ID;

/// How often silence is looked for.
const TICK: Duration = Duration::from_millis(200);

/// Whether the slave with this id acts, after what name servers say of addresses by id.
fn acts(own: i64, views: &[BTreeMap<i64, Str>], hears_master: bool) -> bool {
    let is_registered = views.iter().any(|view| view.contains_key(&own));
    let smallest = views.iter().filter_map(|view| view.keys().next()).min();
    is_registered && smallest == Some(&own) && !hears_master
}

/// Keeps the duty of a slave, until `stop`.
pub(super) async fn keep_duty(b: Arc<Broker>, stop: CancellationToken) {
    let (own, silence_max_ms) = {
        let config = b.config();
        // Two signs of life may be so far apart.
        let patience = config
            .broker_not_active_timeout_millis
            .max(config.ha_send_heartbeat_interval.saturating_mul(2));
        (config.broker_id, i64::from(patience))
    };
    let mut heard = b.peers.heard();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut had_master = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = heard.changed() => {}
            _ = tick.tick() => {}
        }
        let replication = &b.replication;
        let views = b.peers.views(&b);
        let masters: Vec<&Str> = views.iter().filter_map(|view| view.get(&MASTER_ID)).collect();
        replication.is_back(&masters);
        let hears_master = replication
            .follower
            .has_heard_since(b.env.clock.now_ms() - silence_max_ms)
            || replication.service.awaits_master(b.env.clock.instant());
        let acts = replication.is_in_service() && acts(own, &views, hears_master);
        if acts && !b.duty.is_on() {
            info!(broker = own, "the master is gone, and no smaller id is alive");
            replication.forget_master();
        }
        b.duty.set(acts);
        if !masters.is_empty() && !had_master {
            // They were sent here because it was away.
            b.held.release(&b.store);
        }
        had_master = !masters.is_empty();
    }
}

impl Replication {
    /// Name servers have a master: its tables count if it is the one we know.
    fn is_back(&self, masters: &[&Str]) {
        self.master.send_if_modified(|known| {
            let is_back = !known.in_service && masters.iter().any(|at| known.address.as_ref() == Some(at));
            known.in_service |= is_back;
            is_back
        });
    }

    /// The master is gone: what it says when it comes back is older than what is known here.
    fn forget_master(&self) {
        self.master.send_replace(Master::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(ids: &[i64]) -> BTreeMap<i64, Str> {
        ids.iter().map(|id| (*id, Str::from(format!("h:{id}")))).collect()
    }

    #[test]
    fn the_smallest_slave_acts_when_the_master_is_gone() {
        assert!(acts(1, &[view(&[1, 2])], false));
        assert!(!acts(2, &[view(&[1, 2])], false));
        assert!(!acts(1, &[view(&[0, 1, 2])], false));
        assert!(acts(2, &[view(&[2])], false));
    }

    #[test]
    fn one_name_server_that_knows_a_smaller_id_is_enough_to_keep_a_slave_from_acting() {
        assert!(!acts(1, &[view(&[1]), view(&[0, 1])], false));
        assert!(!acts(2, &[view(&[2]), view(&[1, 2])], false));
        assert!(acts(1, &[view(&[1]), view(&[1, 2])], false));
    }

    #[test]
    fn nobody_acts_whom_no_name_server_knows() {
        assert!(!acts(1, &[], false), "cut off from all");
        assert!(!acts(1, &[view(&[])], false), "one that has just started");
        assert!(!acts(1, &[view(&[2])], false), "dropped there");
        assert!(acts(1, &[view(&[]), view(&[1])], false));
    }

    #[test]
    fn a_master_that_is_heard_of_is_not_gone() {
        assert!(!acts(1, &[view(&[1])], true));
    }
}
