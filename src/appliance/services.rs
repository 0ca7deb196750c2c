//! The services of the machine: one row each, in the order in which a change reaches them.
//!
//! Rendering, `settings apply`, `status`, the health gate and new certificates go
//! through this table and know no service by name.

use super::machine::place::{self, Place};
use super::probe::Probe;
use super::{
    certificate, dkim, dns, dovecot, filter, guard, monitoring, network, postfix, ssh, sts,
    unbound, updates, web,
};
use crate::settings::Settings;
use anyhow::Result;

/// One thing that the machine runs.
pub struct Service {
    /// Its folder here, and how it is called in errors.
    pub name: &'static str,
    /// The unit that stays, if there is one.
    pub daemon: Option<&'static str>,
    /// Units that are started when settings changed and find out what there is to do.
    pub jobs: &'static [&'static str],
    /// Writes what it reads below /run/mailimg.
    pub configure: fn(&Place, &Settings) -> Result<()>,
    /// How a change reaches it.
    pub takes: Takes,
    /// Whether it reads HOSTNAME's certificate only when it is reloaded.
    pub reads_certificate: bool,
    /// Whether it waits, when the clock was put back, until the old time has come again.
    pub waits_for_clock: bool,
    /// What the health gate tries.
    pub probes: &'static [Probe],
}

/// How a running service takes changed settings.
pub enum Takes {
    /// It is reloaded, and the next row waits for it.
    Reload,
    /// It sees a changed file by itself.
    Watches,
    /// It sees all but this, for a change of which it is reloaded.
    WatchesAllBut(fn(&Place) -> Option<(u16, u16)>),
    /// In a way of its own.
    Own(fn(&Place, &Settings) -> Result<()>),
}

impl Takes {
    /// Whether the service is started and stopped by what it does itself.
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

/// What most rows have.
const PLAIN: Service = Service {
    name: "",
    daemon: None,
    jobs: &[],
    configure: |_, _| Ok(()),
    takes: Takes::Watches,
    reads_certificate: false,
    waits_for_clock: false,
    probes: &[],
};

/// All of them. Names are answered before others ask for some, and Dovecot knows who may
/// log in before Postfix, which asks it as soon as it is back.
pub const SERVICES: [Service; 18] = [
    Service {
        name: "network",
        daemon: Some("systemd-networkd.service"),
        configure: network::configure,
        takes: Takes::Own(network::take),
        ..PLAIN
    },
    Service {
        name: "clock",
        daemon: Some("systemd-timesyncd.service"),
        takes: Takes::Own(|_, _| Ok(())),
        ..PLAIN
    },
    Service {
        name: "unbound",
        daemon: Some(unbound::UNIT),
        configure: |place, settings| unbound::ensure_resolver(place, Some(settings)).map(|_| ()),
        takes: Takes::Reload,
        waits_for_clock: true,
        probes: &[Probe::Resolver],
        ..PLAIN
    },
    Service {
        name: "dkim",
        daemon: Some(dkim::UNIT),
        configure: dkim::configuration::configure,
        takes: Takes::Reload,
        probes: &[Probe::Milter("opendkim", "/run/opendkim/opendkim.sock")],
        ..PLAIN
    },
    Service {
        name: "dovecot",
        daemon: Some(dovecot::UNIT),
        configure: dovecot::configure,
        takes: Takes::Reload,
        reads_certificate: true,
        waits_for_clock: true,
        probes: &[Probe::Imap],
        ..PLAIN
    },
    Service {
        name: "postfix",
        daemon: Some(postfix::UNIT),
        configure: postfix::configure,
        takes: Takes::Reload,
        reads_certificate: true,
        waits_for_clock: true,
        probes: &[Probe::Reception, Probe::Submission],
        ..PLAIN
    },
    Service {
        name: "filter",
        daemon: Some("mailimg-filter.service"),
        configure: filter::configure,
        probes: &[Probe::Milter("mailimg-filter", place::FILTER_SOCKET)],
        ..PLAIN
    },
    Service {
        name: "guard",
        daemon: Some("mailimg-guard.service"),
        configure: |place, _| guard::ensure_key(place),
        ..PLAIN
    },
    Service {
        name: "sts",
        daemon: Some("mailimg-sts.service"),
        configure: sts::configure,
        ..PLAIN
    },
    Service {
        name: "certificate",
        // It finds out by itself whether another name or another CA is asked for.
        jobs: &["mailimg-certificate.path", certificate::acme::UNIT],
        configure: certificate::configure,
        ..PLAIN
    },
    Service {
        name: "web",
        daemon: Some("mailimg-web.service"),
        configure: web::configure,
        takes: Takes::WatchesAllBut(web::load_ports),
        ..PLAIN
    },
    Service {
        name: "monitoring",
        daemon: Some(monitoring::pages::configuration::UNIT),
        configure: monitoring::pages::configuration::configure,
        takes: Takes::Own(monitoring::pages::configuration::take),
        ..PLAIN
    },
    Service {
        name: "dovecot/dh",
        takes: Takes::Own(dovecot::dh::take),
        ..PLAIN
    },
    Service {
        name: "ssh",
        daemon: Some(ssh::UNIT),
        configure: ssh::configure,
        takes: Takes::Own(ssh::take),
        ..PLAIN
    },
    Service {
        name: "dns",
        jobs: &["mailimg-dns.timer", dns::UNIT],
        configure: dns::configure,
        ..PLAIN
    },
    Service {
        name: "updates",
        jobs: &[updates::TIMER],
        configure: updates::configure,
        ..PLAIN
    },
    Service {
        name: "metrics",
        daemon: Some(monitoring::UNIT),
        jobs: &monitoring::TIMERS,
        configure: monitoring::configure,
        takes: Takes::Own(monitoring::take),
        ..PLAIN
    },
    Service {
        name: "store",
        daemon: Some(monitoring::store::UNIT),
        configure: monitoring::store::configure,
        takes: Takes::Own(monitoring::store::take),
        ..PLAIN
    },
];

/// Units that read HOSTNAME's certificate only when they are reloaded.
pub fn readers_of_certificate() -> impl Iterator<Item = &'static str> {
    let readers = SERVICES.iter().filter(|service| service.reads_certificate);
    readers.filter_map(|service| service.daemon)
}

#[cfg(test)]
mod tests {
    use super::{Probe, SERVICES, ssh};
    use crate::appliance::Arguments;
    use clap::{CommandFactory, Parser};
    use std::collections::BTreeSet;
    use std::path::Path;

    fn units() -> impl Iterator<Item = &'static str> {
        let all = SERVICES.iter();
        all.flat_map(|service| service.daemon.iter().chain(service.jobs).copied())
    }

    #[test]
    fn no_name_is_there_twice() {
        let names = SERVICES.iter().map(|service| service.name);
        let probes = SERVICES.iter().flat_map(|service| service.probes);
        for all in [
            names.collect::<Vec<_>>(),
            units().collect(),
            probes.map(Probe::name).collect(),
        ] {
            let distinct: BTreeSet<&str> = all.iter().copied().collect();
            assert_eq!(distinct.len(), all.len(), "{all:?}");
        }
    }

    /// After five quick restarts, by whomever, Unbound stayed away until the next boot; ended
    /// by a plain signal it stayed away, too.
    #[test]
    fn every_service_that_stays_comes_back_however_it_ended() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units");
        let manager = std::fs::read_to_string(folder.join("system.conf.d/mailimg.conf")).unwrap();
        assert!(manager.contains("\nDefaultStartLimitIntervalSec=0\n"));
        for file in walkdir::WalkDir::new(folder.join("system")) {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
            assert!(!text.contains("\nStartLimit"), "{text}");
        }
        // Debian's own ones are left as they are.
        let debian = |unit: &&str| unit.starts_with("systemd-") || *unit == ssh::UNIT;
        let daemons = SERVICES.iter().filter_map(|service| service.daemon);
        for unit in daemons.filter(|unit| !debian(unit)) {
            let own = folder.join("system").join(unit);
            let added = folder.join(format!("system/{unit}.d/mailimg.conf"));
            let text = std::fs::read_to_string(own)
                .or_else(|_| std::fs::read_to_string(added))
                .unwrap();
            assert!(text.contains("\nRestart=always\n"), "{unit}");
        }
    }

    /// A service that is in no list is reloaded by nobody and shown nowhere.
    #[test]
    fn every_service_of_ours_that_stays_has_a_row() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/system");
        let known: BTreeSet<&str> = units().collect();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            let ends = ["oneshot", "exec"].map(|kind| format!("\nType={kind}\n"));
            if name.ends_with(".service") && !ends.iter().any(|kind| text.contains(kind)) {
                assert!(known.contains(name), "{name} has no row");
            }
        }
        for name in known.iter().filter(|name| name.starts_with("mailimg-")) {
            assert!(folder.join(name).exists(), "there is no {name}");
        }
    }

    /// Units that run a verb of another name.
    const OTHER_VERBS: [(&str, &str); 1] = [
        // It is there to conclude the boot. What it runs is for people, too.
        ("boot-complete", "console"),
    ];

    /// Whoever sees a unit in the journal knows what to call, and where it is in the code.
    #[test]
    fn a_unit_runs_the_verb_of_its_name() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/system");
        let mut found = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            let unit = file.strip_prefix("mailimg-");
            let Some(unit) = unit.and_then(|unit| unit.strip_suffix(".service")) else {
                continue;
            };
            // Of one that systemd starts for each connection there may be many.
            let unit = unit.trim_end_matches('@');
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let mut starts = text
                .lines()
                .filter_map(|line| line.strip_prefix("ExecStart="));
            // One runs nft.
            let Some(line) = starts.find(|line| line.starts_with("/usr/bin/mailctl ")) else {
                continue;
            };
            found += 1;
            Arguments::try_parse_from(line.split(' '))
                .unwrap_or_else(|error| panic!("{file}: {error}"));
            let verb = line.split(' ').nth(1).unwrap();
            let other = OTHER_VERBS.iter().find(|(name, _)| *name == unit);
            assert_eq!(verb, other.map_or(unit, |(_, verb)| verb), "{file}");
            // An alias is one that will be gone.
            let known = Arguments::command();
            let mut verbs = known.get_subcommands().map(|one| one.get_name());
            assert!(verbs.any(|name| name == verb), "{file}: {verb}");
        }
        assert!(found > 12, "only {found} units were found");
    }
}
