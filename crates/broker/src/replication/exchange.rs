// SPDX-License-Identifier: Apache-2.0
//! Code 906: a master that comes back tells its slaves where it is, and a slave asks its master where the log is. Anybody can
//! send it, so a slave finds out first who says so.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use net::{Answer, Call, Fault, Reply};
use thiserror::Error;
use tokio::time::timeout;
use tracing::warn;
use wire::Str;
use wire::api::ha::ExchangeBrokerHaInfo;
use wire::code::ResponseCode;

use super::hello::{HelloError, say_hello};
use super::online::{AskError, LINK_MAX, ask_on, hosts_of};
use super::{Master, Replication, tables};
use crate::broker::Broker;
use crate::config::is_host_port;

/// How long a slave does not act after a master said that it comes back, unless there is a link then.
const AWAITED_MAX: Duration = LINK_MAX;
/// How long the deliveries of a slave may take to end; less than who waits for the answer does.
const DUTY_END_MAX: Duration = Duration::from_secs(2);
/// How long a slave takes to find out whether who says so is its master.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Why somebody is not believed to be the master.
#[derive(Debug, Error)]
enum NotMaster {
    #[error("masterHaAddress and masterAddress have to be host:port")]
    NoAddress,
    #[error("this slave follows another master")]
    Another,
    #[error("the master at {0} cannot be asked: {1}")]
    Unreached(Str, #[source] AskError),
    #[error("hello to the master at {0}: {1}")]
    Unproven(Str, #[source] HelloError),
    #[error("the master at {0} says that its log is elsewhere")]
    LogElsewhere(Str),
    #[error("it takes too long to find out whether this is the master")]
    Late,
    #[error("too many say at the same time that they are the master")]
    TooMany,
}

/// Code 906. With an address: a master comes back, and says so to this slave. Without: somebody asks where the master is.
pub(crate) fn exchange(
    b: &Arc<Broker>,
    call: Call<ExchangeBrokerHaInfo>,
) -> Result<Answer<ExchangeBrokerHaInfo>, Fault> {
    let said = call.header;
    let Some(replication) = said.master_ha_address.filter(|at| !at.is_empty()) else {
        let answer = match b.is_slave() {
            true => ExchangeBrokerHaInfo::default(),
            false => ExchangeBrokerHaInfo {
                master_ha_address: Some(b.config().replication_address()),
                master_flush_offset: Some(b.replication.service.began.load(Ordering::Relaxed)),
                master_address: Some(b.address.clone()),
            },
        };
        return Ok(Reply::ok(answer).into());
    };
    let nothing = || Reply::ok(ExchangeBrokerHaInfo::default());
    if !b.is_slave() || !b.config().enable_slave_acting_master {
        return Ok(nothing().into());
    }
    let (b, from) = (Arc::clone(b), call.peer.addr);
    let address = said.master_address.unwrap_or_default();
    Ok(Answer::Later(Box::pin(async move {
        if let Err(error) = be_led(&b, (replication, address), from).await {
            if b.replication.service.is_refusal_news(b.env.clock.instant()) {
                warn!(peer = %from, %error, "somebody who says that it is the master is not believed");
            }
            return Err(Fault::new(ResponseCode::SYSTEM_ERROR, error.to_string()));
        }
        b.duty.set(false);
        // Otherwise something is delivered twice, which is better than a master that does not come back.
        drop(timeout(DUTY_END_MAX, b.duty.ended()).await);
        Ok(nothing())
    })))
}

/// Follows the master that says where its log and itself are, if it is one.
async fn be_led(
    b: &Arc<Broker>,
    (replication, address): (Str, Str),
    from: SocketAddr,
) -> Result<(), NotMaster> {
    if !is_host_port(&replication) || !is_host_port(&address) {
        return Err(NotMaster::NoAddress);
    }
    let told = Master {
        address: Some(address.clone()),
        replication: Some(replication.clone()),
        in_service: false,
    };
    if led_by(&b.replication.master.borrow(), b.replication.is_linked(), &told).is_none() {
        return Err(NotMaster::Another);
    }
    let _looking = b
        .replication
        .service
        .looks
        .try_acquire()
        .map_err(|_| NotMaster::TooMany)?;
    let look = look_at(b, &replication, &address, from.ip());
    timeout(LOOK_MAX, look).await.map_err(|_| NotMaster::Late)??;
    match b.replication.awaits(&told, b.env.clock.instant()) {
        true => Ok(()),
        false => Err(NotMaster::Another),
    }
}

/// Whether the master is there, as far as can be found out: with `haSecret` it proves itself, and says the same; else it
/// has to come from where it says that it is, or to be found there.
async fn look_at(b: &Broker, replication: &Str, address: &Str, from: IpAddr) -> Result<(), NotMaster> {
    let has_secret = b.config().ha_secret.get().is_some();
    if !has_secret {
        let (log, own) = tokio::join!(hosts_of(replication), hosts_of(address));
        if is_one_of(from, &log) && is_one_of(from, &own) {
            return Ok(());
        }
    }
    let unreached = |error: AskError| NotMaster::Unreached(address.clone(), error);
    let channel = tables::connect(b, address).await;
    let channel = channel.map_err(|error| unreached(error.into()))?;
    if has_secret && let Err(error) = say_hello(b, &channel).await {
        return Err(NotMaster::Unproven(address.clone(), error));
    }
    let said = ask_on(&channel, ExchangeBrokerHaInfo::default()).await;
    match said.map_err(unreached)?.master_ha_address.as_ref() == Some(replication) {
        true => Ok(()),
        false => Err(NotMaster::LogElsewhere(address.clone())),
    }
}

/// Whether an address is among those of a host. One host may use any of its own for itself.
fn is_one_of(from: IpAddr, hosts: &[IpAddr]) -> bool {
    let from = from.to_canonical();
    hosts
        .iter()
        .map(IpAddr::to_canonical)
        .any(|host| host == from || (host.is_loopback() && from.is_loopback()))
}

/// What is known of the master after one says that it comes back. `None`: there is another one, which name servers know,
/// and which this slave follows. One that no name server knows is displaced: it may be a stranger.
fn led_by(known: &Master, is_linked: bool, told: &Master) -> Option<Master> {
    let is_same = known.in_service && known.replication == told.replication;
    if is_linked && known.in_service && !is_same {
        return None;
    }
    let mut told = told.clone();
    if is_same {
        // Name servers said where it is.
        told.address = known.address.clone().or(told.address);
    }
    Some(told)
}

impl Replication {
    /// A master comes back. `false`: there is another one, which this slave follows.
    fn awaits(&self, told: &Master, now: Instant) -> bool {
        let is_linked = self.is_linked();
        let is_let = self.master.send_if_modified(|known| {
            let next = led_by(known, is_linked, told);
            let is_let = next.is_some();
            // Also when it is the same: whoever waits before the next attempt to reach it goes on.
            *known = next.unwrap_or_else(|| known.clone());
            is_let
        });
        if is_let {
            *self.service.awaited.lock() = Some(now + AWAITED_MAX);
        }
        is_let
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn master(address: &str, replication: &str, in_service: bool) -> Master {
        Master {
            address: Some(address.into()),
            replication: Some(replication.into()),
            in_service,
        }
    }

    #[test]
    fn nobody_leads_a_slave_away_from_a_master_that_name_servers_know() {
        let known = master("m:1", "m:2", true);
        assert_eq!(led_by(&known, true, &master("e:1", "e:2", false)), None);
        let back = master("n:1", "n:2", false);
        assert_eq!(
            led_by(&known, false, &back),
            Some(back),
            "it may have moved while it was away"
        );
    }

    #[test]
    fn the_master_displaces_a_stranger_that_no_name_server_knows() {
        let stranger = led_by(&Master::default(), false, &master("e:1", "e:2", false)).unwrap();
        let back = master("m:1", "m:2", false);
        assert_eq!(led_by(&stranger, true, &back), Some(back.clone()));
        let stranger = master("e:1", "m:2", false);
        assert_eq!(led_by(&stranger, true, &back), Some(back));
    }

    #[test]
    fn where_the_master_takes_requests_is_what_name_servers_said() {
        let known = master("m:1", "m:2", true);
        let told = master("e:1", "m:2", false);
        assert_eq!(led_by(&known, true, &told), Some(master("m:1", "m:2", false)));
    }

    #[test]
    fn a_master_comes_from_a_host_that_it_names() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(is_one_of(ip("10.0.0.1"), &[ip("10.0.0.2"), ip("10.0.0.1")]));
        assert!(is_one_of(ip("::ffff:10.0.0.1"), &[ip("10.0.0.1")]));
        assert!(is_one_of(ip("127.0.0.1"), &[ip("127.0.1.1")]), "its own name");
        assert!(!is_one_of(ip("10.0.0.3"), &[ip("10.0.0.1"), ip("127.0.0.1")]));
        assert!(!is_one_of(ip("10.0.0.1"), &[]), "a name that nobody knows");
    }
}
