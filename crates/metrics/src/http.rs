// SPDX-License-Identifier: Apache-2.0
//! A small HTTP server: pages by their path, within limits. It knows no more of HTTP than a scraper, a probe and a browser
//! need: GET and HEAD, packed answers for those who take them, and one answer for each connection.
//!
//! Probes ask here whether the process has to be ended, so nobody can keep them out: whoever comes is let in, and where there
//! are too many, the one that has been there longest goes.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use net::socket::Stream;
use net::{BoxFuture, Listening};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections that are served at the same time.
const CONNECTIONS_MAX: usize = 64;
/// How long the head of a request may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection lasts: in that time its answer is made, and taken.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);
/// Bytes of the head of a request.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pages below this size are not packed.
const PACK_FROM_BYTES: usize = 4096;
/// How long to wait when no connection can be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// 200, 404, 503.
    pub status: u16,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
}

impl Page {
    /// One line of text.
    pub fn line(status: u16, text: impl Into<String>) -> Page {
        let mut text: String = text.into();
        text.push('\n');
        Page {
            status,
            content_type: "text/plain; charset=utf-8",
            body: text.into(),
        }
    }
}

/// What a server shows.
pub trait Pages: Send + Sync + 'static {
    /// The page at a path; `None`: there is none.
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>>;
}

/// Accepts and serves connections until `stop`; returns when the last one has ended.
pub async fn serve<P: Pages>(listening: Listening, pages: Arc<P>, stop: CancellationToken) {
    let (tasks, mut open) = (TaskTracker::new(), Vec::<Open>::new());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listening.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                make_room(&mut open);
                let has_asked = Arc::<AtomicBool>::default();
                let one = one(stream, peer, Arc::clone(&pages), Arc::clone(&has_asked));
                let stop = stop.clone();
                let task = tasks.spawn(async move {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = one => {}
                    }
                });
                open.push(Open {
                    peer,
                    has_asked,
                    task: task.abort_handle(),
                });
            }
            Err(error) => {
                // Out of descriptors: accepting again at once would spin.
                warn!(listen = %listening.local_addr(), %error, "cannot accept on the port for metrics; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listening);
    tasks.close();
    tasks.wait().await;
}

/// A connection.
struct Open {
    peer: SocketAddr,
    /// The head of its request is there.
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Of too many connections, which are in the order in which they came, the first goes; rather one that has not asked yet.
fn make_room(open: &mut Vec<Open>) {
    open.retain(|one| !one.task.is_finished());
    if open.len() < CONNECTIONS_MAX {
        return;
    }
    let idle = open.iter().position(|one| !one.has_asked.load(Ordering::Relaxed));
    let Open { peer, task, .. } = open.remove(idle.unwrap_or(0));
    task.abort();
    warn!(%peer, limit = CONNECTIONS_MAX, "closed: too many connections to the port for metrics, and this one is the oldest");
}

/// Serves a connection.
async fn one<P: Pages>(stream: Stream, peer: SocketAddr, pages: Arc<P>, has_asked: Arc<AtomicBool>) {
    let answering = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        answer(Arc::clone(&pages), request)
    });
    let (reader, writer) = stream.into_split();
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(tokio::io::join(reader, writer)), answering);
    match tokio::time::timeout(ANSWERED_WITHIN, conn).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%peer, %error, "connection to the port for metrics ended"),
        Err(_) => debug!(%peer, "connection to the port for metrics took too long"),
    }
}

async fn answer<P: Pages>(
    pages: Arc<P>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = respond(Page::line(405, "only GET and HEAD are served"));
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    let path = request.uri().path().to_owned();
    let takes_packed = request.headers().get_all(ACCEPT_ENCODING).iter().any(|accepted| {
        let accepted = accepted.to_str().unwrap_or_default();
        accepted
            .split(',')
            .any(|coding| coding.trim().split(';').next() == Some("gzip"))
    });
    let page = pages.page(&path).await;
    let page = page.unwrap_or_else(|| Page::line(404, format!("there is nothing at {path}")));
    if !takes_packed || page.body.len() < PACK_FROM_BYTES {
        return Ok(respond(page));
    }
    let body = page.body.clone();
    Ok(match tokio::task::spawn_blocking(move || packed(&body)).await {
        Ok(Ok(body)) => {
            let mut response = respond(Page { body, ..page });
            let headers = response.headers_mut();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        }
        _ => respond(page),
    })
}

fn respond(page: Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(page.body));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    response
}

fn packed(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    Ok(encoder.finish()?.into())
}
