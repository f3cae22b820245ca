// SPDX-License-Identifier: Apache-2.0
//! Sends (310) that arrive in one write: they are taken together, and each is answered as if it had come alone.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use store::disk::Space;
use store::disk::sim::SimDisk;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wire::api::send::{SendMessageV2, SendReceipt};
use wire::api::topic::UpdateAndCreateStaticTopic;
use wire::batch::{SubMessage, encode_sub_message};
use wire::code::ResponseCode;
use wire::ext::Ext;
use wire::frame::{Decoder, Encoding, Frame};

use crate::batches::make;
use crate::life::Life;
use crate::rig::{Rig, SOON, topic};
use crate::sends::{property, send, stored};

/// A connection that says what it wants in one write.
pub(crate) struct Writer {
    pub(crate) stream: TcpStream,
    inbox: BytesMut,
}

impl Writer {
    pub(crate) async fn to(addr: SocketAddr) -> Writer {
        Writer {
            stream: TcpStream::connect(addr).await.unwrap(),
            inbox: BytesMut::new(),
        }
    }

    /// The answers in the order of their arrival: one to each that wants one.
    async fn ask(&mut self, frames: &[Frame]) -> Vec<Frame> {
        let mut wanted: Vec<_> = frames.iter().filter(|frame| !frame.is_oneway()).collect();
        self.write(frames).await;
        let mut answers = Vec::new();
        for _ in 0..wanted.len() {
            answers.push(self.next().await);
        }
        // An answer too many would come before this one.
        let mut last = Frame::reply(-1, ResponseCode(9999));
        last.flag = 0;
        self.write(&[last]).await;
        assert_eq!(self.next().await.opaque, -1);
        wanted.sort_by_key(|frame| frame.opaque);
        let mut answered: Vec<_> = answers.iter().map(|answer| answer.opaque).collect();
        answered.sort_unstable();
        assert!(
            wanted
                .iter()
                .map(|frame| frame.opaque)
                .eq(answered.iter().copied()),
            "{answered:?}"
        );
        answers
    }

    pub(crate) async fn write(&mut self, frames: &[Frame]) {
        let mut bytes = BytesMut::new();
        for frame in frames {
            frame.encode(&mut bytes, Encoding::Json);
        }
        self.stream.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Frame {
        loop {
            if let Some(frame) = Decoder::default().next(&mut self.inbox).unwrap() {
                return frame;
            }
            let read = timeout(SOON, self.stream.read_buf(&mut self.inbox)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "the connection was closed");
        }
    }
}

fn single(opaque: i32, header: &SendMessageV2) -> Frame {
    Frame::request(opaque, header).with_body(format!("body {opaque}"))
}

/// Three sends to a topic; of the second nobody wants to hear.
fn three(topic: &str) -> [Frame; 3] {
    let [a, b, c] = [0, 1, 2].map(|opaque| single(opaque, &send(topic, 0, "")));
    [a, b.oneway(), c]
}

fn codes(answers: &[Frame]) -> Vec<(i32, i32)> {
    answers
        .iter()
        .map(|answer| (answer.opaque, answer.code))
        .collect()
}

fn receipt(answer: &Frame) -> SendReceipt {
    assert_eq!(answer.code, 0, "{:?}", answer.remark);
    answer.ext.read().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sends_that_arrive_together_each_is_answered_by_itself() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let unreadable = Frame {
        ext: Ext::default().with("b", "T"),
        ..single(4, &send("T", 0, ""))
    };
    let batch = SendMessageV2 {
        batch: Some(true),
        ..send("T", 0, "")
    };
    let mut messages = Vec::new();
    let message = SubMessage {
        flag: 0,
        body: b"body 7",
        properties: b"",
    };
    encode_sub_message(&mut messages, &message);
    let frames = [
        single(0, &send("T", 0, "")),
        single(1, &send("T", 0, "")).with_body(""),
        single(2, &send("T", 9, "")),
        single(3, &send("T", 0, "")).oneway(),
        unreadable,
        single(5, &send("Fresh", 0, "")),
        single(6, &send("T", 0, "DELAY\u{1}1\u{2}")),
        single(7, &batch).with_body(messages),
        single(8, &send("T", 0, "TRAN_MSG\u{1}false\u{2}")),
    ];
    let answers = Writer::to(rig.addr).await.ask(&frames).await;
    // What is refused leaves at once, 5 when its topic is made, and all others when they are written.
    let order = |some: &[i32]| {
        let mut told = codes(&answers);
        told.retain(|(opaque, _)| some.contains(opaque));
        told
    };
    assert_eq!(order(&[1, 2, 4]), [(1, 1), (2, 29), (4, 1)]);
    assert_eq!(order(&[0, 6, 7, 8]), [(0, 0), (6, 0), (7, 0), (8, 0)]);
    assert_eq!(order(&[5]), [(5, 0)]);
    let answer = |opaque| answers.iter().find(|answer| answer.opaque == opaque).unwrap();
    // 3 was one-way, and 6 waits elsewhere.
    assert_eq!(
        [0, 7, 8].map(|opaque| receipt(answer(opaque)).queue_offset),
        [0, 2, 3]
    );
    let stored = stored(&client, "T", 0).await;
    let bodies: Vec<_> = stored.iter().map(|record| &record.body[..]).collect();
    assert_eq!(bodies, [b"body 0", b"body 3", b"body 7", b"body 8"]);
    let region = property(&stored[0], "MSG_REGION");
    assert_eq!(region.as_deref(), Some("DefaultRegion"));
    let region = answer(2).ext.get("MSG_REGION");
    assert_eq!(region.as_deref(), Some("DefaultRegion"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_that_arrive_together_are_remembered_where_their_topic_remembers() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    make(&client, "Once", "+dedup.window=1h").await;
    let named = [0, 1, 2].map(|opaque| {
        let frame = Frame::request(opaque, &send("Once", 0, "UNIQ_KEY\u{1}same\u{2}"));
        frame.with_body("x")
    });
    let answers = Writer::to(rig.addr).await.ask(&named).await;
    assert!(answers.iter().all(|answer| receipt(answer).queue_offset == 0));
    assert_eq!(stored(&client, "Once", 0).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_refuses_each_of_the_sends_that_arrive_together() {
    let rig = Rig::start_with(&[("brokerRole", "SLAVE"), ("brokerId", "1")]).await;
    let answers = Writer::to(rig.addr).await.ask(&three("TBW102")).await;
    let busy = ResponseCode::SYSTEM_BUSY.0;
    assert_eq!(codes(&answers), [(0, busy), (2, busy)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_leaves_sends_away_each_of_the_sends_that_arrive_together() {
    let settings = [
        ("enableShutdownGracefully", "true"),
        ("shutdownWaitTimeSeconds", "3"),
    ];
    let life = Life::start(Arc::new(SimDisk::seeded(7)), &settings)
        .await
        .unwrap();
    life.client.make_topic("T", 1).await;
    let mut writer = Writer::to(life.addr).await;
    life.stop.cancel();
    let away = ResponseCode::GO_AWAY.0;
    loop {
        let answers = codes(&writer.ask(&three("T")).await);
        if answers.iter().all(|(_, code)| *code == 0) {
            tokio::task::yield_now().await;
            continue;
        }
        // It may have begun to leave between the two.
        if answers[0].1 == away {
            assert_eq!(answers, [(0, away), (2, away)]);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_that_arrive_together_find_their_logical_queues() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let item = |generation, queue_id, end, logic| {
        format!(
            r#"{{"bname":"broker-a","endOffset":{end},"gen":{generation},"logicOffset":{logic},"queueId":{queue_id},"startOffset":0,"timeOfEnd":-1,"timeOfStart":-1}}"#
        )
    };
    let items = [item(0, 0, 0, 0), item(1, 1, -1, 100)].join(",");
    let mapping = format!(
        r#"{{"bname":"broker-a","epoch":1,"hostedQueues":{{0:[{items}]}},"scope":"__global__","topic":"S","totalQueues":1}}"#
    );
    let made = client
        .ask_with(&UpdateAndCreateStaticTopic(topic("S", 2)), mapping)
        .await;
    assert_eq!(made.code, 0, "{:?}", made.remark);
    let frames = [
        single(0, &send("S", 0, "")),
        single(1, &send("T", 0, "")),
        single(2, &send("S", 0, "")),
    ];
    let mut answers = Writer::to(rig.addr).await.ask(&frames).await;
    answers.sort_by_key(|answer| answer.opaque);
    let offsets: Vec<_> = answers
        .iter()
        .map(|answer| receipt(answer).queue_offset)
        .collect();
    assert_eq!(offsets, [100, 0, 101]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_sends_that_arrive_together_is_told_when_the_store_does_not_take_it() {
    let disk = Arc::new(SimDisk::seeded(7));
    let settings = [("cleanResourceInterval", "1")];
    let life = Life::start(Arc::clone(&disk) as _, &settings).await.unwrap();
    let client = &life.client;
    client.make_topic("T", 1).await;
    let mut writer = Writer::to(life.addr).await;
    let used = |percent: u64| Space {
        total: 100,
        free: 100 - percent,
        available: 100 - percent,
    };
    let unavailable = ResponseCode::SERVICE_NOT_AVAILABLE.0;
    for (percent, code) in [(95, unavailable), (50, 0)] {
        disk.set_space(used(percent));
        while client.ask_with(&send("T", 0, ""), "alone").await.code != code {
            tokio::task::yield_now().await;
        }
        let answers = writer.ask(&three("T")).await;
        assert_eq!(codes(&answers), [(0, code), (2, code)]);
    }
    life.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_the_sends_that_arrive_together_is_told_when_it_cannot_be_written() {
    let disk = Arc::new(SimDisk::seeded(7));
    let life = Life::start(Arc::clone(&disk) as _, &[]).await.unwrap();
    life.client.make_topic("T", 1).await;
    let mut writer = Writer::to(life.addr).await;
    let full = ResponseCode::SERVICE_NOT_AVAILABLE.0;
    for (is_full, code) in [(false, 0), (true, full), (false, 0)] {
        disk.set_full(is_full);
        let answers = writer.ask(&three("T")).await;
        assert_eq!(codes(&answers), [(0, code), (2, code)]);
    }
    assert_eq!(stored(&life.client, "T", 0).await.len(), 6);
    life.end().await;
}
