//! The store of figures: Debian's VictoriaMetrics, and what it needs of us.
//!
//! <https://docs.victoriametrics.com/single-server-victoriametrics/>. Its limits stand in its unit.
//! What it cannot open it does not start with. Then its folder is moved aside, and it begins anew:
//! figures are worth less than a machine that waits for somebody to mend it. One folder is kept
//! so, for whoever wants to look at it.

use crate::appliance::guard::key::random_hex;
use crate::appliance::machine::accounts::owner;
use crate::appliance::machine::clock::uptime;
use crate::appliance::machine::files::{
    SECRET, ensure_file, read_optional, remove_file, remove_folder, rename, write_file,
};
use crate::appliance::machine::place::Place;
use crate::settings::Settings;
use anyhow::Result;
use std::path::Path;

/// Its unit.
pub const UNIT: &str = "mailimg-store.service";
/// What whoever deletes or copies figures has to know, new at each boot.
const KEY: &str = "/run/mailimg/store-key";
/// Root writes, the store reads.
const KEY_MODE: u32 = 0o640;
/// Its figures.
const DATA: &str = "/var/lib/mailimg/store/data";
/// Those that it could not open.
const DAMAGED: &str = "/var/lib/mailimg/store/damaged";
/// When it failed, seconds since the boot, a line each.
const FAILURES: &str = "/run/mailimg-store/failures";
/// So many failures are not by chance.
const MOST_FAILURES: usize = 3;
/// Within so many seconds; its unit waits two, then four, then eleven before it starts again.
const FAILURE_WINDOW: i64 = 60;
/// With less room than this it fails for want of it.
const ENOUGH_ROOM: u64 = 100 << 20;

/// Makes its key, once in each boot.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(KEY);
    if !settings.monitoring.enabled {
        return remove_file(&path);
    }
    let key = read_optional(&path)?.unwrap_or_else(|| random_hex().into_bytes());
    let group = owner(place, "root", "mailimg-store")?;
    ensure_file(&path, &key, KEY_MODE, group).map(|_| ())
}

/// Starts or stops it.
pub fn take(_: &Place, settings: &Settings) -> Result<()> {
    super::run(UNIT, settings)
}

/// What its unit runs when it has ended: `mailctl store-ended`.
pub fn note_end(place: &Place) -> Result<String> {
    // systemd.exec(5): what it ended with. A signal is somebody's will, or want of memory.
    let variable = |name| std::env::var(name).unwrap_or_default();
    let has_failed = variable("EXIT_CODE") == "exited" && variable("EXIT_STATUS") != "0";
    if !has_failed {
        remove_file(&place.path(FAILURES))?;
        return Ok(String::new());
    }
    let now = uptime(place).unwrap_or_default();
    note_failure(place, now, room(&place.path("/var")))
}

fn room(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(0, |found| found.f_bavail * found.f_frsize)
}

fn note_failure(place: &Place, now: i64, room: u64) -> Result<String> {
    let path = place.path(FAILURES);
    let before = read_optional(&path)?.unwrap_or_default();
    let before = String::from_utf8_lossy(&before).into_owned();
    let times = before.lines().filter_map(|line| line.parse::<i64>().ok());
    let mut times: Vec<i64> = times.filter(|time| now - time < FAILURE_WINDOW).collect();
    times.push(now);
    if times.len() < MOST_FAILURES || room < ENOUGH_ROOM || !place.path(DATA).exists() {
        let text: String = times.iter().map(|time| format!("{time}\n")).collect();
        write_file(&path, text.as_bytes(), SECRET, None)?;
        return Ok(String::new());
    }
    remove_folder(&place.path(DAMAGED))?;
    rename(&place.path(DATA), &place.path(DAMAGED))?;
    remove_file(&path)?;
    Ok(format!(
        "The store did not start {MOST_FAILURES} times; its figures are now in {DAMAGED}, and it begins anew."
    ))
}

#[cfg(test)]
mod tests {
    use super::{DAMAGED, DATA, ENOUGH_ROOM, configure, note_failure};
    use crate::appliance::machine::place::Place;
    use crate::settings::{parse_settings, resolve_settings};

    fn place() -> (tempfile::TempDir, Place) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        for path in ["run/mailimg", "run/mailimg-store", "var/lib/mailimg/store"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        (folder, place)
    }

    #[test]
    fn what_cannot_be_opened_is_moved_aside_and_one_of_it_kept() {
        let (_folder, place) = place();
        let (data, damaged) = (place.path(DATA), place.path(DAMAGED));
        let mut now = 1000;
        let mut fail = |room| {
            now += 6;
            note_failure(&place, now, room).unwrap()
        };
        for round in ["first", "second"] {
            std::fs::create_dir(&data).unwrap();
            std::fs::write(data.join(round), "").unwrap();
            assert_eq!(fail(ENOUGH_ROOM), "");
            assert_eq!(fail(ENOUGH_ROOM), "");
            assert!(data.exists());
            assert!(fail(ENOUGH_ROOM).contains("begins anew"));
            assert!(!data.exists() && damaged.join(round).exists());
            assert_eq!(std::fs::read_dir(&damaged).unwrap().count(), 1);
        }
        // Nothing there, or a full disk: nothing is lost by that.
        for _ in 0..9 {
            assert_eq!(fail(ENOUGH_ROOM), "");
        }
        std::fs::create_dir(&data).unwrap();
        for _ in 0..9 {
            assert_eq!(fail(0), "");
        }
        assert!(data.exists());
    }

    #[test]
    fn failures_now_and_then_are_none() {
        let (_folder, place) = place();
        std::fs::create_dir(place.path(DATA)).unwrap();
        for now in (0..20).map(|number| number * 40) {
            assert_eq!(note_failure(&place, now, ENOUGH_ROOM).unwrap(), "");
        }
    }

    #[test]
    fn the_key_stays_for_a_boot_and_goes_with_monitoring() {
        let (folder, place) = place();
        let settings = |more: &str| {
            let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\n{more}");
            let written = parse_settings(text.as_bytes()).unwrap();
            resolve_settings(&written).unwrap().settings
        };
        let read = || std::fs::read_to_string(folder.path().join("run/mailimg/store-key"));
        configure(&place, &settings("")).unwrap();
        let key = read().unwrap();
        assert_eq!(key.len(), 32);
        configure(&place, &settings("")).unwrap();
        assert_eq!(read().unwrap(), key);
        configure(&place, &settings("METRICS=false\n")).unwrap();
        assert!(read().is_err());
    }
}
