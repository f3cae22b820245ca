// SPDX-License-Identifier: Apache-2.0
//! What operators ask clients through the broker: 307, 309, 223; and 353.

use std::sync::Arc;

use net::{Channel, Outcome, Peer, Service};
use wire::api::group::UpdateAndGetGroupForbidden;
use wire::api::heartbeat::{ConsumeMessageDirectly, GetConsumerRunningInfo, HeartBeat};
use wire::api::offset::InvokeBrokerToGetConsumerStatus;
use wire::body::group::GroupForbidden;
use wire::body::stats::ConsumerStatus;
use wire::code::{Code, ResponseCode};
use wire::fastjson;
use wire::frame::{Encoding, Frame};
use wire::record::Record;

use crate::rig::{Rig, SOON, consumer as consumer_of, pull, subscription};

/// A consumer that answers.
struct Talkative;

impl Service for Talkative {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        let body = match Code(frame.code) {
            Code::GET_CONSUMER_RUNNING_INFO => "{\"properties\":{}}".to_owned(),
            Code::CONSUME_MESSAGE_DIRECTLY => {
                let record = Record::decode_all(&frame.body).next().unwrap().unwrap();
                let broker = frame.ext.get("brokerName").unwrap();
                format!(
                    "{{\"remark\":\"{broker} {}\"}}",
                    String::from_utf8_lossy(&record.body)
                )
            }
            Code::GET_CONSUMER_STATUS_FROM_CLIENT => {
                "{\"messageQueueTable\":{{\"brokerName\":\"broker-a\",\"queueId\":0,\"topic\":\"T\"}:7}}"
                    .to_owned()
            }
            _ => return Outcome::Silent,
        };
        Outcome::Reply(Frame::reply(frame.opaque, ResponseCode::SUCCESS).with_body(body))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_asked_through_the_broker_and_its_answer_comes_back() {
    let rig = Rig::start().await;
    let operator = rig.client_of("T", 1).await;
    let sent = operator.send("T", 0, "body").await;
    let consumer = Channel::connect_with(rig.addr, SOON, Arc::new(Talkative), Encoding::Json)
        .await
        .unwrap();
    let beat = fastjson::to_vec(&consumer_of("G", &[subscription("T", "*", 1)]));
    let joined = consumer
        .call(Frame::request(0, &HeartBeat {}).with_body(beat), SOON)
        .await;
    assert_eq!(joined.unwrap().code, 0);

    let ask = |id: &str| GetConsumerRunningInfo {
        consumer_group: "G".into(),
        client_id: id.into(),
        jstack_enable: Some(false),
    };
    let reply = operator.ask(&ask("127.0.0.1@test")).await;
    assert_eq!(
        (reply.code, &reply.body[..]),
        (0, b"{\"properties\":{}}".as_slice())
    );
    let reply = operator.ask(&ask("nobody")).await;
    assert_eq!(
        (reply.code, reply.remark.as_deref()),
        (1, Some("The Consumer <G> <nobody> not online"))
    );

    let directly = |id: &str| ConsumeMessageDirectly {
        consumer_group: "G".into(),
        client_id: Some("127.0.0.1@test".into()),
        msg_id: Some(id.into()),
        topic: Some("T".into()),
        ..ConsumeMessageDirectly::default()
    };
    let reply = operator.ask(&directly(&sent.msg_id)).await;
    assert_eq!(
        (reply.code, &reply.body[..]),
        (0, b"{\"remark\":\"broker-a body\"}".as_slice())
    );
    for id in ["", "forged", "7F00000100002A9F00000000000000FF"] {
        assert_eq!(operator.ask(&directly(id)).await.code, 1, "{id}");
    }

    let status = InvokeBrokerToGetConsumerStatus {
        topic: "T".into(),
        group: "G".into(),
        client_addr: None,
    };
    let reply = operator.ask(&status).await;
    let told: ConsumerStatus = fastjson::from_slice(&reply.body).unwrap();
    let offsets: Vec<i64> = told.consumer_table["127.0.0.1@test"].values().copied().collect();
    assert_eq!(offsets, [7]);
    let offline = InvokeBrokerToGetConsumerStatus {
        group: "none".into(),
        ..status
    };
    assert_eq!(operator.ask(&offline).await.code, 1);
}

/// A consumer that says more than anybody needs.
struct Verbose;

impl Service for Verbose {
    fn serve(self: &Arc<Self>, _: &Arc<Peer>, frame: Frame) -> Outcome {
        if Code(frame.code) != Code::GET_CONSUMER_STATUS_FROM_CLIENT {
            return Outcome::Silent;
        }
        let queues = (0..16).map(|n| {
            let topic = "x".repeat(60_000);
            format!("{{\"brokerName\":\"broker-a\",\"queueId\":{n},\"topic\":\"{topic}\"}}:7")
        });
        let queues: Vec<_> = queues.collect();
        let body = format!("{{\"messageQueueTable\":{{{}}}}}", queues.join(","));
        Outcome::Reply(Frame::reply(frame.opaque, ResponseCode::SUCCESS).with_body(body))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_consumers_say_fits_into_one_answer() {
    let rig = Rig::start().await;
    let mut consumers = Vec::new();
    for n in 0..17 {
        let consumer = Channel::connect_with(rig.addr, SOON, Arc::new(Verbose), Encoding::Json)
            .await
            .unwrap();
        let mut beat = consumer_of("G", &[subscription("T", "*", 1)]);
        beat.client_id = n.to_string().into();
        let beat = Frame::request(0, &HeartBeat {}).with_body(fastjson::to_vec(&beat));
        assert_eq!(consumer.call(beat, SOON).await.unwrap().code, 0);
        consumers.push(consumer);
    }
    let status = InvokeBrokerToGetConsumerStatus {
        topic: "T".into(),
        group: "G".into(),
        client_addr: None,
    };
    let reply = rig.client().await.ask(&status).await;
    assert_eq!(reply.code, 0);
    let told: ConsumerStatus = fastjson::from_slice(&reply.body).unwrap();
    let answers = told.consumer_table.len();
    assert!(
        (10..17).contains(&answers),
        "{answers} answers, {} bytes",
        reply.body.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_forbidden_to_read_a_topic_and_allowed_again() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "body").await;
    client.consume("G", "T", "*").await;
    let by_heartbeat = || {
        let mut pull = pull("G", "T", 0, 0);
        pull.sys_flag = 0;
        pull
    };
    let forbid = |group: &str, readable: Option<bool>| UpdateAndGetGroupForbidden {
        group: group.into(),
        topic: "T".into(),
        readable,
    };
    for (readable, is_readable, code) in [
        (None, true, 0),
        (Some(false), false, 16),
        (None, false, 16),
        (Some(true), true, 0),
    ] {
        let reply = client.ask(&forbid("G", readable)).await;
        let told: GroupForbidden = fastjson::from_slice(&reply.body).unwrap();
        assert_eq!(
            (told.group.as_str(), told.topic.as_str(), told.readable),
            ("G", "T", is_readable)
        );
        assert_eq!(client.pull(&by_heartbeat()).await.code, code);
    }
    assert_eq!(client.ask(&forbid("nobody", Some(false))).await.code, 26);
}
