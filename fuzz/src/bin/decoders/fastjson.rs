// SPDX-License-Identifier: Apache-2.0
//! Any text is JSON or refused; what is read is written and read again the same.

use wire::body::stats::TopicStats;
use wire::body::subscription::HeartbeatBody;
use wire::fastjson;

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(body) = fastjson::from_slice::<HeartbeatBody>(bytes) {
        for written in [
            fastjson::to_vec(&body),
            fastjson::to_vec_standard(&body),
            fastjson::to_vec_pretty(&body),
        ] {
            assert_eq!(
                fastjson::from_slice::<HeartbeatBody>(&written).as_ref(),
                Ok(&body)
            );
        }
    }
    let _read = fastjson::from_slice::<TopicStats>(bytes);
    let _read = fastjson::from_slice::<serde_json::Value>(bytes);
}
