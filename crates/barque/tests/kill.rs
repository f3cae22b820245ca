// SPDX-License-Identifier: Apache-2.0
//! The built program, killed: what it promises of the offsets of consumers.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use net::Channel;
use tempfile::TempDir;
use wire::api::group::{DeleteSubscriptiongroup, UpdateAndCreateSubscriptiongroup};
use wire::api::offset::{InvokeBrokerToResetOffset, OffsetReply, QueryConsumerOffset, UpdateConsumerOffset};
use wire::api::send::SendMessageV2;
use wire::api::topic::UpdateAndCreateTopic;
use wire::code::Request;
use wire::frame::Frame;

/// No answer takes that long.
const SOON: Duration = Duration::from_secs(20);
/// What the broker promises: a commit that is older outlives a kill.
const PROMISED: Duration = Duration::from_secs(1);

/// A running `barque dev` that never saves the file of the offsets by itself; killed when the test ends.
struct Program {
    child: Child,
    broker: SocketAddr,
}

impl Program {
    fn start(home: &Path) -> Program {
        let mut child = Command::new(env!("CARGO_BIN_EXE_barque"))
            .args([
                "dev",
                "--nameserver-port",
                "0",
                "--broker-port",
                "0",
                "--data",
                "d",
            ])
            .args(["--set", "flushConsumerOffsetInterval=3600000"])
            .current_dir(home)
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let broker = lines.by_ref().map(|line| line.expect("a line")).find_map(|line| {
            let rest = line.trim_start().strip_prefix("broker")?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Program {
            child,
            broker: broker.expect("dev tells the address of its broker"),
        }
    }

    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("kill starts").success());
        assert!(self.child.wait().expect("the program ends").success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("the program can be killed");
            self.child.wait().expect("the program ends");
        }
    }
}

async fn ask<R: Request>(client: &Channel, header: &R, body: &str) -> Frame {
    let frame = Frame::request(0, header).with_body(body.to_owned());
    client.call(frame, SOON).await.expect("an answer")
}

async fn get<R: Request>(client: &Channel, header: &R, body: &str) {
    let reply = ask(client, header, body).await;
    assert_eq!(reply.code, 0, "{:?}: {:?}", R::CODE, reply.remark);
}

async fn make_group(client: &Channel, name: &str) {
    let body = format!("{{\"groupName\":\"{name}\"}}");
    get(client, &UpdateAndCreateSubscriptiongroup {}, &body).await;
}

/// What can be committed is what there is: a start after a crash takes back what lies beyond the end of a queue.
async fn send(client: &Channel, queue_id: i32) {
    let header = SendMessageV2 {
        producer_group: "PG".into(),
        topic: "T".into(),
        default_topic: "TBW102".into(),
        queue_id,
        ..SendMessageV2::default()
    };
    get(client, &header, "a message").await;
}

async fn commit(client: &Channel, group: &str, queue_id: i32, commit_offset: i64) {
    let header = UpdateConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        commit_offset,
    };
    get(client, &header, "").await;
}

async fn committed(client: &Channel, group: &str, queue_id: i32) -> Option<i64> {
    let header = QueryConsumerOffset {
        consumer_group: group.into(),
        topic: "T".into(),
        queue_id,
        set_zero_if_not_found: Some(false),
    };
    let reply = ask(client, &header, "").await;
    let found: Option<OffsetReply> = (reply.code == 0).then(|| reply.ext.read().expect("a header"));
    found.map(|found| found.offset)
}

async fn connect(program: &Program) -> Channel {
    Channel::connect(program.broker, SOON).await.expect("it listens")
}

/// Two groups whose offsets are in the file.
async fn prepare(home: &Path) {
    let program = Program::start(home);
    let client = connect(&program).await;
    let topic = UpdateAndCreateTopic {
        topic: "T".into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 2,
        write_queue_nums: 2,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..UpdateAndCreateTopic::default()
    };
    get(&client, &topic, "").await;
    for queue in 0..2 {
        for _ in 0..7 {
            send(&client, queue).await;
        }
    }
    for group in ["G", "GONE"] {
        make_group(&client, group).await;
        for queue in 0..2 {
            commit(&client, group, queue, 7).await;
        }
    }
    drop(client);
    program.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_older_than_a_second_survives_a_kill_and_so_do_resets_and_deletions() {
    let home = TempDir::new().expect("a directory");
    prepare(home.path()).await;

    let program = Program::start(home.path());
    let client = connect(&program).await;
    let gone = DeleteSubscriptiongroup {
        group_name: "GONE".into(),
        clean_offset: Some(true),
    };
    get(&client, &gone, "").await;
    make_group(&client, "GONE").await;
    commit(&client, "GONE", 1, 3).await;
    let reset = InvokeBrokerToResetOffset {
        group: "G".into(),
        topic: "T".into(),
        queue_id: Some(1),
        offset: Some(0),
        ..InvokeBrokerToResetOffset::default()
    };
    get(&client, &reset, "").await;
    // Commits all the time, so that the end comes between any two steps of the broker.
    let (begin, mut last, mut promised) = (Instant::now(), 7, 7);
    let mut acknowledged = std::collections::VecDeque::new();
    while begin.elapsed() < PROMISED * 5 / 2 {
        last += 1;
        send(&client, 0).await;
        commit(&client, "G", 0, last).await;
        acknowledged.push_back((Instant::now(), last));
    }
    let killed = Instant::now();
    drop(program);
    while let Some((_, offset)) = acknowledged.pop_front_if(|(at, _)| killed - *at > PROMISED) {
        promised = offset;
    }
    assert!(promised > 7, "{last}");

    let program = Program::start(home.path());
    let client = connect(&program).await;
    let found = committed(&client, "G", 0).await.expect("an offset");
    assert!(
        (promised..=last).contains(&found),
        "{promised} <= {found} <= {last}"
    );
    assert_eq!(committed(&client, "G", 1).await, Some(0), "where it was reset to");
    assert_eq!(committed(&client, "GONE", 0).await, None, "deleted");
    assert_eq!(committed(&client, "GONE", 1).await, Some(3));
    program.terminate();
}
