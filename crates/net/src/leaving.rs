// SPDX-License-Identifier: Apache-2.0
//! The time between the wish to stop and the end, in which a server tells its clients to go elsewhere.

use std::sync::atomic::{AtomicBool, Ordering};

use wire::code::ResponseCode;
use wire::frame::Frame;

use crate::routes::{Fault, refuse};
use crate::service::Outcome;

/// The newest version of clients (an ordinal, 5.3.1) that do not know what GO_AWAY means: they are served until the end.
const VERSION_UNAWARE_MAX: i32 = 475;

/// Whether a server leaves.
#[derive(Debug, Default)]
pub struct Leaving(AtomicBool);

impl Leaving {
    /// From now on clients are told to go elsewhere.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether they are.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// What a request gets in place of its answer when the server leaves: GO_AWAY, upon which producers send to another
    /// broker and clients connect anew.
    pub fn refusal(&self, frame: &Frame) -> Option<Outcome> {
        let refused = self.0.load(Ordering::Relaxed) && frame.version > VERSION_UNAWARE_MAX;
        refused.then(|| {
            let fault = Fault::new(ResponseCode::GO_AWAY, "please go away");
            refuse(fault, frame.opaque, frame.is_oneway())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(leaving: &Leaving, version: i32) -> Option<i32> {
        let mut frame = Frame::reply(7, ResponseCode::SUCCESS);
        frame.version = version;
        match leaving.refusal(&frame) {
            Some(Outcome::Reply(reply)) => Some(reply.code),
            _ => None,
        }
    }

    #[test]
    fn clients_that_understand_it_are_told_to_go_once_the_server_leaves() {
        let leaving = Leaving::default();
        assert_eq!(told(&leaving, 500), None);
        leaving.begin();
        assert_eq!(told(&leaving, 476), Some(1500));
        assert_eq!(told(&leaving, 475), None);
    }
}
