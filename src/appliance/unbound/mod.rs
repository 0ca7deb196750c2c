//! Unbound's configuration: where answers come from, and how far they are checked.
//!
//! Upstream is, first hit wins: full recursion from the root of the systemd
//! credential `mailimg.dns`; `DNS_SERVERS`; the servers of networkd's lease;
//! full recursion from Debian's root hints. While the clock was never
//! synchronised signatures cannot be judged, so validation only marks then
//! (`val-permissive-mode`, unbound.conf(5),
//! <https://unbound.docs.nlnetlabs.nl/en/latest/manpages/unbound.conf.html>).

pub mod resolver;

use super::machine::clock::is_synchronized;
use super::machine::files::{PUBLIC, ensure_file, ensure_folder, read_optional};
use super::machine::place::{self, Place};
use super::machine::template::render_template;
use crate::settings::Settings;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// Its unit.
pub const UNIT: &str = "unbound.service";
/// Root hints of Debian's dns-root-data.
const ROOT_HINTS: &str = "/usr/share/dns/root.hints";
/// Trust anchor of Debian's dns-root-data.
const TRUST_ANCHOR: &str = "/usr/share/dns/root.key";
/// Facts of networkd's lease; `DNS=` holds the servers of all links.
const NETWORK_STATE: &str = "/run/systemd/netif/state";
/// Name of the credential that replaces the root of DNS.
const CREDENTIAL: &str = "mailimg.dns";
/// Where the credential of the first boot phase is kept for later calls.
const KEPT_CREDENTIAL: &str = "/run/mailimg/unbound/mailimg.dns";

/// Another root of DNS.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherRoot {
    /// A root hints file, as text.
    root_hints: String,
    /// Its DS or DNSKEY records, as text.
    trust_anchor: String,
}

#[derive(Debug, Serialize)]
struct Values {
    forwarders: Vec<String>,
    validate: bool,
    permissive: bool,
    root_hints: String,
    trust_anchor: String,
}

/// Renders the configuration, and says whether it changed.
pub fn ensure_resolver(place: &Place, settings: Option<&Settings>) -> Result<bool> {
    let folder = place.path(place::RENDERED).join("unbound");
    ensure_folder(&folder, 0o755, None)?;
    let mut values = Values {
        forwarders: Vec::new(),
        validate: settings.is_none_or(|settings| settings.network.dnssec),
        permissive: !is_synchronized(place),
        root_hints: ROOT_HINTS.to_owned(),
        trust_anchor: TRUST_ANCHOR.to_owned(),
    };
    let mut changed = false;
    if let Some(root) = load_other_root(place)? {
        for (name, text, value) in [
            ("root.hints", &root.root_hints, &mut values.root_hints),
            ("root.key", &root.trust_anchor, &mut values.trust_anchor),
        ] {
            *value = format!("{}/unbound/{name}", place::RENDERED);
            changed |= ensure_file(&folder.join(name), text.as_bytes(), PUBLIC, None)?;
        }
    } else {
        values.forwarders = forwarders(place, settings)?;
    }
    let text = render_template(place, "unbound/unbound.conf", &values)?;
    changed |= ensure_file(&folder.join("unbound.conf"), text.as_bytes(), PUBLIC, None)?;
    Ok(changed)
}

fn forwarders(place: &Place, settings: Option<&Settings>) -> Result<Vec<String>> {
    if let Some(settings) = settings.filter(|settings| !settings.network.dns_servers.is_empty()) {
        return Ok(settings
            .network
            .dns_servers
            .iter()
            .map(IpAddr::to_string)
            .collect());
    }
    let state = read_optional(&place.path(NETWORK_STATE))?.unwrap_or_default();
    Ok(parse_lease(&String::from_utf8_lossy(&state)))
}

/// Servers of a lease in unbound's notation; those it cannot use are left out.
fn parse_lease(state: &str) -> Vec<String> {
    state
        .lines()
        .filter_map(|line| line.strip_prefix("DNS="))
        .flat_map(str::split_ascii_whitespace)
        .filter_map(parse_server)
        .collect()
}

/// `ADDRESS[:PORT][%INTERFACE][#NAME]` of resolved.conf(5).
fn parse_server(text: &str) -> Option<String> {
    let text = text.split('#').next()?;
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let (address, port) = match address.parse::<SocketAddr>() {
        Ok(socket) => (socket.ip(), Some(socket.port())),
        Err(_) => (address.parse::<IpAddr>().ok()?, None),
    };
    // Ourselves: a loop, not an upstream.
    if address.is_loopback() || address.is_unspecified() {
        return None;
    }
    let zone = zone
        .filter(|zone| zone.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        .map_or_else(String::new, |zone| format!("%{zone}"));
    let port = port.map_or_else(String::new, |port| format!("@{port}"));
    Some(format!("{address}{zone}{port}"))
}

fn load_other_root(place: &Place) -> Result<Option<OtherRoot>> {
    let kept = place.path(KEPT_CREDENTIAL);
    if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
        let path = PathBuf::from(folder).join(CREDENTIAL);
        if let Some(bytes) = read_optional(&path)? {
            // Later calls come from a shell or another unit and see no credential.
            ensure_file(&kept, &bytes, PUBLIC, None)?;
        }
    }
    let Some(bytes) = read_optional(&kept)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).context("reading the credential mailimg.dns")?;
    parse_other_root(&text)
        .with_context(|| format!("reading the credential {CREDENTIAL}"))
        .map(Some)
}

fn parse_other_root(text: &str) -> Result<OtherRoot> {
    let root: OtherRoot = if text.trim_start().starts_with('{') {
        serde_json::from_str(text)?
    } else {
        toml::from_str(text)?
    };
    if root.root_hints.trim().is_empty() || root.trust_anchor.trim().is_empty() {
        bail!("root_hints and trust_anchor must both hold records");
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::{parse_lease, parse_other_root};

    #[test]
    fn servers_of_a_lease() {
        let state = "# private\nOPER_STATE=routable\nDNS=192.0.2.1 2001:db8::1 fe80::1%eth0 \
                     192.0.2.2:5353#dns.example 127.0.0.53 [2001:db8::2]:53 bad\nNTP=192.0.2.3\n";
        assert_eq!(
            parse_lease(state),
            [
                "192.0.2.1",
                "2001:db8::1",
                "fe80::1%eth0",
                "192.0.2.2@5353",
                "2001:db8::2@53"
            ]
        );
        assert!(parse_lease("OPER_STATE=off\n").is_empty());
    }

    #[test]
    fn another_root_is_json_or_toml() {
        let json =
            r#"{"root_hints": ". NS a.\na. A 192.0.2.1\n", "trust_anchor": ". DS 1 13 2 00"}"#;
        assert!(
            parse_other_root(json)
                .unwrap()
                .root_hints
                .ends_with("192.0.2.1\n")
        );
        let toml = "root_hints = \". NS a.\"\ntrust_anchor = \". DS 1 13 2 00\"\n";
        assert_eq!(
            parse_other_root(toml).unwrap().trust_anchor,
            ". DS 1 13 2 00"
        );
        assert!(parse_other_root("root_hints = \"\"\ntrust_anchor = \"\"\n").is_err());
        assert!(parse_other_root("hints = \"x\"\n").is_err());
    }
}
