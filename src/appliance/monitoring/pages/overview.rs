//! The first page: how the machine stands, and what is left to do.

use super::charts::{Shown, show_panels};
use super::dns::ensure_checked;
use super::frame::Frame;
use super::todo::{Step, steps};
use crate::appliance::machine::clock::now;
use crate::appliance::monitoring::facts::{DnsFacts, Status};
use crate::appliance::monitoring::helpers::ask_facts;
use crate::appliance::monitoring::panels::Page;
use crate::appliance::monitoring::query::{Range, Store};
use crate::appliance::monitoring::site::Site;
use crate::appliance::monitoring::unit::Unit;
use crate::appliance::postfix::queue::readable_age;
use crate::appliance::web::answer::Answer;
use anyhow::Result;
use serde::Serialize;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Longest wait for the helper.
const STATUS_LIMIT: Duration = Duration::from_secs(5);
/// Below this part of disk or files it is said.
const SCARCE: f64 = 0.1;
/// From here on a certificate that is not renewed is worth a word.
const FEW_DAYS: i64 = 14;
/// Whether mail ever left for somebody else.
const HAS_SENT: &str = "sum(postfix_deliveries_total{transport=\"smtp\",status=\"sent\"})";

/// One line of how the machine stands.
#[derive(Debug, Serialize)]
struct Fact {
    /// `good`, `warn`, `bad` or `plain`.
    state: &'static str,
    name: &'static str,
    text: String,
}

#[derive(Debug, Serialize)]
struct Values {
    panels: Vec<Shown>,
    facts: Vec<Fact>,
    problem: Option<String>,
    steps: Vec<Step>,
    open: usize,
    /// What is wrong now, the worst first.
    alerts: Vec<Alert>,
}

/// Something that is wrong now.
#[derive(Debug, Serialize)]
pub struct Alert {
    /// `warn` or `bad`.
    pub state: &'static str,
    /// What.
    pub text: String,
}

/// The page.
pub async fn answer(site: &Rc<Site>, frame: &Frame, range: Range) -> Result<Answer> {
    ensure_checked(site);
    let place = site.place.clone();
    let status = async {
        let asked = spawn_blocking(move || ask_facts::<Status>(&place, "status"));
        match timeout(STATUS_LIMIT, asked).await {
            Ok(Ok(Ok(status))) => (status, None),
            Ok(Ok(Err(error))) => (Status::default(), Some(format!("{error:#}"))),
            Ok(Err(error)) => (Status::default(), Some(error.to_string())),
            Err(_) => (Status::default(), Some("no answer in time".to_owned())),
        }
    };
    let (panels, (status, problem), has_sent) = tokio::join!(
        show_panels(&site.store, Page::Overview, range),
        status,
        has_sent(&site.store)
    );
    let dns = site.dns.known().and_then(|known| known.what.ok());
    let steps = match problem {
        Some(_) => Vec::new(),
        None => steps(&status, dns.as_deref(), has_sent),
    };
    let facts = match problem {
        Some(_) => Vec::new(),
        None => facts(&status, dns.as_deref()),
    };
    let values = Values {
        panels,
        facts,
        problem,
        open: steps.iter().filter(|step| step.is_open()).count(),
        steps,
        alerts: Vec::new(),
    };
    site.templates.page("overview.html", frame, &values)
}

async fn has_sent(store: &Store) -> Option<bool> {
    let store = store.clone();
    let range = Range::find(Some("60d"));
    let asked = spawn_blocking(move || store.range(HAS_SENT, range, now()));
    let series = timeout(STATUS_LIMIT, asked).await.ok()?.ok()?.ok()?;
    let mut points = series.iter().flat_map(|series| &series.points);
    Some(points.any(|(_, value)| *value > 0.0))
}

fn facts(status: &Status, dns: Option<&DnsFacts>) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut fact = |state, name, text: String| facts.push(Fact { state, name, text });
    if let Some(problem) = &status.settings_problem {
        fact("bad", "Settings", problem.clone());
    }
    let down: Vec<&str> = status
        .services
        .iter()
        .filter(|unit| unit.active != "active" && unit.name != "ssh")
        .map(|unit| unit.name.as_str())
        .collect();
    match down.as_slice() {
        [] if status.services.is_empty() => {}
        [] => fact(
            "good",
            "Services",
            format!("All {} run", status.services.len()),
        ),
        down => fact(
            "bad",
            "Services",
            format!("Not running: {}", down.join(", ")),
        ),
    }
    if let Some(health) = &status.health {
        let state = match health.as_str() {
            "passed" => "good",
            "failed" => "bad",
            _ => "plain",
        };
        fact(state, "Mail accepted at boot", health.clone());
    }
    let oldest = status.queue.oldest_seconds.unwrap_or_default();
    let waiting = match status.queue.total {
        0 => "Empty".to_owned(),
        total => format!(
            "{total} waiting, {} deferred, {} on hold; the oldest for {}",
            status.queue.deferred,
            status.queue.hold,
            readable_age(oldest)
        ),
    };
    let is_old = oldest > 4 * 3600 && status.queue.deferred > 0;
    fact(if is_old { "warn" } else { "good" }, "Queue", waiting);
    certificate_fact(status, &mut fact);
    match dns {
        None => fact("plain", "DNS", "Being asked".to_owned()),
        Some(dns) if dns.is_good() => {
            fact("good", "DNS", "All required records are right".to_owned());
        }
        Some(dns) => {
            let bad = dns.count_bad(|_, need| need == "required");
            fact("bad", "DNS", format!("{bad} required records to mend"));
        }
    }
    room_facts(status, &mut fact);
    match (&status.no_bans, status.bans) {
        (Some(why), _) => fact("warn", "Bans", format!("Nobody can be banned: {why}")),
        (None, Some(bans)) => fact("good", "Bans", format!("{bans} networks kept out")),
        (None, None) => fact("bad", "Bans", "The guard does not answer".to_owned()),
    }
    if !status.alias_problems.is_empty() {
        let count = status.alias_problems.len();
        fact(
            "warn",
            "Aliases",
            format!("{count} mistakes; mailctl update-aliases names them"),
        );
    }
    if let Some(upgrade) = &status.upgrade {
        fact("plain", "Upgrade", upgrade.clone());
    }
    let version = status.image_version.clone().unwrap_or_default();
    let up = status.uptime_seconds.map_or_else(String::new, |seconds| {
        format!("up {}", Unit::Seconds.write(seconds as f64))
    });
    let image = format!("{version} {up}").trim().to_owned();
    if !image.is_empty() {
        fact("plain", "Image", image);
    }
    facts
}

fn certificate_fact(status: &Status, fact: &mut impl FnMut(&'static str, &'static str, String)) {
    let Some(certificate) = &status.certificate else {
        return;
    };
    let day = certificate.valid_until.get(..10).unwrap_or_default();
    let text = format!("{} days left, until {day}", certificate.days_left);
    match certificate {
        certificate if certificate.self_signed => {
            fact("warn", "Certificate", format!("Self-signed, {text}"));
        }
        certificate if certificate.days_left < FEW_DAYS => fact("bad", "Certificate", text),
        _ => fact("good", "Certificate", text),
    }
}

fn room_facts(status: &Status, fact: &mut impl FnMut(&'static str, &'static str, String)) {
    let bytes = |value: u64| Unit::Bytes.write(value as f64);
    let state = |free: u64, all: u64| {
        if (free as f64) < all as f64 * SCARCE {
            "bad"
        } else {
            "good"
        }
    };
    if let Some(disk) = &status.disk {
        let text = format!(
            "{} free of {}",
            bytes(disk.available_bytes),
            bytes(disk.total_bytes)
        );
        fact(state(disk.available_bytes, disk.total_bytes), "Disk", text);
        if state(disk.available_inodes, disk.total_inodes) == "bad" {
            let text = format!("{} of {} left", disk.available_inodes, disk.total_inodes);
            fact("bad", "Files", text);
        }
    }
    if let Some(memory) = &status.memory {
        let text = format!(
            "{} available of {}",
            bytes(memory.available_bytes),
            bytes(memory.total_bytes)
        );
        fact(
            state(memory.available_bytes, memory.total_bytes),
            "Memory",
            text,
        );
    }
}
