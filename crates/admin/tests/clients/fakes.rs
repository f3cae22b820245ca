// SPDX-License-Identifier: Apache-2.0
//! Servers that say what no real one says when a test wants it.

use net::{Limits, Outcome, Peer, Server, Service};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;

/// A server that says what a test has it say, and is silent about the rest.
pub(crate) struct Fake {
    pub addr: SocketAddr,
    stop: CancellationToken,
}

type Script = Box<dyn Fn(&Frame) -> Option<Frame> + Send + Sync>;

impl Fake {
    async fn start(script: impl Fn(&Frame) -> Option<Frame> + Send + Sync + 'static) -> Fake {
        let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (addr, stop) = (listening.local_addr(), CancellationToken::new());
        let service = Arc::new(Scripted(Box::new(script)));
        tokio::spawn(listening.serve(service, Limits::default(), stop.clone()));
        Fake { addr, stop }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Scripted(Script);

impl Service for Scripted {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        match self.0(&frame) {
            Some(mut reply) => {
                reply.opaque = frame.opaque;
                Outcome::Reply(reply)
            }
            None => Outcome::Silent,
        }
    }
}

/// Somebody who listens, takes a request and hangs up; how many came.
pub(crate) async fn hangs_up() -> (SocketAddr, Arc<AtomicUsize>) {
    let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listening.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listening.accept().await {
            let mut first = [0; 4];
            if stream.read_exact(&mut first).await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    (addr, came)
}

/// Plays the name server of a topic with one queue, and its broker.
fn route(frame: &Frame, own: &str) -> Option<Frame> {
    let body = match Code(frame.code) {
        Code::GET_ROUTEINFO_BY_TOPIC => format!(
            "{{\"brokerDatas\":[{{\"brokerAddrs\":{{0:\"{own}\"}},\"brokerName\":\"b\",\"cluster\":\"C\"}}],\
             \"queueDatas\":[{{\"brokerName\":\"b\",\"perm\":6,\"readQueueNums\":1,\"writeQueueNums\":1}}]}}"
        ),
        Code::GET_BROKER_CLUSTER_INFO => format!(
            "{{\"brokerAddrTable\":{{\"b\":{{\"brokerAddrs\":{{0:\"{own}\"}},\"brokerName\":\"b\",\"cluster\":\"C\"}}}},\
             \"clusterAddrTable\":{{\"C\":[\"b\"]}}}}"
        ),
        _ => return None,
    };
    Some(Frame::reply(0, ResponseCode::SUCCESS).with_body(body))
}

/// An answer with these fields.
pub(crate) fn reply(code: ResponseCode, fields: &[(&str, &str)]) -> Frame {
    let mut frame = Frame::reply(0, code);
    for (name, value) in fields {
        frame.ext = frame.ext.with(name, value);
    }
    frame
}

/// The same with an address that it knows, and a script for all other questions.
pub(crate) async fn played(script: impl Fn(&Frame) -> Option<Frame> + Send + Sync + 'static) -> Fake {
    let own = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&own);
    let fake = Fake::start(move |frame| route(frame, &known.lock().unwrap()).or_else(|| script(frame))).await;
    *own.lock().unwrap() = fake.addr.to_string();
    fake
}
