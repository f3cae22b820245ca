// SPDX-License-Identifier: Apache-2.0
//! Code 320, and sends that say they are batches.

use wire::api::pull::PullMessage;
use wire::api::send::{ConsumerSendMsgBack, SendBatchMessage, SendMessageV2, SendReceipt};
use wire::batch::{SubMessage, encode_sub_message};
use wire::message_id::decode_offset_id;

use crate::rig::{Rig, held_pull, pull};
use crate::sends::{send, stored};

fn batch(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (text, properties) in messages {
        let message = SubMessage {
            flag: 5,
            body: text.as_bytes(),
            properties: properties.as_bytes(),
        };
        encode_sub_message(&mut body, &message);
    }
    body
}

fn header(topic: &str) -> SendBatchMessage {
    SendBatchMessage(SendMessageV2 {
        batch: Some(true),
        ..send(topic, 0, "UNIQ_KEY\u{1}B\u{2}")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_messages_of_a_batch_are_stored_one_by_one_with_their_own_properties() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "before").await;
    let body = batch(&[("a", "UNIQ_KEY\u{1}1\u{2}"), ("b", ""), ("c", "TAGS\u{1}x")]);
    let reply = client.ask_with(&header("T"), body).await;
    assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
    let receipt: SendReceipt = reply.ext.read().unwrap();
    assert_eq!(
        (receipt.queue_offset, receipt.transaction_id.as_deref()),
        (1, Some("B"))
    );

    let records = stored(&client, "T", 0).await;
    assert_eq!(
        records.iter().map(|r| r.body.as_ref()).collect::<Vec<_>>(),
        [&b"before"[..], b"a", b"b", b"c"]
    );
    assert_eq!(records[1].properties.as_ref(), b"UNIQ_KEY\x011\x02");
    assert_eq!(records[2].properties.as_ref(), b"");
    assert_eq!(records[3].properties.as_ref(), b"TAGS\x01x");
    assert_eq!(records[3].flag, 5);
    let ids: Vec<_> = receipt
        .msg_id
        .split(',')
        .map(|id| decode_offset_id(id).unwrap().1)
        .collect();
    assert_eq!(
        ids,
        records[1..].iter().map(|r| r.physical_offset).collect::<Vec<_>>()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_send_may_say_that_it_is_a_batch() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let reply = client
        .ask_with(&header("T").0, batch(&[("a", ""), ("b", "")]))
        .await;
    assert_eq!(reply.code, 0);
    assert_eq!(stored(&client, "T", 0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_batch_that_is_not_valid_nothing_is_stored() {
    let rig = Rig::start_with(&[("maxMessageSize", "1000")]).await;
    let client = rig.client_of("T", 1).await;
    let good = batch(&[("a", ""), ("b", "")]);
    let cut = good[..good.len() - 1].to_vec();
    let mut negative = good.clone();
    negative[16..20].copy_from_slice(&(-1_i32).to_be_bytes());
    let large = batch(&[("a", ""), (&"x".repeat(990), "")]);
    for body in [cut, negative, large, b"no batch".to_vec()] {
        let reply = client.ask_with(&header("T"), body).await;
        assert_eq!(reply.code, 13, "{:?}", reply.remark);
        assert!(reply.ext.get("MSG_REGION").is_some());
    }
    let delayed = batch(&[("a", ""), ("b", "DELAY\u{1}2\u{2}")]);
    let reply = client.ask_with(&header("T"), delayed).await;
    assert_eq!(reply.code, 13);
    assert!(reply.remark.unwrap().contains("DELAY"));
    for (level, code) in [("1", 13), ("x", 1)] {
        let mut delayed = header("T");
        delayed.0.properties = Some(format!("DELAY\u{1}{level}\u{2}").into());
        let reply = client.ask_with(&delayed, good.clone()).await;
        assert_eq!(reply.code, code, "a batch of level {level}");
        assert!(reply.remark.unwrap().contains("DELAY"));
    }
    let retry = client.ask_with(&header("%RETRY%G"), good).await;
    assert_eq!(retry.code, 13, "{:?}", retry.remark);
    assert_eq!(stored(&client, "T", 0).await.len(), 0);
}

/// A topic whose queues are batch queues, and a client for it.
async fn batch_topic(rig: &Rig) -> crate::rig::Client {
    let client = rig.client().await;
    make(&client, "B", "+queue.type=BatchCQ").await;
    client
}

pub(crate) async fn make(client: &crate::rig::Client, topic: &str, attributes: &str) {
    let wanted = wire::api::topic::UpdateAndCreateTopic {
        topic: topic.into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        attributes: Some(attributes.into()),
        ..Default::default()
    };
    assert_eq!(client.ask(&wanted).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_to_a_topic_of_batch_queues_is_one_record() {
    let rig = Rig::start().await;
    let client = batch_topic(&rig).await;
    let body = batch(&[("a", "UNIQ_KEY\u{1}1\u{2}"), ("b", ""), ("c", "TAGS\u{1}x")]);
    for round in 0..2 {
        let reply = client.ask_with(&header("B"), body.clone()).await;
        assert_eq!((reply.code, reply.remark.as_deref()), (0, None));
        let receipt: SendReceipt = reply.ext.read().unwrap();
        assert_eq!(receipt.queue_offset, 3 * round);
        assert_eq!(receipt.transaction_id.as_deref(), Some("B"));
        assert_eq!(receipt.batch_uniq_id.as_deref(), Some("B"));
        assert_eq!(receipt.msg_id.split(',').count(), 1);
    }
    let records = stored(&client, "B", 0).await;
    assert_eq!(records.len(), 2);
    assert_eq!((records[1].sys_flag, &records[1].body[..]), (0xC0, &body[..]));
    let properties = std::str::from_utf8(&records[1].properties).unwrap();
    assert_eq!(
        properties.replace('\u{1}', "=").replace('\u{2}', ";"),
        "UNIQ_KEY=B;CLUSTER=DefaultCluster;INNER_NUM=3;INNER_BASE=3;"
    );
    // A message by itself counts for one, and so does each of a batch without an id of its own.
    assert_eq!(client.send("B", 0, "single").await.queue_offset, 6);
    let mut plain = header("B");
    plain.0.properties = Some("".into());
    let reply = client.ask_with(&plain, body).await;
    let receipt: SendReceipt = reply.ext.read().unwrap();
    assert_eq!((receipt.queue_offset, receipt.batch_uniq_id), (7, None));
    assert_eq!(stored(&client, "B", 0).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_wrongly_that_it_holds_several_messages_is_refused() {
    let rig = Rig::start().await;
    let client = batch_topic(&rig).await;
    make(&client, "T", "").await;
    let body = batch(&[("a", ""), ("b", "")]);
    let single = |topic: &str, sys_flag, properties: &str| SendMessageV2 {
        sys_flag,
        ..send(topic, 0, properties)
    };
    for (topic, sys_flag, properties) in [
        ("B", 0, "INNER_NUM\u{1}2\u{2}"),
        ("B", 0xC0, ""),
        ("B", 0xC0, "INNER_NUM\u{1}3\u{2}"),
        ("B", 0xC0, "INNER_NUM\u{1}two\u{2}"),
        ("B", 0xC0, "INNER_NUM\u{1}2\u{2}DELAY\u{1}1\u{2}"),
        ("B", 0xC0, "INNER_NUM\u{1}2\u{2}TIMER_DELAY_SEC\u{1}9\u{2}"),
        ("B", 0xC0, "INNER_NUM\u{1}2\u{2}TRAN_MSG\u{1}true\u{2}"),
        ("B", 0xC1, "INNER_NUM\u{1}40000\u{2}"),
        ("T", 0, "INNER_NUM\u{1}2\u{2}"),
        ("T", 0xC0, "INNER_NUM\u{1}2\u{2}"),
    ] {
        let reply = client
            .ask_with(&single(topic, sys_flag, properties), body.clone())
            .await;
        assert_eq!(
            reply.code, 13,
            "{topic} {sys_flag} {properties:?}: {:?}",
            reply.remark
        );
    }
    let mut delayed = header("B");
    delayed.0.properties = Some("UNIQ_KEY\u{1}B\u{2}DELAY\u{1}1\u{2}".into());
    assert_eq!(client.ask_with(&delayed, body.clone()).await.code, 13);
    let cut = body[..body.len() - 1].to_vec();
    assert_eq!(client.ask_with(&header("B"), cut).await.code, 13);
    assert_eq!(stored(&client, "B", 0).await.len(), 0);

    let right = single("B", 0xC0, "INNER_NUM\u{1}2\u{2}UNIQ_KEY\u{1}U\u{2}");
    assert_eq!(client.ask_with(&right, body).await.code, 0);
    assert_eq!(client.send("B", 0, "next").await.queue_offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_find_the_record_of_any_offset_and_wait_behind_its_last_one() {
    let rig = Rig::start().await;
    let client = batch_topic(&rig).await;
    let body = batch(&[("a", ""), ("b", ""), ("c", "")]);
    for _ in 0..3 {
        assert_eq!(client.ask_with(&header("B"), body.clone()).await.code, 0);
    }
    for (from, max, expected) in [(0, 1, 3), (2, 1, 3), (3, 1, 6), (4, 5, 6), (0, 6, 6), (0, 32, 9)] {
        let wanted = PullMessage {
            max_msg_nums: max,
            ..pull("G", "B", 0, from)
        };
        let pulled = client.pull(&wanted).await;
        assert_eq!(pulled.outcome(), (0, "FOUND", expected), "{max} from {from}");
        assert_eq!((pulled.header().min_offset, pulled.header().max_offset), (0, 9));
    }
    let end = client.pull(&pull("G", "B", 0, 9)).await;
    assert_eq!(end.outcome(), (19, "OFFSET_OVERFLOW_ONE", 9));
    let waiting = client
        .pull_in_background(held_pull("G", "B", 9, std::time::Duration::from_secs(20)))
        .await;
    assert_eq!(client.ask_with(&header("B"), body).await.code, 0);
    let pulled = waiting.await.unwrap().expect("the pull is answered");
    assert_eq!(pulled.outcome(), (0, "FOUND", 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inner_batch_is_stored_once_on_a_topic_that_remembers() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    make(&client, "B", "+queue.type=BatchCQ,+dedup.window=10m").await;
    let body = batch(&[("a", ""), ("b", "")]);
    for _ in 0..2 {
        let reply = client.ask_with(&header("B"), body.clone()).await;
        let receipt: SendReceipt = reply.ext.read().unwrap();
        assert_eq!((reply.code, receipt.queue_offset), (0, 0));
    }
    assert_eq!(client.send("B", 0, "next").await.queue_offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_takes_messages_with_keys_and_gives_the_newest_of_each() {
    let rig = Rig::start_with(&[
        ("compactionScheduleInternal", "20"),
        ("compactionMappedFileSize", "20000"),
        ("compactionCqMappedFileSize", "460"),
    ])
    .await;
    let client = rig.client().await;
    make(&client, "C", "+cleanup.policy=COMPACTION").await;
    for properties in ["", "KEYS\u{1} \u{2}"] {
        let reply = client.ask_with(&send("C", 0, properties), "a").await;
        assert_eq!(reply.code, 13);
        assert_eq!(reply.remark.as_deref(), Some("Required message key is missing"));
    }
    let keyless = batch(&[("a", "KEYS\u{1}k\u{2}"), ("b", "")]);
    assert_eq!(client.ask_with(&header("C"), keyless).await.code, 13);
    for n in 0..100 {
        let key = format!("KEYS\u{1}k{}\u{2}", n % 3);
        client.send_with("C", 0, &format!("value {n}"), &key).await;
    }
    // An empty body deletes, and only here is it taken.
    assert_eq!(
        client.ask_with(&send("C", 0, "KEYS\u{1}k0\u{2}"), "").await.code,
        0
    );
    assert_eq!(
        client.ask_with(&send("T", 0, "KEYS\u{1}k0\u{2}"), "").await.code,
        1
    );
    let back = ConsumerSendMsgBack {
        group: "G".into(),
        origin_topic: Some("C".into()),
        ..ConsumerSendMsgBack::default()
    };
    let reply = client.ask(&back).await;
    assert_eq!(
        reply.code, 1,
        "its position is not one of the log: {:?}",
        reply.remark
    );
    let mut bodies = Vec::new();
    for _ in 0..500 {
        bodies = everything(&client, "C").await;
        if bodies.len() < 20 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(bodies.len() < 20, "{} are left", bodies.len());
    let newest = |key: i32| {
        let of_key = |body: &&String| {
            body.trim_start_matches("value ")
                .parse::<i32>()
                .is_ok_and(|n| n % 3 == key)
        };
        bodies.iter().rfind(of_key).map(String::as_str)
    };
    assert_eq!((newest(1), newest(2)), (Some("value 97"), Some("value 98")));
    assert_eq!(
        bodies.last().map(String::as_str),
        Some(""),
        "the deletion is the newest"
    );
}

/// The bodies a consumer from the first offset on gets.
async fn everything(client: &crate::rig::Client, topic: &str) -> Vec<String> {
    let (mut bodies, mut next) = (Vec::new(), 0);
    loop {
        let pulled = client.pull(&pull("G", topic, 0, next)).await;
        let (code, _, behind) = pulled.outcome();
        if code == 0 {
            bodies.extend(pulled.bodies());
        }
        if behind <= next {
            return bodies;
        }
        next = behind;
    }
}
