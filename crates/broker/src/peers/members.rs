// SPDX-License-Identifier: Apache-2.0
//! Who of this name is alive: signs of life to the name servers (904), and what each of them says about the others (901).

use std::time::{Duration, Instant};

use net::{Answer, Call, CallError, Fault, Reply};
use tokio::time::{MissedTickBehavior, timeout};
use tracing::error;
use wire::api::register::{BrokerHeartbeat, GetBrokerMemberGroup, NotifyMinBrokerIdChange};
use wire::body::topic_route::BrokerMemberGroupBody;
use wire::code::NoHeader;

use super::{
    Arc, BTreeMap, BTreeSet, Broker, Channel, Frame, Link, PeerError, Peers, ResponseCode, Str, debug,
    fastjson, info,
};
use crate::pull::MASTER_ID;

/// How often a name server is asked where no slave acts for its master.
const ASKED_EVERY: Duration = Duration::from_secs(2);
/// How long after a question nobody makes a broker ask again.
const ASKED_AT_MOST_EVERY: Duration = Duration::from_millis(200);
/// Most brokers of one name that are looked at.
const MEMBERS_MAX: usize = 128;

/// What one name server says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Addresses by id, and when it said so.
    members: Option<(BTreeMap<i64, Str>, Instant)>,
    /// It could not be reached, or did not answer, the last time.
    pub(super) has_failed: bool,
}

/// What all name servers say whose word still counts, one after the other.
pub(crate) type Views = Vec<BTreeMap<i64, Str>>;

impl Peers {
    /// What name servers said lately.
    pub(crate) fn views(&self, b: &Broker) -> Views {
        let now = b.env.clock.instant();
        let life = Duration::from_millis(u64::from(b.config().broker_not_active_timeout_millis));
        let view = |link: &Arc<Link>| {
            let said = link.said.lock();
            let (members, at) = said.members.as_ref()?;
            (now.saturating_duration_since(*at) < life).then(|| members.clone())
        };
        self.links.iter().filter_map(view).collect()
    }

    /// The other brokers of this name that any name server knows.
    pub(crate) fn others(&self, b: &Broker) -> BTreeSet<(i64, Str)> {
        let own = b.config().broker_id;
        let all = self.views(b).into_iter().flatten();
        all.filter(|(id, address)| *id != own && *address != b.address)
            .collect()
    }

    /// Another broker that name servers take for this one.
    pub(crate) fn rival(&self, b: &Broker) -> Option<Str> {
        let masters = |mut view: BTreeMap<i64, Str>| view.remove(&MASTER_ID);
        let all = self.views(b).into_iter().filter_map(masters);
        all.filter(|master| !b.is_slave() && *master != b.address).last()
    }

    /// Whether there are name servers at all.
    pub(crate) fn are_any(&self) -> bool {
        !self.links.is_empty()
    }

    /// Asks all name servers now, and not only when it is time.
    pub(crate) fn ask(&self) {
        for link in &self.links {
            link.ask.notify_one();
        }
    }

    /// Tells when one has answered, or cannot be asked.
    pub(crate) fn heard(&self) -> tokio::sync::watch::Receiver<()> {
        self.heard.subscribe()
    }

    /// Returns when each has answered once, or cannot be asked.
    pub(crate) async fn all_tried(&self) {
        let is_tried = |link: &Arc<Link>| {
            let said = link.said.lock();
            said.members.is_some() || said.has_failed
        };
        // An error: it ends with the broker.
        drop(self.heard().wait_for(|()| self.links.iter().all(is_tried)).await);
    }
}

/// Code 905. A name server says that the smallest id has changed; as anybody can say so, the name servers are asked. It
/// means nothing where no slave acts.
pub(crate) fn min_id_changed(
    b: &Arc<Broker>,
    _: Call<NotifyMinBrokerIdChange>,
) -> Result<Answer<NoHeader>, Fault> {
    if b.config().enable_slave_acting_master {
        b.peers.ask();
    }
    Ok(Reply::ok(NoHeader).into())
}

/// Asks again and again who is alive, until the connection is of no use.
pub(super) async fn keep_asking(b: &Arc<Broker>, link: &Link, channel: &Channel) -> PeerError {
    let (first, every) = {
        let config = b.config();
        match config.enable_slave_acting_master {
            true => (
                Duration::ZERO,
                Duration::from_millis(u64::from(config.sync_broker_member_group_period)),
            ),
            // Nothing waits for the answer.
            false => (ASKED_EVERY, ASKED_EVERY),
        }
    };
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut again = tokio::time::Instant::now();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = wanted(link, again) => {}
        }
        again = tokio::time::Instant::now() + ASKED_AT_MOST_EVERY;
        match ask(b, channel).await {
            Ok(members) => {
                note_rival(b, link, &members);
                let mut said = link.said.lock();
                said.members = Some((members, b.env.clock.instant()));
                said.has_failed = false;
            }
            Err(error) => {
                debug!(server = %link.server, %error, "name server does not say who is alive");
                link.said.lock().has_failed = true;
                if matches!(&error, PeerError::Call(call) if !matches!(call, CallError::TimedOut(..))) {
                    return error;
                }
            }
        }
        b.peers.heard.send_replace(());
    }
}

/// Returns when somebody wants to know, and no sooner than `again`: many that want it then get one answer.
async fn wanted(link: &Link, again: tokio::time::Instant) {
    tokio::time::sleep_until(again).await;
    link.ask.notified().await;
}

async fn ask(b: &Arc<Broker>, channel: &Channel) -> Result<BTreeMap<i64, Str>, PeerError> {
    let (ask, patience) = {
        let config = b.config();
        let ask = GetBrokerMemberGroup {
            cluster_name: config.broker_cluster_name.clone(),
            broker_name: config.broker_name.clone(),
        };
        (ask, patience(config.send_heartbeat_timeout_millis))
    };
    let reply = channel.call(Frame::request(0, &ask), patience).await?;
    match ResponseCode(reply.code) {
        ResponseCode::SUCCESS => {}
        code => {
            return Err(PeerError::Refused {
                code,
                remark: reply.remark.unwrap_or_default(),
            });
        }
    }
    let group = fastjson::from_slice::<BrokerMemberGroupBody>(&reply.body).unwrap_or_default();
    let members = group.broker_member_group.unwrap_or_default().broker_addrs;
    Ok(members.into_iter().take(MEMBERS_MAX).collect())
}

fn patience(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

/// Whether somebody else has registered as this master since we did: then one of the two has to go.
fn note_rival(b: &Broker, link: &Link, members: &BTreeMap<i64, Str>) {
    if b.is_slave() {
        return;
    }
    let rival = |members: &BTreeMap<i64, Str>| {
        let master = members.get(&MASTER_ID);
        master.filter(|master| **master != b.address).cloned()
    };
    let before = link
        .said
        .lock()
        .members
        .as_ref()
        .and_then(|(members, _)| rival(members));
    match rival(members) {
        now if now == before => {}
        Some(rival) => error!(
            server = %link.server, %rival, broker = %b.config().broker_name,
            "another broker has registered as the master of this name: clients find only one of the two; stop one, or give it another brokerName"
        ),
        None => {
            info!(server = %link.server, "no other broker is registered as the master of this name any more")
        }
    }
}

/// Says again and again that this broker is alive, until the connection is of no use. What is late is no reason to leave: the
/// name server would take the end of the connection for that of the broker.
pub(super) async fn keep_beating(b: &Arc<Broker>, link: &Link, channel: &Channel) -> PeerError {
    let (every, limit, beat) = {
        let config = b.config();
        let beat = BrokerHeartbeat {
            cluster_name: config.broker_cluster_name.clone(),
            broker_addr: b.address.clone(),
            broker_name: config.broker_name.clone(),
            ..BrokerHeartbeat::default()
        };
        let every = patience(config.broker_heartbeat_interval);
        (every, patience(config.send_heartbeat_timeout_millis), beat)
    };
    if !b.config().enable_slave_acting_master {
        return std::future::pending().await;
    }
    b.replication.in_service().await;
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match timeout(limit, channel.call(Frame::request(0, &beat), limit)).await {
            Ok(Ok(_)) | Err(_) | Ok(Err(CallError::TimedOut(..))) => {}
            Ok(Err(error)) => {
                debug!(server = %link.server, %error, "no sign of life to a name server");
                return error.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_that_want_to_know_get_one_answer_after_a_while() {
        let link = Link {
            is_registered: super::super::AtomicBool::new(false),
            server: "n:1".into(),
            news: super::super::Mutex::default(),
            wake: super::super::Notify::new(),
            channel: super::super::Mutex::default(),
            said: super::super::Mutex::default(),
            ask: super::super::Notify::new(),
        };
        let asked = tokio::time::Instant::now();
        for _ in 0..5 {
            link.ask.notify_one();
        }
        wanted(&link, asked + ASKED_AT_MOST_EVERY).await;
        assert_eq!(asked.elapsed(), ASKED_AT_MOST_EVERY);
        let again = timeout(Duration::from_secs(60), wanted(&link, asked)).await;
        assert!(again.is_err(), "nobody wants to know any more");
    }
}
