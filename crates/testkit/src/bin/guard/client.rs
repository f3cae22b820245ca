// SPDX-License-Identifier: Apache-2.0
//! The connection of the process that is not counted.

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;
use wire::frame::{Decoder, Encoding, Frame};

/// Much longer than a counted broker takes for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the broker, or to the port for marks.
pub(crate) struct Client {
    stream: TcpStream,
    received: BytesMut,
}

impl Client {
    pub(crate) fn open(port: u16) -> anyhow::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("the broker is not there")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            received: BytesMut::new(),
        })
    }

    /// Writes requests in one go, so that the broker reads them in one go, and waits for as many answers. Each must be a
    /// success.
    pub(crate) fn exchange(&mut self, requests: &[Frame]) -> anyhow::Result<Vec<Frame>> {
        let mut bytes = BytesMut::new();
        for request in requests {
            request.encode(&mut bytes, Encoding::Json);
        }
        self.stream.write_all(&bytes)?;
        let mut answers = Vec::with_capacity(requests.len());
        let mut chunk = [0; 64 * 1024];
        while answers.len() < requests.len() {
            let read = self.stream.read(&mut chunk).context("no answer")?;
            if read == 0 {
                bail!("the broker closed the connection");
            }
            self.received.extend_from_slice(&chunk[..read]);
            while let Some(answer) = Decoder::default().next(&mut self.received)? {
                ensure!(
                    answer.code == 0,
                    "the broker answered {} ({:?})",
                    answer.code,
                    answer.remark
                );
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    /// At the port for marks: what was counted so far is written away.
    pub(crate) fn mark(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"m")?;
        self.stream.read_exact(&mut [0]).context("no answer to a mark")
    }
}
