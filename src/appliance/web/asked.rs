//! What a request asks for, and of which of our names.
//!
//! Host and request-target by RFC 9112 (<https://www.rfc-editor.org/rfc/rfc9112#section-3.2>)
//! and RFC 9110, section 7.2. Paths are compared as they are written: none of
//! ours needs an escape, so nothing is decoded and nothing can be hidden.

use super::configuration::Configuration;
use http::request::Parts;
use http::uri::Authority;
use http::{Method, Version, header};
use std::net::IpAddr;

/// A name that this machine answers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// `HOSTNAME`, and the domain that it stands for.
    Host(&'a str),
    /// A mail domain.
    Domain(&'a str),
    /// `mta-sts.` before a mail domain.
    Sts(&'a str),
    /// `autoconfig.` before one.
    Autoconfig(&'a str),
    /// `autodiscover.` before one.
    Autodiscover(&'a str),
}

impl<'a> Name<'a> {
    fn find(configuration: &'a Configuration, host: &str) -> Option<Self> {
        let served = |name: &str| -> Option<&'a str> {
            let mut domains = configuration.domains.iter();
            domains.find(|domain| *domain == name).map(String::as_str)
        };
        if host == configuration.hostname {
            let first = configuration.domains.first().map(String::as_str);
            return served(host).or(first).map(Name::Host);
        }
        if let Some(domain) = served(host) {
            return Some(Name::Domain(domain));
        }
        match host.split_once('.')? {
            ("mta-sts", rest) => served(rest).map(Name::Sts),
            ("autoconfig", rest) => served(rest).map(Name::Autoconfig),
            ("autodiscover", rest) => served(rest).map(Name::Autodiscover),
            _ => None,
        }
    }

    /// The mail domain that belongs to it.
    pub fn domain(self) -> &'a str {
        match self {
            Name::Host(domain)
            | Name::Domain(domain)
            | Name::Sts(domain)
            | Name::Autoconfig(domain)
            | Name::Autodiscover(domain) => domain,
        }
    }
}

/// How a request came in.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Over TLS that ended here.
    pub is_tls: bool,
    /// From somebody whose word on the client counts.
    pub is_proxy: bool,
    /// Under a certificate that an authority gave.
    pub is_trusted: bool,
    /// Whose connection it is.
    pub peer: IpAddr,
}

/// One request, without its body.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The method.
    pub method: &'a Method,
    /// The host as written, lower-case, without port.
    pub host: String,
    /// Which of our names that is.
    pub name: Option<Name<'a>>,
    /// The path as written.
    pub path: &'a str,
    /// What follows `?`.
    pub query: &'a str,
    /// Whether the client sees https.
    pub is_secure: bool,
}

impl<'a> Asked<'a> {
    /// Reads a request, `None` when its host is missing, there twice, or no host.
    pub fn parse(
        configuration: &'a Configuration,
        parts: &'a Parts,
        arrival: Arrival,
    ) -> Option<Self> {
        let mut headers = parts.headers.get_all(header::HOST).iter();
        let host = match (headers.next(), headers.next()) {
            (Some(value), None) => parse_host(value.to_str().ok()?)?,
            (None, None) if parts.version < Version::HTTP_11 => configuration.hostname.clone(),
            _ => return None,
        };
        // The target's own host wins (section 3.2.2).
        let host = match parts.uri.authority() {
            Some(authority) => parse_host(authority.as_str())?,
            None => host,
        };
        let forwarded = parts.headers.get("x-forwarded-proto");
        let is_forwarded_tls = forwarded.is_some_and(|value| value == "https");
        Some(Self {
            method: &parts.method,
            name: Name::find(configuration, &host),
            host,
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            is_secure: arrival.is_tls || (arrival.is_proxy && is_forwarded_tls),
        })
    }

    /// The decoded value of a parameter, by its name in any letter case; a broken one is empty.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.eq_ignore_ascii_case(name)
                .then(|| decode(value).unwrap_or_default())
        })
    }
}

fn parse_host(text: &str) -> Option<String> {
    let authority: Authority = text.parse().ok()?;
    if text.contains('@') {
        return None;
    }
    // What is left is a port, or nothing.
    let port = text.strip_prefix(authority.host())?;
    if !port.is_empty() && authority.port_u16().is_none() {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let good = host.parse::<IpAddr>().is_ok()
        || host.starts_with('[')
        || (!host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
    good.then(|| host.to_owned())
}

/// Percent-decoding; `+` stays, since addresses hold it and never a space.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Whether a peer may be the web server in front: one of this machine or its network.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, is_near, parse_host};

    #[test]
    fn hosts_are_names_or_addresses_with_or_without_port() {
        for (text, host) in [
            ("Mail.A.example", "mail.a.example"),
            ("mail.a.example.:443", "mail.a.example"),
            ("192.0.2.1:8080", "192.0.2.1"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Some(host));
        }
        for text in [
            "",
            ".",
            ":80",
            "a b",
            "a/b",
            "user@a.example",
            "a:b",
            "a:99999",
            "a,b",
            "a%2eb",
            "a\"",
        ] {
            assert_eq!(parse_host(text), None, "{text}");
        }
    }

    #[test]
    fn broken_escapes_are_no_value() {
        assert_eq!(decode("a%40b+c").as_deref(), Some("a@b+c"));
        for text in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn near_is_loopback_and_private() {
        let near = |text: &str| is_near(text.parse().unwrap());
        assert!(near("127.0.0.1") && near("::ffff:10.0.0.1") && near("fd00::1") && near("::1"));
        assert!(!near("192.0.2.1") && !near("2001:db8::1") && !near("::ffff:8.8.8.8"));
    }
}
