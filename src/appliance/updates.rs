//! When this machine looks for updates by itself: UPDATE_SCHEDULE, and what came of it.
//!
//! A timer asks every few minutes whether the window is open. The machines of the world
//! begin at different times of it: chance has its first half, so that there is time for what
//! follows. What is done then is [`super::upgrade::scheduled`].

use super::machine::files::{
    PUBLIC, ensure_file, ensure_folder, read_optional, remove_file, write_file,
};
use super::machine::place::{self, Place};
use crate::settings::{Settings, Updates};
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What asks.
pub const TIMER: &str = "mailimg-upgrade.timer";
/// Exists when there is something to ask about.
const WANTED: &str = "/run/mailimg/updates-wanted";
/// What came of it.
const ATTEMPT: &str = "/var/lib/mailimg/upgrade-attempt.json";

/// Says whether there is a schedule.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let path = place.path(WANTED);
    match settings.updates.schedule {
        Some(_) => ensure_file(&path, b"", PUBLIC, None).map(|_| ()),
        None => remove_file(&path),
    }
}

/// Whether to look for updates now.
#[derive(Debug, PartialEq, Eq)]
pub enum Due {
    /// No; why.
    No(&'static str),
    /// In the window that began then.
    Since(i64),
}

/// Whether it is time, for a machine of that name.
pub fn is_due(updates: &Updates, hostname: &str, now: i64) -> Due {
    let Some(schedule) = &updates.schedule else {
        return Due::No("UPDATE_SCHEDULE is not set.");
    };
    match schedule.open_since(now, updates.window) {
        None => Due::No("The window is not open."),
        Some(start) if now < start + delay(hostname, start, updates.window / 2) => {
            Due::No("It begins later in this window.")
        }
        Some(start) => Due::Since(start),
    }
}

/// The same whenever it is asked for in one window, and another in the next.
fn delay(hostname: &str, start: i64, longest: i64) -> i64 {
    let digest = Sha256::digest(format!("{hostname} {start}"));
    let number = digest
        .iter()
        .take(6)
        .fold(0, |sum, byte| sum << 8 | i64::from(*byte));
    number % longest.max(1)
}

/// The last look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When its window began, seconds since 1970.
    pub window: i64,
    /// When it was.
    pub at: i64,
    /// What came of it, in a line.
    pub said: String,
    /// Whether nothing is left to do in this window.
    pub is_done: bool,
    /// What the owner was told last and still holds, so that it is told once.
    pub told: Option<String>,
}

impl Attempt {
    /// The last one.
    pub fn load(place: &Place) -> Result<Self> {
        let bytes = read_optional(&place.path(ATTEMPT))?;
        // What cannot be read is looked at anew.
        let attempt = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(attempt.unwrap_or_default())
    }

    /// Keeps it.
    pub fn save(&self, place: &Place) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("writing JSON")?;
        text.push('\n');
        ensure_folder(&place.path(place::STATE), 0o755, None)?;
        write_file(&place.path(ATTEMPT), text.as_bytes(), PUBLIC, None)
    }
}

/// What came of the last look, for a screen; nothing without a schedule.
pub fn describe(place: &Place, settings: &Settings) -> Option<String> {
    settings.updates.schedule.as_ref()?;
    let attempt = Attempt::load(place).ok()?;
    if attempt.at == 0 {
        return Some("not looked for yet".to_owned());
    }
    let time = Timestamp::from_second(attempt.at).ok()?;
    Some(format!("{time}: {}", attempt.said))
}

#[cfg(test)]
mod tests {
    use super::{Due, delay, is_due};
    use crate::settings::{Updates, parse_settings, resolve_settings};

    fn updates(more: &str) -> Updates {
        let text = format!(
            "DOMAIN=a.example\nHOSTNAME=mail.a.example\n\
             UPDATE_SOURCE=https://updates.example/mail/\n{more}"
        );
        let written = parse_settings(text.as_bytes()).unwrap();
        resolve_settings(&written).unwrap().settings.updates
    }

    #[test]
    fn it_is_due_once_chance_has_it_and_until_the_window_closes() {
        let updates = updates("UPDATE_SCHEDULE=03:00\nUPDATE_WINDOW=4h\n");
        let start = 20_000 * 86_400 + 3 * 3600;
        let begin = start + delay("mail.a.example", start, 7200);
        let due = |now| is_due(&updates, "mail.a.example", now);
        assert_eq!(due(start - 1), Due::No("The window is not open."));
        assert_eq!(due(begin - 1), Due::No("It begins later in this window."));
        for now in [begin, start + 7200, start + 4 * 3600 - 1] {
            assert_eq!(due(now), Due::Since(start));
        }
        assert_eq!(due(start + 4 * 3600), Due::No("The window is not open."));
    }

    #[test]
    fn machines_begin_at_different_times() {
        let delays = |name: usize| delay(&format!("mail{name}.example"), 86_400, 3600);
        let quarters = (0..400).map(|name| delays(name) / 900);
        for quarter in 0..4 {
            let count = quarters.clone().filter(|one| *one == quarter).count();
            assert!((60..140).contains(&count), "{count}");
        }
    }

    #[test]
    fn without_a_schedule_nothing_is_due() {
        let due = is_due(&updates(""), "mail.a.example", 0);
        assert_eq!(due, Due::No("UPDATE_SCHEDULE is not set."));
    }
}
