//! Proving to the CA that a name leads here.
//!
//! HTTP-01 is RFC 8555, section 8.3
//! (<https://www.rfc-editor.org/rfc/rfc8555#section-8.3>), TLS-ALPN-01 is
//! RFC 8737 (<https://www.rfc-editor.org/rfc/rfc8737>). The web server serves
//! what is put here; DNS-01 is left out, since it needs keys to the zone.

use super::failure::Kind;
use crate::appliance::machine::files::{remove_file, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result, bail};
use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The web server's group reads it.
const CHALLENGE_MODE: u32 = 0o640;
/// Longest token that is taken for one.
const LONGEST_TOKEN: usize = 128;

/// How the CA is to reach us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChallengeMethod {
    /// A file on port 80.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// A handshake on port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl ChallengeMethod {
    /// What the CA calls it.
    pub fn challenge(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    /// The port that the CA connects to.
    pub fn port(self) -> u16 {
        match self {
            Self::Http01 => 80,
            Self::TlsAlpn01 => 443,
        }
    }

    /// The one to begin with: what worked, as far as it still can.
    pub fn first(remembered: Self, tls_alpn: bool) -> Self {
        if tls_alpn { remembered } else { Self::Http01 }
    }

    /// The one to try after a failure, if there is another.
    pub fn after(self, failure: Kind, tls_alpn: bool) -> Option<Self> {
        match (self, failure) {
            // A port that is shut says nothing of the other one, and a CAA record may
            // allow but one of them (RFC 8657 section 4).
            (Self::Http01, Kind::Port | Kind::Caa) if tls_alpn => Some(Self::TlsAlpn01),
            (Self::TlsAlpn01, Kind::Port | Kind::Validation | Kind::Caa) => Some(Self::Http01),
            _ => None,
        }
    }
}

/// An answer that lies where the web server finds it, until dropped.
#[derive(Debug)]
pub struct PublishedAnswer {
    path: PathBuf,
}

impl Drop for PublishedAnswer {
    fn drop(&mut self) {
        // What stays is cleared by the next run.
        let _ = remove_file(&self.path);
    }
}

fn publish(folder: &Path, name: &str, bytes: &[u8]) -> Result<PublishedAnswer> {
    let path = folder.join(name);
    write_file(&path, bytes, CHALLENGE_MODE, None)?;
    Ok(PublishedAnswer { path })
}

/// Puts the answer of HTTP-01 where it is served.
pub fn publish_http(place: &Place, token: &str, text: &str) -> Result<PublishedAnswer> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(allowed) {
        bail!("the CA's token '{}' is none", token.escape_default());
    }
    publish(&place.path(place::HTTP_CHALLENGES), token, text.as_bytes())
}

/// Puts the certificate of TLS-ALPN-01 where it is served.
pub fn publish_alpn(
    place: &Place,
    name: &str,
    authorization: &KeyAuthorization,
) -> Result<PublishedAnswer> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut parameters = CertificateParams::new([name.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(
        authorization.digest().as_ref(),
    )];
    let certificate = parameters
        .self_signed(&key)
        .context("making the certificate of a challenge")?;
    let text = format!("{}{}", certificate.pem(), key.serialize_pem());
    publish(
        &place.path(place::ALPN_CHALLENGES),
        &format!("{name}.pem"),
        text.as_bytes(),
    )
}

/// Removes answers of a run that was cut short, and makes the folders where nobody else does.
pub fn clear_answers(place: &Place) -> Result<()> {
    for folder in [place::HTTP_CHALLENGES, place::ALPN_CHALLENGES] {
        let folder = place.path(folder);
        if !place.is_machine() {
            // On the machine tmpfiles.d makes them for the web server's group.
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("making the folder {}", folder.display()))?;
        }
        let entries = std::fs::read_dir(&folder)
            .with_context(|| format!("reading the folder {}", folder.display()))?;
        for entry in entries.filter_map(Result::ok) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ChallengeMethod, clear_answers, publish_http};
    use crate::appliance::certificate::acme::failure::Kind;
    use crate::appliance::machine::place::Place;

    #[test]
    fn the_other_port_when_one_is_shut() {
        let (http, alpn) = (ChallengeMethod::Http01, ChallengeMethod::TlsAlpn01);
        assert_eq!(http.after(Kind::Port, true), Some(alpn));
        assert_eq!(http.after(Kind::Port, false), None);
        assert_eq!(http.after(Kind::Validation, true), None);
        assert_eq!(http.after(Kind::RateLimited, true), None);
        // The same program serves both ports.
        assert_eq!(http.after(Kind::WebServer, true), None);
        assert_eq!(alpn.after(Kind::Port, true), Some(http));
        assert_eq!(alpn.after(Kind::Caa, true), Some(http));
        assert_eq!(http.after(Kind::Caa, true), Some(alpn));
        assert_eq!(http.after(Kind::Caa, false), None);
        assert_eq!(alpn.after(Kind::RateLimited, true), None);
        // Somebody put a proxy in front of port 443 since.
        assert_eq!(ChallengeMethod::first(alpn, false), http);
        assert_eq!(ChallengeMethod::first(alpn, true), alpn);
        assert_eq!(
            ChallengeMethod::first(ChallengeMethod::default(), true),
            http
        );
    }

    #[test]
    fn tokens_are_no_paths() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        clear_answers(&place).unwrap();
        for token in ["", "../x", "a/b", ".", "a.b", "ä", &"a".repeat(129)] {
            assert!(publish_http(&place, token, "x").is_err(), "{token}");
        }
        let path = folder.path().join("run/mailimg-acme/http/a-_9");
        let answer = publish_http(&place, "a-_9", "a-_9.thumb").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a-_9.thumb");
        drop(answer);
        assert!(!path.exists());
        std::fs::write(&path, "left over").unwrap();
        clear_answers(&place).unwrap();
        assert!(!path.exists());
    }
}
