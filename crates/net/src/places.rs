// SPDX-License-Identifier: Apache-2.0
//! Where requests of administrators may come from, as a setting: addresses and networks (`127.0.0.1;10.0.0.0/8;fd00::/8`).

use std::fmt;
use std::net::IpAddr;

/// More are a mistake.
const PLACES_MAX: usize = 256;

/// Addresses and networks. Empty: everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    text: String,
    networks: Vec<Network>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Network {
    addr: IpAddr,
    bits: u8,
}

impl Places {
    /// What a valid text looks like; ends the sentence "expected …".
    pub const WANTED: &str = "addresses or networks joined by ; (127.0.0.1;10.0.0.0/8), at most 256";

    /// Reads them; `None` when the text is something else.
    pub fn read(text: &str) -> Option<Places> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let networks: Vec<Network> = parts.map(network).collect::<Option<_>>()?;
        (networks.len() <= PLACES_MAX).then(|| Places {
            text: text.to_owned(),
            networks,
        })
    }

    /// Whether an address is one of these places.
    pub fn contain(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(addr))
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Network {
    fn contains(self, addr: IpAddr) -> bool {
        // The bits in front, right-aligned; none at all is every address of the family.
        let front = |value: u128, width: u8| value.checked_shr(u32::from(width - self.bits)).unwrap_or(0);
        match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                front(own.to_bits().into(), 32) == front(other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => front(own.to_bits(), 128) == front(other.to_bits(), 128),
            _ => false,
        }
    }
}

fn network(text: &str) -> Option<Network> {
    let (addr, bits) = match text.split_once('/') {
        Some((addr, bits)) => (addr, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let addr: IpAddr = addr.parse().ok()?;
    let width = if addr.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    (bits <= width).then_some(Network { addr, bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(places: &str, addr: &str) -> bool {
        Places::read(places).unwrap().contain(addr.parse().unwrap())
    }

    #[test]
    fn nothing_set_is_everywhere() {
        assert!(contain("", "203.0.113.9") && contain("", "2001:db8::1"));
    }

    #[test]
    fn addresses_and_networks_hold_what_is_in_them() {
        let places = "127.0.0.1; 10.2.0.0/15;fd00::/8;198.51.100.7/32";
        for inside in [
            "127.0.0.1",
            "10.3.255.255",
            "fd12::1",
            "198.51.100.7",
            "::ffff:10.2.0.1",
        ] {
            assert!(contain(places, inside), "{inside}");
        }
        for outside in ["127.0.0.2", "10.4.0.0", "fe80::1", "198.51.100.8", "::1"] {
            assert!(!contain(places, outside), "{outside}");
        }
        assert!(
            contain("0.0.0.0/0", "203.0.113.9") && !contain("0.0.0.0/0", "::1") && contain("::/0", "::1")
        );
    }

    #[test]
    fn anything_else_is_no_place() {
        let many = "10.0.0.1;".repeat(PLACES_MAX + 1);
        for text in [
            "localhost",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.1/",
            &many,
        ] {
            assert_eq!(Places::read(text), None, "{text}");
        }
    }
}
