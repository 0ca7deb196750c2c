//! What all sessions know.

use super::configuration::{CONFIGURATION, Configuration};
use super::limit::SendingLimit;
use super::senders::Senders;
use super::spf::SpfChecker;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::watched::Watched;
use anyhow::Result;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

/// Files that are watched, counts, and the resolver.
pub struct Shared {
    pub configuration: RefCell<Watched<Configuration>>,
    pub senders: RefCell<Watched<Senders>>,
    pub limit: RefCell<SendingLimit>,
    pub revoked: PathBuf,
    pub spf: SpfChecker,
    pub began: Instant,
}

impl Shared {
    /// Nothing has been counted yet.
    pub fn new(place: &Place, name_server: SocketAddr) -> Result<Self> {
        let senders = place.path(place::RENDERED).join("postfix/senders");
        Ok(Self {
            configuration: RefCell::new(CONFIGURATION.watch(place)),
            senders: RefCell::new(Watched::new(senders, Senders::parse)),
            limit: RefCell::default(),
            revoked: place.path(place::REVOKED),
            spf: SpfChecker::new(name_server)?,
            began: Instant::now(),
        })
    }
}
