// SPDX-License-Identifier: Apache-2.0
//! The bytes of a file in memory, in pages that are shared between copies and are not there while nothing was written to them.
//!
//! A timer wheel has 38 MB, nearly all of them zeros; a simulation that crashes copies its files.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// Behind the length a page holds zeros only.
#[derive(Debug, Default, Clone)]
pub(super) struct Content {
    len: usize,
    pages: BTreeMap<usize, Arc<Page>>,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts it, or adds zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len {
            drop(self.pages.split_off(&len.div_ceil(PAGE_BYTES)));
            if let Some(last) = self.pages.get_mut(&(len / PAGE_BYTES)) {
                Arc::make_mut(last)[len % PAGE_BYTES..].fill(0);
            }
        }
        self.len = len;
    }

    /// Writes, and makes it longer where the bytes reach beyond its end.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len());
        for (number, within, range) in parts(at, bytes.len()) {
            let piece = &bytes[range];
            if !self.pages.contains_key(&number) && piece.iter().all(|byte| *byte == 0) {
                continue;
            }
            let page = self
                .pages
                .entry(number)
                .or_insert_with(|| Arc::new([0; PAGE_BYTES]));
            Arc::make_mut(page)[within..within + piece.len()].copy_from_slice(piece);
        }
    }

    /// Reads what there is from a place on; how much that was.
    pub(super) fn read(&self, at: usize, buf: &mut [u8]) -> usize {
        let count = self.len.saturating_sub(at).min(buf.len());
        for (number, within, range) in parts(at, count) {
            let piece = &mut buf[range];
            match self.pages.get(&number) {
                Some(page) => piece.copy_from_slice(&page[within..within + piece.len()]),
                None => piece.fill(0),
            }
        }
        count
    }
}

/// The pages of a range: their number, the place in the page, and which bytes of the range.
fn parts(at: usize, len: usize) -> impl Iterator<Item = (usize, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let within = (at + done) % PAGE_BYTES;
        let most = (PAGE_BYTES - within).min(len - done);
        let part = (most > 0).then(|| ((at + done) / PAGE_BYTES, within, done..done + most));
        done += most;
        part
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(usize, Vec<u8>),
        Resize(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let place = 0..3 * PAGE_BYTES;
        prop_oneof![
            (place.clone(), 0..2 * PAGE_BYTES, 0..3_u8)
                .prop_map(|(at, len, fill)| Step::Write(at, vec![fill; len])),
            place.prop_map(Step::Resize),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_vector_holds(steps in prop::collection::vec(step(), 1..20), at in 0..4 * PAGE_BYTES) {
            let (mut content, mut plain) = (Content::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        content.write(at, &bytes);
                        let end = plain.len().max(at + bytes.len());
                        plain.resize(end, 0);
                        plain[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Step::Resize(len) => {
                        content.resize(len);
                        plain.resize(len, 0);
                    }
                }
                let mut found = vec![9; 5 * PAGE_BYTES];
                let read = content.read(at, &mut found);
                prop_assert_eq!(content.len(), plain.len());
                prop_assert_eq!(&found[..read], plain.get(at..).unwrap_or_default());
            }
        }
    }
}
