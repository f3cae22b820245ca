// SPDX-License-Identifier: Apache-2.0
//! docs/request-codes.md is made from the `routes!` tables, the captured frames and the list of codes. What is said by hand
//! is only why a code is not served, and that is checked: no code may be missing, and no served one may have an excuse.
//! This test compares; `cargo xtask docs` sets BARQUE_BLESS and rewrites.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the page is written for readers, not by the product"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use wire::code::Code;

const HEAD: &str = "# Request codes

<!-- Written by `cargo xtask docs` from the code; do not edit. -->

Every request code of Apache RocketMQ 5.4.0, and ours: who serves it, the function that does, and how many exchanges with the
reference are kept as golden frames (`crates/wire/tests/golden`), against which our reading and writing is tested. A code that nobody
serves is answered with 3 (`REQUEST_CODE_NOT_SUPPORTED`) and the reference's words. Requests *for administrators* come from the host of
the server, or from where `adminAllowedFrom` says ([logging.md](logging.md)). Functions in `elsewhere` say what a broker of
the reference says that is not set up for what is asked (RocksDB, a controller, access control, flow control by cold data).
";

const NO_HANDLER: &str = "no process of the reference handles it";
const RAFT: &str = "an entry of the controllers' raft log, never sent";
const CONTROLLER: &str = "for controllers; a broker of the reference answers 3 too";
const CONTAINER: &str = "for broker containers; a broker of the reference answers 3 too";

/// Why codes are not served.
const EXCUSES: &[(std::ops::RangeInclusive<i32>, &str)] = &[
    (13..=13, NO_HANDLER),
    (22..=23, NO_HANDLER),
    (27..=27, NO_HANDLER),
    (47..=47, NO_HANDLER),
    (209..=214, NO_HANDLER),
    (301..=302, NO_HANDLER),
    (902..=903, CONTAINER),
    (1001..=1006, CONTROLLER),
    (1009..=1013, CONTROLLER),
    (1014..=1016, RAFT),
    (1017..=1017, NO_HANDLER),
    (1018..=1018, RAFT),
];

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All source files below a folder, without tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut texts = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "tests" {
            texts.append(&mut sources(&path));
        } else if path.is_file() && name != "tests.rs" {
            let text = text_of(&path);
            texts.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
        }
    }
    texts
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// `impl Request for X { const CODE: Code = Code::Y; … }` as Y → X.
fn headers() -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for text in sources(&crates().join("wire/src/api")) {
        for part in text.split("impl Request for ").skip(1) {
            let (_, code) = part.split_once("Code = Code::").unwrap();
            headers.insert(word(code).to_owned(), word(part).to_owned());
        }
    }
    headers
}

/// Exchanges that are kept, by the code in the name of their file.
fn golden() -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    for line in text_of(&crates().join("wire/tests/golden/manifest.jsonl")).lines() {
        let (_, file) = line.split_once("{\"file\":\"").unwrap();
        let code = file.split('-').next().unwrap().parse().unwrap();
        *counts.entry(code).or_default() += 1;
    }
    counts
}

/// Codes of our own, with their names and what is said of them: `wire::code` declares them one by one.
fn own_codes() -> BTreeMap<i32, (String, String)> {
    let text = text_of(&crates().join("wire/src/code.rs"));
    let mut own = BTreeMap::new();
    let mut doc = String::new();
    for line in text.lines().map(str::trim) {
        if let Some(said) = line.strip_prefix("/// ") {
            doc = said.to_owned();
        } else if let Some((name, number)) = line
            .strip_prefix("pub const ")
            .and_then(|rest| rest.split_once(": Code = Code(9"))
        {
            let digits: String = number.chars().filter(char::is_ascii_digit).collect();
            own.insert(
                format!("9{digits}").parse().unwrap(),
                (name.to_owned(), doc.clone()),
            );
        }
    }
    own
}

fn excuse(code: i32) -> Option<&'static str> {
    let found = EXCUSES.iter().find(|(codes, _)| codes.contains(&code));
    found.map(|(_, why)| *why)
}

/// What stands in the columns "served by" and "function", if anybody serves the code.
fn served(code: Code) -> Option<(&'static str, String)> {
    let find = |table: &[(Code, &'static str)]| table.iter().find(|(of, _)| *of == code).map(|(_, f)| *f);
    match (find(broker::ROUTES), find(nameserver::routes::ROUTES)) {
        (Some(f), None) => Some(("broker", format!("`{f}`"))),
        (None, Some(f)) => Some(("name server", format!("`{f}`"))),
        (Some(b), Some(n)) => Some(("both", format!("`{b}`, `{n}`"))),
        (None, None) => None,
    }
}

/// Whether `adminAllowedFrom` says where a request may come from.
fn is_administration(code: Code) -> bool {
    let mut words = broker::WORDS.iter().chain(nameserver::routes::WORDS);
    words.any(|(of, logged)| *of == code && *logged != net::Logged::No)
}

/// The column "served by".
fn shown(code: Code, who: &str) -> String {
    let whom = if is_administration(code) {
        ", for administrators"
    } else {
        ""
    };
    format!("{who}{whom}")
}

fn page() -> String {
    let (headers, golden) = (headers(), golden());
    let broker_sources = sources(&crates().join("broker/src"));
    let is_used = |header: &String| {
        broker_sources.iter().any(|text| {
            text.match_indices(header.as_str())
                .any(|(at, _)| word(&text[at..]) == header)
        })
    };
    let (mut rows, mut counts) = (String::new(), BTreeMap::<&str, usize>::new());
    for code in Code::ALL {
        let name = code.name().unwrap();
        let (who, what) = match (served(*code), headers.get(name)) {
            (Some((who, f)), _) => {
                assert_eq!(excuse(code.0), None, "{code} is served and needs no excuse");
                (who, f)
            }
            (None, Some(header)) if is_used(header) => {
                assert_eq!(excuse(code.0), None, "{code} is sent and needs no excuse");
                ("clients; the broker sends it", String::new())
            }
            (None, _) => {
                let why = excuse(code.0);
                (
                    "nobody",
                    why.unwrap_or_else(|| panic!("{code} is not served: say why"))
                        .to_owned(),
                )
            }
        };
        *counts.entry(who).or_default() += 1;
        let frames = golden.get(&code.0).copied().unwrap_or_default();
        let frames = if frames == 0 {
            String::new()
        } else {
            frames.to_string()
        };
        let who = shown(*code, who);
        let _infallible = writeln!(rows, "| {} | {name} | {who} | {what} | {frames} |", code.0);
    }
    let mut page = format!("{HEAD}\n{} codes: ", Code::ALL.len());
    let said: Vec<String> = counts.iter().map(|(who, n)| format!("{n} {who}")).collect();
    page.push_str(&said.join(", "));
    page.push_str(
        ".\n\n| code | name | served by | function, or why not | exchanges kept |\n|---|---|---|---|---|\n",
    );
    page.push_str(&rows);
    page.push_str("\n## Ours\n\nThe reference does not have these; [admin.md](admin.md) says more.\n\n");
    page.push_str("| code | name | served by | function | what it does |\n|---|---|---|---|---|\n");
    for (code, (name, doc)) in own_codes() {
        let (who, f) = served(Code(code)).unwrap_or_else(|| panic!("{name} is declared and not served"));
        let who = shown(Code(code), who);
        let _infallible = writeln!(page, "| {code} | {name} | {who} | {f} | {doc} |");
    }
    page
}

#[test]
fn the_page_of_request_codes_says_what_the_code_says() {
    let page = page();
    let path = crates().join("../docs/request-codes.md");
    if std::env::var_os("BARQUE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/request-codes.md is behind the code; run `cargo xtask docs`"
    );
}
