//! Which certificate a client is shown, by the name that it asked for.
//!
//! Files are looked at when somebody connects, at most once a second, so that
//! a renewed certificate is taken at once and an idle machine does nothing. A
//! pair that is half written or does not match leaves the one before in use.
//! TLS-ALPN-01 is RFC 8737 (<https://www.rfc-editor.org/rfc/rfc8737#section-3>).
//! Stapling is left out: authorities gave up OCSP.

use super::challenge::read_limited;
use crate::appliance::certificate;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::watched::{Stamp, stamp};
use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The protocol in which an authority asks for a challenge's certificate.
const ACME_PROTOCOL: &[u8] = b"acme-tls/1";
/// The protocol of everybody else.
const WEB_PROTOCOL: &[u8] = b"http/1.1";
/// Files are looked at no more often than this.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Longest file of certificates or keys.
const LONGEST_FILE: u64 = 64 << 10;
/// Most optional names.
const MOST_NAMES: usize = 1000;

type Stamps = (Stamp, Stamp);

/// The pair of one name.
#[derive(Default)]
struct Pair {
    /// What the files were when they were taken.
    taken: Option<Stamps>,
    /// What they were when it was last said that they are no good.
    refused: Option<Stamps>,
    configuration: Option<Arc<ServerConfig>>,
}

impl Pair {
    /// Reads the files again if they changed, and says what is wrong with them once.
    fn refresh(&mut self, provider: &Arc<CryptoProvider>, chain: &Path, key: &Path) {
        let stamps = [chain, key].map(|path| std::fs::metadata(path).map(|found| stamp(&found)));
        let [Ok(of_chain), Ok(of_key)] = stamps else {
            return;
        };
        // Stamps first: a change while reading is seen next time.
        let now = Some((of_chain, of_key));
        if self.taken == now {
            return;
        }
        // Bad ones are tried again: files that may be read from now on look the same.
        match load_pair(provider, chain, key) {
            Ok(configuration) => {
                self.configuration = Some(configuration);
                self.taken = now;
            }
            Err(error) if self.refused != now => {
                tell!("reading {}: {error:#}", chain.display());
                self.refused = now;
            }
            Err(_) => {}
        }
    }
}

/// What a client is served with.
pub enum Chosen {
    /// Web pages, and whether a browser may be told to insist on TLS from now on.
    Pages(Arc<ServerConfig>, bool),
    /// The certificate of a challenge, and nothing after the handshake.
    Challenge(Arc<ServerConfig>),
}

/// All certificates of this machine.
pub struct Certificates {
    place: Place,
    provider: Arc<CryptoProvider>,
    looked: Option<Instant>,
    own: Pair,
    is_real: bool,
    names: BTreeMap<String, Pair>,
}

impl Certificates {
    /// Reads nothing yet.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            looked: None,
            own: Pair::default(),
            is_real: false,
            names: BTreeMap::new(),
        }
    }

    /// Whether an optional name has a certificate of its own.
    pub fn is_covered(&mut self, name: &str) -> bool {
        self.refresh();
        self.names
            .get(name)
            .is_some_and(|pair| pair.configuration.is_some())
    }

    /// What to show to a client that asks for this name and these protocols.
    pub fn choose(&mut self, name: Option<&str>, protocols: &[&[u8]]) -> Option<Chosen> {
        let name = name.map(str::to_ascii_lowercase);
        if protocols.contains(&ACME_PROTOCOL) {
            return self.load_challenge(name?.as_str()).map(Chosen::Challenge);
        }
        self.refresh();
        let optional = name
            .and_then(|name| self.names.get(&name))
            .and_then(|pair| pair.configuration.clone());
        match optional {
            Some(configuration) => Some(Chosen::Pages(configuration, true)),
            None => {
                let configuration = self.own.configuration.clone()?;
                Some(Chosen::Pages(configuration, self.is_real))
            }
        }
    }

    fn refresh(&mut self) {
        if self.looked.is_some_and(|time| time.elapsed() < LOOK_PAUSE) {
            return;
        }
        self.looked = Some(Instant::now());
        self.own.refresh(
            &self.provider,
            &self.place.path(certificate::chain_path()),
            &self.place.path(certificate::key_path()),
        );
        self.is_real = !certificate::is_self_signed(&self.place);
        let folder = self.place.path(place::TLS_NAMES);
        let found: Vec<String> = std::fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .take(MOST_NAMES)
            .collect();
        self.names.retain(|name, _| found.contains(name));
        for name in found {
            let pair = folder.join(&name);
            self.names.entry(name).or_default().refresh(
                &self.provider,
                &pair.join("fullchain.pem"),
                &pair.join("privkey.pem"),
            );
        }
    }

    fn load_challenge(&self, name: &str) -> Option<Arc<ServerConfig>> {
        // A name of TLS is one of DNS: it holds neither '/' nor NUL.
        if name.starts_with('.') || name.contains('/') {
            return None;
        }
        let folder = self.place.path(place::ALPN_CHALLENGES);
        let pem = read_limited(&folder.join(format!("{name}.pem")), LONGEST_FILE)?;
        // Not checked against its key: rustls cannot read the extension of a challenge.
        parse_pair(&self.provider, &pem, &pem)
            .and_then(|pair| make_configuration(&self.provider, pair, ACME_PROTOCOL))
            .inspect_err(|error| tell!("reading the challenge of {name}: {error:#}"))
            .ok()
    }
}

fn load_pair(
    provider: &Arc<CryptoProvider>,
    chain: &Path,
    key: &Path,
) -> Result<Arc<ServerConfig>> {
    let read = |path: &Path| {
        read_limited(path, LONGEST_FILE)
            .with_context(|| format!("{} cannot be read or is too long", path.display()))
    };
    let pair = parse_pair(provider, &read(chain)?, &read(key)?)?;
    pair.keys_match().context("comparing it with its key")?;
    make_configuration(provider, pair, WEB_PROTOCOL)
}

fn parse_pair(provider: &Arc<CryptoProvider>, chain: &[u8], key: &[u8]) -> Result<CertifiedKey> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("reading the chain: {error}"))?;
    anyhow::ensure!(!chain.is_empty(), "the chain is empty");
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| anyhow::anyhow!("reading its key: {error}"))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .context("reading its key")?;
    Ok(CertifiedKey::new(chain, key))
}

fn make_configuration(
    provider: &Arc<CryptoProvider>,
    pair: CertifiedKey,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>> {
    let mut configuration = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .context("choosing the versions of TLS")?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    configuration.alpn_protocols = vec![protocol.to_vec()];
    // Clients come once a day: what a resumed session saves is not worth its memory.
    configuration.session_storage = Arc::new(NoServerSessionStorage {});
    configuration.send_tls13_tickets = 0;
    Ok(Arc::new(configuration))
}
