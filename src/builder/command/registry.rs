//! What `mailimg push` and `mailimg pull` have in common: how a registry is spoken with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::builder::fetch::FetchOptions;
use crate::builder::progress::{Progress, Style};
use crate::builder::registry::{Client, find_credentials};
use crate::format::oci::Reference;

/// Arguments that say how a registry is spoken with.
#[derive(Args, Debug)]
pub struct RegistryArgs {
    /// Trust these CAs instead of the system's, a file of certificates in PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Speak without TLS, with a registry on this machine
    #[arg(long)]
    plain_http: bool,
    /// Give up what brings nothing for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Tell what happens as JSON lines
    #[arg(long)]
    pub json: bool,
}

impl RegistryArgs {
    /// How hard a registry is tried.
    pub fn options(&self) -> FetchOptions {
        let patience = Duration::from_secs(self.timeout);
        let defaults = FetchOptions::default();
        FetchOptions {
            connect_timeout: defaults.connect_timeout.min(patience),
            idle_timeout: patience,
            ca_file: self.ca_file.clone(),
            // Layers are few and large.
            threads: 2,
            ..defaults
        }
    }

    /// What tells how far it is.
    pub fn progress(&self) -> Progress {
        Progress::new(if self.json { Style::Json } else { Style::Auto })
    }

    /// Speaks with the registry of a repository.
    pub fn client(&self, reference: &Reference, writes: bool, also: &[&str]) -> Result<Client> {
        let lookup = find_credentials(reference, Duration::from_secs(self.timeout))?;
        Client::new(
            reference,
            lookup,
            self.plain_http,
            writes,
            also,
            self.options(),
        )
    }
}
