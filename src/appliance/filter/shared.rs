//! What all sessions know.

use super::configuration::{CONFIGURATION, Configuration};
use super::limit::SendingLimit;
use super::lookup::Resolver;
use super::senders::Senders;
use super::verify::organisation::Organisations;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::watched::Watched;
use anyhow::{Context, Result};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

/// The list of public suffixes, of Debian's package publicsuffix.
pub const SUFFIXES: &str = "/usr/share/publicsuffix/public_suffix_list.dat";

/// Files that are watched, counts, and the resolver.
pub struct Shared {
    pub configuration: RefCell<Watched<Configuration>>,
    pub senders: RefCell<Watched<Senders>>,
    pub limit: RefCell<SendingLimit>,
    pub revoked: PathBuf,
    /// Where mail goes.
    pub disk: PathBuf,
    pub resolver: Resolver,
    pub organisations: Organisations,
    pub began: Instant,
}

impl Shared {
    /// Nothing has been counted yet.
    pub fn new(place: &Place, name_server: SocketAddr) -> Result<Self> {
        let suffixes = place.path(SUFFIXES);
        let organisations = std::fs::read_to_string(&suffixes)
            .map_err(anyhow::Error::from)
            .and_then(|text| Organisations::parse(&text))
            .with_context(|| format!("reading {}", suffixes.display()))?;
        let senders = place.path(place::RENDERED).join("postfix/senders");
        Ok(Self {
            configuration: RefCell::new(CONFIGURATION.watch(place)),
            senders: RefCell::new(Watched::new(senders, Senders::parse)),
            limit: RefCell::default(),
            revoked: place.path(place::REVOKED),
            disk: place.path("/var"),
            resolver: Resolver::new(name_server)?,
            organisations,
            began: Instant::now(),
        })
    }
}
