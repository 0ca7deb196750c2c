//! The world around the machines: names, addresses, time, and mail outside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;

use super::certificate::{Authority, Certificate};
use super::clock;
use super::dhcp::Dhcp;
use super::dns::{Dns, Zone};
use super::https::serve_texts;
use super::sink::{Manner, Sink};
use super::smtp::Account;
use crate::world::network::{
    GATEWAY, GATEWAY6, OUTSIDE_AUTHORITY, OUTSIDE_MAIL, OUTSIDE_MAIL6, OUTSIDE_POLICIES,
    OUTSIDE_SERVERS, STS_SERVERS, machine_address, machine_address6,
};

/// The domain whose mail the machine handles.
pub const DOMAIN: &str = "wombat.example";
/// The machine's name.
pub const HOST_NAME: &str = "mail.wombat.example";
/// A domain of somebody else, whose mail the sink takes.
pub const OUTSIDE_DOMAIN: &str = "outside.example";

/// Its mail server, the sink.
pub const OUTSIDE_HOST_NAME: &str = "mx.outside.example";

/// Another domain that a machine may serve.
pub const SECOND_DOMAIN: &str = "koala.example";
/// Whose mail may come from all addresses of ours; says nothing about DMARC.
pub const FRIENDS_DOMAIN: &str = "friends.example";
/// A domain whose name server is not there.
pub const UNANSWERED_DOMAIN: &str = "unanswered.example";
/// Whose mail comes from nowhere and is to be rejected (RFC 7489).
pub const REJECT_DOMAIN: &str = "strict.example";
/// The same, to be put into quarantine.
pub const QUARANTINE_DOMAIN: &str = "careful.example";
/// Reached on IPv4 only.
pub const FOUR_DOMAIN: &str = "four.example";
/// Reached on IPv6 only.
pub const SIX_DOMAIN: &str = "six.example";
/// Its mail server has the certificate that its TLSA record names (RFC 7672).
pub const DANE_DOMAIN: &str = "dane.example";
/// Its mail server has another one.
pub const FORGED_DOMAIN: &str = "forged.example";
/// Sends mail on for whoever logs in.
pub const RELAY_HOST_NAME: &str = "relay.outside.example";
/// The port it does this on.
pub const RELAY_PORT: u16 = 587;

/// A domain with an MTA-STS policy, its mail server, and what is odd about them.
pub struct StsDomain {
    /// The domain; its mail server is mx.NAME.
    pub name: &'static str,
    /// `enforce` or `testing`.
    mode: &'static str,
    /// Which mail server the policy allows.
    allowed: &'static str,
    /// Whether an authority vouches for the server's certificate.
    vouched: bool,
    /// Whether a TLSA record does.
    dane: bool,
}

/// All of them; their servers are `network::STS_SERVERS`.
pub const STS_DOMAINS: [StsDomain; 5] = [
    StsDomain {
        name: "sound.example",
        mode: "enforce",
        allowed: "mx.sound.example",
        vouched: true,
        dane: false,
    },
    StsDomain {
        name: "nameless.example",
        mode: "enforce",
        allowed: "mx.nameless.example",
        vouched: false,
        dane: false,
    },
    StsDomain {
        name: "elsewhere.example",
        mode: "enforce",
        allowed: "mx.sound.example",
        vouched: true,
        dane: false,
    },
    StsDomain {
        name: "trying.example",
        mode: "testing",
        allowed: "mx.trying.example",
        vouched: false,
        dane: false,
    },
    StsDomain {
        name: "both.example",
        mode: "enforce",
        allowed: "mx.sound.example",
        vouched: false,
        dane: true,
    },
];
/// Where these domains want to be told how encryption went (RFC 8460).
pub const REPORTS_ADDRESS: &str = "tls-reports@outside.example";

/// Everything a machine talks to.
pub struct Site {
    /// Our DNS.
    pub dns: Dns,
    /// The outside's mail servers.
    pub sink: Sink,
    /// Who vouches for servers of the outside.
    pub authority: Authority,
    /// Who may use the relay.
    pub relay_login: Account,
    dhcp: Dhcp,
}

impl Site {
    /// Starts it all; call inside a network of the test's own.
    pub fn start() -> Result<Self> {
        Self::start_around(0)
    }

    /// The same for a machine on another tap.
    pub fn start_around(tap: u8) -> Result<Self> {
        let good = Certificate::make(&format!("mx.{DANE_DOMAIN}"))?;
        let bad = Certificate::make(&format!("mx.{FORGED_DOMAIN}"))?;
        let authority = Authority::make()?;
        let mut zones = zones(tap, &good);
        let mut sts_servers = Vec::new();
        for (domain, address) in STS_DOMAINS.iter().zip(STS_SERVERS) {
            let host = format!("mx.{}", domain.name);
            let certificate = if domain.vouched {
                authority.issue(&[&host])?
            } else {
                Certificate::make(&host)?
            };
            zones.push(sts_zone(domain, address, &certificate));
            sts_servers.push((address, certificate));
        }
        let dns = Dns::start(zones)?;
        serve_policies(&authority)?;
        let dhcp = Dhcp::start()?;
        clock::start()?;
        let relay_login = Account {
            address: "wombat".to_owned(),
            password: "let me through".to_owned(),
        };
        let sink = Sink::start(&[IpAddr::from(OUTSIDE_MAIL), IpAddr::from(OUTSIDE_MAIL6)])?;
        let [dane, forged, relay] = OUTSIDE_SERVERS;
        for (address, port, certificate, login) in [
            (dane, 25, &good, None),
            (forged, 25, &bad, None),
            (relay, RELAY_PORT, &bad, Some(relay_login.clone())),
        ] {
            let manner = Manner {
                tls: Some(certificate.config.clone()),
                login,
            };
            sink.listen((address, port).into(), &manner)?;
        }
        for (address, certificate) in sts_servers {
            let manner = Manner {
                tls: Some(certificate.config),
                login: None,
            };
            sink.listen((address, 25).into(), &manner)?;
        }
        let mut site = Self {
            dns,
            sink,
            authority,
            relay_login,
            dhcp,
        };
        site.check_running()?;
        Ok(site)
    }

    /// Fails when one of its servers has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.dhcp.check_running()
    }
}

/// Mail server, policy and address for reports of a domain with a policy.
fn sts_zone(domain: &StsDomain, address: Ipv4Addr, certificate: &Certificate) -> Zone {
    let mut records = vec![
        "@ MX 10 mx".to_owned(),
        format!("mx A {address}"),
        format!("mta-sts A {OUTSIDE_POLICIES}"),
        "_mta-sts TXT \"v=STSv1; id=1\"".to_owned(),
        format!("_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:{REPORTS_ADDRESS}\""),
    ];
    if domain.dane {
        records.push(format!("_25._tcp.mx TLSA {}", certificate.tlsa));
    }
    Zone::new(
        &format!("{}.", domain.name),
        &records.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn serve_policies(authority: &Authority) -> Result<()> {
    let texts: HashMap<String, String> = STS_DOMAINS
        .iter()
        .map(|domain| {
            let text = format!(
                "version: STSv1\r\nmode: {}\r\nmx: {}\r\nmax_age: 86400\r\n",
                domain.mode, domain.allowed
            );
            (format!("mta-sts.{}", domain.name), text)
        })
        .collect();
    let names: Vec<&str> = texts.keys().map(String::as_str).collect();
    let config = authority.issue(&names)?.config;
    serve_texts(
        (OUTSIDE_POLICIES, 443).into(),
        config,
        "/.well-known/mta-sts.txt",
        texts,
    )
}

/// The zones: the machine's domains complete but for DKIM, whose keys the
/// machine makes, and the outside.
fn zones(tap: u8, certificate: &Certificate) -> Vec<Zone> {
    let machine = machine_address(tap);
    let machine6 = machine_address6(tap);
    let [dane, forged, relay] = OUTSIDE_SERVERS;
    let nobodys = |domain: &str, policy: &str| {
        Zone::new(
            &format!("{domain}."),
            &[
                "@ MX 10 mx.outside.example.",
                "@ TXT \"v=spf1 -all\"",
                &format!("_dmarc TXT \"v=DMARC1; p={policy}\""),
            ],
        )
    };
    let reached_by =
        |domain: &str, record: &str| Zone::new(&format!("{domain}."), &["@ MX 10 mx", record]);
    // The record vouches for one key; the other server has another one.
    let with_tlsa = |domain: &str, address: Ipv4Addr| {
        Zone::new(
            &format!("{domain}."),
            &[
                "@ MX 10 mx",
                &format!("mx A {address}"),
                &format!("_25._tcp.mx TLSA {}", certificate.tlsa),
            ],
        )
    };
    vec![
        Zone::new(
            "example.",
            &[
                "unanswered NS ns.unanswered",
                "ns.unanswered A 198.18.0.253",
            ],
        ),
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
            "koala.example.",
            &[
                &format!("@ MX 10 {HOST_NAME}."),
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
                &format!("relay A {relay}"),
                &format!("acme A {OUTSIDE_AUTHORITY}"),
            ],
        ),
        Zone::new(
            "friends.example.",
            &[
                "@ MX 10 mx.outside.example.",
                "@ TXT \"v=spf1 ip4:10.20.0.0/24 ip4:198.18.0.0/24 ip6:fd00:20::/64 ip6:2001:2::/32 -all\"",
            ],
        ),
        nobodys(REJECT_DOMAIN, "reject"),
        nobodys(QUARANTINE_DOMAIN, "quarantine"),
        reached_by(FOUR_DOMAIN, &format!("mx A {OUTSIDE_MAIL}")),
        reached_by(SIX_DOMAIN, &format!("mx AAAA {OUTSIDE_MAIL6}")),
        with_tlsa(DANE_DOMAIN, dane),
        with_tlsa(FORGED_DOMAIN, forged),
        reverse_zone("10.in-addr.arpa.", tap),
        reverse_zone("18.198.in-addr.arpa.", tap),
        reverse_zone("0.0.0.0.0.2.0.0.0.0.d.f.ip6.arpa.", tap),
        reverse_zone("0.0.0.0.2.0.0.0.1.0.0.2.ip6.arpa.", tap),
    ]
}

/// The names of those addresses of the machine and of the outside that lie in a zone.
fn reverse_zone(name: &str, tap: u8) -> Zone {
    let hosts: [(IpAddr, &str); 4] = [
        (machine_address(tap).into(), HOST_NAME),
        (machine_address6(tap).into(), HOST_NAME),
        (OUTSIDE_MAIL.into(), OUTSIDE_HOST_NAME),
        (OUTSIDE_MAIL6.into(), OUTSIDE_HOST_NAME),
    ];
    let records: Vec<String> = hosts
        .iter()
        .map(|(address, host)| (reverse_name(*address), host))
        .filter(|(reverse, _)| reverse.ends_with(&format!(".{name}")))
        .map(|(reverse, host)| format!("{reverse} PTR {host}."))
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
