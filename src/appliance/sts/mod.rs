//! `mailctl sts`: what other domains demand of mail to them, and what they want to hear.
//!
//! ```text
//!            which policy?                  _mta-sts.D, MX, TLSA
//! Postfix ──────────────────► lookup ─────────────────────────────► Unbound
//!    │     (policy.sock)        │ └──────► https://mta-sts.D/.well-known/mta-sts.txt
//!    │                        cache (a file for each domain)
//!    │ how did TLS fare?
//!    └────────────────► report (a file for each day) ──► mailctl tlsrpt ──► the domains
//!     (report.sock)
//! ```
//!
//! RFC 8461 (<https://www.rfc-editor.org/rfc/rfc8461>) beside DANE, which
//! Postfix does by itself. Postfix wants the policy of a next hop from a table;
//! this is that table. Debian's postfix-mta-sts-resolver is one too, and would be
//! the only thing in the image to need Python: 30 MB and an interpreter with
//! its own releases for what is 1,000 lines here, which also let DANE come first.
//!
//! What it answers and why:
//! - An enforced policy is level `secure`, with names and everything that
//!   reports need.
//! - A tested one is level `may`. Postfix checks no certificate at that level, so
//!   what it reports of such a domain is whether encryption came about.
//! - Where DANE covers the mail servers the answer is that there is nothing: any
//!   other would replace `dane`, the level that main.cf has.
//! - First contact with a domain whose policy cannot be had is like one with a
//!   domain that has none, as the RFC says. From then on the policy holds for
//!   its time, whatever fails.
//!
//! Mail waits in the queue when this service is down, since Postfix defers what
//! it cannot look up: a policy that can be switched off by overload is none.
//! systemd starts it again at once and for ever.

pub mod answer;
pub mod cache;
pub mod configuration;
pub mod dane;
pub mod fetch;
pub mod lookup;
mod name_server;
pub mod netstring;
pub mod policy;
pub mod published;
pub mod report;
pub mod socketmap;

use super::machine::place::{self, Place};
use super::wire::internet::Strangers;
use super::wire::serve::{bind_socket, start_runtime, tell_ready};
use anyhow::Result;
use lookup::Lookup;
use name_server::NameServer;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixDatagram, UnixListener};
use tokio::task::LocalSet;
use tokio::time::interval;

pub use configuration::configure;
pub use report::{ReportOptions, send_reports};
pub use socketmap::MAP;

/// How often policies are looked through for those that grow old.
const TENDING_INTERVAL: Duration = Duration::from_secs(600);
/// Threads that wait for web servers.
const MOST_THREADS: usize = 16;

/// Where the service finds the rest of the world.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct StsOptions {
    /// The resolver.
    #[arg(long, hide = true, default_value = "127.0.0.1:53")]
    resolver: SocketAddr,
    /// Port of web servers that publish policies.
    #[arg(long, hide = true, default_value_t = 443)]
    https_port: u16,
    #[command(flatten)]
    strangers: Strangers,
}

/// Serves Postfix until the process is stopped.
pub fn run_sts(place: &Place, options: &StsOptions) -> Result<String> {
    let runtime = start_runtime(MOST_THREADS)?;
    LocalSet::new().block_on(&runtime, async {
        let server = NameServer(options.resolver);
        let lookup = Rc::new(Lookup::new(
            place,
            server,
            options.https_port,
            options.strangers,
        )?);
        // The group's: Postfix is a member.
        let path = place.path(place::STS_SOCKET);
        let listener = bind_socket(&path, 0o660, |path| UnixListener::bind(path))?;
        let path = place.path(place::TLSRPT_SOCKET);
        let reports = bind_socket(&path, 0o660, |path| UnixDatagram::bind(path))?;
        tell_ready()?;
        tokio::task::spawn_local(tend(lookup.clone()));
        tokio::select! {
            () = socketmap::serve(listener, lookup) => {}
            // Ends when the process is told to stop.
            () = report::receive(place, reports) => {}
        }
        Ok("The service has ended.".to_owned())
    })
}

async fn tend(lookup: Rc<Lookup>) {
    let mut ticks = interval(TENDING_INTERVAL);
    loop {
        ticks.tick().await;
        lookup.refresh_due().await;
    }
}
