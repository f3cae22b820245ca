// SPDX-License-Identifier: Apache-2.0
//! What a consumer asks about offsets: how far its group has read (14, 15, 43), and where a queue begins and ends, also
//! by time (29 to 32).

mod journal;
pub(crate) mod reset;
mod table;

use std::sync::Arc;
use std::time::Duration;

use net::{Answer, Call, Fault, Reply};
use store::{All, Boundary, GateState, Level, Queue, ReadLimit, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};
use wire::api::offset::{
    BoundaryType, GetAllConsumerOffset, GetEarliestMsgStoretime, GetMaxOffset, GetMinOffset, OffsetReply,
    QueryConsumerOffset, SearchOffsetByTimestamp, StoretimeReply, UpdateConsumerOffset,
};
use wire::code::{Empty, NoHeader, ResponseCode};
use wire::ext::Ext;

use self::table::JOURNAL_EVERY;
pub(crate) use self::table::{Arrival, Offsets, Puller};
use crate::blocking::later;
use crate::broker::Broker;
use crate::fault::not_kept;
use crate::subject::Subject;

/// Code 14. A group that never committed begins at 0 when the queue still begins there and its first message is in memory:
/// then everything there is counts as new. Otherwise the client is told so and decides by itself.
pub(crate) fn query_consumer_offset(
    b: &Arc<Broker>,
    call: Call<QueryConsumerOffset>,
) -> Result<Answer<OffsetReply>, Fault> {
    let QueryConsumerOffset {
        consumer_group,
        topic,
        queue_id,
        set_zero_if_not_found,
    } = &call.header;
    if let Some(offset) = b.offsets.query(consumer_group, topic, *queue_id) {
        return Ok(Reply::ok(OffsetReply { offset }).into());
    }
    if *set_zero_if_not_found == Some(false) {
        return Err(not_found(
            "Not found, do not set to zero, maybe this group boot first",
        ));
    }
    let queue = find_queue(b, topic, *queue_id);
    if queue.is_some_and(|queue| queue.min() <= 0 && begins_in_memory(b, &queue)) {
        return Ok(Reply::ok(OffsetReply { offset: 0 }).into());
    }
    Err(not_found(
        "Not found, V3_0_6_SNAPSHOT maybe this group consumer boot first",
    ))
}

/// Code 15. Stores what a client says, also a smaller offset than before.
pub(crate) fn update_consumer_offset(
    b: &Arc<Broker>,
    call: Call<UpdateConsumerOffset>,
) -> Result<Answer<Empty>, Fault> {
    let UpdateConsumerOffset {
        consumer_group: group,
        topic,
        queue_id,
        commit_offset,
    } = &call.header;
    if b.groups.find(group).is_none() {
        let remark = format!("Group {group} not exist!");
        return Err(fault(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, &remark));
    }
    let Some(known) = b.topics.get(topic) else {
        return Err(fault(
            ResponseCode::TOPIC_NOT_EXIST,
            &format!("Topic {topic} not exist!"),
        ));
    };
    // The reference says yes to any queue and any offset (the Go client commits -1 for a retry queue it has not read).
    // A queue that there cannot be is not kept: it would stay in the table and the file for ever. A negative offset
    // means, there and here, that the group has none.
    let queues = known.config.read_queue_nums.max(known.config.write_queue_nums);
    if *queue_id < 0 || (*queue_id >= queues && find_queue(b, topic, *queue_id).is_none()) {
        return Ok(Reply::ok(Empty {}).into());
    }
    if b.offsets.has_reset(group, topic, *queue_id) {
        return Ok(Reply::ok(Empty {})
            .with_remark("Offset has been previously reset")
            .into());
    }
    let place = (group.as_str(), topic.as_str(), *queue_id);
    if call.oneway {
        commit_of_client(b, call.peer.id, place, *commit_offset);
    } else {
        let step = b.config().consumer_offset_update_version_step;
        b.offsets.commit(group, topic, (*queue_id, *commit_offset), step);
    }
    let is_popped = b.pop.committed(&b.offsets, place)?;
    if call.oneway || !b.offsets.answers_when_durable() || store::seeded!("commit-before-sync") {
        return Ok(Reply::ok(Empty {}).into());
    }
    // The reference answers at once, and forgets the commits of up to five seconds when it is killed.
    let broker = Arc::clone(b);
    Ok(later(b, &call.peer.clone(), move || {
        let kept = if is_popped { broker.pop.keep() } else { Ok(()) };
        let kept = kept.and_then(|()| broker.offsets.keep(|| broker.is_log_durable()));
        let about = Subject::topic(&call.header.topic).of(&call.header.consumer_group);
        kept.map_err(|error| not_kept(&error, about))?;
        Ok(Reply::ok(Empty {}))
    }))
}

/// Whether a client may take back what was committed, one-way or with a pull. A member that another one has taken the queue over from takes
/// nothing back: its last commit may be on its way when the new owner has already gone on. Whoever reads a queue may go back
/// in it, and so may an operator, whose commits are neither, and a client that sends its heartbeats over another connection.
fn may_go_back(b: &Broker, group: &str, peer: u64, last: Option<Puller>) -> bool {
    let is_member = |peer| matches!(b.clients.membership(group, peer), Some((_, true)));
    last.is_none_or(|by| by.peer == peer || !is_member(peer) || !is_member(by.peer))
}

/// A client commits one-way.
fn commit_of_client(b: &Broker, peer: u64, place: (&str, &str, i32), offset: i64) {
    let step = b.config().consumer_offset_update_version_step;
    let may_go_back = |last| may_go_back(b, place.0, peer, last);
    if !b
        .offsets
        .commit_unless_overtaken(place, offset, step, may_go_back)
    {
        told_late(place, offset);
    }
}

/// A client pulls, and may say how far it has consumed.
pub(crate) fn pull_of_client(b: &Broker, place: (&str, &str, i32), pull: Arrival) {
    let step = b.config().consumer_offset_update_version_step;
    let may_go_back = |last| may_go_back(b, place.0, pull.by.peer, last);
    if !b.offsets.note_arrival(place, pull, step, may_go_back) {
        told_late(place, pull.commit.unwrap_or_default());
    }
}

fn told_late((group, topic, queue): (&str, &str, i32), offset: i64) {
    debug!(
        group,
        topic, queue, offset, "commit of a client that has lost the queue"
    );
}

/// Code 43. All committed offsets.
pub(crate) fn all_consumer_offsets(
    b: &Arc<Broker>,
    _: Call<GetAllConsumerOffset>,
) -> Result<Answer<NoHeader>, Fault> {
    Ok(Reply::ok(NoHeader).with_body(b.offsets.to_json()).into())
}

/// Code 30. The offset after the last message that can be read; 0 for a queue that is not there.
pub(crate) fn max_offset(b: &Arc<Broker>, call: Call<GetMaxOffset>) -> Result<Answer<OffsetReply>, Fault> {
    let queue = find_queue(b, &call.header.topic, call.header.queue_id);
    Ok(Reply::ok(OffsetReply {
        offset: queue.map_or(0, |queue| queue.max()),
    })
    .into())
}

/// Code 31. The first offset that can be read; 0 for a queue that is not there. The empty remark is the reference's.
pub(crate) fn min_offset(b: &Arc<Broker>, call: Call<GetMinOffset>) -> Result<Answer<OffsetReply>, Fault> {
    let queue = find_queue(b, &call.header.topic, call.header.queue_id);
    let offset = queue.map_or(0, |queue| queue.min());
    Ok(Reply::ok(OffsetReply { offset }).with_remark("").into())
}

/// Code 29. The offset by store time.
pub(crate) fn offset_by_time(
    b: &Arc<Broker>,
    call: Call<SearchOffsetByTimestamp>,
) -> Result<Answer<OffsetReply>, Fault> {
    let SearchOffsetByTimestamp {
        topic,
        queue_id,
        timestamp,
        boundary_type,
    } = call.header;
    let Some(queue) = find_queue(b, &topic, queue_id) else {
        return Ok(Reply::ok(OffsetReply { offset: 0 }).into());
    };
    let boundary = match boundary_type.unwrap_or_default() {
        BoundaryType::Lower => Boundary::Lower,
        BoundaryType::Upper => Boundary::Upper,
    };
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        Ok(Reply::ok(OffsetReply {
            offset: b.store.offset_by_time(&queue, timestamp, boundary),
        }))
    }))
}

/// Code 32. When the first message of a queue was stored; -1 when there is none.
pub(crate) fn earliest_store_time(
    b: &Arc<Broker>,
    call: Call<GetEarliestMsgStoretime>,
) -> Result<Answer<StoretimeReply>, Fault> {
    let Some(queue) = find_queue(b, &call.header.topic, call.header.queue_id) else {
        return Ok(Reply::ok(StoretimeReply { timestamp: -1 }).into());
    };
    let b = Arc::clone(b);
    Ok(later(&b.clone(), &call.peer.clone(), move || {
        let timestamp = b.store.stored_at(&queue, queue.min()).unwrap_or(-1);
        Ok(Reply::ok(StoretimeReply { timestamp }))
    }))
}

/// Brings the offsets together with the queues as a start has found them. After a crash the log may have lost its end, and
/// a group that is beyond it would not get what comes there now.
pub(crate) fn reconcile(offsets: &Offsets, store: &Store) {
    let clamped = if store.follows_a_crash() {
        offsets.clamp(|topic, queue_id| {
            let queue = u32::try_from(queue_id).ok();
            let queue = queue.and_then(|id| store.find_queue(topic, id));
            queue.map_or(0, |queue| queue.max())
        })
    } else {
        0
    };
    if clamped > 0 {
        warn!(
            count = clamped,
            "consumer offsets beyond the ends of their queues are taken back"
        );
    } else if !offsets.needs_file() {
        return;
    }
    // Before there are new messages: after another crash nobody could tell these from those.
    if let Err(error) = offsets.save_over(|| is_durable(store)) {
        error!(file = %error.path.display(), error = %error.source, "consumer offsets are not saved; trying again");
    }
}

/// Makes the log durable. Blocks.
pub(crate) fn is_durable(store: &Store) -> bool {
    let tail = store.tail_gate();
    store.turn_flush();
    store.state(&tail, Level::Durable) == GateState::Passed
}

/// How soon the file is tried again that commits need to outlive a kill.
const AGAIN: Duration = Duration::from_millis(500);

/// Saves the offsets from time to time, and when their journal gets long, until `stop`.
pub(crate) async fn keep_saving(b: Arc<Broker>, stop: CancellationToken) {
    let period = Duration::from_millis(u64::from(b.config().flush_consumer_offset_interval));
    // The one of the start may have failed.
    let mut has_failed = b.offsets.needs_file();
    let mut told: Option<Instant> = None;
    loop {
        let is_pressing = has_failed && b.offsets.needs_file();
        tokio::select! {
            () = stop.cancelled() => return,
            // Without a journal commits outlive a kill only in the file: as soon as the disk takes it again.
            () = tokio::time::sleep(if is_pressing { period.min(AGAIN) } else { period }) => {}
            () = b.offsets.wants_file(), if !has_failed => {}
        }
        let saving = Arc::clone(&b);
        let save = move || {
            let is_saved = saving.save_offsets()?;
            saving.pop.orders.save().map(|()| is_saved)
        };
        match store::env::aside(save).await {
            Ok(Ok(is_saved)) => {
                has_failed = !is_saved || b.offsets.needs_file();
                told = None;
            }
            Ok(Err(error)) => {
                if told.is_none_or(|at| at.elapsed() >= period) {
                    told = Some(Instant::now());
                    error!(file = %error.path.display(), error = %error.source, "consumer offsets are not saved; trying again");
                }
                has_failed = true;
            }
            Err(_) => return,
        }
    }
}

/// Writes what was committed to the journal again and again until `stop`, so that it outlives a kill.
pub(crate) async fn keep_journal(b: Arc<Broker>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(JOURNAL_EVERY) => {}
        }
        if !b.offsets.is_ahead_of_journal() {
            continue;
        }
        let writing = Arc::clone(&b);
        match store::env::aside(move || writing.offsets.write_journal()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                error!(file = %error.path.display(), error = %error.source, "commits of the last seconds would not outlive a kill until consumer offsets are saved");
            }
            Err(_) => return,
        }
    }
}

/// A queue that the store knows. Ids below 0 name none.
pub(crate) fn find_queue(b: &Broker, topic: &str, queue_id: i32) -> Option<Arc<Queue>> {
    u32::try_from(queue_id)
        .ok()
        .and_then(|id| b.store.find_queue(topic, id))
}

/// Whether the first message of a queue is where a read does not wait for the disk.
pub(crate) fn begins_in_memory(b: &Broker, queue: &Queue) -> bool {
    let first = ReadLimit {
        count: 1,
        bytes: 1,
        scan: 1,
        far: None,
    };
    b.store
        .read_cached(queue, 0, &first, &All)
        .is_ok_and(|batch| batch.count > 0)
}

fn not_found(remark: &str) -> Fault {
    fault(ResponseCode::QUERY_NOT_FOUND, remark)
}

/// Replies to these requests carry a header even when it is empty.
fn fault(code: ResponseCode, remark: &str) -> Fault {
    Fault::new(code, remark).with_ext(Ext::of(&Empty {}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use store::Draft;
    use store::disk::sim::Loss;

    use super::*;
    use crate::world::World;

    /// What outlives a kill.
    const PROMISED: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn commits_outlive_a_kill_again_soon_after_a_full_disk_has_room() {
        let world = World::new(1, &[("timerWheelEnable", "false")]);
        let b = world.open(&[]);
        let queue = b.store.queue("T", 0);
        for _ in 0..3 {
            let draft = Draft {
                queue: &queue,
                flag: 0,
                sys_flag: 0,
                born_at: 1,
                born_host: ([127, 0, 0, 1], 1).into(),
                store_host: ([127, 0, 0, 1], 1).into(),
                reconsume_times: 0,
                prepared_pos: 0,
                body: b"body",
                properties: b"",
                wait: true,
            };
            b.store.append(&draft).unwrap();
        }
        assert!(b.is_log_durable());
        let stop = CancellationToken::new();
        let saving = tokio::spawn(keep_saving(Arc::clone(&b), stop.clone()));
        let journal = tokio::spawn(keep_journal(Arc::clone(&b), stop.clone()));
        b.offsets.commit("G", "T", (0, 1), 500);
        tokio::time::sleep(PROMISED).await;
        world.disk.set_full(true);
        b.offsets.commit("G", "T", (0, 2), 500);
        tokio::time::sleep(2 * PROMISED).await;
        world.disk.set_full(false);
        b.offsets.commit("G", "T", (0, 3), 500);
        tokio::time::sleep(PROMISED).await;
        stop.cancel();
        drop((saving.await, journal.await, b));
        world.disk.crash(Loss::Nothing);
        let b = world.open(&[]);
        assert_eq!(b.offsets.committed("G", "T"), BTreeMap::from([(0, 3)]));
    }
}
