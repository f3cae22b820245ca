// SPDX-License-Identifier: Apache-2.0
//! A small HTTP server: pages by their path, within limits. It knows no more of HTTP than a scraper, a probe and a browser
//! need: GET and HEAD, and packed answers for those who take them.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
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
use net::{BoxFuture, Listening};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

/// Connections that are served at the same time; others are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// How long the head of a request may take to arrive, and a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
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
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listening.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if tasks.len() >= CONNECTIONS_MAX => {
                warn!(%peer, limit = CONNECTIONS_MAX, "refused: too many connections to the port for metrics");
            }
            Ok((stream, peer)) => {
                let (pages, stop) = (Arc::clone(&pages), stop.clone());
                tasks.spawn(async move {
                    let answering = service_fn(move |request| answer(Arc::clone(&pages), request));
                    let conn = http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD_WITHIN)
                        .max_buf_size(HEAD_BYTES_MAX)
                        .serve_connection(TokioIo::new(stream), answering);
                    tokio::select! {
                        () = stop.cancelled() => {}
                        ended = conn => if let Err(error) = ended {
                            debug!(%peer, %error, "connection to the port for metrics ended");
                        },
                    }
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
