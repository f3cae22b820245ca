// SPDX-License-Identifier: Apache-2.0
//! The port for metrics over real sockets.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use flate2::read::GzDecoder;
use metrics::http::{self, Page, Pages};
use net::{BoxFuture, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

struct Book;

impl Pages for Book {
    fn page(self: Arc<Self>, path: &str) -> BoxFuture<Option<Page>> {
        let page = match path {
            "/short" => Some(Page::line(200, "short")),
            "/long" => Some(Page::line(200, "x".repeat(100_000))),
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
