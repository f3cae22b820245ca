// SPDX-License-Identifier: Apache-2.0
//! `barque bench` as a user meets it, against `barque dev`.
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the files that the program writes, they are not part of it"
)]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

fn barque(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
    command
        .args(args)
        .current_dir(home)
        .env("HOME", home)
        .stdin(Stdio::null());
    for name in ["NAMESRV_ADDR", "ROCKETMQ_HOME", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// `barque dev`, killed when the test ends.
struct Dev {
    child: Child,
    nameserver: String,
}

impl Dev {
    fn start(home: &Path) -> Dev {
        let mut command = barque(home, &["dev", "--nameserver-port", "0", "--broker-port", "0"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let line = lines
            .map(|line| line.expect("a line"))
            .find(|line| line.trim_start().starts_with("name server"));
        let line = line.expect("dev tells where it is");
        let nameserver = line.split_whitespace().last().expect("an address").to_owned();
        Dev { child, nameserver }
    }

    fn bench(&self, home: &Path, args: &[&str]) -> Command {
        let mut command = barque(home, &["bench"]);
        command
            .args(args)
            .args(["-n", &self.nameserver, "--rate", "500", "--size", "100"]);
        command
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.child.kill().expect("the program can be killed");
        self.child.wait().expect("the program ends");
    }
}

fn told(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_result_is_a_table_on_stdout_and_json_where_it_is_wanted_with_a_plain_line_per_interval() {
    let home = TempDir::new().expect("a directory");
    let dev = Dev::start(home.path());
    let args = [
        "e2e",
        "-d",
        "2s",
        "--json",
        "result.json",
        "--interval",
        "1s",
        "--label",
        "one",
    ];
    let output = dev.bench(home.path(), &args).output().expect("it runs");
    let (out, err) = told(&output);
    assert_eq!(output.status.code(), Some(0), "{out}{err}");
    assert!(out.contains("end to end") && out.contains("(one)"), "{out}");
    assert_eq!(err.matches("messages/s").count(), 2, "{err}");
    assert!(!err.contains('\r'), "{err}");
    let json = std::fs::read(home.path().join("result.json")).expect("the result");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["delivery"]["received"], 1000, "{json}");
    assert_eq!((&json["kind"], &json["label"]), (&"e2e".into(), &"one".into()));

    let args = [
        "produce",
        "-d",
        "1s",
        "--json",
        "-",
        "--interval",
        "0",
        "--percentiles",
        "5,50,100",
    ];
    let output = dev.bench(home.path(), &args).output().expect("it runs");
    let (out, err) = told(&output);
    let json: serde_json::Value = serde_json::from_str(&out).expect("nothing but JSON");
    assert_eq!(json["counts"]["ok"], 500);
    let heads = err.lines().find(|line| line.starts_with("times (ms)"));
    let heads: Vec<&str> = heads.expect("a table").split_whitespace().collect();
    assert_eq!(heads[2..6], ["p5", "p50", "p100", "max"], "{err}");
}

#[test]
fn a_file_keeps_the_last_result_until_there_is_another() {
    let home = TempDir::new().expect("a directory");
    let file = home.path().join("result.json");
    let bench = |broker: &str, file: &str| {
        let args = ["bench", "produce", "-d", "1s", "--broker", broker, "--json", file];
        let output = barque(home.path(), &args).output().expect("it runs");
        (output.status.code(), told(&output).1)
    };
    std::fs::write(&file, "the last one").expect("a file");
    std::os::unix::fs::symlink(&file, home.path().join("link.json")).expect("a link");
    let (code, err) = bench("127.0.0.1:1", "result.json");
    assert_eq!(code, Some(1), "{err}");
    assert_eq!(
        std::fs::read_to_string(&file).expect("it is there"),
        "the last one"
    );
    // A place that cannot be written is found before anything is connected.
    for place in ["none/result.json", "."] {
        let (code, err) = bench("127.0.0.1:1", place);
        assert_eq!(code, Some(1), "{err}");
        assert!(
            err.contains(&format!("cannot write the result to {place}")),
            "{err}"
        );
    }

    let dev = Dev::start(home.path());
    let args = ["produce", "-d", "1s", "--json", "link.json"];
    let output = dev.bench(home.path(), &args).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", told(&output).1);
    let text = std::fs::read(&file).expect("the result");
    let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(json["counts"]["ok"], 500, "{json}");
    let names = std::fs::read_dir(home.path()).expect("a directory");
    let left_over = names.filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        name.to_string_lossy().ends_with(".part")
    });
    assert_eq!(left_over.count(), 0);
}

#[test]
fn ctrl_c_ends_a_run_with_its_result_and_exit_code_0() {
    let home = TempDir::new().expect("a directory");
    let dev = Dev::start(home.path());
    let mut command = dev.bench(home.path(), &["produce", "-d", "1h", "--interval", "1s"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped")).lines();
    lines.next().expect("it says how it goes").expect("a line");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
    let output = child.wait_with_output().expect("it ends");
    let (out, _) = told(&output);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(
        out.contains("ended early") && out.contains(" ok, 0 errors"),
        "{out}"
    );
}

#[test]
fn a_run_with_more_connections_than_descriptors_does_not_begin() {
    let home = TempDir::new().expect("a directory");
    let dev = Dev::start(home.path());
    let bench = format!(
        "ulimit -n 100; exec {} bench produce -n {} --connections 70 --duration 1s",
        env!("CARGO_BIN_EXE_barque"),
        dev.nameserver
    );
    let output = Command::new("sh").args(["-c", &bench]).output().expect("it runs");
    let (out, err) = told(&output);
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(
        out.is_empty() && err.contains("Too many open files") && err.lines().count() == 1,
        "{out}{err}"
    );
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_a_run_that_cannot_begin_1() {
    let home = TempDir::new().expect("a directory");
    let begin = ["bench", "produce", "--broker", "127.0.0.1:1"];
    for (args, word) in [
        (vec!["bench", "produce"], "-n HOST:PORT"),
        (vec!["bench", "dance"], "dance"),
        ([&begin[..], &["--rate", "fast"]].concat(), "messages a second"),
        ([&begin[..], &["--size", "5000000"]].concat(), "4194304"),
        ([&begin[..], &["--duration", "1d"]].concat(), "unit of time"),
        (vec!["bench", "consume", "-b", "127.0.0.1:1", "-r", "5"], "--rate"),
    ] {
        let output = barque(home.path(), &args).output().expect("it runs");
        let (out, err) = told(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {err}");
        assert!(out.is_empty() && err.contains(word), "{args:?}: {err}");
    }
    let output = barque(home.path(), &begin).output().expect("it runs");
    let (_, err) = told(&output);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("127.0.0.1:1") && err.lines().count() == 1, "{err}");
}
