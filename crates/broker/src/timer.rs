// SPDX-License-Identifier: Apache-2.0
//! Timers: messages that are to be delivered at a time of their own.
//!
//! A send that asks for it is kept in the topic of the timers ([`park`]) under the tick its time lies in. One task
//! (`run`) reads that topic into the wheel of the store, and writes what has become due to the topic it was meant for.
//! Requests (`requests`) take a message back, list what waits, and tell how far all this is (60, 61).

mod counts;
mod deliver;
mod figures;
mod handle;
mod recalls;
mod requests;
mod run;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use net::Fault;
use parking_lot::Mutex;
use store::{Store, TimerConfig, TimerMark, Timers, tick_of};
use tracing::error;
use wire::Str;
use wire::body::timer::TimerMetrics;
use wire::code::ResponseCode;
use wire::properties::name::{REAL_QID, REAL_TOPIC};

use self::counts::Counts;
pub(crate) use self::figures::SPANS_S;
pub(crate) use self::requests::{cancel_timer, check_point, list_timers, metrics, recall_message};
use self::run::{Running, keep_flushing, keep_running};
use crate::broker::Broker;
use crate::config::Config;
use crate::names::{TIMER_TOPIC, group_of_retry_topic};
use crate::saved::{LoadError, SaveError};
use crate::send::park::Parked;
use crate::send::properties::Asks;
use crate::send::properties::name::TIMER_OUT_MS;

/// How long somebody waits who only wants to know how far the timers are.
const LOOK_PATIENCE: Duration = Duration::from_millis(20);

/// The timers of a broker.
pub(crate) struct Timing {
    /// `None`: they are switched off.
    running: Option<Mutex<Running>>,
    counts: Counts,
    /// Ticks that have more messages than the limit, and how many. Apart from the timers, so that a send waits for nobody;
    /// known since the last message that was put there.
    crowds: Mutex<HashMap<i64, i32>>,
    /// Messages that could not be read, and were passed over.
    passed_over: AtomicU64,
}

/// Why there are no timers.
#[derive(Debug, thiserror::Error)]
pub enum TimerError {
    /// The disk, or what stands on it.
    #[error("timers: {0}")]
    Io(#[from] io::Error),
    /// The table of counts.
    #[error(transparent)]
    Table(#[from] LoadError),
}

impl Timing {
    /// Opens the files and recovers, unless timers are switched off. Blocks.
    pub(crate) fn open(config: &Config, env: &store::Env, store: &Store) -> Result<Timing, TimerError> {
        let counts = Counts::open(config, env.clone())?;
        if !config.timer_wheel_enable {
            return Ok(Timing::new(None, counts));
        }
        let mut timers = Timers::open(
            TimerConfig {
                config_dir: config.config_dir(),
                precision_ms: i64::from(config.timer_precision_ms),
                roll_ticks: i64::from(config.timer_roll_window_slot),
                log_file_bytes: u64::from(config.mapped_file_size_timer_log),
                ..TimerConfig::at(config.store_path_root_dir.as_str())
            },
            env.clone(),
            store.max_pos(),
        )?;
        let end = store.find_queue(TIMER_TOPIC, 0).map_or(0, |queue| queue.max());
        if let Err(error) = timers.end_at(end) {
            error!(topic = TIMER_TOPIC, offset = end, %error, "where the timers go on is not noted; trying again");
        }
        let running = Mutex::new(Running::new(timers, env.clock.instant()));
        Ok(Timing::new(Some(running), counts))
    }

    fn new(running: Option<Mutex<Running>>, counts: Counts) -> Timing {
        Timing {
            running,
            counts,
            crowds: Mutex::default(),
            passed_over: AtomicU64::new(0),
        }
    }

    /// Messages that could not be read, and were passed over.
    pub(crate) fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    fn pass_over(&self) {
        self.passed_over.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how far everything is. Blocks. Nothing may run any more.
    pub(crate) fn close(&self, b: &Broker) -> Result<(), TimerCloseError> {
        if let Some(running) = &self.running {
            running.lock().close(b)?;
        }
        Ok(self.counts.save()?)
    }

    /// Whether everything that was due a second ago has been delivered.
    pub(crate) fn is_current(&self, b: &Broker) -> bool {
        let Some(mut running) = self.running.as_ref().and_then(|r| r.try_lock_for(LOOK_PATIENCE)) else {
            return false;
        };
        let timers = &mut running.timers;
        let is_read = b
            .store
            .find_queue(TIMER_TOPIC, 0)
            .is_none_or(|queue| timers.queue_offset() >= queue.max());
        let now_ms = b.env.clock.now_ms();
        is_read
            && timers
                .next_due_ms()
                .is_ok_and(|due| due.is_none_or(|due| due > now_ms - 1_000))
    }

    /// Follows the timers of a master. Blocks.
    pub(crate) fn follow(
        &self,
        b: &Broker,
        master: TimerMark,
        waiting: Option<TimerMetrics>,
    ) -> io::Result<()> {
        if let Some(running) = &self.running {
            running.lock().follow(b, master)?;
        }
        if let Some(waiting) = waiting {
            self.counts.replace(waiting);
        }
        Ok(())
    }

    /// Takes over what a slave has fired that acted for this master. Blocks.
    pub(crate) fn take_back(&self, b: &Broker, slave: TimerMark) -> io::Result<()> {
        match &self.running {
            Some(running) => running.lock().take_back(b, slave),
            None => Ok(()),
        }
    }

    /// Nothing fires here any more. Blocks.
    pub(crate) fn rest(&self, b: &Broker) -> io::Result<()> {
        match &self.running {
            Some(running) => running.lock().rest(b),
            None => Ok(()),
        }
    }

    /// Goes on where the master was. Blocks.
    pub(crate) fn lead(&self) {
        if let Some(running) = &self.running {
            running.lock().lead();
        }
    }

    /// Forgets the count of a topic that was deleted.
    pub(crate) fn forget(&self, topic: &str) {
        self.counts.forget(topic);
    }

    /// Whether a tick takes no more messages. Between once and twice the limit chance decides, as in the reference.
    fn is_crowded(&self, b: &Broker, out_ms: i64, limit: u32) -> bool {
        // Nobody set a limit: sends do not wait for the timers then.
        if limit >= i32::MAX.unsigned_abs() {
            return false;
        }
        let Some(count) = self.crowds.lock().get(&out_ms).copied().map(i64::from) else {
            return false;
        };
        let limit = i64::from(limit);
        let above = count - limit;
        above > 0 && (above >= limit || b.env.rng.below(1000).cast_signed() > 1000 * above / limit.max(1))
    }
}

/// What could not be noted at the end: some deliveries are repeated after the next start.
#[derive(Debug, thiserror::Error)]
pub enum TimerCloseError {
    /// The files of the timers.
    #[error("timers: {0}")]
    Io(#[from] io::Error),
    /// The table of counts.
    #[error(transparent)]
    Table(#[from] SaveError),
}

/// Where a message waits that is to be delivered at a time; `None` when that time is over, or when it asks for nothing of
/// the kind. What the reference says is said here too.
pub(crate) fn park(
    b: &Broker,
    config: &Config,
    asks: &Asks<'_>,
    (topic, queue_id): (&Str, i32),
) -> Result<Option<Parked>, Fault> {
    let asked = asks.delay_sec.or(asks.delay_ms).or(asks.deliver_ms);
    // Rolled messages and those that have been delivered once carry their tick: they are not kept a second time.
    let Some(asked) = asked.filter(|_| asks.timer_out_ms.is_none() && topic != TIMER_TOPIC) else {
        return Ok(None);
    };
    if !config.timer_wheel_enable {
        let remark = "accurate timer message is not enabled, timerWheelEnable is false";
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    let now_ms = b.env.clock.now_ms();
    let number: i64 = asked.parse().map_err(|_| {
        let remark =
            format!("timer message illegal, the time \"{asked}\" is no number of milliseconds or seconds");
        Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark)
    })?;
    let deliver_ms = match (asks.delay_sec, asks.delay_ms) {
        (Some(_), _) => now_ms.saturating_add(number.saturating_mul(1000)),
        (None, Some(_)) => now_ms.saturating_add(number),
        (None, None) => number,
    };
    if deliver_ms <= now_ms {
        // What was to be taken back has been delivered already.
        return if asks.recalls.is_some() {
            Err(illegal(config))
        } else {
            Ok(None)
        };
    }
    if deliver_ms - now_ms > i64::from(config.timer_max_delay_sec) * 1000 {
        return Err(illegal(config));
    }
    let out_ms = tick_of(deliver_ms, i64::from(config.timer_precision_ms));
    let limit = config.timer_congest_num_each_slot;
    if b.timing.is_crowded(b, out_ms, limit) {
        let twice = u64::from(limit) * 2;
        let remark = format!(
            "timer message is under flow control, max num limit is {twice} or the current value is greater than {limit} and less than {twice}, trigger random flow control"
        );
        return Err(Fault::new(ResponseCode::SYSTEM_ERROR, remark));
    }
    Ok(Some(Parked {
        topic: Str::const_new(TIMER_TOPIC),
        queue_id: 0,
        without: &[],
        with: vec![
            (TIMER_OUT_MS, out_ms.to_string().into()),
            (REAL_TOPIC, topic.clone()),
            (REAL_QID, queue_id.to_string().into()),
        ],
    }))
}

fn illegal(config: &Config) -> Fault {
    let remark = format!(
        "timer message illegal, the delay time should not be bigger than the max delay {}ms; or if set del msg, the delay time should be bigger than the current time",
        u64::from(config.timer_max_delay_sec) * 1000
    );
    Fault::new(ResponseCode::MESSAGE_ILLEGAL, remark)
}

/// What the sender of a timer message needs to take it back.
pub(crate) fn recall_handle(
    config: &Config,
    parked: Option<&Parked>,
    topic: &str,
    unique: &str,
) -> Option<Str> {
    if group_of_retry_topic(topic).is_some() {
        return None;
    }
    let (_, out_ms) = parked?.with.iter().find(|(name, _)| *name == TIMER_OUT_MS)?;
    // One more, so that it lies in the tick.
    let deliver_ms = out_ms.parse::<i64>().ok()?.saturating_add(1);
    Some(handle::encode(topic, &config.broker_name, deliver_ms, unique).into())
}

/// Starts what makes the timers durable, whoever fires them.
pub(crate) fn start_flushing(
    b: &Arc<Broker>,
    tasks: &tokio_util::task::TaskTracker,
    stop: &tokio_util::sync::CancellationToken,
) {
    if b.timing.running.is_some() {
        tasks.spawn(keep_flushing(Arc::clone(b), stop.clone()));
    }
}

/// Starts the timers.
pub(crate) fn start(
    b: &Arc<Broker>,
    tasks: &tokio_util::task::TaskTracker,
    stop: &tokio_util::sync::CancellationToken,
) {
    if b.timing.running.is_some() {
        tasks.spawn(keep_running(Arc::clone(b), stop.clone()));
    }
}
