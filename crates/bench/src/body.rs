// SPDX-License-Identifier: Apache-2.0
//! What is in a body: a head that says which message of which run this is, and a filler that follows from the seed.
//!
//! ```text
//! magic 4 | length of the body 4 | run 8 | number 8 | due 8, ns since the start of the run | filler
//! ```
//!
//! Of a body shorter than the head, only as much of the head is there. The filler is a piece of a table that is made
//! from the seed, from a place that follows from the number: making it costs a copy, checking it a comparison.

use crate::random::{self, Random};

/// Bytes of the head.
pub(crate) const HEAD_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"bqb1";
/// A power of two.
const TABLE_BYTES: usize = 64 << 10;

/// What the head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Names the run.
    pub(crate) run: u64,
    /// The message's number in it.
    pub(crate) number: u64,
    /// When it was due (of a delayed message: when it is promised), ns since the start of the run.
    pub(crate) due: u64,
}

impl Head {
    /// Reads a body. `None`: nobody here made it.
    pub(crate) fn read(body: &[u8]) -> Option<Head> {
        let (head, _) = body.split_first_chunk::<HEAD_BYTES>()?;
        let (words, _) = head.as_chunks::<8>();
        let [first, run, number, due] = words else {
            return None;
        };
        let [a, b, c, d, len @ ..] = *first;
        if [a, b, c, d] != MAGIC || u32::from_be_bytes(len) as usize != body.len() {
            return None;
        }
        Some(Head {
            run: u64::from_be_bytes(*run),
            number: u64::from_be_bytes(*number),
            due: u64::from_be_bytes(*due),
        })
    }
}

/// Fills bodies and checks them.
#[derive(Debug)]
pub(crate) struct Filler {
    seed: u64,
    table: Vec<u8>,
}

impl Filler {
    pub(crate) fn new(seed: u64) -> Filler {
        let mut random = Random::new(seed);
        let words = (0..TABLE_BYTES / 8).flat_map(|_| random.next().to_be_bytes());
        Filler {
            seed,
            table: words.collect(),
        }
    }

    /// Appends a body of so many bytes.
    pub(crate) fn put(&self, out: &mut Vec<u8>, head: Head, size: u32) {
        let size_bytes = size as usize;
        let start = out.len();
        out.reserve(size_bytes);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&size.to_be_bytes());
        for word in [head.run, head.number, head.due] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.truncate(start + size_bytes);
        let mut left = size_bytes.saturating_sub(HEAD_BYTES);
        let mut at = self.place(head.number);
        while left > 0 {
            let piece = self.piece(at, left);
            out.extend_from_slice(piece);
            left -= piece.len();
            at = 0;
        }
    }

    /// Whether what follows the head is what this seed makes of it.
    pub(crate) fn matches(&self, head: &Head, body: &[u8]) -> bool {
        let mut rest = body.get(HEAD_BYTES..).unwrap_or_default();
        let mut at = self.place(head.number);
        while !rest.is_empty() {
            let piece = self.piece(at, rest.len());
            match rest.strip_prefix(piece) {
                Some(behind) => rest = behind,
                None => return false,
            }
            at = 0;
        }
        true
    }

    fn place(&self, number: u64) -> usize {
        random::at(self.seed, number) as usize % TABLE_BYTES
    }

    fn piece(&self, at: usize, most: usize) -> &[u8] {
        let tail = self.table.get(at..).unwrap_or(&self.table);
        tail.get(..most).unwrap_or(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head = Head {
        run: 7,
        number: 1_000_001,
        due: 42,
    };

    #[test]
    fn a_body_says_what_it_is_and_any_changed_byte_of_it_is_seen() {
        let filler = Filler::new(3);
        for size in [32, 33, 1000, 200_000] {
            let mut body = Vec::new();
            filler.put(&mut body, HEAD, size);
            assert_eq!(body.len(), size as usize);
            assert_eq!(Head::read(&body), Some(HEAD));
            assert!(filler.matches(&HEAD, &body));
            assert_eq!(Head::read(&body[..body.len() - 1]), None, "cut");
            if size > 32 {
                assert!(!Filler::new(4).matches(&HEAD, &body), "another seed");
                for at in [32, body.len() - 1] {
                    let mut other = body.clone();
                    other[at] ^= 1;
                    assert!(!filler.matches(&HEAD, &other));
                }
            }
        }
    }

    #[test]
    fn short_bodies_and_bodies_of_others_have_no_head() {
        let mut body = Vec::new();
        Filler::new(1).put(&mut body, HEAD, 5);
        assert_eq!(body.len(), 5);
        assert_eq!(Head::read(&body), None);
        assert_eq!(Head::read(&[b'x'; 100]), None);
    }
}
