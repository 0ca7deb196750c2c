//! `mailctl tlsrpt`: sends the reports of the days that are over.

use super::day::{DomainDay, date_of, list_days, load_day, remove_day, store_day};
use super::document::{Document, make_document};
use super::event::{Endpoint, parse_record};
use super::message::write_message;
use crate::appliance::certificate::trust::roots_path;
use crate::appliance::machine::clock::{may_be_set, unsigned_now};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::sts::configuration::{CONFIGURATION, Configuration};
use crate::appliance::sts::fetch::make_client;
use crate::appliance::sts::name_server::NameServer;
use crate::appliance::wire::internet::Strangers;
use crate::appliance::wire::serve::{BLOCKING_THREADS, start_runtime};
use crate::appliance::wire::smtp::{Door, Envelope, hand_over};
use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use jiff::civil::Date;
use std::net::SocketAddr;

/// Days after which a report that cannot be sent is given up; the RFC asks to try for one.
const GIVEN_UP_DAYS: i32 = 3;
/// Days after which nothing is told, not even once: of a machine that was off for long, or
/// counted while its clock was wrong.
const UNTOLD_DAYS: i32 = 30;
/// The type of a packed report (RFC 8460, section 6.4).
const MEDIA_TYPE: &str = "application/tlsrpt+gzip";

/// Where the sender finds the rest of the world.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportOptions {
    /// The resolver.
    #[arg(long, hide = true, default_value = "127.0.0.1:53")]
    resolver: SocketAddr,
    /// Where mail is handed over.
    #[arg(long, hide = true, default_value = place::OWN_MAIL_SOCKET)]
    smtp: Door,
    #[command(flatten)]
    strangers: Strangers,
}

/// Sends what is due, and says how much that was.
///
/// A report that nobody takes is tried again the next time.
pub fn send_reports(place: &Place, options: &ReportOptions) -> Result<String> {
    let configuration = CONFIGURATION.load(place)?;
    if may_be_set(place) {
        return Ok("No report is sent before the clock is set.".to_owned());
    }
    let today = date_of(unsigned_now());
    let (mut sent, mut waiting) = (0, 0);
    for date in list_days(place) {
        let age = age(date, today);
        // Days to come are left by a clock that was wrong; tomorrow is if it is set back now.
        if !(-1..UNTOLD_DAYS).contains(&age) {
            remove_day(place, date)?;
            continue;
        }
        if age <= 0 {
            continue;
        }
        let mut day = load_day(place, date);
        let domains: Vec<String> = day.domains.keys().cloned().collect();
        for name in domains {
            let Some(domain) = day.domains.get(&name) else {
                continue;
            };
            if let Err(error) = report(place, options, &configuration, &name, date, domain) {
                tell!("report of {date} to {name}: {error:#}");
                waiting += 1;
                continue;
            }
            sent += 1;
            day.domains.remove(&name);
            // At once: what was sent is not sent again if we are stopped.
            store_day(place, date, &day)?;
        }
        if day.domains.is_empty() || age >= GIVEN_UP_DAYS {
            remove_day(place, date)?;
        }
    }
    Ok(format!("Sent {sent} reports, {waiting} wait."))
}

/// How many days ago a date was, negative for one to come.
fn age(date: Date, today: Date) -> i32 {
    today.since(date).map_or(0, |span| span.get_days())
}

/// Sends one report to every address that is asked for; one that takes it is enough.
fn report(
    place: &Place,
    options: &ReportOptions,
    configuration: &Configuration,
    name: &str,
    date: Date,
    domain: &DomainDay,
) -> Result<()> {
    let endpoints = parse_record(&domain.record);
    if endpoints.is_empty() || domain.policies.is_empty() {
        return Ok(());
    }
    let document = make_document(configuration, name, date, domain)?;
    let mut problem = None;
    let mut taken = false;
    for endpoint in &endpoints {
        let result = match endpoint {
            Endpoint::Mail(recipient) => {
                let now = Timestamp::now();
                let message = write_message(configuration, name, recipient, &document, now);
                // Without a sender nothing comes back.
                let envelope = Envelope {
                    hostname: &configuration.hostname,
                    sender: "",
                    recipient,
                };
                hand_over(&options.smtp, &envelope, &message)
            }
            Endpoint::Web { url, host, port } => {
                upload(place, options, url, host, *port, &document)
            }
        };
        match result {
            Ok(()) => taken = true,
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(error) if !taken => Err(error),
        _ => {
            tell!("report domain={name} date={date} id={}", document.id);
            Ok(())
        }
    }
}

fn upload(
    place: &Place,
    options: &ReportOptions,
    url: &str,
    host: &str,
    port: u16,
    document: &Document,
) -> Result<()> {
    let runtime = start_runtime(BLOCKING_THREADS)?;
    let work = || -> Result<()> {
        let addresses = runtime.block_on(NameServer(options.resolver).addresses(host))?;
        let response = make_client(&roots_path(place), options.strangers, &addresses, port)?
            .post(url)
            .header(ureq::http::header::CONTENT_TYPE, MEDIA_TYPE)
            .send(&document.packed[..])?;
        let status = response.status();
        ensure!(status.is_success(), "the server answers {status}");
        Ok(())
    };
    work().with_context(|| format!("uploading to {url}"))
}
