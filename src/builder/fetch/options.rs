//! How hard mirrors are tried.

use std::path::PathBuf;
use std::time::Duration;

/// How hard a mirror is tried.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Never use the network; only what the cache holds.
    pub offline: bool,
    /// How many files are fetched at once.
    pub threads: usize,
    /// How many rounds over the addresses of a file may bring nothing.
    pub rounds: u32,
    /// The pause before the second round; it doubles with each further one.
    pub pause: Duration,
    /// The longest time to a connection.
    pub connect_timeout: Duration,
    /// The longest time without a single byte.
    pub idle_timeout: Duration,
    /// The longest time of one request; what came by then is continued.
    pub total_timeout: Duration,
    /// Trusted CAs in PEM; the system's when not given.
    pub ca_file: Option<PathBuf>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            offline: false,
            threads: 8,
            rounds: 4,
            pause: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(30),
            total_timeout: Duration::from_secs(600),
            ca_file: None,
        }
    }
}
