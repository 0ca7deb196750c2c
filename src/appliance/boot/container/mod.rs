//! The first process of a container: looks whether systemd can run there, and becomes it.
//!
//! An engine starts `/sbin/init`, which is `mailctl` by another name in an image for
//! containers. What systemd expects of an engine is written at
//! <https://systemd.io/CONTAINER_INTERFACE/>; where something is missing, systemd stops with
//! words that help nobody, so it is said here what to add to the command ([`engine`]).
//! Settings come as credentials as on a machine ([`settings`]), and what systemd writes to
//! its console goes to the engine's log ([`console`]); what units of a machine would
//! have noted of clock and names is noted for them ([`host`]).

mod console;
mod engine;
mod host;
mod machine_id;
mod settings;

pub use self::console::copy_console;

use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use self::machine_id::ensure_machine_id;
use crate::appliance::machine::files::{check_state, ensure_folder};
use crate::appliance::machine::place::{self, Place};

/// What the program is called as a container's first process.
const NAME: &str = "init";
/// What it becomes.
const SYSTEMD: &str = "/usr/lib/systemd/systemd";
/// What engines tell systemd, which goes on to it; settings do not.
const KEPT_VARIABLES: [&str; 8] = [
    "PATH",
    "TERM",
    "container",
    "container_host_id",
    "container_ttys",
    "NOTIFY_SOCKET",
    "CREDENTIALS_DIRECTORY",
    "LANG",
];

/// Becomes systemd as the first process; what stopped that, or nothing when it is none.
pub fn become_first_process(place: &Place) -> Option<anyhow::Error> {
    let name = std::env::args_os().next()?;
    if Path::new(&name).file_name()? != NAME || std::process::id() != 1 {
        return None;
    }
    become_systemd(place).err()
}

fn become_systemd(place: &Place) -> Result<Infallible> {
    engine::check(place)?;
    // A volume of a newer image is left as it is.
    check_state(place)?;
    let identity = ensure_machine_id(place).context("giving the machine its own id")?;
    ensure_folder(&place.path(place::CONTAINER), 0o755, None)?;
    let credentials = settings::hand_over(place).context("taking settings from the engine")?;
    host::stand_in(place)?;
    let has_console = console::connect(place).unwrap_or_else(|error| {
        tell!("systemd's console does not come to this log: {error:#}");
        false
    });

    let mut command = Command::new(SYSTEMD);
    command
        .args(["--show-status=error", "--log-target=journal"])
        .env_clear()
        .envs(
            std::env::vars_os()
                .filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name.as_os_str() == *kept)),
        )
        .env("container_uuid", identity);
    if !has_console {
        // A log shows no colours.
        command.env("TERM", "dumb");
    }
    if let Some(folder) = credentials {
        command.env("CREDENTIALS_DIRECTORY", folder);
    }
    Err(command.exec()).with_context(|| format!("starting {SYSTEMD}"))
}
