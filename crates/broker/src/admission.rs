// SPDX-License-Identifier: Apache-2.0
//! Whether a request is taken at all, before anybody looks at what it asks for: the broker may leave, follow a master or not be in
//! service, and a send may come too late.

use std::sync::Arc;

use net::{Outcome, Peer};
use tracing::debug;
use wire::frame::Frame;

use crate::broker::Broker;
use crate::config::Config;
use crate::send::overdue;
use crate::{logical, replication};

impl Broker {
    /// Serves a request; so many others of its peer were read together with it and are not served yet.
    pub(crate) fn serve_among(self: &Arc<Self>, others: usize, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        let refusal = {
            let config = self.config();
            let overdue = || overdue::refusal(&config, peer, &frame, others);
            self.refusal(&config, &frame).or_else(overdue)
        };
        refusal.unwrap_or_else(|| logical::serve(self, peer, frame))
    }

    /// What a request is told that this broker does not take as it is now: it leaves, follows a master, or is not in service.
    fn refusal(&self, config: &Config, frame: &Frame) -> Option<Outcome> {
        if let Some(refusal) = self.leaving.refusal(frame) {
            return Some(refusal);
        }
        let fault = replication::refusal(self, config, frame)
            .or_else(|| replication::refusal_before_service(self, frame))?;
        if frame.is_oneway() {
            debug!(code = frame.code, remark = %fault.remark, "a one-way request is refused by a slave");
            return Some(Outcome::Silent);
        }
        Some(Outcome::Reply(fault.into_frame(frame.opaque)))
    }

    /// Whether none of these sends is refused.
    pub(crate) fn takes_all(&self, peer: &Peer, frames: &[Frame]) -> bool {
        let config = self.config();
        let is_taken = |frame: &Frame| self.refusal(&config, frame).is_none();
        overdue::wait(&config, peer).is_none() && frames.iter().all(is_taken)
    }
}
