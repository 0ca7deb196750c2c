//! Which addresses are of the public internet, and whom strangers may have us call.
//!
//! By IANA's registries of special-purpose addresses (RFC 6890,
//! <https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>). Whoever names a host for
//! us to call also says in DNS where it is: at our own loopback, in the network behind us, at
//! the cloud's metadata. The caller hands over the addresses that it connects to, and asks DNS
//! no second time. Left out: private networks that use public addresses.

use anyhow::{Result, ensure};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the internet can reach an address.
pub fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_global4(address),
        IpAddr::V6(address) => is_global6(address),
    }
}

/// Whom strangers may have us call.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct Strangers {
    /// An address that may be called though it is not public, for trials.
    #[arg(long, hide = true)]
    also_call: Option<IpAddr>,
}

impl Strangers {
    /// Those of the addresses that may be called; an error if none may.
    pub fn callable(self, addresses: &[IpAddr]) -> Result<Vec<IpAddr>> {
        let may = |address: &IpAddr| may_be_called(*address) || self.also_call == Some(*address);
        let callable: Vec<IpAddr> = addresses.iter().copied().filter(may).collect();
        if let Some(first) = addresses.first() {
            let some = !callable.is_empty();
            ensure!(some, "refused: {first} is not on the public internet");
        }
        Ok(callable)
    }
}

/// Besides what is global these are the addresses for benchmarks, since no network that
/// anybody lives in has one and the outside of test stands does; and what a translator of the
/// provider makes of a global one (NAT64, RFC 6052), or a machine without IPv4 had nobody.
fn may_be_called(address: IpAddr) -> bool {
    let translated = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Ipv4Addr::from_bits(address.to_bits() as u32)),
            _ => None,
        },
    };
    is_global(address) || is_for_benchmarks(address) || translated.is_some_and(is_global4)
}

/// For measurements of network devices: RFC 2544 and RFC 5180.
fn is_for_benchmarks(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets(), [198, 18 | 19, ..]),
        IpAddr::V6(address) => matches!(address.segments(), [0x2001, 2, 0, ..]),
    }
}

fn is_global4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    !(octets[0] == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        // Shared by customers of a provider, RFC 6598.
        || (octets[0] == 100 && octets[1] & 0xc0 == 64)
        // For protocols, RFC 6890; for relays of 6to4, RFC 7526; for benchmarks.
        || octets[..3] == [192, 0, 0]
        || octets[..3] == [192, 88, 99]
        || is_for_benchmarks(address.into())
        // Reserved, with the broadcast address.
        || octets[0] >= 240)
}

fn is_global6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    // Nothing else is given out, RFC 4291 and RFC 3513.
    segments[0] & 0xe000 == 0x2000
        // For protocols: Teredo, benchmarks, ORCHID, RFC 2928.
        && !(segments[0] == 0x2001 && segments[1] < 0x200)
        // For documentation, RFC 3849 and RFC 9637.
        && !(segments[0] == 0x2001 && segments[1] == 0xdb8)
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
        // 6to4, RFC 7526.
        && segments[0] != 0x2002
}

#[cfg(test)]
mod tests {
    use super::{Strangers, is_global};
    use std::net::IpAddr;

    /// One of each network that nobody outside can reach.
    const OURS: [&str; 36] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.20.0.100",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.1.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.51.100.1",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::a00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fd00:20::1",
        "fe80::1",
        "ff02::1",
    ];
    const OTHERS: [&str; 8] = [
        "8.8.8.8",
        "100.128.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.20.0.1",
        "223.255.255.255",
        "2a01:4f8::1",
        "2600::",
    ];
    /// Callable, though nobody has one as a public address.
    const BESIDES: [&str; 4] = [
        "198.18.0.15",
        "198.19.255.255",
        "2001:2::25",
        "64:ff9b::808:808",
    ];

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_global() {
        for text in OTHERS {
            assert!(is_global(address(text)), "{text}");
        }
        for text in OURS.into_iter().chain(BESIDES) {
            assert!(!is_global(address(text)), "{text}");
        }
    }

    /// DNS of a stranger sent the machine to its own loopback and to the network behind it.
    #[test]
    fn strangers_have_us_call_nobody_in_private() {
        let strict = Strangers::default();
        for text in OURS {
            let error = strict.callable(&[address(text)]).unwrap_err();
            let told = format!("refused: {} is not on the public internet", address(text));
            assert_eq!(error.to_string(), told);
        }
        for text in OTHERS.into_iter().chain(BESIDES) {
            assert_eq!(strict.callable(&[address(text)]).unwrap().len(), 1);
        }
        // Of several the others are called.
        let mixed = ["127.0.0.1", "8.8.8.8", "::1"].map(address);
        assert_eq!(strict.callable(&mixed).unwrap(), [address("8.8.8.8")]);
    }

    #[test]
    fn a_trial_names_one_address_and_no_unit_is_a_trial() {
        let trial = Strangers {
            also_call: Some(address("127.0.0.1")),
        };
        assert!(trial.callable(&[address("127.0.0.1")]).is_ok());
        assert!(trial.callable(&[address("127.0.0.2")]).is_err());
        let units = concat!(env!("CARGO_MANIFEST_DIR"), "/units");
        for file in walkdir::WalkDir::new(units) {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            assert!(!text.contains("--also-call"), "{text}");
        }
    }
}
