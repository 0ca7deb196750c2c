//! The resolver of an outside authority: Unbound without a cache, since tests
//! change zones under its hands. Knot alone follows no alias into another zone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::world::process::{Process, last_lines};
use crate::world::wait::until;
use crate::world::{peers, query};

/// Where it answers.
pub const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// How long it may take to start.
const LIMIT: Duration = Duration::from_secs(60);

/// A running resolver.
pub struct Resolver {
    _folder: TempDir,
    _process: Process,
}

impl Resolver {
    /// Starts it with these root hints, in the format of a zone file.
    pub fn start(root_hints: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path();
        std::fs::write(place.join("root.hints"), root_hints)?;
        let text = format!(
            "server:\n  interface: {}\n  chroot: \"\"\n  username: \"\"\n  directory: \"{1}\"\n  \
             pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  verbosity: 1\n  \
             module-config: \"iterator\"\n  root-hints: \"{1}/root.hints\"\n  \
             cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  infra-host-ttl: 1\n\
             remote-control:\n  control-enable: no\n",
            ADDRESS.ip(),
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
            Ok(query::soa_serial(ADDRESS.ip(), "example.").ok().flatten())
        })
        .with_context(|| last_lines(&log))?;
        Ok(Self {
            _folder: folder,
            _process: process,
        })
    }
}
