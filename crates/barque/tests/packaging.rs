// SPDX-License-Identifier: Apache-2.0
//! What is shipped beside the program starts the program: units, image, compose file. Each command line in them is given to the
//! program with `-p` (print the settings and end), so that none names an option that is not there.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the files of the package are read"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Runs the program with words of a package, an empty file in the place of each that is named, and `-p`; gives what it printed.
fn settings_of(words: &[String]) -> String {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("empty.conf");
    std::fs::write(&file, "").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
    command.env_remove("NAMESRV_ADDR").env("HOME", dir.path());
    for word in words {
        if word.ends_with(".conf") {
            command.arg(&file);
        } else {
            command.arg(word);
        }
    }
    let output = command.arg("-p").output().unwrap();
    assert!(
        output.status.success(),
        "{words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn units_start_servers_that_take_their_options_and_are_stopped_only_after_the_time_that_takes() {
    for unit in ["barque-nameserver.service", "barque-broker@.service"] {
        let unit = text(&format!("deploy/systemd/{unit}"));
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/barque "))
            .unwrap();
        settings_of(&words(start));
        assert!(
            unit.contains("User=rocketmq") && unit.contains("NoNewPrivileges=true"),
            "{unit}"
        );
        let stop = unit
            .lines()
            .find_map(|line| line.strip_prefix("TimeoutStopSec="))
            .unwrap();
        assert!(stop.parse::<u32>().unwrap() >= 60);
        // Requests write settings back to the file that the server was started with.
        let (dir, _) = start.rsplit(' ').next().unwrap().rsplit_once('/').unwrap();
        let can_write = unit.lines().any(|line| line == format!("ReadWritePaths=-{dir}"));
        let owner = format!("install -d -o rocketmq -g rocketmq -m 750 {dir}\n");
        assert!(can_write && unit.contains(&owner), "{dir}: {unit}");
    }
}

#[test]
fn the_image_is_built_from_files_that_are_there_and_runs_as_nobody_special() {
    let file = text("Dockerfile");
    let ignored = text(".dockerignore");
    let stage = file.rsplit("\nFROM ").next().unwrap();
    assert!(stage.contains("\nUSER 3000:3000\n"), "{stage}");
    let copied = file.lines().filter_map(|line| line.strip_prefix("COPY "));
    for line in copied.filter(|line| !line.starts_with("--from")) {
        let parts = words(line);
        for source in &parts[..parts.len() - 1] {
            assert!(root().join(source).exists(), "{source} is not there");
            let kept = ignored.lines().filter_map(|line| line.strip_prefix('!'));
            assert!(
                kept.into_iter().any(|kept| source.starts_with(kept)),
                "{source} is in .dockerignore"
            );
        }
    }
    let command = stage.lines().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = command
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|word| word.trim_matches('"').to_owned())
        .collect();
    assert_eq!(command[..2], ["barque", "dev"]);
    // The names of the reference are links, and scripts where `sh mqbroker` is said.
    for name in ["mqnamesrv", "mqbroker", "mqadmin", "mqshutdown"] {
        assert!(file.contains(name), "{name}");
        let script = text(&format!("deploy/docker/bin/{name}"));
        assert!(
            script.starts_with("#!/bin/sh\n") && script.contains(&format!("exec /usr/local/bin/{name} ")),
            "{script}"
        );
    }
}

/// What the compose file says of a service, and the words of its command.
fn service(file: &str, name: &str) -> (String, Vec<String>) {
    let (_, after) = file.split_once(&format!("\n  {name}:\n")).unwrap();
    let mine = after
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    let text = mine.collect::<Vec<_>>().join("\n");
    let (_, list) = text.split_once("command:\n").unwrap();
    let words = list
        .lines()
        .map_while(|line| line.trim().strip_prefix("- "))
        .map(|word| word.replace("${BROKER_IP:-127.0.0.1}", "10.0.0.9"))
        .map(|word| word.replace("${ADMIN_ALLOWED_FROM:-}", "10.0.0.0/8"));
    let words = words.collect();
    (text, words)
}

/// Where a service has its volume.
fn volume(service: &str) -> &str {
    let line = service
        .lines()
        .find_map(|line| line.trim().strip_prefix("volumes: "))
        .unwrap();
    line.trim_matches(['[', ']', '"']).split_once(':').unwrap().1
}

#[test]
fn the_compose_file_starts_servers_that_take_their_options() {
    let file = text("deploy/compose.yaml");
    for (name, expected) in [
        (
            "nameserver",
            &["listenPort=9876", "adminAllowedFrom=10.0.0.0/8"][..],
        ),
        (
            "broker",
            &[
                "adminAllowedFrom=10.0.0.0/8",
                "brokerIP1=10.0.0.9",
                "namesrvAddr=nameserver:9876",
                "storePathRootDir=/home/rocketmq/store",
            ],
        ),
    ] {
        let (_, words) = service(&file, name);
        let settings = settings_of(&words[1..]);
        for setting in expected {
            assert!(
                settings.lines().any(|line| line == *setting),
                "{setting} is not in {settings}"
            );
        }
    }
}

#[test]
fn volumes_of_the_compose_file_keep_what_servers_write_and_hide_nothing_of_the_image() {
    let (file, image) = (text("deploy/compose.yaml"), text("Dockerfile"));
    let made = image.lines().find(|line| line.contains("mkdir -p ")).unwrap();
    let copied = image.lines().filter_map(|line| line.strip_prefix("COPY "));
    let copied: Vec<_> = copied.filter_map(|line| line.split_whitespace().last()).collect();
    for (name, kept) in [
        ("nameserver", &["kvConfigPath", "configStorePath"][..]),
        ("broker", &["storePathRootDir"]),
    ] {
        let (service, words) = service(&file, name);
        let volume = volume(&service);
        // A directory that is not there would belong to root.
        assert!(
            made.split_whitespace().any(|dir| dir == volume),
            "{volume} is not made in the image"
        );
        for path in &copied {
            assert!(!path.starts_with(volume), "{name}: {volume} hides {path}");
        }
        let settings = settings_of(&words[1..]);
        for key in kept {
            let value = settings
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{key}=")));
            let value = value.unwrap();
            assert!(
                value.starts_with(volume),
                "{name}: {key} is {value}, not in {volume}"
            );
        }
    }
}
