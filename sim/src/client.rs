// SPDX-License-Identifier: Apache-2.0
//! A client as the official ones are: it asks a name server where a topic is, keeps a connection to each broker, and tries a
//! send again elsewhere.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use net::{CallError, Channel, ConnectError, Outcome, Peer, Service};
use parking_lot::Mutex;
use store::Env;
use tokio::sync::mpsc;
use wire::api::route::GetRouteinfoByTopic;
use wire::body::topic_route::TopicRoute;
use wire::code::Request;
use wire::fastjson;
use wire::frame::{Encoding, Frame};

use crate::history::History;
use crate::world::Log;

/// What an official client waits for an answer.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// What all clients share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) names: Vec<SocketAddr>,
    pub(crate) history: Arc<Mutex<History>>,
    pub(crate) log: Log,
    /// The last part of a run: nothing fails on purpose any more.
    pub(crate) phase: Arc<Mutex<Phase>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Busy,
    /// Nothing is sent, until clients know again where everything is.
    Rest,
    /// Nothing goes wrong: every send is to succeed, and soon.
    Calm,
    /// Nothing new is sent; consumers take what is left.
    Drain,
}

impl Shared {
    pub(crate) fn phase(&self) -> Phase {
        *self.phase.lock()
    }
}

#[derive(Debug)]
pub(crate) enum AskError {
    Connect(ConnectError),
    Call(CallError),
}

impl std::fmt::Display for AskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AskError::Connect(error) => error.fmt(f),
            AskError::Call(error) => error.fmt(f),
        }
    }
}

pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) env: Env,
    pub(crate) shared: Shared,
    channels: Mutex<BTreeMap<SocketAddr, Arc<Channel>>>,
    /// What brokers ask.
    asked: mpsc::UnboundedSender<(SocketAddr, Frame)>,
}

/// Where the queues of a topic are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) broker: String,
    pub(crate) addr: SocketAddr,
    pub(crate) queue: i32,
}

struct Inbox(mpsc::UnboundedSender<(SocketAddr, Frame)>);

impl Service for Inbox {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        let _ended = self.0.send((peer.addr, frame));
        Outcome::Silent
    }
}

impl Client {
    pub(crate) fn new(
        name: &str,
        env: Env,
        shared: Shared,
    ) -> (Arc<Client>, mpsc::UnboundedReceiver<(SocketAddr, Frame)>) {
        let (asked, requests) = mpsc::unbounded_channel();
        let client = Client {
            name: name.to_owned(),
            env,
            shared,
            channels: Mutex::default(),
            asked,
        };
        (Arc::new(client), requests)
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.env.rng.below(bound)
    }

    pub(crate) fn say(&self, what: impl std::fmt::Display) {
        self.shared.log.line(&self.name, what);
    }

    /// Takes note of something that is wrong.
    pub(crate) fn fault(&self, what: String) {
        self.shared.history.lock().fault(what);
    }

    async fn channel(&self, addr: SocketAddr) -> Result<Arc<Channel>, AskError> {
        if let Some(channel) = self
            .channels
            .lock()
            .get(&addr)
            .filter(|channel| channel.is_open())
        {
            return Ok(Arc::clone(channel));
        }
        let inbox = Arc::new(Inbox(self.asked.clone()));
        let channel = Channel::connect_with(addr, TIMEOUT, inbox, Encoding::Json).await;
        let channel = Arc::new(channel.map_err(AskError::Connect)?);
        self.channels.lock().insert(addr, Arc::clone(&channel));
        Ok(channel)
    }

    /// Asks and waits for the answer, whatever its code.
    pub(crate) async fn ask<R: Request>(
        &self,
        addr: SocketAddr,
        header: &R,
        body: impl Into<Bytes>,
        timeout: Duration,
    ) -> Result<Frame, AskError> {
        let channel = self.channel(addr).await?;
        let frame = Frame::request(0, header).with_body(body);
        channel.call(frame, timeout).await.map_err(AskError::Call)
    }

    pub(crate) async fn answer(&self, addr: SocketAddr, frame: Frame) {
        if let Ok(channel) = self.channel(addr).await {
            let _gone = channel.push(frame);
        }
    }

    /// The queues of a topic, of the masters that are known.
    pub(crate) async fn places(&self, topic: &str) -> Vec<Place> {
        let ask = GetRouteinfoByTopic {
            topic: Some(topic.into()),
            ..GetRouteinfoByTopic::default()
        };
        let begin = self.below(self.shared.names.len() as u64) as usize;
        for turn in 0..self.shared.names.len() {
            let addr = self.shared.names[(begin + turn) % self.shared.names.len()];
            let Ok(reply) = self.ask(addr, &ask, Bytes::new(), TIMEOUT).await else {
                continue;
            };
            if reply.code != 0 {
                return Vec::new();
            }
            let Ok(route) = fastjson::from_slice::<TopicRoute>(&reply.body) else {
                self.shared
                    .history
                    .lock()
                    .fault(format!("a route that makes no sense: {:?}", reply.body));
                return Vec::new();
            };
            return places_of(&route);
        }
        Vec::new()
    }
}

fn places_of(route: &TopicRoute) -> Vec<Place> {
    let mut places = Vec::new();
    for queues in &route.queue_datas {
        let broker = route
            .broker_datas
            .iter()
            .find(|broker| broker.broker_name == queues.broker_name);
        let Some(addr) = broker.and_then(|broker| broker.broker_addrs.get(&0)) else {
            continue;
        };
        let Ok(addr) = addr.parse() else { continue };
        places.extend((0..queues.write_queue_nums).map(|queue| Place {
            broker: queues.broker_name.to_string(),
            addr,
            queue,
        }));
    }
    places.sort();
    places
}
