// SPDX-License-Identifier: Apache-2.0
//! Numbers pushed to a collector: the OpenTelemetry protocol over gRPC, which is one HTTP/2 request for each batch.
//!
//! Collectors refuse messages beyond 4 MiB, so what a large broker tells goes in several, one after the other.

mod message;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use self::message::{Answer, Point, Pushed, Range, RangePoint};
use crate::sink::{Base, Kind, Metric, Sink};

const PATH: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
/// Values of one message: about a megabyte.
const VALUES_MAX: usize = 4_000;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where numbers are pushed to.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub authority: String,
    /// Sent along with each message.
    pub headers: Vec<(String, String)>,
    /// How long a message may take.
    pub timeout: Duration,
}

/// Why numbers were not taken.
#[derive(Debug, Error)]
pub enum PushError {
    /// Nobody answers there.
    #[error("cannot connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The other side speaks something else.
    #[error("what answers there does not speak gRPC: {0}")]
    Protocol(String),
    /// It took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The collector says no.
    #[error("the collector refuses: {message} (status {status})")]
    Refused {
        /// Its number in gRPC.
        status: String,
        /// Its words.
        message: String,
    },
    /// A header is none.
    #[error("header {0} cannot be sent")]
    Header(String),
}

/// What a collector will never take of a push that it has taken otherwise.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// How many values.
    pub values: i64,
    /// Its words, of the last message it said so of.
    pub why: String,
}

/// Numbers on their way.
#[derive(Debug, Default)]
pub struct Batch {
    base: Base,
    scope: &'static str,
    is_delta: bool,
    /// From when, and now; nanoseconds since 1970.
    times: (u64, u64),
    parts: Vec<Part>,
    metric: Option<&'static Metric>,
}

/// One message.
#[derive(Debug, Default)]
struct Part {
    metrics: Vec<message::Metric>,
    values: usize,
    /// Of them, those of counters and histograms.
    counted: usize,
}

impl Batch {
    /// Empty. Values carry the labels of `base`; counters count since `times.0`, by `is_delta` only since the last push.
    pub fn new(base: Base, scope: &'static str, is_delta: bool, times: (u64, u64)) -> Batch {
        Batch {
            base,
            scope,
            is_delta,
            times,
            ..Batch::default()
        }
    }

    /// Pushes everything, in order. `taken` hears of each message that was taken how many values of counters and histograms it
    /// held; what comes behind an error was not taken. A message of which the collector rejects some values counts as taken: the
    /// protocol forbids to send it again.
    pub async fn push(self, target: &Target, mut taken: impl FnMut(usize)) -> Result<Rejected, PushError> {
        let mut all = Rejected::default();
        let mut connection = Connection::open(target).await?;
        for part in self.parts {
            let counted = part.counted;
            let message = Pushed::of(part.metrics, self.scope).encode_to_vec();
            let rejected = connection.send(target, &message).await?;
            taken(counted);
            if rejected.values > 0 {
                all.values = all.values.saturating_add(rejected.values);
                all.why = rejected.why;
            }
        }
        Ok(all)
    }

    /// The metric at hand, in a message that has room.
    fn room(&mut self) -> Option<(&'static Metric, &mut message::Metric)> {
        let metric = self.metric?;
        let is_full = self.parts.last().is_none_or(|part| part.values >= VALUES_MAX);
        if is_full {
            self.parts.push(Part::default());
        }
        let is_delta = self.is_delta;
        let part = self.parts.last_mut()?;
        part.values += 1;
        part.counted += usize::from(metric.kind != Kind::Gauge);
        if part.metrics.last().is_none_or(|last| last.name != metric.name) {
            part.metrics.push(message::Metric::of(metric, is_delta));
        }
        Some((metric, part.metrics.last_mut()?))
    }

    fn attributes(&self, metric: &Metric, labels: &[&str]) -> Vec<message::Attribute> {
        let base = self
            .base
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let own = metric.labels.iter().copied().zip(labels.iter().copied());
        let all = base.chain(own).filter(|(_, value)| !value.is_empty());
        all.map(|(name, value)| message::Attribute::of(name, value))
            .collect()
    }
}

impl Sink for Batch {
    fn begin(&mut self, metric: &'static Metric) {
        self.metric = Some(metric);
    }

    fn value(&mut self, labels: &[&str], value: i64) {
        let (start, now) = self.times;
        let Some(metric) = self.metric else { return };
        let attributes = self.attributes(metric, labels);
        if let Some((_, place)) = self.room() {
            place.add(Point::of(attributes, (start, now), value));
        }
    }

    fn histogram(&mut self, labels: &[&str], counts: &[u64], sum: u64) {
        let (start, now) = self.times;
        let Some(metric) = self.metric else { return };
        let attributes = self.attributes(metric, labels);
        let Kind::Histogram(bounds) = metric.kind else {
            return;
        };
        if let Some((_, place)) = self.room() {
            let range = Range { counts, bounds, sum };
            place.add_range(RangePoint::of(attributes, (start, now), &range));
        }
    }
}

/// An open connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driving: AbortOnDropHandle<()>,
}

impl Connection {
    async fn open(target: &Target) -> Result<Connection, PushError> {
        let opening = async {
            let stream = TcpStream::connect(&target.authority).await;
            let stream = stream.map_err(PushError::Connect)?;
            let opened = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (sender, connection) = opened.map_err(|e| PushError::Protocol(e.to_string()))?;
            let driving = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection to the collector ended");
                }
            });
            Ok(Connection {
                sender,
                _driving: AbortOnDropHandle::new(driving),
            })
        };
        in_time(target.timeout, opening).await
    }

    async fn send(&mut self, target: &Target, message: &[u8]) -> Result<Rejected, PushError> {
        let request = request(target, message)?;
        let answered = async {
            let protocol = |e: hyper::Error| PushError::Protocol(e.to_string());
            self.sender.ready().await.map_err(protocol)?;
            let response = self.sender.send_request(request).await.map_err(protocol)?;
            read(response).await
        };
        in_time(target.timeout, answered).await
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, PushError>>,
) -> Result<T, PushError> {
    let done = tokio::time::timeout(limit, work).await;
    done.map_err(|_| PushError::TimedOut(limit))?
}

fn request(target: &Target, message: &[u8]) -> Result<Request<Full<Bytes>>, PushError> {
    let mut body = BytesMut::with_capacity(message.len() + 5);
    // Not packed, and its length.
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.extend_from_slice(message);
    let mut request = Request::new(Full::new(body.freeze()));
    *request.method_mut() = hyper::Method::POST;
    let uri = format!("http://{}{PATH}", target.authority);
    *request.uri_mut() = uri.parse().map_err(|_| PushError::Protocol(uri))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    for (name, value) in &target.headers {
        let bad = || PushError::Header(name.clone());
        let parsed = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|_| bad())?;
        headers.insert(parsed, HeaderValue::from_str(value).map_err(|_| bad())?);
    }
    Ok(request)
}

async fn read(response: Response<Incoming>) -> Result<Rejected, PushError> {
    if response.status() != StatusCode::OK {
        return Err(PushError::Protocol(response.status().to_string()));
    }
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|e| PushError::Protocol(e.to_string()))?;
    // An answer without a message has its status among the headers.
    let status = |headers: &HeaderMap| headers.get("grpc-status").cloned();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let found = status(&trailers).or_else(|| status(&head.headers));
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    match found.as_ref().and_then(|status| status.to_str().ok()) {
        Some("0") => {}
        Some(status) => {
            return Err(PushError::Refused {
                status: status.to_owned(),
                message: text("grpc-message"),
            });
        }
        None => return Err(PushError::Protocol("an answer without a status".to_owned())),
    }
    let bytes = body.to_bytes();
    let answer = Answer::decode(bytes.get(5..).unwrap_or_default());
    let partial = answer.ok().and_then(|answer| answer.partial_success);
    Ok(partial.map_or_else(Rejected::default, |partial| Rejected {
        values: partial.rejected_data_points,
        why: partial.error_message,
    }))
}
