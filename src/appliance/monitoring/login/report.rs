//! Telling the guard of logins, in the form in which Dovecot does.
//!
//! See `guard::reports`. A guard that is away is no reason to keep anybody out.

use super::{Credentials, Outcome};
use crate::appliance::guard::logins::OF_PAGES;
use crate::appliance::machine::place::{self, GUARD_PORT, Place};
use crate::appliance::wire::http::client;
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::time::Duration;

/// Longest wait for the guard.
const REPORT_LIMIT: Duration = Duration::from_secs(2);
/// Longest part of a name that is told.
const LONGEST_NAME: usize = 100;

/// Reports a login; blocks.
pub fn report_login(
    place: &Place,
    port: Option<u16>,
    address: IpAddr,
    given: &Credentials,
    salt: &[u8; 32],
    outcome: Outcome,
) {
    let Ok(key) = std::fs::read_to_string(place.path(place::GUARD_KEY)) else {
        return;
    };
    let user: String = given.user.chars().take(LONGEST_NAME).collect();
    let mut digest = Sha256::new();
    digest.update(salt);
    digest.update(&given.password);
    let body = serde_json::json!({
        "login": format!("{OF_PAGES}{user}"),
        "pwhash": hex::encode(&digest.finalize()[..2]),
        "remote": address.to_string(),
        "fail_type": if outcome == Outcome::Right { "" } else { "credentials" },
        "success": outcome == Outcome::Right,
    });
    let config = client().timeout_global(Some(REPORT_LIMIT)).build();
    let port = port.unwrap_or(GUARD_PORT);
    let sent = ureq::Agent::new_with_config(config)
        .post(format!("http://127.0.0.1:{port}/"))
        .header("x-api-key", key.trim())
        .header("content-type", "application/json")
        .send(body.to_string());
    if let Err(error) = sent {
        tell!("telling the guard of a login: {error}");
    }
}
