// SPDX-License-Identifier: Apache-2.0
//! The bits that the reference assigns to a group and topic in its bloom filter. Nothing is filtered by them here; they
//! stand in `consumerFilter.json`, and the reference ignores a file whose bits are not the ones it would assign.

use wire::body::filter::BloomBits;

/// Bits of the filter, as the reference's default settings give it (`expectConsumerNumUseFilter` 32,
/// `maxErrorRateOfBloomFilter` 20).
const BITS: i32 = 112;
/// Bits of one group and topic.
const HASHES: i32 = 3;

/// The bits of a group and topic.
pub(super) fn bits(group: &str, topic: &str) -> BloomBits {
    let hash = murmur3(format!("{group}#{topic}").as_bytes());
    let (low, high) = (hash as i32, (hash >> 32) as i32);
    let bit = |i: i32| {
        let mixed = low.wrapping_add(i.wrapping_mul(high));
        (if mixed < 0 { !mixed } else { mixed }) % BITS
    };
    BloomBits {
        bit_num: BITS,
        bit_pos: (1..=HASHES).map(bit).collect(),
    }
}

/// The first half of MurmurHash3 x64 128 with seed 0.
fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = bytes.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = block.split_at(8);
        h1 = (h1 ^ mix1(number(k1))).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(number(k2))).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let rest = blocks.remainder();
    let (k1, k2) = rest.split_at(rest.len().min(8));
    let len = bytes.len() as u64;
    h1 ^= mix1(number(k1)) ^ len;
    h2 ^= mix2(number(k2)) ^ len;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    end(h1).wrapping_add(end(h2))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn end(mut h: u64) -> u64 {
    h = (h ^ h >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ h >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ h >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_that_the_reference_assigns() {
        let table = [
            ("GroupA", "TopicA", [29, 107, 11]),
            ("GroupB", "TopicA", [103, 32, 24]),
            ("g", "t", [22, 87, 58]),
            ("a-group-of-some-length", "a-topic-of-some-length", [61, 26, 82]),
            ("日本", "x", [64, 18, 27]),
            ("CG", "%RETRY%CG", [102, 36, 80]),
        ];
        for (group, topic, expected) in table {
            assert_eq!(bits(group, topic).bit_pos, expected, "{group}#{topic}");
        }
    }
}
