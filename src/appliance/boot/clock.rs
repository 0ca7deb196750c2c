//! `mailctl clock`: services go on when the clock was put back.
//!
//! A hardware clock in local time is hours ahead until NTP sets it, with all services
//! running already. Dovecot starts nothing for three minutes then
//! (<https://doc.dovecot.org/latest/core/admin/errors.html#time-moved-backwards>), Postfix
//! looks at waiting mail when its old time has come again
//! (<https://www.postfix.org/qmgr.8.html>), and Unbound keeps what it took for false as
//! long. Started anew they know one time only. A clock that is put forward ends waits
//! early, which harms nobody. Nothing is kept beyond /run: a boot knows no other clock.

use crate::appliance::machine::clock::{describe_span, seconds_at_power_on};
use crate::appliance::machine::files::{PUBLIC, ensure_file, read_optional};
use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::restart_unit;
use crate::appliance::services::SERVICES;
use anyhow::Result;

/// What the clock would have shown at power-on, in seconds, by what it showed last.
const NOTE: &str = "/run/mailimg/clock";

/// A smaller step back is waited out, in seconds: Dovecot's processes sleep as long
/// instead of ending, and Postfix is late by no more.
const WAITED_OUT: i64 = 5;

/// Starts services anew if the clock was put back since it was noted, notes how it stands,
/// and returns what to say.
pub fn follow_clock(place: &Place) -> Result<String> {
    let mut said = "The clock was not put back.".to_owned();
    // Set again meanwhile, it would start this for nothing: it runs already.
    while let Some(change) = find_change(place)? {
        if change.set_back > WAITED_OUT {
            said = format!(
                "The clock was put back by {}.",
                describe_span(change.set_back)
            );
            start_anew(place)?;
        }
        // Last, so that the next run makes up for one that was killed.
        let text = format!("{}\n", change.now);
        ensure_file(&place.path(NOTE), text.as_bytes(), PUBLIC, None)?;
    }
    Ok(said)
}

/// How the clock stands otherwise than it is noted.
struct Change {
    /// What is to be noted.
    now: i64,
    /// By how many seconds it was put back, negative when forward.
    set_back: i64,
}

/// Compares the clock with the note; absent when they agree.
fn find_change(place: &Place) -> Result<Option<Change>> {
    let now = seconds_at_power_on();
    let noted = read_optional(&place.path(NOTE))?.unwrap_or_default();
    // A note that cannot be read is none: the worst is a wait.
    let Ok(noted) = String::from_utf8_lossy(&noted).trim().parse::<i64>() else {
        return Ok(Some(Change { now, set_back: 0 }));
    };
    let set_back = noted.saturating_sub(now);
    // Both clocks are read one after the other.
    Ok((set_back.abs() > 1).then_some(Change { now, set_back }))
}

fn start_anew(place: &Place) -> Result<()> {
    let services = SERVICES.iter().filter(|service| service.waits_for_clock);
    for unit in services.filter_map(|service| service.daemon) {
        if place.is_machine() {
            restart_unit(unit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{NOTE, Place, WAITED_OUT, follow_clock, seconds_at_power_on};
    use anyhow::Result;
    use std::fs;

    /// What is said when the note is this far ahead of the clock.
    fn say_after(noted: impl FnOnce(i64) -> String) -> Result<String> {
        let root = tempfile::tempdir()?;
        let note = root.path().join(NOTE.trim_start_matches('/'));
        fs::create_dir_all(note.parent().expect("it lies in a folder"))?;
        fs::write(&note, noted(seconds_at_power_on()))?;
        let said = follow_clock(&Place::new(Some(root.path())))?;
        let kept: i64 = fs::read_to_string(&note)?.trim().parse()?;
        assert!((kept - seconds_at_power_on()).abs() <= 1, "{kept}");
        Ok(said)
    }

    #[test]
    fn only_a_clock_put_back_is_told() -> Result<()> {
        for (ahead, told) in [
            (0, "not put back"),
            (WAITED_OUT - 2, "not put back"),
            (WAITED_OUT + 2, "put back by 7 s"),
            (40 * 60 + 30, "put back by 40 minutes"),
            (13 * 3600 + 30, "put back by 13 hours"),
            (20 * 365 * 86_400 + 30, "put back by 7300 days"),
            (-2, "not put back"),
            (-13 * 3600, "not put back"),
            (-20 * 365 * 86_400, "not put back"),
        ] {
            let said = say_after(|now| format!("{}\n", now + ahead))?;
            assert!(said.contains(told), "{ahead}: {said}");
        }
        Ok(())
    }

    #[test]
    fn a_note_that_is_missing_or_torn_is_written() -> Result<()> {
        for torn in ["", "\0\0\0", "17 hours", "99999999999999999999999"] {
            let said = say_after(|_| torn.to_owned())?;
            assert!(said.contains("not put back"), "{torn:?}: {said}");
        }
        Ok(())
    }
}
