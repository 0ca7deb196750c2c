//! Facts about the machine that `mailctl status` shows, each from its own source.
//!
//! What cannot be found out is absent, never an error: status is asked for
//! when things are broken.

use super::certificate_status;
use crate::appliance::certificate;
use crate::appliance::certificate::chain::read_facts;
use crate::appliance::machine::clock::{DAY, now};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use crate::appliance::upgrade::machine::running_root_hash;
use crate::appliance::upgrade::record::Record;
use jiff::Timestamp;
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};
use serde::Serialize;

const SYSTEMCTL: &str = "/usr/bin/systemctl";

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitState {
    /// Its name, without `.service`.
    pub name: String,
    /// `active`, `failed`...
    pub active: String,
    /// `running`, `dead`...
    pub sub: String,
}

/// Why a container can ban nobody.
pub fn no_bans(place: &Place) -> Option<String> {
    if !place.is_container() {
        return None;
    }
    if let Ok(why) = std::fs::read_to_string(place.path(place::NO_BANS)) {
        return Some(why.trim().to_owned());
    }
    let has = capability_is_in_bounding_set(CapabilitySet::NET_ADMIN).unwrap_or(true);
    (!has).then(|| "add --cap-add NET_ADMIN".to_owned())
}

/// States of services, those that the image lacks or a container masks left out.
pub fn units(place: &Place, names: &[&str]) -> Vec<UnitState> {
    if !place.is_machine() {
        return Vec::new();
    }
    let mut arguments = vec!["show", "--property=Id,LoadState,ActiveState,SubState"];
    arguments.extend(names);
    let left_out: &[&str] = match place.is_container() {
        true => &["not-found", "masked"],
        false => &["not-found"],
    };
    run_program(SYSTEMCTL, &arguments)
        .map_or_else(|_| Vec::new(), |text| parse_units(&text, left_out))
}

fn field(block: &str, key: &str) -> Option<String> {
    block
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// Blocks of `KEY=value` separated by empty lines, one per unit.
fn parse_units(text: &str, left_out: &[&str]) -> Vec<UnitState> {
    text.split("\n\n")
        .filter(|block| {
            field(block, "LoadState").is_none_or(|state| !left_out.contains(&state.as_str()))
        })
        .filter_map(|block| {
            let name = field(block, "Id")?;
            Some(UnitState {
                name: name.strip_suffix(".service").unwrap_or(&name).to_owned(),
                active: field(block, "ActiveState")?,
                sub: field(block, "SubState").unwrap_or_default(),
            })
        })
        .collect()
}

/// What the health gate said about this boot: `passed`, `failed` or `running`.
pub fn health(place: &Place) -> Option<String> {
    if !place.is_machine() {
        return None;
    }
    let arguments = [
        "show",
        "--property=ActiveState,Result",
        "mailimg-health.service",
    ];
    parse_health(&run_program(SYSTEMCTL, &arguments).ok()?)
}

fn parse_health(text: &str) -> Option<String> {
    let said = match (field(text, "ActiveState")?.as_str(), field(text, "Result")?) {
        ("active", _) => "passed",
        ("activating", _) => "running",
        (_, result) if result == "success" => "not run",
        _ => "failed",
    };
    Some(said.to_owned())
}

/// Space of the file system with all state.
#[derive(Debug, Clone, Serialize)]
pub struct DiskSpace {
    /// All of it.
    pub total_bytes: u64,
    /// What is left.
    pub available_bytes: u64,
    /// Files it can hold.
    pub total_inodes: u64,
    /// Files it can still take.
    pub available_inodes: u64,
}

/// Space of /var.
pub fn disk(place: &Place) -> Option<DiskSpace> {
    let stat = rustix::fs::statvfs(place.path("/var")).ok()?;
    Some(DiskSpace {
        total_bytes: stat.f_blocks * stat.f_frsize,
        available_bytes: stat.f_bavail * stat.f_frsize,
        total_inodes: stat.f_files,
        available_inodes: stat.f_favail,
    })
}

/// Memory of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All of it.
    pub total_bytes: u64,
    /// What programs can still have.
    pub available_bytes: u64,
    /// Space for swapping; an appliance has none.
    pub swap_bytes: u64,
}

/// Memory by proc_meminfo(5).
pub fn memory(place: &Place) -> Option<Memory> {
    let text = std::fs::read_to_string(place.path("/proc/meminfo")).ok()?;
    parse_memory(&text)
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
        swap_bytes: field("SwapTotal").unwrap_or(0),
    })
}

/// The certificate of HOSTNAME.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateState {
    /// `YYYY-MM-DDTHH:MM:SSZ`.
    pub valid_until: String,
    /// Days left, negative when it ran out.
    pub days_left: i64,
    /// Whether it is ours, which no client trusts.
    pub self_signed: bool,
    /// What keeps another from coming.
    pub problem: Option<String>,
}

/// The certificate in use, and what its agent says.
pub fn certificate(place: &Place) -> Option<CertificateState> {
    let pem = std::fs::read(place.path(certificate::chain_path())).ok()?;
    let end = read_facts(&pem).ok()?.not_after;
    Some(CertificateState {
        days_left: (end - now()).div_euclid(DAY),
        valid_until: Timestamp::from_second(end).ok()?.to_string(),
        self_signed: certificate::is_self_signed(place),
        problem: certificate_status::host_problem(place),
    })
}

/// How the last upgrade stands.
pub fn upgrade(place: &Place) -> Option<String> {
    let record = Record::load(place).ok()??;
    record.describe(place, &running_root_hash(place).ok()?)
}

/// `IMAGE_VERSION` of os-release(5).
pub fn image_version(place: &Place) -> Option<String> {
    let text = std::fs::read_to_string(place.path("/etc/os-release")).ok()?;
    field(&text, "IMAGE_VERSION").map(|value| value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::{image_version, parse_health, parse_memory, parse_units};
    use crate::appliance::machine::place::Place;

    #[test]
    fn what_others_print_is_understood() {
        let units = parse_units(
            "Id=postfix.service\nLoadState=loaded\nActiveState=active\nSubState=running\n\n\
             Id=ssh.service\nLoadState=loaded\nActiveState=inactive\nSubState=dead\n\n\
             Id=absent.service\nLoadState=not-found\nActiveState=inactive\nSubState=dead\n",
            &["not-found"],
        );
        assert_eq!(units.len(), 2);
        assert_eq!(
            (units[1].name.as_str(), units[1].active.as_str()),
            ("ssh", "inactive")
        );
        let memory = parse_memory("MemTotal:  1024 kB\nMemAvailable:   512 kB\nSwapTotal: 0 kB\n");
        let memory = memory.unwrap();
        assert_eq!((memory.available_bytes, memory.swap_bytes), (512 * 1024, 0));
        for (text, said) in [
            ("ActiveState=active\nResult=success\n", "passed"),
            ("ActiveState=activating\nResult=success\n", "running"),
            ("ActiveState=failed\nResult=exit-code\n", "failed"),
            ("ActiveState=inactive\nResult=success\n", "not run"),
        ] {
            assert_eq!(parse_health(text).unwrap(), said);
        }
    }

    #[test]
    fn the_version_is_that_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        std::fs::write(
            folder.path().join("etc/os-release"),
            "ID=x\nIMAGE_VERSION=\"0.1.0\"\n",
        )
        .unwrap();
        assert_eq!(image_version(&place).unwrap(), "0.1.0");
    }
}
