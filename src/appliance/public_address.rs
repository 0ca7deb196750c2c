//! The addresses under which the internet reaches this machine.
//!
//! First hit wins, for each family by itself: `PUBLIC_IPV4` and `PUBLIC_IPV6`
//! of the settings, then the address from which this machine would send.

use super::place::Place;
use crate::settings::Settings;
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Destinations to which nothing is sent: only the route to them is looked up.
const SOMEWHERE: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
);

/// Where an address was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// `PUBLIC_IPV4` or `PUBLIC_IPV6`.
    Settings,
    /// The machine has it itself.
    Interface,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Settings => "settings",
            Self::Interface => "network interface",
        })
    }
}

/// An address and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The address.
    pub address: IpAddr,
    /// Where it was found.
    pub source: Source,
}

/// One address of each family at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PublicAddresses {
    /// On IPv4.
    pub ipv4: Option<Found>,
    /// On IPv6.
    pub ipv6: Option<Found>,
}

/// Finds both addresses; what cannot be found is absent.
pub fn find_public_addresses(place: &Place, settings: &Settings) -> PublicAddresses {
    let found = |address, source| Found { address, source };
    let find = |written: Option<IpAddr>, six| {
        written
            .map(|address| found(address, Source::Settings))
            .or_else(|| own_address(place, six).map(|own| found(own, Source::Interface)))
    };
    PublicAddresses {
        ipv4: find(settings.public_ipv4.map(IpAddr::V4), false),
        ipv6: find(settings.public_ipv6.map(IpAddr::V6), true),
    }
}

/// The address that the kernel would send from. Connecting a datagram socket
/// sends nothing (udp(7)).
fn own_address(place: &Place, six: bool) -> Option<IpAddr> {
    if !place.is_machine() {
        return None;
    }
    let (bound, target): (IpAddr, IpAddr) = if six {
        (Ipv6Addr::UNSPECIFIED.into(), SOMEWHERE.1.into())
    } else {
        (Ipv4Addr::UNSPECIFIED.into(), SOMEWHERE.0.into())
    };
    let socket = UdpSocket::bind((bound, 0)).ok()?;
    socket.connect((target, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
