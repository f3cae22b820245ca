// SPDX-License-Identifier: Apache-2.0
//! Commands that the reference does not have.

use crate::fakes::{hangs_up, played, reply};
use crate::rig::{Rig, run_alone};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use wire::code::{Code, ResponseCode};
use wire::frame::Frame;

#[tokio::test]
async fn a_message_is_explained_to_each_group() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello -c TagA").await;
    let _member = rig.consumer("G", "T", "TagB").await;
    let explained = rig.data(&format!("explain -t T -i {id}")).await;
    assert_eq!(
        (&explained["verdict"], &explained["broker"]),
        (&"STORED".into(), &"broker-a".into())
    );
    assert_eq!(explained["groups"][0]["verdict"], "FILTERED");
    let table = rig.done("explain -t T --queue 0 --offset 0 -g G").await;
    assert!(table.starts_with("verdict      STORED\n"), "{table}");
    assert!(
        table.contains("\ngroups:\nGROUP  VERDICT   EXPLANATION\nG      FILTERED  "),
        "{table}"
    );
    for (line, code, says) in [
        ("explain -t T", 2, "say which message"),
        ("explain -t T -i x --queue 0 --offset 0", 2, "say which message"),
        ("explain -t T -i x -b other", 1, "on no broker called 'other'"),
        ("explain -t nosuch -i x", 1, "TOPIC_NOT_EXIST"),
    ] {
        let ran = rig.run(line).await;
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}");
        assert!(ran.err.contains(says), "{line}: {}", ran.err);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_place_is_explained_by_the_broker_that_is_meant() {
    let rig = Rig::start().await;
    let other = rig.cluster.join("broker-z", &[]).await.unwrap();
    rig.done("updateTopic -c DefaultCluster -t T -r 1 -w 1").await;
    let sent = rig.data("sendMessage -t T -b broker-z -i 0 -p hello").await;
    let ran = rig.run("explain -t T --queue 0 --offset 0").await;
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(
        ran.err.contains("say -b with one of broker-a, broker-z"),
        "{}",
        ran.err
    );
    let there = rig.data("explain -t T --queue 0 --offset 0 -b broker-z").await;
    assert_eq!(there["verdict"], "STORED");
    // Either id is enough: the one names the broker, by the other all are asked.
    for id in ["id", "offsetId"] {
        let id = sent[id].as_str().unwrap();
        let there = rig.data(&format!("explain -t T -i {id}")).await;
        assert_eq!(
            (&there["verdict"], &there["broker"]),
            (&"STORED".into(), &"broker-z".into()),
            "{id}"
        );
    }
    other.stop().await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn a_message_that_is_nowhere_ends_an_explanation_with_one() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    rig.send("T", 0, "-p hello").await;
    for (line, verdict) in [
        ("-i FD00", "NOT_FOUND"),
        ("--queue 0 --offset 1", "NOT_STORED_YET"),
        ("--queue 99 --offset 0", "NOT_STORED_YET"),
    ] {
        let ran = rig.run(&format!("explain -t T {line}")).await;
        assert_eq!(ran.code, 1, "{line}");
        assert!(ran.out.contains(verdict), "{line}: {}", ran.out);
        assert!(
            ran.err.contains("there is no such message: "),
            "{line}: {}",
            ran.err
        );
    }
    rig.stop().await;
}

#[tokio::test]
async fn timers_are_listed_and_taken_back_only_when_somebody_says_so() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    rig.raw_send("T", "UNIQ_KEY\u{1}K1\u{2}TIMER_DELAY_SEC\u{1}600\u{2}", 0)
        .await;
    rig.raw_send("T", "UNIQ_KEY\u{1}K2\u{2}TIMER_DELAY_SEC\u{1}300\u{2}", 0)
        .await;
    let listed = loop {
        let listed = rig.data("timers -t T").await;
        if listed.as_array().is_some_and(|timers| timers.len() == 2) {
            break listed;
        }
    };
    let keys: Vec<&Value> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|timer| &timer["uniqKey"])
        .collect();
    assert_eq!(keys, ["K2", "K1"]);
    let cut = rig.run("timers --max 1").await;
    assert_eq!(cut.out.lines().count(), 2, "{}", cut.out);
    assert!(cut.err.contains("only the first 1 are listed"), "{}", cut.err);
    let asked = rig.run("timers --cancel K2 -t T").await;
    assert_eq!((asked.code, asked.out.as_str()), (2, ""));
    assert!(asked.err.contains("say --yes to do it"), "{}", asked.err);
    let cancelled = rig.data("timers --cancel K2 -t T --yes").await;
    assert_eq!(cancelled["uniqKey"], "K2");
    while rig.data("timers -t T").await.as_array().unwrap().len() != 1 {}
    let unknown = rig.run("timers --cancel nosuch -t T --yes").await;
    assert_eq!(unknown.code, 1);
    rig.stop().await;
}

#[tokio::test]
async fn transactions_are_listed_and_ended_by_hand() {
    const PREPARED: i32 = 4;
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    for key in ["K1", "K2"] {
        let properties = format!("UNIQ_KEY\u{1}{key}\u{2}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}");
        rig.raw_send("T", &properties, PREPARED).await;
    }
    let listed = loop {
        let listed = rig.data("transactions -g P").await;
        if listed.as_array().is_some_and(|pending| pending.len() == 2) {
            break listed;
        }
    };
    assert_eq!(
        (&listed[0]["topic"], &listed[0]["group"]),
        (&"T".into(), &"P".into())
    );
    let broker = rig.cluster.broker;
    for (line, says) in [
        ("transactions --commit 0".to_owned(), "say -b <broker>"),
        (format!("transactions --commit 0 -b {broker}"), "say --yes"),
        (
            format!("transactions --commit 0 --rollback 0 -b {broker}"),
            "say one of",
        ),
    ] {
        let ran = rig.run(&line).await;
        assert_eq!(ran.code, 2, "{line}");
        assert!(ran.err.contains(says), "{line}: {}", ran.err);
    }
    let offset = &listed[0]["offset"];
    let ended = rig
        .data(&format!("transactions --commit {offset} -b {broker} --yes"))
        .await;
    assert_eq!(ended["ended"], "committed");
    let delivered = rig.data("tail -t T --from start --once").await;
    assert_eq!(delivered["msgId"], "K1");
    let gone = rig
        .run(&format!("transactions --commit {offset} -b {broker} --yes"))
        .await;
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("list them again"), "{}", gone.err);
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_is_followed_from_any_place_and_by_tag() {
    let rig = Rig::start_with(&[("enablePropertyFilter", "true")]).await;
    rig.topic("T", 1).await;
    for (body, tag) in [("one", "A"), ("two", "B"), ("three", "A")] {
        rig.send("T", 0, &format!("-p {body} -c {tag}")).await;
    }
    let bodies = |out: &str| -> Vec<String> {
        let last = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
        out.lines().map(last).collect()
    };
    for (how, expected) in [
        ("--from start", vec!["one", "two", "three"]),
        ("--from start -s A", vec!["one", "three"]),
        ("--from start --sql TAGS='B'", vec!["two"]),
        ("--offset 1 --max 1", vec!["two"]),
        ("--from 1h", vec!["one", "two", "three"]),
        ("--from end", vec![]),
    ] {
        let shown = rig.done(&format!("tail -t T --once {how}")).await;
        assert_eq!(bodies(&shown), expected, "{how}");
    }
    let wrong = rig.run("tail -t T --from someday").await;
    assert_eq!(wrong.code, 2);
    let wrong = rig.run("tail -t T -b nosuch").await;
    assert_eq!(wrong.code, 1);
    rig.stop().await;
}

#[tokio::test]
async fn what_is_sent_while_a_topic_is_followed_is_shown() {
    let rig = Rig::start().await;
    rig.topic("T", 2).await;
    rig.send("T", 0, "-p before").await;
    let sending = async {
        loop {
            rig.send("T", 1, "-p live").await;
        }
    };
    let shown = tokio::select! {
        shown = rig.done("tail -t T --max 2") => shown,
        () = sending => unreachable!("it ends with the other"),
    };
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.lines().all(|line| line.ends_with(" live")), "{shown}");
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_letter_is_listed_with_its_cause_and_sent_again_once() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello -k order-7").await;
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    assert_eq!(rig.data("dlq -g G").await, Value::Array(Vec::new()));
    rig.give_up("G", "T", 0).await;
    rig.cluster_knows("%DLQ%G").await;
    let listed = rig.data("dlq -g G").await;
    assert_eq!(
        (&listed[0]["id"], &listed[0]["topic"]),
        (&id.as_str().into(), &"T".into())
    );
    assert_eq!(listed[0]["cause"], "given up by its consumer after 1 of 16 tries");
    let dry = rig.data(&format!("dlq -g G --resend {id} --dry-run")).await;
    assert_eq!(
        (&dry[0]["to"], &dry[0]["result"]),
        (&"%RETRY%G".into(), &"would be sent".into())
    );
    let asked = rig.run("dlq -g G --resend all").await;
    assert_eq!(asked.code, 2);
    let sent = rig.data("dlq -g G --resend all --to origin --yes").await;
    assert_eq!((&sent[0]["to"], &sent[0]["offset"]), (&"T".into(), &1.into()));
    let again = rig.data("tail -t T --offset 1 --once").await;
    assert_eq!(
        (&again["msgId"], &again["keys"]),
        (&id.as_str().into(), &"order-7".into())
    );
    assert_eq!(again["properties"]["BARQUE_RESENT"], "1");
    assert_eq!(again["properties"]["RETRY_TOPIC"], Value::Null);
    for how in ["--to origin", "--to retry"] {
        let twice = rig.run(&format!("dlq -g G --resend {id} {how} --yes")).await;
        assert_eq!(twice.code, 1, "{how}");
        assert!(
            twice.out.contains("refused: it was sent again at "),
            "{how}: {}",
            twice.out
        );
    }
    let forced = rig
        .run(&format!("dlq -g G --resend {id} --to origin --yes --force"))
        .await;
    assert_eq!(forced.code, 0, "{}", forced.err);
    let none = rig.run("dlq -g nobody").await;
    assert_eq!(none.code, 1);
    assert!(
        none.err.contains("no broker knows the group nobody"),
        "{}",
        none.err
    );
    let asks_nothing = rig.run("getConsumerConfig -g nobody").await;
    assert_eq!(asks_nothing.code, 1, "asking for dead letters made the group");
    rig.stop().await;
}

#[tokio::test]
async fn a_message_that_dies_again_and_again_is_not_sent_round_for_ever() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello").await;
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    for life in 0..4 {
        rig.give_up("G", "T", life).await;
        rig.cluster_knows("%DLQ%G").await;
        let ran = rig
            .run(&format!("dlq -g G --resend {id} --to origin --yes"))
            .await;
        assert_eq!(ran.code, u8::from(life == 3), "{life}: {}", ran.out);
    }
    let last = rig
        .run(&format!("dlq -g G --resend {id} --to origin --yes"))
        .await;
    assert!(
        last.out
            .contains("refused: it was sent again 3 times and died each time"),
        "{}",
        last.out
    );
    rig.stop().await;
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_ends_with_one() {
    let healthy = Rig::start().await;
    let report = healthy.run("doctor --interval 1 --output json").await;
    let data: Value = serde_json::from_str(&report.out).unwrap();
    let severe = |data: &Value| -> Vec<String> {
        let findings = data["findings"].as_array().unwrap().iter();
        // How full the disk of the machine is that runs the test is not what is tested.
        findings
            .filter(|known| known["severity"] != "info")
            .map(|known| known["finding"].as_str().unwrap().to_owned())
            .filter(|finding| !finding.contains("disk"))
            .collect()
    };
    assert_eq!(severe(&data), Vec::<String>::new());
    assert_eq!((&data["nameServers"], &data["brokers"]), (&1.into(), &1.into()));
    healthy.stop().await;

    let ill = Rig::start_with(&[("brokerRole", "SYNC_MASTER")]).await;
    ill.topic("T", 1).await;
    ill.done("updateSubGroup -c DefaultCluster -g G").await;
    ill.commit("G", "T", [0]).await;
    for _ in 0..3 {
        ill.raw_send("T", "", 0).await;
    }
    let ran = ill.run("doctor --interval 1 --lag 2 --output json").await;
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("are wrong, see above"), "{}", ran.err);
    let found = severe(&serde_json::from_str(&ran.out).unwrap());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("SYNC_MASTER promises 2 replicas and 0 slaves are in step"),
        "{found:?}"
    );
    assert_eq!(found[1], "3 messages wait, and no consumer is online");
    let names = ill.cluster.nameserver;
    let away = ill
        .run_alone(&format!("doctor --interval 1 -n {names};127.0.0.1:1"))
        .await;
    assert_eq!(away.code, 1);
    assert!(away.out.contains("name server 127.0.0.1:1  "), "{}", away.out);
    let nobody = ill.run_alone("doctor -n 127.0.0.1:1").await;
    assert_eq!((nobody.code, nobody.out.as_str()), (1, ""));
    ill.stop().await;
}

#[tokio::test]
async fn what_a_sender_wrote_is_no_command_for_a_terminal() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    rig.raw_send(
        "T",
        "TAGS\u{1}a\u{1b}[31m\nforged/0@0 line\u{2}KEYS\u{1}k\u{9b}2J\u{2}",
        0,
    )
    .await;
    let shown = rig.done("tail -t T --from start --once").await;
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(
        shown.contains("tags=a\\u{1b}[31m\\nforged/0@0 line keys=k\\u{9b}2J "),
        "{shown}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_letter_whose_answer_is_lost_is_not_sent_twice() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello").await;
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    rig.give_up("G", "T", 0).await;
    rig.cluster_knows("%DLQ%G").await;
    rig.done("deleteTopic -c DefaultCluster -t T --yes").await;
    let (addr, came) = hangs_up().await;
    let _registered = rig.register("broker-z", addr, "T").await;
    rig.cluster_knows("T").await;
    let ran = rig
        .run(&format!(
            "dlq -g G --resend {id},{id} --to origin --force --yes --output json"
        ))
        .await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    let outcomes: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    let result = outcomes[0]["result"].as_str().unwrap();
    assert!(result.starts_with("not known: "), "{result}");
    assert_eq!(came.load(Ordering::SeqCst), 1);
    rig.stop().await;
}

#[tokio::test]
async fn what_was_stored_with_less_than_was_promised_is_told() {
    let rig = Rig::start_with(&[("brokerRole", "SYNC_MASTER")]).await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello").await;
    rig.done("updateSubGroup -c DefaultCluster -g G").await;
    rig.give_up("G", "T", 0).await;
    rig.cluster_knows("%DLQ%G").await;
    let sent = rig
        .data(&format!("dlq -g G --resend {id} --to origin --yes"))
        .await;
    assert_eq!(sent[0]["result"], "sent, with SLAVE_NOT_AVAILABLE");
    rig.stop().await;
}

#[tokio::test]
async fn dead_letters_are_looked_for_wherever_the_broker_says_to_go_on() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let pulls = Arc::clone(&asked);
    let fake = played(move |frame| {
        let offset = |value| reply(ResponseCode::SUCCESS, &[("offset", value)]);
        match Code(frame.code) {
            Code::GET_MAX_OFFSET => Some(offset("9")),
            Code::GET_MIN_OFFSET => Some(offset("0")),
            Code::PULL_MESSAGE => {
                let from = frame.ext.get("queueOffset").unwrap().to_string();
                let (code, next) = match from.as_str() {
                    "0" => (ResponseCode::PULL_RETRY_IMMEDIATELY, "3"),
                    "3" => (ResponseCode::PULL_OFFSET_MOVED, "7"),
                    _ => (ResponseCode::PULL_NOT_FOUND, "7"),
                };
                pulls.lock().unwrap().push(from);
                let fields = [
                    ("nextBeginOffset", next),
                    ("minOffset", "0"),
                    ("maxOffset", "9"),
                    ("suggestWhichBrokerId", "0"),
                ];
                Some(reply(code, &fields))
            }
            _ => Some(Frame::reply(0, ResponseCode::SYSTEM_ERROR)),
        }
    })
    .await;
    let ran = run_alone(&format!("dlq -g G -n {}", fake.addr)).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(*asked.lock().unwrap(), ["0", "3", "7"]);
}

#[tokio::test]
async fn a_server_that_never_ends_its_list_of_timers_is_not_asked_for_ever() {
    let pages = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pages);
    let fake = played(move |frame| {
        (Code(frame.code) == Code::LIST_TIMERS).then(|| {
            count.fetch_add(1, Ordering::SeqCst);
            Frame::reply(0, ResponseCode::SUCCESS).with_body("{\"pending\":[],\"next\":\"1\",\"total\":1}")
        })
    })
    .await;
    let ran = run_alone(&format!("timers -n {}", fake.addr)).await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(pages.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn changes_of_settings_are_listed_with_who_made_them_and_secrets_are_nowhere() {
    let rig = Rig::start().await;
    let (broker, names) = (rig.cluster.broker, rig.cluster.nameserver);
    assert_eq!(rig.data("configHistory").await, Value::Array(Vec::new()));
    for (key, value, is_done) in [
        ("traceOn", "false", true),
        ("haSecret", "what-nobody-else-knows", false),
    ] {
        let ran = rig
            .run(&format!(
                "updateBrokerConfig -b {broker} -k {key} -v {value} --output json"
            ))
            .await;
        assert_eq!(ran.code == 0, is_done, "{}", ran.err);
        assert!(
            !ran.out.contains(value) && !ran.err.contains(value),
            "{}{}",
            ran.out,
            ran.err
        );
    }
    let ran = rig
        .run("updateNamesrvConfig -k deleteTopicWithBrokerRegistration -v true --output json")
        .await;
    assert_eq!(ran.code, 0, "{}", ran.err);
    let all = rig.data("configHistory").await;
    let keys: Vec<&Value> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["key"])
        .collect();
    assert_eq!(keys, ["deleteTopicWithBrokerRegistration", "traceOn"]);
    assert_eq!(all[0]["server"], names.to_string());
    assert_eq!(all[1]["server"], broker.to_string());
    assert_eq!(
        (&all[1]["from"], &all[1]["to"]),
        (&"true".into(), &"false".into())
    );
    assert!(
        all[1]["peer"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{all}"
    );
    let one = rig.data(&format!("configHistory -b {broker} -k traceOn")).await;
    assert_eq!(one.as_array().unwrap().len(), 1, "{one}");
    let cut = rig.run("configHistory --max 1").await;
    assert_eq!(cut.out.lines().count(), 2, "{}", cut.out);
    assert!(cut.err.contains("only the newest 1 are listed"), "{}", cut.err);
    rig.stop().await;
}

#[tokio::test]
async fn a_mistyped_setting_is_told_with_the_one_that_was_meant() {
    let rig = Rig::start().await;
    let broker = rig.cluster.broker;
    for (line, out, meant) in [
        (
            format!("updateBrokerConfig -b {broker} -k maxMesageSize -v 1048576"),
            format!("update broker config success, {broker}\n"),
            "did you mean maxMessageSize?",
        ),
        (
            "updateNamesrvConfig -k clusterTst -v true".to_owned(),
            format!(
                "update name server config success![{}]\nclusterTst : true\n",
                rig.cluster.nameserver
            ),
            "did you mean clusterTest?",
        ),
    ] {
        let ran = rig.run(&line).await;
        assert_eq!((ran.code, ran.out), (0, out), "{line}");
        assert!(ran.err.contains("ignored, unknown: "), "{line}: {}", ran.err);
        assert!(ran.err.contains(meant), "{line}: {}", ran.err);
        let data = rig.run(&format!("{line} --output json")).await;
        assert!(data.out.contains(meant), "{line}: {}", data.out);
    }
    rig.stop().await;
}
