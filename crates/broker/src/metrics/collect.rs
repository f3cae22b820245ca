// SPDX-License-Identifier: Apache-2.0
//! Goes through the tables of a broker and hands out their numbers. Reads the disk.

use std::sync::atomic::Ordering;

use metrics::{Export, Histogram, Series};
use tracing::warn;

use super::catalogue::{self as c};
use super::{clients, traffic};
use crate::broker::Broker;
use crate::config::Config;
use crate::lag::Lag;
use crate::peers::Standing;
use crate::timer::SPANS_S;

/// Labels that all values of the store have in front of their own.
const STORAGE: [&str; 2] = ["local", "disk"];

/// Everything that is told.
pub(super) fn all(b: &Broker, export: &mut Export<'_>) {
    let config = b.config();
    own(b, export);
    if config.enable_stats_metrics {
        stats(b, &config, export);
    }
    if config.enable_request_metrics {
        traffic::requests(b, export);
        made(b, export);
    }
    if config.enable_connection_metrics {
        clients::connections(b, export);
    }
    if config.enable_lag_and_dlq_metrics {
        lag(b, export);
        traffic::dead(b, export);
    }
    if config.enable_transaction_metrics {
        transactions(b, export);
    }
    if config.enable_remoting_metrics {
        export.metric(c::RPC, |series| b.measured.rpc.write(series));
    }
    if config.enable_message_store_metrics {
        store(b, &config, export);
        timers(b, export);
    }
    if config.enable_pop_metrics {
        traffic::pops(b, export);
        pops(b, export);
    }
    dropped(b, export);
}

/// How many values were left out.
fn dropped(b: &Broker, export: &mut Export<'_>) {
    let dropped = export.dropped().clone();
    let limit = b.config().metrics_otel_cardinality_limit;
    if !dropped.is_empty() && !b.measured.has_warned.swap(true, Ordering::Relaxed) {
        let metrics: Vec<_> = dropped.keys().collect();
        warn!(
            limit,
            ?metrics,
            "metrics have more values than metricsOtelCardinalityLimit: some are left out; raise it to see all"
        );
    }
    export.unlimited(c::DROPPED, |series| {
        for (metric, count) in dropped {
            series.count(&[metric], count);
        }
    });
}

/// What the reference does not tell.
fn own(b: &Broker, export: &mut Export<'_>) {
    export.metric(c::UP, |series| series.value(&[env!("CARGO_PKG_VERSION")], 1));
    export.value(c::STARTED, b.counts.started_ms() / 1000);
    export.value(c::READINESS, i64::from(super::pages::not_ready(b).is_none()));
    export.metric(c::REFUSED, |series| {
        series.count(&[], b.counts.put_failures.load(Ordering::Relaxed));
    });
    export.value(c::MASTER, i64::from(!b.is_slave()));
    let lags = b.replication.lags(b);
    export.value(c::SLAVES, i64::try_from(lags.len()).unwrap_or(i64::MAX));
    let slaves: Vec<(String, i64, i64)> = lags
        .iter()
        .map(|lag| {
            let id = lag.slave.id;
            let name = id.map_or_else(|| lag.slave.addr.to_string(), |id| id.to_string());
            (name, lag.bytes, lag.ms)
        })
        .collect();
    export.metric(c::SLAVE_LAG, |series| {
        slaves
            .iter()
            .for_each(|(name, bytes, _)| series.value(&[name], *bytes));
    });
    export.metric(c::SLAVE_LAG_TIME, |series| {
        slaves.iter().for_each(|(name, _, ms)| series.value(&[name], *ms));
    });
    let Standing { registered, others } = b.peers.standing();
    export.metric(c::REGISTRATIONS, |series| {
        series.count(&["registered"], registered as u64);
        series.count(&["unregistered"], others as u64);
    });
    export.value(
        c::CONFLICTS,
        i64::try_from(b.clients.conflict_counts().0).unwrap_or(i64::MAX),
    );
}

fn stats(b: &Broker, config: &Config, export: &mut Export<'_>) {
    export.metric(c::WATERMARK, |series| watermarks(b, series));
    export.value(c::PERMISSION, i64::from(config.broker_permission));
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    export.value(c::TOPICS, count(b.topics.all().topics.len()));
    export.value(c::GROUPS, count(b.groups.all().groups.len()));
}

/// There are no queues in front of pools of threads. What stands for them is work that waits for a thread that may wait for
/// the disk; the others are served when they arrive.
fn watermarks(b: &Broker, series: &mut Series<'_>) {
    const NONE: [&str; 10] = [
        "send",
        "async_put",
        "pull",
        "ack",
        "client_manager",
        "heartbeat",
        "lite_pull",
        "transaction",
        "consumer_manager",
        "reply",
    ];
    for processor in NONE {
        series.value(&[processor], 0);
    }
    let (reading, creating) = b.workers.busy();
    series.count(&["query_message"], reading as u64);
    series.count(&["admin"], creating as u64);
}

fn made(b: &Broker, export: &mut Export<'_>) {
    let status = |is_ok: usize| if is_ok == 1 { "success" } else { "failure" };
    export.metric(c::TOPIC_CREATE, |series| {
        for (is_ok, made) in b.measured.topics_made.iter().enumerate() {
            for (is_system, made) in made.iter().enumerate() {
                let is_system = if is_system == 1 { "true" } else { "false" };
                histogram(series, &[status(is_ok), is_system], made);
            }
        }
    });
    export.metric(c::GROUP_CREATE, |series| {
        for (is_ok, made) in b.measured.groups_made.iter().enumerate() {
            histogram(series, &[status(is_ok)], made);
        }
    });
}

/// How far groups are behind.
fn lag(b: &Broker, export: &mut Export<'_>) {
    let lags = b.lags.look(b);
    type Number = fn(&Lag) -> i64;
    let numbers: [(_, Number); 6] = [
        (c::LAG_MESSAGES, |lag| lag.inflight + lag.ready),
        (c::LAG_LATENCY, |lag| lag.oldest_ms),
        (c::INFLIGHT, |lag| lag.inflight),
        (c::QUEUEING, |lag| lag.queueing_ms),
        (c::READY, |lag| lag.ready),
        (c::LAG_BYTES, |lag| lag.bytes),
    ];
    let truth = |is_true| if is_true { "true" } else { "false" };
    for (metric, number) in numbers {
        export.metric(metric, |series| {
            for lag in lags.iter() {
                let labels = [
                    &lag.group,
                    lag.topic.as_str(),
                    truth(lag.is_retry),
                    truth(lag.is_system),
                ];
                series.value(&labels, number(lag));
            }
        });
    }
}

/// A histogram, unless nothing was ever added to it.
pub(super) fn histogram<const N: usize>(series: &mut Series<'_>, labels: &[&str], of: &Histogram<N>) {
    let reading = of.read();
    if reading.total() > 0 {
        series.histogram(labels, &reading.counts, reading.sum);
    }
}

fn transactions(b: &Broker, export: &mut Export<'_>) {
    traffic::transactions(b, export);
    let halves = b.transactions.pending_by_topic();
    export.metric(c::HALVES, |series| {
        halves
            .iter()
            .for_each(|(topic, count)| series.value(&[topic], *count));
    });
}

fn store(b: &Broker, config: &Config, export: &mut Export<'_>) {
    let stored = |export: &mut Export<'_>, metric, value| {
        export.metric(metric, |series| series.value(&STORAGE, value));
    };
    let dirs = config.store();
    let mut spaces = Vec::new();
    for dir in std::iter::once(&dirs.root).chain(&dirs.commit_log_dirs) {
        // The directory of the log comes with the first message.
        if let Ok(space) = b.env.disk.space(dir) {
            spaces.push((dir.display().to_string(), space));
        }
    }
    spaces.dedup_by(|one, other| one.0 == other.0);
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    if let Some((_, space)) = spaces.first() {
        stored(
            export,
            c::STORAGE_SIZE,
            number(space.total.saturating_sub(space.available)),
        );
    }
    export.metric(c::DISK, |series| {
        for (dir, space) in &spaces {
            series.value(
                &[dir, "used"],
                number(space.total.saturating_sub(space.available)),
            );
            series.value(&[dir, "total"], number(space.total));
        }
    });
    let end = b.store.max_pos().0;
    stored(export, c::FLUSH_BEHIND, (end - b.store.durable().0).max(0));
    stored(export, c::DISPATCH_BEHIND, (end - b.store.published().0).max(0));
    let oldest = crate::admin::earliest(b);
    if oldest > 0 {
        stored(export, c::RESERVE_TIME, (b.env.clock.now_ms() - oldest).max(0));
    }
}

fn timers(b: &Broker, export: &mut Export<'_>) {
    let Some(figures) = b.timing.figures(b) else {
        return;
    };
    for (metric, value) in [
        (c::TIMER_ENQUEUE_LAG, figures.unread),
        (c::TIMER_ENQUEUE_LATENCY, figures.unread_ms),
        (c::TIMER_DEQUEUE_LAG, figures.waiting),
        (c::TIMER_DEQUEUE_LATENCY, figures.late_ms),
    ] {
        export.metric(metric, |series| series.value(&STORAGE, value));
    }
    let [kind, medium] = STORAGE;
    let waiting = b.timing.waiting_by_topic();
    export.metric(c::TIMING, |series| {
        waiting
            .iter()
            .for_each(|(topic, count)| series.value(&[kind, medium, topic], *count));
    });
    traffic::timers(b, STORAGE, export);
    if let Some(spans) = b.timing.waiting_by_span(b) {
        export.metric(c::TIMER_SNAPSHOT, |series| {
            for (count, seconds) in spans.iter().zip(SPANS_S) {
                series.value(&[kind, medium, &seconds.to_string()], *count);
            }
        });
    }
}

fn pops(b: &Broker, export: &mut Export<'_>) {
    let figures = b.pop.figures(b.env.clock.now_ms());
    // There is one journal where the reference has queues.
    export.metric(c::POP_REVIVE_LAG, |series| {
        series.count(&["0"], figures.due as u64)
    });
    export.metric(c::POP_REVIVE_LATENCY, |series| {
        series.value(&["0"], figures.late_ms)
    });
    export.value(c::POP_OFFSETS, i64::try_from(figures.lines).unwrap_or(i64::MAX));
    export.value(
        c::POP_CHECKPOINTS,
        i64::try_from(figures.in_flight).unwrap_or(i64::MAX),
    );
}
