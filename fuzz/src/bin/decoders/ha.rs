// SPDX-License-Identifier: Apache-2.0
//! Any bytes on a replication link are transfers and reports, or end it; what came before the bad ones is all there.

use std::time::Duration;

use net::LinkReader;

pub(crate) fn run(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut link = LinkReader::new(bytes, Duration::from_secs(1));
        let mut at = 0;
        while let Ok((head, body)) = link.transfer().await {
            assert_eq!(head.len, body.len());
            at += wire::ha::TRANSFER_HEAD_BYTES;
            assert_eq!(body, bytes[at..at + body.len()]);
            at += body.len();
        }
        let mut link = LinkReader::new(bytes, Duration::from_secs(1));
        let first = link.first_report().await.ok();
        assert_eq!(first, bytes.first_chunk().map(|first| i64::from_be_bytes(*first)));
        while link.report().await.is_ok() {}
    });
}
