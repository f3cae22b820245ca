// SPDX-License-Identifier: Apache-2.0
//! Tells brokers that the smallest id of their group has changed (code 905). Like the reference we dial the address that
//! a broker registered: it takes such requests on its own port, not on the connection that it opened to us. A notice that
//! does not arrive is no harm: brokers also ask for their group.

use std::collections::HashMap;
use std::time::Duration;

use net::Channel;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use wire::Str;
use wire::api::register::NotifyMinBrokerIdChange;
use wire::frame::Frame;

use crate::registry::Notice;

const TIMEOUT: Duration = Duration::from_millis(300);
/// Open connections to brokers; they close by themselves when idle.
const CHANNELS_MAX: usize = 1024;

/// Sends what comes, one notice after the other, until `stop`.
pub(crate) async fn send_all(notices: Option<mpsc::Receiver<Notice>>, stop: &CancellationToken) {
    let Some(mut notices) = notices else { return };
    let send = async {
        let mut channels = HashMap::new();
        while let Some(notice) = notices.recv().await {
            channels.retain(|_, channel: &mut Channel| channel.is_open());
            if channels.len() >= CHANNELS_MAX {
                channels.clear();
            }
            for addr in &notice.recipients {
                if let Err(reason) = send(&notice, addr, &mut channels).await {
                    debug!(broker = %notice.broker, addr = %addr, reason, "notice not sent");
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = send => {}
    }
}

async fn send(notice: &Notice, addr: &Str, channels: &mut HashMap<Str, Channel>) -> Result<(), String> {
    let frame = Frame::request(
        0,
        &NotifyMinBrokerIdChange {
            min_broker_id: Some(notice.min_id),
            broker_name: Some(notice.broker.clone()),
            min_broker_addr: Some(notice.min_addr.clone()),
            offline_broker_addr: notice.offline_addr.clone(),
            ha_broker_addr: notice.ha_addr.clone(),
        },
    )
    .oneway();
    if !channels.contains_key(addr) {
        channels.insert(addr.clone(), dial(addr).await?);
    }
    channels
        .get(addr)
        .map_or(Ok(()), |channel| channel.push(frame).map_err(|e| e.to_string()))
}

/// Tries every address of the name: localhost may stand for ::1 first while the broker listens on 127.0.0.1 only.
async fn dial(addr: &str) -> Result<Channel, String> {
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host(addr)).await;
    let found: Vec<_> = found
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?
        .collect();
    // An address where nobody answers must not use up the time of the others.
    let share = TIMEOUT / u32::try_from(found.len()).unwrap_or(1).max(1);
    let mut failed = "the name has no address".to_owned();
    for address in found {
        match Channel::connect(address, share).await {
            Ok(channel) => return Ok(channel),
            Err(error) => failed = error.to_string(),
        }
    }
    Err(failed)
}
