//! Asks a validating resolver for what the crate `mail-auth` checks by: SPF records.

use anyhow::{Context, Result};
use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for one answer.
const ONE_ANSWER: Duration = Duration::from_secs(4);
/// Answers kept; Unbound keeps many more, this spares the way there within one message. One that
/// fills its 64 KB takes a megabyte here, and strangers choose whom we ask.
const CACHE_SIZE: u64 = 16;

/// Asks one name server, which validates.
pub fn authenticator(server: SocketAddr) -> Result<MessageAuthenticator> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .into_iter()
        .map(|mut connection| {
            connection.port = server.port();
            connection
        })
        .collect();
    let server = NameServerConfig::new(server.ip(), true, connections);
    let mut options = ResolverOpts::default();
    options.timeout = ONE_ANSWER;
    options.attempts = 1;
    options.cache_size = CACHE_SIZE;
    options.use_hosts_file = ResolveHosts::Never;
    // Unbound validates.
    options.validate = false;
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    MessageAuthenticator::new(config, options)
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("setting up the resolver")
}
