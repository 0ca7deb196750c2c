//! What `mailimg push` and `mailimg pull` have in common: `oci://` references, and how a
//! registry is spoken with.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::builder::fetch::FetchOptions;
use crate::builder::progress::{Progress, Style};
use crate::builder::registry::{Client, Reference, find_credentials, parse_reference};
use crate::error::{Hint, hinted};

/// How a registry's images are named here.
const SCHEME: &str = "oci://";

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
        let lookup = find_credentials(reference)?;
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

/// Reads `oci://REGISTRY/REPOSITORY:TAG`.
pub fn parse_oci_reference(text: &str) -> Result<Reference> {
    let reading = || format!("reading '{text}'");
    let rest = text
        .strip_prefix(SCHEME)
        .ok_or_else(|| {
            hinted(
                "it does not begin with oci://",
                "write oci://REGISTRY/REPOSITORY:TAG, such as \
                 oci://registry.example.org/mail:stable",
            )
        })
        .with_context(reading)
        .usage()?;
    let reference = parse_reference(rest).with_context(reading).usage()?;
    if reference.tag.is_none() && reference.digest.is_none() {
        return Err(hinted(
            format!("{}: it has no tag", reading()),
            format!("add one, such as {text}:stable"),
        ))
        .usage();
    }
    Ok(reference)
}

#[cfg(test)]
mod tests {
    use super::parse_oci_reference;
    use crate::error::render;

    #[test]
    fn a_reference_names_an_image_in_a_registry() {
        let reference = parse_oci_reference("oci://r.example:5000/a/mail:1").unwrap();
        assert_eq!(reference.to_string(), "r.example:5000/a/mail:1");
        for (text, wrong) in [
            ("r.example/mail:1", "does not begin with oci://"),
            ("docker://r.example/mail:1", "does not begin with oci://"),
            ("oci://r.example/mail", "it has no tag"),
            ("oci://mail:1", "does not begin with a registry"),
            ("oci://", "does not begin with a registry"),
        ] {
            let error = render(&parse_oci_reference(text).unwrap_err());
            assert!(
                error.contains(wrong) && error.contains("\nhint: "),
                "{error}"
            );
        }
    }
}
