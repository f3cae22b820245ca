// SPDX-License-Identifier: Apache-2.0
//! Where the built program logs to, in which format, and what it says there of administrators.
#![expect(
    clippy::disallowed_methods,
    reason = "the files of a log are read back; a process is waited for in real time"
)]

use bytes::Bytes;
use net::Channel;
use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use wire::api::config::UpdateBrokerConfig;
use wire::api::topic::DeleteTopicInBroker;
use wire::code::Code;
use wire::frame::Frame;

const SECONDS: Duration = Duration::from_secs(10);

/// A running server, killed when the test ends.
struct Server {
    child: Child,
    addr: SocketAddr,
}

impl Server {
    /// Starts a program and takes the address behind `label` from the line of its stdout that has it.
    fn start(program: &Path, home: &Path, args: &[&str], label: &str) -> Server {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(home)
            .env("HOME", home)
            .env_remove("RUST_LOG");
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = spawned.expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut lines = lines.map(|line| line.expect("a line"));
        let line = lines
            .find(|line| line.contains(label))
            .expect("it says where it is");
        let after = line.split(label).nth(1).expect("an address");
        let addr = after.trim().split([' ', ']']).next().expect("an address");
        Server {
            child,
            addr: addr.parse().expect("an address"),
        }
    }

    async fn ask(&self, frame: Frame) -> Frame {
        let channel = Channel::connect(self.addr, SECONDS).await.expect("it listens");
        channel.call(frame, SECONDS).await.expect("it answers")
    }

    fn stop(&mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .expect("kill starts")
                .success()
        );
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("it can be killed");
            self.child.wait().expect("it ends");
        }
    }
}

fn dev(home: &Path, args: &[&str]) -> Server {
    let mut all = vec![
        "dev",
        "--nameserver-port",
        "0",
        "--broker-port",
        "0",
        "--log",
        "files",
    ];
    all.extend_from_slice(args);
    Server::start(Path::new(env!("CARGO_BIN_EXE_barque")), home, &all, "  broker ")
}

fn change(text: &'static str) -> Frame {
    Frame::request(1, &UpdateBrokerConfig).with_body(Bytes::from_static(text.as_bytes()))
}

/// The file once it holds `part`.
fn until(path: &Path, part: &str) -> String {
    let deadline = Instant::now() + SECONDS;
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.contains(part) {
            return text;
        }
        assert!(
            Instant::now() < deadline,
            "{part} is not in {}: {text}",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn link(home: &Path, name: &str) -> PathBuf {
    let link = home.join(name);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_barque"), &link).expect("a link");
    link
}

#[tokio::test]
async fn the_level_changes_while_the_broker_runs_and_a_wrong_one_changes_nothing() {
    let home = TempDir::new().unwrap();
    let server = dev(home.path(), &["--log-dir", "here"]);
    let log = home.path().join("here/broker.log");
    assert_eq!(
        std::fs::read_to_string(&log).unwrap(),
        "",
        "dev starts with warnings only"
    );

    let refused = server.ask(change("logLevel=loud")).await;
    assert_ne!(refused.code, 0);
    let remark = refused.remark.unwrap();
    assert!(
        remark.contains("logLevel") && remark.contains("loud") && remark.contains("debug"),
        "{remark}"
    );

    assert_eq!(server.ask(change("logLevel=info")).await.code, 0);
    until(&log, "the level of the log has changed");
}

#[tokio::test]
async fn what_an_administrator_does_is_in_the_access_log_with_place_and_answer_but_no_secret() {
    let home = TempDir::new().unwrap();
    let server = dev(
        home.path(),
        &[
            "--log-format",
            "json",
            "--log-dir",
            "here",
            "--set",
            "logLevel=info",
        ],
    );
    let delete = DeleteTopicInBroker {
        topic: "TBW102".into(),
    };
    let refused = server.ask(Frame::request(1, &delete)).await;
    assert_ne!(refused.code, 0, "a system topic stays");
    let secret = server.ask(change("haSecret=what nobody else knows")).await;
    assert_ne!(secret.code, 0, "a secret is changed in the file only");

    let path = home.path().join("here/access.log");
    let text = until(&path, "UPDATE_BROKER_CONFIG");
    let line = text
        .lines()
        .find(|line| line.contains("DELETE_TOPIC_IN_BROKER"))
        .unwrap();
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    for part in [
        r#""target":"access""#,
        r#""request":"DELETE_TOPIC_IN_BROKER"#,
        r#""from":"127.0.0.1:"#,
        r#""user":"-""#,
        r#""what":"topic=TBW102""#,
        &format!(r#""result":{}"#, refused.code),
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert!(!text.contains("what nobody else knows"), "{text}");
    let other = std::fs::read_to_string(home.path().join("here/broker.log")).unwrap();
    assert!(!other.contains("DELETE_TOPIC_IN_BROKER"), "{other}");
}

#[tokio::test]
async fn no_line_says_that_a_setting_is_changed_by_a_request_that_changes_nothing() {
    let home = TempDir::new().unwrap();
    let args = [
        "--log",
        "files",
        "--log-dir",
        "here",
        "--set",
        "bindAddress=127.0.0.1",
    ];
    let args = [&args[..], &["--set", "listenPort=0"]].concat();
    let program = Path::new(env!("CARGO_BIN_EXE_barque"));
    let start = |what: &str, more: &[&str], label: &str| {
        Server::start(program, home.path(), &[&[what][..], &args, more].concat(), label)
    };
    let names = start("nameserver", &[], "boot success. serializeType=JSON, address ");
    let broker = start(
        "broker",
        &["--set", "brokerName=a", "--set", "brokerIP1=127.0.0.1"],
        "The broker[a, ",
    );
    let update = |code: Code, text: &'static str| Frame {
        code: code.0,
        ..change(text)
    };
    for (server, log, code, good, bad) in [
        (
            &names,
            "namesrv.log",
            Code::UPDATE_NAMESRV_CONFIG,
            "enableTopicList=false",
            "waitSecondsForService=-1",
        ),
        (
            &broker,
            "broker.log",
            Code::UPDATE_BROKER_CONFIG,
            "traceOn=false",
            "maxMessageSize=0",
        ),
    ] {
        let both: &str = format!("{good}\n{bad}\n").leak();
        assert_ne!(server.ask(update(code, both)).await.code, 0);
        assert_eq!(server.ask(update(code, good)).await.code, 0);
        let text = until(&home.path().join("here").join(log), "settings are changed");
        let lines = text
            .lines()
            .filter(|line| line.contains("a setting is changed by request"));
        assert_eq!(lines.count(), 1, "{text}");
    }
}

#[test]
fn called_by_the_names_of_the_reference_servers_log_and_print_where_its_scripts_look() {
    let home = TempDir::new().unwrap();
    let args = ["--set", "listenPort=0", "--set", "bindAddress=127.0.0.1"];
    let mut names = Server::start(
        &link(home.path(), "mqnamesrv"),
        home.path(),
        &args,
        "The Name Server boot success. serializeType=JSON, address ",
    );
    let mut all = args.to_vec();
    all.extend(["--set", "brokerName=a", "--set", "brokerIP1=127.0.0.1"]);
    let mut broker = Server::start(
        &link(home.path(), "mqbroker"),
        home.path(),
        &all,
        "The broker[a, ",
    );
    let logs = home.path().join("logs/rocketmqlogs");
    until(&logs.join("namesrv.log"), "name server started");
    until(&logs.join("broker.log"), "broker is started");
    names.stop();
    broker.stop();
    let text = std::fs::read_to_string(logs.join("broker.log")).unwrap();
    assert!(
        text.contains("stopping"),
        "the last lines are written before the end: {text}"
    );
}

/// Runs `barque dev` until it is up, stops it, and returns what it printed to stdout and to stderr.
fn printed(args: &[&str]) -> (String, String) {
    let home = TempDir::new().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
    command
        .args(["dev", "--nameserver-port", "0", "--broker-port", "0"])
        .args(args)
        .current_dir(home.path())
        .env("HOME", home.path())
        .env("RUST_LOG", "info");
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.expect("the program starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut told = String::new();
    while !told.contains("  broker ") {
        assert!(stdout.read_line(&mut told).expect("text") > 0, "{told}");
    }
    let asked = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(asked.expect("kill starts").success());
    stdout.read_to_string(&mut told).expect("text");
    let ended = child.wait_with_output().expect("it ends");
    assert!(ended.status.success());
    (told, String::from_utf8(ended.stderr).expect("text"))
}

#[test]
fn lines_go_to_stderr_or_to_stdout_as_text_or_as_json() {
    let (stdout, stderr) = printed(&[]);
    assert!(
        stderr.contains("broker is started") && !stdout.contains("broker is started"),
        "{stderr}"
    );
    let (stdout, stderr) = printed(&["--log", "stdout", "--log-format", "json"]);
    assert_eq!(stderr, "");
    let mut lines = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let started = lines.find(|line| line["message"] == "broker is started");
    let started = started.expect("a line of JSON");
    assert_eq!(
        (&started["level"], &started["broker"]),
        (&"INFO".into(), &"broker-a".into()),
        "{started}"
    );
}
