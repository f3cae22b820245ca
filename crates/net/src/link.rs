// SPDX-License-Identifier: Apache-2.0
//! A replication link: the bytes of [`wire::ha`] over a stream, one half for each direction. What they mean, the link does
//! not know.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use wire::ha::{REPORT_BYTES, TRANSFER_BODY_MAX, TRANSFER_HEAD_BYTES, TransferError, TransferHead};

/// Read at once.
const READ_BYTES: usize = 256 << 10;
/// Pieces that are written at once; the system takes no more than 1024.
const SLICES_MAX: usize = 64;
/// Most that may wait in a buffer: one transfer.
const BUFFER_MAX: usize = TRANSFER_HEAD_BYTES + TRANSFER_BODY_MAX;

/// Why a link ended.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The other side closed it.
    #[error("the other side has closed the link")]
    Closed,
    /// Nothing came for so long.
    #[error("nothing came for {0:?}")]
    Silent(Duration),
    /// Nothing could be written for so long.
    #[error("the other side takes nothing since {0:?}")]
    Stuck(Duration),
    /// The stream failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What came is not spoken here.
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

/// The half that reads. Its calls can be given up at any moment: nothing that came is lost.
#[derive(Debug)]
pub struct LinkReader<R> {
    stream: R,
    buffer: BytesMut,
    silence_max: Duration,
    /// When something came last: whoever reads may give up in between and begin again.
    heard: Instant,
}

/// The half that writes.
#[derive(Debug)]
pub struct LinkWriter<W> {
    stream: W,
    silence_max: Duration,
}

impl<R: AsyncRead + Unpin> LinkReader<R> {
    /// A link on which something comes at least so often.
    pub fn new(stream: R, silence_max: Duration) -> LinkReader<R> {
        LinkReader {
            stream,
            buffer: BytesMut::new(),
            silence_max,
            heard: Instant::now(),
        }
    }

    /// The next report of a slave, and no other that came with it.
    pub async fn first_report(&mut self) -> Result<i64, LinkError> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk::<REPORT_BYTES>() {
                let report = i64::from_be_bytes(*bytes);
                bytes::Buf::advance(&mut self.buffer, REPORT_BYTES);
                return Ok(report);
            }
            self.fill().await?;
        }
    }

    /// The newest report of a slave; older ones that came with it are passed over, as by the reference.
    pub async fn report(&mut self) -> Result<i64, LinkError> {
        while self.buffer.len() < REPORT_BYTES {
            self.fill().await?;
        }
        let whole = self.buffer.len() / REPORT_BYTES * REPORT_BYTES;
        let reports = self.buffer.split_to(whole);
        let newest = reports.last_chunk::<REPORT_BYTES>().copied().unwrap_or_default();
        Ok(i64::from_be_bytes(newest))
    }

    /// The next transfer of a master.
    pub async fn transfer(&mut self) -> Result<(TransferHead, Bytes), LinkError> {
        let head = loop {
            if let Some(head) = self.buffer.first_chunk::<TRANSFER_HEAD_BYTES>() {
                break TransferHead::decode(*head)?;
            }
            self.fill().await?;
        };
        let len = TRANSFER_HEAD_BYTES + head.len;
        while self.buffer.len() < len {
            self.fill().await?;
        }
        let body = self.buffer.split_to(len).freeze().slice(TRANSFER_HEAD_BYTES..);
        Ok((head, body))
    }

    /// Whether a whole transfer has come that nobody has taken.
    pub fn has_transfer(&self) -> bool {
        let head = self.buffer.first_chunk::<TRANSFER_HEAD_BYTES>();
        let head = head.and_then(|head| TransferHead::decode(*head).ok());
        head.is_some_and(|head| self.buffer.len() >= TRANSFER_HEAD_BYTES + head.len)
    }

    async fn fill(&mut self) -> Result<(), LinkError> {
        let room = READ_BYTES.min(BUFFER_MAX.saturating_sub(self.buffer.len()).max(1));
        self.buffer.reserve(room);
        let mut limited = bytes::BufMut::limit(&mut self.buffer, room);
        let read = timeout_at(self.heard + self.silence_max, self.stream.read_buf(&mut limited));
        match read.await {
            Ok(Ok(0)) => Err(LinkError::Closed),
            Ok(Ok(_)) => {
                self.heard = Instant::now();
                Ok(())
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(LinkError::Silent(self.silence_max)),
        }
    }
}

impl<W: AsyncWrite + Unpin> LinkWriter<W> {
    /// A link on which the other side takes something at least so often.
    pub fn new(stream: W, silence_max: Duration) -> LinkWriter<W> {
        LinkWriter { stream, silence_max }
    }

    /// Tells how far a slave is.
    pub async fn report(&mut self, end: i64) -> Result<(), LinkError> {
        self.write(&end.to_be_bytes()).await
    }

    /// Sends log bytes, in transfers of at most `body_max`, without copying them. None at all is a heartbeat.
    pub async fn transfer(&mut self, at: i64, bytes: &[u8], body_max: usize) -> Result<(), LinkError> {
        let body_max = body_max.clamp(1, TRANSFER_BODY_MAX);
        let head = |at, body: &[u8]| TransferHead { at, len: body.len() }.encode();
        if bytes.is_empty() {
            return self.write(&head(at, bytes)).await;
        }
        let bodies: Vec<&[u8]> = bytes.chunks(body_max).collect();
        let offset = |index: usize| at + (index * body_max) as i64;
        let heads: Vec<_> = bodies
            .iter()
            .enumerate()
            .map(|(i, body)| head(offset(i), body))
            .collect();
        let pairs = heads.iter().zip(&bodies);
        let mut slices: Vec<IoSlice<'_>> = pairs
            .flat_map(|(head, body)| [IoSlice::new(head), IoSlice::new(body)])
            .collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let most = rest.len().min(SLICES_MAX);
            let writing = self.stream.write_vectored(rest.get(..most).unwrap_or_default());
            match timeout(self.silence_max, writing).await {
                Ok(Ok(0)) => return Err(LinkError::Closed),
                Ok(Ok(written)) => IoSlice::advance_slices(&mut rest, written),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(LinkError::Stuck(self.silence_max)),
            }
        }
        Ok(())
    }

    async fn write(&mut self, mut bytes: &[u8]) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            match timeout(self.silence_max, self.stream.write(bytes)).await {
                Ok(Ok(0)) => return Err(LinkError::Closed),
                Ok(Ok(written)) => bytes = bytes.get(written..).unwrap_or_default(),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(LinkError::Stuck(self.silence_max)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    const SILENCE: Duration = Duration::from_secs(20);

    fn link(capacity: usize) -> (DuplexStream, LinkReader<DuplexStream>) {
        let (near, far) = duplex(capacity);
        (near, LinkReader::new(far, SILENCE))
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_on_which_nothing_comes_is_silent_after_a_while() {
        let (mut near, mut reader) = link(64);
        let begun = Instant::now();
        // A part of a report is something, but starts the wait anew only once.
        tokio::time::sleep(Duration::from_secs(5)).await;
        near.write_all(&[0; 4]).await.unwrap();
        // Whoever reads does other things in between: that does not put off the end.
        let given_up = timeout(Duration::from_secs(10), reader.report()).await;
        assert!(given_up.is_err());
        let ended = reader.report().await;
        assert!(matches!(ended, Err(LinkError::Silent(_))), "{ended:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_takes_nothing_is_stuck_after_a_while() {
        let (near, mut far) = duplex(64);
        let mut writer = LinkWriter::new(near, SILENCE);
        let begun = Instant::now();
        let (sent, ()) = tokio::join!(writer.transfer(0, &[7; 200], 100), async {
            tokio::time::sleep(Duration::from_secs(15)).await;
            // Something is taken: the wait begins anew.
            far.read_exact(&mut [0; 64]).await.unwrap();
        });
        assert!(matches!(sent, Err(LinkError::Stuck(_))), "{sent:?}");
        assert_eq!(begun.elapsed(), Duration::from_secs(35));
    }

    #[tokio::test]
    async fn of_reports_the_newest_counts_and_a_part_of_one_waits_for_the_rest() {
        let (mut near, mut reader) = link(1024);
        let bytes = [1_i64, 2, 3].map(i64::to_be_bytes).concat();
        near.write_all(&bytes[..20]).await.unwrap();
        assert_eq!(reader.report().await.unwrap(), 2);
        near.write_all(&bytes[20..]).await.unwrap();
        assert_eq!(reader.report().await.unwrap(), 3);
        near.write_all(&bytes).await.unwrap();
        assert_eq!(reader.first_report().await.unwrap(), 1);
        assert_eq!(reader.report().await.unwrap(), 3);
        drop(near);
        assert!(matches!(reader.report().await, Err(LinkError::Closed)));
    }

    #[tokio::test]
    async fn transfers_arrive_whole_however_their_bytes_do() {
        let (near, mut reader) = link(7);
        let mut writer = LinkWriter::new(near, SILENCE);
        let log: Vec<u8> = (0..250).collect();
        let sending = async {
            writer.transfer(1_000, &log, 100).await.unwrap();
            writer.transfer(1_250, &[], 100).await.unwrap();
        };
        let taking = async {
            let mut found = Vec::new();
            for _ in 0..4 {
                // Given up and begun again, nothing is lost.
                while timeout(Duration::ZERO, reader.fill())
                    .await
                    .is_ok_and(|filled| filled.is_ok())
                    && !reader.has_transfer()
                {}
                found.push(reader.transfer().await.unwrap());
            }
            found
        };
        let ((), found) = tokio::join!(sending, taking);
        let ats: Vec<_> = found.iter().map(|(head, body)| (head.at, body.len())).collect();
        assert_eq!(ats, [(1_000, 100), (1_100, 100), (1_200, 50), (1_250, 0)]);
        let bytes: Vec<u8> = found.iter().flat_map(|(_, body)| body.to_vec()).collect();
        assert_eq!(bytes, log);
    }

    #[tokio::test]
    async fn a_head_that_no_master_writes_ends_the_link_before_anything_is_kept() {
        for (at, len) in [(-1, 0), (0, -1), (0, i32::MAX), (0, TRANSFER_BODY_MAX as i32 + 1)] {
            let (mut near, mut reader) = link(1024);
            near.write_i64(at).await.unwrap();
            near.write_i32(len).await.unwrap();
            let refused = reader.transfer().await;
            assert!(matches!(refused, Err(LinkError::Transfer(_))), "{refused:?}");
            assert!(!reader.has_transfer());
            assert!(reader.buffer.capacity() <= 2 * READ_BYTES);
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_one_transfer_can_be() {
        let (mut near, mut reader) = link(64 << 20);
        let head = TransferHead {
            at: 0,
            len: TRANSFER_BODY_MAX,
        };
        for _ in 0..4 {
            near.write_all(&head.encode()).await.unwrap();
            near.write_all(&vec![1; TRANSFER_BODY_MAX]).await.unwrap();
        }
        for _ in 0..4 {
            let (_, body) = reader.transfer().await.unwrap();
            assert_eq!(body.len(), TRANSFER_BODY_MAX);
            assert!(reader.buffer.len() <= BUFFER_MAX, "{}", reader.buffer.len());
        }
    }
}
