//! The roots that this machine trusts: the image's, and that of a private authority.
//!
//! One bundle in PEM serves everything that asks others for certificates:
//! Postfix, the certificate agent, the policies of other domains. The image's
//! part is Debian's `ca-certificates`.

use super::accounts::owner;
use super::place::{self, Place};
use super::state::{PUBLIC, ensure_file, read_optional};
use crate::settings::{AUTHORITY_KEY, Settings};
use anyhow::ensure;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The image's roots.
pub const IMAGE_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Renders the bundle.
///
/// A private authority whose certificate is gone leaves the others in use.
///
/// # Errors
/// Files that cannot be read or written.
pub fn ensure_trust(place: &Place, settings: &Settings) -> anyhow::Result<()> {
    let mut bundle = read_optional(&place.path(IMAGE_ROOTS))?.unwrap_or_default();
    if settings.acme_ca_file.is_some() {
        match read_optional(&place.path(place::PRIVATE_CA))? {
            Some(certificates) => {
                if !bundle.is_empty() && !bundle.ends_with(b"\n") {
                    bundle.push(b'\n');
                }
                bundle.extend(certificates);
            }
            None => eprintln!(
                "warning: {AUTHORITY_KEY}: there is no {}; the certificate authority will not be trusted",
                place::PRIVATE_CA
            ),
        }
    }
    let path = place.path(place::TRUST);
    ensure_file(&path, &bundle, PUBLIC, owner(place, "root", "root")?)?;
    Ok(())
}

/// The roots in use: the bundle, and the image's where none is rendered yet.
///
/// # Errors
/// No root at all.
pub fn load_roots(place: &Place) -> anyhow::Result<RootCertStore> {
    let bytes = match read_optional(&place.path(place::TRUST))? {
        Some(bytes) => bytes,
        None => read_optional(&place.path(IMAGE_ROOTS))?.unwrap_or_default(),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&bytes).filter_map(Result::ok));
    ensure!(
        !roots.is_empty(),
        "reading {}: it holds no certificate",
        place::TRUST
    );
    Ok(roots)
}
