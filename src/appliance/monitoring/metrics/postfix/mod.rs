//! What Postfix's lines say, counted.
//!
//! The format is Postfix's own, and no specification: rules stand for lines of version 3.10
//! (<https://www.postfix.org/announcements/postfix-3.10.0.html>), as they came in runs of the
//! table of promises; `lines.txt` has one of each. A line that no rule knows is counted, and so
//! seen. Strangers write much of every line, so that only words at fixed places count, and each
//! is sorted into a list of ours.

mod delivery;
mod line;
mod rejects;
mod rules;
#[cfg(test)]
mod tests;

use super::counters::Counters;
use line::{Line, SERVICES};
use rules::{RULES, Says};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Most messages and accounts remembered; the oldest goes first.
const MOST_REMEMBERED: usize = 2000;
/// The window of SENDING_LIMIT.
const WINDOW_MINUTES: u64 = 60;
/// Port 25, which has no such name.
const PLAIN_SERVICE: &str = "smtpd";
/// What a line begins with that complains.
const SEVERITIES: [&str; 4] = ["warning", "error", "fatal", "panic"];

/// A message that is being taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    service: usize,
    user: Option<String>,
}

/// What has to be remembered from one line to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    begun: BTreeMap<String, Begun>,
    order: VecDeque<String>,
    /// Recipients by account and minute.
    sent: BTreeMap<String, VecDeque<(u64, u64)>>,
}

impl Memory {
    fn begin(&mut self, id: &str, begun: Begun) {
        if self.begun.insert(id.to_owned(), begun).is_none() {
            self.order.push_back(id.to_owned());
        }
        while self.order.len() > MOST_REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.begun.remove(&oldest);
            }
        }
    }

    fn end(&mut self, id: &str) -> Option<Begun> {
        let begun = self.begun.remove(id)?;
        self.order.retain(|other| other != id);
        Some(begun)
    }

    fn note_sent(&mut self, user: String, recipients: u64, minute: u64) {
        self.forget_sent(minute);
        if self.sent.len() >= MOST_REMEMBERED && !self.sent.contains_key(&user) {
            return;
        }
        let counts = self.sent.entry(user).or_default();
        match counts.back_mut() {
            Some((last, count)) if *last == minute => *count += recipients,
            _ => counts.push_back((minute, recipients)),
        }
    }

    fn forget_sent(&mut self, minute: u64) {
        self.sent.retain(|_, counts| {
            counts.retain(|(when, _)| when + WINDOW_MINUTES > minute);
            !counts.is_empty()
        });
    }

    /// Recipients of each account within the last hour, the most first.
    pub fn sent(&mut self, minute: u64) -> Vec<(&str, u64)> {
        self.forget_sent(minute);
        let sums = self.sent.iter().map(|(user, counts)| {
            let sum = counts.iter().map(|(_, count)| count).sum();
            (user.as_str(), sum)
        });
        let mut sums: Vec<(&str, u64)> = sums.collect();
        sums.sort_by_key(|(user, sum)| (std::cmp::Reverse(*sum), *user));
        sums
    }
}

fn service_name(index: usize) -> &'static str {
    SERVICES.get(index).copied().unwrap_or(PLAIN_SERVICE)
}

/// Counts what a line says; the time is that of its writing, in seconds since 1970.
pub fn read_line(
    identifier: &str,
    message: &str,
    time: u64,
    memory: &mut Memory,
    counters: &mut Counters,
) {
    // Until it runs a service's program, systemd speaks in its place, as `(master)`: of what a
    // container does not let it do.
    if identifier.starts_with('(') {
        return;
    }
    counters.count("postfix_lines_total", &[]);
    let mut line = Line::read(identifier, message);
    let complaint = SEVERITIES.iter().find_map(|severity| {
        let rest = line.text.strip_prefix(severity)?.strip_prefix(": ")?;
        Some((*severity, rest))
    });
    if let Some((severity, rest)) = complaint {
        counters.count("postfix_problems_total", &[severity]);
        line.text = rest;
    }
    let rule = RULES.iter().find(|rule| rule.fits(&line));
    match rule {
        Some(rule) => count(&rule.says, &line, time / 60, memory, counters),
        // What only complains is seen by that.
        None if complaint.is_some() => {}
        None => counters.count("postfix_unparsed_lines_total", &[]),
    }
}

fn count(says: &Says, line: &Line<'_>, minute: u64, memory: &mut Memory, counters: &mut Counters) {
    let service = service_name(line.service);
    match says {
        Says::Nothing => {}
        Says::Connected => {
            counters.count("postfix_connections_total", &[service]);
            if line.text.starts_with("connect from unknown[") {
                counters.count("postfix_hostname_errors_total", &[]);
            }
        }
        Says::Disconnected => count_commands(line.text, service, counters),
        Says::Lost(kind) => counters.count("postfix_lost_connections_total", &[service, kind]),
        Says::Screened(result) => counters.count("postfix_screened_total", &[result]),
        Says::Begun => {
            let user = field(line.text, "sasl_username=").map(str::to_owned);
            if user.is_some() {
                counters.count("postfix_sasl_logins_total", &[service]);
            }
            if let Some(id) = line.id {
                let service = line.service;
                memory.begin(id, Begun { service, user });
            }
        }
        Says::Queued => {
            // Once for each message, though it is in the active queue again with each attempt.
            let Some(begun) = line.id.and_then(|id| memory.end(id)) else {
                return;
            };
            let service = service_name(begun.service);
            counters.count("postfix_messages_received_total", &[service]);
            let number = |name| field(line.text, name).and_then(|word| word.parse::<u64>().ok());
            let bytes = number("size=").unwrap_or_default();
            counters.add("postfix_message_bytes_total", &[], bytes);
            if let (Some(user), Some(recipients)) = (begun.user, number("nrcpt=")) {
                memory.note_sent(user, recipients, minute);
            }
        }
        Says::Cancelled => {
            if let Some(id) = line.id {
                memory.end(id);
            }
        }
        Says::Delivery => delivery::count(line.daemon, line.text, counters),
        Says::Reject => {
            let reason = rejects::reason(line.text);
            counters.count("postfix_rejects_total", &[reason]);
        }
        Says::TooMany => counters.count("postfix_rejects_total", &["rate"]),
        Says::Encrypted(direction) => {
            let (protocol, cipher) = delivery::encryption(line.text);
            let labels = [*direction, protocol, cipher];
            counters.count("postfix_tls_connections_total", &labels);
        }
        Says::WrongPassword => counters.count("postfix_sasl_failures_total", &[service]),
    }
}

/// What stands behind a name, up to a comma or the end of the word. The last one of the line: what
/// strangers write comes before.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.rsplit_once(name)?;
    let value = rest.split([',', ' ']).next()?;
    (!value.is_empty()).then_some(value)
}

/// `ehlo=1 rcpt=1/2 commands=2/3`: so many were accepted, of so many.
fn count_commands(text: &str, service: &'static str, counters: &mut Counters) {
    let Some(commands) = field(text, " commands=") else {
        return;
    };
    let mut numbers = commands
        .split('/')
        .map(|word| word.parse::<u64>().unwrap_or_default());
    let accepted = numbers.next().unwrap_or_default();
    let all = numbers.next().unwrap_or(accepted);
    for (result, number) in [("ok", accepted), ("rejected", all.saturating_sub(accepted))] {
        if number > 0 {
            counters.add("postfix_commands_total", &[service, result], number);
        }
    }
}
