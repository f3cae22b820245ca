// SPDX-License-Identifier: Apache-2.0
//! Drops brokers that are gone: at once when the connection of their latest registration ends, else when they were
//! silent for the time that they agreed to.

use std::sync::Arc;
use std::time::Duration;

use net::Peer;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::nameserver::NameServer;
use crate::registry::Gone;

/// Looks for silent brokers until `stop`.
pub(crate) async fn watch(server: &NameServer, stop: &CancellationToken) {
    loop {
        let interval = Duration::from_millis(server.config.load().scan_not_active_broker_interval.get());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => server.drop_silent(),
        }
    }
}

impl NameServer {
    /// Drops the brokers that are overdue, and closes their connections.
    pub fn drop_silent(&self) {
        let gone = self.registry.write().expire(self.now_ms());
        for broker in &gone {
            if let Some(peer) = self.registrants.lock().get(&broker.conn) {
                peer.close();
            }
        }
        self.tell(gone, "silent");
    }

    fn tell(&self, gone: Vec<Gone>, reason: &'static str) {
        for broker in gone {
            info!(broker = %broker.broker, addr = %broker.addr, reason, "broker dropped");
            self.notify(broker.notice);
        }
    }
}

/// The brokers that registered over this connection, and not again over another, are gone.
pub(crate) fn connection_ended(server: &NameServer, peer: &Arc<Peer>) {
    // Most connections are clients': they cost no look at the tables.
    if server.registrants.lock().remove(&peer.id).is_some() {
        let gone = server.registry.write().disconnected(peer.id);
        server.tell(gone, "connection ended");
    }
}
