//! Names that settings hold: selectors, pages, files, relay hosts, name servers.

use super::host::parse_host_name;
use super::value::{Wrong, parse_port};
use crate::format::oci::{SCHEME, parse_oci_reference};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// What other mail servers are told to do when our TLS fails them (RFC 8461, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StsMode {
    /// Deliver nothing without it.
    Enforce,
    /// Deliver and report.
    Testing,
    /// No policy; one that was published is withdrawn.
    None,
}

/// Where and how records are published by dynamic update (RFC 2136, RFC 8945).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsUpdate {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Name of the TSIG key.
    pub key: String,
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    /// The key.
    pub secret: Vec<u8>,
}

/// Port of DNS.
const DNS_PORT: u16 = 53;

/// `enforce`, `testing` or `none`.
pub(super) fn parse_sts_mode(text: &str) -> Result<StsMode, Wrong> {
    match text.to_ascii_lowercase().as_str() {
        "enforce" => Ok(StsMode::Enforce),
        "testing" => Ok(StsMode::Testing),
        "none" => Ok(StsMode::None),
        _ => Err((
            format!("'{text}' is no mode of MTA-STS"),
            "enforce, testing or none",
        )),
    }
}

/// `name`, `name:port`, `address`, `address:port`, `[address]:port`.
pub(super) fn parse_name_server(text: &str) -> Result<(String, u16), Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok((address.to_string(), DNS_PORT));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, parse_port(port)?),
        None => (text, DNS_PORT),
    };
    let host = parse_host_name(host).map_err(|_| {
        (
            format!("'{text}' is no name server"),
            "name, name:port, address or [address]:port",
        )
    })?;
    Ok((host, port))
}

/// An algorithm of TSIG that is still recommended (RFC 8945, section 6).
pub(super) fn parse_tsig_algorithm(text: &str) -> Result<String, Wrong> {
    const ALGORITHMS: [&str; 3] = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let text = text.to_ascii_lowercase();
    if ALGORITHMS.contains(&text.as_str()) {
        return Ok(text);
    }
    Err((
        format!("'{text}' is no algorithm of TSIG that we use"),
        "hmac-sha256, hmac-sha384 or hmac-sha512",
    ))
}

/// The name of a TSIG key, which need not be a host name.
pub(super) fn parse_key_name(text: &str) -> Result<String, Wrong> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let good = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
    good.then_some(name).ok_or_else(|| {
        (
            format!("'{text}' is no name of a key"),
            "labels of letters, digits, '-' and '_'",
        )
    })
}

pub(super) fn parse_selector(text: &str) -> Result<String, Wrong> {
    let good = (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    good.then(|| text.to_ascii_lowercase()).ok_or_else(|| {
        (
            format!("'{text}' is no DNS label"),
            "letters, digits and '-'",
        )
    })
}

pub(super) fn parse_https_url(text: &str) -> Result<String, Wrong> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let good = rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
        && !rest.contains(|other: char| other.is_whitespace() || other == '"' || other == '\\');
    good.then(|| text.to_owned()).ok_or_else(|| {
        (
            format!("'{text}' is no address"),
            "one that starts with https://",
        )
    })
}

/// An https folder, or an image in a registry.
pub(super) fn parse_update_source(text: &str) -> Result<String, Wrong> {
    if !text.starts_with(SCHEME) {
        let expected = "one that starts with https:// or oci://";
        return parse_https_url(text).map_err(|(wrong, _)| (wrong, expected));
    }
    match parse_oci_reference(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err((
            format!("'{text}' names nothing in a registry"),
            "oci://REGISTRY/REPOSITORY:TAG",
        )),
    }
}

pub(super) fn parse_word(text: &str) -> Result<String, Wrong> {
    if text.contains(|character: char| character.is_whitespace() || character == ':') {
        return Err((
            format!("'{text}' holds white space or ':'"),
            "one word without ':'",
        ));
    }
    Ok(text.to_owned())
}

pub(super) fn parse_file_name(text: &str) -> Result<String, Wrong> {
    let bad = |character: char| character < ' ' || "\"*/:<>?\\|\x7f".contains(character);
    let taken = ["settings.env", "settings.new"];
    if text.contains(bad)
        || text.starts_with('.')
        || text.ends_with(['.', ' '])
        || text.len() > 100
        || taken.iter().any(|name| text.eq_ignore_ascii_case(name))
    {
        return Err((
            format!("'{text}' is no plain file name"),
            "the name of a file beside settings.env",
        ));
    }
    Ok(text.to_owned())
}

/// `name`, `name:port`, `[name]`, `[name]:port`; an address counts as a name in brackets.
pub(super) fn parse_relayhost(text: &str) -> Result<String, Wrong> {
    const EXPECTED: &str = "name, name:port, [name]:port or [address]:port";
    let wrong = || (format!("'{text}' is no relay host"), EXPECTED);
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') && !host.is_empty() => (host, Some(port)),
        _ => (text, None),
    };
    if let Some(port) = port {
        parse_port(port)?;
    }
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => {
            let address = inner.strip_prefix("ipv6:").unwrap_or(inner);
            if address.parse::<IpAddr>().is_err() {
                parse_host_name(inner).map_err(|_| wrong())?;
            }
        }
        None => {
            parse_host_name(host).map_err(|_| wrong())?;
        }
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::{parse_key_name, parse_name_server};

    #[test]
    fn name_servers_with_and_without_port() {
        let parse = |text| parse_name_server(text).ok();
        assert_eq!(parse("ns.a.example"), Some(("ns.a.example".into(), 53)));
        assert_eq!(
            parse("ns.a.example:5353"),
            Some(("ns.a.example".into(), 5353))
        );
        assert_eq!(parse("192.0.2.1"), Some(("192.0.2.1".into(), 53)));
        assert_eq!(parse("192.0.2.1:54"), Some(("192.0.2.1".into(), 54)));
        assert_eq!(parse("2001:db8::1"), Some(("2001:db8::1".into(), 53)));
        assert_eq!(parse("[2001:db8::1]:54"), Some(("2001:db8::1".into(), 54)));
        assert_eq!(parse("ns a"), None);
        assert_eq!(parse("ns.a.example:0"), None);
    }

    #[test]
    fn names_of_keys() {
        assert_eq!(
            parse_key_name("Mail_1.Example."),
            Ok("mail_1.example".into())
        );
        assert!(parse_key_name("a..b").is_err());
        assert!(parse_key_name("a b").is_err());
    }
}
