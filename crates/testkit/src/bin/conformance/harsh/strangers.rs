// SPDX-License-Identifier: Apache-2.0
//! Settings that somebody from elsewhere wants otherwise (request 25): where the files are, who the name servers are, which part the broker
//! plays. And those which no request may change, asked for from the broker's own host. A setting counts as taken when the broker tells
//! the new value afterwards; at barque, which hides secrets, also when the request is answered with success.

use super::{Played, Side, clients, start_with};
use crate::kills::actor::{ask, must};
use anyhow::{Context as _, ensure};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;
use testkit::line::Line;
use tokio::net::TcpSocket;
use wire::code::Code;

const TOPIC: &str = "Strange";
const SOON: Duration = Duration::from_secs(10);

/// They name places of the host, other hosts, code or secrets; no request changes them.
const FIXED: [&str; 19] = [
    "storePathRootDir",
    "storePathCommitLog",
    "storePathEpochFile",
    "storePathBrokerIdentity",
    "readOnlyCommitLogStorePaths",
    "rocketmqHome",
    "brokerConfigPath",
    "configBlackList",
    "namesrvAddr",
    "brokerIP1",
    "brokerIP2",
    "bindAddress",
    "haMasterAddress",
    "controllerAddr",
    "metricsPromExporterHost",
    "metricsGrpcExporterTarget",
    "metricsGrpcExporterHeader",
    "messageStorePlugIn",
    "authConfigPath",
];

/// An administrator may change these; nobody else.
const OURS_TO_CHANGE: [(&str, &str); 6] = [
    ("brokerRole", "SLAVE"),
    ("brokerName", "stranger"),
    ("brokerClusterName", "stranger"),
    ("flushDiskType", "SYNC_FLUSH"),
    ("fileReservedTime", "1"),
    ("brokerPermission", "4"),
];

pub(super) fn play(side: &Side<'_>) -> anyhow::Result<Vec<Played>> {
    let server = start_with(&side.plan("strangers"), TOPIC)?;
    let broker = server.broker();
    let fixed = |value: &'static str| FIXED.map(|key| (key, value));
    let mut own = Line::open(broker)?;
    // Otherwise that nothing is taken would say nothing.
    ensure!(
        is_taken(&mut own, side, ("fileReservedTime", "71"))?,
        "an administrator cannot change a setting"
    );
    let mut all = Vec::new();
    let case = "settings wanted by a stranger";
    match stranger(broker)? {
        Some(mut line) => {
            let wanted: Vec<_> = fixed("192.0.2.1:1").into_iter().chain(OURS_TO_CHANGE).collect();
            all.push(want(&mut line, side, (case, &wanted))?);
        }
        None => all.push(Played {
            case,
            told: "SKIPPED, this host has no address besides its loopback".to_owned(),
            broken: Vec::new(),
        }),
    }
    let case = "fixed settings wanted over the loopback";
    all.push(want(&mut own, side, (case, &fixed("192.0.2.1:2")))?);
    // What it was told may keep it from a stop in order.
    server.kill()?;
    Ok(all)
}

/// Asks for one setting after the other, and looks which of them were taken.
fn want(
    line: &mut Line,
    side: &Side<'_>,
    (case, wanted): (&'static str, &[(&str, &str)]),
) -> anyhow::Result<Played> {
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for (key, value) in wanted {
        if is_taken(line, side, (key, value))? {
            taken.push(*key);
        } else {
            left.push(*key);
        }
    }
    let words = match (taken.len(), left.len()) {
        (0, _) => String::new(),
        (_, 0) => ": all".to_owned(),
        (some, most) if some > most => format!(": all but {}", left.join(", ")),
        _ => format!(": {}", taken.join(", ")),
    };
    Ok(Played {
        case,
        told: format!("**{} of {} taken**{words}", taken.len(), wanted.len()),
        broken: taken.iter().map(|key| format!("{key} was taken")).collect(),
    })
}

fn is_taken(line: &mut Line, side: &Side<'_>, (key, value): (&str, &str)) -> anyhow::Result<bool> {
    let body = format!("{key}={value}\n");
    let answer = ask(line, Code::UPDATE_BROKER_CONFIG, &[], body.as_bytes())?;
    let told = must(line, Code::GET_BROKER_CONFIG, &[], b"")?;
    let is_told = String::from_utf8_lossy(&told.body)
        .lines()
        .filter_map(|line| line.split_once('='))
        .any(|(name, told)| name.trim() == key && told.trim().replace('\\', "") == value);
    Ok(is_told || side.is_ours() && answer.code == 0)
}

/// A connection that does not come from the host of the broker, as far as the broker can see: from an address of this host, to its
/// loopback. `None`: there is no other address.
fn stranger(broker: SocketAddr) -> anyhow::Result<Option<Line>> {
    let Some(own) = own_address() else {
        return Ok(None);
    };
    let stream = clients()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((own, 0).into())?;
        let stream = tokio::time::timeout(SOON, socket.connect(broker)).await;
        stream
            .context("no connection in time")??
            .into_std()
            .map_err(anyhow::Error::from)
    });
    let Ok(stream) = stream else { return Ok(None) };
    stream.set_nonblocking(false)?;
    Line::over(stream).map(Some)
}

/// An address of this host that is not its loopback. Nothing is sent to find it out.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(own) if !own.is_loopback() && !own.is_unspecified() => Some(own),
        _ => None,
    }
}
