// SPDX-License-Identifier: Apache-2.0
//! Codes 324, 325 and 326.

use std::net::SocketAddr;
use std::sync::Arc;

use net::{Channel, Outcome, Peer, Service};
use parking_lot::Mutex;
use wire::api::heartbeat::{HeartBeat, UnregisterClient};
use wire::api::send::{
    PushReplyMessageToClient, SendMessage, SendMessageV2, SendReceipt, SendReplyMessage, SendReplyMessageV2,
};
use wire::code::{Code, ResponseCode};
use wire::fastjson;
use wire::frame::{Encoding, Frame};
use wire::properties;

use crate::rig::{Client, Rig, SOON, producer};
use crate::sends::{send, stored};

const REPLIES: &str = "DefaultCluster_REPLY_TOPIC";

/// A client that asks: takes replies, or says no to them.
struct Asker {
    says: ResponseCode,
    got: Mutex<Vec<Frame>>,
}

impl Service for Asker {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        let reply = Frame::reply(frame.opaque, self.says);
        self.got.lock().push(frame);
        Outcome::Reply(reply)
    }
}

/// Connects an asker as a producer.
async fn asker(addr: SocketAddr, id: &str, says: ResponseCode) -> (Channel, Arc<Asker>) {
    let service = Arc::new(Asker {
        says,
        got: Mutex::default(),
    });
    let channel = Channel::connect_with(addr, SOON, Arc::clone(&service), Encoding::Json)
        .await
        .unwrap();
    let beat = Frame::request(0, &HeartBeat {}).with_body(fastjson::to_vec(&producer(id, "ASKERS")));
    assert_eq!(channel.call(beat, SOON).await.unwrap().code, 0);
    (channel, service)
}

fn reply(asker: &str) -> SendMessageV2 {
    send(
        REPLIES,
        0,
        &format!("MSG_TYPE\u{1}reply\u{2}REPLY_TO_CLIENT\u{1}{asker}\u{2}CORRELATION_ID\u{1}c\u{2}"),
    )
}

async fn answer(client: &Client, asker: &str) -> Frame {
    client.ask_with(&SendReplyMessageV2(reply(asker)), "answer").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_handed_to_the_client_that_asked_and_stored() {
    let rig = Rig::start().await;
    let (_channel, asker) = asker(rig.addr, "me@1", ResponseCode::SUCCESS).await;
    let client = rig.client().await;
    let told = answer(&client, "me@1").await;
    assert_eq!((told.code, told.remark.as_deref()), (0, None));
    let receipt: SendReceipt = told.ext.read().unwrap();
    assert_eq!((receipt.queue_id, receipt.queue_offset), (0, 0));
    assert_eq!(
        (receipt.region.as_deref(), receipt.trace_on.as_deref()),
        (Some("DefaultRegion"), Some("true"))
    );

    let [pushed] = <[Frame; 1]>::try_from(std::mem::take(&mut *asker.got.lock())).unwrap();
    assert_eq!(
        (pushed.code, pushed.is_oneway(), &pushed.body[..]),
        (Code::PUSH_REPLY_MESSAGE_TO_CLIENT.0, false, &b"answer"[..])
    );
    let header: PushReplyMessageToClient = pushed.ext.read().unwrap();
    assert_eq!(header.born_host, client.channel.local.to_string());
    assert_eq!(header.store_host, rig.addr.to_string());
    let text = header.properties.unwrap();
    for (name, value) in [
        ("CORRELATION_ID", "c"),
        ("MSG_TYPE", "reply"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
    ] {
        assert_eq!(properties::get(text.as_bytes(), name), Some(value));
    }
    assert!(properties::get(text.as_bytes(), "PUSH_REPLY_TIME").is_some());

    let [copy] = stored(&client, REPLIES, 0).await.try_into().unwrap();
    assert_eq!(&copy.body[..], b"answer");
    assert_eq!(properties::get(&copy.properties, "PUSH_REPLY_TIME"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_long_names_are_understood_too() {
    let rig = Rig::start().await;
    let (_channel, asker) = asker(rig.addr, "me@1", ResponseCode::SUCCESS).await;
    let client = rig.client().await;
    let header = SendReplyMessage(SendMessage::from(reply("me@1")));
    assert_eq!(client.ask_with(&header, "answer").await.code, 0);
    assert_eq!(asker.got.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_nobody_takes_fails_and_is_stored_all_the_same() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let (refusing, _) = asker(rig.addr, "no@1", ResponseCode::SYSTEM_ERROR).await;
    let nobody = answer(&client, "nobody@1").await;
    assert_eq!(
        (nobody.code, nobody.remark.as_deref()),
        (
            1,
            Some("push reply message fail, channel of <nobody@1> not found.")
        )
    );
    assert_eq!(
        nobody.ext.get("queueOffset").as_deref(),
        Some("0"),
        "where it is stored"
    );
    let refused = answer(&client, "no@1").await;
    assert_eq!(refused.code, 1);
    assert!(
        refused
            .remark
            .unwrap()
            .starts_with("push reply message to no@1fail.")
    );
    let unnamed = client
        .ask_with(&SendReplyMessageV2(send(REPLIES, 0, "")), "answer")
        .await;
    assert_eq!(
        (unnamed.code, unnamed.remark.as_deref()),
        (1, Some("reply message properties[REPLY_TO_CLIENT] is null"))
    );
    assert_eq!(stored(&client, REPLIES, 0).await.len(), 3);

    // Whoever asked and left is nobody.
    let leave = UnregisterClient {
        client_id: "no@1".into(),
        producer_group: Some("ASKERS".into()),
        consumer_group: None,
    };
    assert_eq!(
        refusing.call(Frame::request(0, &leave), SOON).await.unwrap().code,
        0
    );
    assert!(
        answer(&client, "no@1")
            .await
            .remark
            .unwrap()
            .contains("not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_while_it_is_handed_a_reply_does_not_get_it() {
    struct Silent;
    impl Service for Silent {
        fn serve(self: &Arc<Self>, peer: &Arc<Peer>, _: Frame) -> Outcome {
            peer.close();
            Outcome::Silent
        }
    }
    let rig = Rig::start().await;
    let channel = Channel::connect_with(rig.addr, SOON, Arc::new(Silent), Encoding::Json)
        .await
        .unwrap();
    let beat = Frame::request(0, &HeartBeat {}).with_body(fastjson::to_vec(&producer("me@1", "ASKERS")));
    assert_eq!(channel.call(beat, SOON).await.unwrap().code, 0);
    let told = answer(&rig.client().await, "me@1").await;
    assert_eq!(told.code, 1);
    assert!(told.remark.unwrap().contains("ended before it answered"));
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_are_not_stored_when_the_settings_say_so() {
    let rig = Rig::start_with(&[("storeReplyMessageEnable", "false")]).await;
    let (_channel, _asker) = asker(rig.addr, "me@1", ResponseCode::SUCCESS).await;
    let client = rig.client().await;
    let told = answer(&client, "me@1").await;
    assert_eq!((told.code, told.ext.get("msgId").as_deref()), (0, Some("0")));
    let lost = answer(&client, "nobody@1").await;
    assert_eq!((lost.code, lost.ext.get("msgId")), (1, None));
    assert_eq!(stored(&client, REPLIES, 0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_asks_for_a_delay_is_handed_over_at_once_and_its_copy_waits() {
    let rig = Rig::start().await;
    let (_channel, asker) = asker(rig.addr, "me@1", ResponseCode::SUCCESS).await;
    let client = rig.client().await;
    for (asks, topic, queue, gone) in [
        (
            "DELAY\u{1}18\u{2}TIMER_DELAY_SEC\u{1}9",
            "SCHEDULE_TOPIC_XXXX",
            17,
            "TIMER_DELAY_SEC",
        ),
        ("TIMER_DELAY_SEC\u{1}900", "rmq_sys_wheel_timer", 0, "DELAY"),
    ] {
        let mut header = reply("me@1");
        let properties = header.properties.unwrap_or_default();
        header.properties = Some(format!("{properties}TRAN_MSG\u{1}true\u{2}{asks}\u{2}").into());
        let told = client.ask_with(&SendReplyMessageV2(header), "later").await;
        assert_eq!(told.code, 0, "{:?}", told.remark);
        let [copy] = stored(&client, topic, queue).await.try_into().unwrap();
        let property = |name| properties::get(&copy.properties, name);
        assert_eq!(
            (property("REAL_TOPIC"), property("REAL_QID")),
            (Some(REPLIES), Some("0"))
        );
        assert!(property("PUSH_REPLY_TIME").is_some(), "as it was handed over");
        assert_eq!(property(gone), None);
    }
    assert_eq!(asker.got.lock().len(), 2);
    assert_eq!(stored(&client, REPLIES, 0).await.len(), 0);
    // Refused as a message, and no less a reply.
    let mut header = reply("me@1");
    header.properties = header
        .properties
        .map(|text| format!("{text}TIMER_DELAY_SEC\u{1}soon\u{2}").into());
    let told = client.ask_with(&SendReplyMessageV2(header), "never").await;
    assert_eq!((told.code, told.ext.get("msgId").as_deref()), (0, Some("0")));
    assert_eq!(stored(&client, REPLIES, 0).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_replies_nobody_takes_leaves_room_for_those_of_others() {
    struct Slow(tokio::sync::Semaphore);
    impl Service for Slow {
        fn serve(self: &Arc<Self>, _: &Arc<Peer>, _: Frame) -> Outcome {
            self.0.add_permits(1);
            Outcome::Silent
        }
    }
    let rig = Rig::start().await;
    let slow = Arc::new(Slow(tokio::sync::Semaphore::new(0)));
    let channel = Channel::connect_with(rig.addr, SOON, Arc::clone(&slow), Encoding::Json)
        .await
        .unwrap();
    let beat = Frame::request(0, &HeartBeat {}).with_body(fastjson::to_vec(&producer("slow@1", "ASKERS")));
    assert_eq!(channel.call(beat, SOON).await.unwrap().code, 0);
    let (_other, _) = asker(rig.addr, "me@1", ResponseCode::SUCCESS).await;
    let greedy = rig.client().await;
    let body = vec![7; 3 << 20];
    let waiting = async {
        let held = || async {
            let request = SendReplyMessageV2(reply("slow@1"));
            greedy
                .channel
                .call(Frame::request(0, &request).with_body(body.clone()), SOON)
                .await
        };
        tokio::join!(held(), held())
    };
    let refused = async {
        let _both = slow.0.acquire_many(2).await.unwrap();
        let request = SendReplyMessageV2(reply("me@1"));
        let full = Frame::request(0, &request).with_body(body.clone());
        let full = greedy.channel.call(full, SOON).await.unwrap();
        assert_eq!(full.code, ResponseCode::SYSTEM_BUSY.0);
        assert_eq!(answer(&rig.client().await, "me@1").await.code, 0);
    };
    tokio::select! {
        _ = waiting => panic!("nobody takes these"),
        () = refused => {}
    }
}
