//! A name resolver that asks once a run.
//!
//! The HTTP library resolves the host name for every request, which on a warm
//! mirror takes far longer than the transfer itself.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// Remembers the addresses of every host that was ever found.
#[derive(Debug, Default)]
pub(super) struct CachingResolver {
    system: DefaultResolver,
    known: Mutex<BTreeMap<String, Vec<std::net::SocketAddr>>>,
}

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let key = format!("{}://{authority}", uri.scheme_str().unwrap_or_default());
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(addresses) = known().get(&key) {
            let mut result = self.empty();
            for address in addresses {
                result.push(*address);
            }
            return Ok(result);
        }
        let found = self.system.resolve(uri, config, timeout)?;
        known().insert(key, found.to_vec());
        Ok(found)
    }
}
