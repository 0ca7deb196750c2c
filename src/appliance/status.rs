//! `mailctl status`: the machine on one screen.

use super::mailbox::human_size as readable_size;
use super::place::{self, Place};
use super::run::run_program;
use super::settings_command::load_checked;
use super::state::list_files;
use super::{certificate, users};
use anyhow::Context;
use serde::Serialize;
use std::fmt::Write;

/// Units whose state is shown, in the order of the way a mail takes.
const UNITS: [&str; 7] = [
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "unbound.service",
    "postfix.service",
    "opendkim.service",
    "dovecot.service",
    "ssh.service",
];

/// Queues of Postfix that hold messages (qmgr(8)).
const QUEUES: [&str; 5] = ["maildrop", "incoming", "active", "deferred", "hold"];

#[derive(Debug, Serialize)]
struct Unit {
    name: String,
    active: String,
    sub: String,
}

#[derive(Debug, Serialize)]
struct Disk {
    total_bytes: u64,
    available_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Memory {
    total_bytes: u64,
    available_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Certificate {
    valid_until: String,
    self_signed: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    provisioned: bool,
    hostname: Option<String>,
    domains: Vec<String>,
    accounts: usize,
    services: Vec<Unit>,
    queue: usize,
    disk: Option<Disk>,
    memory: Option<Memory>,
    uptime_seconds: Option<u64>,
    certificate: Option<Certificate>,
}

/// Collects the state of the machine as text or JSON.
///
/// # Errors
/// State that cannot be read; a service that is down is no error.
pub fn show_status(place: &Place, json: bool) -> anyhow::Result<String> {
    let status = collect(place)?;
    if json {
        return serde_json::to_string_pretty(&status).context("writing JSON");
    }
    Ok(render(&status))
}

fn collect(place: &Place) -> anyhow::Result<Status> {
    let settings = load_checked(place, place::SETTINGS)?.map(|resolved| resolved.settings);
    let queue = QUEUES
        .iter()
        .map(|queue| list_files(&place.path(place::QUEUE).join(queue)).len())
        .sum();
    Ok(Status {
        provisioned: place.path(place::PROVISIONED).exists(),
        hostname: settings.as_ref().map(|settings| settings.hostname.clone()),
        domains: settings
            .iter()
            .flat_map(|settings| settings.domains())
            .map(str::to_owned)
            .collect(),
        accounts: users::load_users(place)?.accounts.len(),
        services: if place.is_machine() {
            units()?
        } else {
            Vec::new()
        },
        queue,
        disk: disk(place),
        memory: std::fs::read_to_string(place.path("/proc/meminfo"))
            .ok()
            .and_then(|text| parse_memory(&text)),
        uptime_seconds: std::fs::read_to_string(place.path("/proc/uptime"))
            .ok()
            .and_then(|text| text.split('.').next()?.parse().ok()),
        certificate: std::fs::read_to_string(place.path(certificate::chain_path()))
            .ok()
            .and_then(|pem| certificate::valid_until(&pem).ok())
            .map(|valid_until| Certificate {
                valid_until,
                self_signed: certificate::is_self_signed(place),
            }),
    })
}

fn units() -> anyhow::Result<Vec<Unit>> {
    let mut arguments = vec!["show", "--property=Id,ActiveState,SubState"];
    arguments.extend(UNITS);
    Ok(parse_units(&run_program("/usr/bin/systemctl", &arguments)?))
}

/// Blocks of `KEY=value` separated by empty lines, one per unit.
fn parse_units(text: &str) -> Vec<Unit> {
    text.split("\n\n")
        .filter_map(|block| {
            let field = |key: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
            };
            Some(Unit {
                name: field("Id")?,
                active: field("ActiveState")?,
                sub: field("SubState").unwrap_or_default(),
            })
        })
        .collect()
}

fn disk(place: &Place) -> Option<Disk> {
    let stat = rustix::fs::statvfs(place.path("/var")).ok()?;
    Some(Disk {
        total_bytes: stat.f_blocks * stat.f_frsize,
        available_bytes: stat.f_bavail * stat.f_frsize,
    })
}

fn parse_memory(text: &str) -> Option<Memory> {
    let field = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kibibytes: u64 = line
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse()
            .ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory {
        total_bytes: field("MemTotal")?,
        available_bytes: field("MemAvailable")?,
    })
}

fn readable_time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    format!("{days} d {hours} h {minutes} min")
}

fn render(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:12} {value}");
    };
    line(
        "Machine",
        match &status.hostname {
            Some(hostname) => format!("{hostname} for {}", status.domains.join(", ")),
            None => "waiting for settings; mailctl console says how to supply them".to_owned(),
        },
    );
    if status.hostname.is_some() && !status.provisioned {
        line("", "not provisioned yet in this boot".to_owned());
    }
    if let Some(seconds) = status.uptime_seconds {
        line("Up", readable_time(seconds));
    }
    line("Accounts", status.accounts.to_string());
    line("Queue", format!("{} messages", status.queue));
    if let Some(certificate) = &status.certificate {
        let kind = if certificate.self_signed {
            ", self-signed"
        } else {
            ""
        };
        line(
            "Certificate",
            format!("valid until {}{kind}", certificate.valid_until),
        );
    }
    if let Some(disk) = &status.disk {
        line(
            "Disk (/var)",
            format!(
                "{} free of {}",
                readable_size(disk.available_bytes),
                readable_size(disk.total_bytes)
            ),
        );
    }
    if let Some(memory) = &status.memory {
        line(
            "Memory",
            format!(
                "{} available of {}",
                readable_size(memory.available_bytes),
                readable_size(memory.total_bytes)
            ),
        );
    }
    for unit in &status.services {
        line(
            "Service",
            format!("{:28} {} ({})", unit.name, unit.active, unit.sub),
        );
    }
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{parse_memory, parse_units, readable_time};

    #[test]
    fn what_others_print_is_understood() {
        let units = parse_units(
            "Id=postfix.service\nActiveState=active\nSubState=running\n\nId=ssh.service\nActiveState=inactive\nSubState=dead\n",
        );
        assert_eq!(units.len(), 2);
        assert_eq!(
            (units[1].name.as_str(), units[1].active.as_str()),
            ("ssh.service", "inactive")
        );
        let memory = parse_memory("MemTotal:  1024 kB\nMemFree: 1 kB\nMemAvailable:   512 kB\n");
        assert_eq!(memory.unwrap().available_bytes, 512 * 1024);
        assert_eq!(readable_time(90_061), "1 d 1 h 1 min");
    }
}
