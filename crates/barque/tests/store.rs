// SPDX-License-Identifier: Apache-2.0
//! `barque store` as an operator meets it: what it prints, its exit codes, and that it writes only when it is told to.
#![expect(
    clippy::disallowed_methods,
    reason = "tests prepare files for the program, they are not part of it"
)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use store::{Draft, Env, Store, StoreConfig};
use tempfile::TempDir;

const SEGMENT: u64 = 65_536;

fn config(root: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT,
        queue_file_bytes: 2_000,
        index_slots: 100,
        index_entries: 400,
        ..StoreConfig::at(root)
    }
}

/// A store with a few messages. It is open while it is not dropped.
fn filled(root: &Path) -> std::sync::Arc<Store> {
    let store = Store::open_manual(config(root), Env::real()).unwrap();
    let queue = store.queue("orders", 2);
    for number in 0..20 {
        let (body, properties) = (format!("body {number}"), format!("KEYS\u{1}key-{number}\u{2}"));
        let draft = Draft {
            queue: &queue,
            flag: 0,
            sys_flag: 0,
            born_at: 1,
            born_host: ([127, 0, 0, 1], 1234).into(),
            store_host: ([127, 0, 0, 1], 10911).into(),
            reconsume_times: 0,
            prepared_pos: 0,
            body: body.as_bytes(),
            properties: properties.as_bytes(),
            wait: true,
        };
        store.append(&draft).unwrap();
        store.drive();
    }
    store
}

fn run(words: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_barque"));
    command.arg("store").args(words).arg(dir).env_remove("RUST_LOG");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn log_file(root: &Path) -> PathBuf {
    root.join("commitlog/00000000000000000000")
}

/// Flips a bit in the body of a message.
fn damage(root: &Path, number: u32) {
    let path = log_file(root);
    let log = std::fs::read(&path).unwrap();
    let body = format!("body {number}");
    let at = log
        .windows(body.len())
        .position(|window| window == body.as_bytes())
        .unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"C", at as u64).unwrap();
}

#[test]
fn a_sound_store_is_told_to_be_sound() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).close().unwrap();
    let (code, told, _) = run(&["check"], dir.path());
    assert_eq!(code, Some(0), "{told}");
    assert!(
        told.starts_with("sound: 20 records") && told.lines().count() == 1,
        "{told}"
    );
    let (code, told, _) = run(&["check", "--json"], dir.path());
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(value["records"], 20);
    assert_eq!(value["findings"], serde_json::json!([]));
    let (code, told, _) = run(&["repair"], dir.path());
    assert_eq!(code, Some(0));
    assert!(told.starts_with("nothing to do\n"), "{told}");
}

#[test]
fn damage_is_told_by_file_and_byte_and_mended_only_with_write() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).close().unwrap();
    damage(dir.path(), 7);
    let damaged = std::fs::read(log_file(dir.path())).unwrap();
    let (code, told, _) = run(&["check"], dir.path());
    assert_eq!(code, Some(1), "{told}");
    for word in [
        "commit log",
        "/commitlog/00000000000000000000 at byte ",
        "orders/2 offset 7",
        "barque store repair --write",
    ] {
        assert!(told.contains(word), "{word} in {told}");
    }
    let (code, told, _) = run(&["check", "--json"], dir.path());
    assert_eq!(code, Some(1));
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(value["findings"][0]["mend"], "repair", "{value}");
    let (code, told, _) = run(&["repair"], dir.path());
    assert_eq!(code, Some(1));
    assert!(
        told.contains("would be done: ") && told.contains("nothing was written"),
        "{told}"
    );
    assert!(std::fs::read(log_file(dir.path())).unwrap() == damaged);
    let (code, told, _) = run(&["repair", "--write"], dir.path());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("done: ") && told.contains("/repair-"), "{told}");
    let (code, told, _) = run(&["check"], dir.path());
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn a_store_that_runs_and_none_at_all_cannot_be_looked_at() {
    let dir = TempDir::new().unwrap();
    let store = filled(dir.path());
    for words in [&["check"][..], &["repair"], &["repair", "--write"], &["dump"]] {
        let (code, told, error) = run(words, dir.path());
        assert_eq!(code, Some(2), "{told}{error}");
        assert!(error.contains("a broker runs on"), "{error}");
    }
    store.close().unwrap();
    let (code, _, error) = run(&["check"], &dir.path().join("nothing"));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("not the directory of a store"), "{error}");
    assert!(!dir.path().join("nothing").exists());
}

#[test]
fn a_dump_shows_records_and_queues() {
    let dir = TempDir::new().unwrap();
    filled(dir.path()).close().unwrap();
    let (code, told, _) = run(&["dump"], dir.path());
    assert_eq!((code, told.lines().count()), (Some(0), 20));
    let (_, told, _) = run(
        &["dump", "--topic", "orders", "--from", "3", "--to", "5", "--body"],
        dir.path(),
    );
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    assert!(
        lines[0].contains("orders/2 offset 3") && lines[0].ends_with("keys key-3 body 3"),
        "{told}"
    );
    let (_, told, _) = run(&["dump", "--key", "key-9", "--json", "--body"], dir.path());
    let value: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&value["offset"], &value["body"]), (&9.into(), &"body 9".into()));
    let (_, told, _) = run(&["dump", "--limit", "4"], dir.path());
    assert_eq!(told.lines().count(), 4);
    let (_, told, _) = run(&["dump", "--queues"], dir.path());
    assert!(told.contains("orders/2 plain entries 0 to 20"), "{told}");
    damage(dir.path(), 7);
    let (_, told, _) = run(&["dump"], dir.path());
    assert!(told.contains("damaged: orders/2 offset 7"), "{told}");
}

#[test]
fn what_the_page_says_about_the_commands_is_what_their_help_says() {
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/store.md")).unwrap();
    for command in ["check", "repair", "dump"] {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_barque"));
        let help = asked.args(["store", command, "--help"]).output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(page.contains(&format!("barque store {command}")), "{command}");
        let options = help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.len() > 2);
        for option in options.map(|option| option.trim_end_matches([',', '.'])) {
            assert!(
                option == "--help" || page.contains(option),
                "docs/store.md lacks {option} of {command}"
            );
        }
    }
}
