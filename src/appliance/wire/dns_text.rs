//! TXT records, asked of the machine's own resolver.

use crate::appliance::wire::serve::{BLOCKING_THREADS, start_runtime};
use anyhow::{Context, Result};
use mail_auth::MessageAuthenticator;
use mail_auth::hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use std::net::{IpAddr, Ipv4Addr};

/// All TXT records of a name, joined into one text.
///
/// # Errors
/// A name without such a record, or no answer.
pub fn lookup(name: &str) -> Result<String> {
    // Unbound validates; what it withholds is no answer here either.
    let server = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let configuration = ResolverConfig::from_name_servers(vec![server]);
    let runtime = start_runtime(BLOCKING_THREADS)?;
    runtime.block_on(async {
        let resolver = MessageAuthenticator::new(configuration, ResolverOpts::default())
            .context("starting the resolver")?;
        let bytes = resolver
            .txt_raw_lookup(format!("{name}."))
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}
