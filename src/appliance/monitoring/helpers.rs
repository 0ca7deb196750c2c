//! Asking root's two helpers: a line over a Unix socket, and JSON back.
//!
//! systemd starts one for each connection. Calls block.

use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for a fact; all DNS checks together take less.
const HELPER_LIMIT: Duration = Duration::from_secs(60);
/// Largest answer: 10,000 accounts, or the records of 500 domains.
const LARGEST_ANSWER: u64 = 32 << 20;

/// Asks for facts of one kind.
pub fn ask_facts<T: DeserializeOwned>(place: &Place, kind: &str) -> Result<T> {
    let answer = ask(place, place::FACTS_SOCKET, kind)?;
    serde_json::from_value(answer).with_context(|| format!("reading the facts '{kind}'"))
}

/// Has something done to a message of the queue, and returns what is said of it.
pub fn change_queue(place: &Place, verb: &str, id: &str) -> Result<String> {
    let answer = ask(place, place::QUEUE_SOCKET, &format!("{verb} {id}"))?;
    let said = answer.get("done").and_then(Value::as_str);
    said.map(str::to_owned)
        .context("reading what came of the message")
}

fn ask(place: &Place, socket: &str, line: &str) -> Result<Value> {
    let path = place.path(socket);
    let mut stream =
        UnixStream::connect(&path).with_context(|| format!("connecting to {}", path.display()))?;
    stream.set_read_timeout(Some(HELPER_LIMIT))?;
    stream.set_write_timeout(Some(HELPER_LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    stream
        .take(LARGEST_ANSWER)
        .read_to_string(&mut text)
        .with_context(|| format!("asking for '{line}'"))?;
    let answer: Value =
        serde_json::from_str(&text).with_context(|| format!("reading the answer to '{line}'"))?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    Ok(answer)
}
