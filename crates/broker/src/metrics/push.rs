// SPDX-License-Identifier: Apache-2.0
//! Numbers that leave by themselves: pushed to a collector (OTLP_GRPC), or written to the log (LOG).

use std::sync::Arc;
use std::time::Duration;

use metrics::otlp::{Batch, PushError, Rejected, Target};
use metrics::{Deltas, Export, Lines, Sink};
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::{base, collect};
use crate::broker::Broker;
use crate::config::{Config, MetricsExporterType, pairs_of};

/// What the library of the reference calls the broker.
const SCOPE: &str = "broker-meter";
const NANOS_PER_MS: i64 = 1_000_000;

/// Starts what settings ask for. It ends with one more turn when `stop` comes, so that nothing is lost that was counted.
pub(crate) fn start(b: &Arc<Broker>, tasks: &TaskTracker, stop: &CancellationToken) {
    let config = b.config();
    let every_ms = match config.metrics_exporter_type {
        MetricsExporterType::OtlpGrpc => config.metric_grpc_exporter_interval_in_mills,
        MetricsExporterType::Log => config.metric_logging_exporter_interval_in_mills,
        MetricsExporterType::Disable | MetricsExporterType::Prom => return,
    };
    let leaving = Leaving {
        b: Arc::clone(b),
        deltas: Arc::new(Mutex::new(Deltas::default())),
        since: nanos(b.counts.started_ms()),
        target: target(&config),
        is_bad: false,
        has_rejected: false,
    };
    tasks.spawn(leaving.keep(Duration::from_millis(every_ms), stop.clone()));
}

fn target(config: &Config) -> Target {
    let place = config.metrics_grpc_exporter_target.as_str();
    let headers = config.metrics_grpc_exporter_header.get();
    Target {
        authority: place
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned(),
        headers: headers.and_then(pairs_of).unwrap_or_default(),
        timeout: Duration::from_millis(config.metric_grpc_exporter_time_out_in_mills),
    }
}

fn nanos(ms: i64) -> u64 {
    u64::try_from(ms.saturating_mul(NANOS_PER_MS)).unwrap_or(0)
}

/// Numbers that leave again and again.
struct Leaving {
    b: Arc<Broker>,
    /// What was told, where only the growth is.
    deltas: Arc<Mutex<Deltas>>,
    /// When all was taken last.
    since: u64,
    target: Target,
    /// The last push failed, and that was logged.
    is_bad: bool,
    /// The collector has rejected values, and that was logged.
    has_rejected: bool,
}

impl Leaving {
    async fn keep(mut self, every: Duration, stop: CancellationToken) {
        let mut tick = interval_at(Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = tick.tick() => false,
            };
            self.turn().await;
            if is_last {
                return;
            }
        }
    }

    async fn turn(&mut self) {
        if self.b.config().metrics_exporter_type == MetricsExporterType::Log {
            self.log().await;
            return;
        }
        match self.push().await {
            Ok(rejected) => {
                if std::mem::take(&mut self.is_bad) {
                    info!(collector = %self.target.authority, "metrics are pushed again");
                }
                self.tell(&rejected);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_bad, true) {
                    warn!(collector = %self.target.authority, %error, "metrics are not pushed; trying again");
                }
            }
        }
    }

    /// Says once that the collector rejects values.
    fn tell(&mut self, rejected: &Rejected) {
        if rejected.values > 0 && !std::mem::replace(&mut self.has_rejected, true) {
            let (count, error) = (rejected.values, &rejected.why);
            warn!(collector = %self.target.authority, count, error, "the collector rejects some metrics; they are not pushed again");
        }
    }

    async fn push(&mut self) -> Result<Rejected, PushError> {
        let config = self.b.config().clone();
        let is_delta = config.metrics_in_delta;
        let now = nanos(self.b.env.clock.now_ms());
        let start = if is_delta {
            self.since
        } else {
            nanos(self.b.counts.started_ms())
        };
        let mut batch = Batch::new(base(&config), SCOPE, is_delta, (start, now));
        let (b, deltas) = (Arc::clone(&self.b), Arc::clone(&self.deltas));
        let gathered = store::env::aside(move || {
            gather(&b, &mut batch, is_delta.then_some(&deltas));
            batch
        });
        let Ok(batch) = gathered.await else {
            return Ok(Rejected::default());
        };
        let taken = |count| self.deltas.lock().taken(count);
        let rejected = batch.push(&self.target, taken).await?;
        self.since = now;
        Ok(rejected)
    }

    async fn log(&mut self) {
        let (b, deltas) = (Arc::clone(&self.b), Arc::clone(&self.deltas));
        let gathered = store::env::aside(move || {
            let config = b.config().clone();
            let mut lines = Lines::new(&base(&config));
            gather(&b, &mut lines, config.metrics_in_delta.then_some(&deltas));
            deltas.lock().all_taken();
            lines.finish()
        });
        for line in gathered.await.unwrap_or_default() {
            info!(target: "metrics", "{line}");
        }
    }
}

/// Everything, or what has grown. Reads the disk.
fn gather(b: &Broker, sink: &mut dyn Sink, deltas: Option<&Mutex<Deltas>>) {
    let limit = b.config().metrics_otel_cardinality_limit as usize;
    let limit = (limit > 0).then_some(limit);
    match deltas {
        None => collect::all(b, &mut Export::new(sink, limit)),
        Some(deltas) => {
            let mut deltas = deltas.lock();
            collect::all(b, &mut Export::new(&mut deltas.since(sink), limit));
        }
    }
}
