//! Opening one address: HTTP, HTTPS (RFC 9110, with `Range`) or `file:`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ureq::http::{Response, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::caching_resolver::CachingResolver;
use super::options::FetchOptions;
use super::problem::Problem;

/// Where distributions keep the bundle of trusted CAs: Debian and Arch, Fedora, SUSE.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// What an address yields.
pub(super) struct Opened {
    pub reader: Box<dyn Read>,
    /// Where in the file the reader begins: as asked, or 0.
    pub start: u64,
    /// The size of the whole file, when told.
    pub total: Option<u64>,
}

/// Opens addresses; connections are kept for the next file.
#[derive(Debug)]
pub(super) struct Opener {
    options: FetchOptions,
    clients: [OnceLock<Result<ureq::Agent, String>>; 2],
}

impl Opener {
    pub(super) fn new(options: FetchOptions) -> Self {
        Self {
            options,
            clients: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// Opens an address from an offset on.
    pub(super) fn open(&self, url: &str, offset: u64) -> Result<Opened, Problem> {
        match url.split_once("://") {
            Some(("file", path)) => open_file(path, offset),
            Some(("http", _)) => self.request(url, offset, false),
            Some(("https", _)) => self.request(url, offset, true),
            _ => Err(Problem::Bad(
                "not an address that begins with http://, https:// or file://".to_owned(),
            )),
        }
    }

    fn request(&self, url: &str, offset: u64, tls: bool) -> Result<Opened, Problem> {
        let client = self.clients[usize::from(tls)]
            .get_or_init(|| make_client(&self.options, tls))
            .as_ref()
            .map_err(|reason| Problem::Bad(reason.clone()))?;
        let mut request = client.get(url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        let response = request
            .call()
            .map_err(|error| Problem::of_request(&error))?;
        let (start, total) = match response.status().as_u16() {
            200 => (0, number(&response, header::CONTENT_LENGTH)),
            206 => content_range(&response)
                .filter(|(start, _)| *start == offset)
                .ok_or_else(|| Problem::Bad("answered another range than asked".to_owned()))?,
            // Asked beyond the end: the caller compares and begins anew.
            416 => return Ok(Opened::nothing()),
            status => {
                let retry_after = number(&response, header::RETRY_AFTER);
                return Err(Problem::of_status(status, retry_after));
            }
        };
        Ok(Opened {
            reader: Box::new(response.into_body().into_reader()),
            start,
            total,
        })
    }
}

impl Opened {
    fn nothing() -> Self {
        Self {
            reader: Box::new(io::empty()),
            start: 0,
            total: None,
        }
    }
}

fn make_client(options: &FetchOptions, tls: bool) -> Result<ureq::Agent, String> {
    let roots = if tls {
        load_roots(options)?
    } else {
        RootCerts::Specific(Arc::new(Vec::new()))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("mailimg/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(options.connect_timeout))
        .timeout_recv_response(Some(options.idle_timeout))
        .timeout_per_read(Some(options.idle_timeout))
        .timeout_per_call(Some(options.total_timeout))
        .max_idle_connections(options.threads)
        .max_idle_connections_per_host(options.threads)
        .tls_config(
            TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(provider)
                .build(),
        )
        .build();
    Ok(ureq::Agent::with_parts(
        config,
        DefaultConnector::default(),
        CachingResolver::default(),
    ))
}

fn load_roots(options: &FetchOptions) -> Result<RootCerts, String> {
    let path = match &options.ca_file {
        Some(path) => path.clone(),
        None => CA_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
            .ok_or("no trusted CAs on this machine: install ca-certificates or use http://")?,
    };
    let pem = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let certificates = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    Ok(RootCerts::Specific(Arc::new(certificates)))
}

fn number<T>(response: &Response<T>, name: header::HeaderName) -> Option<u64> {
    response.headers().get(name)?.to_str().ok()?.parse().ok()
}

/// `bytes 7-99/100` as start and total, RFC 9110 section 14.4.
fn content_range<T>(response: &Response<T>) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(header::CONTENT_RANGE)?;
    let (range, total) = text
        .to_str()
        .ok()?
        .strip_prefix("bytes ")?
        .split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

fn open_file(path: &str, offset: u64) -> Result<Opened, Problem> {
    let path = percent_decoded(path)
        .filter(|path| path.starts_with('/'))
        .ok_or_else(|| Problem::Bad("not of the form file:///FOLDER/FILE".to_owned()))?;
    let open = || -> io::Result<Opened> {
        let mut file = File::open(&path)?;
        let total = file.metadata()?.len();
        let start = if offset <= total { offset } else { 0 };
        file.seek(SeekFrom::Start(start))?;
        Ok(Opened {
            reader: Box::new(file),
            start,
            total: Some(total),
        })
    };
    open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::Gone("no such file".to_owned()),
        _ => Problem::Bad(error.to_string()),
    })
}

/// Undoes `%20` and the like, RFC 3986 section 2.1.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first == b'%' {
            let (code, tail) = rest.split_at_checked(2)?;
            bytes.push(hex::decode(code).ok()?[0]);
            rest = tail;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn addresses_of_files_may_be_escaped() {
        assert_eq!(percent_decoded("/a%20b/ä").as_deref(), Some("/a b/ä"));
        assert_eq!(percent_decoded("/a%2"), None);
        assert_eq!(percent_decoded("/a%zz"), None);
    }
}
