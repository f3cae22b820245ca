// SPDX-License-Identifier: Apache-2.0
//! Numbers that leave by themselves: to a collector, which here takes apart what it gets with messages of its own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::Config;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use metrics::otlp::{Batch, Target};
use metrics::{Kind, Metric, Sink as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::rig::Rig;
use crate::traffic;

/// A field of a message: its number, and what it holds.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Number(u64),
    Fixed(u64),
    Bytes(Vec<u8>),
}

/// Takes a message apart, knowing only how fields are laid out.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (fixed, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Fixed(u64::from_le_bytes(fixed.try_into().unwrap()))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (part, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(part.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn parts(bytes: &[u8], number: u64) -> Vec<Vec<u8>> {
    let all = fields(bytes).into_iter().filter(|(at, _)| *at == number);
    all.map(|(_, field)| match field {
        Field::Bytes(bytes) => bytes,
        other => panic!("{number}: {other:?}"),
    })
    .collect()
}

fn text(bytes: &[u8], number: u64) -> String {
    let part = parts(bytes, number).pop().unwrap_or_default();
    String::from_utf8(part).unwrap()
}

fn fixed(bytes: &[u8], number: u64) -> Option<u64> {
    fields(bytes).into_iter().find_map(|(at, field)| match field {
        Field::Fixed(value) if at == number => Some(value),
        _ => None,
    })
}

/// One value as a collector sees it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    name: String,
    unit: String,
    /// 5 a gauge, 7 a sum, 9 a histogram.
    kind: u64,
    /// 1 what it has grown by, 2 in all.
    temporality: Option<u64>,
    labels: BTreeMap<String, String>,
    value: u64,
    ranges: usize,
    start: u64,
    time: u64,
}

fn seen(message: &[u8]) -> Vec<Seen> {
    let mut all = Vec::new();
    let scopes = parts(message, 1)
        .into_iter()
        .flat_map(|resource| parts(&resource, 2));
    for scope in scopes {
        assert_eq!(text(&parts(&scope, 1)[0], 1), "broker-meter");
        for metric in parts(&scope, 2) {
            let (kind, values) = fields(&metric).into_iter().find(|(at, _)| *at >= 5).unwrap();
            let Field::Bytes(values) = values else {
                panic!("no values")
            };
            let temporality = fields(&values).into_iter().find_map(|(at, field)| match field {
                Field::Number(number) if at == 2 => Some(number),
                _ => None,
            });
            for point in parts(&values, 1) {
                let attributes = parts(&point, if kind == 9 { 9 } else { 7 });
                let label = |attribute: &Vec<u8>| {
                    let value = match fields(&parts(attribute, 2)[0]).pop().unwrap() {
                        (1, Field::Bytes(text)) => String::from_utf8(text).unwrap(),
                        (2, Field::Number(truth)) => (truth == 1).to_string(),
                        (3, Field::Number(number)) => number.to_string(),
                        other => panic!("{other:?}"),
                    };
                    (text(attribute, 1), value)
                };
                let ranges = fields(&point).into_iter().find_map(|(at, field)| match field {
                    Field::Bytes(packed) if kind == 9 && at == 6 => Some(packed.len() / 8),
                    _ => None,
                });
                all.push(Seen {
                    name: text(&metric, 1),
                    unit: text(&metric, 3),
                    kind,
                    temporality,
                    labels: attributes.iter().map(label).collect(),
                    value: fixed(&point, if kind == 9 { 4 } else { 6 }).unwrap_or(0),
                    ranges: ranges.unwrap_or(0),
                    start: fixed(&point, 2).unwrap_or(0),
                    time: fixed(&point, 3).unwrap(),
                });
            }
        }
    }
    all
}

/// A collector that takes or refuses.
struct Collector {
    addr: SocketAddr,
    /// What it says to the next pushes: the status of gRPC, or "partial".
    says: Arc<Mutex<&'static str>>,
    pushed: mpsc::UnboundedReceiver<(HeaderMap, Vec<Seen>)>,
}

impl Collector {
    async fn open() -> Collector {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (pushes, pushed) = mpsc::unbounded_channel();
        let says = Arc::new(Mutex::new("0"));
        let saying = Arc::clone(&says);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (pushes, saying) = (pushes.clone(), Arc::clone(&saying));
                let answering =
                    service_fn(move |request| answer(request, pushes.clone(), Arc::clone(&saying)));
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), answering);
                tokio::spawn(async move {
                    let _the_broker_hangs_up = connection.await;
                });
            }
        });
        Collector { addr, says, pushed }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("metricsExporterType", "OTLP_GRPC".to_owned()),
            ("metricsGrpcExporterTarget", format!("http://{}", self.addr)),
            (
                "metricsGrpcExporterHeader",
                "Authorization:Bearer x,zone:z".to_owned(),
            ),
            ("metricGrpcExporterIntervalInMills", "100".to_owned()),
        ]
    }

    async fn next(&mut self) -> (HeaderMap, Vec<Seen>) {
        tokio::time::timeout(Duration::from_secs(20), self.pushed.recv())
            .await
            .expect("a push")
            .unwrap()
    }
}

/// An answer of success that rejects seven values and says "bad".
const PARTIAL: &[u8] = b"\0\0\0\0\x09\x0a\x07\x08\x07\x12\x03bad";

type Answer = Response<http_body_util::combinators::BoxBody<Bytes, Infallible>>;

async fn answer(
    request: Request<Incoming>,
    pushes: mpsc::UnboundedSender<(HeaderMap, Vec<Seen>)>,
    says: Arc<Mutex<&'static str>>,
) -> Result<Answer, Infallible> {
    assert_eq!(
        request.uri().path(),
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
    );
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
    assert_eq!((body[0], length), (0, body.len() - 5));
    let says = *says.lock().unwrap();
    pushes.send((head.headers, seen(&body[5..]))).ok();
    let (status, said) = match says {
        "partial" => ("0", PARTIAL),
        status => (status, &[0; 5][..]),
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", "not now".parse().unwrap());
    let body = Full::new(Bytes::from_static(said))
        .with_trailers(async move { Some(Ok(trailers)) })
        .boxed();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    Ok(response)
}

async fn start(collector: &Collector, more: &[(&str, &str)]) -> Rig {
    let own = collector.settings();
    let own = own.iter().map(|(key, value)| (*key, value.as_str()));
    let settings: Vec<_> = own.chain(more.iter().copied()).collect();
    Rig::start_with(&settings).await
}

fn of<'a>(seen: &'a [Seen], name: &str, topic: &str) -> Option<&'a Seen> {
    let has = |value: &&Seen| value.name == name && value.labels.get("topic").is_none_or(|t| t == topic);
    seen.iter().find(has)
}

#[tokio::test]
async fn a_collector_gets_names_units_labels_and_totals() {
    let mut collector = Collector::open().await;
    let rig = start(&collector, &[]).await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "x").await;
    let began = traffic::now_ms();
    let (headers, pushed) = loop {
        let (headers, pushed) = collector.next().await;
        if of(&pushed, "rocketmq_messages_in_total", "T").is_some() {
            break (headers, pushed);
        }
    };
    assert_eq!(headers["authorization"], "Bearer x");
    assert_eq!(
        (&headers["zone"], &headers["content-type"]),
        (&"z".parse().unwrap(), &"application/grpc".parse().unwrap())
    );
    let sent = of(&pushed, "rocketmq_messages_in_total", "T").unwrap();
    assert_eq!((sent.kind, sent.temporality, sent.value), (7, Some(2), 1));
    let label = |name: &str| sent.labels[name].as_str();
    assert_eq!(
        [label("cluster"), label("node_id"), label("is_system")],
        ["DefaultCluster", "broker-a", "false"]
    );
    assert!(!sent.labels.contains_key("otel_scope_name") && !sent.labels.contains_key("aggregation"));
    assert!(sent.start > 0 && sent.time / 1_000_000 >= began as u64 - 60_000);
    let size = of(&pushed, "rocketmq_message_size", "T").unwrap();
    assert_eq!((size.kind, size.value, size.ranges), (9, 1, 7));
    let rpc = of(&pushed, "rocketmq_rpc_latency", "").unwrap();
    assert_eq!((rpc.unit.as_str(), rpc.ranges), ("milliseconds", 10));
    let topics = of(&pushed, "rocketmq_topic_number", "").unwrap();
    assert_eq!((topics.kind, topics.temporality), (5, None));
    rig.stop().await;
}

#[tokio::test]
async fn in_delta_a_push_that_was_refused_is_made_good_for_by_the_next() {
    let mut collector = Collector::open().await;
    *collector.says.lock().unwrap() = "14";
    let rig = start(&collector, &[("metricsInDelta", "true")]).await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "x").await;
    client.send("T", 0, "y").await;
    let pushes = async |collector: &mut Collector| loop {
        let (_, pushed) = collector.next().await;
        if let Some(sent) = of(&pushed, "rocketmq_messages_in_total", "T") {
            return sent.clone();
        }
    };
    let refused = loop {
        let refused = pushes(&mut collector).await;
        if refused.value == 2 {
            break refused;
        }
    };
    assert_eq!(
        (refused.temporality, refused.labels["aggregation"].as_str()),
        (Some(1), "delta")
    );
    *collector.says.lock().unwrap() = "0";
    // Once that is taken nothing has grown any more, until something comes.
    let mut taken = 0;
    while taken == 0 {
        let (_, pushed) = collector.next().await;
        taken = match of(&pushed, "rocketmq_messages_in_total", "T") {
            Some(sent) => {
                assert_eq!(sent.value, 2);
                0
            }
            None => 1,
        };
    }
    client.send("T", 0, "z").await;
    let grown = pushes(&mut collector).await;
    assert_eq!(grown.value, 1);
    assert!(grown.start > refused.start);
    rig.stop().await;
}

#[tokio::test]
async fn what_a_collector_rejects_of_a_push_stops_nothing_behind_it_and_counts_as_taken() {
    let mut collector = Collector::open().await;
    *collector.says.lock().unwrap() = "partial";
    let is_counter = |metric: &&&Metric| metric.kind == Kind::Counter;
    let counter = broker::METRICS.iter().find(is_counter).unwrap();
    let mut batch = Batch::new(Vec::new(), "broker-meter", true, (1, 2));
    batch.begin(counter);
    for value in 0..9_000 {
        batch.value(&[], value);
    }
    let target = Target {
        authority: collector.addr.to_string(),
        headers: Vec::new(),
        timeout: Duration::from_secs(20),
    };
    let mut taken = 0;
    let rejected = batch.push(&target, |count| taken += count).await.unwrap();
    assert_eq!(taken, 9_000);
    assert_eq!((rejected.values, rejected.why.as_str()), (3 * 7, "bad"));
    let mut pushed = 0;
    while pushed < 9_000 {
        pushed += collector.next().await.1.len();
    }
}

#[tokio::test]
async fn a_broker_that_stops_pushes_once_more_and_one_without_a_collector_works() {
    let mut collector = Collector::open().await;
    let rig = start(&collector, &[("metricGrpcExporterIntervalInMills", "3600000")]).await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "x").await;
    rig.stop().await;
    let (_, pushed) = collector.next().await;
    assert_eq!(of(&pushed, "rocketmq_messages_in_total", "T").unwrap().value, 1);

    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let target = format!("http://{nobody}");
    let rig = start(&collector, &[("metricsGrpcExporterTarget", &target)]).await;
    let client = rig.client_of("T", 1).await;
    client.send("T", 0, "x").await;
    rig.stop().await;
}

#[test]
fn a_collector_that_cannot_be_pushed_to_is_refused_at_the_start_with_what_to_write() {
    for (target, words) in [
        ("", "must say where"),
        ("collector:4317", "begins with http://"),
        ("https://collector:4317", "begins with http://"),
        ("http://collector", "http://host:port"),
    ] {
        let mut config = Config::default();
        for (key, value) in [
            ("brokerName", "b"),
            ("brokerIP1", "127.0.0.1"),
            ("storePathRootDir", "/nowhere"),
            ("metricsExporterType", "OTLP_GRPC"),
            ("metricsGrpcExporterTarget", target),
        ] {
            config.set(key, value).unwrap();
        }
        let told = config
            .complete(&broker::config::Surroundings::default())
            .unwrap_err()
            .to_string();
        assert!(
            told.contains("metricsGrpcExporterTarget") && told.contains(words),
            "{target}: {told}"
        );
    }
    let mut config = Config::default();
    for (key, value) in [
        ("metricsGrpcExporterHeader", "no colon"),
        ("metricsLabel", "1x:y"),
        ("metricsExporterType", "PROMETHEUS"),
        ("metricsPromExporterPort", "70000"),
    ] {
        let told = config.set(key, value).unwrap_err().to_string();
        assert!(told.contains(key) && told.contains("expected"), "{told}");
    }
}
