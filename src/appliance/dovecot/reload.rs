//! `mailctl dovecot-reload`: Dovecot takes its configuration anew, and is ready for a crowd.
//!
//! Its `auth` learns from the first worker how many there may be and opens more until then,
//! which its master cuts off: of people who log in together just then, some are told of a
//! temporary failure. So somebody who is nobody asks first. After a reload that question has
//! to reach the new `auth`: for a moment, on a busy machine for seconds, the old one still
//! answers at the same socket.
//! <https://doc.dovecot.org/2.4.1/core/man/doveadm-auth.1.html>

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::appliance::machine::program::run_program;

const DOVEADM: &str = "/usr/bin/doveadm";
/// What the process is called that is asked for passwords.
const AUTH: &str = "auth";
/// Until there is a new one; then Dovecot is in trouble that a question does not mend.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// Which Dovecot.
#[derive(Debug, clap::Args)]
pub struct ReloadOptions {
    /// Process of its master.
    main: u32,
}

/// Reloads Dovecot, and returns when the new `auth` was asked something.
pub fn reload(options: &ReloadOptions) -> Result<String> {
    let old = auth_processes(options.main)?;
    run_program(DOVEADM, &["reload"])?;
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        ask();
        let now = auth_processes(options.main)?;
        if !now.is_subset(&old) {
            // It was started for that question, or for one of somebody else at the same time.
            ask();
            return Ok("Dovecot has its configuration anew.".to_owned());
        }
        std::thread::sleep(PAUSE);
    }
    Ok("Dovecot has its configuration anew, and nobody was let in yet.".to_owned())
}

/// Asks for an account that nobody has; there is no answer that would help.
fn ask() {
    let arguments = ["10", DOVEADM, "auth", "lookup", "nobody@invalid"];
    let _ = run_program("/usr/bin/timeout", &arguments);
}

/// Children of Dovecot's master that answer for passwords.
fn auth_processes(main: u32) -> Result<BTreeSet<u32>> {
    let path = format!("/proc/{main}/task/{main}/children");
    let children = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let children = children.split_whitespace().filter_map(|id| id.parse().ok());
    Ok(children.filter(|id| name_of(*id) == AUTH).collect())
}

/// What a process is called; one that has ended has no name.
fn name_of(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{auth_processes, name_of};
    use std::process::{Command, Stdio};

    #[test]
    fn children_are_known_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("auth");
        std::os::unix::fs::symlink("/bin/sleep", &program).unwrap();
        let mut master = Command::new("/bin/sh")
            .args([
                "-c",
                "\"$1\" 60 & one=$!; sleep 60 & read end; kill $! $one",
                "sh",
            ])
            .arg(&program)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let found = loop {
            let found = auth_processes(master.id()).unwrap();
            if !found.is_empty() {
                break found;
            }
        };
        assert_eq!(found.len(), 1);
        assert!(found.iter().all(|id| name_of(*id) == "auth"));
        drop(master.stdin.take());
        master.wait().unwrap();
        assert!(auth_processes(master.id()).is_err());
    }
}
