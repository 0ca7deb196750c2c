//! Fetching a policy over HTTPS.
//!
//! RFC 8461, section 3.3 (<https://www.rfc-editor.org/rfc/rfc8461#section-3.3>):
//! the certificate must be that of `mta-sts.DOMAIN`, and a redirection is a
//! failure. Only the address comes from DNS, and has to be a public one; what it
//! serves is believed because of its certificate.

use super::policy::{Policy, parse_policy};
use crate::appliance::wire::http::{client, trusting};
use crate::appliance::wire::internet::Strangers;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use ureq::config::Config;
use ureq::http::{Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Largest policy.
const POLICY_BYTES_MAX: u64 = 64 << 10;
/// From connecting to the last byte.
const FETCH_LIMIT: Duration = Duration::from_secs(7);
/// Until a server is connected, of which there may be several.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Addresses that are tried.
const MOST_ADDRESSES: usize = 4;

/// Hands out addresses that were found before.
#[derive(Debug)]
struct Found(Vec<SocketAddr>);

impl Resolver for Found {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        for address in &self.0 {
            addresses.push(*address);
        }
        Ok(addresses)
    }
}

/// Makes a client that knows where the host is, follows nothing and gives up in time.
///
/// It asks DNS nothing, so what is callable now is what it connects to.
pub fn make_client(
    roots: &Path,
    strangers: Strangers,
    addresses: &[IpAddr],
    port: u16,
) -> Result<ureq::Agent> {
    let addresses = strangers.callable(addresses)?;
    let pem = std::fs::read(roots).with_context(|| format!("reading {}", roots.display()))?;
    let config = client()
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_global(Some(FETCH_LIMIT))
        .max_response_header_size(16 << 10)
        .tls_config(trusting(&pem))
        .build();
    let addresses = addresses
        .iter()
        .take(MOST_ADDRESSES)
        .map(|address| SocketAddr::new(*address, port))
        .collect();
    Ok(ureq::Agent::with_parts(
        config,
        DefaultConnector::default(),
        Found(addresses),
    ))
}

/// Fetches the policy of a domain from these addresses; blocks.
pub fn fetch_policy(client: &ureq::Agent, domain: &str) -> Result<Policy> {
    let url = format!("https://mta-sts.{domain}/.well-known/mta-sts.txt");
    let fetch = || -> Result<Policy> {
        let mut response = client
            .get(&url)
            .header(header::ACCEPT, "text/plain")
            .call()?;
        let status = response.status();
        ensure!(status.as_u16() == 200, "the server answers {status}");
        let kind = response
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("text/plain") {
            bail!("it is no text/plain");
        }
        let bytes = response
            .body_mut()
            .with_config()
            .limit(POLICY_BYTES_MAX)
            .read_to_vec()?;
        parse_policy(&bytes).map_err(|wrong| anyhow!("{wrong}"))
    };
    fetch().with_context(|| format!("fetching {url}"))
}
