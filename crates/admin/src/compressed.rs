// SPDX-License-Identifier: Apache-2.0
//! Bodies that their sender compressed. The system flag says how; brokers store them as they come.

use std::io::{self, Read};

use flate2::read::ZlibDecoder;
use ruzstd::decoding::StreamingDecoder;
use wire::record::sysflag;

/// What a body may grow to. The largest message a broker takes is far below it.
const GROWN_BYTES_MAX: u64 = 64 << 20;

const LZ4: i32 = 0x100;
const ZSTD: i32 = 0x200;

/// The body as its sender had it.
pub(crate) fn grown(sys_flag: i32, body: &[u8]) -> io::Result<Vec<u8>> {
    match sys_flag & sysflag::COMPRESSION {
        LZ4 => lz4(body),
        ZSTD => {
            let frame = StreamingDecoder::new(body).map_err(io::Error::other)?;
            limited(frame)
        }
        // Old senders do not say how.
        _ => limited(ZlibDecoder::new(body)),
    }
}

fn limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let len = from.take(GROWN_BYTES_MAX + 1).read_to_end(&mut out)?;
    if len as u64 > GROWN_BYTES_MAX {
        return Err(too_large());
    }
    Ok(out)
}

fn too_large() -> io::Error {
    let mib = GROWN_BYTES_MAX >> 20;
    io::Error::other(format!("it would be larger than {mib} MiB"))
}

const LZ4_MAGIC: u32 = 0x184D_2204;
const HAS_DICTIONARY: u8 = 1;
const HAS_CONTENT_SUM: u8 = 1 << 2;
const HAS_SIZE: u8 = 1 << 3;
const HAS_BLOCK_SUMS: u8 = 1 << 4;
/// This block is stored as it is.
const PLAIN: u32 = 1 << 31;

/// One LZ4 frame. Its checksums are passed over: the record's own sum covers the same bytes.
fn lz4(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let from = &mut bytes;
    if u32::from_le_bytes(array(from)?) != LZ4_MAGIC {
        return Err(io::Error::other("it is no LZ4 frame"));
    }
    let [flags, _block_size] = array(from)?;
    if flags & HAS_DICTIONARY != 0 {
        return Err(io::Error::other("it needs a dictionary"));
    }
    if flags & HAS_SIZE != 0 {
        array::<8>(from)?;
    }
    let [_header_sum] = array(from)?;
    let mut out = Vec::new();
    loop {
        let size = u32::from_le_bytes(array(from)?);
        if size == 0 {
            break;
        }
        let block = take(from, (size & !PLAIN) as usize)?;
        if size & PLAIN == 0 {
            lz4_block(&mut out, block)?;
        } else {
            out.extend_from_slice(block);
        }
        if out.len() as u64 > GROWN_BYTES_MAX {
            return Err(too_large());
        }
        if flags & HAS_BLOCK_SUMS != 0 {
            array::<4>(from)?;
        }
    }
    if flags & HAS_CONTENT_SUM != 0 {
        array::<4>(from)?;
    }
    Ok(out)
}

/// Literals and repetitions by turns; a block may repeat what earlier ones brought.
fn lz4_block(out: &mut Vec<u8>, mut block: &[u8]) -> io::Result<()> {
    const SHORTEST: usize = 4;
    let from = &mut block;
    while !from.is_empty() {
        let [token] = array(from)?;
        let literals = length(from, token >> 4)?;
        out.extend_from_slice(take(from, literals)?);
        if from.is_empty() {
            break;
        }
        let back = usize::from(u16::from_le_bytes(array(from)?));
        let len = length(from, token & 15)? + SHORTEST;
        let start = out.len().checked_sub(back).filter(|_| back > 0);
        let start = start.ok_or_else(|| io::Error::other("it repeats what it does not have"))?;
        if (out.len() + len) as u64 > GROWN_BYTES_MAX {
            return Err(too_large());
        }
        // What is repeated may reach into what the repetition itself makes.
        for at in start..start + len {
            let byte = out.get(at).copied().unwrap_or_default();
            out.push(byte);
        }
    }
    Ok(())
}

fn length(from: &mut &[u8], nibble: u8) -> io::Result<usize> {
    let mut len = usize::from(nibble);
    if nibble == 15 {
        loop {
            let [more] = array(from)?;
            len += usize::from(more);
            if more < u8::MAX {
                break;
            }
        }
    }
    Ok(len)
}

fn take<'a>(from: &mut &'a [u8], len: usize) -> io::Result<&'a [u8]> {
    let (head, rest) = from.split_at_checked(len).ok_or(io::ErrorKind::UnexpectedEof)?;
    *from = rest;
    Ok(head)
}

fn array<const N: usize>(from: &mut &[u8]) -> io::Result<[u8; N]> {
    let (head, rest) = from.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
    *from = rest;
    Ok(*head)
}

/// A body as a sender of the reference compresses it.
pub(crate) fn shrunk(body: &[u8]) -> io::Result<Vec<u8>> {
    use flate2::write::ZlibEncoder;
    use std::io::Write as _;
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(5));
    encoder.write_all(body)?;
    encoder.finish()
}

/// The flag of a body that [`shrunk`] made.
pub(crate) const SHRUNK: i32 = sysflag::COMPRESSED | 0x300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_lz4_frame_gives_back_its_body() {
        // "abcabcabcabcabcabcX" by hand: three literals, a repetition, a last literal.
        let mut frame = vec![0x04, 0x22, 0x4D, 0x18, 0x60, 0x40, 0x82];
        let block = [0x3B, b'a', b'b', b'c', 3, 0, 0x10, b'X'];
        frame.extend_from_slice(&(block.len() as u32).to_le_bytes());
        frame.extend_from_slice(&block);
        frame.extend_from_slice(&0_u32.to_le_bytes());
        assert_eq!(grown(LZ4, &frame).unwrap(), b"abcabcabcabcabcabcX");
        assert!(grown(LZ4, &frame[..14]).is_err());
    }

    #[test]
    fn a_body_that_was_shrunk_comes_back() {
        let body = vec![b'z'; 10_000];
        let small = shrunk(&body).unwrap();
        assert!(small.len() < 100);
        assert_eq!(grown(SHRUNK, &small).unwrap(), body);
        assert!(grown(SHRUNK, b"no zlib").is_err());
    }
}
