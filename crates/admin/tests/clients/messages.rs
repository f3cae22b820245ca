// SPDX-License-Identifier: Apache-2.0
//! Finding, printing, sending and reading messages.

use crate::rig::{CLIENT, Rig};

#[tokio::test]
async fn a_message_is_found_by_each_thing_it_is_called() {
    let rig = Rig::start().await;
    rig.topic("T", 2).await;
    let id = rig.send("T", 1, "-p hello -k order-7 -c TagA").await;
    rig.send("T", 1, "-p other -k order-8").await;
    let by_id = rig.data(&format!("queryMsgById -t T -i {id}")).await;
    let offset_id = by_id[0]["offsetId"].as_str().unwrap();
    for line in [
        format!("queryMsgById -t T -i {offset_id}"),
        format!("queryMsgByUniqueKey -t T -i {id}"),
        "queryMsgByOffset -t T -b broker-a -i 1 -o 0".to_owned(),
    ] {
        let found = rig.data(&line).await;
        assert_eq!(found[0]["msgId"], id.as_str(), "{line}");
        assert_eq!(found[0]["body"], "hello", "{line}");
        assert_eq!(found[0]["tags"], "TagA", "{line}");
    }
    for line in ["queryMsgByKey -t T -k order-7", "queryMsgByKey -t T -k TagA -p T"] {
        let found = rig.data(line).await;
        assert_eq!(found.as_array().unwrap().len(), 1, "{line}");
        assert_eq!(found[0]["msgId"], id.as_str(), "{line}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_is_not_found_is_said_with_one() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    rig.send("T", 0, "-p hello").await;
    for (line, says) in [
        (
            "queryMsgById -t T -i nosuch",
            "no broker has a message of the topic T with the id 'nosuch'",
        ),
        ("queryMsgByKey -t T -k nosuch", "with the key 'nosuch'"),
        (
            "queryMsgByOffset -t T -b broker-a -i 0 -o 9",
            "no message at offset 9 (OFFSET_ILLEGAL)",
        ),
        (
            "queryMsgByOffset -t T -b broker-x -i 0 -o 9",
            "brokers that have: broker-a",
        ),
        (
            "queryMsgTraceById -i nosuch",
            "for the topic: RMQ_SYS_TRACE_TOPIC",
        ),
        ("queryCq -t T -q 7 -i 0", "7@T is not exist!"),
    ] {
        let ran = rig.run(line).await;
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line}");
        assert!(ran.err.contains(says), "{line}: {}", ran.err);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_message_in_full_says_what_became_of_it_in_each_group() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello -c TagA").await;
    let none = rig.done(&format!("queryMsgById -t T -i {id} -f UTF-8")).await;
    assert!(
        none.contains("Message Body:        hello\n\n\nWARN: No Consumer"),
        "{none}"
    );
    let body = format!("Message Body Path:   /tmp/rocketmq/msgbodys/{id}\n");
    assert!(none.contains(&body), "{none}");
    let _member = rig.consumer("G", "T", "TagB").await;
    let tracks = rig.data(&format!("queryMsgById -t T -i {id}")).await;
    assert_eq!(tracks[0]["tracks"][0]["state"], "NOT_CONSUME_YET");
    rig.done("resetOffsetByTime -g G -t T -s now").await;
    let tracks = rig.data(&format!("queryMsgById -t T -i {id}")).await;
    assert_eq!(tracks[0]["tracks"][0]["group"], "G");
    assert_eq!(tracks[0]["tracks"][0]["state"], "CONSUMED_BUT_FILTERED");
    rig.stop().await;
}

#[tokio::test]
async fn a_message_is_handed_to_one_consumer_and_sent_again() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello").await;
    let _member = rig.consumer("G", "T", "*").await;
    let handed = rig
        .done(&format!("queryMsgById -t T -i {id} -g G -d {CLIENT}"))
        .await;
    assert_eq!(
        handed,
        "ConsumeMessageDirectlyResult [order=false, autoCommit=true, consumeResult=CR_SUCCESS, remark=null, \
         spentTimeMills=3]"
    );
    let nobody = rig
        .run(&format!("queryMsgByUniqueKey -t T -i {id} -g G -d nobody"))
        .await;
    assert_eq!(nobody.code, 1);
    assert!(
        nobody
            .out
            .starts_with("get consumer runtime info for nobody client failed \n")
    );
    let again = rig.done(&format!("queryMsgById -t T -i {id} -s true")).await;
    let expected =
        format!("prepare resend msg. originalMsgId={id}SendResult [sendStatus=SEND_OK, msgId={id}, ");
    assert!(again.starts_with(&expected), "{again}");
    let both = rig.data(&format!("queryMsgByUniqueKey -t T -i {id} -a")).await;
    assert_eq!(both.as_array().unwrap().len(), 2);
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_printed_by_tag_and_between_times_and_counted() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    for (body, tag) in [("one", "A"), ("two", "B"), ("three", "B")] {
        rig.send("T", 0, &format!("-p {body} -c {tag}")).await;
    }
    let all = rig.done("printMsg -t T").await;
    let queue = "MessageQueue [topic=T, brokerName=broker-a, queueId=0]";
    assert!(
        all.starts_with(&format!("minOffset=0, maxOffset=3, {queue}\nMSGID: ")),
        "{all}"
    );
    assert_eq!(all.matches(" BODY: ").count(), 3, "{all}");
    let some = rig.data("printMsg -t T -s B").await;
    let bodies: Vec<_> = some
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["body"])
        .collect();
    assert_eq!(bodies, ["two", "three"]);
    let none = rig.done("printMsg -t T -s C").await;
    assert!(
        none.contains(&format!(
            "{queue} no matched msg. status=NO_MATCHED_MSG, offset=3\n"
        )),
        "{none}"
    );
    let counts = rig.done("printMsgByQueue -t T -a broker-a -i 0 -f true").await;
    assert_eq!(
        counts,
        format!("Tag: {:<30} Count: 2\nTag: {:<30} Count: 1\n", "B", "A")
    );
    let before = rig.done("printMsg -t T -e 1000").await;
    assert!(before.starts_with("minOffset=0, maxOffset=0, "), "{before}");
    rig.stop().await;
}

#[tokio::test]
async fn messages_are_read_in_the_name_of_a_group_without_moving_it() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    for body in ["one", "two", "three"] {
        rig.send("T", 0, &format!("-p {body}")).await;
    }
    let read = rig.done("consumeMessage -t T -b broker-a -i 0 -c 2").await;
    assert!(
        read.starts_with("The oldler 2 message will be provided\nConsume ok\nMSGID: "),
        "{read}"
    );
    assert_eq!(read.matches("BODY: ").count(), 2, "{read}");
    let from = rig.data("consumeMessage -t T -b broker-a -i 0 -o 2").await;
    assert_eq!(from.as_array().unwrap().len(), 1);
    for (line, says) in [
        (
            "consumeMessage -t T -i 0",
            "Please set the brokerName before queueId!",
        ),
        ("consumeMessage -t T -o 1", "Please set queueId before offset!"),
        (
            "consumeMessage -t T -c 0",
            "Please input a positive messageNumber!",
        ),
    ] {
        let ran = rig.run(line).await;
        assert_eq!((ran.code, ran.out.as_str()), (2, says), "{line}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_large_body_travels_compressed_and_is_shown_as_it_was() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let body = "z".repeat(10_000);
    let id = rig.send("T", 0, &format!("-p {body}")).await;
    let found = rig.data(&format!("queryMsgById -t T -i {id}")).await;
    assert_eq!(found[0]["body"], body.as_str());
    assert_eq!(found[0]["sysFlag"], 0x300);
    let entry = rig.data("queryCq -t T -q 0 -i 0").await;
    assert!(
        entry["queueData"][0]["physicSize"].as_i64().unwrap() < 1000,
        "{entry}"
    );
    rig.stop().await;
}

#[tokio::test]
async fn sends_are_timed_and_traced() {
    let rig = Rig::start().await;
    rig.topic("T", 3).await;
    let timed = rig.done("checkMsgSendRT -t T -a 4 -s 10").await;
    let queues: Vec<&str> = timed
        .lines()
        .skip(1)
        .take(4)
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(queues, ["0", "1", "2", "0"], "{timed}");
    assert!(timed.lines().last().unwrap().starts_with("Avg RT: "), "{timed}");
    let sent = rig.done("sendMsgStatus -b T -c 2").await;
    assert_eq!(
        sent.matches("SendResult [sendStatus=SEND_OK, ").count(),
        2,
        "{sent}"
    );
    let id = rig.send("T", 0, "-p traced -k k -m true").await;
    let trace = rig.done(&format!("queryMsgTraceById -i {id}")).await;
    assert!(
        trace.starts_with("#Type      #ProducerGroup       #ClientHost  "),
        "{trace}"
    );
    assert!(trace.contains(" success   \n"), "{trace}");
    let ran = rig.run("sendMessage -t T -p x -i 1").await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (2, "Broker name must be set if the queue is chosen!")
    );
    rig.stop().await;
}

#[tokio::test]
async fn the_records_of_a_file_are_shown_up_to_its_free_room() {
    let rig = Rig::start().await;
    rig.topic("T", 1).await;
    let id = rig.send("T", 0, "-p hello -k k").await;
    let dir = rig.cluster.stop().await.unwrap();
    let log = dir.path().join("store/commitlog/00000000000000000000");
    let other = Rig::start().await;
    let shown = other
        .done(&format!("dumpCompactionLog -f {}", log.display()))
        .await;
    let first = shown.lines().next().unwrap();
    assert!(first.contains(&format!("UNIQ_KEY={id}")), "{first}");
    assert!(first.contains("body=null, "), "{first}");
    let ran = other.run("dumpCompactionLog").await;
    assert_eq!((ran.code, ran.out.as_str()), (2, "miss dump log file name\n"));
    other.stop().await;
}
