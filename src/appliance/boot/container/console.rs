//! A console for systemd whose text goes to the engine's log.
//!
//! systemd and units that write to the console want a terminal at `/dev/console`, which
//! engines make only when they are asked for one (`podman run -t`). Without it a
//! pseudoterminal is made, and a child process copies what comes out of it to the standard
//! output of the container, as long as systemd lives.

use std::fs::File;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

use crate::appliance::machine::place::Place;

/// The terminal must not become that of the first process.
const NO_CONTROL: i32 = OFlags::NOCTTY.bits() as i32;
const CONSOLE: &str = "/dev/console";
/// The verb of the child.
const VERB: &str = "container-console";

/// Makes a console unless the engine did, and says whether it did.
pub fn connect(place: &Place) -> Result<bool> {
    let console = place.path(CONSOLE);
    if console.exists() {
        return Ok(true);
    }
    let terminal =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("asking for a terminal")?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?
        .into_string()
        .context("reading the terminal's name")?;
    drop(open_quiet(&name)?);
    // A link that leads nowhere is one of the container's life before.
    let _ = std::fs::remove_file(&console);
    symlink(&name, &console).with_context(|| format!("making {CONSOLE}"))?;
    Command::new("/proc/self/exe")
        .arg(VERB)
        .stdin(Stdio::from(terminal))
        .spawn()
        .context("starting what copies the console")?;
    Ok(false)
}

/// Copies what comes out of the terminal at standard input, until nobody can write to it.
pub fn copy_console() -> Result<String> {
    let terminal = std::io::stdin();
    let name = ptsname(&terminal, Vec::new())?
        .into_string()
        .context("reading the terminal's name")?;
    // While nobody has the other end open, reading would fail.
    let _held = open_quiet(&name)?;
    std::io::copy(&mut terminal.lock(), &mut std::io::stdout()).context("copying the console")?;
    Ok(String::new())
}

/// Opens the other end, for lines without carriage returns: a log is no screen.
fn open_quiet(name: &str) -> Result<File> {
    let open = || -> Result<File> {
        let terminal = File::options()
            .read(true)
            .write(true)
            .custom_flags(NO_CONTROL)
            .open(name)?;
        let mut modes = tcgetattr(&terminal)?;
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&terminal, OptionalActions::Now, &modes)?;
        Ok(terminal)
    };
    open().with_context(|| format!("setting up {name}"))
}
