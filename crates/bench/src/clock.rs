// SPDX-License-Identifier: Apache-2.0
//! Time of a run: nanoseconds since its start, an alarm that is exact to some microseconds, and what the process has used
//! of the processors.

use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// Counts from the start of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    start_wall_ns: u64,
}

impl Clock {
    /// The run starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of this crate that asks for the time of day"
    )]
    pub(crate) fn start() -> Clock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH);
        Clock {
            start: Instant::now(),
            start_wall_ns: wall.map_or(0, |wall| wall.as_nanos() as u64),
        }
    }

    /// Since the start, ns.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// The time of day that belongs to a time of the run, ms since 1970.
    pub(crate) fn wall_ms(&self, at: u64) -> u64 {
        (self.start_wall_ns + at) / 1_000_000
    }

    /// The time of the run that belongs to a time of day; times before the start count as the start.
    pub(crate) fn at_wall_ms(&self, ms: u64) -> u64 {
        (ms * 1_000_000).saturating_sub(self.start_wall_ns)
    }

    /// A number that no other run has.
    pub(crate) fn run_id(&self) -> u64 {
        self.start_wall_ns ^ u64::from(std::process::id()).rotate_right(16)
    }
}

/// Wakes one task. The runtime's own timers are exact to a millisecond, which would be seen in every latency of a quiet
/// schedule.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    pub(crate) fn new() -> std::io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Alarm::on(timerfd_create(TimerfdClockId::Monotonic, flags)?)
    }

    #[expect(
        deprecated,
        reason = "unsound only for a type that lends a descriptor it does not own; what replaces it is unsafe"
    )]
    fn on(timer: OwnedFd) -> std::io::Result<Alarm> {
        Ok(Alarm {
            timer: AsyncFd::new(timer)?,
        })
    }

    /// Returns after so many nanoseconds. May be given up.
    pub(crate) async fn after(&mut self, ns: u64) -> std::io::Result<()> {
        // Zero would switch the timer off.
        let ns = ns.max(1);
        let timer = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: (ns / 1_000_000_000) as i64,
                tv_nsec: (ns % 1_000_000_000) as _,
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &timer)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut count = [0; 8];
            let read = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?));
            match read {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                // An earlier alarm that was given up.
                Err(_) => {}
            }
        }
    }
}

/// What the process has used of all processors so far.
pub(crate) fn cpu_time() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        used.tv_sec.max(0) as u64,
        used.tv_nsec.clamp(0, 999_999_999) as u32,
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One that cannot be set.
    pub(crate) fn broken_alarm() -> Alarm {
        let (no_timer, _) = std::os::unix::net::UnixStream::pair().unwrap();
        no_timer.set_nonblocking(true).unwrap();
        Alarm::on(no_timer.into()).unwrap()
    }

    #[tokio::test]
    async fn an_alarm_that_was_given_up_does_not_wake_the_next_one() {
        let clock = Clock::start();
        let mut alarm = Alarm::new().unwrap();
        // On a busy machine it may ring before it is given up.
        while tokio::time::timeout(Duration::from_millis(1), alarm.after(5_000_000))
            .await
            .is_ok()
        {}
        let before = clock.now();
        alarm.after(20_000_000).await.unwrap();
        let waited = clock.now() - before;
        assert!(waited >= 20_000_000, "{waited}");
        alarm.after(0).await.unwrap();
    }

    #[test]
    fn times_of_day_and_of_the_run_belong_together() {
        let clock = Clock::start();
        let ms = clock.wall_ms(5_000_000_000);
        let at = clock.at_wall_ms(ms);
        assert!((4_999_000_000..=5_000_000_000).contains(&at), "{at}");
        assert_eq!(clock.at_wall_ms(1), 0);
    }
}
