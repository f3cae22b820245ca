// SPDX-License-Identifier: Apache-2.0
//! The table that request 28 answers with. Admin tools look values up by these names and parse some of them, so names and
//! formats are the reference's. What does not exist here (thread pools, timers, a buffer pool) reads as empty.

use std::sync::atomic::Ordering;

use wire::record::Record;

use crate::broker::Broker;
use crate::counts::{Flow, Meter};
use crate::names::SCHEDULE_TOPIC;

/// Samples that a rate looks back, one a second.
const WINDOWS: [usize; 3] = [10, 60, 600];

/// Everything, unsorted. Reads the disk.
pub(super) fn table(b: &Broker) -> Vec<(String, String)> {
    let mut table = Vec::new();
    let mut put = |key: &str, value: String| table.push((key.to_owned(), value));
    life(b, &mut put);
    throughput(b, &mut put);
    store(b, &mut put);
    limits(b, &mut put);
    for (level, offset) in b.delays.offsets() {
        let id = u32::try_from(level - 1).unwrap_or_default();
        let max = b
            .store
            .find_queue(SCHEDULE_TOPIC, id)
            .map_or(0, |queue| queue.max());
        put(
            &format!("scheduleMessageOffset_{level}"),
            format!("{offset},{max}"),
        );
    }
    if let Some(rival) = b.peers.rival(b) {
        put("otherMaster", rival.to_string());
    }
    for lag in b.replication.lags(b) {
        let slave = lag
            .slave
            .id
            .map_or_else(|| lag.slave.addr.to_string(), |id| id.to_string());
        put(&format!("slaveLagBytes_{slave}"), lag.bytes.to_string());
        put(&format!("slaveLagMs_{slave}"), lag.ms.to_string());
    }
    timers(b, &mut put);
    table
}

fn timers(b: &Broker, put: &mut impl FnMut(&str, String)) {
    let figures = b.timing.figures(b).unwrap_or_default();
    put("timerReadBehind", (figures.late_ms / 1000).to_string());
    put("timerOffsetBehind", figures.unread.to_string());
    put("timerCongestNum", figures.waiting.to_string());
    put("timerPassedOver", b.timing.passed_over().to_string());
    let counts = &b.counts;
    for (key, meter) in [
        ("timerEnqueueTps", &counts.timers_in),
        ("timerDequeueTps", &counts.timers_out),
    ] {
        put(key, format!("{:?}", meter.rate(WINDOWS[0]).unwrap_or_default()));
    }
}

fn life(b: &Broker, put: &mut impl FnMut(&str, String)) {
    let started_ms = b.counts.started_ms();
    let seconds = (b.env.clock.now_ms() - started_ms).max(0) / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    put("bootTimestamp", started_ms.to_string());
    put(
        "runtime",
        format!(
            "[ {days} days, {hours} hours, {minutes} minutes, {} seconds ]",
            seconds % 60
        ),
    );
    put("brokerVersionDesc", "V5_4_0".to_owned());
    // In the reference: whether what is due is delivered, also by a slave that acts.
    let is_active = b.duty.is_on() && (b.is_slave() || b.store.is_writable());
    put("brokerActive", is_active.to_string());
    put(
        "startAcceptSendRequestTimeStamp",
        b.config().start_accept_send_request_time_stamp.to_string(),
    );
}

fn throughput(b: &Broker, put: &mut impl FnMut(&str, String)) {
    let counts = &b.counts;
    let (puts, bytes) = (counts.puts.total(), counts.put_bytes.load(Ordering::Relaxed));
    let average = if puts == 0 {
        0.0
    } else {
        bytes as f64 / puts as f64
    };
    // Not 0, because the reference divides by it.
    put("putMessageTimesTotal", puts.max(1).to_string());
    put("putMessageSizeTotal", bytes.to_string());
    put("putMessageAverageSize", format!("{average:?}"));
    put(
        "putMessageFailedTimes",
        counts.put_failures.load(Ordering::Relaxed).to_string(),
    );
    put("putTps", rates(&counts.puts));
    put("getFoundTps", rates(&counts.found));
    put("getMissTps", rates(&counts.missed));
    put("getTransferredTps", rates(&counts.transferred));
    put("getTotalTps", total_rates(&counts.found, &counts.missed));
    let mornings = counts.mornings();
    put("msgPutTotalYesterdayMorning", mornings.yesterday.0.to_string());
    put("msgPutTotalTodayMorning", mornings.today.0.to_string());
    put("msgPutTotalTodayNow", counts.total(Flow::UserPuts).to_string());
    put("msgGetTotalYesterdayMorning", mornings.yesterday.1.to_string());
    put("msgGetTotalTodayMorning", mornings.today.1.to_string());
    put("msgGetTotalTodayNow", counts.total(Flow::UserGets).to_string());
    let latencies = &counts.latencies;
    let table = latencies.table().unwrap_or_else(|| "null".to_owned());
    put("putMessageDistributeTime", table);
    put("putMessageEntireTimeMax", latencies.send_max_ms().to_string());
    put("getMessageEntireTimeMax", latencies.pull_max_ms().to_string());
    for (key, share) in [("putLatency99", 0.99), ("putLatency999", 0.999)] {
        put(key, format!("{:.2}", latencies.percentile(share)));
    }
}

/// Three rates; one that cannot be told yet is left out, its blank is not.
fn rates(meter: &Meter) -> String {
    WINDOWS
        .map(|back| meter.rate(back).map_or(String::new(), |rate| format!("{rate:?}")))
        .join(" ")
}

fn total_rates(found: &Meter, missed: &Meter) -> String {
    let total = |back| found.rate(back).unwrap_or_default() + missed.rate(back).unwrap_or_default();
    WINDOWS.map(|back| format!("{:?}", total(back))).join(" ")
}

fn store(b: &Broker, put: &mut impl FnMut(&str, String)) {
    let (min, max) = (b.store.min_pos(), b.store.max_pos());
    put("commitLogMinOffset", min.to_string());
    put("commitLogMaxOffset", max.to_string());
    put(
        "remainHowManyDataToFlush",
        readable((max.0 - b.store.durable().0).max(0).unsigned_abs()),
    );
    put("earliestMessageTimeStamp", earliest(b).to_string());
    put(
        "pageCacheLockTimeMills",
        b.store.write_stall().as_millis().to_string(),
    );
    put("dispatchBehindBytes", "0".to_owned());
    put("dispatchMaxBuffer", "0".to_owned());
    put("remainTransientStoreBufferNumbs", i32::MAX.to_string());
    let config = b.config().store();
    let mut fullest: f64 = 0.0;
    for (at, dir) in config.commit_log_dirs.iter().enumerate() {
        // The directory comes with the first message.
        let space = b.env.disk.space(dir).or_else(|_| b.env.disk.space(&config.root));
        let Ok(space) = space else { continue };
        let ratio = space.used_percent() as f64 / 100.0;
        fullest = fullest.max(ratio);
        put(
            &format!("commitLogDiskRatio_{}", dir.display()),
            format!("{ratio:?}"),
        );
        if at == 0 {
            let (total, free) = (readable(space.total), readable(space.available));
            put("commitLogDirCapacity", format!("Total : {total}, Free : {free}."));
        }
    }
    put("commitLogDiskRatio", format!("{fullest:?}"));
    let queues = b
        .env
        .disk
        .space(&config.root)
        .map_or(0.0, |space| space.used_percent() as f64 / 100.0);
    put("consumeQueueDiskRatio", format!("{queues:?}"));
}

/// When the oldest message was stored; -1 when there is none.
pub(crate) fn earliest(b: &Broker) -> i64 {
    let record = b.store.record_at(b.store.min_pos()).ok();
    record
        .and_then(|bytes| Record::decode(&bytes).ok())
        .map_or(-1, |record| record.stored_at)
}

/// There are no thread pools and no queues in front of them; what bounds the work stands in for their sizes.
fn limits(b: &Broker, put: &mut impl FnMut(&str, String)) {
    let config = b.config();
    let (requests, pulls) = (config.in_flight_per_connection_max, config.held_pulls_max);
    let pools = [
        ("send", requests),
        ("pull", pulls),
        ("litePull", pulls),
        ("query", requests),
        ("ack", requests),
    ];
    for (pool, capacity) in pools {
        put(&format!("{pool}ThreadPoolQueueSize"), "0".to_owned());
        put(&format!("{pool}ThreadPoolQueueCapacity"), capacity.to_string());
        put(&format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), "0".to_owned());
    }
    let dedup = b.dedup.figures();
    put("dedupRemembered", dedup.remembered.to_string());
    put("dedupDuplicates", dedup.duplicates.to_string());
    put("dedupForgottenEarly", dedup.forgotten_early.to_string());
    let (conflicts, conflicts_total) = b.clients.conflict_counts();
    put("subscriptionConflictGroups", conflicts.to_string());
    put("subscriptionConflictsTotal", conflicts_total.to_string());
    put("EndTransactionQueueSize", "0".to_owned());
    put("EndTransactionThreadPoolQueueCapacity", requests.to_string());
}

/// A number of bytes for people.
fn readable(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut value, mut unit) = (bytes as f64, None);
    for name in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = Some(name);
    }
    unit.map_or(format!("{bytes} B"), |unit| format!("{value:.1} {unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_the_reference_writes_them() {
        assert_eq!(readable(0), "0 B");
        assert_eq!(readable(1023), "1023 B");
        assert_eq!(readable(9421), "9.2 KiB");
        assert_eq!(readable(252 << 30), "252.0 GiB");
    }

    #[test]
    fn a_rate_that_cannot_be_told_leaves_its_blank() {
        assert_eq!(rates(&Meter::default()), "  ");
        assert_eq!(total_rates(&Meter::default(), &Meter::default()), "0.0 0.0 0.0");
    }
}
