// SPDX-License-Identifier: Apache-2.0
//! A broker of the built program on a free port of this host; killed when the test is done with it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SETTINGS: [(&str, &str); 6] = [
    ("listenPort", "0"),
    ("bindAddress", "127.0.0.1"),
    ("brokerIP1", "127.0.0.1"),
    ("brokerName", "a"),
    ("metricsPromExporterPort", "0"),
    ("storePathRootDir", "store"),
];

pub(crate) struct Broker {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Broker {
    /// Starts it and waits until it says where it is. Its store is `store` in the folder.
    pub(crate) fn start(home: &Path, settings: &[(&str, &str)]) -> Broker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
        command.arg("broker");
        for (key, value) in SETTINGS.iter().chain(settings) {
            command.args(["--set", &format!("{key}={value}")]);
        }
        command
            .current_dir(home)
            .env("HOME", home)
            .env_remove("NAMESRV_ADDR");
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = spawned.expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let line = lines
            .map(|line| line.expect("a line"))
            .find(|line| line.contains("boot success"));
        let line = line.expect("it starts");
        let addr = line.split("a, ").nth(1).and_then(|rest| rest.split(']').next());
        Broker {
            child,
            addr: addr.expect("an address").parse().expect("an address"),
        }
    }

    /// Its memory in bytes: what it has (`VmRSS`), or the most that it ever had (`VmHWM`).
    pub(crate) fn memory(&self, which: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(which));
        let number = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
        1024 * number.and_then(|kb| kb.parse::<usize>().ok()).expect("a number")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}
