// SPDX-License-Identifier: Apache-2.0
//! Where requests of administrators may come from, as a setting: addresses and networks (`127.0.0.1;10.0.0.0/8;fd00::/8`).
//! Nobody has to prove who he is, so where he is has to do: without the setting that is the host of the server.

use std::fmt;
use std::net::IpAddr;

/// More are a mistake.
const PLACES_MAX: usize = 256;

/// Addresses and networks. Empty: the host of the server.
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

    /// Whether somebody at `from` may administer the server that took the connection at `to`.
    ///
    /// Who has its own address at both ends is on its host: tools connect to the address that the name server told them.
    pub fn admit(&self, from: IpAddr, to: IpAddr) -> bool {
        let from = from.to_canonical();
        if self.networks.is_empty() {
            return from.is_loopback() || from == to.to_canonical();
        }
        self.networks.iter().any(|network| network.contains(from))
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

    fn admit(places: &str, from: &str, to: &str) -> bool {
        let places = Places::read(places).unwrap();
        places.admit(from.parse().unwrap(), to.parse().unwrap())
    }

    fn contain(places: &str, addr: &str) -> bool {
        admit(places, addr, "192.0.2.1")
    }

    #[test]
    fn nothing_set_is_the_host_of_the_server() {
        for (from, to) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.8.0.1", "192.0.2.1"),
            ("::1", "::1"),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert!(admit("", from, to), "{from} to {to}");
        }
        for (from, to) in [
            ("192.0.2.2", "192.0.2.1"),
            ("10.0.0.1", "127.0.0.1"),
            ("2001:db8::2", "2001:db8::1"),
            ("0.0.0.0", "192.0.2.1"),
        ] {
            assert!(!admit("", from, to), "{from} to {to}");
        }
    }

    #[test]
    fn what_is_set_counts_alone() {
        assert!(!admit("10.0.0.0/8", "127.0.0.1", "127.0.0.1"));
        assert!(!admit("10.0.0.0/8", "192.0.2.1", "192.0.2.1"));
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
