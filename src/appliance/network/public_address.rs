//! The addresses under which the internet reaches this machine.
//!
//! First hit wins, for each family by itself: `PUBLIC_IPV4` and `PUBLIC_IPV6`
//! of the settings; the address from which this machine would send, if it is a
//! global one; what the cloud's metadata said ([`place::CLOUD`]); for IPv4 the
//! gateway's answer by NAT-PMP or PCP ([`super::port_mapping`]). No third party
//! is asked unless a person names one ([`ask_third_party`]).

use super::port_mapping::ask_gateway;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::wire::http::{client, trusting};
use crate::appliance::wire::internet::is_global;
use crate::settings::Settings;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

/// How long the gateway has for its answer; one that does not know the question is silent.
const GATEWAY_LIMIT: Duration = Duration::from_millis(1800);
/// How long a third party has, from the look-up of its name to the last byte.
const THIRD_PARTY_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer of a third party: an address and white space around it.
const THIRD_PARTY_BYTES: u64 = 256;
/// The image's own roots, while [`place::TRUST`] is not rendered yet.
const IMAGE_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Destinations to which nothing is sent: only the route to them is looked up.
const SOMEWHERE: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
);

/// Where an address was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressSource {
    /// `PUBLIC_IPV4` or `PUBLIC_IPV6`.
    Settings,
    /// The machine has it itself.
    Interface,
    /// The cloud's metadata.
    Cloud,
    /// The gateway, by NAT-PMP or PCP.
    Gateway,
    /// Somebody whom a person told us to ask.
    ThirdParty,
}

impl fmt::Display for AddressSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Settings => "settings",
            Self::Interface => "network interface",
            Self::Cloud => "cloud metadata",
            Self::Gateway => "gateway",
            Self::ThirdParty => "third party",
        })
    }
}

/// An address and how it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FoundAddress {
    /// The address.
    pub address: IpAddr,
    /// Where it was found.
    pub source: AddressSource,
}

/// One address of each family at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PublicAddresses {
    /// On IPv4.
    pub ipv4: Option<FoundAddress>,
    /// On IPv6.
    pub ipv6: Option<FoundAddress>,
}

/// What the cloud's metadata said, as [`place::CLOUD`] keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudAddresses {
    /// Name of the provider.
    pub provider: String,
    /// Public address on IPv4.
    pub ipv4: Option<Ipv4Addr>,
    /// Public address on IPv6.
    pub ipv6: Option<Ipv6Addr>,
}

/// Finds both addresses; what cannot be found is absent, after two seconds at most.
pub fn find_public_addresses(place: &Place, settings: &Settings) -> PublicAddresses {
    find_addresses(
        place,
        settings.network.public_ipv4,
        settings.network.public_ipv6,
    )
}

/// The same for who knows of the settings only what they say of addresses.
pub fn find_addresses(
    place: &Place,
    set4: Option<Ipv4Addr>,
    set6: Option<Ipv6Addr>,
) -> PublicAddresses {
    let cloud = load_cloud_addresses(place).unwrap_or_default();
    let found = |address, source| FoundAddress { address, source };
    let ipv4 = set4
        .map(|address| found(address.into(), AddressSource::Settings))
        .or_else(|| own_address(place, false).map(|own| found(own, AddressSource::Interface)))
        .or_else(|| {
            cloud
                .ipv4
                .filter(|address| is_global((*address).into()))
                .map(|address| found(address.into(), AddressSource::Cloud))
        })
        .or_else(|| {
            gateway_address(place).map(|address| found(address.into(), AddressSource::Gateway))
        });
    let ipv6 = set6
        .map(|address| found(address.into(), AddressSource::Settings))
        .or_else(|| own_address(place, true).map(|own| found(own, AddressSource::Interface)))
        .or_else(|| {
            cloud
                .ipv6
                .filter(|address| is_global((*address).into()))
                .map(|address| found(address.into(), AddressSource::Cloud))
        });
    PublicAddresses { ipv4, ipv6 }
}

/// What the metadata said at the last boot that asked; damaged notes count as none.
pub fn load_cloud_addresses(place: &Place) -> Option<CloudAddresses> {
    let bytes = std::fs::read(place.path(place::CLOUD)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether this machine has a public IPv4 address itself.
pub fn has_public_ipv4(place: &Place) -> bool {
    own_address(place, false).is_some()
}

/// The address that the kernel would send from. Connecting a datagram socket
/// sends nothing (udp(7)).
fn own_address(place: &Place, six: bool) -> Option<IpAddr> {
    if !place.is_machine() {
        return None;
    }
    let socket = if six {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((SOMEWHERE.1, 9)).ok()?;
        socket
    } else {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((SOMEWHERE.0, 9)).ok()?;
        socket
    };
    let address = socket.local_addr().ok()?.ip();
    is_global(address).then_some(address)
}

fn gateway_address(place: &Place) -> Option<Ipv4Addr> {
    if !place.is_machine() {
        return None;
    }
    // Through `self`: services see no other part of /proc (ProcSubset=).
    let routes = std::fs::read_to_string("/proc/self/net/route").ok()?;
    let gateway = parse_default_gateway(&routes)?;
    // Behind two translators the outer one's answer would be needed.
    ask_gateway(gateway, GATEWAY_LIMIT)
        .ok()
        .filter(|address| is_global((*address).into()))
}

/// The gateway of the default route with the lowest metric (`/proc/net/route`, proc_net(5)).
fn parse_default_gateway(routes: &str) -> Option<Ipv4Addr> {
    routes
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, destination, gateway, _, _, _, metric, mask, ..] = fields[..] else {
                return None;
            };
            if u32::from_str_radix(destination, 16).ok()? != 0
                || u32::from_str_radix(mask, 16).ok()? != 0
            {
                return None;
            }
            // In the machine's byte order, as the kernel prints it.
            let gateway = u32::from_str_radix(gateway, 16).ok()?;
            let gateway = Ipv4Addr::from(gateway.to_ne_bytes());
            (!gateway.is_unspecified()).then_some((metric.parse::<u32>().ok()?, gateway))
        })
        .min_by_key(|(metric, _)| *metric)
        .map(|(_, gateway)| gateway)
}

/// Asks somebody who answers with the address that he sees, as plain text.
pub fn ask_third_party(place: &Place, url: &str) -> Result<FoundAddress> {
    let asking = || format!("asking {url} for the public address");
    let response = make_client(place)?.get(url).call().with_context(asking)?;
    ensure!(
        response.status() == 200,
        "{}: it answers {}",
        asking(),
        response.status()
    );
    let mut text = String::new();
    response
        .into_body()
        .into_reader()
        .take(THIRD_PARTY_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(asking)?;
    ensure!(
        text.len() as u64 <= THIRD_PARTY_BYTES,
        "{}: more than an address comes",
        asking()
    );
    let Ok(address) = text.trim().parse::<IpAddr>() else {
        bail!(
            "{}: '{}' is no address",
            asking(),
            text.trim().escape_default()
        );
    };
    ensure!(
        is_global(address),
        "{}: {address} is no public address",
        asking()
    );
    Ok(FoundAddress {
        address,
        source: AddressSource::ThirdParty,
    })
}

fn make_client(place: &Place) -> Result<ureq::Agent> {
    let bundle = [place::TRUST, IMAGE_ROOTS]
        .iter()
        .map(|path| place.path(path))
        .find(|path| path.exists());
    let pem = match bundle {
        None => Vec::new(),
        Some(path) => {
            std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?
        }
    };
    let config = client()
        .timeout_global(Some(THIRD_PARTY_LIMIT))
        .max_redirects(2)
        .tls_config(trusting(&pem))
        .build();
    Ok(config.into())
}

#[cfg(test)]
mod tests {
    use super::{AddressSource, find_public_addresses, parse_default_gateway};
    use crate::appliance::machine::place::Place;
    use crate::settings::{parse_settings, resolve_settings};

    #[test]
    fn the_default_route() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth1\t00000000\t0100A8C0\t0003\t0\t0\t2048\t00000000\t0\t0\t0\n\
                      eth0\t00000000\t0100140A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n\
                      eth0\t0000140A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        assert_eq!(
            parse_default_gateway(routes).unwrap().to_string(),
            "10.20.0.1"
        );
        assert_eq!(parse_default_gateway("Iface\n\nx y z\n"), None);
    }

    #[test]
    fn settings_come_before_the_cloud() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let settings = |more: &str| {
            let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\n{more}");
            resolve_settings(&parse_settings(text.as_bytes()).unwrap())
                .unwrap()
                .settings
        };
        let found = find_public_addresses(&place, &settings(""));
        assert_eq!((found.ipv4, found.ipv6), (None, None));
        let path = place.path("/var/lib/mailimg/cloud.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(
            path,
            r#"{"provider": "Hetzner", "ipv4": "5.9.0.1", "ipv6": "fd00::1"}"#,
        )
        .unwrap();
        let found = find_public_addresses(&place, &settings(""));
        assert_eq!(found.ipv4.unwrap().source, AddressSource::Cloud);
        assert_eq!(found.ipv4.unwrap().address.to_string(), "5.9.0.1");
        assert_eq!(found.ipv6, None);
        let found = find_public_addresses(&place, &settings("PUBLIC_IPV4=198.18.0.7\n"));
        assert_eq!(found.ipv4.unwrap().source, AddressSource::Settings);
        assert_eq!(found.ipv4.unwrap().address.to_string(), "198.18.0.7");
    }
}
