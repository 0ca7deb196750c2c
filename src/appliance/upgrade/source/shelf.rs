//! Where on a server the files of an update lie.

use anyhow::Result;

use super::registry::Registry;
use crate::error::hinted;
use crate::format::oci::{SCHEME, parse_oci_reference};

/// What is known of the place.
pub(super) enum Shelf {
    /// A folder of a web server: its address, with a slash at the end.
    Folder(String),
    /// A registry of container images.
    Registry(Registry),
}

impl Shelf {
    /// Reads an address of either kind.
    pub fn of(address: &str) -> Result<Self> {
        if address.starts_with(SCHEME) {
            return Ok(Self::Registry(Registry::of(parse_oci_reference(address)?)));
        }
        let rest = address.strip_prefix("https://").unwrap_or_default();
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() || host.contains('@') || address.contains(['?', '#', ' ']) {
            return Err(hinted(
                format!("'{address}' is no address of a folder"),
                "an address is like https://updates.example.org/mail/, without user or \
                 password, or like oci://registry.example.org/mail:stable",
            ));
        }
        Ok(Self::Folder(format!("{}/", address.trim_end_matches('/'))))
    }

    /// How a file is called in messages.
    pub fn address(&self, path: &str) -> String {
        match self {
            Self::Folder(base) => format!("{base}{path}"),
            Self::Registry(registry) => format!("{path} in {SCHEME}{}", registry.reference),
        }
    }

    /// Where a file is fetched from; nothing when it is known that there is none.
    pub fn url(&self, path: &str) -> Option<String> {
        match self {
            Self::Folder(base) => Some(format!("{base}{path}")),
            Self::Registry(registry) => registry.url(path),
        }
    }

    /// What is shown to the server of an address.
    pub fn token(&self, url: &str) -> Option<&str> {
        match self {
            Self::Folder(_) => None,
            Self::Registry(registry) => registry.token(url),
        }
    }

    /// What helps where files are missing or are not what they should be.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Folder(_) => {
                "the folder is damaged or half copied: copy all that `mailimg sign --into` wrote \
                 again, update.json last"
            }
            Self::Registry(_) => {
                "`mailimg push FOLDER oci://…` with what `mailimg sign` wrote \
                                  sends it again"
            }
        }
    }
}
