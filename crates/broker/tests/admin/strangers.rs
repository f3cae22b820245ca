// SPDX-License-Identifier: Apache-2.0
//! What somebody from elsewhere may ask of a broker whose settings say nothing about it: all that clients and other brokers
//! ask, and nothing of what administrators do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use bytes::{Bytes, BytesMut};
use net::Logged;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use wire::api::config::{GetBrokerConfig, UpdateBrokerConfig};
use wire::api::ha::ExchangeBrokerHaInfo;
use wire::api::heartbeat::HeartBeat;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::pop::PopMessage;
use wire::api::send::SendMessageV2;
use wire::code::{Request, ResponseCode};
use wire::fastjson;
use wire::frame::{Decoder, Encoding, Frame};

use crate::rig::{Rig, SOON, consumer, pull, subscription};

/// A client whose connection does not come from the host of the broker, as far as the broker can see: from an address of this
/// host, to its loopback. `None`: it has no other address.
struct Stranger {
    stream: TcpStream,
    inbox: BytesMut,
}

/// An address of this host that is not its loopback. Nothing is sent to find it out.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(addr) if !addr.is_loopback() && !addr.is_unspecified() => Some(addr),
        _ => None,
    }
}

impl Stranger {
    async fn of(addr: SocketAddr) -> Option<Stranger> {
        let own = own_address()?;
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).ok()?;
        let stream = tokio::time::timeout(SOON, socket.connect(addr))
            .await
            .ok()?
            .ok()?;
        let inbox = BytesMut::new();
        Some(Stranger { stream, inbox })
    }

    async fn ask<R: Request>(&mut self, header: &R, body: impl Into<Bytes>) -> Frame {
        self.call(Frame::request(1, header).with_body(body)).await
    }

    async fn call(&mut self, frame: Frame) -> Frame {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes, Encoding::Json);
        self.stream.write_all(&bytes).await.unwrap();
        let decoder = Decoder::default();
        loop {
            // Requests of the broker are not for this test.
            if let Some(frame) = decoder.next(&mut self.inbox).unwrap() {
                if frame.is_reply() {
                    return frame;
                }
                continue;
            }
            let read = tokio::time::timeout(SOON, self.stream.read_buf(&mut self.inbox)).await;
            assert!(read.unwrap().unwrap() > 0, "cut off");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_send_and_consume_and_administer_nothing() {
    let rig = Rig::start().await;
    for port in [rig.addr, rig.fast_addr] {
        let Some(mut stranger) = Stranger::of(port).await else {
            println!("skipped: this host has no address besides its loopback");
            return;
        };
        let administration = broker::WORDS.iter().filter(|(_, logged)| *logged != Logged::No);
        for (code, _) in administration {
            let frame = Frame {
                code: code.0,
                ..Frame::request(1, &UpdateBrokerConfig).with_body("traceOn=false\n")
            };
            let reply = stranger.call(frame).await;
            let remark = reply.remark.unwrap_or_default();
            assert_eq!(reply.code, ResponseCode::NO_PERMISSION.0, "{code}: {remark}");
            let setting = format!("set adminAllowedFrom={} ", own_address().unwrap());
            assert!(remark.contains(&setting), "{remark}");
        }
        assert_eq!(rig.setting("traceOn"), "true");
    }
    let mut stranger = Stranger::of(rig.addr).await.unwrap();
    let message = SendMessageV2 {
        producer_group: "PG".into(),
        topic: "Made".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 1,
        queue_id: 0,
        born_timestamp: 1,
        ..SendMessageV2::default()
    };
    let sent = stranger.ask(&message, "a").await;
    assert_eq!(sent.code, 0, "{:?}", sent.remark);
    let beat = fastjson::to_vec(&consumer("G", &[subscription("Made", "*", 1)]));
    assert_eq!(stranger.ask(&HeartBeat {}, beat).await.code, 0);
    assert_eq!(stranger.ask(&pull("G", "Made", 0, 0), "").await.code, 0);
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "Made".into(),
        queue_id: 0,
        commit_offset: 1,
    };
    assert_eq!(stranger.ask(&commit, "").await.code, 0);
    let pop = PopMessage {
        consumer_group: "P".into(),
        topic: "Made".into(),
        queue_id: 0,
        max_msg_nums: 1,
        invisible_time: 60_000,
        poll_time: 0,
        born_time: 0,
        init_mode: 0,
        exp_type: None,
        exp: None,
        order: None,
        attempt_id: None,
    };
    let popped = stranger.ask(&pop, "").await;
    assert_eq!(popped.code, 0, "{:?}", popped.remark);
    let master = stranger.ask(&ExchangeBrokerHaInfo::default(), "").await;
    assert_eq!(master.code, 0, "slaves ask where the log is");
    assert_eq!(stranger.ask(&GetBrokerConfig, "").await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_lets_administrators_in_from_a_network() {
    let Some(own) = own_address() else {
        println!("skipped: this host has no address besides its loopback");
        return;
    };
    let rig = Rig::start_with(&[("adminAllowedFrom", &format!("127.0.0.1;{own}/32"))]).await;
    let Some(mut known) = Stranger::of(rig.addr).await else {
        println!("skipped: this host has no way from its address to its loopback");
        return;
    };
    let changed = known.ask(&UpdateBrokerConfig, "traceOn=false\n").await;
    assert_eq!(changed.code, 0, "{:?}", changed.remark);
    assert_eq!(rig.setting("traceOn"), "false");
    let widened = known
        .ask(&UpdateBrokerConfig, "adminAllowedFrom=0.0.0.0/0\n")
        .await;
    assert_eq!(
        widened.code,
        ResponseCode::NO_PERMISSION.0,
        "not even by those it lets in"
    );
}
