// SPDX-License-Identifier: Apache-2.0
//! The properties string of a message: `name 0x01 value 0x02` repeated, and the hashes the broker derives from it.
//!
//! The last 0x02 may be missing. As in the reference's parser an entry shorter than three bytes, without a name or
//! without a value is skipped, and the last of several entries with one name wins. Editing keeps the order and the
//! bytes of everything that is not edited.

use memchr::memchr;

use crate::scan::find_near;

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;

/// Names with a meaning for the broker.
pub mod name {
    /// User keys, blank-separated.
    pub const KEYS: &str = "KEYS";
    /// Tag.
    pub const TAGS: &str = "TAGS";
    /// Wait for the store: `false` answers at once.
    pub const WAIT: &str = "WAIT";
    /// Delay level.
    pub const DELAY: &str = "DELAY";
    /// The client's unique id.
    pub const UNIQ_KEY: &str = "UNIQ_KEY";
    /// Topic before it was parked.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue before it was parked.
    pub const REAL_QID: &str = "REAL_QID";
    /// Topic of a message that was sent back.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// How many messages are inside this one.
    pub const INNER_NUM: &str = "INNER_NUM";
    /// Offset in the queue of the first message inside.
    pub const INNER_BASE: &str = "INNER_BASE";
    /// The optional seal, see [`crate::record`].
    pub const CRC32: &str = "__CRC32#";
}

/// The entries of a properties string, in order. Entries that are not UTF-8 are skipped.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

/// Iterates over the entries of a properties string.
#[must_use]
pub fn pairs(properties: &[u8]) -> Pairs<'_> {
    Pairs { rest: properties }
}

/// One entry with the place it takes, its separator included.
struct Entry<'a> {
    len: usize,
    pair: Option<(&'a [u8], &'a [u8])>,
}

fn first_entry(rest: &[u8]) -> Entry<'_> {
    let (text, len) = match memchr(VALUE_END, rest) {
        Some(end) => (&rest[..end], end + 1),
        None => (rest, rest.len()),
    };
    let pair = memchr(NAME_END, text)
        .filter(|at| *at > 0 && *at + 1 < text.len())
        .map(|at| (&text[..at], &text[at + 1..]));
    Entry { len, pair }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let entry = first_entry(self.rest);
            self.rest = &self.rest[entry.len..];
            if let Some((name, value)) = entry.pair
                && let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value))
            {
                return Some((name, value));
            }
        }
        None
    }
}

/// What stands between the ends of values, whether it is an entry or not.
pub fn raw_entries(properties: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = properties;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (entry, behind) = rest.split_at(find_near(rest, 0, VALUE_END));
        rest = behind.get(1..).unwrap_or_default();
        Some(entry)
    })
}

/// One entry of a properties string that is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Both as they stand there, without the end of the value.
    pub whole: &'a str,
}

/// The same entries as those of [`pairs`], of properties that are known to be text.
pub fn text_entries(properties: &str) -> impl Iterator<Item = TextEntry<'_>> {
    let mut rest = properties;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = find_near(rest.as_bytes(), 0, VALUE_END);
            // Both separators are ASCII, so that no character is cut.
            let whole = rest.get(..end).unwrap_or_default();
            rest = rest.get(end + 1..).unwrap_or_default();
            let at = find_near(whole.as_bytes(), 0, NAME_END);
            if at > 0 && at + 1 < whole.len() {
                let (name, value) = (whole.get(..at)?, whole.get(at + 1..)?);
                return Some(TextEntry { name, value, whole });
            }
        }
        None
    })
}

/// The value of a property; the last one wins.
#[must_use]
pub fn get<'a>(properties: &'a [u8], name: &str) -> Option<&'a str> {
    pairs(properties)
        .filter(|(found, _)| *found == name)
        .last()
        .map(|(_, value)| value)
}

/// What the store derives its indexes from, found in one pass.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Indexed<'a> {
    /// Value of TAGS.
    pub tags: Option<&'a [u8]>,
    /// Value of KEYS: blank-separated keys.
    pub keys: Option<&'a [u8]>,
    /// Value of UNIQ_KEY.
    pub unique: Option<&'a [u8]>,
    /// Value of DELAY.
    pub delay: Option<&'a [u8]>,
    /// Whether there is a `__CRC32#`.
    pub sealed: bool,
}

/// Finds everything of [`Indexed`] in one pass.
#[must_use]
pub fn indexed(properties: &[u8]) -> Indexed<'_> {
    let mut found = Indexed::default();
    for entry in raw_entries(properties) {
        let (slot, name) = match entry.first() {
            Some(b'T') => (&mut found.tags, b"TAGS\x01".as_slice()),
            Some(b'K') => (&mut found.keys, b"KEYS\x01".as_slice()),
            Some(b'U') => (&mut found.unique, b"UNIQ_KEY\x01".as_slice()),
            Some(b'D') => (&mut found.delay, b"DELAY\x01".as_slice()),
            Some(b'_') => {
                found.sealed |= entry.starts_with(b"__CRC32#\x01");
                continue;
            }
            _ => continue,
        };
        if let Some(value) = entry.strip_prefix(name)
            && !value.is_empty()
        {
            *slot = Some(value);
        }
    }
    found
}

/// The single keys of a KEYS value.
pub fn split_keys(keys: &[u8]) -> impl Iterator<Item = &[u8]> {
    keys.split(|byte| *byte == b' ').filter(|key| !key.is_empty())
}

/// An editable properties string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    text: Vec<u8>,
}

impl Properties {
    /// Starts from a string, which is kept byte for byte.
    #[must_use]
    pub fn from_bytes(properties: &[u8]) -> Self {
        // Room for what a broker adds, so that editing seldom moves the string.
        let mut text = Vec::with_capacity(properties.len() + 96);
        text.extend_from_slice(properties);
        Properties { text }
    }

    /// The value of a property.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        get(&self.text, name)
    }

    /// Replaces all entries of that name by one at the end. An empty value only removes, as readers skip it anyway.
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.push(name, value);
    }

    /// Adds an entry without looking for others of that name. Separators inside name or value are dropped: they
    /// would forge further entries.
    pub fn push(&mut self, name: &str, value: &str) {
        if name.is_empty() || value.is_empty() {
            return;
        }
        if self.text.last().is_some_and(|last| *last != VALUE_END) {
            self.text.push(VALUE_END);
        }
        self.put(name);
        self.text.push(NAME_END);
        self.put(value);
        self.text.push(VALUE_END);
    }

    fn put(&mut self, text: &str) {
        if memchr::memchr2(NAME_END, VALUE_END, text.as_bytes()).is_none() {
            self.text.extend_from_slice(text.as_bytes());
        } else {
            self.text
                .extend(text.bytes().filter(|byte| !matches!(*byte, NAME_END | VALUE_END)));
        }
    }

    /// Removes all entries of that name.
    pub fn remove(&mut self, name: &str) {
        let mut at = 0;
        while at < self.text.len() {
            let entry = first_entry(&self.text[at..]);
            let len = entry.len;
            if entry.pair.is_some_and(|(found, _)| found == name.as_bytes()) {
                self.text.drain(at..at + len);
            } else {
                at += len;
            }
        }
    }

    /// The string.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The string.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text
    }
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    java_hash_onto(0, text.as_bytes())
}

/// The hash of `prefix + text` when `hash` is the hash of `prefix`. Text that is not UTF-8 counts as what Java decodes
/// it to.
#[must_use]
pub fn java_hash_onto(hash: i32, text: &[u8]) -> i32 {
    const P: [i32; 9] = powers();
    if !text.is_ascii() {
        let text = String::from_utf8_lossy(text);
        let units = text.encode_utf16();
        return units.fold(hash, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        });
    }
    // Eight at a time: the multiplications of one group do not wait for each other.
    let mut hash = hash;
    let (groups, rest) = text.as_chunks::<8>();
    for group in groups {
        let sum = group.iter().enumerate().fold(0_i32, |sum, (at, byte)| {
            sum.wrapping_add(P[7 - at].wrapping_mul(i32::from(*byte)))
        });
        hash = hash.wrapping_mul(P[8]).wrapping_add(sum);
    }
    rest.iter().fold(hash, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(*byte))
    })
}

const fn powers() -> [i32; 9] {
    let mut powers = [1_i32; 9];
    let mut at = 1;
    while at < 9 {
        powers[at] = powers[at - 1].wrapping_mul(31);
        at += 1;
    }
    powers
}

/// The code of a tag in a consume queue: its Java hash, sign-extended.
#[must_use]
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_hash(tags))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn java_hash_is_that_of_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("TagA"), 2_598_919);
        assert_eq!(java_hash("Hello, World!"), 1_498_789_909);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        // Outside the basic plane a character is two units.
        assert_eq!(java_hash("😀"), 1_772_899);
        assert_eq!(
            java_hash_onto(java_hash("topic#"), b"key"),
            java_hash("topic#key")
        );
    }

    #[test]
    fn odd_entries_are_skipped_and_the_last_duplicate_wins() {
        let text = b"A\x011\x02\x02x\x02\x01v\x02B\x01\x02A\x012\x02KEYS\x01a  b";
        let all: Vec<_> = pairs(text).collect();
        assert_eq!(all, [("A", "1"), ("A", "2"), ("KEYS", "a  b")]);
        let entries = text_entries(std::str::from_utf8(text).unwrap());
        let entries: Vec<_> = entries
            .map(|entry| (entry.name, entry.value, entry.whole))
            .collect();
        assert_eq!(
            entries,
            [
                ("A", "1", "A\x011"),
                ("A", "2", "A\x012"),
                ("KEYS", "a  b", "KEYS\x01a  b")
            ]
        );
        assert_eq!(get(text, "A"), Some("2"));
        assert_eq!(get(text, "B"), None);
        assert_eq!(split_keys(b"a  b ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn editing_leaves_the_other_entries_as_they_were() {
        let mut text = Properties::from_bytes(b"A\x011\x02POP_CK\x01x\x02B\x012");
        text.remove("POP_CK");
        text.set("C", "3");
        text.set("A", "4");
        text.set("EMPTY", "");
        text.set("E", "evil\x02X\x01y");
        assert_eq!(text.as_bytes(), b"B\x012\x02C\x013\x02A\x014\x02E\x01evilXy\x02");
        assert_eq!(text.get("A"), Some("4"));
    }

    proptest! {
        #[test]
        fn hash_in_groups_equals_the_plain_sum(text in "\\PC{0,40}", prefix in "[ -~]{0,20}") {
            let plain = text.encode_utf16().fold(java_hash(&prefix), |h, u| h.wrapping_mul(31).wrapping_add(i32::from(u)));
            prop_assert_eq!(java_hash(&format!("{prefix}{text}")), plain);
        }

        #[test]
        fn indexed_finds_what_get_finds(text in proptest::collection::vec(prop_oneof![
            Just(1u8), Just(2u8), Just(b'a'), Just(0xC3u8)], 0..60), tag in "[a-z]{1,5}") {
            let mut text = text;
            text.extend_from_slice(b"\x02TAGS\x01");
            text.extend_from_slice(tag.as_bytes());
            text.extend_from_slice(b"\x02UNIQ_KEY\x01U\x02KEYS\x01k");
            let found = indexed(&text);
            prop_assert_eq!(found.tags, get(&text, "TAGS").map(str::as_bytes));
            prop_assert_eq!(found.keys, get(&text, "KEYS").map(str::as_bytes));
            prop_assert_eq!(found.unique, get(&text, "UNIQ_KEY").map(str::as_bytes));
        }

        #[test]
        fn any_bytes_can_be_edited(text in proptest::collection::vec(0u8..6, 0..60)) {
            let mut edited = Properties::from_bytes(&text);
            edited.set("N", "v");
            prop_assert_eq!(edited.get("N"), Some("v"));
            edited.remove("N");
            prop_assert_eq!(edited.get("N"), None);
            let before: Vec<_> = pairs(&text).filter(|(n, _)| *n != "N").collect();
            let after: Vec<_> = pairs(edited.as_bytes()).collect();
            prop_assert_eq!(before, after);
        }
    }
}
