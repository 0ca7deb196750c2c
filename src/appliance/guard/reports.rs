//! Reports of logins, as Dovecot's auth policy client posts them.
//!
//! <https://doc.dovecot.org/2.4.1/core/config/auth/policy.html>: JSON with the
//! attributes of `auth_policy_request_attributes` and, after a login, `success`.
//! The status that is answered would matter before a login only.

use super::rules::{Attempt, ClientNetwork};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use serde::Deserialize;
use std::net::IpAddr;
use tokio::sync::mpsc::Sender;

/// Carries the key; Dovecot's name for a header given without one.
const KEY_HEADER: &str = "x-api-key";
/// Longest report; names and ids of clients are short.
const LONGEST_REPORT: usize = 16 << 10;

/// The fields of a report that matter here.
#[derive(Debug, Deserialize)]
struct Report {
    #[serde(default)]
    login: String,
    #[serde(default)]
    pwhash: String,
    #[serde(default)]
    remote: String,
    #[serde(default)]
    fail_type: String,
    success: Option<bool>,
}

/// What the handler needs.
#[derive(Clone)]
struct Desk {
    key: String,
    attempts: Sender<Attempt>,
}

/// Takes reports that carry the key, and hands the attempts on.
pub fn router(key: String, attempts: Sender<Attempt>) -> Router {
    Router::new()
        .route("/", post(take_report))
        .layer(DefaultBodyLimit::max(LONGEST_REPORT))
        .with_state(Desk { key, attempts })
}

async fn take_report(
    State(desk): State<Desk>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let json = [(header::CONTENT_TYPE, "application/json")];
    let key = headers
        .get(KEY_HEADER)
        .map_or(&b""[..], |key| key.as_bytes().trim_ascii());
    if !same(key, desk.key.as_bytes()) {
        return (StatusCode::FORBIDDEN, json, "{}");
    }
    let Ok(attempt) = parse_report(&body) else {
        tell!("a report that cannot be read");
        return (StatusCode::BAD_REQUEST, json, "{}");
    };
    // Never waits: Dovecot would, and logins with it. Reports beyond the queue are lost.
    if let Some(attempt) = attempt
        && desk.attempts.try_send(attempt).is_err()
    {
        tell!("too many reports at once, one is lost");
    }
    (StatusCode::OK, json, "{\"status\":0,\"msg\":\"\"}")
}

/// What a report says of its client, `None` for nothing.
pub fn parse_report(body: &[u8]) -> serde_json::Result<Option<Attempt>> {
    serde_json::from_slice(body).map(attempt)
}

/// `None` for what says nothing about the client.
fn attempt(report: Report) -> Option<Attempt> {
    let address: IpAddr = report.remote.parse().ok()?;
    if address.to_canonical().is_loopback() {
        return None;
    }
    let success = report.success?;
    // `internal`: our own trouble. `policy`: refused without a look at the password.
    if !success && matches!(report.fail_type.as_str(), "internal" | "policy") {
        return None;
    }
    Some(Attempt {
        source: ClientNetwork::from(address),
        account: report.login,
        password: report.pwhash,
        success,
    })
}

/// Compares in a time that tells nothing about where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .fold(0, |sum, (left, right)| sum | (left ^ right))
            == 0
}
