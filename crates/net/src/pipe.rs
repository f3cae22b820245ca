// SPDX-License-Identifier: Apache-2.0
//! A connection that we opened and that one task owns: it queues frames, and takes what comes, one frame after the other.
//!
//! A [`crate::Channel`] has a task of its own and wakes its callers one by one. Whoever has thousands of requests under way
//! and looks after their answers itself takes this instead: one read, one write and no wake-up for all of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use wire::frame::{Decoder, Encoding, Frame, FrameError};

use crate::channel::{ConnectError, open};
use crate::limits::Limits;
use crate::outbox::Outbox;
use crate::socket::Stream;

const READ_BYTES_MIN: usize = 8 << 10;
const READ_BYTES_MAX: usize = 256 << 10;

/// Why a pipe has ended.
#[derive(Debug, Error)]
pub enum PipeError {
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is no frame.
    #[error(transparent)]
    Malformed(#[from] FrameError),
}

/// Frames to and from one peer. Ends when dropped; after an error nothing more can be done with it.
pub struct Pipe {
    stream: Stream,
    decoder: Decoder,
    encoding: Encoding,
    inbox: BytesMut,
    outbox: Outbox,
    read_bytes: usize,
}

impl Pipe {
    /// Connects; `encoding` is that of our headers.
    pub async fn connect(
        addr: SocketAddr,
        timeout: Duration,
        encoding: Encoding,
    ) -> Result<Pipe, ConnectError> {
        let (stream, _) = open(addr, timeout).await?;
        Ok(Pipe {
            stream,
            decoder: Decoder {
                frame_bytes_max: Limits::default().frame_bytes_max,
            },
            encoding,
            inbox: BytesMut::new(),
            outbox: Outbox::default(),
            read_bytes: READ_BYTES_MIN,
        })
    }

    /// Queues a frame. It leaves with the next [`Pipe::turn`]; whoever queues looks at [`Pipe::queued`] before.
    pub fn queue(&mut self, frame: &Frame) {
        self.outbox.push(frame, self.encoding);
    }

    /// Bytes that have not left yet.
    pub fn queued(&self) -> usize {
        self.outbox.bytes()
    }

    /// Writes as much as the socket takes; whether that was all.
    pub fn flush(&mut self) -> Result<bool, PipeError> {
        let (_, writer) = self.stream.split();
        Ok(self.outbox.write(&writer)?)
    }

    /// Writes what is queued, and returns when something has come, or when what the socket did not take at first has
    /// left. May be given up at any moment: nothing is lost.
    pub async fn turn(&mut self) -> Result<(), PipeError> {
        let (mut reader, writer) = self.stream.split();
        self.outbox.write(&writer)?;
        if self.inbox.capacity() - self.inbox.len() < self.read_bytes / 2 {
            self.inbox.reserve(self.read_bytes);
        }
        loop {
            tokio::select! {
                biased;
                read = reader.read_buf(&mut self.inbox) => {
                    let bytes = read?;
                    if bytes == 0 {
                        return Err(PipeError::Closed);
                    }
                    if bytes * 2 >= self.read_bytes {
                        self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
                    }
                    return Ok(());
                }
                ready = writer.writable(), if !self.outbox.is_empty() => {
                    ready?;
                    if self.outbox.write(&writer)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// The next frame of what has come, `None` when it is not complete.
    pub fn frame(&mut self) -> Result<Option<Frame>, PipeError> {
        Ok(self.decoder.next(&mut self.inbox)?)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use wire::code::ResponseCode;

    use super::*;

    async fn pair() -> (Pipe, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let connecting = Pipe::connect(addr, Duration::from_secs(10), Encoding::Json);
        let (pipe, accepted) = tokio::join!(connecting, listener.accept());
        (pipe.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn what_is_queued_leaves_in_order_and_what_comes_is_cut_into_frames() {
        let (mut pipe, mut far) = pair().await;
        let sizes = [0, 10, 5_000_000, 3000, 1];
        for (opaque, bytes) in sizes.into_iter().enumerate() {
            let frame =
                Frame::reply(opaque as i32, ResponseCode::SUCCESS).with_body(vec![opaque as u8; bytes]);
            pipe.queue(&frame);
        }
        let total = pipe.queued();
        let echo = tokio::spawn(async move {
            let mut all = vec![0; total];
            far.read_exact(&mut all).await.unwrap();
            far.write_all(&all).await.unwrap();
            far
        });
        let mut found = Vec::new();
        while found.len() < sizes.len() {
            // Given up again and again, nothing is lost.
            let turn = tokio::time::timeout(Duration::from_millis(1), pipe.turn()).await;
            turn.unwrap_or(Ok(())).unwrap();
            while let Some(frame) = pipe.frame().unwrap() {
                assert!(frame.body.iter().all(|byte| i32::from(*byte) == frame.opaque));
                found.push(frame.body.len());
            }
        }
        assert_eq!(found, sizes);
        assert_eq!(pipe.queued(), 0);
        drop(echo.await.unwrap());
        assert!(matches!(pipe.turn().await, Err(PipeError::Closed)));
    }

    #[tokio::test]
    async fn what_is_no_frame_ends_the_pipe() {
        let (mut pipe, mut far) = pair().await;
        far.write_all(&[0xff; 16]).await.unwrap();
        pipe.turn().await.unwrap();
        assert!(matches!(pipe.frame(), Err(PipeError::Malformed(_))));
    }
}
