// SPDX-License-Identifier: Apache-2.0
//! Frames captured from the reference, against our reading and writing of them.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where an answer is not what it must be"
)]

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wire::api;
use wire::body::{group, ha, queue, register, stats, subscription, timer, topic, topic_route};
use wire::code::{Code, Request};
use wire::ext::Ext;
use wire::fastjson;
use wire::frame::{Decoder, Encoding, Frame};

/// One line of the manifest: an exchange as an independent reader saw it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exchange {
    file: String,
    case: String,
    request: Seen,
    response: Option<Seen>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    ser: String,
    code: i32,
    language: serde_json::Value,
    version: i32,
    opaque: i32,
    flag: i32,
    remark: Option<String>,
    ext_fields: Option<BTreeMap<String, String>>,
    header_len: usize,
    body_len: usize,
}

/// A captured frame: its case, its bytes, what was seen in it and what we read.
struct Golden {
    case: String,
    code: i32,
    raw: Bytes,
    seen: Seen,
    frame: Frame,
}

impl Golden {
    fn encoding(&self) -> Encoding {
        if self.seen.ser == "JSON" {
            Encoding::Json
        } else {
            Encoding::Binary
        }
    }
}

fn golden() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let manifest = std::fs::read_to_string(folder.join("manifest.jsonl")).unwrap();
    let mut files: BTreeMap<String, VecDeque<(Bytes, Frame)>> = BTreeMap::new();
    let mut all = Vec::new();
    for line in manifest.lines() {
        let exchange: Exchange = serde_json::from_str(line).unwrap();
        let frames = files
            .entry(exchange.file.clone())
            .or_insert_with(|| frames_of(&folder.join(&exchange.file)));
        for (seen, suffix) in [(Some(exchange.request), "request"), (exchange.response, "reply")]
            .into_iter()
            .filter_map(|(s, n)| Some((s?, n)))
        {
            let (raw, frame) = frames
                .pop_front()
                .expect("the manifest lists more frames than the file has");
            let code = exchange.file.split('-').next().unwrap().parse().unwrap();
            all.push(Golden {
                case: format!("{} {suffix}", exchange.case),
                code,
                raw,
                seen,
                frame,
            });
        }
    }
    assert!(
        files.values().all(VecDeque::is_empty),
        "a file has frames the manifest does not list"
    );
    all
}

#[expect(clippy::disallowed_methods, reason = "captured frames are files")]
fn frames_of(path: &Path) -> VecDeque<(Bytes, Frame)> {
    let file = Bytes::from(std::fs::read(path).unwrap());
    let mut rest = BytesMut::from(&file[..]);
    let mut frames = VecDeque::new();
    let mut at = 0;
    while let Some(frame) = Decoder::default().next(&mut rest).unwrap() {
        let end = file.len() - rest.len();
        frames.push_back((file.slice(at..end), frame));
        at = end;
    }
    assert!(rest.is_empty(), "{path:?} ends inside a frame");
    frames
}

fn fields(ext: &Ext) -> BTreeMap<String, String> {
    ext.iter().map(|(k, v)| (k.into(), v.into())).collect()
}

fn replies_and_requests_of(code: Code) -> (Vec<Golden>, Vec<Golden>) {
    golden()
        .into_iter()
        .filter(|g| g.code == code.0)
        .partition(|g| g.frame.is_reply())
}

#[test]
fn every_captured_frame_reads_as_an_independent_reader_saw_it() {
    let all = golden();
    assert_eq!(all.len(), 782);
    for Golden {
        case,
        raw,
        seen,
        frame,
        ..
    } in &all
    {
        assert_eq!(frame.code, seen.code, "{case}");
        assert_eq!(frame.version, seen.version, "{case}");
        assert_eq!(frame.opaque, seen.opaque, "{case}");
        assert_eq!(frame.flag, seen.flag, "{case}");
        assert_eq!(frame.remark.as_deref(), seen.remark.as_deref(), "{case}");
        let language = match &seen.language {
            serde_json::Value::String(name) => name.clone(),
            number => wire::frame::Language::from_number(number.as_u64().unwrap() as u8)
                .name()
                .to_owned(),
        };
        assert_eq!(frame.language.name(), language, "{case}");
        assert_eq!(frame.ext.is_absent(), seen.ext_fields.is_none(), "{case}");
        assert_eq!(
            fields(&frame.ext),
            seen.ext_fields.clone().unwrap_or_default(),
            "{case}"
        );
        for (key, value) in seen.ext_fields.iter().flatten() {
            assert_eq!(frame.ext.get(key).as_deref(), Some(&**value), "{case}");
        }
        assert_eq!(frame.body, raw.slice(8 + seen.header_len..), "{case}");
        assert_eq!(frame.body.len(), seen.body_len, "{case}");
    }
}

#[test]
fn every_captured_frame_is_written_again_byte_for_byte() {
    for golden in golden() {
        let mut out = BytesMut::new();
        golden.frame.encode(&mut out, golden.encoding());
        assert_eq!(out, golden.raw, "{}", golden.case);
    }
}

#[test]
fn a_frame_keeps_its_meaning_when_its_header_changes_encoding() {
    for golden in golden()
        .into_iter()
        .filter(|g| i16::try_from(g.frame.code).is_ok())
    {
        let other = if golden.encoding() == Encoding::Json {
            Encoding::Binary
        } else {
            Encoding::Json
        };
        let mut out = BytesMut::new();
        golden.frame.encode(&mut out, other);
        let frame = Decoder::default().next(&mut out).unwrap().unwrap();
        assert_eq!(frame.code, golden.frame.code, "{}", golden.case);
        assert_eq!(frame.language, golden.frame.language, "{}", golden.case);
        assert_eq!(fields(&frame.ext), fields(&golden.frame.ext), "{}", golden.case);
        // An empty remark cannot be told from none in the binary header.
        assert_eq!(
            frame.remark.unwrap_or_default(),
            golden.frame.remark.unwrap_or_default(),
            "{}",
            golden.case
        );
        assert_eq!(frame.body, golden.frame.body, "{}", golden.case);
    }
}

#[test]
fn the_known_codes_have_the_names_of_the_captured_files() {
    for line in
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/manifest.jsonl"))
            .unwrap()
            .lines()
    {
        let exchange: Exchange = serde_json::from_str(line).unwrap();
        let (number, name) = exchange.file.trim_end_matches(".frames").split_once('-').unwrap();
        let code = Code(number.parse().unwrap());
        assert_eq!(code.name().unwrap_or("UNKNOWN"), name);
    }
    assert_eq!(Code::ALL.len(), 159);
}

/// Fields any request may carry besides its own; they stay in `Ext`.
const EXTRAS: [&str; 7] = ["bname", "ReqT", "ns", "nsd", "oway", "lo", "brokerName"];

/// Reads a typed header from a captured frame and checks that writing it gives the captured fields.
fn round_trip<T: Serialize + DeserializeOwned>(golden: &Golden) {
    let header: T = golden
        .frame
        .ext
        .read()
        .unwrap_or_else(|e| panic!("{}: {e}", golden.case));
    let ours = fields(&Ext::of(&header));
    for (key, value) in fields(&golden.frame.ext) {
        match ours.get(&key) {
            Some(ours) => assert_eq!(*ours, value, "{} {key}", golden.case),
            // The binary header has no empty values.
            None if value.is_empty() && golden.encoding() == Encoding::Binary => {}
            None => assert!(EXTRAS.contains(&&*key), "{}: {key} is lost", golden.case),
        }
    }
    let theirs = fields(&golden.frame.ext);
    assert!(
        ours.keys().all(|key| theirs.contains_key(key)),
        "{}: {ours:?} has more than {theirs:?}",
        golden.case
    );
    // The binary header cannot say "no fields" and "an empty set" apart.
    if golden.encoding() == Encoding::Json {
        assert_eq!(
            Ext::of(&header).is_absent(),
            golden.frame.ext.is_absent(),
            "{}",
            golden.case
        );
    }
    let again: T = Ext::of(&header).read().unwrap();
    assert_eq!(fields(&Ext::of(&again)), ours, "{}", golden.case);
}

fn check_headers<R: Request>() {
    let (replies, requests) = replies_and_requests_of(R::CODE);
    assert!(!requests.is_empty(), "{}", R::CODE);
    for request in &requests {
        round_trip::<R>(request);
        let typed = Frame::request::<R>(7, &request.frame.ext.read().unwrap());
        assert_eq!(typed.code, R::CODE.0);
    }
    // Errors come with other fields or none.
    for reply in replies.iter().filter(|r| r.frame.code == 0) {
        round_trip::<R::Reply>(reply);
    }
}

macro_rules! check_headers {
    ($($request:ty),* $(,)?) => { $(check_headers::<$request>();)* };
}

#[test]
fn every_typed_header_of_clients_reads_and_writes_the_captured_fields_of_its_code() {
    check_headers!(
        api::send::SendMessage,
        api::send::SendMessageV2,
        api::send::SendBatchMessage,
        api::send::SendReplyMessageV2,
        api::send::ConsumerSendMsgBack,
        api::send::PushReplyMessageToClient,
        api::pull::PullMessage,
        api::offset::QueryConsumerOffset,
        api::offset::UpdateConsumerOffset,
        api::offset::SearchOffsetByTimestamp,
        api::offset::GetMaxOffset,
        api::offset::GetMinOffset,
        api::offset::GetEarliestMsgStoretime,
        api::offset::GetAllConsumerOffset,
        api::offset::GetAllDelayOffset,
        api::offset::InvokeBrokerToResetOffset,
        api::offset::CloneGroupOffset,
        api::offset::QueryCorrectionOffset,
        api::offset::InvokeBrokerToGetConsumerStatus,
        api::group::UpdateAndGetGroupForbidden,
        api::heartbeat::HeartBeat,
        api::heartbeat::UnregisterClient,
        api::heartbeat::GetConsumerListByGroup,
        api::heartbeat::NotifyConsumerIdsChanged,
        api::heartbeat::GetConsumerRunningInfo,
        api::heartbeat::ConsumeMessageDirectly,
        api::lock::LockBatchMq,
        api::lock::UnlockBatchMq,
        api::transaction::EndTransaction,
        api::transaction::CheckTransactionState,
        api::query::QueryMessage,
        api::query::ViewMessageById,
        api::query::QueryConsumeQueue,
        api::query::QueryConsumeTimeSpan,
        api::query::GetBrokerConsumeStats,
        api::pop::PopMessage,
        api::pop::AckMessage,
        api::pop::ChangeMessageInvisibletime,
        api::pop::PollingInfo,
        api::pop::Notification,
        api::pop::PeekMessage,
        api::pop::BatchAckMessage,
        api::timer::RecallMessage,
        api::timer::GetTimerCheckPoint,
        api::timer::GetTimerMetrics,
    );
}

#[test]
fn every_typed_header_of_servers_and_tools_reads_and_writes_the_captured_fields_of_its_code() {
    check_headers!(
        api::route::GetRouteinfoByTopic,
        api::route::GetBrokerClusterInfo,
        api::route::WipeWritePermOfBroker,
        api::route::AddWritePermOfBroker,
        api::route::GetAllTopicListFromNameserver,
        api::route::DeleteTopicInNamesrv,
        api::route::GetTopicsByCluster,
        api::route::QueryAssignment,
        api::route::SetMessageRequestMode,
        api::register::RegisterBroker,
        api::register::UnregisterBroker,
        api::register::GetBrokerMemberGroup,
        api::ha::GetBrokerHaStatus,
        api::ha::ExchangeBrokerHaInfo,
        api::kv::PutKvConfig,
        api::kv::GetKvConfig,
        api::kv::DeleteKvConfig,
        api::kv::GetKvlistByNamespace,
        api::topic::UpdateAndCreateTopic,
        api::topic::GetAllTopicConfig,
        api::topic::GetTopicConfig,
        api::topic::DeleteTopicInBroker,
        api::topic::GetTopicStatsInfo,
        api::topic::QueryTopicConsumeByWho,
        api::topic::QueryTopicsByConsumer,
        api::topic::GetSystemTopicListFromBroker,
        api::group::UpdateAndCreateSubscriptiongroup,
        api::group::GetAllSubscriptiongroupConfig,
        api::group::DeleteSubscriptiongroup,
        api::group::GetConsumerConnectionList,
        api::group::GetProducerConnectionList,
        api::group::GetAllProducerInfo,
        api::group::GetConsumeStats,
        api::group::QuerySubscriptionByConsumer,
        api::stats::ViewBrokerStatsData,
        api::config::UpdateBrokerConfig,
        api::config::GetBrokerConfig,
        api::config::GetBrokerRuntimeInfo,
        api::config::GetNamesrvConfig,
        api::config::UpdateNamesrvConfig,
        api::pull::LitePullMessage,
        api::heartbeat::CheckClientConfig,
        api::topic::UpdateAndCreateTopicList,
        api::topic::UpdateAndCreateStaticTopic,
        api::group::UpdateAndCreateSubscriptiongroupList,
        api::group::GetSubscriptiongroupConfig,
        api::register::QueryDataVersion,
        api::register::BrokerHeartbeat,
        api::register::NotifyMinBrokerIdChange,
        api::route::RegisterTopicInNamesrv,
        api::route::GetSystemTopicListFromNs,
        api::route::GetUnitTopicList,
        api::route::GetHasUnitSubTopicList,
        api::route::GetHasUnitSubUnunitTopicList,
        api::clean::CleanExpiredConsumequeue,
        api::clean::CleanUnusedTopic,
        api::clean::DeleteExpiredCommitlog,
        api::ha::ResetMasterFlushOffset,
    );
}

#[test]
fn every_typed_header_for_brokers_of_another_kind_reads_and_writes_the_captured_fields_of_its_code() {
    check_headers!(
        api::elsewhere::CheckRocksdbCqWriteProgress,
        api::elsewhere::ExportRocksdbConfigToJson,
        api::elsewhere::GetBrokerEpochCache,
        api::elsewhere::NotifyBrokerRoleChanged,
        api::elsewhere::SwitchTimerEngine,
        api::elsewhere::PopRollback,
        api::elsewhere::UpdateColdDataFlowCtrConfig,
        api::elsewhere::RemoveColdDataFlowCtrConfig,
        api::elsewhere::GetColdDataFlowCtrInfo,
        api::elsewhere::SetCommitlogReadMode,
        api::auth::AuthCreateUser,
        api::auth::AuthUpdateUser,
        api::auth::AuthDeleteUser,
        api::auth::AuthGetUser,
        api::auth::AuthListUser,
        api::auth::AuthCreateAcl,
        api::auth::AuthUpdateAcl,
        api::auth::AuthDeleteAcl,
        api::auth::AuthGetAcl,
        api::auth::AuthListAcl,
    );
}

/// Reads the JSON body of each captured frame of a code and checks that writing it gives the same JSON, as long as the original.
fn check_body<T: Serialize + DeserializeOwned>(code: Code, of_reply: bool) {
    let (replies, requests) = replies_and_requests_of(code);
    let frames = if of_reply { replies } else { requests };
    let mut seen = 0;
    for golden in frames.iter().filter(|g| g.frame.body.starts_with(b"{")) {
        seen += 1;
        let theirs = std::str::from_utf8(&golden.frame.body).unwrap();
        let body: T = fastjson::from_str(theirs).unwrap_or_else(|e| panic!("{}: {e}", golden.case));
        let standard = code == Code::GET_ROUTEINFO_BY_TOPIC;
        let ours = if standard {
            fastjson::to_vec_standard(&body)
        } else {
            fastjson::to_vec(&body)
        };
        let ours = String::from_utf8(ours).unwrap();
        let (a, b): (serde_json::Value, serde_json::Value) = (
            fastjson::from_str(theirs).unwrap(),
            fastjson::from_str(&ours).unwrap(),
        );
        assert_eq!(a, b, "{}", golden.case);
        // Only the order of map entries may differ.
        assert_eq!(ours.len(), theirs.len(), "{}:\n{ours}\n{theirs}", golden.case);
    }
    assert!(seen > 0, "{code} has no JSON body");
}

#[test]
fn every_json_body_reads_and_writes_the_captured_json() {
    check_body::<subscription::HeartbeatBody>(Code::HEART_BEAT, false);
    check_body::<subscription::ConsumerList>(Code::GET_CONSUMER_LIST_BY_GROUP, true);
    check_body::<subscription::ConsumerConnection>(Code::GET_CONSUMER_CONNECTION_LIST, true);
    check_body::<subscription::ProducerConnection>(Code::GET_PRODUCER_CONNECTION_LIST, true);
    check_body::<subscription::ProducerTable>(Code::GET_ALL_PRODUCER_INFO, true);
    check_body::<subscription::GroupSubscription>(Code::QUERY_SUBSCRIPTION_BY_CONSUMER, true);
    check_body::<queue::LockBatch>(Code::LOCK_BATCH_MQ, false);
    check_body::<queue::UnlockBatch>(Code::UNLOCK_BATCH_MQ, false);
    check_body::<queue::LockedQueues>(Code::LOCK_BATCH_MQ, true);
    check_body::<queue::QueryAssignmentBody>(Code::QUERY_ASSIGNMENT, false);
    check_body::<queue::Assignments>(Code::QUERY_ASSIGNMENT, true);
    check_body::<queue::SetMessageRequestModeBody>(Code::SET_MESSAGE_REQUEST_MODE, false);
    check_body::<queue::MessageRequestModeTable>(Code::GET_ALL_MESSAGE_REQUEST_MODE, true);
    check_body::<topic::TopicConfigTable>(Code::GET_ALL_TOPIC_CONFIG, true);
    check_body::<topic::TopicConfig>(Code::GET_TOPIC_CONFIG, true);
    check_body::<topic::TopicList>(Code::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, true);
    check_body::<topic::TopicList>(Code::GET_TOPICS_BY_CLUSTER, true);
    check_body::<topic::TopicList>(Code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER, true);
    check_body::<topic::TopicList>(Code::QUERY_TOPICS_BY_CONSUMER, true);
    check_body::<topic::GroupList>(Code::QUERY_TOPIC_CONSUME_BY_WHO, true);
    check_body::<register::RegisterBrokerBody>(Code::REGISTER_BROKER, false);
    check_body::<topic_route::TopicRoute>(Code::GET_ROUTEINFO_BY_TOPIC, true);
    check_body::<topic_route::TopicQueueMapping>(Code::UPDATE_AND_CREATE_STATIC_TOPIC, false);
    check_body::<topic_route::ClusterInfo>(Code::GET_BROKER_CLUSTER_INFO, true);
    check_body::<topic_route::BrokerMemberGroupBody>(Code::GET_BROKER_MEMBER_GROUP, true);
    check_body::<group::SubscriptionGroupConfig>(Code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, false);
    check_body::<group::SubscriptionGroupTable>(Code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, true);
    check_body::<stats::OffsetTable>(Code::GET_ALL_CONSUMER_OFFSET, true);
    check_body::<stats::DelayOffsetTable>(Code::GET_ALL_DELAY_OFFSET, true);
    check_body::<stats::QueueOffsets>(Code::INVOKE_BROKER_TO_RESET_OFFSET, true);
    check_body::<stats::TopicStats>(Code::GET_TOPIC_STATS_INFO, true);
    check_body::<stats::ConsumeStats>(Code::GET_CONSUME_STATS, true);
    check_body::<stats::ConsumeTimeSpans>(Code::QUERY_CONSUME_TIME_SPAN, true);
    check_body::<stats::QueueContents>(Code::QUERY_CONSUME_QUEUE, true);
    check_body::<stats::BrokerConsumeStats>(Code::GET_BROKER_CONSUME_STATS, true);
    check_body::<timer::TimerMetrics>(Code::GET_TIMER_METRICS, true);
    check_body::<stats::KvTable>(Code::GET_BROKER_RUNTIME_INFO, true);
    check_body::<stats::BrokerStatsData>(Code::VIEW_BROKER_STATS_DATA, true);
    check_body::<ha::HaRuntimeInfo>(Code::GET_BROKER_HA_STATUS, true);
    check_body::<stats::KvTable>(Code::GET_KVLIST_BY_NAMESPACE, true);
}

/// Reads a configuration file and checks that writing it gives the same JSON, as long as the original.
fn check_file<T: Serialize + DeserializeOwned>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/config")
        .join(name);
    let theirs = std::fs::read_to_string(path).unwrap();
    let ours = String::from_utf8(fastjson::to_vec_pretty(
        &fastjson::from_str::<T>(&theirs).unwrap(),
    ))
    .unwrap();
    let lines = |text: &str| {
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| line.trim_end_matches(',').to_owned())
            .collect();
        lines.sort_unstable();
        lines
    };
    // Only the order of map entries may differ.
    assert_eq!(lines(&ours), lines(&theirs), "{name}");
    assert_eq!(ours.len(), theirs.len(), "{name}");
}

#[test]
fn every_configuration_file_is_written_line_for_line_as_the_reference_does() {
    check_file::<topic::TopicConfigTable>("topics.json");
    check_file::<group::SubscriptionGroupTable>("subscriptionGroup.json");
    check_file::<stats::OffsetTable>("consumerOffset.json");
    check_file::<stats::DelayOffsetTable>("delayOffset.json");
    check_file::<topic_route::TopicQueueMappingTable>("topicQueueMapping.json");
}
