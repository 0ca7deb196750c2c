//! Telling the owner in time: the journal every day, mail before the end.
//!
//! The mail goes to ADMIN_EMAIL. It says nothing that `mailctl cert status` does not.

use super::configuration::Configuration;
use super::ready::find_chain;
use super::record::Record;
use crate::appliance::certificate::chain::read_facts;
use crate::appliance::machine::clock::{DAY, now};
use crate::appliance::machine::place::Place;
use crate::appliance::wire::notice::{Notice, send_notice};
use anyhow::Result;

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
    let end = match left {
        ..0 => "has run out".to_owned(),
        0 => "runs out within a day".to_owned(),
        1 => "runs out in 1 day".to_owned(),
        days => format!("runs out in {days} days"),
    };
    let (what, hint) = record.failed.as_ref().map_or_else(
        || (String::new(), String::new()),
        |failed| (failed.failure.text.clone(), failed.failure.hint.clone()),
    );
    let notice = Notice {
        hostname: &configuration.hostname,
        sender: &configuration.sender,
        recipient: &configuration.contact,
        subject: &format!("The certificate of {name} {end}"),
        paragraphs: &[
            format!("The certificate of {name} {end}, and it cannot be renewed."),
            what,
            hint,
            "On the machine, `mailctl cert status` says more, and `mailctl cert renew` tries \
             again."
                .to_owned(),
        ],
    };
    send_notice(&configuration.mail, &notice)
}

#[cfg(test)]
mod tests {
    use super::due_alerts;

    #[test]
    fn each_day_is_told_once() {
        assert!(due_alerts(21, &[]).is_empty());
        assert_eq!(due_alerts(20, &[]), [21]);
        assert!(due_alerts(20, &[21]).is_empty());
        assert_eq!(due_alerts(2, &[21]), [14, 7, 3]);
        assert_eq!(due_alerts(-4, &[21, 14, 7, 3]), [1]);
    }
}
