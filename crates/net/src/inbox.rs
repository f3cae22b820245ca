// SPDX-License-Identifier: Apache-2.0
//! Bytes that one socket has brought, until they are frames. Room for a quiet connection is small; one that fills it gets
//! more; and what a large frame needed does not stay.
//!
//! A large frame is kept in pieces of one size until it is complete, and then put together. In one buffer that grows it would be
//! moved from place to place, and leave holes of all sizes behind that the allocator keeps.

use bytes::{Bytes, BytesMut};
use wire::frame::{Decoder, Frame, FrameError};

const READ_BYTES_MIN: usize = 8 * 1024;
const READ_BYTES_MAX: usize = 256 * 1024;
/// Size of the pieces of a large frame; each is at least half full.
const PIECE_BYTES: usize = READ_BYTES_MAX;
/// A buffer that had to grow beyond this for a frame is given back when the frame is complete.
const KEPT_BYTES_MAX: usize = 1 << 20;

pub(crate) struct Inbox {
    decoder: Decoder,
    /// What has arrived, and room for more.
    pub(crate) bytes: BytesMut,
    /// Size of the buffer that it is the rest of.
    buffer: usize,
    read_bytes: usize,
    /// The beginning of a large frame, which goes on in `bytes`.
    pieces: Vec<BytesMut>,
    /// What is in them.
    pieces_bytes: usize,
    /// The buffers that they keep.
    pieces_held: usize,
}

impl Inbox {
    pub(crate) fn new(frame_bytes_max: usize) -> Inbox {
        Inbox {
            decoder: Decoder { frame_bytes_max },
            bytes: BytesMut::new(),
            buffer: 0,
            read_bytes: READ_BYTES_MIN,
            pieces: Vec::new(),
            pieces_bytes: 0,
            pieces_held: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.pieces.is_empty()
    }

    /// The next frame and its length.
    pub(crate) fn next(&mut self) -> Result<Option<(Frame, usize)>, FrameError> {
        if !self.pieces.is_empty() && !self.put_together() {
            return Ok(None);
        }
        let before = self.bytes.len();
        let frame = self.decoder.next(&mut self.bytes)?;
        Ok(frame.map(|frame| (frame, before - self.bytes.len())))
    }

    /// Gives a frame its own copy of its bytes if it would keep much more than them: the whole buffer it arrived in.
    pub(crate) fn detach(&self, frame: &mut Frame, bytes: usize) {
        if bytes < self.buffer / 2 {
            frame.ext.detach();
            frame.body = Bytes::copy_from_slice(&frame.body);
        }
    }

    /// Takes note of what a read has brought.
    pub(crate) fn took(&mut self, bytes: usize) {
        if bytes * 2 >= self.read_bytes {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        } else if bytes * 8 < self.read_bytes && self.read_bytes > READ_BYTES_MIN {
            self.read_bytes /= 2;
            if self.bytes.len() == bytes && self.bytes.capacity() > 4 * self.read_bytes {
                self.begin_anew();
            }
        }
    }

    /// Room for the next read: little for a quiet connection, more for one that fills it.
    pub(crate) fn make_room(&mut self) {
        if self.buffer > KEPT_BYTES_MAX && self.bytes.len() < self.buffer / 8 {
            self.begin_anew();
        }
        if self.bytes.capacity() - self.bytes.len() >= self.read_bytes / 2 {
            return;
        }
        if self.bytes.len() >= PIECE_BYTES / 2 {
            if self.buffer > 2 * PIECE_BYTES {
                // It is the rest of the buffer of a large frame, and would keep all of it.
                self.begin_anew();
            }
            self.pieces_bytes += self.bytes.len();
            self.pieces_held += self.buffer;
            let next = BytesMut::with_capacity(PIECE_BYTES);
            self.pieces.push(std::mem::replace(&mut self.bytes, next));
        } else {
            self.bytes.reserve(self.read_bytes);
        }
        self.buffer = self.bytes.capacity();
    }

    /// Puts the pieces of a frame together if all of it is there.
    fn put_together(&mut self) -> bool {
        let length = self.pieces.first().and_then(|first| first.first_chunk::<4>());
        let length = length.map_or(0, |length| u32::from_be_bytes(*length) as usize);
        let arrived = self.pieces_bytes + self.bytes.len();
        if arrived < length.saturating_add(4) {
            return false;
        }
        let mut whole = BytesMut::with_capacity(arrived);
        for piece in self.pieces.drain(..).chain([std::mem::take(&mut self.bytes)]) {
            whole.extend_from_slice(&piece);
        }
        (self.pieces_bytes, self.pieces_held) = (0, 0);
        self.buffer = whole.capacity();
        self.bytes = whole;
        true
    }

    /// Gives back the room of a burst that is over.
    pub(crate) fn give_back(&mut self) {
        if self.is_empty() && self.buffer > 2 * READ_BYTES_MIN {
            self.read_bytes = READ_BYTES_MIN;
            self.begin_anew();
        }
    }

    /// The memory that it takes.
    pub(crate) fn held(&self) -> usize {
        self.pieces_held + self.buffer
    }

    fn begin_anew(&mut self) {
        self.bytes = BytesMut::from(&self.bytes[..]);
        self.buffer = self.bytes.capacity();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::code::ResponseCode;
    use wire::frame::Encoding;

    /// As a connection takes it: in reads of what there is room for.
    fn take(inbox: &mut Inbox, mut bytes: &[u8]) -> Vec<(Frame, usize)> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            inbox.make_room();
            let room = inbox.bytes.capacity() - inbox.bytes.len();
            let (read, rest) = bytes.split_at(room.min(bytes.len()));
            inbox.bytes.extend_from_slice(read);
            inbox.took(read.len());
            frames.extend(std::iter::from_fn(|| inbox.next().unwrap()));
            bytes = rest;
        }
        frames
    }

    #[test]
    fn frames_of_all_sizes_come_out_as_they_went_in() {
        let mut inbox = Inbox::new(16 << 20);
        let sizes = [
            10, 100_000, 130_000, 262_144, 300_000, 5, 1_000_000, 3_000_000, 0, 262_000, 131_000,
        ];
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| frame(*size)).collect();
        for chunk in [bytes.len(), 100_000, 7777] {
            let parts = bytes.chunks(chunk);
            let frames: Vec<_> = parts.flat_map(|part| take(&mut inbox, part)).collect();
            let lengths: Vec<_> = frames.iter().map(|(frame, _)| frame.body.len()).collect();
            assert_eq!(lengths, sizes);
            assert!(
                frames
                    .iter()
                    .all(|(frame, _)| frame.body.iter().all(|byte| *byte == 7))
            );
            assert!(inbox.is_empty());
        }
    }

    fn frame(body: usize) -> BytesMut {
        let mut out = BytesMut::new();
        let frame = Frame::reply(1, ResponseCode::SUCCESS).with_body(vec![7; body]);
        frame.encode(&mut out, Encoding::Json);
        out
    }

    #[test]
    fn a_large_frame_leaves_no_large_buffer_behind_and_nothing_of_what_follows_is_lost() {
        let mut inbox = Inbox::new(16 << 20);
        let mut bytes = frame(8 << 20);
        let next = frame(100);
        bytes.extend_from_slice(&next[..50]);
        assert_eq!(take(&mut inbox, &bytes[..bytes.len() - 51]).len(), 0);
        let (arrived, held) = (8 << 20, inbox.held());
        assert!((arrived..2 * arrived + 2 * PIECE_BYTES).contains(&held), "{held}");
        assert_eq!(take(&mut inbox, &bytes[bytes.len() - 51..]).len(), 1);
        inbox.make_room();
        assert!(
            inbox.bytes.capacity() <= 2 * READ_BYTES_MAX,
            "{}",
            inbox.bytes.capacity()
        );
        let frames = take(&mut inbox, &next[50..]);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].1, next.len());
    }

    #[test]
    fn the_beginning_of_a_large_frame_keeps_nothing_of_the_one_before_it() {
        for size in (1..40).map(|n| n * 50_000) {
            let mut inbox = Inbox::new(16 << 20);
            let mut bytes = frame(size);
            bytes.extend_from_slice(&frame(4 << 20)[..700_000]);
            drop(take(&mut inbox, &bytes));
            inbox.make_room();
            assert!(!inbox.pieces.is_empty());
            let held = inbox.held();
            assert!(
                (700_000..700_000 + 4 * PIECE_BYTES).contains(&held),
                "{size}: {held}"
            );
            let mut kept = inbox.pieces.into_iter();
            // A piece whose buffer is so large would take so much.
            assert!(
                kept.all(|mut piece| !piece.try_reclaim(2 * PIECE_BYTES)),
                "after {size}"
            );
        }
    }

    #[test]
    fn a_frame_that_is_kept_keeps_its_own_bytes_and_no_others() {
        let mut inbox = Inbox::new(16 << 20);
        let mut bytes = frame(500_000);
        bytes.extend_from_slice(&frame(10));
        let mut frames = take(&mut inbox, &bytes);
        let (mut small, length) = frames.pop().unwrap();
        let (mut large, large_length) = frames.pop().unwrap();
        let before = (small.body.as_ptr(), large.body.as_ptr());
        inbox.detach(&mut small, length);
        inbox.detach(&mut large, large_length);
        assert_eq!(small.body, [7; 10][..]);
        assert_ne!(small.body.as_ptr(), before.0);
        // That one is most of its buffer.
        assert_eq!(large.body.as_ptr(), before.1);
    }

    #[test]
    fn an_empty_inbox_gives_back_the_room_of_a_burst() {
        let mut inbox = Inbox::new(16 << 20);
        take(&mut inbox, &frame(400_000));
        assert!(inbox.held() > 100_000);
        inbox.give_back();
        assert_eq!(inbox.held(), 0);
    }
}
