//! The addresses that records must name: found, or given on the command line.

use crate::appliance::machine::place::Place;
use crate::appliance::network::public_address::{ask_third_party, find_public_addresses};
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// At most one address of each family, with who says so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// IPv4.
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// The same in words.
    pub words: Vec<String>,
}

impl Addresses {
    /// Both families.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4
            .map(IpAddr::V4)
            .into_iter()
            .chain(self.ipv6.map(IpAddr::V6))
    }
}

/// The given addresses, or what a page says; only without both, those of the machine.
pub fn find_addresses(
    place: &Place,
    settings: &Settings,
    given: &[IpAddr],
    page: Option<&str>,
) -> Result<Addresses> {
    let mut addresses = Addresses::default();
    let mut take = |address: IpAddr, source: &str| {
        match address {
            IpAddr::V4(address) => addresses.ipv4 = Some(address),
            IpAddr::V6(address) => addresses.ipv6 = Some(address),
        }
        addresses.words.push(format!("{address} ({source})"));
    };
    if given.is_empty() {
        let mut found = find_public_addresses(place, settings);
        if let Some(page) = page {
            let told = ask_third_party(place, page)?;
            match told.address {
                IpAddr::V4(_) => found.ipv4 = Some(told),
                IpAddr::V6(_) => found.ipv6 = Some(told),
            }
        }
        for found in [found.ipv4, found.ipv6].into_iter().flatten() {
            take(found.address, &found.source.to_string());
        }
    } else {
        for address in given {
            take(*address, "--address");
        }
    }
    Ok(addresses)
}

/// The name under which an address is looked up (RFC 1035 section 3.5, RFC 3596 section 2.5).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let mut name = String::new();
            for byte in address.octets().iter().rev() {
                name.push_str(&format!("{:x}.{:x}.", byte & 15, byte >> 4));
            }
            name + "ip6.arpa"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::reverse_name;

    #[test]
    fn names_of_addresses() {
        assert_eq!(
            reverse_name("192.0.2.1".parse().unwrap()),
            "1.2.0.192.in-addr.arpa"
        );
        assert_eq!(
            reverse_name("2001:db8::567:89ab".parse().unwrap()),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
