// SPDX-License-Identifier: Apache-2.0
//! Codes that are not served, and requests about what is not there.

use std::path::Path;

use bytes::BytesMut;
use wire::api::elsewhere::{
    GetColdDataFlowCtrInfo, RemoveColdDataFlowCtrConfig, SetCommitlogReadMode, SwitchTimerEngine,
    UpdateColdDataFlowCtrConfig,
};
use wire::api::ha::ResetMasterFlushOffset;
use wire::code::Code;
use wire::frame::{Decoder, Frame};

use crate::rig::{Client, Rig, SOON};

async fn say(client: &Client, request: Frame) -> Frame {
    client.channel.call(request, SOON).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_code_that_is_not_served_is_refused_in_the_words_of_the_reference() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let served: Vec<Code> = broker::ROUTES.iter().map(|(code, _)| *code).collect();
    let mut refused = 0;
    for code in Code::ALL.iter().filter(|code| !served.contains(code)) {
        let request = Frame {
            code: code.0,
            ..Frame::request(0, &GetColdDataFlowCtrInfo)
        };
        let reply = say(&client, request).await;
        let words = format!(" request type {} not supported", code.0);
        assert_eq!((reply.code, reply.remark.as_deref()), (3, Some(words.as_str())));
        refused += 1;
    }
    assert!(refused > 30, "{refused}");
}

/// Exchanges captured from the reference, with answers.
fn captured(file: &str) -> Vec<(Frame, Frame)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wire/tests/golden");
    let mut bytes = BytesMut::from(&std::fs::read(folder.join(file)).unwrap()[..]);
    let mut frames = Vec::new();
    while let Some(frame) = Decoder::default().next(&mut bytes).unwrap() {
        frames.push(frame);
    }
    let pairs = frames.chunks_exact(2);
    pairs.map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_to_brokers_of_another_kind_are_answered_as_the_reference_did() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let mut compared = 0;
    for file in [
        "306-CLEAN_EXPIRED_CONSUMEQUEUE.frames",
        "316-CLEAN_UNUSED_TOPIC.frames",
        "329-DELETE_EXPIRED_COMMITLOG.frames",
        "354-CHECK_ROCKSDB_CQ_WRITE_PROGRESS.frames",
        "355-EXPORT_ROCKSDB_CONFIG_TO_JSON.frames",
        "908-RESET_MASTER_FLUSH_OFFSET.frames",
        "1007-GET_BROKER_EPOCH_CACHE.frames",
        "1008-NOTIFY_BROKER_ROLE_CHANGED.frames",
        "2001-UPDATE_COLD_DATA_FLOW_CTR_CONFIG.frames",
        "2002-REMOVE_COLD_DATA_FLOW_CTR_CONFIG.frames",
        "2004-SET_COMMITLOG_READ_MODE.frames",
        "3001-AUTH_CREATE_USER.frames",
        "3002-AUTH_UPDATE_USER.frames",
        "3003-AUTH_DELETE_USER.frames",
        "3004-AUTH_GET_USER.frames",
        "3005-AUTH_LIST_USER.frames",
        "3006-AUTH_CREATE_ACL.frames",
        "3007-AUTH_UPDATE_ACL.frames",
        "3008-AUTH_DELETE_ACL.frames",
        "3009-AUTH_GET_ACL.frames",
        "3010-AUTH_LIST_ACL.frames",
        "5001-SWITCH_TIMER_ENGINE.frames",
        "200056-POP_ROLLBACK.frames",
    ] {
        for (request, theirs) in captured(file) {
            let ours = say(&client, request).await;
            assert_eq!(ours.code, theirs.code, "{file}: {:?}", ours.remark);
            assert_eq!(ours.body, theirs.body, "{file}");
            // Where there is more to say than the reference does, it is said.
            let is_same = ours.remark == theirs.remark;
            assert!(
                is_same || ours.remark.is_some_and(|remark| remark.len() > 20),
                "{file}"
            );
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_on_cold_reads_are_kept_and_shown_but_said_to_have_no_effect() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let set = client
        .ask_with(&UpdateColdDataFlowCtrConfig, "G=1024\nH=many\n=3\n")
        .await;
    let remark = set.remark.unwrap();
    assert!(
        set.code == 0 && remark.contains("without effect") && remark.contains("H, "),
        "{remark}"
    );
    let shown = client.ask(&GetColdDataFlowCtrInfo).await;
    assert_eq!(
        shown.body,
        r#"{"runtimeTable":{},"configTable":{"G":1024},"cgColdReadThreshold":3145728,"globalColdReadThreshold":104857600,"globalAcc":0}"#
    );
    assert_eq!(client.ask_with(&RemoveColdDataFlowCtrConfig, "G").await.code, 0);
    let shown = client.ask(&GetColdDataFlowCtrInfo).await;
    assert!(shown.body.starts_with(br#"{"runtimeTable":{},"configTable":{},"#));
    let malformed = client.ask_with(&UpdateColdDataFlowCtrConfig, "G=\\u1").await;
    assert_eq!(malformed.code, 29);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_cold_reads_is_kept_only_of_what_may_be_a_group_and_the_rest_is_told_in_short() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let long = "g".repeat(1 << 20);
    let many: String = (0..1000).map(|n| format!("group{n}=many\n")).collect();
    let text = format!("{long}=1\nno!group=2\nG=1024\n{many}");
    let set = client.ask_with(&UpdateColdDataFlowCtrConfig, text).await;
    let remark = set.remark.unwrap();
    assert!(
        set.code == 0 && remark.ends_with(" and 982 more") && remark.len() < 1000,
        "{} bytes: {remark:.1000}",
        remark.len()
    );
    let shown = client.ask(&GetColdDataFlowCtrInfo).await.body;
    assert!(
        shown.starts_with(br#"{"runtimeTable":{},"configTable":{"G":1024},"#),
        "{} bytes",
        shown.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sets_the_read_mode_or_the_timer_engine_is_checked() {
    let rig = Rig::start_with(&[("timerStopEnqueue", "true")]).await;
    let client = rig.client().await;
    let mode = |mode: &str| SetCommitlogReadMode {
        mode: Some(mode.into()),
    };
    for (header, code) in [(mode("0"), 0), (mode("2"), 29), (mode("x"), 1), (mode(""), 1)] {
        assert_eq!(client.ask(&header).await.code, code, "{header:?}");
    }
    let engine = |engine: Option<&str>| SwitchTimerEngine {
        engine: engine.map(Into::into),
    };
    for (header, code) in [
        (engine(Some("R")), 29),
        (engine(Some("")), 29),
        (engine(None), 29),
    ] {
        assert_eq!(client.ask(&header).await.code, code, "{header:?}");
        assert_eq!(rig.setting("timerStopEnqueue"), "true");
    }
    assert_eq!(client.ask(&engine(Some("F"))).await.code, 0);
    assert_eq!(
        rig.setting("timerStopEnqueue"),
        "false",
        "the wheel takes messages again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slave_shows_where_its_master_is_said_to_have_begun() {
    let settings = [("brokerRole", "SLAVE"), ("brokerId", "1")];
    let rig = Rig::start_with(&settings).await;
    let client = rig.client().await;
    let told = ResetMasterFlushOffset {
        master_flush_offset: Some(4711),
    };
    assert_eq!(client.ask(&told).await.code, 0);
    let shown = client.ask(&wire::api::ha::GetBrokerHaStatus).await;
    let info: wire::body::ha::HaRuntimeInfo = wire::fastjson::from_slice(&shown.body).unwrap();
    assert_eq!(info.ha_client_runtime_info.master_flush_offset, 4711);
    let nothing = ResetMasterFlushOffset::default();
    assert_eq!(client.ask(&nothing).await.code, 1);
    let clean = client.ask(&wire::api::clean::CleanUnusedTopic).await;
    assert_eq!(clean.code, 1, "its topics may be behind its log");
}
