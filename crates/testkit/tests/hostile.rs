// SPDX-License-Identifier: Apache-2.0
//! Every request of both servers with fields that no client would send: numbers at and beyond every edge, names that are paths.
//! Afterwards the servers answer, nothing lies outside of their folders, and they start again from what they have stored.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use net::Channel;
use testkit::cluster::{Cluster, Names};
use testkit::golden;
use testkit::line::request;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::code::Code;
use wire::ext::Ext;
use wire::frame::Frame;

const WAIT: Duration = Duration::from_secs(30);
/// A request may be held as long as it asks for; none of these waits longer for its answer.
const HELD_AT_MOST: Duration = Duration::from_millis(60);
/// Under way at once.
const AT_ONCE: usize = 256;

/// What stands for a number.
const NUMBERS: [&str; 18] = [
    "-1",
    "0",
    "1",
    "2147483647",
    "-2147483648",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "NaN",
    "Infinity",
    "-0",
    "",
    " 7 ",
    "0x10",
    "true",
];

/// What stands for a name. `MARK` is made the folder that nothing may be written to.
const NAMES: [&str; 24] = [
    "../../../../escaped",
    "..",
    ".",
    "/",
    "MARK/escaped",
    "a/../../escaped",
    "..\\..\\escaped",
    "a\u{0}b",
    "\u{0}",
    "%RETRY%",
    "%RETRY%../../escaped",
    "%RETRY%%RETRY%G",
    "%DLQ%/escaped",
    "%DLQ%",
    "\u{fc}\u{20ac}\u{1d11e}",
    "\u{202e}reversed",
    "a\nb\r\nc",
    "a\u{1}b\u{2}c",
    "{\"a\":[[[[",
    "TBW102",
    "SCHEDULE_TOPIC_XXXX",
    "rmq_sys_wheel_timer",
    "$(touch MARK/escaped)",
    "*",
];

/// Bodies beside those that were captured.
const BODIES: [&[u8]; 7] = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"{\"a\":",
    b"\xff\xfe\x00\x00",
    b"storePathCommitLog=MARK/escaped\nkvConfigPath=MARK/escaped\nmaxMessageSize=-1\n",
];

/// The requests of a server, each as the reference was seen to get it, or with the fields that most have.
fn plausible(codes: impl Iterator<Item = Code>) -> BTreeMap<i32, Vec<Frame>> {
    let mut captured: BTreeMap<i32, Vec<Frame>> = BTreeMap::new();
    for exchange in golden::exchanges().unwrap() {
        captured
            .entry(exchange.request.code)
            .or_default()
            .push(exchange.request);
    }
    let of_most = [
        ("topic", "T"),
        ("consumerGroup", "G"),
        ("group", "G"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("offset", "0"),
        ("timestamp", "0"),
        ("key", "k"),
        ("value", "v"),
        ("maxNum", "10"),
        ("brokerName", "broker-a"),
        ("msgId", "7F0000010000000000000000"),
    ];
    let frames = |code: Code| {
        let seen = captured.get(&code.0).cloned().unwrap_or_default();
        let own = request(code, &of_most, b"{}");
        (code.0, seen.into_iter().take(3).chain([own]).collect())
    };
    codes.map(frames).collect()
}

/// The frame with one field after the other replaced by one value after the other, and with other bodies.
fn spoiled(frame: &Frame, mark: &str) -> Vec<Frame> {
    let fields: Vec<(String, String)> = frame
        .ext
        .iter()
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect();
    let long = "x".repeat(70_000);
    let names = NAMES.iter().map(|name| name.replace("MARK", mark));
    let values: Vec<String> = NUMBERS
        .iter()
        .map(|n| (*n).to_owned())
        .chain(names)
        .chain([long])
        .collect();
    let with = |replaced: &dyn Fn(usize, &str) -> String, body: &[u8]| {
        let pairs = fields.iter().enumerate();
        let ext = pairs.fold(Ext::default(), |ext, (at, (name, value))| {
            ext.with(name, &replaced(at, value))
        });
        Frame {
            ext,
            flag: 0,
            ..frame.clone().with_body(body.to_vec())
        }
    };
    let mut all = Vec::new();
    for which in 0..fields.len() {
        for (n, new) in values.iter().enumerate() {
            let one = |at, old: &str| if at == which { new.clone() } else { old.to_owned() };
            let spoiled = with(&one, &frame.body);
            // Some want no answer.
            all.push(if n % 5 == 4 { spoiled.oneway() } else { spoiled });
        }
    }
    for body in BODIES {
        let body = String::from_utf8_lossy(body).replace("MARK", mark);
        all.push(with(&|_, old: &str| old.to_owned(), body.as_bytes()));
    }
    // The captured body with its texts, and then its numbers, replaced.
    let text = String::from_utf8_lossy(&frame.body).into_owned();
    if text.contains('"') {
        for name in NAMES {
            let name = name
                .replace("MARK", mark)
                .replace(['\n', '\r', '\u{0}', '\u{1}', '\u{2}', '"', '\\'], "_");
            let body = replaced_texts(&text, &name);
            all.push(with(&|_, old: &str| old.to_owned(), body.as_bytes()));
        }
        for number in NUMBERS.iter().filter(|number| !number.is_empty()) {
            let body = replaced_numbers(&text, number);
            all.push(with(&|_, old: &str| old.to_owned(), body.as_bytes()));
        }
    }
    all
}

/// JSON with another text wherever a value is one.
fn replaced_texts(json: &str, with: &str) -> String {
    let mut out = String::new();
    let mut parts = json.split('"');
    out.push_str(parts.next().unwrap_or_default());
    let mut before = out.clone();
    while let Some(text) = parts.next() {
        let is_value = before.trim_end().ends_with(':');
        out.push('"');
        out.push_str(if is_value { with } else { text });
        out.push('"');
        before = parts.next().unwrap_or_default().to_owned();
        out.push_str(&before);
    }
    out
}

/// JSON with another number wherever a value is one.
fn replaced_numbers(json: &str, with: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit() || c == '-') {
        let (before, from) = rest.split_at(at);
        let end = from
            .find(|c: char| !c.is_ascii_digit() && c != '-')
            .unwrap_or(from.len());
        let (number, after) = from.split_at(end);
        out.push_str(before);
        let is_value = before.trim_end().ends_with([':', ',', '[', '{']);
        out.push_str(if is_value { with } else { number });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Sends all of them over one connection after the other, since some end their connection.
async fn send_all(addr: SocketAddr, frames: Vec<Frame>) {
    let mut under_way = tokio::task::JoinSet::new();
    for some in frames.chunks(AT_ONCE) {
        let channel = std::sync::Arc::new(Channel::connect(addr, WAIT).await.unwrap());
        for frame in some {
            let (frame, channel) = (frame.clone(), std::sync::Arc::clone(&channel));
            if frame.is_oneway() {
                // Full or closed: both are answers.
                drop(channel.push(frame));
            } else {
                under_way.spawn(async move { drop(channel.call(frame, HELD_AT_MOST).await) });
            }
        }
        while let Some(done) = under_way.join_next().await {
            done.unwrap();
        }
    }
}

/// A client that asks the same question all the while and always gets the same answer.
fn next_door(addr: SocketAddr, question: Frame, until: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        let channel = Channel::connect(addr, WAIT).await.unwrap();
        while !until.is_cancelled() {
            let reply = channel.call(question.clone(), WAIT).await.unwrap();
            assert_eq!(reply.code, 0, "{:?}", reply.remark);
        }
    })
}

/// What lies below a folder, but not below another.
fn files(below: &Path, but: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![below.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path == but {
                continue;
            }
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path);
        }
    }
    found
}

fn send(topic: &str) -> Frame {
    let fields = [
        ("a", "PG"),
        ("b", topic),
        ("c", "TBW102"),
        ("d", "1"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1"),
        ("h", "0"),
    ];
    request(Code::SEND_MESSAGE_V2, &fields, b"body")
}

async fn ask(addr: SocketAddr, frame: Frame) -> Frame {
    let channel = Channel::connect(addr, WAIT).await.unwrap();
    let reply = channel.call(frame, WAIT).await.unwrap();
    assert_eq!(reply.code, 0, "{:?}", reply.remark);
    reply
}

/// Every request with each of its fields spoiled, and restarts on what that has left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_survives_every_request_with_every_absurd_field_and_starts_again() {
    let outside = tempfile::tempdir().unwrap();
    let deep = outside.path().join("a/b/c");
    std::fs::create_dir_all(&deep).unwrap();
    let own = tempfile::tempdir_in(&deep).unwrap();
    let folder = own.path().to_path_buf();
    let before = files(outside.path(), &folder);
    let here = files(Path::new("."), Path::new("./target"));
    let mark = outside.path().to_str().unwrap().to_owned();

    let cluster = Cluster::start_in(own, &[("topicsMax", "3000"), ("groupsMax", "3000")])
        .await
        .unwrap();
    ask(cluster.broker, send("kept")).await;
    let done = CancellationToken::new();
    let question = request(Code::GET_MAX_OFFSET, &[("topic", "kept"), ("queueId", "0")], b"");
    let neighbour = next_door(cluster.broker, question.clone(), done.clone());
    let codes = broker::ROUTES.iter().map(|(code, _)| *code);
    for (code, frames) in plausible(codes) {
        for frame in frames {
            // The topic and the settings of the test itself are not to be changed in good order.
            let spoiled = spoiled(&frame, &mark);
            send_all(cluster.broker, spoiled).await;
        }
        assert!(
            !neighbour.is_finished(),
            "the client next door has failed after {code}"
        );
    }
    done.cancel();
    neighbour.await.unwrap();
    ask(cluster.broker, send("kept")).await;

    let own = cluster.stop().await.unwrap();
    assert_eq!(files(outside.path(), &folder), before);
    assert_eq!(files(Path::new("."), Path::new("./target")), here);
    let strange = files(&folder, Path::new(""))
        .into_iter()
        .find(|path| path.to_string_lossy().contains("escaped"));
    assert_eq!(strange, None);

    let cluster = Cluster::start_in(own, &[]).await.unwrap();
    ask(cluster.broker, send("kept")).await;
    ask(cluster.broker, send("fresh")).await;
    let end = ask(cluster.broker, question).await.ext.get("offset").unwrap();
    assert_eq!(end, "3");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_survives_every_request_with_every_absurd_field() {
    let outside = tempfile::tempdir().unwrap();
    let mark = outside.path().to_str().unwrap().to_owned();
    let names = Names::start().await.unwrap();
    let done = CancellationToken::new();
    let question = request(Code::GET_BROKER_CLUSTER_INFO, &[], b"");
    let neighbour = next_door(names.addr, question, done.clone());
    let codes = nameserver::routes::ROUTES.iter().map(|(code, _)| *code);
    for (code, frames) in plausible(codes) {
        for frame in frames {
            send_all(names.addr, spoiled(&frame, &mark)).await;
        }
        assert!(
            !neighbour.is_finished(),
            "the client next door has failed after {code}"
        );
    }
    done.cancel();
    neighbour.await.unwrap();
    names.stop().await.unwrap();
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}
