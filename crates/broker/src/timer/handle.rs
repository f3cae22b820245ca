// SPDX-License-Identifier: Apache-2.0
//! The handle that takes a timer message back: `v1 <topic> <broker> <time> <unique id>` in base 64 with the letters that
//! are safe in a URL.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// What a handle says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) topic: String,
    pub(super) broker: String,
    pub(super) deliver: String,
    pub(super) unique: String,
}

pub(super) fn encode(topic: &str, broker: &str, deliver_ms: i64, unique: &str) -> String {
    base64(format!("v1 {topic} {broker} {deliver_ms} {unique}").as_bytes())
}

/// `None`: no handle. What follows the fifth word is nobody's business, as in the reference.
pub(super) fn decode(handle: &str) -> Option<Handle> {
    let text = String::from_utf8(from_base64(handle)?).ok()?;
    let mut words = text.split(' ').map(str::to_owned);
    if words.next()? != "v1" {
        return None;
    }
    Some(Handle {
        topic: words.next()?,
        broker: words.next()?,
        deliver: words.next()?,
        unique: words.next().filter(|unique| !unique.is_empty())?,
    })
}

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .chain(&[0; 2])
            .take(3)
            .fold(0, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = LETTERS.get(word >> (18 - 6 * place) & 63).copied();
            text.push(if place <= group.len() {
                char::from(letter.unwrap_or(b'='))
            } else {
                '='
            });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let letters = text.trim_end_matches('=');
    // Java's decoder wants all of the padding or none of it.
    if text.len() != letters.len() && !text.len().is_multiple_of(4) || letters.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3 + 2);
    let (mut word, mut bits) = (0_u32, 0);
    for letter in letters.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        word = word << 6 | u32::try_from(value).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handle_is_the_one_the_reference_makes() {
        let text = "djEgRnJEZWxheUogZml4dHVyZS1icm9rZXIgMTc5NTIxMDU2MDAwMSBGRDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMjE4OUY0RTBFMkYyQTY2NzIzNEMyMDAxRA==";
        let unique = "FD000000000000000000000000000002189F4E0E2F2A667234C2001D";
        assert_eq!(
            encode("FrDelayJ", "fixture-broker", 1_795_210_560_001, unique),
            text
        );
        let handle = decode(text).unwrap();
        assert_eq!(
            (handle.topic.as_str(), handle.deliver.as_str()),
            ("FrDelayJ", "1795210560001")
        );
        assert_eq!(handle.unique, unique);
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        for text in [
            "",
            "=",
            "a",
            "%%%%",
            "djEg",
            &base64(b"v2 a b 1 c"),
            &base64(b"v1 a b 1"),
            &base64(b"v1 a b 1 \xFF"),
        ] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn base64_goes_both_ways(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(from_base64(&base64(&bytes)), Some(bytes));
        }

        #[test]
        fn any_text_can_be_tried(text in "\\PC{0,40}") {
            decode(&text);
        }
    }
}
