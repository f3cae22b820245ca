// SPDX-License-Identifier: Apache-2.0
//! The frames captured from the reference, which `wire` keeps next to its tests.

use crate::programs::root;
use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use std::collections::BTreeMap;
use wire::frame::{Decoder, Frame};

/// A captured request and, unless it was one-way, its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Its name: code, encoding, response code, number.
    pub case: String,
    /// Whether a client asked a server; the other way round otherwise.
    pub to_server: bool,
    /// The request.
    pub request: Frame,
    /// The answer.
    pub reply: Option<Frame>,
}

/// One line of the manifest; what it says about the frames is for the tests of `wire`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    file: String,
    case: String,
    to_server: bool,
    response: Option<serde::de::IgnoredAny>,
}

/// All captured exchanges, in the order of the manifest.
pub fn exchanges() -> anyhow::Result<Vec<Exchange>> {
    let folder = root().join("crates/wire/tests/golden");
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).context("the manifest")?;
    let mut files: BTreeMap<String, BytesMut> = BTreeMap::new();
    let mut all = Vec::new();
    for line in manifest.lines() {
        let line: Line = serde_json::from_str(line)?;
        if !files.contains_key(&line.file) {
            let bytes = read(&folder.join(&line.file)).with_context(|| line.file.clone())?;
            files.insert(line.file.clone(), bytes);
        }
        let rest = files.entry(line.file.clone()).or_default();
        let mut next = || {
            Decoder::default()
                .next(rest)?
                .with_context(|| format!("{} ends too soon", line.file))
        };
        all.push(Exchange {
            request: next()?,
            reply: line.response.is_some().then(next).transpose()?,
            case: line.case,
            to_server: line.to_server,
        });
    }
    ensure!(
        files.values().all(BytesMut::is_empty),
        "a file has more frames than the manifest says"
    );
    Ok(all)
}

#[expect(clippy::disallowed_methods, reason = "a test reads its own files")]
fn read(path: &std::path::Path) -> std::io::Result<BytesMut> {
    Ok(BytesMut::from(Bytes::from(std::fs::read(path)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_goes_with_its_request() {
        let all = exchanges().unwrap();
        assert!(all.len() > 200);
        for exchange in all {
            assert!(!exchange.request.is_reply(), "{}", exchange.case);
            let Some(reply) = exchange.reply else { continue };
            assert_eq!(
                (reply.is_reply(), reply.opaque),
                (true, exchange.request.opaque),
                "{}",
                exchange.case
            );
        }
    }
}
