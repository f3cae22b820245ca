// SPDX-License-Identifier: Apache-2.0
//! Where the brokers are that have other stretches, as name servers said lately.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wire::Str;

use crate::broker::Broker;
use crate::peers::Route;

/// How long it counts. Where no name server answers, it counts until it proves wrong.
const KEPT: Duration = Duration::from_secs(10);
/// Brokers that are remembered.
const BROKERS_MAX: usize = 10_000;

/// Addresses by name of broker.
#[derive(Default)]
pub(super) struct Away(Mutex<HashMap<Str, (Instant, Str)>>);

impl Away {
    /// The address of a broker that has queues of the topic, or why it is not known.
    pub(super) async fn address(&self, b: &Broker, topic: &Str, broker: &Str) -> Result<Str, &'static str> {
        let now = b.env.clock.instant();
        let known = self.0.lock().get(broker).cloned();
        if let Some((_, address)) = known.as_ref().filter(|(until, _)| now < *until) {
            return Ok(address.clone());
        }
        let Route::Found(route) = b.peers.route(b, topic).await else {
            let address = known.map(|(_, address)| address);
            return address.ok_or("no name server says where it is");
        };
        let mut brokers = route.broker_datas.into_iter();
        let found = brokers.find(|data| data.broker_name == *broker);
        let address = found.and_then(|data| data.broker_addrs.into_values().next());
        let address = address.ok_or("no name server knows it")?;
        let mut all = self.0.lock();
        if all.len() >= BROKERS_MAX {
            all.clear();
        }
        all.insert(broker.clone(), (now + KEPT, address.clone()));
        Ok(address)
    }

    /// It does not answer there.
    pub(super) fn forget(&self, broker: &str) {
        self.0.lock().remove(broker);
    }
}
