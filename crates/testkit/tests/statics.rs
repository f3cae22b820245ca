// SPDX-License-Identifier: Apache-2.0
//! Static topics: logical queues that move from one broker to another, over real sockets.
#![expect(
    clippy::disallowed_methods,
    reason = "a crash is played by putting a file back, with no server running"
)]

use std::path::Path;
use std::time::Duration;

use net::Channel;
use testkit::cluster::{Names, Node, until};
use testkit::line::request;
use wire::api::pull::PullReply;
use wire::body::topic_route::{TopicQueueMappingTable, TopicRoute};
use wire::code::Code;
use wire::fastjson;
use wire::frame::Frame;
use wire::record::Record;

const SOON: Duration = Duration::from_secs(30);
const LATER: &str = "9999999999999";

type Result<T = ()> = anyhow::Result<T>;

struct Client(Channel);

impl Client {
    async fn of(node: &Node) -> Result<Client> {
        Ok(Client(Channel::connect(node.addr, SOON).await?))
    }

    async fn ask(&self, code: Code, fields: &[(&str, &str)], body: &str) -> Result<Frame> {
        Ok(self.0.call(request(code, fields, body.as_bytes()), SOON).await?)
    }

    /// Makes the topic with these logical queues.
    async fn map(&self, bname: &str, epoch: i64, hosted: &str, force: &str) -> Result<(i32, String)> {
        let fields = [
            ("topic", "S"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "2"),
            ("writeQueueNums", "2"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
            ("force", force),
        ];
        let body = format!(
            r#"{{"bname":"{bname}","epoch":{epoch},"hostedQueues":{{{hosted}}},"scope":"__global__","topic":"S","totalQueues":1}}"#
        );
        let reply = self
            .ask(Code::UPDATE_AND_CREATE_STATIC_TOPIC, &fields, &body)
            .await?;
        Ok((reply.code, reply.remark.unwrap_or_default().to_string()))
    }

    /// Code, queue and offset of the answer.
    async fn send(&self, queue: &str, body: &str) -> Result<(i32, String, String)> {
        self.send_to(queue, body, &[]).await
    }

    async fn send_to(&self, queue: &str, body: &str, more: &[(&str, &str)]) -> Result<(i32, String, String)> {
        let fields = [
            ("a", "PG"),
            ("b", "S"),
            ("c", "TBW102"),
            ("d", "1"),
            ("e", queue),
            ("f", "0"),
            ("g", "1"),
            ("h", "0"),
        ];
        let fields = [&fields[..], more].concat();
        let reply = self.ask(Code::SEND_MESSAGE_V2, &fields, body).await?;
        let field = |name| reply.ext.get(name).unwrap_or_default().to_string();
        Ok((reply.code, field("queueId"), field("queueOffset")))
    }

    /// Code, where to go on, what to add to the offsets of messages, and their bodies.
    async fn pull(&self, offset: i64) -> Result<(i32, i64, i64, Vec<String>)> {
        let offset = offset.to_string();
        let fields = [
            ("consumerGroup", "G"),
            ("topic", "S"),
            ("queueId", "0"),
            ("queueOffset", &offset),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "1"),
            ("lo", "true"),
        ];
        let reply = self.ask(Code::PULL_MESSAGE, &fields, "").await?;
        let header: PullReply = reply.ext.read()?;
        let records = Record::decode_all(&reply.body);
        let bodies = records.map(|record| Ok(String::from_utf8(record?.body.to_vec())?));
        let delta = header.offset_delta.unwrap_or(-1);
        Ok((
            reply.code,
            header.next_begin_offset,
            delta,
            bodies.collect::<Result<_>>()?,
        ))
    }

    /// The offset of an answer, or its code below 0.
    async fn offset(&self, code: Code, fields: &[(&str, &str)]) -> Result<i64> {
        let queue = [("topic", "S"), ("queueId", "0"), ("consumerGroup", "G")];
        let fields: Vec<_> = queue.iter().chain(fields).copied().collect();
        let reply = self.ask(code, &fields, "").await?;
        let offset = reply.ext.get("offset").or(reply.ext.get("timestamp"));
        match offset.and_then(|offset| offset.parse().ok()) {
            Some(offset) if reply.code == 0 => Ok(offset),
            _ => Ok(-i64::from(reply.code)),
        }
    }

    async fn commit(&self, offset: &str) -> Result<i64> {
        self.offset(Code::UPDATE_CONSUMER_OFFSET, &[("commitOffset", offset)])
            .await
    }

    async fn committed(&self) -> Result<i64> {
        self.offset(Code::QUERY_CONSUMER_OFFSET, &[("setZeroIfNotFound", "false")])
            .await
    }
}

fn item(generation: i32, bname: &str, (start, end, logical): (i64, i64, i64)) -> String {
    format!(
        r#"{{"bname":"{bname}","endOffset":{end},"gen":{generation},"logicOffset":{logical},"queueId":1,"startOffset":{start},"timeOfEnd":-1,"timeOfStart":-1}}"#
    )
}

async fn node(names: &Names, dir: &Path, name: &str) -> Result<Node> {
    Node::start(names, &dir.join(name), &[("brokerName", name)]).await
}

/// Two brokers and a name server, and clients of the brokers.
struct Pair {
    names: Names,
    dir: tempfile::TempDir,
    first: Node,
    second: Node,
    a: Client,
    b: Client,
}

impl Pair {
    /// With a topic whose one logical queue begins on the first broker.
    async fn start() -> Result<Pair> {
        let (names, dir) = (Names::start().await?, tempfile::tempdir()?);
        let first = node(&names, dir.path(), "first").await?;
        let second = node(&names, dir.path(), "second").await?;
        let (a, b) = (Client::of(&first).await?, Client::of(&second).await?);
        let begun = format!("0:[{}]", item(0, "first", (0, -1, 0)));
        assert_eq!(a.map("first", 1, &begun, "false").await?.0, 0);
        assert_eq!(b.map("second", 1, "", "false").await?.0, 0);
        Ok(Pair {
            names,
            dir,
            first,
            second,
            a,
            b,
        })
    }

    /// With four messages there, and two on the second broker, to which it has gone on.
    async fn moved() -> Result<Pair> {
        let pair = Pair::start().await?;
        let Pair { a, b, .. } = &pair;
        for n in 0..4 {
            assert_eq!(a.send("0", &format!("a{n}")).await?.0, 0);
        }
        a.pull(0).await?;
        assert_eq!(a.commit("1").await?, 0);
        let stretches = [item(0, "first", (0, 4, 0)), item(1, "second", (0, -1, 1000))];
        let moved = format!("0:[{}]", stretches.join(","));
        for (client, name) in [(a, "first"), (b, "second")] {
            let (code, remark) = client.map(name, 2, &moved, "false").await?;
            assert_eq!(code, 0, "{remark}");
        }
        for n in 0..2 {
            let sent = b.send("0", &format!("b{n}")).await?;
            assert_eq!(sent, (0, "0".to_owned(), (1000 + n).to_string()));
        }
        Ok(pair)
    }

    async fn stop(self) -> Result {
        drop((self.a, self.b));
        self.first.stop().await?;
        self.second.stop().await?;
        self.names.stop().await
    }
}

fn bodies(bodies: &[&str]) -> Vec<String> {
    bodies.iter().map(|&body| body.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_a_logical_queue_takes_its_messages_and_tells_its_offsets() -> Result {
    let pair = Pair::start().await?;
    let Pair { a, b, .. } = &pair;
    for n in 0..3 {
        let sent = a.send("0", &format!("a{n}")).await?;
        assert_eq!(
            sent,
            (0, "0".to_owned(), n.to_string()),
            "the logical queue, not queue 1"
        );
    }
    assert_eq!(a.send("-1", "a3").await?.2, "3", "the broker chooses");
    assert_eq!(b.send("0", "x").await?.0, 501);
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logical_queue_goes_on_on_another_broker_and_its_readers_notice_nothing() -> Result {
    let pair = Pair::moved().await?;
    let Pair { a, b, .. } = &pair;
    assert_eq!(a.send("0", "x").await?.0, 501);
    let all = bodies(&["a0", "a1", "a2", "a3"]);
    assert_eq!(b.pull(0).await?, (0, 4, 0, all), "from the first broker");
    assert_eq!(b.pull(2).await?, (0, 4, 0, bodies(&["a2", "a3"])));
    assert_eq!(
        b.pull(4).await?,
        (20, 1000, 1000, bodies(&[])),
        "goes on behind the gap"
    );
    assert_eq!(b.pull(1000).await?, (0, 1002, 1000, bodies(&["b0", "b1"])));
    assert_eq!(b.pull(1002).await?.0, 19);
    assert_eq!(
        a.pull(0).await.map(|pulled| pulled.0).ok(),
        None,
        "it is not here any more"
    );
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_logical_queue_are_found_and_kept_where_its_stretches_are() -> Result {
    let pair = Pair::moved().await?;
    let Pair { a, b, .. } = &pair;
    assert_eq!(
        a.offset(Code::GET_MAX_OFFSET, &[]).await?,
        -501,
        "it is not here any more"
    );
    assert_eq!(b.offset(Code::GET_MIN_OFFSET, &[]).await?, 0);
    assert_eq!(b.offset(Code::GET_MAX_OFFSET, &[]).await?, 1002);
    assert!(b.offset(Code::GET_EARLIEST_MSG_STORETIME, &[]).await? > 1_700_000_000_000);
    let search = Code::SEARCH_OFFSET_BY_TIMESTAMP;
    assert_eq!(b.offset(search, &[("timestamp", "0")]).await?, 0);
    assert_eq!(b.offset(search, &[("timestamp", LATER)]).await?, 1002);
    assert_eq!(b.committed().await?, 1, "as the first broker knows it");
    assert_eq!(b.commit("3").await?, 0);
    assert_eq!(b.committed().await?, 3);
    b.pull(1000).await?;
    assert_eq!(b.commit("1001").await?, 0);
    assert_eq!(b.committed().await?, 1001);
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_know_who_writes_a_logical_queue_and_a_broker_does_after_a_restart() -> Result {
    let Pair {
        names,
        dir,
        first,
        second,
        a,
        b,
    } = Pair::moved().await?;
    let route = request(Code::GET_ROUTEINFO_BY_TOPIC, &[("topic", "S")], b"");
    let questions = Channel::connect(names.addr, SOON).await?;
    let route = questions.call(route, SOON).await?;
    let route: TopicRoute = fastjson::from_slice(&route.body)?;
    let by_broker = route.topic_queue_mapping_by_broker.unwrap_or_default();
    let written = |name: &str| {
        by_broker
            .get(name)
            .and_then(|mapping| mapping.curr_id_map.clone())
    };
    assert_eq!(written("second").unwrap_or_default(), [(0, 1)].into());
    assert_eq!(written("first").unwrap_or_default(), [].into());
    drop(b);
    second.stop().await?;
    let second = node(&names, dir.path(), "second").await?;
    let b = Client::of(&second).await?;
    until("the second broker can ask the first one", async || {
        Ok(b.pull(3).await.is_ok_and(|pulled| pulled.0 == 0))
    })
    .await?;
    assert_eq!(b.pull(3).await?.3, bodies(&["a3"]));
    let pair = Pair {
        names,
        dir,
        first,
        second,
        a,
        b,
    };
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_elsewhere_is_read_while_name_servers_are_away() -> Result {
    let pair = Pair::moved().await?;
    assert_eq!(pair.b.pull(3).await?.3, bodies(&["a3"]));
    let Pair {
        names,
        first,
        second,
        a,
        b,
        dir,
    } = pair;
    names.stop().await?;
    assert_eq!(b.pull(2).await?.3, bodies(&["a2", "a3"]));
    drop((a, b));
    first.stop().await?;
    second.stop().await?;
    drop(dir);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_behind_the_end_of_a_stretch_is_not_of_the_logical_queue() -> Result {
    let pair = Pair::moved().await?;
    let Pair { a, b, .. } = &pair;
    // Somebody writes to the queue itself.
    let (code, _, offset) = a.send_to("1", "stranger", &[("lo", "false")]).await?;
    assert_eq!((code, offset.as_str()), (0, "4"));
    assert_eq!(b.pull(2).await?, (0, 4, 0, bodies(&["a2", "a3"])));
    assert_eq!(b.pull(4).await?, (20, 1000, 1000, bodies(&[])));
    pair.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn mappings_that_contradict_what_is_known_are_refused_and_a_topic_goes_with_its_mapping() -> Result {
    let (names, dir) = (Names::start().await?, tempfile::tempdir()?);
    let node = node(&names, dir.path(), "first").await?;
    let client = Client::of(&node).await?;
    let begun = format!("0:[{}]", item(0, "first", (0, -1, 0)));
    assert_eq!(client.map("first", 2, &begun, "false").await?.0, 0);
    for (name, epoch, hosted, words) in [
        ("other", 3, begun.as_str(), "and this is"),
        ("first", 1, begun.as_str(), "small epoch 1 < 2"),
        (
            "first",
            2,
            &format!("0:[{}]", item(1, "first", (0, -1, 0))),
            "leader is different",
        ),
        ("first", 2, "", "equal epoch with null data"),
        (
            "first",
            3,
            &format!("0:[{}]", item(0, "first", (-5, -1, 0))),
            "negative",
        ),
        (
            "first",
            3,
            &format!("0:[{}]", item(0, "first", (7, -1, 0))),
            "cannot change",
        ),
    ] {
        let (code, remark) = client.map(name, epoch, hosted, "false").await?;
        assert!(code == 1 && remark.contains(words), "{code} {remark}");
    }
    let forced = format!("0:[{}]", item(0, "first", (7, -1, 0)));
    assert_eq!(client.map("first", 1, &forced, "true").await?.0, 0);
    let long = [("topic", "S"), ("lo", "true")];
    let shown = client.ask(Code::GET_TOPIC_CONFIG, &long, "").await?;
    let shown = String::from_utf8(shown.body.to_vec())?;
    assert!(shown.contains(r#""mappingDetail":{"bname":"first""#), "{shown}");
    let all = client.ask(Code::GET_ALL_TOPIC_CONFIG, &[], "").await?;
    assert!(String::from_utf8(all.body.to_vec())?.contains(r#""topicQueueMappingDetailMap":{"S":{"#));
    let file = dir.path().join("first/store/config/topicQueueMapping.json");
    let kept = || -> Result<TopicQueueMappingTable> {
        let text = std::fs::read_to_string(&file)?;
        Ok(fastjson::from_str(&text)?)
    };
    assert_eq!(kept()?.topic_queue_mapping_info_map.len(), 1);
    let before = std::fs::read(&file)?;

    let deleted = client
        .ask(Code::DELETE_TOPIC_IN_BROKER, &[("topic", "S")], "")
        .await?;
    assert_eq!(deleted.code, 0, "{:?}", deleted.remark);
    assert!(kept()?.topic_queue_mapping_info_map.is_empty());
    drop(client);
    node.stop().await?;

    // As after a crash between the two.
    std::fs::write(&file, before)?;
    let node = self::node(&names, dir.path(), "first").await?;
    assert!(kept()?.topic_queue_mapping_info_map.is_empty());
    node.stop().await?;
    names.stop().await
}
