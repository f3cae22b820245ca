// SPDX-License-Identifier: Apache-2.0
//! Code 900012: what became of a message, and why a group has not consumed it.

use std::sync::Arc;
use std::time::Duration;

use store::Env;
use store::env::sim::SimClock;
use wire::api::explain::ExplainMessage;
use wire::api::group::{GetConsumeStats, UpdateAndCreateSubscriptiongroup, UpdateAndGetGroupForbidden};
use wire::api::lock::LockBatchMq;
use wire::api::offset::UpdateConsumerOffset;
use wire::api::query::QueryMessage;
use wire::api::send::{ConsumerSendMsgBack, SendReceipt};
use wire::api::timer::CancelTimer;
use wire::body::explain::GroupVerdict as Group;
use wire::body::explain::MessageVerdict as Message;
use wire::body::explain::{Explanation, GroupExplanation};
use wire::body::group::SubscriptionGroupConfig;
use wire::body::queue::{LockBatch, MessageQueue};
use wire::body::stats::ConsumeStats;
use wire::body::subscription::{MessageModel, SubscriptionData};
use wire::fastjson;
use wire::message_id::{decode_offset_id, offset_id};
use wire::record::Record;

use crate::pops::{held, pop};
use crate::rig::{Client, Rig, SOON, consumer, held_pull, pull, subscription};

const START_MS: i64 = 1_800_000_000_000;

/// A broker whose clock moves when told.
async fn start() -> (Rig, Arc<SimClock>) {
    start_with(&[]).await
}

async fn start_with(settings: &[(&str, &str)]) -> (Rig, Arc<SimClock>) {
    let clock = Arc::new(SimClock::at(START_MS));
    let env = Env {
        clock: Arc::clone(&clock) as _,
        ..Env::real()
    };
    let rig = Rig::start_on(env, tempfile::tempdir().unwrap(), settings).await;
    (rig, clock)
}

fn by_key(key: &str) -> ExplainMessage {
    ExplainMessage {
        topic: "T".into(),
        uniq_key: Some(key.into()),
        ..ExplainMessage::default()
    }
}

async fn explain(client: &Client, header: &ExplainMessage) -> Explanation {
    let reply = client.ask(header).await;
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    fastjson::from_slice(&reply.body).unwrap()
}

/// What a group made of message `M`.
async fn of(client: &Client, group: &str) -> GroupExplanation {
    let header = ExplainMessage {
        group: Some(group.into()),
        ..by_key("M")
    };
    let mut explanation = explain(client, &header).await;
    assert_eq!((explanation.groups.len(), explanation.groups_left_out), (1, 0));
    explanation.groups.remove(0)
}

async fn send(client: &Client, key: &str, more: &str) -> SendReceipt {
    let properties = format!("UNIQ_KEY\u{1}{key}\u{2}{more}");
    client.send_with("T", 0, "body", &properties).await
}

async fn commit(client: &Client, group: &str, topic: &str, commit_offset: i64) {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: topic.into(),
        queue_id: 0,
        commit_offset,
    };
    client.get(&header).await;
}

async fn set(client: &Client, group: SubscriptionGroupConfig) {
    let body = fastjson::to_vec(&group);
    let reply = client.ask_with(&UpdateAndCreateSubscriptiongroup, body).await;
    assert_eq!(reply.code, 0);
}

fn sql(expression: &str) -> SubscriptionData {
    SubscriptionData {
        expression_type: "SQL92".into(),
        ..subscription("T", expression, 1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_followed_from_unknown_until_it_has_consumed() {
    let (rig, clock) = start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    for key in ["L", "M"] {
        send(&client, key, "TAGS\u{1}A\u{2}").await;
    }
    assert_eq!(of(&client, "G").await.verdict, Group::GroupUnknown);

    let member = rig.client().await;
    member.consume("G", "U", "*").await;
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::NotSubscribed);
    assert_eq!(
        (seen.member_count, &*seen.members[0].client_id),
        (1, "127.0.0.1@test")
    );
    assert_eq!(&*seen.subscriptions[0].topic, "U");

    member.consume("G", "T", "B || C").await;
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::Filtered);
    assert_eq!(
        &*seen.sentence,
        "the tag is \"A\", and the group subscribes to \"B || C\""
    );

    assert_eq!(
        member
            .beat(&consumer("G", &[subscription("T", "A", 2)]))
            .await
            .code,
        0
    );
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.committed_offset, seen.max_offset),
        (Group::NotReached, None, Some(2))
    );

    commit(&member, "G", "T", 0).await;
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.committed_offset),
        (Group::NotReached, Some(0))
    );
    assert_eq!(&*seen.sentence, "the group is at 0, 1 before the message");

    clock.advance(Duration::from_secs(7));
    member.pull(&pull("G", "T", 0, 1)).await;
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::HandedOut);
    let last = seen.last_pull.unwrap();
    assert_eq!((last.at_ms, last.next_offset), (START_MS + 7_000, 2));
    assert_eq!(last.client_id.as_deref(), Some("127.0.0.1@test"));

    drop(member);
    let seen = loop {
        let seen = of(&client, "G").await;
        if seen.offline_since_ms.is_some() {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen.verdict, Group::GroupOffline);
    assert_eq!(seen.last_pull.unwrap().client_id, None);
    assert_eq!(seen.offline_since_ms, Some(START_MS + 7_000));

    commit(&client, "G", "T", 2).await;
    assert_eq!(of(&client, "G").await.verdict, Group::PastOffset);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_subscribe_to_different_things_are_named() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    send(&client, "M", "TAGS\u{1}A\u{2}").await;
    let members = [rig.client().await, rig.client().await];
    for (n, (member, tag)) in members.iter().zip(["A", "B"]).enumerate() {
        let mut body = consumer("G", &[subscription("T", tag, 1 + n as i64)]);
        body.client_id = format!("says-{tag}").into();
        assert_eq!(member.beat(&body).await.code, 0);
        assert_eq!(of(&client, "G").await.conflict.is_some(), n > 0);
    }
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::Filtered);
    let conflict = seen.conflict.unwrap();
    let said = conflict.clients.iter();
    let mut said: Vec<_> = said
        .map(|client| (&*client.client_id, &*client.subscriptions[0].sub_string))
        .collect();
    said.sort_unstable();
    assert_eq!(said, [("says-A", "A"), ("says-B", "B")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_held_pull_was_answered_with_is_handed_out() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    client.consume("G", "T", "*").await;
    let held = client.pull_in_background(held_pull("G", "T", 0, SOON)).await;
    send(&client, "M", "").await;
    assert_eq!(held.await.unwrap().unwrap().code, 0);
    let seen = of(&client, "G").await;
    assert_eq!((seen.verdict, seen.committed_offset), (Group::HandedOut, None));
    assert_eq!(seen.last_pull.unwrap().next_offset, 1);
    // As admin tools see it in the consume stats.
    let header = GetConsumeStats {
        consumer_group: "G".into(),
        topic: Some("T".into()),
        topic_list: None,
    };
    let reply = client.ask(&header).await;
    let stats: ConsumeStats = fastjson::from_slice(&reply.body).unwrap();
    let pulled: Vec<_> = stats.offset_table.values().map(|of| of.pull_offset).collect();
    assert_eq!(pulled, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expression_that_is_not_true_for_the_message_is_named_also_of_a_group_that_has_gone() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    send(&client, "M", "a\u{1}1\u{2}").await;
    let member = rig.client().await;
    for (group, expression, verdict) in [
        ("TRUE", "a = 1", Group::NotReached),
        ("FALSE", "a > 1", Group::Filtered),
        ("BROKEN", "a >", Group::FilterUnusable),
    ] {
        member.beat(&consumer(group, &[sql(expression)])).await;
        let seen = of(&client, group).await;
        assert_eq!(seen.verdict, verdict, "{}", seen.sentence);
        assert!(
            seen.sentence.contains(expression) || group == "TRUE",
            "{}",
            seen.sentence
        );
    }
    drop(member);
    while of(&client, "FALSE").await.member_count > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(of(&client, "FALSE").await.verdict, Group::Filtered);
    assert_eq!(of(&client, "TRUE").await.verdict, Group::GroupOffline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_broadcasts_or_may_not_read_is_told_apart_and_a_lock_is_shown() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    send(&client, "M", "").await;
    let mut body = consumer("B", &[subscription("T", "*", 1)]);
    body.consumer_data_set[0].message_model = MessageModel::Broadcasting;
    assert_eq!(client.beat(&body).await.code, 0);
    let seen = of(&client, "B").await;
    assert_eq!(
        (seen.verdict, seen.message_model),
        (Group::Broadcasting, Some(MessageModel::Broadcasting))
    );
    let named = |name: &str| SubscriptionGroupConfig {
        group_name: name.into(),
        ..SubscriptionGroupConfig::default()
    };
    let config = SubscriptionGroupConfig {
        consume_broadcast_enable: false,
        ..named("B")
    };
    set(&client, config).await;
    assert_eq!(of(&client, "B").await.verdict, Group::Forbidden);

    client.consume("G", "T", "*").await;
    let lock = LockBatch {
        client_id: "127.0.0.1@test".into(),
        consumer_group: "G".into(),
        mq_set: vec![MessageQueue {
            broker_name: "broker-a".into(),
            queue_id: 0,
            topic: "T".into(),
        }],
        only_this_broker: false,
    };
    client.ask_with(&LockBatchMq {}, fastjson::to_vec(&lock)).await;
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.locked_by.as_deref()),
        (Group::NotReached, Some("127.0.0.1@test"))
    );
    let forbid = UpdateAndGetGroupForbidden {
        group: "G".into(),
        topic: "T".into(),
        readable: Some(false),
    };
    assert_eq!(client.ask(&forbid).await.code, 0);
    assert_eq!(of(&client, "G").await.verdict, Group::Forbidden);
    let config = SubscriptionGroupConfig {
        consume_enable: false,
        ..named("G")
    };
    set(&client, config).await;
    let seen = of(&client, "G").await;
    assert!(seen.sentence.ends_with("(consumeEnable)"), "{}", seen.sentence);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_failed_is_followed_through_its_tries_to_the_dead_letters() {
    let (rig, clock) = start().await;
    let client = rig.client_of("T", 1).await;
    client.consume("G", "T", "*").await;
    let sent = send(&client, "M", "").await;
    let back = |offset: i64, level: i32| ConsumerSendMsgBack {
        offset,
        group: "G".into(),
        delay_level: level,
        origin_topic: Some("T".into()),
        ..ConsumerSendMsgBack::default()
    };
    let (host, pos) = decode_offset_id(&sent.msg_id).unwrap();
    client.get(&back(pos, 0)).await;
    commit(&client, "G", "T", 1).await;
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.due_ms),
        (Group::WaitingRetry, Some(START_MS + 10_000))
    );
    assert_eq!(seen.copies.len(), 1);
    assert_eq!(
        (&*seen.copies[0].topic, seen.copies[0].reconsume_times),
        ("SCHEDULE_TOPIC_XXXX", 1)
    );

    clock.advance(Duration::from_secs(10));
    client.pull(&held_pull("READER", "%RETRY%G", 0, SOON)).await;
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.copies.len()),
        (Group::RetryReady, 2),
        "{}",
        seen.sentence
    );
    let second = &seen.copies[1];
    assert_eq!(&*second.topic, "%RETRY%G");
    commit(&client, "G", "%RETRY%G", 1).await;
    assert_eq!(of(&client, "G").await.verdict, Group::ConsumedOnRetry);

    client.get(&back(second.physical_offset, -1)).await;
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::DeadLettered);
    assert_eq!(&*seen.copies[2].topic, "%DLQ%G");

    // What one group made of it is nothing to another.
    client.consume("H", "T", "*").await;
    assert_eq!(of(&client, "H").await.verdict, Group::NotReached);
    // Each copy leads to the message.
    for copy in &seen.copies {
        let header = ExplainMessage {
            topic: "T".into(),
            offset_msg_id: Some(offset_id(host, copy.physical_offset)),
            ..ExplainMessage::default()
        };
        let explanation = explain(&client, &header).await;
        assert_eq!(explanation.message.unwrap().physical_offset, pos);
        let verdicts: Vec<_> = explanation
            .groups
            .iter()
            .map(|group| (&*group.group, group.verdict))
            .collect();
        assert_eq!(verdicts, [("G", Group::DeadLettered), ("H", Group::NotReached)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_try_decides_however_large_the_tries_are() {
    let (rig, clock) = start_with(&[("mappedFileSizeCommitLog", "67108864")]).await;
    let client = rig.client_of("T", 1).await;
    let body = "x".repeat(3_500_000);
    let sent = client.send_with("T", 0, &body, "UNIQ_KEY\u{1}M\u{2}").await;
    let (_, mut pos) = decode_offset_id(&sent.msg_id).unwrap();
    // Each of these lies in the retry topic, the last one waits.
    for attempt in 1..=7 {
        let level = if attempt < 7 { 1 } else { 18 };
        let back = ConsumerSendMsgBack {
            offset: pos,
            group: "G".into(),
            delay_level: level,
            origin_topic: Some("T".into()),
            ..ConsumerSendMsgBack::default()
        };
        client.get(&back).await;
        if attempt < 7 {
            clock.advance(Duration::from_secs(1));
            let arrived = client
                .pull(&held_pull("READER", "%RETRY%G", attempt - 1, SOON))
                .await;
            pos = Record::decode_all(&arrived.frame.body)
                .next()
                .unwrap()
                .unwrap()
                .stamp()
                .physical_offset;
        }
        // The group has got past all that came.
        commit(&client, "G", "%RETRY%G", attempt).await;
    }
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::WaitingRetry, "{}", seen.sentence);
    assert_eq!(seen.copies.last().unwrap().reconsume_times, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_no_longer_than_a_client_reads_however_long_the_expressions_are() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    send(&client, "M", "TAGS\u{1}A\u{2}").await;
    let members = [rig.client().await, rig.client().await];
    for group in 0..20 {
        for (member, letter) in members.iter().zip(["x", "y"]) {
            let mut body = consumer(
                &format!("G{group}"),
                &[subscription("T", &letter.repeat(900_000), 1)],
            );
            body.client_id = letter.into();
            body.consumer_data_set[0].subscription_data_set[0]
                .tags_set
                .clear();
            assert_eq!(member.beat(&body).await.code, 0);
        }
    }
    let reply = client.ask(&by_key("M")).await;
    assert!(reply.body.len() < 200_000, "{} bytes", reply.body.len());
    let explanation: Explanation = fastjson::from_slice(&reply.body).unwrap();
    assert_eq!((explanation.groups.len(), explanation.groups_left_out), (20, 0));
    for group in explanation.groups {
        assert!(
            group.sentence.contains("... (900000 bytes)"),
            "{}",
            group.verdict as u8
        );
        assert!(group.subscriptions[0].expression.ends_with("... (900000 bytes)"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_do_not_fit_are_counted() {
    let rig = Rig::start_with(&[("mappedFileSizeCommitLog", "67108864")]).await;
    let client = rig.client_of("T", 1).await;
    let keys = "k".repeat(30_000);
    send(&client, "M", &format!("KEYS\u{1}{keys}\u{2}")).await;
    // What a sender may do: 32 copies of each group, of 30 KB each.
    let groups = 12;
    for group in 0..groups {
        let name = format!("G{group:0>2}");
        client.consume(&name, "T", "*").await;
        for _ in 0..32 {
            let properties = format!("UNIQ_KEY\u{1}M\u{2}RETRY_TOPIC\u{1}T\u{2}TAGS\u{1}{keys}\u{2}");
            client
                .send_with(&format!("%RETRY%{name}"), 0, "copy", &properties)
                .await;
        }
    }
    let reply = client.ask(&by_key("M")).await;
    assert!(reply.body.len() < 8 << 20, "{} bytes", reply.body.len());
    let explanation: Explanation = fastjson::from_slice(&reply.body).unwrap();
    let shown = explanation.groups.len();
    assert!((1..groups).contains(&shown), "{shown} groups");
    assert_eq!(shown + explanation.groups_left_out, groups);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_does_not_give_a_message_is_not_taken_for_one_without_it() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    send(&client, "M", "").await;
    let dir = rig.stop().await;
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    assert_eq!(explain(&client, &by_key("M")).await.verdict, Message::Stored);
    let log = rig.dir.path().join("store/commitlog/00000000000000000000");
    std::fs::OpenOptions::new()
        .write(true)
        .open(log)
        .unwrap()
        .set_len(10)
        .unwrap();
    let reply = client.ask(&by_key("M")).await;
    assert_eq!(reply.code, 1, "{:?}", reply.remark);
    let query = QueryMessage {
        topic: "T".into(),
        key: "M".into(),
        max_num: 1,
        begin_timestamp: 0,
        end_timestamp: i64::MAX,
        unique_key_query: Some(true),
        ..QueryMessage::default()
    };
    assert_eq!(client.ask(&query).await.code, 1);
    assert_eq!(
        client
            .ask(&QueryMessage {
                key: "N".into(),
                ..query
            })
            .await
            .code,
        22
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_traced_by_id_key_and_place_with_all_that_was_sent_twice() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let sent = send(&client, "M", "TAGS\u{1}A\u{2}KEYS\u{1}k1 k2\u{2}").await;
    let twin = send(&client, "M", "").await;
    let by_id = ExplainMessage {
        offset_msg_id: Some(sent.msg_id.clone()),
        uniq_key: None,
        ..by_key("")
    };
    let by_place = ExplainMessage {
        uniq_key: None,
        queue_id: Some(0),
        queue_offset: Some(0),
        ..by_key("")
    };
    for header in [by_key("M"), by_id, by_place.clone()] {
        let explanation = explain(&client, &header).await;
        assert_eq!(explanation.verdict, Message::Stored);
        let message = explanation.message.unwrap();
        assert_eq!(
            (message.queue_id, message.queue_offset, message.reconsume_times),
            (0, 0, 0)
        );
        assert_eq!(
            (&message.offset_msg_id, message.born_timestamp),
            (&sent.msg_id, 1)
        );
        assert_eq!(
            (message.tags.as_deref(), message.keys.as_deref()),
            (Some("A"), Some("k1 k2"))
        );
        assert_eq!(message.uniq_key.as_deref(), Some("M"));
        assert!(
            message.size > 90 && message.store_timestamp > 0 && message.born_host.starts_with("127.0.0.1:")
        );
        let twins: Vec<_> = explanation
            .same_key
            .iter()
            .map(|twin| &twin.offset_msg_id)
            .collect();
        let shown = if header.uniq_key.is_some() {
            vec![&twin.msg_id]
        } else {
            Vec::new()
        };
        assert_eq!(twins, shown);
    }
    let next = ExplainMessage {
        queue_offset: Some(2),
        ..by_place
    };
    assert_eq!(explain(&client, &next).await.verdict, Message::NotStoredYet);
    assert_eq!(explain(&client, &by_key("N")).await.verdict, Message::NotFound);
    let header = ExplainMessage {
        group: Some("G".into()),
        ..by_key("N")
    };
    assert_eq!(
        explain(&client, &header).await.groups[0].verdict,
        Group::NoMessage
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_time_says_until_when() {
    let (rig, clock) = start().await;
    let client = rig.client_of("T", 1).await;
    send(&client, "D", "DELAY\u{1}3\u{2}").await;
    let timed = format!("TIMER_DELIVER_MS\u{1}{}\u{2}", START_MS + 60_500);
    send(&client, "M", &timed).await;
    send(&client, "R", &timed).await;
    let state = async |key: &str| {
        let explanation = explain(&client, &by_key(key)).await;
        (explanation.verdict, explanation.due_ms)
    };
    assert_eq!(state("D").await, (Message::Delayed, Some(START_MS + 10_000)));
    assert_eq!(state("M").await, (Message::Timed, Some(START_MS + 60_000)));
    assert_eq!(of(&client, "G").await.verdict, Group::NoMessage);
    let cancel = CancelTimer {
        topic: "T".into(),
        uniq_key: "R".into(),
    };
    client.get(&cancel).await;
    assert_eq!(state("R").await, (Message::Recalled, None));

    clock.advance(Duration::from_secs(10));
    client.pull(&held_pull("READER", "T", 0, SOON)).await;
    assert_eq!(state("D").await, (Message::Stored, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_removed_from_the_log_is_called_expired() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let large = "x".repeat(600_000);
    let first = client.send("T", 0, &large).await;
    client.send("T", 0, &large).await;
    let dir = rig.stop().await;
    std::fs::remove_file(dir.path().join("store/commitlog/00000000000000000000")).unwrap();
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    let by_id = ExplainMessage {
        topic: "T".into(),
        offset_msg_id: Some(first.msg_id),
        ..ExplainMessage::default()
    };
    let by_place = ExplainMessage {
        topic: "T".into(),
        queue_id: Some(0),
        queue_offset: Some(0),
        ..ExplainMessage::default()
    };
    for header in [by_id, by_place] {
        let explanation = explain(&client, &header).await;
        assert_eq!(explanation.verdict, Message::Expired, "{}", explanation.sentence);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_groups_the_first_fifty_are_shown_and_the_rest_is_counted() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    send(&client, "M", "").await;
    let mut body = consumer("G", &[subscription("T", "*", 1)]);
    let group = body.consumer_data_set.remove(0);
    for n in 0..53 {
        let mut group = group.clone();
        group.group_name = format!("G{n:02}").into();
        body.consumer_data_set.push(group);
    }
    assert_eq!(client.beat(&body).await.code, 0);
    let explanation = explain(&client, &by_key("M")).await;
    assert_eq!((explanation.groups.len(), explanation.groups_left_out), (50, 3));
    assert_eq!(&*explanation.groups[49].group, "G49");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_to_be_named_in_one_way_and_be_one_of_the_topic() {
    let rig = Rig::start().await;
    let client = rig.client_of("T", 1).await;
    let sent = send(&client, "M", "").await;
    let nothing = ExplainMessage {
        topic: "T".into(),
        ..ExplainMessage::default()
    };
    let two_ways = ExplainMessage {
        offset_msg_id: Some(sent.msg_id.clone()),
        ..by_key("M")
    };
    let half_a_place = ExplainMessage {
        queue_id: Some(0),
        ..nothing.clone()
    };
    let negative = ExplainMessage {
        queue_offset: Some(-1),
        ..half_a_place.clone()
    };
    let id = |id: &str| ExplainMessage {
        offset_msg_id: Some(id.into()),
        ..nothing.clone()
    };
    for header in [
        nothing.clone(),
        two_ways,
        half_a_place,
        negative,
        by_key(""),
        id("M"),
    ] {
        assert_eq!(client.ask(&header).await.code, 29, "{header:?}");
    }
    client.make_topic("U", 1).await;
    let elsewhere = ExplainMessage {
        topic: "U".into(),
        ..id(&sent.msg_id)
    };
    assert_eq!(client.ask(&elsewhere).await.code, 22);
    let unknown = ExplainMessage {
        topic: "NONE".into(),
        ..by_key("M")
    };
    assert_eq!(client.ask(&unknown).await.code, 17);
    let (host, pos) = decode_offset_id(&sent.msg_id).unwrap();
    for pos in [pos + 1, -1, i64::MAX] {
        let explanation = explain(&client, &id(&offset_id(host, pos))).await;
        assert_eq!(explanation.verdict, Message::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_popped_message_is_followed_to_its_acknowledgement() {
    let (rig, clock) = start().await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    for key in ["L", "M"] {
        send(&client, key, "").await;
    }
    let member = rig.client().await;
    member.consume("G", "T", "*").await;
    assert_eq!(of(&client, "G").await.verdict, Group::NotReached);

    let popped = member.pop(&pop("T", 0)).await;
    assert_eq!(popped.messages.len(), 2);
    let seen = of(&client, "G").await;
    assert_eq!(seen.verdict, Group::HandedOut);
    let (since, until) = (START_MS, START_MS + 60_000);
    assert_eq!(
        &*seen.sentence,
        format!(
            "it was popped by 127.0.0.1@test at {since}, and comes again at {until} unless it is acknowledged"
        )
    );
    // The message before it is still with the consumer, so the committed offset does not tell.
    assert_eq!(member.ack(&popped.messages[1]).await.code, 0);
    let seen = of(&client, "G").await;
    assert_eq!(
        (seen.verdict, seen.committed_offset),
        (Group::PastOffset, Some(0))
    );

    // N and L come again when their leases end.
    send(&client, "N", "").await;
    let again = member.pop(&pop("T", 0)).await;
    assert_eq!(again.messages.len(), 1);
    clock.advance(Duration::from_secs(60));
    let mut retried = Vec::new();
    while retried.len() < 2 {
        retried.extend(member.pop(&held("T", 0)).await.messages);
    }
    let n = ExplainMessage {
        group: Some("G".into()),
        ..by_key("N")
    };
    let seen = explain(&client, &n).await.groups.remove(0);
    assert_eq!((seen.verdict, seen.copies.len()), (Group::HandedOut, 1));
    for got in &retried {
        assert_eq!(member.ack(got).await.code, 0);
    }
    let seen = explain(&client, &n).await.groups.remove(0);
    assert_eq!(seen.verdict, Group::ConsumedOnRetry);
}
