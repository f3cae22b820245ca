// SPDX-License-Identifier: Apache-2.0
//! Answers every send at once and stores nothing: what the frame codec and the connection loop cost by themselves.
//!
//! `cargo run --release -p net --example null_server -- 127.0.0.1:10911`, then `loadgen produce --broker 127.0.0.1:10911 …`.
#![expect(clippy::unwrap_used, reason = "a measuring tool")]

use std::net::SocketAddr;
use std::sync::Arc;

use net::{Answer, Call, Fault, Limits, Outcome, Peer, Reply, Server, Service};
use tokio_util::sync::CancellationToken;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::frame::Frame;

struct Null;

impl Service for Null {
    fn serve(self: &Arc<Self>, peer: &Arc<Peer>, frame: Frame) -> Outcome {
        net::routes::run(self, peer, frame, send, net::Logged::No)
    }
}

fn send(_: &Arc<Null>, call: Call<SendMessageV2>) -> Result<Answer<SendReceipt>, Fault> {
    let receipt = SendReceipt {
        msg_id: "7F00000100002A9F0000000000000000".into(),
        queue_id: call.header.queue_id,
        queue_offset: 0,
        ..SendReceipt::default()
    };
    Ok(Reply::ok(receipt).into())
}

#[tokio::main]
async fn main() {
    let addr: SocketAddr = std::env::args().nth(1).unwrap().parse().unwrap();
    let listening = Server::bind(addr).await.unwrap();
    listening
        .serve(Arc::new(Null), Limits::default(), CancellationToken::new())
        .await;
}
