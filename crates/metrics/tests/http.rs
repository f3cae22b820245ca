// SPDX-License-Identifier: Apache-2.0
//! The port for metrics over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use metrics::http::{self, Page, Pages};
use net::{BoxFuture, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// More than the system takes off the hands of who writes.
const HUGE_BYTES: usize = 32 << 20;
static HUGE: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; HUGE_BYTES].into());

struct Book;

impl Pages for Book {
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>> {
        let page = match path {
            "/short" => Some(Page::line(200, "short")),
            "/long" => Some(Page::line(200, "x".repeat(100_000))),
            "/huge" => Some(Page {
                body: HUGE.clone(),
                ..Page::line(200, "")
            }),
            "/ill" => Some(Page::line(503, "not well")),
            _ => None,
        };
        Box::pin(async { page })
    }
}

async fn open() -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listening = Server::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
    let (addr, stop) = (listening.local_addr(), CancellationToken::new());
    let serving = tokio::spawn(http::serve(listening, Arc::new(Book), stop.clone()));
    (addr, stop, serving)
}

/// Head and body of the answer.
async fn ask(addr: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    let end = all.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let body = all.split_off(end);
    (String::from_utf8(all).unwrap(), body)
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
}

#[tokio::test]
async fn pages_are_served_by_their_path_and_nothing_else_is() {
    let (addr, stop, serving) = open().await;
    let (head, body) = ask(addr, &get("/short?x=1", "")).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, b"short\n");
    assert!(ask(addr, &get("/ill", "")).await.0.starts_with("HTTP/1.1 503"));
    let (head, body) = ask(addr, &get("/nothing", "")).await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
    assert_eq!(body, b"there is nothing at /nothing\n");
    let (head, _) = ask(
        addr,
        "POST /short HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert!(
        head.starts_with("HTTP/1.1 405") && head.to_lowercase().contains("allow: get, head"),
        "{head}"
    );
    let (head, body) = ask(
        addr,
        "HEAD /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.is_empty());
    stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn a_large_page_is_packed_for_those_who_take_it_so() {
    let (addr, ..) = open().await;
    let (head, body) = ask(addr, &get("/long", "Accept-Encoding: deflate, gzip;q=0.5\r\n")).await;
    assert!(head.to_lowercase().contains("content-encoding: gzip"), "{head}");
    assert!(body.len() < 1000);
    let mut plain = String::new();
    GzDecoder::new(&body[..]).read_to_string(&mut plain).unwrap();
    assert_eq!(plain.len(), 100_001);
    let (head, body) = ask(addr, &get("/long", "")).await;
    assert!(!head.to_lowercase().contains("content-encoding"), "{head}");
    assert_eq!(body.len(), 100_001);
}

#[tokio::test]
async fn what_is_no_request_gets_an_error_and_a_large_head_too() {
    let (addr, ..) = open().await;
    let (head, _) = ask(addr, "hello?\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let (head, _) = ask(addr, &get("/short", &format!("X: {}\r\n", "y".repeat(20_000)))).await;
    assert!(head.starts_with("HTTP/1.1 431"), "{head}");
}

#[tokio::test]
async fn who_opens_many_connections_and_asks_nothing_keeps_nobody_out() {
    let (addr, ..) = open().await;
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(addr).await.unwrap());
    }
    let (head, body) = ask(addr, &get("/short", "")).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(body, b"short\n");
    assert_eq!(
        idle[0].read(&mut [0]).await.unwrap_or(0),
        0,
        "the oldest is closed"
    );
    let newest = idle.last_mut().unwrap();
    newest.write_all(get("/short", "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    newest.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("short\n"), "{answer}");
}

/// Connections that have the first bytes of a huge answer and take no more.
async fn slow(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut slow = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = "GET /huge HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        slow.push(stream);
    }
    slow
}

/// Bytes that still come until the connection ends.
async fn rest(stream: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let _it_may_be_reset = stream.read_to_end(&mut rest).await;
    rest.len()
}

#[tokio::test]
async fn who_takes_no_answers_keeps_nobody_out_and_who_is_asking_stays_before_who_is_not() {
    let (addr, ..) = open().await;
    let mut slow = slow(addr, 63).await;
    let mut idle = TcpStream::connect(addr).await.unwrap();
    assert!(ask(addr, &get("/short", "")).await.0.starts_with("HTTP/1.1 200"));
    assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(rest(&mut slow[0]).await > HUGE_BYTES, "there was an idle one");
    let _more = self::slow(addr, 2).await;
    assert!(ask(addr, &get("/short", "")).await.0.starts_with("HTTP/1.1 200"));
    assert!(rest(&mut slow[1]).await < HUGE_BYTES, "the oldest is closed");
}

#[tokio::test]
async fn a_connection_has_seconds_for_its_request_and_half_a_minute_for_its_answer() {
    let (addr, ..) = open().await;
    let mut slow = slow(addr, 1).await;
    let mut silent = TcpStream::connect(addr).await.unwrap();
    assert!(ask(addr, &get("/short", "")).await.0.starts_with("HTTP/1.1 200"));
    tokio::time::pause();
    let closed = tokio::time::timeout(Duration::from_secs(6), silent.read(&mut [0])).await;
    assert_eq!(closed.unwrap().unwrap_or(0), 0);
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(rest(&mut slow[0]).await < HUGE_BYTES);
}
