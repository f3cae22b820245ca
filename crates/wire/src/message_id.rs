// SPDX-License-Identifier: Apache-2.0
//! The two ids of a message, both upper-case hex.
//!
//! * *Offset id*, made by the broker: store host (4 or 16 bytes), port as 4 bytes, physical offset 8: 32 or 56 characters.
//! * *Unique id*, made by clients and by a broker for messages that come without: address (4 or 16 bytes), low two bytes
//!   of the process id, 4 bytes that tell senders of one process apart, ms since the start of the month 4, counter 2:
//!   32 or 56 characters. Nothing decodes it; it only has to be unique.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Str;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Bytes of the longer form of both ids.
const LONGEST: usize = 28;

/// The digits of at most [`LONGEST`] bytes.
struct Hex([u8; 2 * LONGEST], usize);

impl Hex {
    fn of(bytes: &[u8]) -> Hex {
        let mut digits = [0; 2 * LONGEST];
        let pairs = digits.as_chunks_mut::<2>().0;
        for (pair, byte) in pairs.iter_mut().zip(bytes) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        Hex(digits, 2 * bytes.len())
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0[..self.1]).unwrap_or_default()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    pairs
        .iter()
        .map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8))
        .collect()
}

/// The offset id of the record at `pos` on the broker at `host`.
#[must_use]
pub fn offset_id(host: SocketAddr, pos: i64) -> Str {
    offset_digits(host, pos).as_str().into()
}

/// Those of several records, as the answer to a batch has them: with commas between.
#[must_use]
pub fn offset_ids(host: SocketAddr, at: impl ExactSizeIterator<Item = i64>) -> Str {
    let mut ids = String::with_capacity((2 * LONGEST + 1) * at.len());
    for pos in at {
        if !ids.is_empty() {
            ids.push(',');
        }
        ids.push_str(offset_digits(host, pos).as_str());
    }
    ids.into()
}

fn offset_digits(host: SocketAddr, pos: i64) -> Hex {
    let mut bytes = [0; LONGEST];
    let port = u32::from(host.port()).to_be_bytes();
    // As in records: an IPv4 address written as an IPv6 one is the former.
    let length = match host.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            16
        }
    };
    bytes[length..length + 4].copy_from_slice(&port);
    bytes[length + 4..length + 12].copy_from_slice(&pos.to_be_bytes());
    Hex::of(&bytes[..length + 12])
}

/// The host and position an offset id names.
#[must_use]
pub fn decode_offset_id(id: &str) -> Option<(SocketAddr, i64)> {
    let bytes = unhex(id)?;
    let (host, pos) = bytes.split_last_chunk::<8>()?;
    let (ip, port) = host.split_last_chunk::<4>()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        _ => return None,
    };
    let port = u16::try_from(u32::from_be_bytes(*port)).ok()?;
    Some((SocketAddr::new(ip, port), i64::from_be_bytes(*pos)))
}

/// Makes unique ids of one sender.
#[derive(Debug)]
pub struct UniqueIds {
    prefix: Vec<u8>,
    counter: AtomicU16,
}

impl UniqueIds {
    /// `salt` tells senders of one process apart.
    #[must_use]
    pub fn new(ip: IpAddr, pid: u32, salt: u32) -> Self {
        let mut prefix = Vec::with_capacity(22);
        match ip {
            IpAddr::V4(ip) => prefix.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => prefix.extend_from_slice(&ip.octets()),
        }
        prefix.extend_from_slice(&(pid as u16).to_be_bytes());
        prefix.extend_from_slice(&salt.to_be_bytes());
        UniqueIds {
            prefix,
            counter: AtomicU16::new(0),
        }
    }

    /// The next id at `now_ms`.
    #[must_use]
    pub fn next(&self, now_ms: i64) -> Str {
        let mut bytes = [0_u8; 28];
        let len = self.prefix.len();
        bytes[..len].copy_from_slice(&self.prefix);
        bytes[len..len + 4].copy_from_slice(&ms_of_month(now_ms).to_be_bytes());
        bytes[len + 4..len + 6].copy_from_slice(&self.counter.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Hex::of(&bytes[..len + 6]).as_str().into()
    }
}

/// Milliseconds since the first of the month, UTC.
fn ms_of_month(now_ms: i64) -> u32 {
    let day = now_ms.div_euclid(86_400_000);
    // Days of the civil calendar, counted in years that start in March.
    let since = day + 719_468;
    let day_of_era = since.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5;
    (day_of_month * 86_400_000 + now_ms.rem_euclid(86_400_000)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn offset_id_is_that_of_the_reference() {
        let host: SocketAddr = ([127, 0, 0, 1], 50911).into();
        assert_eq!(offset_id(host, 0), "7F0000010000C6DF0000000000000000");
        assert_eq!(
            decode_offset_id("7F0000010000C6DF00000000000019B9"),
            Some((host, 0x19B9))
        );
        for bad in [
            "",
            "7F",
            "7F0000010000C6DF00000000000019B",
            "7F0000010000C6DF0000000000001éB9",
            "7F0000010001C6DF00000000000019B9",
        ] {
            assert_eq!(decode_offset_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_id_of_an_ipv4_host_is_short_however_its_address_is_written() {
        let mapped: SocketAddr = "[::ffff:10.0.0.5]:10911".parse().unwrap();
        assert_eq!(offset_id(mapped, 7), "0A00000500002A9F0000000000000007");
        let real: SocketAddr = "[2001:db8::5]:10911".parse().unwrap();
        assert_eq!(
            offset_id(real, 7),
            "20010DB800000000000000000000000500002A9F0000000000000007"
        );
    }

    #[test]
    fn months_start_at_zero() {
        // 2024-02-29T00:00:01Z, 2024-03-01T00:00:00Z, 1970-01-01, 2026-11-20T23:59:59.999Z
        for (now, ms) in [
            (1_709_164_801_000, 28 * 86_400_000 + 1000),
            (1_709_251_200_000, 0),
            (0, 0),
            (1_795_219_199_999, 20 * 86_400_000 - 1),
        ] {
            assert_eq!(ms_of_month(now), ms, "{now}");
        }
    }

    #[test]
    fn unique_ids_differ_and_have_the_length_of_their_address() {
        let ids = UniqueIds::new(Ipv4Addr::LOCALHOST.into(), 0x1_2345, 0xAABB_CCDD);
        assert_eq!(ids.next(1000), "7F0000012345AABBCCDD000003E80000");
        assert_eq!(ids.next(1000), "7F0000012345AABBCCDD000003E80001");
        assert_eq!(UniqueIds::new(Ipv6Addr::LOCALHOST.into(), 1, 2).next(0).len(), 56);
    }

    proptest! {
        #[test]
        fn offset_ids_come_back(ip in any::<IpAddr>(), port: u16, pos: i64) {
            let host = SocketAddr::new(ip.to_canonical(), port);
            prop_assert_eq!(decode_offset_id(&offset_id(host, pos)), Some((host, pos)));
            let ids = [0, pos, 7].map(|pos| offset_id(host, pos)).join(",");
            prop_assert_eq!(offset_ids(host, [0, pos, 7].into_iter()), ids);
        }
    }
}
