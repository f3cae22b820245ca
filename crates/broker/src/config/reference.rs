// SPDX-License-Identifier: Apache-2.0
//! The reference page of the settings, made from the list they are read with.

use std::fmt::Write;

use super::known::KNOWN;
use super::refused::{REFUSED, is_refusable};
use super::settings::{Config, SETTINGS, When};

/// All settings as a page of markdown.
pub fn config_reference() -> String {
    let defaults = Config::default();
    let mut page = String::from(HEAD);
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            let _infallible = write!(page, "\n## {section}\n\n{TABLE_HEAD}");
        }
        let default = defaults.get(setting.key).unwrap_or_default();
        let default = if default.is_empty() {
            String::new()
        } else {
            format!("`{default}`")
        };
        let when = match setting.when {
            When::Live => "at once",
            When::Start => "at start",
            When::Fixed => "at start; by no request",
        };
        let doc = setting.doc.trim();
        let _infallible = writeln!(
            page,
            "| `{}` | {} | {default} | {when} | {doc} |",
            setting.key, setting.kind
        );
    }
    page.push_str(
        "\n## Refused\n\nThe broker does not start with these, because it would not keep the promise.\n\n",
    );
    page.push_str("| key | refused when | because |\n|---|---|---|\n");
    for refused in REFUSED {
        let _infallible = writeln!(page, "| `{}` | {} | {} |", refused.key, refused.asks, refused.why);
    }
    page.push_str("\n## Accepted without a meaning\n\nThe broker warns once and goes on.\n\n");
    let without_meaning = KNOWN.iter().filter(|(key, _)| !is_refusable(key));
    for (at, (key, _)) in without_meaning.enumerate() {
        let _infallible = write!(page, "{}`{key}`", if at == 0 { "" } else { ", " });
    }
    page.push('\n');
    page
}

const HEAD: &str = "# Broker settings

Written by `config_reference()`; do not edit. A `broker.conf` of the reference works as it is. An unknown key is a
warning, a value of the wrong type an error. \"At once\" settings also take effect when request 25
(`updateBrokerConfig`) changes them; the others are saved and take effect at the next start. \"By no request\": they name places
of the host, other hosts, secrets, or what may be changed and by whom, and request 25 refuses them whatever `configBlackList` says; so
it does such names among the settings without a meaning.
";

const TABLE_HEAD: &str = "| key | type | default | changes take effect | meaning |\n|---|---|---|---|---|\n";
