//! Addresses that a registry names: where they lead, and whether anybody goes there.
//!
//! Specification: RFC 3986 (<https://www.rfc-editor.org/rfc/rfc3986.html>). Left out: relative
//! paths that begin with no slash, which the distribution specification has no use for.

use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Uri;

/// What a parameter does not have as it is; digests and scopes stay readable.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

/// Whether a host, which may have a port, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => host,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Where a `Location` leads, seen from another address.
pub fn join(from: &str, location: &str) -> Option<String> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Some(location.to_owned());
    }
    let (scheme, rest) = from.split_once("://")?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    let host = rest.split('/').next()?;
    location
        .starts_with('/')
        .then(|| format!("{scheme}://{host}{location}"))
}

/// Scheme, host and port: what credentials belong to.
pub fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    // A name before the host would be sent as credentials.
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    let host = uri.host()?.to_ascii_lowercase();
    Some((scheme, host, uri.port_u16().unwrap_or(usual)))
}

/// Whether two addresses are of the same server.
pub fn is_same_server(one: &str, other: &str) -> bool {
    origin(one).is_some_and(|one| Some(one) == origin(other))
}

/// An address with one more parameter.
pub fn with_parameter(url: &str, name: &str, value: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{name}={}", encoded(value))
}

/// A text as a parameter may have it.
pub fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::{is_loopback, is_same_server, join, with_parameter};

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:5000",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "localhost.example.org",
            "128.0.0.1",
            "[::2]:5000",
            "127.0.0.1.example.org",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn locations_are_seen_from_where_they_were_told() {
        let from = "https://r.example:5000/v2/mail/blobs/uploads/";
        let joined = |location: &str| join(from, location).unwrap_or_default();
        assert_eq!(joined("/v2/x?a=b"), "https://r.example:5000/v2/x?a=b");
        assert_eq!(joined("https://s.example/x"), "https://s.example/x");
        assert_eq!(joined("//s.example/x"), "https://s.example/x");
        assert_eq!(joined("x"), "");
        assert_eq!(joined("ftp://x"), "");
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let same = |one, other| is_same_server(one, other);
        assert!(same("https://r.example/a", "https://R.example:443/b"));
        assert!(!same("https://r.example/a", "http://r.example/a"));
        assert!(!same("https://r.example/a", "https://r.example:444/a"));
        assert!(!same(
            "https://r.example/a",
            "https://r.example@s.example/a"
        ));
        assert!(!same("https://r.example/a", "https://r.example.org/a"));
    }

    #[test]
    fn parameters_are_escaped() {
        assert_eq!(
            with_parameter("https://a/b", "c", "d e"),
            "https://a/b?c=d%20e"
        );
        assert_eq!(
            with_parameter("https://a/b?c", "d", "sha256:e"),
            "https://a/b?c&d=sha256:e"
        );
    }
}
