// SPDX-License-Identifier: Apache-2.0
//! A bare blocking connection: it writes frames and reads frames and knows nothing else, so that it can be trusted to
//! show what a server really sends. It deliberately shares no code with `net`.

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use wire::code::Code;
use wire::ext::Ext;
use wire::frame::{Decoder, Encoding, Frame};

/// Longer than any server here holds a request.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// One connection. Requests of the server are kept apart until somebody asks for them.
pub struct Line {
    /// Our end.
    pub local: SocketAddr,
    stream: TcpStream,
    received: BytesMut,
    pushed: VecDeque<Frame>,
    /// Answers that came while another was waited for.
    early: VecDeque<Frame>,
    last: i32,
}

/// The number of a request that only shows that those before it have been seen.
const BARRIER: i32 = i32::MAX;

/// A request from its parts, for codes and fields that our own types do not allow.
pub fn request(code: Code, fields: &[(&str, &str)], body: &[u8]) -> Frame {
    let ext = fields
        .iter()
        .fold(Ext::default(), |ext, (name, value)| ext.with(name, value));
    Frame {
        code: code.0,
        flag: 0,
        ext,
        body: Bytes::copy_from_slice(body),
        ..Frame::reply(0, wire::code::ResponseCode::SUCCESS)
    }
}

impl Line {
    /// Connects.
    pub fn open(addr: SocketAddr) -> anyhow::Result<Line> {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(3))
            .with_context(|| format!("cannot connect to {addr}"))?;
        Line::over(stream)
    }

    /// Takes a connection that somebody made, who blocks when he reads and writes.
    pub fn over(stream: TcpStream) -> anyhow::Result<Line> {
        stream.set_nodelay(true)?;
        Ok(Line {
            local: stream.local_addr()?,
            stream,
            received: BytesMut::new(),
            pushed: VecDeque::new(),
            early: VecDeque::new(),
            last: 0,
        })
    }

    /// Sends a request and waits for its answer.
    pub fn ask(&mut self, request: Frame, encoding: Encoding) -> anyhow::Result<Frame> {
        self.send(request, encoding)?;
        self.answer()
    }

    /// Waits for the answer to the request that was sent last.
    pub fn answer(&mut self) -> anyhow::Result<Frame> {
        if let Some(frame) = self.early.pop_front() {
            return Ok(frame);
        }
        self.wait_for(self.last)
    }

    /// Waits until the server has seen all that was sent before: it answers requests of this connection sent later.
    pub fn settle(&mut self) -> anyhow::Result<()> {
        // The reference works on several requests of one connection at a time; after some round trips it has seen it.
        for _ in 0..3 {
            let fields = [("topic", "nobody-has-this-topic"), ("queueId", "0")];
            let mut probe = request(Code::GET_MAX_OFFSET, &fields, &[]);
            probe.opaque = BARRIER;
            self.write(&probe, Encoding::Json)?;
            self.wait_for(BARRIER)?;
        }
        Ok(())
    }

    fn wait_for(&mut self, opaque: i32) -> anyhow::Result<Frame> {
        loop {
            match self.receive(PATIENCE)? {
                Some(frame) if frame.is_reply() && frame.opaque == opaque => return Ok(frame),
                Some(frame) if frame.is_reply() && frame.opaque == self.last => self.early.push_back(frame),
                Some(frame) if frame.is_reply() => {
                    bail!("an answer to request {} that nobody waits for", frame.opaque)
                }
                Some(frame) => self.pushed.push_back(frame),
                None => bail!("no answer within {PATIENCE:?}"),
            }
        }
    }

    /// Sends a request without waiting; returns its number.
    pub fn send(&mut self, mut request: Frame, encoding: Encoding) -> anyhow::Result<i32> {
        self.last += 1;
        request.opaque = self.last;
        self.write(&request, encoding)?;
        Ok(self.last)
    }

    fn write(&mut self, request: &Frame, encoding: Encoding) -> anyhow::Result<()> {
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, encoding);
        Ok(self.stream.write_all(&bytes)?)
    }

    /// The next request that the server sent to us, in the order of arrival.
    pub fn pushed(&mut self, within: Duration) -> anyhow::Result<Option<Frame>> {
        if let Some(frame) = self.pushed.pop_front() {
            return Ok(Some(frame));
        }
        let frame = self.receive(within)?;
        if let Some(frame) = frame.as_ref().filter(|frame| frame.is_reply()) {
            bail!("an answer to request {} that nobody waits for", frame.opaque);
        }
        Ok(frame)
    }

    /// The next frame, `None` when none came in time.
    fn receive(&mut self, within: Duration) -> anyhow::Result<Option<Frame>> {
        self.stream.set_read_timeout(Some(within))?;
        loop {
            if let Some(frame) = Decoder::default().next(&mut self.received)? {
                return Ok(Some(frame));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the server closed the connection"),
                Ok(n) => self.received.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(e) => return Err(e.into()),
            }
        }
    }
}
