//! The resolver that the machines have, with our root: Unbound, validating.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::knot::SERVER;
use crate::world::network::{OUTSIDE_DNS, OUTSIDE_DNS6};
use crate::world::process::{Process, last_lines};
use crate::world::wait::until;
use crate::world::{peers, query};

/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// A running Unbound.
pub struct Unbound {
    _folder: TempDir,
    _process: Process,
}

impl Unbound {
    /// Where it answers, as in a machine.
    pub const ADDRESS: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 53);

    /// Starts it with the root's key as trust anchor.
    pub fn start(trust_anchor: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path();
        let hints = format!(
            ". 3600000 IN NS {SERVER}\n{SERVER} 3600000 IN A {OUTSIDE_DNS}\n{SERVER} 3600000 IN AAAA {OUTSIDE_DNS6}\n"
        );
        std::fs::write(place.join("root.hints"), hints)?;
        std::fs::write(
            place.join("root.key"),
            format!("{}\n", trust_anchor.replacen(". DS ", ". IN DS ", 1)),
        )?;
        // No cache: a test changes zones under its hands.
        let text = format!(
            "server:\n  interface: 127.0.0.1\n  chroot: \"\"\n  username: \"\"\n  directory: \"{0}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  verbosity: 1\n  num-threads: 1\n  module-config: \"validator iterator\"\n  \
             root-hints: \"{0}/root.hints\"\n  trust-anchor-file: \"{0}/root.key\"\n  \
             cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  key-cache-size: 0\n  do-not-query-localhost: no\n  \
             infra-host-ttl: 1\n\
             remote-control:\n  control-enable: no\n",
            place.display()
        );
        let path = place.join("unbound.conf");
        std::fs::write(&path, text)?;
        let log = place.join("unbound.log");
        let mut process = Process::start(
            peers::program("unbound")?
                .args(["-d", "-p", "-c"])
                .arg(&path),
            &log,
        )?;
        until("the resolver", LIMIT, || {
            process.check_running()?;
            Ok(query::soa_serial(Self::ADDRESS.ip(), "example.")
                .ok()
                .flatten())
        })
        .with_context(|| last_lines(&log))?;
        Ok(Self {
            _folder: folder,
            _process: process,
        })
    }
}
