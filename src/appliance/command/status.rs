//! `mailctl status`: the machine on one screen of 80 columns and 24 lines.

use super::ban::count_bans;
use super::status_facts::{self, CertificateState, DiskSpace, Memory, UnitState};
use crate::appliance::aliases::check::check_aliases;
use crate::appliance::aliases::load_aliases;
use crate::appliance::aliases::name::written_aliases;
use crate::appliance::dovecot::dh;
use crate::appliance::machine::clock::{now, uptime};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::postfix::queue::{self, Counts, readable_age};
use crate::appliance::services::SERVICES;
use crate::appliance::updates;
use crate::appliance::users::load_users;
use crate::appliance::users::mailbox::human_size;
use crate::error::render as render_error;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;

/// Columns of the screen.
const SCREEN_COLUMNS: usize = 80;
/// Columns before the text of a line.
const LABEL_COLUMNS: usize = 13;
/// Lines of mistakes in the aliases file that fit.
const SHOWN_PROBLEMS: usize = 2;
/// Below this much is left of disk or files, it is said.
const SCARCE_PERCENT: u64 = 10;
/// From here on a certificate that is not renewed is worth a word.
const FEW_DAYS: i64 = 14;

#[derive(Debug, Default, Serialize)]
struct Status {
    provisioned: bool,
    hostname: Option<String>,
    domains: Vec<String>,
    image_version: Option<String>,
    /// When this boot began.
    booted: Option<String>,
    uptime_seconds: Option<i64>,
    /// How the last upgrade stands, when it was not simply kept.
    upgrade: Option<String>,
    /// What came of the last look for updates, when there is a schedule.
    updates: Option<String>,
    /// What the health gate said: `passed`, `failed`, `running` or `not run`.
    health: Option<String>,
    accounts: usize,
    aliases: usize,
    /// What is wrong with the aliases file, by line.
    alias_problems: Vec<String>,
    services: Vec<UnitState>,
    queue: Counts,
    disk: Option<DiskSpace>,
    memory: Option<Memory>,
    certificate: Option<CertificateState>,
    /// Banned addresses, when the guard answers.
    bans: Option<usize>,
    /// Why nobody can be banned.
    no_bans: Option<String>,
    /// Size of the Diffie-Hellman group that is still searched for.
    dh_pending_bits: Option<u32>,
    /// What is wrong with the settings.
    settings_problem: Option<String>,
}

/// Collects the state of the machine as text or JSON.
///
/// A service that is down is no error.
pub fn show_status(place: &Place, json: bool) -> Result<String> {
    let status = collect(place)?;
    if json {
        return serde_json::to_string_pretty(&status).context("writing JSON");
    }
    Ok(render(&status))
}

/// The same as a value, and whether the generated first password still stands.
pub fn facts(place: &Place) -> Result<serde_json::Value> {
    let mut value = serde_json::to_value(collect(place)?).context("writing JSON")?;
    value["first_password_stands"] = place.path(place::ADMIN_PASSWORD).exists().into();
    Ok(value)
}

fn collect(place: &Place) -> Result<Status> {
    let uptime_seconds = uptime(place);
    let users = load_users(place)?;
    let daemons: Vec<&str> = SERVICES
        .iter()
        .filter_map(|service| service.daemon)
        .collect();
    let mut status = Status {
        provisioned: place.path(place::PROVISIONED).exists(),
        image_version: status_facts::image_version(place),
        booted: uptime_seconds
            .and_then(|seconds| Timestamp::from_second(now() - seconds).ok())
            .map(|time| time.to_string()),
        uptime_seconds,
        health: status_facts::health(place),
        upgrade: status_facts::upgrade(place),
        accounts: users.accounts.len(),
        services: status_facts::units(place, &daemons),
        queue: queue::count(place),
        disk: status_facts::disk(place),
        memory: status_facts::memory(place),
        certificate: status_facts::certificate(place),
        bans: count_bans(place),
        no_bans: status_facts::no_bans(place),
        ..Status::default()
    };
    match load_checked(place, place::SETTINGS) {
        Ok(Some(resolved)) => {
            let settings = resolved.settings;
            match load_aliases(place) {
                Ok(text) => {
                    status.aliases = written_aliases(&settings, &text).len();
                    status.alias_problems = check_aliases(&settings, &users, &text)
                        .problems
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                }
                Err(error) => status.alias_problems.push(format!("{error:#}")),
            }
            status.dh_pending_bits = dh::pending_bits(place, &settings);
            status.updates = updates::describe(place, &settings);
            status.domains = settings.domains().map(str::to_owned).collect();
            status.hostname = Some(settings.hostname);
        }
        Ok(None) => {}
        Err(error) => status.settings_problem = Some(render_error(&error)),
    }
    Ok(status)
}

fn readable_time(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days} d {hours} h {minutes} min")
}

fn scarce(available: u64, total: u64) -> &'static str {
    if total > 0 && available < total / 100 * SCARCE_PERCENT {
        "  !"
    } else {
        ""
    }
}

fn render(status: &Status) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = |name: &str, value: &str| lines.push(format!("{name:12} {value}"));
    match (&status.hostname, &status.settings_problem) {
        (Some(hostname), _) => line(
            "Machine",
            &format!("{hostname} for {}", status.domains.join(", ")),
        ),
        (None, Some(problem)) => line("Settings", problem.lines().next().unwrap_or_default()),
        (None, None) => line(
            "Machine",
            "waiting for settings; mailctl console says how to supply them",
        ),
    }
    if status.hostname.is_some() && !status.provisioned {
        line("", "not provisioned yet in this boot");
    }
    let booted = status.booted.as_ref().zip(status.uptime_seconds);
    let booted = booted.map(|(time, ago)| format!("booted {time}, {} ago", readable_time(ago)));
    let facts: Vec<&str> = status
        .image_version
        .iter()
        .chain(&booted)
        .map(String::as_str)
        .collect();
    if !facts.is_empty() {
        line("Image", &facts.join(", "));
    }
    if let Some(health) = &status.health {
        line("Health gate", health);
    }
    if let Some(upgrade) = &status.upgrade {
        line("Upgrade", upgrade);
    }
    if let Some(updates) = &status.updates {
        line("Updates", updates);
    }
    line(
        "Accounts",
        &format!("{}, {} aliases", status.accounts, status.aliases),
    );
    line("Queue", &render_queue(&status.queue));
    match (&status.no_bans, status.bans) {
        (Some(why), _) => line("Bans", &format!("none, {why}  !")),
        (None, Some(bans)) => line("Bans", &bans.to_string()),
        (None, None) => line("Bans", "unknown, the guard does not answer"),
    }
    if let Some(certificate) = &status.certificate {
        line("Certificate", &render_certificate(certificate));
        if let Some(problem) = &certificate.problem {
            line("", &format!("{problem}  !"));
        }
    }
    if let Some(bits) = status.dh_pending_bits {
        let text = format!("{bits} bits are searched for; another group serves meanwhile");
        line("DH group", &text);
    }
    if let Some(disk) = &status.disk {
        line("Disk (/var)", &render_disk(disk));
    }
    if let Some(memory) = &status.memory {
        line("Memory", &render_memory(memory));
    }
    lines.extend(render_services(&status.services));
    lines.extend(render_problems(&status.alias_problems));
    let lines: Vec<String> = lines.iter().map(|line| shortened(line)).collect();
    lines.join("\n")
}

fn render_queue(queue: &Counts) -> String {
    let oldest = queue.oldest_seconds.map_or_else(String::new, |seconds| {
        format!("; the oldest waits {}", readable_age(seconds))
    });
    format!(
        "{} messages: {} active, {} deferred, {} on hold{oldest}",
        queue.total, queue.active, queue.deferred, queue.hold
    )
}

fn render_certificate(certificate: &CertificateState) -> String {
    let kind = if certificate.self_signed {
        ", self-signed"
    } else {
        ""
    };
    let mark = if certificate.days_left < FEW_DAYS {
        "  !"
    } else {
        ""
    };
    format!(
        "{} days left, until {}{kind}{mark}",
        certificate.days_left, certificate.valid_until
    )
}

fn render_disk(disk: &DiskSpace) -> String {
    format!(
        "{} free of {}{}; {} of {} inodes free{}",
        human_size(disk.available_bytes),
        human_size(disk.total_bytes),
        scarce(disk.available_bytes, disk.total_bytes),
        disk.available_inodes,
        disk.total_inodes,
        scarce(disk.available_inodes, disk.total_inodes)
    )
}

fn render_memory(memory: &Memory) -> String {
    let swap = match memory.swap_bytes {
        0 => "no swap".to_owned(),
        bytes => format!("{} swap", human_size(bytes)),
    };
    format!(
        "{} available of {}, {swap}",
        human_size(memory.available_bytes),
        human_size(memory.total_bytes)
    )
}

/// What runs in one paragraph, what does not in another.
fn render_services(services: &[UnitState]) -> Vec<String> {
    let (running, other): (Vec<&UnitState>, Vec<&UnitState>) =
        services.iter().partition(|unit| unit.active == "active");
    let running: Vec<String> = running.iter().map(|unit| unit.name.clone()).collect();
    let mut states: Vec<(&str, &str)> = Vec::new();
    for unit in &other {
        let state = (unit.active.as_str(), unit.sub.as_str());
        if !states.contains(&state) {
            states.push(state);
        }
    }
    // Those in the same state together: when all are, they fit a screen too.
    let mut items = Vec::new();
    for (active, sub) in states {
        let alike = other
            .iter()
            .filter(|unit| (unit.active.as_str(), unit.sub.as_str()) == (active, sub));
        let mut names: Vec<String> = alike.map(|unit| unit.name.clone()).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        if let Some(last) = names.last_mut() {
            last.push_str(&format!(" {verb} {active} ({sub})"));
        }
        items.extend(names);
    }
    let other = items;
    let mut lines = paragraph("Running", &running, " ");
    lines.extend(paragraph("Not running", &other, ", "));
    lines
}

/// Items one after the other, in as many lines as it takes.
fn paragraph(name: &str, items: &[String], separator: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for (index, item) in items.iter().enumerate() {
        let last = index + 1 == items.len();
        let item = format!("{item}{}", if last { "" } else { separator });
        if !line.is_empty() && line.len() + item.trim_end().len() + LABEL_COLUMNS > SCREEN_COLUMNS {
            lines.push(line.trim_end().to_owned());
            line.clear();
        }
        line.push_str(&item);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| format!("{:12} {line}", if index == 0 { name } else { "" }))
        .collect()
}

fn render_problems(problems: &[String]) -> Vec<String> {
    if problems.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!(
        "{:12} {} mistakes in the file; mailctl update-aliases names them",
        "Aliases",
        problems.len()
    )];
    let shown = problems.iter().take(SHOWN_PROBLEMS);
    lines.extend(shown.map(|problem| format!("{:12} {problem}", "")));
    lines
}

/// A line that does not wrap.
fn shortened(line: &str) -> String {
    if line.chars().count() <= SCREEN_COLUMNS {
        return line.trim_end().to_owned();
    }
    let start: String = line.chars().take(SCREEN_COLUMNS - 3).collect();
    format!("{start}...")
}

#[cfg(test)]
mod tests {
    use super::{Status, render};
    use crate::appliance::command::status_facts::{CertificateState, DiskSpace, Memory, UnitState};
    use crate::appliance::postfix::queue::Counts;

    fn unit(name: &str, active: &str) -> UnitState {
        UnitState {
            name: name.to_owned(),
            active: active.to_owned(),
            sub: "dead".to_owned(),
        }
    }

    #[test]
    fn everything_fits_one_screen() {
        let names = super::SERVICES.iter().filter_map(|service| service.daemon);
        let mut services: Vec<UnitState> = names
            .map(|name| unit(name.trim_end_matches(".service"), "active"))
            .collect();
        let ssh = services.iter_mut().find(|service| service.name == "ssh");
        ssh.unwrap().active = "inactive".to_owned();
        let mut status = Status {
            provisioned: true,
            hostname: Some("mail.a.example".to_owned()),
            domains: (0..9)
                .map(|number| format!("domain{number}.example"))
                .collect(),
            image_version: Some("0.1.0".to_owned()),
            booted: Some("2026-11-22T10:00:00Z".to_owned()),
            uptime_seconds: Some(90_061),
            health: Some("passed".to_owned()),
            upgrade: Some("0.2.0 waits for a restart to be tried".to_owned()),
            updates: Some("2026-11-22T03:14:00Z: 0.2.0 is ready".to_owned()),
            accounts: 12,
            aliases: 3,
            alias_problems: vec!["line 1: x".to_owned(); 5],
            services,
            queue: Counts {
                total: 3,
                active: 1,
                deferred: 2,
                hold: 0,
                oldest_seconds: Some(7200),
            },
            disk: Some(DiskSpace {
                total_bytes: 20 << 30,
                available_bytes: 1 << 30,
                total_inodes: 1000,
                available_inodes: 900,
            }),
            memory: Some(Memory {
                total_bytes: 1 << 30,
                available_bytes: 1 << 29,
                swap_bytes: 0,
            }),
            certificate: Some(CertificateState {
                valid_until: "2026-12-01T00:00:00Z".to_owned(),
                days_left: 8,
                self_signed: true,
                problem: Some("the CA cannot connect to port 80".to_owned()),
            }),
            bans: Some(4),
            no_bans: None,
            dh_pending_bits: None,
            settings_problem: None,
        };
        insta::assert_snapshot!(render(&status), @r"
        Machine      mail.a.example for domain0.example, domain1.example, domain2.exa...
        Image        0.1.0, booted 2026-11-22T10:00:00Z, 1 d 1 h 1 min ago
        Health gate  passed
        Upgrade      0.2.0 waits for a restart to be tried
        Updates      2026-11-22T03:14:00Z: 0.2.0 is ready
        Accounts     12, 3 aliases
        Queue        3 messages: 1 active, 2 deferred, 0 on hold; the oldest waits 2 h
        Bans         4
        Certificate  8 days left, until 2026-12-01T00:00:00Z, self-signed  !
                     the CA cannot connect to port 80  !
        Disk (/var)  1.0G free of 20G  !; 900 of 1000 inodes free
        Memory       512M available of 1.0G, no swap
        Running      systemd-networkd systemd-timesyncd unbound opendkim dovecot postfix
                     mailimg-filter mailimg-guard mailimg-sts mailimg-web
                     mailimg-monitoring mailimg-metrics mailimg-store
        Not running  ssh is inactive (dead)
        Aliases      5 mistakes in the file; mailctl update-aliases names them
                     line 1: x
                     line 1: x
        ");
        status.provisioned = false;
        status.dh_pending_bits = Some(4096);
        for service in &mut status.services {
            service.active = "failed".to_owned();
        }
        let text = render(&status);
        assert!(text.lines().count() <= 24, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }
}
