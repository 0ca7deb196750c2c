//! Telling the owner in time: the journal every day, mail before the end.
//!
//! Mail goes to ADMIN_EMAIL through this machine's own port 25 (RFC 5321,
//! <https://www.rfc-editor.org/rfc/rfc5321>), so that it is signed and queued
//! like any other. It says nothing that `mailctl cert status` does not.

use super::configuration::Configuration;
use super::ready::find_chain;
use super::record::Record;
use crate::appliance::certificate::chain::read_facts;
use crate::appliance::machine::clock::{DAY, now};
use crate::appliance::machine::place::Place;
use crate::appliance::wire::smtp::{Envelope, hand_over};
use anyhow::Result;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use std::net::{Ipv4Addr, SocketAddr};

/// Days before the end at which mail is sent, once each.
const ALERT_DAYS: [u16; 5] = [21, 14, 7, 3, 1];
/// Failures before the first mail: one alone may be a clock that was just set.
const FAILURES_BEFORE_MAIL: u32 = 2;
/// How the journal knows an error: sd-daemon(3).
const JOURNAL_ERROR: &str = "<3>";

/// Says what is failing, as often as it should be said.
pub fn tell(place: &Place, configuration: &Configuration, name: &str, record: &mut Record) {
    let Some(failed) = &record.failed else {
        return;
    };
    let now = now();
    if record.logged.is_none_or(|at| (now - at).abs() >= DAY) {
        tell!("{JOURNAL_ERROR}{name}: no certificate: {}", failed.failure);
        record.logged = Some(now);
    }
    let Some(facts) = find_chain(place, configuration, name)
        .and_then(|pem| read_facts(&pem).ok())
        .filter(|facts| !facts.self_signed)
    else {
        return;
    };
    if failed.times < FAILURES_BEFORE_MAIL && !failed.failure.is_local() {
        return;
    }
    let left = (facts.not_after - now).div_euclid(DAY);
    let told = match record.alerted.take() {
        Some((serial, told)) if serial == facts.serial => told,
        _ => Vec::new(),
    };
    let due = due_alerts(left, &told);
    let mut told_now = told;
    if !due.is_empty() {
        match send(configuration, name, left, record) {
            Ok(()) => told_now.extend(due),
            Err(error) => tell!("{JOURNAL_ERROR}{name}: sending a warning by mail: {error:#}"),
        }
    }
    record.alerted = Some((facts.serial, told_now));
}

/// Which of the days have come and were not told; one mail stands for all of them.
fn due_alerts(left: i64, told: &[u16]) -> Vec<u16> {
    ALERT_DAYS
        .into_iter()
        .filter(|day| left < i64::from(*day) && !told.contains(day))
        .collect()
}

fn send(configuration: &Configuration, name: &str, left: i64, record: &Record) -> Result<()> {
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, configuration.smtp_port));
    let envelope = Envelope {
        hostname: &configuration.hostname,
        sender: &configuration.sender,
        recipient: &configuration.contact,
    };
    hand_over(
        server,
        &envelope,
        &message(configuration, name, left, record),
    )
}

/// The message (RFC 5322).
fn message(configuration: &Configuration, name: &str, left: i64, record: &Record) -> String {
    let date = DateTimePrinter::new()
        .timestamp_to_string(&Timestamp::now())
        .unwrap_or_default();
    let end = match left {
        ..0 => "has run out".to_owned(),
        0 => "runs out within a day".to_owned(),
        1 => "runs out in 1 day".to_owned(),
        days => format!("runs out in {days} days"),
    };
    let (what, hint) = record.failed.as_ref().map_or(("", ""), |failed| {
        (&failed.failure.text, &failed.failure.hint)
    });
    let id = hex::encode(rand::random::<[u8; 12]>());
    let lines = [
        format!("From: mailimg <{}>", configuration.sender),
        format!("To: <{}>", configuration.contact),
        format!("Subject: The certificate of {name} {end}"),
        format!("Date: {date}"),
        format!("Message-ID: <{id}@{}>", configuration.hostname),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: 8bit".to_owned(),
        String::new(),
        format!("The certificate of {name} {end}, and it cannot be renewed."),
        String::new(),
        wrapped(what),
        String::new(),
        wrapped(hint),
        String::new(),
        "On the machine, `mailctl cert status` says more, and `mailctl cert renew` tries again."
            .to_owned(),
        String::new(),
    ];
    lines.join("\r\n")
}

/// Lines of a mail are short, and none begins with a dot.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        // A line must not have more than 998 bytes whatever the CA writes.
        let word: String = word.trim_start_matches('.').chars().take(200).collect();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.len() + word.len() < 76 => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::{due_alerts, wrapped};

    #[test]
    fn each_day_is_told_once() {
        assert!(due_alerts(21, &[]).is_empty());
        assert_eq!(due_alerts(20, &[]), [21]);
        assert!(due_alerts(20, &[21]).is_empty());
        assert_eq!(due_alerts(2, &[21]), [14, 7, 3]);
        assert_eq!(due_alerts(-4, &[21, 14, 7, 3]), [1]);
    }

    #[test]
    fn no_line_ends_the_message() {
        let text = wrapped(&format!(". .. .x {}", "word ".repeat(40)));
        assert!(
            text.lines()
                .all(|line| line.len() < 80 && !line.starts_with('.'))
        );
    }
}
