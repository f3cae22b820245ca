// SPDX-License-Identifier: Apache-2.0
//! docs/configuration.md is made from the settings, and the tables of docs/metrics.md from the numbers. These tests compare; `cargo xtask docs` sets BARQUE_BLESS and rewrites.
#![expect(
    clippy::disallowed_methods,
    reason = "the page is written for readers, not by the product"
)]

use std::path::Path;

const HEAD: &str = "# Configuration

<!-- Written by `cargo xtask docs` from the settings in the code; do not edit. -->

`barque broker -c FILE` and `barque nameserver -c FILE` read the property files of Apache RocketMQ 5.4.0 as they are. An option
wins over the file, the file over the environment (`NAMESRV_ADDR`, `ROCKETMQ_HOME`), the environment over the default.
`--set KEY=VALUE` sets any key on the command line; `-p` prints all settings and ends.
";

/// A page as a part of another page: every heading one level deeper.
fn deeper(page: &str) -> String {
    page.lines()
        .map(|l| {
            if l.starts_with('#') {
                format!("#{l}\n")
            } else {
                format!("{l}\n")
            }
        })
        .collect()
}

#[test]
fn the_configuration_page_says_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let broker = deeper(&broker::config::config_reference())
        .replace("Written by `config_reference()`; do not edit. ", "");
    let nameserver = deeper(&nameserver::config::config_reference());
    let page = format!("{HEAD}\n{}\n\n{}\n", broker.trim(), nameserver.trim());
    if std::env::var_os("BARQUE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/configuration.md is behind the code; run `cargo xtask docs`"
    );
}

#[test]
fn the_page_of_metrics_says_what_the_code_says() {
    const BEGIN: &str = "<!-- numbers: written by `cargo xtask docs` from the code; do not edit -->\n";
    const END: &str = "<!-- end of numbers -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let (head, rest) = written.split_once(BEGIN).expect("the beginning of the tables");
    let (_, tail) = rest.split_once(END).expect("the end of the tables");
    let mut own =
        String::from("\n### Of a name server\n\n| name | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in nameserver::METRICS {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, kind, labels) = (metric.text_name(), metric.kind.name(), labels.join(", "));
        own.push_str(&format!("| `{name}` | {kind} | {labels} | {} |\n", metric.help));
    }
    let page = format!("{head}{BEGIN}\n{}{own}\n{END}{tail}", broker::metrics_reference());
    if std::env::var_os("BARQUE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md is behind the code; run `cargo xtask docs`"
    );
}
