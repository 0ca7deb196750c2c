//! What is allowed in settings and may still surprise.

use super::checked::Settings;
use super::key::{find_key, nearest_key};
use super::monitoring::PATH_UNUSABLE;
use super::problem::Problem;
use super::written::{Entry, Written};

/// Keys that mean nothing, each with the one that was probably meant.
pub(super) fn unknown_keys(entries: &[Entry]) -> Vec<Problem> {
    entries
        .iter()
        .filter(|entry| find_key(&entry.key).is_none())
        .map(|entry| Problem {
            line: Some(entry.line),
            key: Some(entry.key.clone()),
            wrong: "is no known key and is ignored".to_owned(),
            expected: nearest_key(&entry.key).map_or_else(String::new, str::to_owned),
        })
        .collect()
}

/// What is allowed and may still surprise.
pub(super) fn warnings(written: &Written, settings: &Settings) -> Vec<Problem> {
    let mut warnings = unknown_keys(&written.entries);
    let mut warn = |key: &str, wrong: &str| {
        warnings.push(Problem {
            line: written.entry(key).map(|entry| entry.line),
            key: Some(key.to_owned()),
            wrong: wrong.to_owned(),
            expected: String::new(),
        });
    };
    if settings.ssh.keys.is_empty() {
        warn(
            "SSH_AUTHORIZED_KEYS",
            "is empty: ssh stays off, and only the console is left, which shows messages and takes no login",
        );
    }
    if settings.hostname_is_domain() {
        warn(
            "HOSTNAME",
            "is a mail domain too: its MX record points to itself, which works and is unusual",
        );
    }
    if settings.monitoring.own_path().is_none() {
        warn("GF_SERVER_ROOT_URL", PATH_UNUSABLE);
    }
    if settings.relay.login.is_some() && settings.relay.host.is_none() {
        warn("RELAYHOST_USER", "has no effect without RELAYHOST");
    }
    warnings
}
