//! The world around the machines: names, addresses, time, and mail outside.

use std::net::IpAddr;

use anyhow::Result;

use super::clock;
use super::dhcp::Dhcp;
use super::dns::{Dns, Zone};
use super::network::{
    GATEWAY, GATEWAY6, OUTSIDE_MAIL, OUTSIDE_MAIL6, machine_address, machine_address6,
};
use super::sink::Sink;

/// The domain whose mail the machine handles.
pub const DOMAIN: &str = "wombat.example";
/// The machine's name.
pub const HOST_NAME: &str = "mail.wombat.example";
/// A domain of somebody else, whose mail the sink takes.
pub const OUTSIDE_DOMAIN: &str = "outside.example";

/// Its mail server, the sink.
pub const OUTSIDE_HOST_NAME: &str = "mx.outside.example";

/// Everything a machine talks to.
pub struct Site {
    /// Our DNS.
    pub dns: Dns,
    /// The outside's mail server.
    pub sink: Sink,
    dhcp: Dhcp,
}

impl Site {
    /// Starts it all; call inside a network of the test's own.
    pub fn start() -> Result<Self> {
        let dns = Dns::start(zones())?;
        let dhcp = Dhcp::start()?;
        clock::start()?;
        let sink = Sink::start(&[IpAddr::from(OUTSIDE_MAIL), IpAddr::from(OUTSIDE_MAIL6)])?;
        let mut site = Self { dns, sink, dhcp };
        site.check_running()?;
        Ok(site)
    }

    /// Fails when one of its servers has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.dhcp.check_running()
    }
}

/// The zones: the machine's domain complete but for DKIM, whose key the
/// machine makes, and the outside.
fn zones() -> Vec<Zone> {
    let machine = machine_address(0);
    let machine6 = machine_address6(0);
    vec![
        Zone::new("example.", &[]),
        Zone::new(
            "wombat.example.",
            &[
                "@ MX 10 mail",
                &format!("mail A {machine}"),
                &format!("mail AAAA {machine6}"),
                "@ TXT \"v=spf1 mx -all\"",
                "_dmarc TXT \"v=DMARC1; p=reject\"",
            ],
        ),
        Zone::new(
            "outside.example.",
            &[
                "@ MX 10 mx",
                &format!("mx A {OUTSIDE_MAIL}"),
                &format!("mx AAAA {OUTSIDE_MAIL6}"),
                "@ TXT \"v=spf1 mx -all\"",
                &format!("ntp A {GATEWAY}"),
                &format!("ntp AAAA {GATEWAY6}"),
            ],
        ),
        reverse_zone("10.in-addr.arpa.", &[(machine.into(), HOST_NAME)]),
        reverse_zone(
            "18.198.in-addr.arpa.",
            &[(OUTSIDE_MAIL.into(), OUTSIDE_HOST_NAME)],
        ),
        reverse_zone(
            "0.0.0.0.0.2.0.0.0.0.d.f.ip6.arpa.",
            &[(machine6.into(), HOST_NAME)],
        ),
        reverse_zone(
            "0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa.",
            &[(OUTSIDE_MAIL6.into(), OUTSIDE_HOST_NAME)],
        ),
    ]
}

fn reverse_zone(name: &str, hosts: &[(IpAddr, &str)]) -> Zone {
    let records: Vec<String> = hosts
        .iter()
        .map(|(address, host)| format!("{} PTR {host}.", reverse_name(*address)))
        .collect();
    Zone::new(
        name,
        &records.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// The name under which an address is looked up (RFC 1035, RFC 3596).
pub fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [first, second, third, fourth] = address.octets();
            format!("{fourth}.{third}.{second}.{first}.in-addr.arpa.")
        }
        IpAddr::V6(address) => {
            let digits: Vec<String> = format!("{:032x}", address.to_bits())
                .chars()
                .rev()
                .map(String::from)
                .collect();
            format!("{}.ip6.arpa.", digits.join("."))
        }
    }
}
