// SPDX-License-Identifier: Apache-2.0
//! Static topics over two brokers on real sockets: made, grown, moved, and carried on from map files.
#![expect(clippy::disallowed_methods, reason = "map files are real files")]
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

#[path = "clients/printed.rs"]
mod printed;

use admin::Called;
use printed::Ran;
use serde_json::Value;
use testkit::cluster::{Names, Node};

/// Two brokers in one cluster.
struct Pair {
    names: Names,
    first: Node,
    second: Node,
    dir: tempfile::TempDir,
}

impl Pair {
    async fn start() -> Pair {
        let (names, dir) = (Names::start().await.unwrap(), tempfile::tempdir().unwrap());
        let node = async |name| {
            let home = dir.path().join(name);
            Node::start(&names, &home, &[("brokerName", name)]).await.unwrap()
        };
        let (first, second) = (node("first").await, node("second").await);
        Pair {
            names,
            first,
            second,
            dir,
        }
    }

    async fn run(&self, line: &str) -> Ran {
        let line = format!("{line} -n {}", self.names.addr);
        printed::run(Called::Mqadmin, &line, None).await
    }

    /// Runs one that succeeds, and returns what it printed.
    async fn done(&self, line: &str) -> String {
        let ran = self.run(line).await;
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
        ran.out
    }

    /// Runs one that changes a topic, and returns what the brokers have then and the text of its map file.
    async fn change(&self, line: &str) -> (Vec<Value>, String) {
        let json = self.done(&format!("{line} --output json")).await;
        let rows: Vec<Value> = serde_json::from_str(&json).unwrap();
        let take = |name: &str| {
            let path = rows[0][name].as_str().unwrap();
            let text = std::fs::read_to_string(path).unwrap();
            std::fs::remove_file(path).unwrap();
            text
        };
        take("before");
        let after = take("after");
        (rows, after)
    }

    /// Keeps the text of a map file, and returns its name.
    fn keep(&self, text: &str) -> String {
        let path = self.dir.path().join("map");
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Fails, and says this.
    async fn fails(&self, line: &str, code: u8, words: &str) {
        let ran = self.run(line).await;
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{line}: {}", ran.err);
        assert!(ran.err.contains(words), "{line}: {}", ran.err);
    }

    /// First and last offset of a logical queue.
    async fn ends(&self, topic: &str, queue: i64) -> (i64, i64) {
        let json = self.done(&format!("topicStatus -t {topic} -o json")).await;
        let status: Value = serde_json::from_str(&json).unwrap();
        let mut queues = status["queues"].as_array().unwrap().iter();
        let found = queues.find(|row| row["broker"] == "__syslo__global__" && row["queue"] == queue);
        let found = found.unwrap_or_else(|| panic!("{json}"));
        let offset = |name: &str| found[name].as_i64().unwrap();
        (offset("minOffset"), offset("maxOffset"))
    }

    async fn send(&self, topic: &str, broker: &str, queue: i64) -> Ran {
        self.run(&format!("sendMessage -t {topic} -b {broker} -i {queue} -p body"))
            .await
    }

    async fn stop(self) {
        self.first.stop().await.unwrap();
        self.second.stop().await.unwrap();
        self.names.stop().await.unwrap();
    }
}

/// How many logical queues each broker writes.
fn written(rows: &[Value]) -> Vec<(&str, usize)> {
    let mut written: Vec<(&str, usize)> = rows
        .iter()
        .map(|row| {
            let queues = row["writtenHere"].as_array().unwrap();
            (row["broker"].as_str().unwrap(), queues.len())
        })
        .collect();
    written.sort_unstable();
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_topic_is_made_and_grows() {
    let pair = Pair::start().await;
    let (rows, _) = pair
        .change("updateStaticTopic -c DefaultCluster -t S -qn 4")
        .await;
    assert_eq!(written(&rows), [("first", 2), ("second", 2)]);
    let (rows, _) = pair.change("updateStaticTopic -b first -t S -qn 7").await;
    assert_eq!(written(&rows).iter().map(|(_, count)| count).sum::<usize>(), 7);
    assert!(
        rows.iter()
            .all(|row| row["totalQueues"] == 7 && row["epoch"] == rows[0]["epoch"])
    );
    // A broker without queues hears of the topic, too.
    let (rows, _) = pair.change("updateStaticTopic -b second -t One -qn 1").await;
    assert_eq!(written(&rows), [("first", 0), ("second", 1)]);

    pair.fails("updateStaticTopic -b first -t S -qn 7", 1, "nothing to do")
        .await;
    pair.fails("updateStaticTopic -b first -t S -qn 3", 1, "more than 7")
        .await;
    pair.fails(
        "updateStaticTopic -b nosuch -t S -qn 8",
        1,
        "knows: first, second",
    )
    .await;
    pair.fails(
        "updateStaticTopic -c nosuch -t S -qn 8",
        1,
        "knows: DefaultCluster",
    )
    .await;
    pair.fails("updateStaticTopic -b , -t S -qn 8", 2, "no broker is named")
        .await;
    pair.fails("updateStaticTopic -b first -t S -qn 0", 2, "1 to 65536")
        .await;
    pair.fails(
        "updateStaticTopic -b first -t ../S -qn 8",
        2,
        "cannot be the name",
    )
    .await;
    pair.fails(
        "remappingStaticTopic -b first -t None",
        1,
        "updateStaticTopic makes",
    )
    .await;
    pair.done(&format!("updateTopic -b {} -t Plain", pair.first.addr))
        .await;
    pair.fails("updateStaticTopic -b first -t Plain -qn 8", 1, "not a static one")
        .await;
    pair.fails("remappingStaticTopic -b first -t Plain", 1, "not a static one")
        .await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_told_as_the_reference_tells_it() {
    let pair = Pair::start().await;
    let files = |out: &str, words: [&str; 2]| {
        let lines: Vec<&str> = out.lines().collect();
        let paths = lines.iter().zip(words).map(|(line, word)| {
            let start = format!("The {word} mapping data is written to file ");
            line.strip_prefix(&start).unwrap_or_else(|| panic!("{out}"))
        });
        let paths: Vec<&str> = paths.collect();
        assert!(
            paths[0].ends_with(".before") && paths[1].ends_with(".after"),
            "{out}"
        );
        assert_eq!(lines.len(), 2);
        paths.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    };
    let out = pair.done("updateStaticTopic -b first -t Told -qn 1").await;
    files(&out, ["old", "new"]);
    let out = pair.done("remappingStaticTopic -b second -t Told").await;
    files(&out, ["old", "old"]);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_move_with_their_messages_and_back() {
    let pair = Pair::start().await;
    pair.change("updateStaticTopic -b first -t M -qn 2").await;
    for _ in 0..3 {
        assert_eq!(pair.send("M", "first", 1).await.code, 0);
    }
    let (rows, _) = pair.change("remappingStaticTopic -b second -t M").await;
    assert_eq!(written(&rows), [("first", 0), ("second", 2)]);
    assert_ne!(
        pair.send("M", "first", 1).await.code,
        0,
        "it is written to elsewhere"
    );
    assert_eq!(pair.send("M", "second", 1).await.code, 0);
    assert_eq!(pair.ends("M", 1).await, (0, 10_001));
    assert_eq!(pair.ends("M", 0).await, (0, 10_000));

    let (rows, _) = pair.change("remappingStaticTopic -b first -t M").await;
    assert_eq!(written(&rows), [("first", 2), ("second", 0)]);
    assert_eq!(pair.send("M", "first", 1).await.code, 0);
    assert_eq!(pair.ends("M", 1).await, (0, 20_001));
    // Where they are already, nothing moves.
    let (rows, _) = pair.change("remappingStaticTopic -c DefaultCluster -t M").await;
    assert_eq!(written(&rows), [("first", 1), ("second", 1)]);
    let (rows, _) = pair.change("remappingStaticTopic -c DefaultCluster -t M").await;
    assert_eq!(written(&rows), [("first", 1), ("second", 1)]);
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_on_from_its_map_file() {
    let pair = Pair::start().await;
    let (_, made) = pair.change("updateStaticTopic -b first -t F -qn 2").await;
    let made = pair.keep(&made);
    // Brokers take what they have.
    pair.done(&format!("updateStaticTopic -b first -t F -qn 2 -mf {made}"))
        .await;
    pair.fails(
        &format!("updateStaticTopic -b first -t F -qn 3 -mf {made}"),
        2,
        "has 2 queues",
    )
    .await;
    pair.fails(
        &format!("updateStaticTopic -b first -t G -qn 2 -mf {made}"),
        2,
        "not 'G'",
    )
    .await;
    pair.send("F", "first", 0).await;
    let (_, moved) = pair.change("remappingStaticTopic -b second -t F").await;
    pair.fails(
        &format!("updateStaticTopic -b first -t F -qn 2 -mf {made}"),
        1,
        "small epoch",
    )
    .await;
    assert_eq!(pair.send("F", "second", 0).await.code, 0);
    // What the first run has decided holds, whatever came after it.
    let moved = pair.keep(&moved);
    pair.fails(
        &format!("updateStaticTopic -b first -t F -qn 2 -mf {moved}"),
        2,
        "remappingStaticTopic",
    )
    .await;
    pair.done(&format!("remappingStaticTopic -b second -t F -mf {moved}"))
        .await;
    assert_eq!(pair.ends("F", 0).await, (0, 10_001));
    pair.fails(
        "remappingStaticTopic -b second -t F -mf /nosuch/map",
        2,
        "cannot be read",
    )
    .await;
    let broken = pair.keep("{");
    pair.fails(
        &format!("remappingStaticTopic -b second -t F -mf {broken}"),
        2,
        "cannot be carried out",
    )
    .await;
    pair.stop().await;
}
