// SPDX-License-Identifier: Apache-2.0
//! Bytes on their way to one socket: small frames are encoded back to back, large bodies go as they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use wire::frame::{Encoding, Frame};

use crate::socket::Writer;

/// A body from this size on is not copied behind its header but written from where it lies.
const COPY_BODY_MAX: usize = 2048;
/// Chunks of one vectored write.
const SLICES_MAX: usize = 16;

#[derive(Default)]
pub(crate) struct Outbox {
    sealed: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, frame: &Frame, encoding: Encoding) {
        let before = self.tail.len();
        if frame.body.len() < COPY_BODY_MAX {
            frame.encode(&mut self.tail, encoding);
            self.bytes += self.tail.len() - before;
            return;
        }
        frame.encode_head(&mut self.tail, encoding);
        self.bytes += self.tail.len() - before + frame.body.len();
        self.sealed.push_back(self.tail.split().freeze());
        self.sealed.push_back(frame.body.clone());
    }

    /// Takes frames that are encoded already.
    pub(crate) fn extend(&mut self, frames: &[u8]) {
        self.tail.extend_from_slice(frames);
        self.bytes += frames.len();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Writes until all is out or the socket takes no more. `Ok(false)`: something is left.
    pub(crate) fn write(&mut self, stream: &Writer<'_>) -> io::Result<bool> {
        while self.bytes > 0 {
            let written = if self.sealed.is_empty() {
                stream.try_write(&self.tail)
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for chunk in self.sealed.iter().take(SLICES_MAX - 1) {
                    slices[count] = IoSlice::new(chunk);
                    count += 1;
                }
                if self.sealed.len() < SLICES_MAX && !self.tail.is_empty() {
                    slices[count] = IoSlice::new(&self.tail);
                    count += 1;
                }
                stream.try_write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(front) = self.sealed.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.sealed.pop_front();
        }
        self.tail.advance(written);
    }
}
