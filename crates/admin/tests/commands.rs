// SPDX-License-Identifier: Apache-2.0
//! Commands against a name server and a broker on real sockets.

#[path = "clients/printed.rs"]
mod printed;

use admin::Called;
use printed::Ran;
use testkit::cluster::Cluster;

async fn run_with(line: &str, answers: Option<&'static str>) -> Ran {
    printed::run(Called::Mqadmin, line, answers).await
}

async fn run(line: &str) -> Ran {
    run_with(line, None).await
}

/// Runs a command that succeeds, and returns what it printed.
async fn done(line: &str) -> String {
    let ran = run(line).await;
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
    ran.out
}

#[tokio::test]
async fn a_topic_is_made_looked_at_and_deleted() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let (names, broker) = (cluster.nameserver, cluster.broker);
    let made = done(&format!("updateTopic -n {names} -b {broker} -t orders -r 3 -w 3")).await;
    assert_eq!(
        made,
        format!(
            "create topic to {broker} success.\n\
             TopicConfig [topicName=orders, readQueueNums=3, writeQueueNums=3, perm=RW-, \
             topicFilterType=SINGLE_TAG, topicSysFlag=0, order=false, attributes={{}}]\n"
        )
    );
    let status = done(&format!("topicStatus -n {names} -t orders")).await;
    assert_eq!(status.lines().count(), 1 + 3 + 2, "{status}");
    assert_eq!(
        done(&format!("topicClusterList -n {names} -t orders")).await,
        "DefaultCluster\n"
    );
    let listed = done(&format!("topicList -n {names}")).await;
    assert!(listed.lines().any(|topic| topic == "orders"), "{listed}");
    let deleted = done(&format!("deleteTopic -n {names} -c DefaultCluster -t orders")).await;
    assert_eq!(
        deleted,
        "delete topic [orders] from cluster [DefaultCluster] success.\n\
         delete topic [orders] from NameServer success.\n"
    );
    let gone = run(&format!("topicRoute -n {names} -t orders")).await;
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    assert!(gone.err.contains("TOPIC_NOT_EXIST (17)"), "{}", gone.err);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_reported_as_text_is_also_there_as_data() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let (names, broker) = (cluster.nameserver, cluster.broker);
    done(&format!(
        "updateTopic -n {names} -b {broker} -t T -r 2 -w 1 --output json"
    ))
    .await;
    let json = done(&format!("topicRoute -n {names} -t T -l -o json")).await;
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(rows[0]["readQueues"], 2);
    assert_eq!(rows[0]["addresses"]["0"], broker.to_string());
    let table = done(&format!("topicRoute -n {names} -t T -l -o table")).await;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let columns = [
        "CLUSTER",
        "BROKER",
        "ADDRESSES",
        "READQUEUES",
        "WRITEQUEUES",
        "PERM",
    ];
    assert_eq!(head, columns);
    let yaml = done(&format!("clusterList -n {names} --output yaml")).await;
    assert!(
        yaml.starts_with("- cluster: DefaultCluster\n  broker: broker-a\n  id: 0\n"),
        "{yaml}"
    );
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_option_of_the_reference_wins_over_one_on_top_of_it() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let (names, broker) = (cluster.nameserver, cluster.broker);
    let made = done(&format!("updateTopic -n {names} -b {broker} -t T -o true")).await;
    assert!(
        made.starts_with("set broker orderConf. isOrder=true, orderConf=[broker-a:8]\n"),
        "{made}"
    );
    let conf = done(&format!("updateOrderConf -n {names} -t T -m get")).await;
    assert_eq!(conf, "get orderConf success. topic=[T], orderConf=[broker-a:8] ");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_name_server_that_is_gone_is_passed_over() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let names = cluster.nameserver;
    assert!(
        done(&format!("clusterList -n 127.0.0.1:1;{names}"))
            .await
            .contains("broker-a")
    );
    let none = run("clusterList -n 127.0.0.1:1;127.0.0.1:2").await;
    assert_eq!(none.code, 1);
    assert!(none.err.contains("none of the 2 name servers"), "{}", none.err);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_taken_back_is_asked_about_where_somebody_can_answer() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let names = cluster.nameserver;
    let conf = |method: &str| format!("{method} -n {names} -s NS -k K");
    done(&format!("{} -v V", conf("updateKvConfig"))).await;
    let refused = run_with(&conf("deleteKvConfig"), Some("n\n")).await;
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
    assert!(refused.err.contains("Go on? [y/N]"), "{}", refused.err);
    for (line, answers) in [
        (conf("deleteKvConfig"), Some("y\n")),
        (format!("{} --yes", conf("deleteKvConfig")), Some("")),
        (conf("deleteKvConfig"), None),
    ] {
        let ran = run_with(&line, answers).await;
        assert_eq!(
            ran.out, "delete kv config from namespace success.\n",
            "{}",
            ran.err
        );
    }
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_call_sends_nothing_and_ends_with_two() {
    // Nobody listens there: whatever asked would end with one.
    let names = "-n 127.0.0.1:1";
    for (line, says) in [
        ("topicLst", "Did you mean 'topicList'?"),
        ("addBroker -c x", "not part of barque yet: broker containers"),
        ("topicRoute", "Missing required option: t"),
        ("topicRoute -t ../x", "only letters, digits"),
        ("updateSubGroup -b 127.0.0.1:1 -g a/b", "only letters, digits"),
        ("topicRoute -t x --lsit", "did you mean --list?"),
        (
            "updateTopic -b 127.0.0.1:1 -t x -p 9",
            "the permission 9 is invalid",
        ),
        ("updateTopic -b 127.0.0.1:1 -t x -r many", "'many' is no number"),
        ("deleteSubGroup -g G", "say -b <broker> or -c <cluster>"),
        (
            "updateKvConfig -s a -k b -v c --watch 1",
            "only commands that read",
        ),
        ("topicList -o xml", "no output format"),
    ] {
        let ran = run(&format!("{line} {names}")).await;
        assert_eq!(ran.code, 2, "{line}: {}", ran.err);
        assert!(ran.err.contains(says), "{line}: {}", ran.err);
    }
    let ran = run("topicList -n nowhere").await;
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("'nowhere' is no address"), "{}", ran.err);
}

#[tokio::test]
async fn a_group_is_kept_as_it_was_said() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let names = cluster.nameserver;
    let made = done(&format!(
        "updateSubGroup -n {names} -c DefaultCluster -g G -r 3 -s false"
    ))
    .await;
    assert!(
        made.contains("SubscriptionGroupConfig{groupName=G, consumeEnable=false,"),
        "{made}"
    );
    let config = done(&format!("getConsumerConfig -n {names} -g G")).await;
    let line = |name: &str, value: &str| format!("{name:<40}=  {value}");
    for expected in [
        line("retryMaxTimes", "3"),
        line("consumeEnable", "false"),
        line("attributes", "{}"),
    ] {
        assert!(config.lines().any(|line| line == expected), "{config}");
    }
    assert_eq!(run(&format!("getConsumerConfig -n {names} -g H")).await.code, 1);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_setting_of_a_broker_is_changed_and_read_back() {
    let cluster = Cluster::start(&[]).await.unwrap();
    let (names, broker) = (cluster.nameserver, cluster.broker);
    let set = "-k traceOn -v false";
    let changed = run(&format!("updateBrokerConfig -n {names} -c DefaultCluster {set}")).await;
    assert_eq!(changed.out, format!("update broker config success, {broker}\n"));
    // When it takes effect is said beside what the reference prints.
    let said = format!("{broker}: in effect now: traceOn");
    assert!(changed.err.starts_with(&said), "{}", changed.err);
    let place = run(&format!(
        "updateBrokerConfig -b {broker} -k storePathRootDir -v /x"
    ))
    .await;
    assert_eq!((place.code, place.out.as_str()), (1, ""), "{}", place.err);
    let config = done(&format!("getBrokerConfig -b {broker}")).await;
    let expected = format!("{:<50}=  false", "traceOn");
    assert!(config.lines().any(|line| line == expected), "{config}");
    cluster.stop().await.unwrap();
}
