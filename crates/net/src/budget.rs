// SPDX-License-Identifier: Apache-2.0
//! What all connections of a process may hold together: frames that have half arrived, requests that are held, answers and
//! pushes that nobody has read. Beyond it the host is sought whose connections hold most together, and of them the one that holds most is
//! closed: many connections do not make one that is honest stand out. Before that, whoever does not read gets less and less
//! to have waiting ([`Budget::share`]).
//!
//! A connection notes what it holds when that has grown past what it noted last, or has shrunk below half of it, in whole
//! [`STEP`]s: so the lock is taken a few times for a frame of a megabyte and not at all for small ones that come and go. Each
//! counts with one step to begin with, so that nothing escapes in small pieces.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What is held is counted in these.
pub(crate) const STEP: usize = 16 * 1024;
/// So much may wait for a peer that does not read, however little is left.
const SHARE_MIN: usize = 4 * STEP;
/// One that does not read may have this part of what is left.
const SHARE_PART: usize = 64;

/// The bytes, and who holds them.
#[derive(Debug)]
pub struct Budget {
    max: usize,
    /// As in `holders`, to be looked at without the lock.
    held: AtomicUsize,
    holders: Mutex<Holders>,
}

#[derive(Debug, Default)]
struct Holders {
    held: usize,
    last: u64,
    hosts: HashMap<IpAddr, Host>,
    /// By how much they hold.
    by_bytes: BTreeSet<(usize, IpAddr)>,
}

/// The connections of one host.
#[derive(Debug, Default)]
struct Host {
    held: usize,
    /// By how much they hold, and then by their age.
    by_bytes: BTreeMap<(usize, u64), Holder>,
}

/// Who can be closed to have bytes back.
#[derive(Debug, Clone)]
struct Holder {
    addr: SocketAddr,
    closing: CancellationToken,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn of(max: usize) -> Arc<Budget> {
        Arc::new(Budget {
            max,
            held: AtomicUsize::new(0),
            holders: Mutex::default(),
        })
    }

    /// What is held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// What may wait for one peer. All that do not read come to rest before the budget is used up, whatever their number: each
    /// at the same part of what the others leave.
    pub(crate) fn share(&self) -> usize {
        (self.max.saturating_sub(self.held()) / SHARE_PART).max(SHARE_MIN)
    }

    /// Something that a connection holds; it counts with `least` bytes and what it takes note of.
    pub(crate) fn join(
        self: &Arc<Budget>,
        (addr, closing): (SocketAddr, &CancellationToken),
        least: usize,
    ) -> Portion {
        let holder = Holder {
            addr,
            closing: closing.clone(),
        };
        let id = {
            let mut holders = self.holders.lock();
            holders.last += 1;
            holders.last
        };
        let mut portion = Portion {
            budget: Arc::clone(self),
            holder,
            id,
            least,
            noted: 0,
        };
        portion.set(least);
        portion
    }

    /// Takes note that a holder has so many bytes now, and closes those that hold most until all is within the budget again.
    fn change(&self, holder: &Holder, id: u64, (before, after): (usize, usize)) {
        let mut closed = Vec::new();
        {
            let mut holders = self.holders.lock();
            let host = holder.addr.ip().to_canonical();
            if before > 0 && holders.remove(host, (before, id)).is_none() {
                // It was closed, and nothing of it counts any more.
                return;
            }
            if after > 0 {
                holders.insert(host, (after, id), holder.clone());
            }
            while holders.held > self.max
                && let Some((bytes, largest)) = holders.pop_largest()
            {
                closed.push((bytes, largest));
            }
            self.held.store(holders.held, Ordering::Relaxed);
        }
        for (bytes, Holder { addr, closing }) in closed {
            closing.cancel();
            warn!(
                peer = %addr, bytes, limit = self.max,
                "closing: connections hold more than connectionBytesMax, and this one most of those of the host that holds most"
            );
        }
    }
}

impl Holders {
    fn insert(&mut self, host: IpAddr, key: (usize, u64), holder: Holder) {
        self.change(host, |host| {
            host.held += key.0;
            host.by_bytes.insert(key, holder);
        });
    }

    fn remove(&mut self, host: IpAddr, key: (usize, u64)) -> Option<Holder> {
        self.change(host, |host| {
            let holder = host.by_bytes.remove(&key)?;
            host.held -= key.0;
            Some(holder)
        })
    }

    /// The connection that holds most of those of the host that does.
    fn pop_largest(&mut self) -> Option<(usize, Holder)> {
        let (_, host) = *self.by_bytes.last()?;
        self.change(host, |host| {
            let ((bytes, _), holder) = host.by_bytes.pop_last()?;
            host.held -= bytes;
            Some((bytes, holder))
        })
    }

    fn change<T>(&mut self, addr: IpAddr, change: impl FnOnce(&mut Host) -> T) -> T {
        let host = self.hosts.entry(addr).or_default();
        let before = host.held;
        let result = change(host);
        let after = host.held;
        if host.by_bytes.is_empty() {
            self.hosts.remove(&addr);
        }
        if after != before {
            self.by_bytes.remove(&(before, addr));
            if after > 0 {
                self.by_bytes.insert((after, addr));
            }
            self.held = self.held - before + after;
        }
        result
    }
}

/// What one connection holds. Given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Portion {
    budget: Arc<Budget>,
    holder: Holder,
    id: u64,
    least: usize,
    noted: usize,
}

impl Portion {
    /// Takes note of how many bytes there are now.
    pub(crate) fn note(&mut self, bytes: usize) {
        if bytes > self.noted || bytes < self.noted / 2 {
            self.set((bytes / STEP * STEP).saturating_add(self.least));
        }
    }

    /// The budget it is a part of.
    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    fn set(&mut self, bytes: usize) {
        if bytes != self.noted {
            let before = std::mem::replace(&mut self.noted, bytes);
            self.budget.change(&self.holder, self.id, (before, bytes));
        }
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn join(budget: &Arc<Budget>) -> (Portion, CancellationToken) {
        join_from(budget, 1)
    }

    fn join_from(budget: &Arc<Budget>, host: u8) -> (Portion, CancellationToken) {
        let closing = CancellationToken::new();
        let nowhere: SocketAddr = (Ipv4Addr::new(127, 0, 0, host), 1).into();
        (budget.join((nowhere, &closing), STEP), closing)
    }

    /// Has it count with so many steps.
    fn grow(portion: &mut Portion, steps: usize) {
        portion.note(steps * STEP - 1);
    }

    #[test]
    fn whoever_holds_most_is_closed_when_another_grows_and_the_newest_of_equals_goes_first() {
        let budget = Budget::of(10 * STEP);
        let mut all: Vec<_> = (0..4).map(|_| join(&budget)).collect();
        grow(&mut all[1].0, 5);
        grow(&mut all[2].0, 2);
        assert_eq!(budget.held(), 9 * STEP);
        grow(&mut all[0].0, 3);
        let closed: Vec<bool> = all.iter().map(|(_, closing)| closing.is_cancelled()).collect();
        assert_eq!(closed, [false, true, false, false]);
        assert_eq!(budget.held(), 6 * STEP);
        // It is on its way out: what it still says counts no more.
        grow(&mut all[1].0, 9);
        assert_eq!(budget.held(), 6 * STEP);
        grow(&mut all[3].0, 3);
        let (_last, closing) = join(&budget);
        assert!(!closing.is_cancelled());
        grow(&mut all[2].0, 3);
        assert!(!all[3].1.is_cancelled());
        let _one_too_many = join(&budget);
        assert!(all[3].1.is_cancelled() && !all[2].1.is_cancelled() && !all[0].1.is_cancelled());
        all.clear();
        assert_eq!(budget.held(), 2 * STEP);
    }

    #[test]
    fn of_many_connections_of_one_host_the_largest_is_closed_before_one_larger_of_another() {
        let budget = Budget::of(100 * STEP);
        let mut crowd: Vec<_> = (0..40).map(|_| join_from(&budget, 1)).collect();
        let (mut honest, closing) = join_from(&budget, 2);
        grow(&mut honest, 30);
        for (portion, _) in &mut crowd {
            grow(portion, 2);
        }
        let is_closed = |(_, closing): &(Portion, CancellationToken)| closing.is_cancelled();
        assert!(!closing.is_cancelled());
        assert_eq!(crowd.iter().filter(|one| is_closed(one)).count(), 5);
        assert!(budget.held() <= 100 * STEP);
        drop(crowd);
        assert_eq!(budget.held(), 30 * STEP);
        // Alone it is the host that holds most.
        let _others: Vec<_> = (3..80).map(|host| join_from(&budget, host)).collect();
        assert!(closing.is_cancelled());
    }

    #[test]
    fn what_comes_and_goes_within_a_half_is_not_counted_anew() {
        let budget = Budget::of(usize::MAX);
        let (mut portion, _) = join(&budget);
        assert_eq!(budget.held(), STEP, "one that holds nothing");
        grow(&mut portion, 10);
        assert_eq!(budget.held(), 10 * STEP);
        portion.note(6 * STEP);
        portion.note(9 * STEP);
        assert_eq!(budget.held(), 10 * STEP);
        portion.note(4 * STEP + 1);
        assert_eq!(budget.held(), 5 * STEP);
        portion.note(0);
        assert_eq!(budget.held(), STEP);
    }

    #[test]
    fn those_that_do_not_read_come_to_rest_within_the_budget() {
        let budget = Budget::of(4096 * STEP);
        let mut all: Vec<_> = (0..500).map(|_| join(&budget)).collect();
        for _ in 0..50 {
            for (portion, _) in &mut all {
                // Another step while there may be more.
                let now = portion.noted;
                if now < budget.share() {
                    portion.note(now + 1);
                }
            }
        }
        assert!(all.iter().all(|(_, closing)| !closing.is_cancelled()));
        assert!(budget.held() <= 4096 * STEP);
    }

    proptest! {
        #[test]
        fn what_is_held_is_the_sum_of_what_the_open_ones_hold_and_never_more_than_the_budget(
            changes in prop::collection::vec((0_usize..8, 0_usize..40 * STEP, any::<bool>()), 0..200)
        ) {
            let budget = Budget::of(64 * STEP);
            let mut all: Vec<_> = (0..8).map(|host| join_from(&budget, host / 3)).collect();
            for (which, bytes, ends) in changes {
                if ends {
                    all[which] = join_from(&budget, which as u8 / 2);
                } else {
                    all[which].0.note(bytes);
                }
                let open = all.iter().filter(|(_, closing)| !closing.is_cancelled());
                prop_assert_eq!(budget.held(), open.map(|(portion, _)| portion.noted).sum::<usize>());
                prop_assert!(budget.held() <= 64 * STEP);
            }
            drop(all);
            prop_assert_eq!(budget.held(), 0);
        }
    }
}
