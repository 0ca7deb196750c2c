//! The services of the table: whether they run, what they use.
//!
//! systemd is asked once a minute, by way of systemctl(1), since that is a process more; what a
//! service uses lies in files of its control group
//! (<https://docs.kernel.org/admin-guide/cgroup-v2.html>), which are read for each answer.

use super::exposition::{Samples, number};
use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use std::time::{Duration, Instant};

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// How long an answer of systemd's is good for.
const LOOK_INTERVAL: Duration = Duration::from_secs(55);
/// What is asked of each unit.
const PROPERTIES: &str =
    "--property=Id,LoadState,ActiveState,ConditionResult,NRestarts,ControlGroup";
/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// What systemd says of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    service: String,
    is_active: bool,
    restarts: u64,
    group: String,
}

/// Units, and what was said of them last.
#[derive(Debug)]
pub struct Services {
    names: Vec<&'static str>,
    units: Vec<Unit>,
    looked: Option<Instant>,
    answered: bool,
}

impl Services {
    /// Of these units.
    pub fn of(names: Vec<&'static str>) -> Self {
        Self {
            names,
            units: Vec::new(),
            looked: None,
            answered: false,
        }
    }

    /// Adds them, and says whether systemd answered.
    pub fn show(&mut self, place: &Place, samples: &mut Samples) -> bool {
        if place.is_machine()
            && self
                .looked
                .is_none_or(|when| when.elapsed() > LOOK_INTERVAL)
        {
            let mut arguments = vec!["show", PROPERTIES];
            arguments.extend(&self.names);
            let text = run_program(SYSTEMCTL, &arguments);
            self.answered = text.is_ok();
            self.units = text.map_or_else(|_| Vec::new(), |text| parse(&text));
            self.looked = Some(Instant::now());
        }
        for unit in &self.units {
            let service = unit.service.as_str();
            let up = if unit.is_active { 1.0 } else { 0.0 };
            samples.add("mailimg_service_up", &[service], up);
            let restarts = number(unit.restarts);
            samples.add("mailimg_service_restarts_total", &[service], restarts);
            show_use(place, unit, samples);
        }
        self.answered
    }
}

fn show_use(place: &Place, unit: &Unit, samples: &mut Samples) {
    if unit.group.is_empty() {
        return;
    }
    let folder = place.path(GROUPS).join(unit.group.trim_start_matches('/'));
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    if let Ok(bytes) = read("memory.current").trim().parse() {
        samples.add("mailimg_service_memory_bytes", &[&unit.service], bytes);
    }
    let stat = read("cpu.stat");
    let used = stat
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec "));
    if let Some(microseconds) = used.and_then(|used| used.parse::<f64>().ok()) {
        let seconds = microseconds / 1e6;
        samples.add(
            "mailimg_service_cpu_seconds_total",
            &[&unit.service],
            seconds,
        );
    }
}

/// Blocks of `KEY=value` separated by empty lines, one per unit; without those that the image
/// lacks, a container masks, or nobody wants, as ssh without a key.
fn parse(text: &str) -> Vec<Unit> {
    let unit = |block: &str| {
        let field = |key: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        };
        if ["not-found", "masked"].contains(&field("LoadState")?) {
            return None;
        }
        let state = field("ActiveState")?;
        if state == "inactive" && field("ConditionResult") == Some("no") {
            return None;
        }
        let id = field("Id")?;
        Some(Unit {
            service: id.strip_suffix(".service").unwrap_or(id).to_owned(),
            is_active: ["active", "reloading"].contains(&state),
            restarts: field("NRestarts")
                .and_then(|number| number.parse().ok())
                .unwrap_or_default(),
            group: field("ControlGroup").unwrap_or_default().to_owned(),
        })
    };
    text.split("\n\n").filter_map(unit).collect()
}

#[cfg(test)]
mod tests {
    use super::{Services, parse};
    use crate::appliance::machine::place::Place;
    use crate::appliance::monitoring::metrics::exposition::Samples;

    /// Printed by systemd 257.
    const TEXT: &str = "NRestarts=2\nControlGroup=/system.slice/postfix.service\nId=postfix.service\n\
        LoadState=loaded\nActiveState=active\n\nNRestarts=0\nControlGroup=\nId=unbound.service\n\
        LoadState=loaded\nActiveState=failed\n\nNRestarts=0\nControlGroup=\nId=ssh.service\n\
        LoadState=masked\nActiveState=inactive\n\nId=systemd-timesyncd.service\n\
        LoadState=loaded\nActiveState=inactive\nConditionResult=no\n";

    #[test]
    fn what_systemd_and_the_kernel_say_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let group = folder
            .path()
            .join("sys/fs/cgroup/system.slice/postfix.service");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.current"), "8388608\n").unwrap();
        std::fs::write(group.join("cpu.stat"), "usage_usec 1500000\nuser_usec 1\n").unwrap();
        let mut services = Services::of(Vec::new());
        services.units = parse(TEXT);
        assert_eq!(services.units.len(), 2);
        let mut samples = Samples::default();
        assert!(!services.show(&place, &mut samples));
        insta::assert_snapshot!(samples.text());
    }
}
