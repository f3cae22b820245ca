// SPDX-License-Identifier: Apache-2.0
//! Room for replies that wait until those that asked have taken them. Each connection has a share of it, so that one
//! whose replies nobody takes leaves room for the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Bytes of replies that wait, over all connections.
pub(super) const BYTES_MAX: usize = 64 << 20;
/// Of them, those that came over one connection; a single reply may be larger.
pub(super) const SHARE_BYTES_MAX: usize = 8 << 20;

/// The room.
#[derive(Debug, Default)]
pub(crate) struct ReplyRoom {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// By connection.
    shares: HashMap<u64, usize>,
}

/// Room that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<ReplyRoom>,
    peer: u64,
    bytes: usize,
}

impl ReplyRoom {
    /// Takes room for a reply over a connection; `None`: there is none now.
    pub(super) fn take(room: &Arc<ReplyRoom>, peer: u64, bytes: usize) -> Option<Place> {
        let mut taken = room.taken.lock();
        let share = taken.shares.get(&peer).copied().unwrap_or(0);
        if taken.bytes + bytes > BYTES_MAX || (share > 0 && share + bytes > SHARE_BYTES_MAX) {
            return None;
        }
        taken.bytes += bytes;
        taken.shares.insert(peer, share + bytes);
        Some(Place {
            room: Arc::clone(room),
            peer,
            bytes,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken.lock();
        taken.bytes -= self.bytes;
        if let Some(share) = taken.shares.get_mut(&self.peer) {
            *share -= self.bytes;
            if *share == 0 {
                taken.shares.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_connection_uses_up_its_share_and_not_the_room() {
        let room = Arc::new(ReplyRoom::default());
        let first: Vec<Place> = std::iter::from_fn(|| ReplyRoom::take(&room, 1, MIB)).collect();
        assert_eq!(first.len(), 8);
        assert!(ReplyRoom::take(&room, 2, MIB).is_some());
        drop(first);
        assert!(
            ReplyRoom::take(&room, 1, 20 * MIB).is_some(),
            "a large one, alone"
        );
        assert!(room.taken.lock().shares.is_empty());
    }

    #[test]
    fn all_connections_together_have_a_limit() {
        let room = Arc::new(ReplyRoom::default());
        let taken: Vec<_> = (0..20)
            .map(|peer| ReplyRoom::take(&room, peer, 8 * MIB))
            .collect();
        assert_eq!(taken.iter().flatten().count(), 8);
    }
}
