// SPDX-License-Identifier: Apache-2.0
//! What lies between a slave and its master: bytes arrive in pieces, late, or not at all while a way is cut. A link that was
//! dropped on one side stays open on the other as long as that cannot hear of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use store::env::Rng as _;
use store::env::sim::SimRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};

use super::super::Replication;

/// Bytes on their way.
const BUFFER_BYTES: usize = 16 << 10;

/// Both halves of one end of a link.
pub(super) type Halves = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

/// How a cable is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// From the slave to the master nothing arrives.
    pub(super) is_cut_up: bool,
    /// From the master to the slave nothing arrives.
    pub(super) is_cut_down: bool,
    pub(super) delay: Duration,
    /// Counts how often all links were dropped.
    pub(super) drops: u64,
}

/// The master's port, while there is one.
pub(super) type Port = Arc<Mutex<Option<Listening>>>;

/// Who takes links, and gives out what they begin with.
#[derive(Debug)]
pub(super) struct Listening {
    /// Each with the id of its slave.
    pub(super) links: mpsc::UnboundedSender<(i64, Halves)>,
    pub(super) replication: Arc<Replication>,
}

#[derive(Debug)]
pub(super) struct Cable {
    state: watch::Sender<State>,
    rng: SimRng,
    port: Port,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Cable {
    pub(super) fn to(port: &Port, seed: u64) -> Arc<Cable> {
        Arc::new(Cable {
            state: watch::Sender::default(),
            rng: SimRng::seeded(seed),
            port: Arc::clone(port),
        })
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(change);
    }

    /// What a slave gets that says hello.
    pub(super) fn hello(&self, id: i64) -> Option<i64> {
        let port = self.port.lock();
        let now = tokio::time::Instant::now().into_std();
        let hellos = &port.as_ref()?.replication.hellos;
        Some(hellos.give_token(id, self.rng.next_u64(), now))
    }

    /// A link of a slave to the master, if one can be made.
    pub(super) fn connect(self: &Arc<Cable>, id: i64) -> Option<Halves> {
        let state = *self.state.borrow();
        if state.is_cut_up || state.is_cut_down {
            return None;
        }
        let (near, inner) = tokio::io::duplex(BUFFER_BYTES);
        let (outer, far) = tokio::io::duplex(BUFFER_BYTES);
        {
            let port = self.port.lock();
            port.as_ref()?.links.send((id, tokio::io::split(far))).ok()?;
        }
        let cable = Arc::clone(self);
        tokio::spawn(async move { cable.carry(inner, outer).await });
        Some(tokio::io::split(near))
    }

    async fn carry(&self, slave: DuplexStream, master: DuplexStream) {
        let (from_slave, to_slave) = tokio::io::split(slave);
        let (from_master, to_master) = tokio::io::split(master);
        let mut state = self.state.subscribe();
        let drops = state.borrow().drops;
        // Whichever side ends it, and can be heard, ends it for both.
        tokio::select! {
            () = self.pump(Way::Up, from_slave, to_master) => {}
            () = self.pump(Way::Down, from_master, to_slave) => {}
            _ = state.wait_for(|state| state.drops != drops) => {}
        }
    }

    async fn pump(&self, way: Way, mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>) {
        let mut buffer = vec![0; 4096];
        loop {
            let most = 1 + self.rng.below(buffer.len() as u64) as usize;
            let read = from.read(&mut buffer[..most]).await.unwrap_or(0);
            let mut state = self.state.subscribe();
            let open = state.wait_for(|state| match way {
                Way::Up => !state.is_cut_up,
                Way::Down => !state.is_cut_down,
            });
            let delay = open.await.map(|state| state.delay).unwrap_or_default();
            tokio::time::sleep(delay).await;
            if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
