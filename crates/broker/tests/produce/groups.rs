// SPDX-License-Identifier: Apache-2.0
//! Codes 200, 201, 207, 225 and 352.

use wire::api::group::{
    DeleteSubscriptiongroup, GetAllSubscriptiongroupConfig, GetSubscriptiongroupConfig,
    UpdateAndCreateSubscriptiongroup, UpdateAndCreateSubscriptiongroupList,
};
use wire::api::offset::{QueryConsumerOffset, UpdateConsumerOffset};
use wire::body::group::{SubscriptionGroupConfig, SubscriptionGroupList, SubscriptionGroupTable};
use wire::fastjson;

use crate::rig::{Client, Rig};

fn group(name: &str) -> SubscriptionGroupConfig {
    SubscriptionGroupConfig {
        group_name: name.into(),
        ..SubscriptionGroupConfig::default()
    }
}

async fn put(client: &Client, group: &SubscriptionGroupConfig) -> i32 {
    client
        .ask_with(&UpdateAndCreateSubscriptiongroup, fastjson::to_vec(group))
        .await
        .code
}

async fn all(client: &Client) -> SubscriptionGroupTable {
    let reply = client.ask(&GetAllSubscriptiongroupConfig::default()).await;
    let table: SubscriptionGroupTable = fastjson::from_slice(&reply.body).unwrap();
    let total = reply.ext.get("totalGroupNum").unwrap();
    assert_eq!(total, table.subscription_group_table.len().to_string());
    table
}

async fn one(client: &Client, group: &str) -> Result<SubscriptionGroupConfig, i32> {
    let reply = client
        .ask(&GetSubscriptiongroupConfig { group: group.into() })
        .await;
    if reply.code == 0 {
        Ok(fastjson::from_slice(&reply.body).unwrap())
    } else {
        Err(reply.code)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_of_the_system_are_there_from_the_start() {
    let rig = Rig::start().await;
    let table = all(&rig.client().await).await;
    let names: Vec<&str> = table
        .subscription_group_table
        .keys()
        .map(|name| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "CID_ONS-HTTP-PROXY",
            "CID_ONSAPI_OWNER",
            "CID_ONSAPI_PERMISSION",
            "CID_ONSAPI_PULL",
            "CID_RMQ_SYS_TRANS",
            "FILTERSRV_CONSUMER",
            "SELF_TEST_C_GROUP",
            "TOOLS_CONSUMER",
        ]
    );
    assert_eq!(table.data_version.counter, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_made_changed_and_kept_over_a_restart() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert_eq!(put(&client, &group("G")).await, 0);
    assert_eq!(put(&client, &group("G")).await, 0);
    assert_eq!(
        all(&client).await.data_version.counter,
        1,
        "no change, no new version"
    );
    let mut changed = SubscriptionGroupConfig {
        retry_max_times: 3,
        consume_enable: false,
        ..group("G")
    };
    changed.attributes.insert("+priority.factor".into(), "50".into());
    assert_eq!(put(&client, &changed).await, 0);

    let dir = rig.stop().await;
    let rig = Rig::start_in(dir, &[]).await;
    let client = rig.client().await;
    let kept = one(&client, "G").await.unwrap();
    assert_eq!((kept.retry_max_times, kept.consume_enable), (3, false));
    assert_eq!(kept.attributes["priority.factor"], "50");
    assert_eq!(all(&client).await.data_version.counter, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_policy_is_kept_and_handed_out_as_it_was_set() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    // As the reference writes them.
    let exponential = r#""groupRetryPolicy":{"exponentialRetryPolicy":{"initial":10000,"max":600000,"multiplier":3},"type":"EXPONENTIAL"}"#;
    let customized =
        r#""groupRetryPolicy":{"customizedRetryPolicy":{"next":[1000,60000]},"type":"CUSTOMIZED"}"#;
    for (group, policy) in [("E", exponential), ("C", customized)] {
        let body = format!("{{\"groupName\":\"{group}\",{policy}}}");
        let reply = client.ask_with(&UpdateAndCreateSubscriptiongroup, body).await;
        assert_eq!(reply.code, 0, "{:?}", reply.remark);
    }
    let rig = Rig::start_in(rig.stop().await, &[]).await;
    let client = rig.client().await;
    for (group, policy) in [
        ("E", exponential),
        ("C", customized),
        ("NEW", r#""groupRetryPolicy":{"type":"CUSTOMIZED"}"#),
    ] {
        let reply = client
            .ask(&GetSubscriptiongroupConfig { group: group.into() })
            .await;
        let body = std::str::from_utf8(&reply.body).unwrap();
        assert!(body.contains(policy), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_breaks_a_rule_is_refused_with_all_that_came_with_it() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    assert_eq!(put(&client, &group("bad group")).await, 29);
    assert_eq!(put(&client, &group(&"g".repeat(121))).await, 29);
    let mut odd = group("G");
    odd.attributes.insert("+priority.factor".into(), "101".into());
    assert_eq!(put(&client, &odd).await, 1);
    let list = SubscriptionGroupList {
        group_config_list: vec![group("A"), group("bad group")],
    };
    let reply = client
        .ask_with(&UpdateAndCreateSubscriptiongroupList, fastjson::to_vec(&list))
        .await;
    assert_eq!(reply.code, 29);
    assert_eq!(one(&client, "A").await, Err(26));
    let reply = client.ask_with(&UpdateAndCreateSubscriptiongroup, "[1").await;
    assert_eq!(reply.code, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_a_group_makes_it_when_groups_may_come_into_being() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    assert_eq!(one(&client, "G").await.unwrap(), group("G"));
    assert_eq!(all(&client).await.data_version.counter, 1);
    assert_eq!(one(&client, "bad group").await, Err(26));

    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    assert_eq!(one(&client, "G").await, Err(26));
    assert_eq!(
        one(&client, "CID_RMQ_SYS_X").await.unwrap(),
        group("CID_RMQ_SYS_X")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_group_is_gone_and_its_offsets_when_asked_for() {
    let rig = Rig::start_with(&[("autoCreateSubscriptionGroup", "false")]).await;
    let client = rig.client().await;
    client.make_topic("T", 1).await;
    let offset = QueryConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
    };
    for clean in [false, true] {
        put(&client, &group("G")).await;
        let commit = UpdateConsumerOffset {
            consumer_group: "G".into(),
            topic: "T".into(),
            queue_id: 0,
            commit_offset: 7,
        };
        client.get(&commit).await;
        let delete = DeleteSubscriptiongroup {
            group_name: "G".into(),
            clean_offset: Some(clean),
        };
        client.get(&delete).await;
        assert_eq!(one(&client, "G").await, Err(26));
        assert_eq!(client.ask(&offset).await.code, if clean { 22 } else { 0 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_group_is_kept() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let text = r#"{"attributes":{},"brokerId":7,"consumeBroadcastEnable":false,"consumeEnable":false,
        "consumeFromMinEnable":false,"consumeMessageOrderly":true,"consumeTimeoutMinute":99,"groupName":"G",
        "groupRetryPolicy":{"exponentialRetryPolicy":{"initial":3000,"max":60000,"multiplier":3},"type":"EXPONENTIAL"},
        "groupSysFlag":5,"notifyConsumerIdsChangedEnable":false,"retryMaxTimes":21,"retryQueueNums":4,
        "subscriptionDataSet":[{"expression":"a","expressionType":"TAG","topic":"T","version":1}],
        "whichBrokerWhenConsumeSlowly":3}"#;
    let wanted: SubscriptionGroupConfig = fastjson::from_slice(text.as_bytes()).unwrap();
    let fields = |group: &SubscriptionGroupConfig| fastjson::to_vec(group);
    assert_eq!(
        fields(&wanted),
        text.split_whitespace().collect::<String>().into_bytes()
    );
    assert_eq!(put(&client, &wanted).await, 0);
    let dir = rig.stop().await;
    let rig = Rig::start_in(dir, &[]).await;
    let kept = one(&rig.client().await, "G").await.unwrap();
    assert_eq!(fields(&kept), fields(&wanted));
}
