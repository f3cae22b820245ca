// SPDX-License-Identifier: Apache-2.0
//! How replication goes, for operators: 907 (`haStatus`), and 908, which changes one figure of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use net::{Answer, Call, Fault, Reply};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::info;
use wire::api::ha::{GetBrokerHaStatus, ResetMasterFlushOffset};
use wire::body::ha::{HaClientRuntimeInfo, HaConnectionRuntimeInfo, HaRuntimeInfo};
use wire::code::{NoHeader, ResponseCode};
use wire::{Str, fastjson};

use crate::broker::Broker;

/// What a slave notes of its link.
#[derive(Debug, Default)]
pub(crate) struct Follower {
    master: Mutex<Option<Str>>,
    is_linked: watch::Sender<bool>,
    /// Whether something was complained of since it followed last.
    is_troubled: AtomicBool,
    /// When it heard and said something last, ms.
    heard_ms: AtomicI64,
    said_ms: AtomicI64,
    /// Bytes of the log so far.
    bytes: AtomicI64,
    /// The same when somebody asked last, and when that was.
    asked: Mutex<(i64, i64)>,
    /// Where the log of the master ended when it started, as somebody said (908).
    master_began: AtomicI64,
}

impl Follower {
    /// The link lasts as long as what is returned.
    pub(super) fn connected(&self, master: &Str) -> Linked<'_> {
        *self.master.lock() = Some(master.clone());
        self.is_linked.send_replace(true);
        Linked(self)
    }

    /// It follows: the master sends what belongs behind our log.
    pub(super) fn accepted(&self, from: i64) {
        self.is_troubled.store(false, Ordering::Relaxed);
        let master = self.master.lock().clone().unwrap_or_default();
        info!(%master, from, "connected to the master");
    }

    /// It does not follow any more, and that was said.
    pub(super) fn troubled(&self) {
        self.is_troubled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_troubled(&self) -> bool {
        self.is_troubled.load(Ordering::Relaxed)
    }

    pub(super) fn is_linked(&self) -> bool {
        *self.is_linked.borrow()
    }

    /// Tells when that changes.
    pub(super) fn links(&self) -> watch::Receiver<bool> {
        self.is_linked.subscribe()
    }

    /// Whether there is a link, and something was heard since then.
    pub(super) fn has_heard_since(&self, then_ms: i64) -> bool {
        self.is_linked() && self.heard_ms.load(Ordering::Relaxed) >= then_ms
    }

    pub(super) fn took(&self, bytes: i64, now_ms: i64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.heard_ms.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn said(&self, now_ms: i64) {
        self.said_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Bytes in a second since somebody asked last.
    fn rate(&self, now_ms: i64) -> i64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let (before, at_ms) = std::mem::replace(&mut *self.asked.lock(), (bytes, now_ms));
        let passed = (now_ms - at_ms).max(1);
        if at_ms == 0 {
            0
        } else {
            (bytes - before).saturating_mul(1000) / passed
        }
    }
}

/// A link of a slave.
#[derive(Debug)]
pub(super) struct Linked<'a>(&'a Follower);

impl Drop for Linked<'_> {
    fn drop(&mut self) {
        self.0.is_linked.send_replace(false);
    }
}

/// Code 907.
pub(crate) fn ha_status(b: &Arc<Broker>, _: Call<GetBrokerHaStatus>) -> Result<Answer<NoHeader>, Fault> {
    let end = b.store.written().0;
    let is_slave = b.is_slave();
    let mut info = HaRuntimeInfo {
        master: !is_slave,
        ..HaRuntimeInfo::default()
    };
    if is_slave {
        let follower = &b.replication.follower;
        info.ha_client_runtime_info = HaClientRuntimeInfo {
            last_read_timestamp: follower.heard_ms.load(Ordering::Relaxed),
            last_write_timestamp: follower.said_ms.load(Ordering::Relaxed),
            master_addr: follower.master.lock().clone(),
            master_flush_offset: follower.master_began.load(Ordering::Relaxed),
            max_offset: end,
            transferred_byte_in_second: follower.rate(b.env.clock.now_ms()),
        };
    } else {
        let quorum = b.replication.quorum.lock();
        let gap_max = quorum.promise().gap_max;
        info.master_commit_log_max_offset = end;
        info.in_sync_slave_nums = i32::try_from(quorum.in_step(end)).unwrap_or(i32::MAX);
        info.ha_connection_info = quorum
            .slaves()
            .iter()
            .map(|slave| HaConnectionRuntimeInfo {
                addr: slave.addr.to_string().into(),
                diff: end - slave.acked,
                in_sync: end - slave.acked < gap_max,
                slave_ack_offset: slave.acked,
                transfer_from_where: slave.sent,
                transferred_byte_in_second: slave.rate.per_second(),
            })
            .collect();
    }
    Ok(Reply::ok(NoHeader).with_body(fastjson::to_vec(&info)).into())
}

/// Code 908. Nothing depends on it here: how far a slave may go follows from its master's log itself.
pub(crate) fn set_master_flush_offset(
    b: &Arc<Broker>,
    call: Call<ResetMasterFlushOffset>,
) -> Result<Answer<NoHeader>, Fault> {
    if b.is_slave() {
        let missing = || {
            Fault::new(
                ResponseCode::SYSTEM_ERROR,
                "the custom field <masterFlushOffset> is null",
            )
        };
        let offset = call.header.master_flush_offset.ok_or_else(missing)?;
        b.replication
            .follower
            .master_began
            .store(offset, Ordering::Relaxed);
    }
    Ok(Reply::ok(NoHeader).into())
}
