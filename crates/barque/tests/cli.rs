// SPDX-License-Identifier: Apache-2.0
//! The built program as a user meets it: what it prints, what it refuses and how, how it starts and stops.
#![expect(
    clippy::disallowed_methods,
    reason = "tests prepare files for the program, they are not part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than a program takes that has nothing to serve.
const END: Duration = Duration::from_secs(60);

/// The program, with an environment that is the same on every machine and a home directory of its own.
fn barque(home: &Path, args: &[&str]) -> Command {
    program(Path::new(env!("CARGO_BIN_EXE_barque")), home, args)
}

fn program(path: &Path, home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(path);
    command.args(args).current_dir(home).env("HOME", home);
    for name in ["NAMESRV_ADDR", "ROCKETMQ_HOME", "RUST_LOG"] {
        command.env_remove(name);
    }
    command
}

/// What a program says that ends by itself.
fn output(mut command: Command) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the program starts");
    let pid = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait_with_output()));
    let Ok(output) = told.recv_timeout(END) else {
        kill_process(pid, Signal::KILL).expect("it is there");
        panic!("it goes on: {command:?}");
    };
    output.expect("the program is waited for")
}

/// What the program says when it refuses to start: exit code 1, nothing on stdout, one line on stderr.
fn refusal(command: Command) -> String {
    let output = output(command);
    let told = String::from_utf8(output.stderr).expect("the message is text");
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty());
    assert_eq!(told.lines().count(), 1, "one line, not: {told}");
    told
}

fn stdout(command: Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the output is text")
}

fn files_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is there");
    entries
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect()
}

/// A running `barque dev`, killed when the test ends.
struct Dev {
    child: Child,
    nameserver: SocketAddr,
    broker: SocketAddr,
    metrics: SocketAddr,
}

impl Dev {
    /// Starts on free ports and waits until it says that it is ready.
    fn start(home: &Path, args: &[&str]) -> Dev {
        Dev::start_with(home, args, Stdio::inherit())
    }

    fn start_with(home: &Path, args: &[&str], stderr: Stdio) -> Dev {
        let mut all = vec!["dev", "--nameserver-port", "0", "--broker-port", "0"];
        all.extend_from_slice(args);
        let mut command = barque(home, &all);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let mut address = |label: &str| -> SocketAddr {
            let line = lines
                .by_ref()
                .map(|l| l.expect("a line"))
                .find(|l| l.trim_start().starts_with(label));
            let line = line.unwrap_or_else(|| panic!("dev ended before it told its {label}"));
            let text = line
                .trim_start()
                .trim_start_matches(label)
                .split_whitespace()
                .next()
                .expect("an address");
            let text = text.trim_start_matches("http://").trim_end_matches("/metrics");
            text.parse().expect("an address")
        };
        let (nameserver, broker, metrics) = (address("name server"), address("broker"), address("metrics"));
        Dev {
            child,
            nameserver,
            broker,
            metrics,
        }
    }

    fn terminate(&mut self) -> Option<i32> {
        self.end("-TERM")
    }

    fn end(&mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args([signal, &pid])
            .status()
            .expect("kill starts");
        assert!(sent.success());
        self.child.wait().expect("the program ends").code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.child.kill().expect("the program can be killed");
            self.child.wait().expect("the program ends");
        }
    }
}

#[test]
fn help_names_the_commands_and_the_version_is_told() {
    let home = TempDir::new().unwrap();
    let help = stdout(barque(home.path(), &["--help"]));
    for word in ["dev", "nameserver", "broker", "store", "NAMESRV_ADDR", "RUST_LOG"] {
        assert!(help.contains(word), "{word} is missing in: {help}");
    }
    assert_eq!(
        stdout(barque(home.path(), &["--version"])),
        concat!("barque ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_value_of_the_wrong_type_is_refused_by_file_and_line_before_anything_is_written() {
    let home = TempDir::new().unwrap();
    for (command, text) in [
        ("broker", "brokerName=a\nlistenPort=many\n"),
        ("nameserver", "# ports\nlistenPort=many\n"),
    ] {
        let file = home.path().join("server.conf");
        std::fs::write(&file, text).unwrap();
        let told = refusal(barque(home.path(), &[command, "-c", "server.conf"]));
        assert!(
            told.contains("server.conf:2: ") && told.contains("listenPort") && told.contains("many"),
            "{told}"
        );
        assert_eq!(files_in(home.path()), ["server.conf"]);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let home = TempDir::new().unwrap();
    for command in ["broker", "nameserver", "dev"] {
        let told = refusal(barque(home.path(), &[command, "-c", "missing.conf"]));
        assert!(told.contains("missing.conf"), "{told}");
    }
    assert!(files_in(home.path()).is_empty());
}

#[test]
fn a_port_in_use_is_named_with_the_option_that_changes_it_and_nothing_is_written() {
    let home = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (option, other) in [
        ("--nameserver-port", "--broker-port"),
        ("--broker-port", "--nameserver-port"),
    ] {
        let told = refusal(barque(
            home.path(),
            &["dev", "--data", "d", option, &port, other, "0"],
        ));
        assert!(
            told.contains(&format!("127.0.0.1:{port}")) && told.contains(option),
            "{told}"
        );
    }
    let set = format!("metricsPromExporterPort={port}");
    for command in [
        &[
            "dev",
            "--data",
            "d",
            "--nameserver-port",
            "0",
            "--broker-port",
            "0",
        ][..],
        &[
            "nameserver",
            "--set",
            "listenPort=0",
            "--set",
            "bindAddress=127.0.0.1",
        ],
    ] {
        let told = refusal(barque(home.path(), &[command, &["--set", &set]].concat()));
        assert!(
            told.contains(&format!("127.0.0.1:{port}")) && told.contains("metricsPromExporterPort"),
            "{told}"
        );
    }
    let set = format!("listenPort={port}");
    for command in ["broker", "nameserver"] {
        let told = refusal(barque(
            home.path(),
            &[command, "--set", &set, "--set", "bindAddress=127.0.0.1"],
        ));
        assert!(
            told.contains(&format!("127.0.0.1:{port}")) && told.contains("listenPort"),
            "{told}"
        );
    }
    assert!(files_in(home.path()).is_empty());
}

#[test]
fn a_second_process_on_the_same_directory_is_refused_by_name() {
    let home = TempDir::new().unwrap();
    let _first = Dev::start(home.path(), &["--data", "both"]);
    let mut second = barque(
        home.path(),
        &[
            "dev",
            "--nameserver-port",
            "0",
            "--broker-port",
            "0",
            "--data",
            "both",
        ],
    );
    second.env("RUST_LOG", "error");
    let told = refusal(second);
    assert!(
        told.contains("both") && told.contains("another process"),
        "{told}"
    );
}

#[test]
fn dev_listens_until_sigterm_and_leaves_a_clean_store() {
    let home = TempDir::new().unwrap();
    let mut dev = Dev::start(home.path(), &["--data", "d"]);
    TcpStream::connect(dev.nameserver).expect("the name server listens");
    TcpStream::connect(dev.broker).expect("the broker listens");
    let abort = home.path().join("d/store/abort");
    assert!(abort.exists(), "the mark of a running store");
    assert_eq!(dev.terminate(), Some(0));
    assert!(!abort.exists(), "the mark is removed by a clean stop");
    TcpStream::connect(dev.broker).expect_err("nobody listens any more");

    let mut again = Dev::start(home.path(), &["--data", "d"]);
    assert_eq!(again.terminate(), Some(0));
}

#[test]
fn dev_shows_the_numbers_of_both_servers_on_one_port() {
    let home = TempDir::new().unwrap();
    let dev = Dev::start(home.path(), &["--data", "d"]);
    let page = |path: &str| {
        let mut stream = TcpStream::connect(dev.metrics).expect("the port for metrics listens");
        let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).expect("it takes bytes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in text");
        answer
    };
    let told = page("/metrics");
    for name in ["barque_nameserver_up", "barque_up", "rocketmq_topic_number"] {
        assert!(
            told.contains(&format!("\n# TYPE {name} gauge\n")),
            "{name} is not in {told}"
        );
    }
    assert!(page("/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_malformed_frame_costs_its_sender_the_connection_and_one_line_of_log() {
    let home = TempDir::new().unwrap();
    let mut dev = Dev::start_with(home.path(), &[], Stdio::piped());
    let mut peers = Vec::new();
    for addr in [dev.nameserver, dev.broker] {
        let mut peer = TcpStream::connect(addr).expect("it listens");
        peer.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it takes bytes");
        assert_eq!(peer.read(&mut [0; 1]).expect("it closes in order"), 0);
        peers.push(peer.local_addr().expect("an address").to_string());
    }
    assert_eq!(dev.end("-INT"), Some(0));
    let mut told = String::new();
    let mut log = dev.child.stderr.take().expect("stderr is piped");
    log.read_to_string(&mut told).expect("the log is text");
    for peer in peers {
        let lines: Vec<&str> = told.lines().filter(|line| line.contains(&peer)).collect();
        assert_eq!(lines.len(), 1, "{told}");
        assert!(lines[0].contains("malformed frame"), "{told}");
    }
}

#[test]
fn a_store_of_another_or_a_newer_layout_is_refused_and_not_touched() {
    let home = TempDir::new().unwrap();
    assert_eq!(Dev::start(home.path(), &["--data", "d"]).terminate(), Some(0));
    let start = [
        "dev",
        "--nameserver-port",
        "0",
        "--broker-port",
        "0",
        "--data",
        "d",
    ];
    let is_untouched_by = |args: &[&str], words: &[&str]| {
        let before = contents(&home.path().join("d"));
        let told = refusal(barque(home.path(), &[&start[..], args].concat()));
        for word in words {
            assert!(told.contains(word), "{told}");
        }
        assert_eq!(contents(&home.path().join("d")), before);
    };
    let other = "mappedFileSizeConsumeQueue=6000020";
    std::fs::create_dir_all(home.path().join("d/store/consumequeue/T/0")).unwrap();
    let queue = home.path().join("d/store/consumequeue/T/0/00000000000000000000");
    std::fs::write(&queue, vec![0; 6_000_000]).unwrap();
    is_untouched_by(&["--set", other], &["mappedFileSizeConsumeQueue"]);
    // The word that says which version wrote the checkpoint.
    let checkpoint = home.path().join("d/store/checkpoint");
    let mut bytes = std::fs::read(&checkpoint).unwrap();
    for slot in [64, 2048] {
        bytes[slot..slot + 8].copy_from_slice(&0x6261_7271_7565_0003_i64.to_be_bytes());
        // Without its CRC it would be damaged, and not newer.
        let crc = crc32(&bytes[slot..slot + 112]);
        bytes[slot + 112..slot + 116].copy_from_slice(&crc.to_be_bytes());
    }
    std::fs::write(&checkpoint, bytes).unwrap();
    is_untouched_by(&[], &["checkpoint", "newer version of barque"]);
}

/// The CRC-32 of IEEE.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Names and bytes of all files but the lock.
fn contents(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("the directory is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            let bytes = std::fs::read(&path).expect("the file is read");
            // Log and index files are large and empty.
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            found.push((path.display().to_string(), bytes[..used].to_vec()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_server_stops_with_exit_code_0_on_ctrl_c() {
    let home = TempDir::new().unwrap();
    let mut command = barque(
        home.path(),
        &[
            "nameserver",
            "--set",
            "listenPort=0",
            "--set",
            "bindAddress=127.0.0.1",
        ],
    );
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    while !line.contains("started") {
        line.clear();
        assert_ne!(
            lines.read_line(&mut line).expect("a line"),
            0,
            "it ended before it started"
        );
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill starts");
    assert!(sent.success());
    lines.read_to_end(&mut Vec::new()).expect("the rest of the log");
    assert_eq!(child.wait().expect("the program ends").code(), Some(0));
}

#[test]
fn an_option_wins_over_the_file_and_the_file_over_the_environment() {
    let home = TempDir::new().unwrap();
    std::fs::write(
        home.path().join("with.conf"),
        "namesrvAddr=file:1\nbrokerName=b1\n",
    )
    .unwrap();
    let important = |args: &[&str]| {
        let mut command = barque(home.path(), &["broker", "-m"]);
        command.args(args).env("NAMESRV_ADDR", "environment:1");
        stdout(command)
    };
    assert!(important(&[]).contains("namesrvAddr=environment:1\n"));
    assert!(important(&["-c", "with.conf"]).contains("namesrvAddr=file:1\n"));
    let told = important(&["-c", "with.conf", "-n", "option:1", "--set", "brokerName=b2"]);
    assert!(
        told.contains("namesrvAddr=option:1\n") && told.contains("brokerName=b2\n"),
        "{told}"
    );
    assert_eq!(files_in(home.path()), ["with.conf"]);
}

#[test]
fn the_reference_names_of_the_program_work_with_the_reference_options() {
    let home = TempDir::new().unwrap();
    let link = |name: &str| {
        let path = home.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_barque"), &path).unwrap();
        path
    };
    let all = stdout(program(
        &link("mqbroker"),
        home.path(),
        &["-p", "-n", "a:9876;b:9876"],
    ));
    assert!(
        all.contains("namesrvAddr=a:9876;b:9876\n") && all.contains("maxMessageSize=4194304\n"),
        "{all}"
    );
    let all = stdout(program(&link("mqnamesrv"), home.path(), &["-p"]));
    assert!(all.contains("listenPort=9876\n"), "{all}");
}

#[test]
fn a_usage_shows_a_call_that_works_by_whichever_name_it_was_called() {
    let home = TempDir::new().expect("a directory");
    for (name, usage) in [
        ("mqshutdown", "Usage: barque shutdown [OPTIONS] <SERVER>"),
        ("mqbroker", "Usage: barque broker [OPTIONS]"),
        ("mqnamesrv", "Usage: barque nameserver [OPTIONS]"),
    ] {
        let link = home.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_barque"), &link).expect("a link");
        let help = stdout(program(&link, home.path(), &["--help"]));
        assert!(help.contains(usage), "{name}: {help}");
    }
}

#[test]
fn a_broker_that_was_killed_while_it_replaced_its_settings_starts_with_those_it_had() {
    let home = TempDir::new().expect("a directory");
    std::fs::write(home.path().join("broker.conf.bak"), "brokerName=before\n").expect("a file");
    std::fs::write(home.path().join("broker.conf.tmp"), "brokerNa").expect("a file");
    let all = stdout(barque(home.path(), &["broker", "-c", "broker.conf", "-p"]));
    assert!(all.contains("brokerName=before\n"), "{all}");
}
