//! `mailctl cert status`: every name with its certificate, and what is wrong.

use crate::appliance::certificate::acme::{
    Configuration, Reason, Record, load_configuration, load_configured, load_record,
};
use crate::appliance::certificate::chain::{CertificateFacts, read_facts};
use crate::appliance::certificate::{chain_path, names_folder};
use crate::appliance::machine::clock::{DAY, now};
use crate::appliance::machine::place::Place;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Installed {
    issuer: String,
    self_signed: bool,
    serial: String,
    valid_until: String,
    days_left: i64,
    key_sha256: String,
}

#[derive(Debug, Serialize)]
struct Next {
    at: String,
    /// `ari` or `lifetime`.
    reason: Reason,
}

#[derive(Debug, Serialize)]
struct Problem {
    /// Its sort, in a word.
    kind: String,
    text: String,
    hint: String,
    since: String,
    last_tried: String,
    times: u32,
    /// Not before then; at the next run when absent.
    next_try: Option<String>,
    /// Whether the CA asked for that pause.
    asked_to_wait: bool,
}

#[derive(Debug, Serialize)]
struct Name {
    name: String,
    optional: bool,
    certificate: Option<Installed>,
    next_renewal: Option<Next>,
    /// Why there is none yet, though nothing failed.
    waiting: Option<String>,
    problem: Option<Problem>,
}

/// Collects the state of all certificates as text or JSON.
pub fn show_status(place: &Place, json: bool) -> Result<String> {
    let configuration = load_configured(place)?;
    let names: Vec<Name> = configuration
        .names()
        .map(|name| collect(place, &configuration, name))
        .collect();
    if json {
        return serde_json::to_string_pretty(&names).context("writing JSON");
    }
    let lines: Vec<String> = names.iter().flat_map(render).collect();
    Ok(lines.join("\n"))
}

/// What keeps HOSTNAME's certificate from coming, in one line.
pub fn host_problem(place: &Place) -> Option<String> {
    let configuration = load_configuration(place).ok()??;
    let failed = load_record(place, &configuration.hostname).failed?;
    Some(failed.failure.to_string())
}

fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |time| time.to_string())
}

fn installed_facts(
    place: &Place,
    configuration: &Configuration,
    name: &str,
) -> Option<CertificateFacts> {
    let path = if name == configuration.hostname {
        place.path(chain_path())
    } else {
        place.path(names_folder(name)).join("fullchain.pem")
    };
    read_facts(&std::fs::read(path).ok()?).ok()
}

fn collect(place: &Place, configuration: &Configuration, name: &str) -> Name {
    let record = load_record(place, name);
    let facts = installed_facts(place, configuration, name);
    let now = now();
    let next_renewal = record
        .renewal
        .as_ref()
        .filter(|renewal| {
            facts
                .as_ref()
                .is_some_and(|facts| facts.serial == renewal.serial)
        })
        .map(|renewal| Next {
            at: time(renewal.at),
            reason: renewal.reason,
        });
    Name {
        name: name.to_owned(),
        optional: name != configuration.hostname,
        certificate: facts.map(|facts| Installed {
            issuer: facts.issuer,
            self_signed: facts.self_signed,
            serial: facts.serial,
            valid_until: time(facts.not_after),
            days_left: (facts.not_after - now).div_euclid(DAY),
            key_sha256: facts.key_digest,
        }),
        next_renewal,
        waiting: record.waiting.clone(),
        problem: describe(&record, now),
    }
}

fn describe(record: &Record, now: i64) -> Option<Problem> {
    let failed = record.failed.as_ref()?;
    let pause = record.pause.filter(|pause| !pause.is_over(now));
    let kind = serde_json::to_value(failed.failure.kind()).ok()?;
    Some(Problem {
        kind: kind.as_str().unwrap_or_default().to_owned(),
        text: failed.failure.text.clone(),
        hint: failed.failure.hint.clone(),
        since: time(failed.since),
        last_tried: time(failed.at),
        times: failed.times,
        next_try: pause.map(|pause| time(pause.until)),
        asked_to_wait: pause.is_some_and(|pause| pause.asked),
    })
}

fn render(name: &Name) -> Vec<String> {
    let mut lines = vec![name.name.clone()];
    let mut line = |label: &str, value: &str| lines.push(format!("  {label:13} {value}"));
    match &name.certificate {
        Some(certificate) if certificate.self_signed => {
            line("certificate", "self-signed, until a CA's arrives");
        }
        Some(certificate) => {
            line("issuer", &certificate.issuer);
            let until = &certificate.valid_until;
            let left = match certificate.days_left {
                ..0 => "it has run out".to_owned(),
                days => format!("{days} days left"),
            };
            line("valid until", &format!("{until}, {left}"));
            line("serial", &certificate.serial);
        }
        None => line("certificate", "none"),
    }
    if let Some(next) = &name.next_renewal {
        let why = match next.reason {
            Reason::Ari => "the CA suggests it (ARI)",
            Reason::Lifetime => "most of its lifetime is over then",
        };
        line("renewal", &format!("{}, {why}", next.at));
    }
    if let Some(waiting) = &name.waiting {
        line("waits", waiting);
    }
    if let Some(problem) = &name.problem {
        line("problem", &problem.text);
        if !problem.hint.is_empty() {
            line("hint", &problem.hint);
        }
        let next = match (&problem.next_try, problem.asked_to_wait) {
            (Some(time), true) => format!("not before {time}, as the CA asks"),
            (Some(time), false) => format!("after {time}"),
            (None, _) => "within minutes".to_owned(),
        };
        line(
            "tried",
            &format!(
                "last at {}, failing since {}; again {next}",
                problem.last_tried, problem.since
            ),
        );
    }
    lines
}
