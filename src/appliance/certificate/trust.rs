//! The roots that this machine trusts: the image's, and that of a private authority.
//!
//! One bundle in PEM serves everything that asks others for certificates:
//! Postfix, the certificate agent, the policies of other domains. The image's
//! part is Debian's `ca-certificates`.

use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::files::{PUBLIC, ensure_file, read_linked, read_optional};
use crate::appliance::machine::place::{self, Place};
use crate::settings::{AUTHORITY_KEY, Settings};
use anyhow::Result;
use std::path::PathBuf;

/// The image's roots.
const IMAGE_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Renders the bundle.
///
/// A private authority whose certificate is gone leaves the others in use.
pub fn ensure_trust(place: &Place, settings: &Settings) -> Result<()> {
    let mut bundle = read_linked(&place.path(IMAGE_ROOTS))?.unwrap_or_default();
    if settings.acme.ca_file.is_some() {
        match read_optional(&place.path(place::PRIVATE_CA))? {
            Some(certificates) => {
                if !bundle.is_empty() && !bundle.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
                bundle.extend(certificates);
            }
            None => tell!(
                "warning: {AUTHORITY_KEY}: there is no {}; the certificate authority will not be trusted",
                place::PRIVATE_CA
            ),
        }
    }
    let path = place.path(place::TRUST);
    ensure_file(&path, &bundle, PUBLIC, owner(place, "root", "root")?)?;
    Ok(())
}

/// The file of the roots in use: the bundle, or the image's where none is rendered yet.
pub fn roots_path(place: &Place) -> PathBuf {
    let bundle = place.path(place::TRUST);
    if bundle.exists() {
        bundle
    } else {
        place.path(IMAGE_ROOTS)
    }
}
