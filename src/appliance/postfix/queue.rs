//! `mailctl queue`: what Postfix has not delivered yet.
//!
//! From `postqueue -j`, one JSON object per line
//! (<https://www.postfix.org/postqueue.1.html>, JSON OBJECT FORMAT).

use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::list_files;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use crate::appliance::users::mailbox::human_size;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Queues of Postfix that are counted, in the order of the way a message takes (qmgr(8)).
const QUEUES: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];

/// One recipient that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The address.
    pub address: String,
    /// Why it was not delivered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_reason: Option<String>,
}

/// One message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuedMessage {
    /// The queue it is in.
    pub queue_name: String,
    /// Its name there and in the log.
    pub queue_id: String,
    /// Seconds since 1970.
    pub arrival_time: i64,
    /// Bytes.
    pub message_size: u64,
    /// The envelope's sender, or `MAILER-DAEMON`.
    pub sender: String,
    /// Who has not got it yet.
    #[serde(default)]
    pub recipients: Vec<Recipient>,
}

/// How much waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// All messages.
    pub total: usize,
    /// About to be delivered, also those that just came.
    pub active: usize,
    /// Tried and put off.
    pub deferred: usize,
    /// Kept back by a person.
    pub hold: usize,
    /// Age of the oldest message, when Postfix could be asked.
    pub oldest_seconds: Option<i64>,
}

/// Lists the queue as text or JSON.
pub fn show_queue(place: &Place, json: bool) -> Result<String> {
    let messages = load_messages(place)?;
    if json {
        return serde_json::to_string_pretty(&messages).context("writing JSON");
    }
    Ok(render(&messages, now()))
}

/// All messages that wait.
pub fn load_messages(place: &Place) -> Result<Vec<QueuedMessage>> {
    if !place.is_machine() {
        return Ok(Vec::new());
    }
    parse(&run_program("/usr/sbin/postqueue", &["-j"])?)
}

fn parse(text: &str) -> Result<Vec<QueuedMessage>> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).context("reading the queue"))
        .collect()
}

/// Counts messages; without Postfix's answer by their files.
pub fn count(place: &Place) -> Counts {
    match load_messages(place) {
        Ok(messages) if place.is_machine() => count_messages(&messages, now()),
        _ => count_files(place),
    }
}

fn count_messages(messages: &[QueuedMessage], now: i64) -> Counts {
    let mut counts = Counts {
        oldest_seconds: messages
            .iter()
            .map(|message| message.arrival_time)
            .min()
            .map(|arrival| (now - arrival).max(0)),
        ..Counts::default()
    };
    for message in messages {
        counts.add(&message.queue_name, 1);
    }
    counts
}

fn count_files(place: &Place) -> Counts {
    let mut counts = Counts::default();
    for queue in QUEUES {
        let files = list_files(&place.path(place::QUEUE).join(queue));
        counts.add(queue, files.len());
    }
    counts
}

impl Counts {
    fn add(&mut self, queue: &str, number: usize) {
        self.total += number;
        match queue {
            "deferred" => self.deferred += number,
            "hold" => self.hold += number,
            _ => self.active += number,
        }
    }
}

/// A time span in its largest unit.
pub fn readable_age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn render(messages: &[QueuedMessage], now: i64) -> String {
    if messages.is_empty() {
        return "The queue is empty.".to_owned();
    }
    let mut lines = Vec::new();
    for message in messages {
        lines.push(format!(
            "{:14} {:8} {:>6} {:>6}  {}",
            message.queue_id,
            message.queue_name,
            readable_age((now - message.arrival_time).max(0)),
            human_size(message.message_size),
            printable(&message.sender),
        ));
        for recipient in &message.recipients {
            lines.push(format!("    to {}", printable(&recipient.address)));
            if let Some(reason) = &recipient.delay_reason {
                lines.push(format!("       {}", printable(reason)));
            }
        }
    }
    let total: u64 = messages.iter().map(|message| message.message_size).sum();
    lines.push(format!(
        "{} messages, {}",
        messages.len(),
        human_size(total)
    ));
    lines.join("\n")
}

/// Strangers write these texts: nothing of theirs may steer the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{count_messages, parse, render};

    /// Printed by postqueue 3.10; names changed.
    const JSON: &str = concat!(
        r#"{"queue_name": "deferred", "queue_id": "4cRz1d2Jqvz5", "arrival_time": 1795300000, "message_size": 2048, "forced_expire": false, "sender": "jens@a.example", "recipients": [{"address": "x@b.example", "delay_reason": "connect to b.example[192.0.2.1]:25: \u001b[2JConnection refused"}]}"#,
        "\n",
        r#"{"queue_name": "active", "queue_id": "4cRz1d2Jqvz6", "arrival_time": 1795303600, "message_size": 100, "forced_expire": false, "sender": "MAILER-DAEMON", "recipients": [{"address": "y@b.example"}]}"#,
        "\n",
    );

    #[test]
    fn messages_are_listed_and_counted() {
        let messages = parse(JSON).unwrap();
        let counts = count_messages(&messages, 1_795_303_630);
        assert_eq!((counts.total, counts.active, counts.deferred), (2, 1, 1));
        assert_eq!(counts.oldest_seconds, Some(3630));
        insta::assert_snapshot!(render(&messages, 1_795_303_630), @r"
        4cRz1d2Jqvz5   deferred    1 h   2.0K  jens@a.example
            to x@b.example
               connect to b.example[192.0.2.1]:25: ?[2JConnection refused
        4cRz1d2Jqvz6   active     30 s    100  MAILER-DAEMON
            to y@b.example
        2 messages, 2.1K
        ");
        assert_eq!(render(&parse("\n").unwrap(), 0), "The queue is empty.");
        assert!(parse("fatal").is_err());
    }
}
