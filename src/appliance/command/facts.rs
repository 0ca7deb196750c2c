//! `mailctl facts`: what only root may read, for the pages of monitoring.
//!
//! systemd starts it for each connection to a socket of theirs (systemd.socket(5), `Accept=yes`):
//! one word comes in, one JSON value goes out. It changes nothing, and says of accounts neither
//! hash nor mail.

use super::{ban, dns, status, user_list};
use crate::appliance::machine::place::Place;
use crate::appliance::postfix::queue;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, Read};

/// Longest word.
const LONGEST: u64 = 64;
/// Messages of the queue that are told of.
const MOST_MESSAGES: usize = 500;

/// Reads a word and answers it; what goes wrong is an answer too.
pub fn answer_facts(place: &Place) -> Result<String> {
    let mut line = String::new();
    let input = std::io::stdin().lock();
    input.take(LONGEST).read_line(&mut line)?;
    let value = facts(place, line.trim()).unwrap_or_else(|error| {
        tell!("{error:#}");
        json!({"error": format!("{error:#}")})
    });
    serde_json::to_string(&value).context("writing JSON")
}

fn facts(place: &Place, word: &str) -> Result<Value> {
    Ok(match word {
        "status" => status::facts(place)?,
        "bans" => ban::facts(place)?,
        "dns" => dns::facts(place)?,
        "users" => user_list::facts(place)?,
        "queue" => {
            let messages = queue::load_messages(place)?;
            let shown = &messages[..messages.len().min(MOST_MESSAGES)];
            json!({"total": messages.len(), "messages": shown})
        }
        _ => bail!("there are no such facts"),
    })
}
