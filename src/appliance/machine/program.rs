//! Programs of the image that mailctl starts, each named here.

use crate::error::Hint;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where units lie; the root is read-only, so nobody else adds any.
const UNIT_FOLDERS: [&str; 2] = ["/usr/lib/systemd/system", "/etc/systemd/system"];

/// Runs a program to its end and returns what it printed; the error has what it complained of.
pub fn run_program<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {program}"))
        .hint("the image is incomplete, or this is not the machine itself")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim();
        bail!(
            "{program} failed with {}{}{said}",
            output.status,
            if said.is_empty() { "" } else { ": " }
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Asks systemd to take a unit's new configuration into use, if it runs, and goes on.
pub fn reload_unit(unit: &str) -> Result<()> {
    ask_systemd(&["--no-block", "try-reload-or-restart"], unit)
}

/// The same, and waits until it is in use or the unit has failed, which is an error; never
/// called by a unit's program, since waiting for a job that waits for the caller would hang.
pub fn reload_unit_and_wait(unit: &str) -> Result<()> {
    ask_systemd(&["try-reload-or-restart"], unit)
}

/// Asks systemd to start a unit, if it does not run.
pub fn start_unit(unit: &str) -> Result<()> {
    ask_systemd(&["--no-block", "start"], unit)
}

/// The same, and waits until it has started, which is the end of a oneshot service, or has
/// failed, which is an error; never for a unit that waits for the caller's.
pub fn start_unit_and_wait(unit: &str) -> Result<()> {
    ask_systemd(&["start"], unit)
}

/// Asks systemd to start a unit anew, if it runs.
pub fn restart_unit(unit: &str) -> Result<()> {
    ask_systemd(&["--no-block", "try-restart"], unit)
}

/// Asks systemd to stop a unit.
pub fn stop_unit(unit: &str) -> Result<()> {
    ask_systemd(&["--no-block", "stop"], unit)
}

/// What systemd says of a unit: `active`, `activating`, `inactive`, `failed`...
pub fn unit_state(unit: &str) -> Result<String> {
    let arguments = ["show", "--property=ActiveState", "--value", unit];
    run_program("/usr/bin/systemctl", &arguments).map(|text| text.trim().to_owned())
}

fn ask_systemd(words: &[&str], unit: &str) -> Result<()> {
    // sd_booted(3): without systemd there is nobody to ask and nothing that runs.
    if !Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    // A recipe may leave a service out, and a container masks what is its host's.
    let paths = UNIT_FOLDERS.map(|folder| Path::new(folder).join(unit));
    let is_masked = |path: &PathBuf| {
        path.read_link()
            .is_ok_and(|to| to == Path::new("/dev/null"))
    };
    if paths.iter().any(is_masked) || !paths.iter().any(|path| path.exists()) {
        return Ok(());
    }
    run_program("/usr/bin/systemctl", &[words, &[unit]].concat()).map(|_| ())
}
