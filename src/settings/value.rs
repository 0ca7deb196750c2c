//! Values of single settings: yes and no, ports, addresses, ssh keys, groups.

use base64::Engine;
use serde::Serialize;
use std::net::IpAddr;

/// A finding about one value: what is wrong, what is expected.
pub(super) type Wrong = (String, &'static str);

/// Which Diffie-Hellman group to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DhParameters {
    /// A named group of RFC 7919 with this many bits.
    Named(u32),
    /// A group made on the machine, of this many bits.
    Generate(u32),
}

/// A static address of the machine with its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// The address.
    pub address: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
    /// The gateway, on the link or off it.
    pub gateway: Option<IpAddr>,
}

/// An address or network, kept as the text `ADDRESS/PREFIX`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NetworkSource(pub String);

/// One public key of ssh's authorized_keys, without options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SshKey(pub String);

pub(super) fn parse_switch(text: &str) -> Result<bool, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        _ => Err((format!("'{text}' is neither yes nor no"), "yes or no")),
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, Wrong> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| (format!("'{text}' is no port"), "a number from 1 to 65535"))
}

pub(super) fn parse_items<T>(
    text: &str,
    parse: impl Fn(&str) -> Result<T, Wrong>,
) -> Result<Vec<T>, Wrong> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(parse)
        .collect()
}

pub(super) fn parse_ip(text: &str) -> Result<IpAddr, Wrong> {
    text.parse()
        .map_err(|_| (format!("'{text}' is no address"), "an IPv4 or IPv6 address"))
}

/// An address with an optional prefix length, by default that of a single host.
fn parse_prefixed(text: &str) -> Result<(IpAddr, u8), Wrong> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = parse_ip(address)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => longest,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|bits| *bits <= longest)
            .ok_or_else(|| {
                (
                    format!("'/{prefix}' is no prefix length"),
                    "a number up to 32 (IPv4) or 128 (IPv6)",
                )
            })?,
    };
    Ok((address, prefix))
}

pub(super) fn parse_interface(text: &str, v4: bool) -> Result<(IpAddr, u8), Wrong> {
    let (address, prefix) = parse_prefixed(text)?;
    check_family(address, v4)?;
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err((
            format!("'{address}' cannot be a machine's address"),
            "the address your provider gave you",
        ));
    }
    Ok((address, prefix))
}

pub(super) fn check_family(address: IpAddr, v4: bool) -> Result<(), Wrong> {
    match (address.is_ipv4(), v4) {
        (false, true) => Err((format!("'{address}' is not IPv4"), "an IPv4 address")),
        (true, false) => Err((format!("'{address}' is not IPv6"), "an IPv6 address")),
        _ => Ok(()),
    }
}

pub(super) fn parse_network(text: &str) -> Result<NetworkSource, Wrong> {
    let (address, prefix) = parse_prefixed(text)?;
    Ok(NetworkSource(format!("{address}/{prefix}")))
}

pub(super) fn parse_dh(text: &str) -> Result<DhParameters, Wrong> {
    const EXPECTED: &str =
        "ffdhe2048, ffdhe3072, ffdhe4096 or generate:BITS with 2048 to 8192 bits";
    let wrong = || (format!("'{text}' names no group"), EXPECTED);
    if let Some(bits) = text.strip_prefix("generate:") {
        return match bits.parse() {
            Ok(bits) if (2048..=8192).contains(&bits) => Ok(DhParameters::Generate(bits)),
            _ => Err(wrong()),
        };
    }
    match text {
        "ffdhe2048" => Ok(DhParameters::Named(2048)),
        "ffdhe3072" => Ok(DhParameters::Named(3072)),
        "ffdhe4096" => Ok(DhParameters::Named(4096)),
        _ => Err(wrong()),
    }
}

/// Key types that Debian 13's sshd accepts for users (`ssh -Q key-sig`), without options.
const SSH_KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];

pub(super) fn parse_ssh_key(text: &str) -> Result<SshKey, Wrong> {
    const EXPECTED: &str =
        "TYPE BASE64 [COMMENT] as in a .pub file, several separated by commas, no options";
    let mut fields = text.split_ascii_whitespace();
    let (Some(kind), Some(blob)) = (fields.next(), fields.next()) else {
        return Err((format!("'{text}' is no public key"), EXPECTED));
    };
    if !SSH_KEY_TYPES.contains(&kind) {
        return Err((format!("'{kind}' is no type of public key"), EXPECTED));
    }
    // RFC 4253 section 6.6: the blob starts with its type as a length-prefixed string.
    let start = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    let good = base64::engine::general_purpose::STANDARD
        .decode(blob)
        .is_ok_and(|bytes| {
            bytes.len() > 4 + kind.len()
                && bytes[..4] == start(kind.len())
                && &bytes[4..4 + kind.len()] == kind.as_bytes()
        });
    if !good {
        return Err((format!("the {kind} key is damaged"), EXPECTED));
    }
    Ok(SshKey(
        text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
    ))
}

/// A number of bytes: digits and one of K, M, G, by 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, Wrong> {
    let wrong = || {
        (
            format!("'{text}' is no size"),
            "a number of bytes, with K, M or G behind it for multiples of 1024",
        )
    };
    let (digits, scale) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1 << 10),
        Some((at, 'm' | 'M')) => (&text[..at], 1 << 20),
        Some((at, 'g' | 'G')) => (&text[..at], 1 << 30),
        _ => (text, 1),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(scale).ok_or_else(wrong)
}

/// The largest message: not so small that a plain letter fails, nor larger than
/// the 32 bits that parts of Postfix and of clients count with.
pub(super) fn parse_message_size(text: &str) -> Result<u64, Wrong> {
    let size = parse_size(text)?;
    if (100 << 10..=1 << 30).contains(&size) {
        Ok(size)
    } else {
        Err((
            format!("'{text}' is out of range"),
            "a size from 100K to 1G",
        ))
    }
}

/// The storage of one mailbox, a mebibyte or more, `none` for no limit.
pub fn parse_quota(text: &str) -> Result<Option<u64>, Wrong> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    let size = parse_size(text)?;
    if size < 1 << 20 {
        return Err((
            format!("'{text}' is out of range"),
            "a size of at least 1M, or none",
        ));
    }
    Ok(Some(size))
}

/// How many recipients an account may send to within an hour, `none` for no limit.
pub(super) fn parse_limit(text: &str) -> Result<Option<u32>, Wrong> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    text.parse()
        .ok()
        .filter(|limit| *limit > 0)
        .map(Some)
        .ok_or_else(|| (format!("'{text}' is no limit"), "a number above 0, or none"))
}

#[cfg(test)]
mod tests {
    use super::{DhParameters, parse_dh, parse_interface, parse_network, parse_ssh_key};
    use super::{parse_limit, parse_message_size, parse_quota};

    #[test]
    fn addresses() {
        assert_eq!(parse_network("192.0.2.1").unwrap().0, "192.0.2.1/32");
        assert_eq!(parse_network("2001:DB8::/32").unwrap().0, "2001:db8::/32");
        assert!(parse_interface("2001:db8::1/64", true).is_err());
        assert!(parse_interface("192.0.2.1/33", true).is_err());
        assert!(parse_interface("127.0.0.1/8", true).is_err());
    }

    #[test]
    fn sizes_and_limits() {
        assert_eq!(parse_message_size("50M").unwrap(), 50 << 20);
        assert_eq!(parse_message_size("102400").unwrap(), 102_400);
        assert_eq!(parse_quota("2g").unwrap(), Some(2 << 30));
        assert_eq!(parse_quota("None").unwrap(), None);
        assert_eq!(parse_limit("300").unwrap(), Some(300));
        assert_eq!(parse_limit("none").unwrap(), None);
        for bad in [
            "",
            "M",
            "-1",
            "1.5M",
            "50 M",
            "99999999999999999999G",
            "50MB",
        ] {
            assert!(parse_quota(bad).is_err(), "{bad}");
        }
        assert!(parse_message_size("2G").is_err() && parse_message_size("10K").is_err());
        assert!(parse_limit("0").is_err() && parse_quota("1K").is_err());
    }

    #[test]
    fn groups() {
        assert_eq!(parse_dh("ffdhe3072").unwrap(), DhParameters::Named(3072));
        assert_eq!(
            parse_dh("generate:2048").unwrap(),
            DhParameters::Generate(2048)
        );
        assert!(parse_dh("generate:512").is_err());
    }

    #[test]
    fn ssh_keys() {
        let key = "ssh-ed25519  AAAAC3NzaC1lZDI1NTE5AAAAIGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE jens@home";
        assert!(
            parse_ssh_key(key)
                .unwrap()
                .0
                .starts_with("ssh-ed25519 AAAA")
        );
        assert!(parse_ssh_key("ssh-ed25519 AAAA").is_err());
        assert!(parse_ssh_key("command=\"x\" ssh-ed25519 AAAA").is_err());
        assert!(parse_ssh_key("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGb9").is_err());
    }
}
