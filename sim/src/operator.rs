// SPDX-License-Identifier: Apache-2.0
//! Sets groups to other offsets, as the tools of operators do it (222).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use wire::api::offset::{InvokeBrokerToResetOffset, OffsetReply, QueryConsumerOffset};
use wire::api::pull::PullMessage;
use wire::record::Record;

use crate::client::{Client, Place, Shared, TIMEOUT};
use crate::history::{Commit, Progress, Untold};
use crate::leases::Reset;
use crate::play::{self, POPPERS, REWOUND, Topic};
use crate::world::{Begin, now_ms};

/// What the group reads that pulls.
pub(crate) const PULLED: Topic = Topic::Ordered;
/// Then nobody waits any more.
pub(crate) const WITHIN_MS: u64 = 1500;
/// How often somebody asks where groups are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Which group is set to another offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Its consumers pull.
    Pulls,
    /// They pop.
    Pops,
}

impl Whom {
    fn group(self) -> &'static str {
        match self {
            Whom::Pulls => REWOUND,
            Whom::Pops => POPPERS,
        }
    }

    fn topic(self) -> &'static str {
        match self {
            Whom::Pulls => PULLED.name(),
            Whom::Pops => Topic::Plain.name(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum State {
    #[default]
    Done,
    Given(Whom, Place),
    Failed,
}

/// What the operator has to do.
#[derive(Clone, Default)]
pub(crate) struct Job(Arc<Mutex<State>>);

impl Job {
    pub(crate) fn give(&self, whom: Whom, place: Place) {
        *self.0.lock() = State::Given(whom, place);
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.0.lock(), State::Given(..))
    }

    pub(crate) fn is_done(&self) -> bool {
        *self.0.lock() == State::Done
    }
}

/// Does its job once.
pub(crate) fn operator(shared: Shared, job: Job) -> Begin {
    Box::new(move |env| {
        let (client, _asked) = Client::new("operator", env, shared.clone());
        let job = job.clone();
        Box::pin(async move {
            let State::Given(whom, place) = job.0.lock().clone() else {
                return std::future::pending().await;
            };
            let is_done = reset(&client, whom, &place).await;
            *job.0.lock() = if is_done { State::Done } else { State::Failed };
            std::future::pending().await
        })
    })
}

fn key_of(place: &Place) -> Progress {
    let (group, topic) = (Whom::Pulls.group().to_owned(), Whom::Pulls.topic().to_owned());
    (group, place.broker.clone(), topic, place.queue)
}

/// To an offset of a queue, or to a time. Whether that was answered with yes.
async fn reset(client: &Client, whom: Whom, place: &Place) -> bool {
    let Some((least, most)) = play::bounds(client, place, whom.topic()).await else {
        return false;
    };
    let any = least + client.below((most - least).unsigned_abs() + 1).cast_signed();
    let timed = if client.below(2) == 0 {
        first_of_its_time(client, (whom, place), (least, any)).await
    } else {
        None
    };
    let (offset, time_ms) = timed.map_or((any, None), |(first, time_ms)| (first, Some(time_ms)));
    begins(client, whom, place, offset);
    let ask = InvokeBrokerToResetOffset {
        group: whom.group().into(),
        topic: whom.topic().into(),
        queue_id: Some(place.queue),
        offset: time_ms.is_none().then_some(offset),
        timestamp: Some(time_ms.unwrap_or(-1)),
        is_force: true,
    };
    let reply = client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await;
    let is_done = reply.is_ok_and(|reply| reply.code == 0);
    client.say(format!(
        "{} at {}/{} to {offset}, time {time_ms:?}: {is_done}",
        whom.group(),
        place.broker,
        place.queue
    ));
    ends(client, whom, place, is_done);
    if is_done && whom == Whom::Pulls {
        look(client, &key_of(place), place.addr).await;
    }
    is_done
}

/// From now on the group may be there.
fn begins(client: &Client, whom: Whom, place: &Place, offset: i64) {
    let sent_ms = now_ms();
    let mut history = client.shared.history.lock();
    match whom {
        Whom::Pulls => {
            let commit = Commit {
                offset,
                tried_ms: sent_ms,
                acked_ms: None,
                is_reset: true,
            };
            let untold = Untold {
                offset,
                sent_ms,
                answered_ms: None,
            };
            history.commits.entry(key_of(place)).or_default().push(commit);
            history.untold.insert(key_of(place), untold);
        }
        Whom::Pops => history.resets.push(Reset {
            broker: place.broker.clone(),
            queue: place.queue,
            offset,
            sent_ms,
            answered_ms: None,
        }),
    }
}

/// If that was answered with yes, it is there.
fn ends(client: &Client, whom: Whom, place: &Place, is_done: bool) {
    let answered_ms = Some(now_ms());
    let mut history = client.shared.history.lock();
    if !is_done {
        history.untold.remove(&key_of(place));
        return;
    }
    history.count(match whom {
        Whom::Pulls => "resets",
        Whom::Pops => "resets of pops",
    });
    match whom {
        Whom::Pulls => {
            if let Some(untold) = history.untold.get_mut(&key_of(place)) {
                untold.answered_ms = answered_ms;
            }
            let commits = history.commits.entry(key_of(place)).or_default();
            if let Some(commit) = commits.iter_mut().rev().find(|commit| commit.is_reset) {
                commit.acked_ms = answered_ms;
            }
        }
        Whom::Pops => {
            if let Some(reset) = history.resets.last_mut() {
                reset.answered_ms = answered_ms;
            }
        }
    }
}

/// When a message was stored, and the first one that was stored then, if it is among those right before it.
async fn first_of_its_time(
    client: &Client,
    (whom, place): (Whom, &Place),
    (least, offset): (i64, i64),
) -> Option<(i64, i64)> {
    let history = Arc::clone(&client.shared.history);
    if history
        .lock()
        .least_damaged(&place.broker, whom.topic(), place.queue)
        .is_some()
    {
        // A message that nobody can read has no time.
        return None;
    }
    let from = least.max(offset - 31);
    let ask = PullMessage {
        consumer_group: "operators".into(),
        topic: whom.topic().into(),
        queue_id: place.queue,
        queue_offset: from,
        max_msg_nums: 32,
        sys_flag: 4,
        subscription: Some("*".into()),
        expression_type: Some("TAG".into()),
        ..PullMessage::default()
    };
    let reply = client.ask(place.addr, &ask, Bytes::new(), TIMEOUT).await.ok()?;
    let records: Vec<Record> = Record::decode_all(&reply.body).flatten().collect();
    let time_ms = records
        .iter()
        .find(|record| record.queue_offset == offset)?
        .stored_at;
    let first = records
        .iter()
        .find(|record| record.stored_at == time_ms)?
        .queue_offset;
    (first > from || from == least).then_some((first, time_ms))
}

/// Where a group is now. `None`: nobody said.
async fn look(client: &Client, key: &Progress, addr: SocketAddr) -> Option<()> {
    let (group, _, topic, queue) = key;
    let ask = QueryConsumerOffset {
        consumer_group: group.as_str().into(),
        topic: topic.as_str().into(),
        queue_id: *queue,
        set_zero_if_not_found: None,
    };
    let asked_ms = now_ms();
    let reply = client.ask(addr, &ask, Bytes::new(), TIMEOUT).await.ok()?;
    let found = match reply.code {
        0 => reply.ext.read::<OffsetReply>().ok()?.offset,
        22 => 0,
        _ => return None,
    };
    play::check_commit(&client.shared, key, found, asked_ms);
    client.shared.history.lock().count("offsets looked at");
    Some(())
}

/// Asks all the time where groups are: nothing that was acknowledged goes back, also where no consumer begins anew.
pub(crate) fn onlooker(shared: Shared, brokers: BTreeMap<String, SocketAddr>) -> Begin {
    Box::new(move |env| {
        let (client, _asked) = Client::new("onlooker", env, shared.clone());
        let brokers = brokers.clone();
        Box::pin(async move {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let keys: Vec<Progress> = client.shared.history.lock().commits.keys().cloned().collect();
                for (broker, addr) in &brokers {
                    for key in keys.iter().filter(|key| key.1 == *broker) {
                        if look(&client, key, *addr).await.is_none() {
                            // The next one would not be heard either.
                            break;
                        }
                    }
                }
            }
        })
    })
}
