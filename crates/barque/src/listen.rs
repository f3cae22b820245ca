// SPDX-License-Identifier: Apache-2.0
//! Takes ports before anything else is touched, and says what to do when one cannot be had.

use anyhow::anyhow;
use net::{BindError, Listening, Server};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

/// Takes a port; `setting` is what the user changes to choose another.
pub(crate) async fn take(host: IpAddr, port: u16, setting: &str) -> anyhow::Result<Listening> {
    Server::bind(SocketAddr::new(host, port))
        .await
        .map_err(|error| refused(&error, setting))
}

/// Why a port was not taken, in words that say what to change.
pub(crate) fn refused(error: &BindError, setting: &str) -> anyhow::Error {
    let reason = match error.source.kind() {
        ErrorKind::AddrInUse => {
            format!("another process listens there; stop it or choose another port with {setting}")
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        ErrorKind::PermissionDenied => {
            format!("the system does not permit it; choose a port above 1023 with {setting}")
        }
        _ => error.source.to_string(),
    };
    anyhow!("cannot listen on {}: {reason}", error.addr)
}
