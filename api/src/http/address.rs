//! Who is at the other end.
//!
//! The peer's address counts, unless the peer is a trusted proxy: then `X-Forwarded-For` is walked from right to left
//! through trusted proxies, and the first address that is none is the client. Headers of anybody else are ignored.
//! IPv4-mapped IPv6 addresses are IPv4 addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use actix_web::HttpRequest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Most addresses in the chain of proxies.
const CHAIN_MAX: usize = 32;

/// A network in CIDR notation; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no network such as 10.1.0.0/16 or fd00::/8")]
pub struct NoNetwork;

impl Network {
    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let ((mine, family), (other, other_family)) = (bits(self.address), bits(address.to_canonical()));
        let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
        family == other_family && mine & mask == other & mask
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Ok(longest), |prefix| prefix.parse::<u8>().map_err(|_| NoNetwork))?;
        if prefix_bits > longest {
            Err(NoNetwork)
        } else {
            Ok(Self { address, prefix_bits })
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Whether the peer is one of the trusted proxies.
pub fn is_trusted(peer: Option<IpAddr>, trusted: &[Network]) -> bool {
    peer.is_some_and(|peer| trusted.iter().any(|network| network.contains(peer)))
}

/// The address of the other end of the connection.
pub fn peer(request: &HttpRequest) -> Option<IpAddr> {
    request.peer_addr().map(|address| address.ip().to_canonical())
}

/// The client's address. `None` where a trusted proxy says something that cannot be understood, so that nothing is
/// granted to a wrong address.
pub fn client(request: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    let peer = peer(request)?;
    let forwarded = request
        .headers()
        .get_all("x-forwarded-for")
        .map(|value| value.to_str().ok());
    client_of(peer, trusted, forwarded)
}

fn client_of<'a>(
    peer: IpAddr,
    trusted: &[Network],
    forwarded: impl Iterator<Item = Option<&'a str>>,
) -> Option<IpAddr> {
    if !is_trusted(Some(peer), trusted) {
        return Some(peer);
    }
    let mut chain = Vec::new();
    for header in forwarded {
        chain.extend(header?.split(',').map(str::trim));
    }
    if chain.len() > CHAIN_MAX {
        return None;
    }
    let mut last = peer;
    for text in chain.into_iter().rev() {
        last = parse_hop(text)?;
        if !is_trusted(Some(last), trusted) {
            break;
        }
    }
    Some(last)
}

/// An address as proxies write it, with or without a port.
fn parse_hop(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let address = bare
        .unwrap_or(text)
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<std::net::SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: Option<&str>) {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8", "192.0.2.7"]
            .iter()
            .map(|text| text.parse().expect("a network"))
            .collect();
        let address = client_of(
            peer.parse().expect("an address"),
            &trusted,
            forwarded.iter().map(|text| Some(*text)),
        );
        assert_eq!(
            address,
            expected.map(|text| text.parse().expect("an address")),
            "{peer} {forwarded:?}"
        );
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        check("203.0.113.9", &["198.51.100.1"], Some("203.0.113.9"));
        check("10.0.0.1", &["198.51.100.1"], Some("198.51.100.1"));
        check(
            "10.0.0.1",
            &["198.51.100.66, 198.51.100.1, 10.2.3.4"],
            Some("198.51.100.1"),
        );
        check("10.0.0.1", &["198.51.100.66", "198.51.100.1"], Some("198.51.100.1"));
        check("192.0.2.7", &["[2001:db8::1]:4711"], Some("2001:db8::1"));
        check("fd00::1", &["198.51.100.1:99"], Some("198.51.100.1"));
        check("10.0.0.1", &["::ffff:198.51.100.1"], Some("198.51.100.1"));
        check("10.0.0.1", &["nonsense"], None);
        check("10.0.0.1", &[], Some("10.0.0.1"));
        check("10.0.0.1", &["10.0.0.9"], Some("10.0.0.9"));
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (network, address, expected) in [
            ("0.0.0.0/0", "203.0.113.9", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.1.1.1", true),
            ("::/0", "10.0.0.1", false),
            ("fd00::/8", "fdff::1", true),
            ("127.0.0.1", "127.0.0.2", false),
        ] {
            let network: Network = network.parse().expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                expected,
                "{network} {address}"
            );
        }
        assert!("10.0.0.0/33".parse::<Network>().is_err());
        assert!("example.org".parse::<Network>().is_err());
    }
}
