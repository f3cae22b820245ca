// SPDX-License-Identifier: Apache-2.0
//! How far the timers are, in numbers: for request 28 and metrics.

use parking_lot::Mutex;
use wire::Str;

use super::Timing;
use super::run::Running;
use crate::broker::Broker;
use crate::names::TIMER_TOPIC;

/// Spans that waiting messages are counted by, in seconds from now: those of the reference.
pub(crate) const SPANS_S: [i64; 8] = [5, 60, 300, 900, 3_600, 14_400, 28_800, 86_400];
/// Ticks that are looked at while others wait for the timers.
const LOOKED_AT_TOGETHER: usize = 512;

/// How far the timers are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Messages of the timer topic that have no entry yet.
    pub(crate) unread: i64,
    /// For how long the oldest of them has been there, ms.
    pub(crate) unread_ms: i64,
    /// Messages that wait.
    pub(crate) waiting: i64,
    /// How far behind the clock they fire, ms.
    pub(crate) late_ms: i64,
}

impl Timing {
    /// How far they are; `None`: they are switched off. Waits for them, and may read the disk.
    pub(crate) fn figures(&self, b: &Broker) -> Option<Figures> {
        let mark = self.running.as_ref()?.lock().timers.mark();
        let now_ms = b.env.clock.now_ms();
        let queue = b.store.find_queue(TIMER_TOPIC, 0);
        let end = queue.as_ref().map_or(0, |queue| queue.max());
        let unread = (end - mark.queue_offset).max(0);
        let oldest = queue.filter(|_| unread > 0);
        let oldest = oldest.and_then(|queue| b.store.stored_at(&queue, mark.queue_offset));
        Some(Figures {
            unread,
            unread_ms: oldest.map_or(0, |stored_at| (now_ms - stored_at).max(0)),
            waiting: self.counts.by_topic().iter().map(|(_, count)| *count).sum(),
            late_ms: (now_ms - mark.read_ms).max(0),
        })
    }

    /// How many messages of each topic wait.
    pub(crate) fn waiting_by_topic(&self) -> Vec<(Str, i64)> {
        self.counts.by_topic()
    }

    /// How many messages are due within each of the spans, without those of the span before it. Reads the disk.
    pub(crate) fn waiting_by_span(&self, b: &Broker) -> Option<[i64; SPANS_S.len()]> {
        let running = self.running.as_ref()?;
        let now_ms = b.env.clock.now_ms();
        let mut spans = [0; SPANS_S.len()];
        let mut from = now_ms;
        for (span, seconds) in spans.iter_mut().zip(SPANS_S) {
            let end = now_ms + seconds * 1000;
            while let Some(next) = count(running, (from, end), span) {
                from = next;
            }
            from = end;
        }
        Some(spans)
    }
}

/// Counts messages of some ticks; where to go on, if there are more.
fn count(running: &Mutex<Running>, (mut from, end): (i64, i64), sum: &mut i64) -> Option<i64> {
    let mut running = running.lock();
    let timers = &mut running.timers;
    for _ in 0..LOOKED_AT_TOGETHER {
        let tick = timers
            .pending_from(from)
            .ok()
            .flatten()
            .filter(|tick| *tick < end)?;
        *sum += timers.count_at(tick).map_or(0, |count| i64::from(count.max(0)));
        from = tick + timers.precision_ms();
    }
    Some(from)
}
