//! Ends what an account has open when its password changes or it goes.
//!
//! IMAP and managesieve: `doveadm kick`
//! (<https://doc.dovecot.org/2.4.1/core/man/doveadm-kick.1.html>). Submission:
//! the mail filter refuses sessions that are older than what the account's file in
//! [`place::REVOKED`] says, by a clock that nobody sets.

use crate::appliance::machine::clock::ticks;
use crate::appliance::machine::files::{PUBLIC, ensure_folder, write_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use anyhow::Result;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

/// Dovecot's list of sessions: without it none are open.
const ANVIL: &str = "/run/dovecot/anvil";

/// How much longer than to the next second a change takes to be felt: a password that was
/// looked up before is still being checked, the longer the more are checked at a time.
const MARGIN: Duration = Duration::from_secs(1);

/// Ends an account's sessions and returns what could not be done.
///
/// The change that makes them wrong is stored already: whatever fails here
/// must not look as if it were not.
pub fn end_sessions(place: &Place, address: &str) -> Vec<String> {
    if place.is_machine() {
        // Dovecot looks at the passwd-file once a second: until the next one it may still let
        // the old password in, and that session would outlive the kick.
        sleep(until_next_second());
    }
    let kick = || {
        if place.is_machine() {
            kick(address)
        } else {
            Ok(())
        }
    };
    [revoke(place, address), kick()]
        .into_iter()
        .filter_map(|result| result.err())
        .map(|error| {
            format!(
                "sessions of '{address}' may still be open: {error:#}; \
                 systemctl restart dovecot postfix ends all"
            )
        })
        .collect()
}

/// Waits until Dovecot has to look at the passwd-file again, which it does once a second:
/// somebody who logs in as soon as the account is there is no guesser.
pub fn await_next_look(place: &Place) {
    if place.is_machine() && Path::new(ANVIL).exists() {
        sleep(until_next_second() - MARGIN);
    }
}

fn until_next_second() -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_secs(1) - Duration::from_nanos(u64::from(now.subsec_nanos())) + MARGIN
}

fn revoke(place: &Place, address: &str) -> Result<()> {
    let folder = place.path(place::REVOKED);
    ensure_folder(&folder, 0o755, None)?;
    let now = ticks().to_string();
    write_file(&folder.join(address), now.as_bytes(), PUBLIC, None)
}

fn kick(address: &str) -> Result<()> {
    if !Path::new(ANVIL).exists() {
        return Ok(());
    }
    run_program("/usr/bin/doveadm", &["kick", address]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::end_sessions;
    use crate::appliance::machine::place::Place;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_says_when_and_is_readable_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = folder.path().join("run/mailimg/revoked/a@b.example");
        let time = || {
            assert!(end_sessions(&place, "a@b.example").is_empty());
            let text = std::fs::read_to_string(&path).unwrap();
            text.parse::<u128>().unwrap()
        };
        let first = time();
        assert!(time() > first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        std::fs::remove_dir_all(folder.path().join("run")).unwrap();
        std::fs::write(folder.path().join("run"), b"").unwrap();
        let warnings = end_sessions(&place, "a@b.example");
        assert!(warnings[0].starts_with("sessions of 'a@b.example' may still be open: making"));
    }
}
