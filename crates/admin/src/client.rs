// SPDX-License-Identifier: Apache-2.0
//! Asks servers: one connection to each, kept while the command runs, and name servers one after the other until one answers.
//! It works with any server that speaks the protocol.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use net::{CallError, Channel};
use serde::de::DeserializeOwned;
use wire::code::{Code, Request, ResponseCode};
use wire::fastjson;
use wire::frame::Frame;

use crate::failure::Failure;

/// How long a server has for an answer, as in the reference.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Connections to servers.
pub struct Client {
    name_servers: Vec<String>,
    open: RefCell<HashMap<String, Rc<Channel>>>,
}

/// An answer of a server that says yes.
pub struct Answer {
    addr: String,
    request: Code,
    /// What it sent.
    pub frame: Frame,
}

impl Client {
    /// Knows these name servers (`host:port`, separated by `;`), and is connected to nobody.
    pub fn new(name_servers: &str) -> Client {
        let each = name_servers.split(';').map(str::trim);
        Client {
            name_servers: each.filter(|addr| !addr.is_empty()).map(str::to_owned).collect(),
            open: RefCell::default(),
        }
    }

    /// The name servers, in the order in which they were given.
    pub fn name_servers(&self) -> Result<&[String], Failure> {
        if self.name_servers.is_empty() {
            return Err(Failure::Usage(
                "no name server is known: say -n host:port, or set NAMESRV_ADDR".to_owned(),
            ));
        }
        Ok(&self.name_servers)
    }

    /// Asks the first name server that can be reached.
    pub async fn ask_names<R: Request>(&self, header: &R) -> Result<Answer, Failure> {
        let servers = self.name_servers()?;
        let mut last = None;
        for addr in servers {
            match self.ask(addr, header).await {
                Err(failure) if failure.is_of_the_way() => last = Some(failure),
                answered => return answered,
            }
        }
        let last = last.unwrap_or_else(|| Failure::Other("nobody was asked".to_owned()));
        Err(match servers.len() {
            1 => last,
            count => Failure::NoNameServer(count, Box::new(last)),
        })
    }

    /// Asks a server; an answer that is not a success is a failure.
    pub async fn ask<R: Request>(&self, addr: &str, header: &R) -> Result<Answer, Failure> {
        self.ask_with(addr, header, Bytes::new()).await
    }

    /// The same with a body.
    pub async fn ask_with<R: Request>(
        &self,
        addr: &str,
        header: &R,
        body: impl Into<Bytes>,
    ) -> Result<Answer, Failure> {
        let frame = Frame::request(0, header).with_body(body);
        self.ask_frame::<R>(addr, frame, ANSWER_WITHIN).await
    }

    /// The same with a frame that is not only a header, or with another time for the answer.
    pub async fn ask_frame<R: Request>(
        &self,
        addr: &str,
        frame: Frame,
        within: Duration,
    ) -> Result<Answer, Failure> {
        let frame = self.call(addr, frame, within).await?;
        if frame.code != ResponseCode::SUCCESS.0 {
            return Err(Failure::refused(addr, R::CODE, &frame));
        }
        Ok(Answer {
            addr: addr.to_owned(),
            request: R::CODE,
            frame,
        })
    }

    /// Sends any frame and returns whatever is answered.
    pub async fn call(&self, addr: &str, frame: Frame, within: Duration) -> Result<Frame, Failure> {
        let channel = self.channel(addr).await?;
        let answer = channel.call(frame, within).await;
        answer.map_err(|error| {
            self.open.borrow_mut().remove(addr);
            match error {
                CallError::TimedOut(_, within) => Failure::NoAnswer(addr.to_owned(), within),
                error => Failure::Ended(addr.to_owned(), error),
            }
        })
    }

    /// The connection to a server.
    pub async fn channel(&self, addr: &str) -> Result<Rc<Channel>, Failure> {
        let known = self.open.borrow().get(addr).cloned();
        if let Some(channel) = known.filter(|channel| channel.is_open()) {
            return Ok(channel);
        }
        let channel = Rc::new(Channel::connect(resolve(addr).await?, CONNECT_WITHIN).await?);
        self.open
            .borrow_mut()
            .insert(addr.to_owned(), Rc::clone(&channel));
        Ok(channel)
    }
}

/// Numbers are taken as they are, without a thread that asks the system.
async fn resolve(addr: &str) -> Result<SocketAddr, Failure> {
    if let Ok(addr) = addr.parse() {
        return Ok(addr);
    }
    let has_port = addr
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !has_port {
        return Err(Failure::BadAddress(addr.to_owned()));
    }
    let found = tokio::net::lookup_host(addr).await;
    let mut found = found.map_err(|error| Failure::NoHost(addr.to_owned(), error))?;
    let none = || std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address");
    found
        .next()
        .ok_or_else(|| Failure::NoHost(addr.to_owned(), none()))
}

impl Answer {
    /// The body, read as the reference's JSON.
    pub fn body<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        fastjson::from_slice(&self.frame.body).map_err(|error| self.wrong(&error.to_string()))
    }

    /// The same where a missing body stands for nothing.
    pub fn body_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        if self.frame.body.is_empty() {
            return Ok(T::default());
        }
        self.body()
    }

    /// The typed header.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.frame
            .ext
            .read()
            .map_err(|error| self.wrong(&format!("{error:?}")))
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.frame.body).map_err(|_| self.wrong("the text is not UTF-8"))
    }

    fn wrong(&self, why: &str) -> Failure {
        Failure::BadAnswer {
            addr: self.addr.clone(),
            request: self.request,
            why: why.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpListener;
    use wire::api::route::GetBrokerClusterInfo;

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up_with_a_word_about_what_to_do() {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = silent.local_addr().unwrap().to_string();
        let frame = Frame::request(0, &GetBrokerClusterInfo);
        let asked = Client::new("")
            .call(&addr, frame, Duration::from_millis(20))
            .await;
        let failure = asked.unwrap_err();
        assert!(failure.is_of_the_way());
        assert_eq!(failure.exit_code(), 1);
        let said = failure.to_string();
        assert_eq!(
            said,
            format!("no answer from {addr} within 0.02 s: it takes connections; its log says what it does")
        );
    }
}
