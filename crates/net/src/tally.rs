// SPDX-License-Identifier: Apache-2.0
//! How long requests take, counted by the batch: the clock is looked at once when frames arrive and once when their answers
//! were handed to the system, and requests that ended alike are reported as one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;
use wire::frame::Frame;

use crate::service::{Answered, BoxFuture, Late, Manner, Service};

/// What is known of a request once its frame is gone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    code: i32,
    pub(crate) is_oneway: bool,
    /// `None`: nobody wants to know how long it takes.
    arrived: Option<Instant>,
}

impl Asked {
    pub(crate) fn by(frame: &Frame, arrived: Option<Instant>) -> Asked {
        Asked {
            code: frame.code,
            is_oneway: frame.is_oneway(),
            arrived,
        }
    }
}

/// A held answer, with what it answers.
pub(crate) struct Timed {
    pub(crate) asked: Asked,
    /// What its frame has beyond the size of most.
    pub(crate) bytes: usize,
    pub(crate) future: BoxFuture<Option<Late>>,
}

/// One that has ended.
pub(crate) struct Done {
    pub(crate) asked: Asked,
    pub(crate) bytes: usize,
    pub(crate) late: Option<Late>,
}

impl Future for Timed {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done> {
        let (asked, bytes) = (self.asked, self.bytes);
        let late = self.future.as_mut().poll(cx);
        late.map(|late| Done { asked, bytes, late })
    }
}

/// Requests that ended since the last report.
#[derive(Debug, Default)]
pub(crate) struct Tally(Vec<(Answered, Instant, u32)>);

impl Tally {
    pub(crate) fn add(&mut self, asked: Asked, response: i32, manner: Manner) {
        let Some(arrived) = asked.arrived else { return };
        let how = Answered {
            request: asked.code,
            response,
            manner,
        };
        match self.0.last_mut() {
            Some((last, at, count)) if *last == how && *at == arrived => *count += 1,
            _ => self.0.push((how, arrived, 1)),
        }
    }

    /// Tells the service, after the answers were handed over or could not be.
    pub(crate) fn report(&mut self, service: &impl Service, is_sent: bool) {
        if self.0.is_empty() {
            return;
        }
        let now = Instant::now();
        for (mut how, arrived, count) in self.0.drain(..) {
            if !is_sent && how.manner != Manner::Oneway {
                how.manner = Manner::Unsent;
            }
            service.answered(how, count, now - arrived);
        }
    }
}
