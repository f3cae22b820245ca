// SPDX-License-Identifier: Apache-2.0
//! The body of a batch send (code 320): sub-messages back to back.
//!
//! ```text
//! totalSize 4 | magic 4 | crc 4 | flag 4 | bodyLength 4 + body | propertiesLength 2 + properties
//! ```
//!
//! Size, magic and CRC are ignored when reading, as the reference does; topic, queue and born data come from the
//! request header.

/// Why a body is not a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body ends inside a sub-message.
    #[error("batch ends inside sub-message {index}")]
    Short {
        /// Number of the sub-message.
        index: usize,
    },
    /// A length is negative.
    #[error("sub-message {index} has a negative length")]
    Negative {
        /// Number of the sub-message.
        index: usize,
    },
}

/// One message of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Its own properties.
    pub properties: &'a [u8],
}

/// The sub-messages of a batch body; ends after the first error.
#[derive(Debug, Clone)]
pub struct SubMessages<'a> {
    rest: &'a [u8],
    index: usize,
}

/// Iterates over a batch body.
#[must_use]
pub fn sub_messages(body: &[u8]) -> SubMessages<'_> {
    SubMessages { rest: body, index: 0 }
}

impl<'a> SubMessages<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BatchError> {
        let (head, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(BatchError::Short { index: self.index })?;
        self.rest = rest;
        Ok(head)
    }

    fn int(&mut self) -> Result<i32, BatchError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |value, byte| value << 8 | i32::from(*byte)))
    }

    fn one(&mut self) -> Result<SubMessage<'a>, BatchError> {
        let index = self.index;
        self.take(12)?;
        let flag = self.int()?;
        let body_len = usize::try_from(self.int()?).map_err(|_| BatchError::Negative { index })?;
        let body = self.take(body_len)?;
        let len = self.take(2)?;
        let len = i16::from_be_bytes([len[0], len[1]]);
        let properties = self.take(usize::try_from(len).map_err(|_| BatchError::Negative { index })?)?;
        Ok(SubMessage {
            flag,
            body,
            properties,
        })
    }
}

impl<'a> Iterator for SubMessages<'a> {
    type Item = Result<SubMessage<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.one();
        if message.is_err() {
            self.rest = &[];
        }
        self.index += 1;
        Some(message)
    }
}

/// Appends one sub-message, as producers do. Properties must not be longer than 32767 bytes.
pub fn encode_sub_message(out: &mut Vec<u8>, message: &SubMessage<'_>) {
    let total = 22 + message.body.len() + message.properties.len();
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&(message.body.len() as u32).to_be_bytes());
    out.extend_from_slice(message.body);
    out.extend_from_slice(&(message.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(message.properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_negative_length_is_refused() {
        let mut body = vec![0; 12];
        body.extend_from_slice(&[0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
        assert_eq!(
            sub_messages(&body).collect::<Vec<_>>(),
            [Err(BatchError::Negative { index: 0 })]
        );
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back_and_a_cut_is_an_error(
            messages in proptest::collection::vec((any::<i32>(), proptest::collection::vec(any::<u8>(), 0..20),
                proptest::collection::vec(any::<u8>(), 0..20)), 1..5), cut in 1usize..22) {
            let messages: Vec<_> = messages.iter()
                .map(|(flag, body, properties)| SubMessage { flag: *flag, body, properties }).collect();
            let mut out = Vec::new();
            for message in &messages {
                encode_sub_message(&mut out, message);
            }
            let back: Result<Vec<_>, _> = sub_messages(&out).collect();
            prop_assert_eq!(back, Ok(messages));
            out.truncate(out.len() - cut);
            if cut < 22 && !out.is_empty() {
                prop_assert!(sub_messages(&out).any(|message| message.is_err()));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(sub_messages(&body).count() <= 100);
        }
    }
}
