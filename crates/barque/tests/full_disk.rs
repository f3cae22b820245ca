// SPDX-License-Identifier: Apache-2.0
//! The built program on a small file system that is really full: what is refused, how soon and with which words, what goes on
//! meanwhile, and that nothing which was acknowledged is lost and nothing which was refused appears.
//!
//! The file system is a tmpfs in a mount namespace of its own, which only root, or whoever may make user namespaces, can have.
//! Where that is not allowed, as in most containers of build servers, the test says so and does nothing; what a store does on
//! such a disk is tested with a simulated one in `store/tests/basics.rs` wherever tests run.
#![expect(clippy::disallowed_methods, reason = "a real process lives in real time")]
#![expect(clippy::print_stdout, reason = "figures, and the word that a test is skipped")]

use std::io::{BufRead, BufReader, Lines, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use net::Channel;
use tempfile::TempDir;
use wire::api::config::{GetBrokerConfig, GetBrokerRuntimeInfo};
use wire::api::offset::{OffsetReply, QueryConsumerOffset, UpdateConsumerOffset};
use wire::api::pull::{PullMessage, PullReply};
use wire::api::send::SendMessageV2;
use wire::api::topic::{DeleteTopicInBroker, UpdateAndCreateTopic};
use wire::code::{Request, ResponseCode};
use wire::frame::Frame;
use wire::record::Record;

/// No answer takes that long.
const SOON: Duration = Duration::from_secs(20);
/// A send is refused within that.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Everything else is answered within that, also by a build without optimizations beside other tests.
const QUICKLY: Duration = Duration::from_secs(5);
/// Messages are taken again so soon after there is room.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const BODY: usize = 64 * 1024;

/// Mounts a small file system, puts something large on it, and does what it is told: start the program, stop or kill it, fill
/// the rest of the file system, free what was put there.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o size=64m barque "$1"
ballast() { head -c "$1" /dev/zero > "$2/ballast"; }
ballast 25165824 "$1"
broker=
trap '[ -z "$broker" ] || kill -9 $broker' EXIT
echo ready
while read -r word; do
    case $word in
    start)
        "$2" dev --data "$1/d" --nameserver-port 0 --broker-port "$3" --log stderr \
            --set mappedFileSizeCommitLog=4194304 --set mappedFileSizeConsumeQueue=20000 --set maxHashSlotNum=1000 \
            --set maxIndexNum=4000 --set cleanFileForciblyEnable=false --set maxTransferBytesOnMessageInMemory=4194304 \
            --set maxTransferBytesOnMessageInDisk=4194304 --set maxTransferCountOnMessageInDisk=32 \
            --set flushDiskType="$5" \
            > /dev/null 2>> "$4" & broker=$! ;;
    stop) kill $broker; wait $broker; broker= ;;
    kill) kill -9 $broker; wait $broker || true; broker= ;;
    fill) head -c 100000000 /dev/zero >> "$1/ballast" 2> /dev/null || true ;;
    free) rm "$1/ballast" ;;
    ballast) ballast 25165824 "$1" ;;
    esac
    echo done
done
"#;

/// A broker on a small file system. It ends with the test.
struct Small {
    script: Child,
    orders: Option<ChildStdin>,
    told: Lines<BufReader<ChildStdout>>,
    broker: SocketAddr,
    home: TempDir,
}

/// A port that nobody has, with the one two below it and the one above it, which a broker takes too. The system gives none of
/// them to a client: it is started again on the same ones.
fn free_port() -> u16 {
    let begin = std::process::id().wrapping_mul(997);
    (0..5_000)
        .map(|place| 10_002 + (begin.wrapping_add(place) % 5_000 * 4) as u16)
        .find(|port| {
            [port - 2, *port, port + 1].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
                == [true; 3]
        })
        .expect("free ports")
}

impl Small {
    /// `None`: the host does not let us mount anything.
    fn mount(flush: &str) -> Option<Small> {
        let home = TempDir::new().expect("a directory");
        let (dir, port) = (home.path().join("small"), free_port());
        std::fs::create_dir(&dir).expect("a directory");
        // Whoever is root needs no namespace of users, and may be where those are forbidden.
        ["-m", "-rm"]
            .into_iter()
            .find_map(|how| {
                let mut script = Command::new("unshare")
                    .args([how, "sh", "-c", SCRIPT, "sh"])
                    .arg(&dir)
                    .arg(env!("CARGO_BIN_EXE_barque"))
                    .arg(port.to_string())
                    .arg(home.path().join("log"))
                    .arg(flush)
                    .env("HOME", home.path())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()?;
                let mut told = BufReader::new(script.stdout.take()?).lines();
                if told.next().and_then(Result::ok).as_deref() != Some("ready") {
                    drop(script.wait());
                    return None;
                }
                Some((script, told))
            })
            .map(|(mut script, told)| Small {
                orders: script.stdin.take(),
                script,
                told,
                broker: (Ipv4Addr::LOCALHOST, port).into(),
                home,
            })
    }

    fn order(&mut self, word: &str) {
        let orders = self.orders.as_mut().expect("the script runs");
        writeln!(orders, "{word}").expect("the script reads");
        let told = self.told.next().expect("an answer").expect("a line");
        assert_eq!(told, "done", "{word}: {}", self.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    async fn start(&mut self) -> Channel {
        self.order("start");
        let begin = Instant::now();
        loop {
            if let Ok(channel) = Channel::connect(self.broker, SOON).await {
                return channel;
            }
            assert!(begin.elapsed() < SOON, "does not start: {}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It ends when nobody tells it anything any more, and takes the broker with it.
        drop(self.orders.take());
        drop(self.script.wait());
    }
}

/// Asks, and sees to it that the answer does not take long, and a refusal comes at once.
async fn ask<R: Request>(client: &Channel, header: &R, body: Vec<u8>) -> Frame {
    let (begin, frame) = (Instant::now(), Frame::request(0, header).with_body(body));
    let reply = client.call(frame, SOON).await.expect("an answer");
    let is_refused = reply.code == ResponseCode::SERVICE_NOT_AVAILABLE.0;
    assert!(
        begin.elapsed() < if is_refused { AT_ONCE } else { QUICKLY },
        "{:?} took {:?}",
        R::CODE,
        begin.elapsed()
    );
    reply
}

/// Messages that were sent, by what became of them.
#[derive(Default)]
struct Sent {
    next: u32,
    stored: Vec<u32>,
}

impl Sent {
    /// Sends one more; what it was told if it was refused.
    async fn one(&mut self, client: &Channel, topic: &str) -> Result<(), (ResponseCode, String)> {
        let header = SendMessageV2 {
            producer_group: "PG".into(),
            topic: topic.into(),
            default_topic: "TBW102".into(),
            default_topic_queue_nums: 1,
            queue_id: 0,
            ..SendMessageV2::default()
        };
        let number = self.next;
        self.next += 1;
        let mut body = number.to_be_bytes().to_vec();
        body.resize(BODY, b'x');
        let reply = ask(client, &header, body).await;
        if reply.code == 0 {
            self.stored.push(number);
            return Ok(());
        }
        let remark = reply.remark.unwrap_or_default();
        Err((ResponseCode(reply.code), remark.to_string()))
    }

    /// Sends until one is refused, which must say how much room is missing; and some more.
    async fn until_full(&mut self, client: &Channel) {
        let refused = loop {
            if let Err(refused) = self.one(client, "T").await {
                break refused;
            }
            assert!(self.stored.len() < 2000, "the disk never gets full");
        };
        assert_is_full(refused);
        for _ in 0..20 {
            assert_is_full(self.one(client, "T").await.expect_err("the disk is full"));
        }
    }

    /// Sends until one is taken, which has to be soon.
    async fn until_taken(&mut self, client: &Channel) {
        let begin = Instant::now();
        while let Err(refused) = self.one(client, "T").await {
            assert_is_full(refused);
            assert!(
                begin.elapsed() < BACK_WITHIN,
                "still refused after {:?}",
                begin.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("messages are taken again after {:?}", begin.elapsed());
    }

    /// What can be read is what was acknowledged, in order.
    async fn assert_is_what_is_there(&self, client: &Channel) {
        let (mut found, mut offset) = (Vec::new(), 0);
        loop {
            let pull = PullMessage {
                consumer_group: "G".into(),
                topic: "T".into(),
                queue_id: 0,
                queue_offset: offset,
                max_msg_nums: 32,
                sys_flag: 4,
                subscription: Some("*".into()),
                expression_type: Some("TAG".into()),
                ..PullMessage::default()
            };
            let reply = ask(client, &pull, Vec::new()).await;
            if reply.code != 0 {
                assert_eq!(reply.code, ResponseCode::PULL_NOT_FOUND.0, "{:?}", reply.remark);
                break;
            }
            for record in Record::decode_all(&reply.body) {
                let record = record.expect("a record");
                let number = record.body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                found.push(number.expect("a number"));
            }
            offset = reply.ext.read::<PullReply>().expect("a header").next_begin_offset;
        }
        assert_eq!(found, self.stored);
    }
}

fn assert_is_full((code, remark): (ResponseCode, String)) {
    assert_eq!(code, ResponseCode::SERVICE_NOT_AVAILABLE, "{remark}");
    let missing = remark
        .split_once("the disk is full: ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(missing.is_some_and(|bytes| bytes > 0), "{remark}");
}

fn topic(name: &str) -> UpdateAndCreateTopic {
    UpdateAndCreateTopic {
        topic: name.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: 1,
        write_queue_nums: 1,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        ..UpdateAndCreateTopic::default()
    }
}

/// What is not a send goes on.
async fn assert_the_rest_goes_on(client: &Channel) {
    let commit = UpdateConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        commit_offset: 5,
    };
    assert_eq!(ask(client, &commit, Vec::new()).await.code, 0);
    let committed = QueryConsumerOffset {
        consumer_group: "G".into(),
        topic: "T".into(),
        queue_id: 0,
        set_zero_if_not_found: Some(false),
    };
    let committed: OffsetReply = ask(client, &committed, Vec::new())
        .await
        .ext
        .read()
        .expect("an offset");
    assert_eq!(committed.offset, 5);
    assert_eq!(ask(client, &GetBrokerConfig, Vec::new()).await.code, 0);
    assert_eq!(ask(client, &GetBrokerRuntimeInfo, Vec::new()).await.code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_sends_are_refused_at_once_the_rest_goes_on_and_nothing_is_lost_or_appears() {
    // One after the other: both want the same ports.
    for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
        let Some(small) = Small::mount(flush) else {
            println!("SKIPPED: this host lets nobody here mount a file system (unshare -m, unshare -rm)");
            return;
        };
        fill_and_free(small).await;
    }
}

async fn fill_and_free(mut small: Small) {
    let mut sent = Sent::default();
    let client = small.start().await;
    let made = ask(&client, &topic("T"), Vec::new()).await;
    assert_eq!(made.code, 0, "{:?}", made.remark);
    // A group that is there goes on; a new one could not be saved.
    sent.assert_is_what_is_there(&client).await;
    sent.until_full(&client).await;
    assert!(sent.stored.len() > 100, "{}", sent.stored.len());
    sent.assert_is_what_is_there(&client).await;
    assert_the_rest_goes_on(&client).await;
    // A topic is not made for a message that is refused.
    assert_is_full(sent.one(&client, "New").await.expect_err("the disk is full"));
    let missing = ask(
        &client,
        &DeleteTopicInBroker {
            topic: "Nothing".into(),
        },
        Vec::new(),
    )
    .await;
    println!("deleting a topic: {} {:?}", missing.code, missing.remark);

    small.order("free");
    sent.until_taken(&client).await;
    sent.assert_is_what_is_there(&client).await;

    // Now at one go, in front of the next look at the disk; and the process is killed there.
    small.order("fill");
    sent.until_full(&client).await;
    assert_the_rest_goes_on(&client).await;
    drop(client);
    small.order("kill");
    let client = small.start().await;
    sent.assert_is_what_is_there(&client).await;
    assert_is_full(sent.one(&client, "T").await.expect_err("the disk is full"));
    assert_eq!(ask(&client, &GetBrokerConfig, Vec::new()).await.code, 0);
    small.order("free");
    sent.until_taken(&client).await;
    sent.assert_is_what_is_there(&client).await;
    drop(client);

    // And once more, with room when it starts again.
    let client = Channel::connect(small.broker, SOON).await.expect("it listens");
    small.order("fill");
    sent.until_full(&client).await;
    drop(client);
    small.order("kill");
    small.order("free");
    let client = small.start().await;
    sent.until_taken(&client).await;
    sent.assert_is_what_is_there(&client).await;
}
