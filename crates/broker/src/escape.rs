// SPDX-License-Identifier: Apache-2.0
//! The way out of a slave that acts for its master. It must not write to its log, which has to stay a copy; so what is due
//! there is sent (310) to a master of another name, as the reference's `enableRemoteEscape` does.
//!
//! A message is settled here only when that master has stored it. Where the answer is lost it is sent again, so it may come
//! twice, as after any lost answer to a send.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use net::Channel;
use parking_lot::Mutex;
use thiserror::Error;
use wire::Str;
use wire::api::send::SendMessageV2;
use wire::body::topic_route::TopicRoute;
use wire::code::ResponseCode;
use wire::frame::Frame;
use wire::properties::{Properties, get, name};
use wire::record::{Parts, sysflag};

use crate::broker::Broker;
use crate::names::AUTO_CREATE_TOPIC;
use crate::peers::Route;
use crate::pull::MASTER_ID;
use crate::replication::{FetchError, connect};
use crate::send::properties::name::{TIMER_DELAY_MS, TIMER_DELAY_SEC, TIMER_DELIVER_MS, TIMER_OUT_MS};
use crate::topic::perm;

/// How long what a name server said about a topic counts.
const ROUTE_KEPT: Duration = Duration::from_secs(10);
/// How long it counts that it said of none.
const NOWHERE_KEPT: Duration = Duration::from_secs(1);
/// Topics whose routes are remembered.
const ROUTES_MAX: usize = 10_000;
/// How long a master has for an answer, as in the reference.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// How long a master gets nothing that did not answer, and one that refused.
const SILENT_SHUNNED: Duration = Duration::from_secs(5);
const REFUSED_SHUNNED: Duration = Duration::from_millis(500);
/// What a topic that is made on the way gets, as in the reference.
const NEW_QUEUES: i32 = 8;
const PRODUCER_GROUP: &str = "PGROUP";

/// In the place of a topic: all of them.
const EVERYTHING: &str = "";
const PREPARED: &str = "TRAN_MSG";
const REAL: [&str; 2] = [name::REAL_TOPIC, name::REAL_QID];
/// What a message asks for that is to be delivered at a time.
const TIMED: [&str; 3] = [TIMER_DELIVER_MS, TIMER_DELAY_SEC, TIMER_DELAY_MS];

/// Where other masters are, and the links to them.
#[derive(Default)]
pub(crate) struct Escape {
    routes: Mutex<HashMap<Str, Known>>,
    links: Mutex<HashMap<Str, Arc<Channel>>>,
    /// Masters that failed, for a topic or for every one, and until when they get nothing.
    shunned: Mutex<HashMap<(Str, Str), Instant>>,
    turn: AtomicUsize,
}

/// Until when a topic's route counts, and the queues that take its messages.
type Known = (Instant, Arc<[Target]>);

/// A queue of another master.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    broker: Str,
    address: Str,
    queue_id: i32,
}

/// A message that has to go.
#[derive(Debug)]
pub(crate) struct Leaver<'a> {
    pub(crate) parts: Parts<'a>,
    pub(crate) topic: &'a str,
    /// Whose route is taken while the topic itself is on no other broker.
    pub(crate) beside: Option<&'a str>,
    pub(crate) properties: Properties,
    pub(crate) reconsume_times: i32,
    /// It is a half, and is to be one there.
    pub(crate) is_half: bool,
}

impl<'a> Leaver<'a> {
    /// A stored message, on its way to its topic.
    pub(crate) fn of(parts: Parts<'a>, topic: &'a str) -> Leaver<'a> {
        Leaver {
            parts,
            topic,
            beside: None,
            properties: Properties::from_bytes(parts.properties),
            reconsume_times: parts.reconsume_times,
            is_half: false,
        }
    }
}

/// Why a message has not left.
#[derive(Debug, Error)]
pub(crate) enum EscapeError {
    #[error("no other master takes messages of topic {0}")]
    Nowhere(Str),
    #[error("{address}: {why}")]
    Unreachable { address: Str, why: String },
    #[error("{address} answers {code}: {remark}")]
    Refused {
        address: Str,
        code: ResponseCode,
        remark: Str,
    },
    #[error("its properties are no text")]
    NoText,
    #[error("this broker does not act for its master any more")]
    Over,
}

/// Sends a message to another master; returns when that has stored it. Whatever the reason that it is not: it stays here, for
/// the master has it, too.
pub(crate) async fn send(b: &Broker, leaver: Leaver<'_>) -> Result<(), EscapeError> {
    if !b.duty.is_on() {
        // What is sent from now on the master sends as well.
        return Err(EscapeError::Over);
    }
    let targets = targets_of(b, &leaver).await;
    let target = b.escape.choose(leaver.topic, &targets, b.env.clock.instant());
    let target = target.ok_or_else(|| EscapeError::Nowhere(leaver.topic.into()))?;
    let answer = match ask(b, target, &leaver, &leaver.properties).await {
        // Rather without what was added on the way than not at all.
        Ok((ResponseCode::MESSAGE_ILLEGAL, _)) if leaver.properties.as_bytes() != leaver.parts.properties => {
            ask(
                b,
                target,
                &leaver,
                &Properties::from_bytes(leaver.parts.properties),
            )
            .await
        }
        answer => answer,
    };
    let now = b.env.clock.instant();
    match answer {
        // It is stored there; the promise of that master's own replicas was not asked for.
        Ok((
            ResponseCode::SUCCESS
            | ResponseCode::FLUSH_DISK_TIMEOUT
            | ResponseCode::FLUSH_SLAVE_TIMEOUT
            | ResponseCode::SLAVE_NOT_AVAILABLE,
            _,
        )) => Ok(()),
        Ok((code, remark)) => {
            let address = target.address.clone();
            // It may be the message that is at fault; others of its topic need not wait.
            if code != ResponseCode::MESSAGE_ILLEGAL {
                b.escape.shun(&address, leaver.topic, now + REFUSED_SHUNNED);
            }
            Err(EscapeError::Refused {
                address,
                code,
                remark,
            })
        }
        Err(error) => {
            b.escape.shun(&target.address, EVERYTHING, now + SILENT_SHUNNED);
            Err(error)
        }
    }
}

/// What a master answers to a message.
async fn ask(
    b: &Broker,
    target: &Target,
    leaver: &Leaver<'_>,
    properties: &Properties,
) -> Result<(ResponseCode, Str), EscapeError> {
    let frame = request(b, target, leaver, properties)?;
    let answer = b.escape.call(b, &target.address, frame, ANSWER_MAX).await?;
    Ok((ResponseCode(answer.code), answer.remark.unwrap_or_default()))
}

/// The same for a thread that may wait.
pub(crate) fn send_blocking(b: &Broker, leaver: Leaver<'_>) -> Result<(), EscapeError> {
    tokio::runtime::Handle::current().block_on(send(b, leaver))
}

impl Escape {
    /// Asks another broker, over the link to it, made if there is none.
    pub(crate) async fn call(
        &self,
        b: &Broker,
        address: &Str,
        frame: Frame,
        patience: Duration,
    ) -> Result<Frame, EscapeError> {
        let unreachable = |why: &dyn ToString| EscapeError::Unreachable {
            address: address.clone(),
            why: why.to_string(),
        };
        let link = self.link(b, address).await.map_err(|error| unreachable(&error))?;
        let answer = link.call(frame, patience).await;
        answer.map_err(|error| {
            self.links.lock().remove(address);
            unreachable(&error)
        })
    }

    async fn link(&self, b: &Broker, address: &Str) -> Result<Arc<Channel>, FetchError> {
        // The other side closes what is idle.
        if let Some(link) = self.links.lock().get(address).filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        let link = Arc::new(connect(b, address).await?);
        self.links.lock().insert(address.clone(), Arc::clone(&link));
        Ok(link)
    }

    /// The next queue in turn that is on a master which takes this topic.
    fn choose<'a>(&self, topic: &str, targets: &'a [Target], now: Instant) -> Option<&'a Target> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % targets.len().max(1);
        let mut shunned = self.shunned.lock();
        shunned.retain(|_, until| *until > now);
        let is_shunned = |address: &Str, what: &str| shunned.contains_key(&(address.clone(), what.into()));
        let (before, from) = targets.split_at(turn);
        let mut in_turn = from.iter().chain(before);
        in_turn.find(|target| !is_shunned(&target.address, topic) && !is_shunned(&target.address, EVERYTHING))
    }

    /// Sends a master nothing of a topic for a while: nobody waits for it again and again.
    fn shun(&self, address: &Str, topic: &str, until: Instant) {
        if topic == EVERYTHING {
            // Perhaps it is somewhere else now.
            self.routes.lock().clear();
        }
        let mut shunned = self.shunned.lock();
        if shunned.len() >= ROUTES_MAX {
            shunned.clear();
        }
        shunned.insert((address.clone(), topic.into()), until);
    }

    fn known(&self, topic: &str, now: Instant) -> Option<Arc<[Target]>> {
        let routes = self.routes.lock();
        let (until, targets) = routes.get(topic)?;
        (now < *until).then(|| Arc::clone(targets))
    }
}

/// The queues that take a message: of its topic, else of the one beside.
async fn targets_of(b: &Broker, leaver: &Leaver<'_>) -> Arc<[Target]> {
    let targets = queues_of(b, leaver.topic).await;
    match leaver.beside {
        Some(beside) if targets.is_empty() => {
            // A topic that is made there has one queue at least.
            let brokers = queues_of(b, beside).await;
            brokers
                .iter()
                .filter(|target| target.queue_id == 0)
                .cloned()
                .collect()
        }
        _ => targets,
    }
}

async fn queues_of(b: &Broker, topic: &str) -> Arc<[Target]> {
    let now = b.env.clock.instant();
    if let Some(known) = b.escape.known(topic, now) {
        return known;
    }
    let topic = Str::from(topic);
    let targets: Arc<[Target]> = match b.peers.route(b, &topic).await {
        Route::Found(route) => open_queues(&route, &b.config().broker_name).into(),
        Route::NoServers | Route::Unknown => Arc::default(),
    };
    let kept = if targets.is_empty() {
        NOWHERE_KEPT
    } else {
        ROUTE_KEPT
    };
    let mut routes = b.escape.routes.lock();
    if routes.len() >= ROUTES_MAX {
        routes.clear();
    }
    routes.insert(topic, (now + kept, Arc::clone(&targets)));
    targets
}

/// The queues that other masters have open for writing: one of each master after the other.
fn open_queues(route: &TopicRoute, own: &str) -> Vec<Target> {
    let mut targets = Vec::new();
    for queues in &route.queue_datas {
        let broker = route
            .broker_datas
            .iter()
            .find(|data| data.broker_name == queues.broker_name);
        let master = broker.and_then(|data| data.broker_addrs.get(&MASTER_ID));
        let is_open = queues.perm & perm::WRITE != 0 && queues.broker_name != own;
        let Some(address) = master.filter(|_| is_open) else {
            continue;
        };
        targets.extend((0..queues.write_queue_nums).map(|queue_id| Target {
            broker: queues.broker_name.clone(),
            address: address.clone(),
            queue_id,
        }));
    }
    targets.sort_by_key(|target| target.queue_id);
    targets
}

fn request(
    b: &Broker,
    target: &Target,
    leaver: &Leaver<'_>,
    properties: &Properties,
) -> Result<Frame, EscapeError> {
    let parts = leaver.parts;
    let (properties, kind) = traveling(properties.clone(), leaver.is_half);
    let properties = String::from_utf8(properties.into_bytes()).map_err(|_| EscapeError::NoText)?;
    let group = get(properties.as_bytes(), PRODUCER_GROUP).filter(|group| !group.is_empty());
    let producer_group = match group {
        Some(group) => group.into(),
        None => {
            let config = b.config();
            format!("InnerProducerGroup_{}_{}", config.broker_name, config.broker_id).into()
        }
    };
    let header = SendMessageV2 {
        producer_group,
        topic: leaver.topic.into(),
        default_topic: Str::const_new(AUTO_CREATE_TOPIC),
        default_topic_queue_nums: NEW_QUEUES,
        queue_id: target.queue_id,
        // Which kind of address stands in the record is for the other broker to say.
        sys_flag: parts.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6 | sysflag::TRANSACTION)
            | kind,
        born_timestamp: parts.born_at,
        flag: parts.flag,
        properties: Some(properties.into()),
        reconsume_times: Some(leaver.reconsume_times),
        batch: Some(false),
        bname: Some(target.broker.clone()),
        ..SendMessageV2::default()
    };
    Ok(Frame::request(0, &header).with_body(Bytes::copy_from_slice(parts.body)))
}

/// The properties and the kind of transaction that a message travels with: nothing in them may park it once more, unless it
/// is a half, which has to be one where it arrives.
fn traveling(mut properties: Properties, is_half: bool) -> (Properties, i32) {
    properties.remove(name::CRC32);
    properties.set(name::WAIT, "false");
    if is_half {
        for real in REAL {
            properties.remove(real);
        }
        properties.set(PREPARED, "true");
        return (properties, sysflag::PREPARED);
    }
    properties.remove(PREPARED);
    properties.remove(name::DELAY);
    // With its tick it is known to have been parked.
    if properties.get(TIMER_OUT_MS).is_none() {
        for timed in TIMED {
            properties.remove(timed);
        }
    }
    (properties, 0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a moment to count from")]
mod tests {
    use std::collections::BTreeMap;

    use wire::body::topic_route::{BrokerAddrs, QueueRoute};

    use super::*;

    fn broker(name: &str, ids: &[i64], perm: i32, queues: i32) -> (BrokerAddrs, QueueRoute) {
        let addresses: BTreeMap<i64, Str> = ids
            .iter()
            .map(|id| (*id, format!("{name}:{id}").into()))
            .collect();
        let data = BrokerAddrs {
            broker_addrs: addresses,
            broker_name: name.into(),
            ..BrokerAddrs::default()
        };
        let queue = QueueRoute {
            broker_name: name.into(),
            perm,
            write_queue_nums: queues,
            ..QueueRoute::default()
        };
        (data, queue)
    }

    #[test]
    fn a_master_that_failed_gets_nothing_for_a_while() {
        let (escape, begin) = (Escape::default(), Instant::now());
        let target = |address: &str| Target {
            broker: address.into(),
            address: address.into(),
            queue_id: 0,
        };
        let targets = [target("b"), target("c")];
        escape.shun(&targets[0].address, EVERYTHING, begin + SILENT_SHUNNED);
        let chosen_for = |topic, now| {
            [(); 2].map(|()| {
                let target = escape.choose(topic, &targets, now);
                target.map(|target| target.address.as_str())
            })
        };
        let chosen = |now| chosen_for("T", now);
        assert_eq!(chosen(begin), [Some("c"); 2]);
        escape.shun(&targets[1].address, "T", begin + REFUSED_SHUNNED);
        assert_eq!(
            chosen(begin),
            [None; 2],
            "rather nobody than one that does not answer"
        );
        assert_eq!(
            chosen_for("U", begin),
            [Some("c"); 2],
            "it refused messages of T only"
        );
        assert_eq!(chosen(begin + REFUSED_SHUNNED), [Some("c"); 2]);
        let mut both = chosen(begin + SILENT_SHUNNED);
        both.sort_unstable();
        assert_eq!(both, [Some("b"), Some("c")]);
    }

    #[test]
    fn messages_leave_by_queues_that_other_masters_have_open() {
        let (broker_datas, queue_datas) = [
            broker("own", &[0], 6, 8),
            broker("readable", &[0], 4, 8),
            broker("headless", &[1], 6, 8),
            broker("b", &[0, 1], 6, 2),
            broker("c", &[0], 2, 1),
        ]
        .into_iter()
        .unzip();
        let route = TopicRoute {
            broker_datas,
            queue_datas,
            ..TopicRoute::default()
        };
        let targets = open_queues(&route, "own");
        let found: Vec<_> = targets.iter().map(|t| (t.address.as_str(), t.queue_id)).collect();
        assert_eq!(found, [("b:0", 0), ("c:0", 0), ("b:0", 1)]);
    }

    fn travels(properties: &str, is_half: bool) -> (String, i32) {
        let (properties, kind) = traveling(Properties::from_bytes(properties.as_bytes()), is_half);
        let text = String::from_utf8(properties.into_bytes()).unwrap();
        (text.replace('\u{1}', "=").replace('\u{2}', ";"), kind)
    }

    #[test]
    fn what_was_parked_once_is_not_parked_again_elsewhere() {
        let (delayed, kind) = travels(
            "DELAY\u{1}3\u{2}TIMER_DELAY_SEC\u{1}9\u{2}TRAN_MSG\u{1}true\u{2}k\u{1}v\u{2}",
            false,
        );
        assert_eq!((delayed.as_str(), kind), ("k=v;WAIT=false;", 0));
        let (rolled, _) = travels("TIMER_DELAY_SEC\u{1}9\u{2}TIMER_OUT_MS\u{1}1\u{2}", false);
        assert_eq!(
            rolled, "TIMER_DELAY_SEC=9;TIMER_OUT_MS=1;WAIT=false;",
            "its tick says so"
        );
    }

    #[test]
    fn a_half_is_a_half_elsewhere_with_all_that_it_asks_for() {
        let (half, kind) = travels(
            "REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}1\u{2}DELAY\u{1}3\u{2}PGROUP\u{1}P\u{2}",
            true,
        );
        assert_eq!(kind, sysflag::PREPARED);
        assert_eq!(half, "DELAY=3;PGROUP=P;WAIT=false;TRAN_MSG=true;");
    }
}
