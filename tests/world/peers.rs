//! Where the programs come from that tests run against.
//!
//! `recipes/peers.toml` names them as Debian 13 has them; [`super::store`]
//! unpacks them, and they run by their own dynamic loader whatever the host's
//! C library. `MAILIMG_PEERS` names another folder, or `host` for what the
//! host has. What a machine runs on (QEMU, its firmware, ip, ssh) is the
//! host's unless the folder has it. Every lookup goes through [`program`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use mailimg::builder::command::boot::firmware::Firmware;
use mailimg::builder::command::boot::qemu::{self, Qemu, find_program};
use mailimg::error::hinted;

/// Names the folder with the unpacked packages, or says [`HOST`].
const FOLDER: &str = "MAILIMG_PEERS";
/// Means that nothing is to be unpacked.
const HOST: &str = "host";
/// Where programs lie in a Debian tree.
const PROGRAM_FOLDERS: [&str; 4] = ["usr/sbin", "usr/bin", "usr/lib/qemu", "usr/libexec/podman"];
/// The dynamic loader of amd64.
const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Where libraries lie in a Debian tree.
const LIBRARY_FOLDERS: [&str; 3] = [
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/x86_64-linux-gnu/systemd",
    "usr/lib",
];

/// A program and the words before its own arguments.
struct Located {
    program: PathBuf,
    prefix: Vec<String>,
}

/// Gets the packages before a network without a way out begins; returns the
/// environment variable and its value for the run inside.
pub fn prepare() -> Result<(&'static str, OsString)> {
    let value = match std::env::var_os(FOLDER) {
        Some(value) => value,
        None => super::store::ensure_unpacked()?.into_os_string(),
    };
    Ok((FOLDER, value))
}

/// The unpacked packages, if any.
fn folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER)
        .filter(|value| value != HOST)
        .map(PathBuf::from)
}

fn locate_in(root: &Path, name: &str) -> Option<Located> {
    PROGRAM_FOLDERS
        .iter()
        .map(|place| root.join(place).join(name))
        .find(|path| path.is_file())
        .map(|program| by_own_loader(root, &program))
}

fn locate(name: &str) -> Result<Located> {
    if let Some(located) = folder().and_then(|root| locate_in(&root, name)) {
        return Ok(located);
    }
    match find_program(name) {
        Some(program) => Ok(Located {
            program,
            prefix: Vec::new(),
        }),
        None => Err(hinted(
            format!("looking for {name}: neither in {FOLDER} nor installed"),
            "install what the tests need: `apt install qemu-system-x86 qemu-utils ovmf knot \
             knot-dnsutils bind9-dnsutils dnsmasq-base openssh-client iproute2`",
        )),
    }
}

fn by_own_loader(root: &Path, program: &Path) -> Located {
    let libraries: Vec<String> = LIBRARY_FOLDERS
        .iter()
        .map(|place| root.join(place).display().to_string())
        .collect();
    Located {
        program: root.join(LOADER),
        prefix: vec![
            "--library-path".to_owned(),
            libraries.join(":"),
            program.display().to_string(),
        ],
    }
}

/// A command of one of the peers.
pub fn program(name: &str) -> Result<Command> {
    let located = locate(name)?;
    let mut command = Command::new(located.program);
    command.args(located.prefix);
    Ok(command)
}

/// A command of one of the peers, for tests that need no network of their own.
pub fn fetched_program(name: &str) -> Result<Command> {
    let root = match folder() {
        Some(root) => root,
        None => super::store::ensure_unpacked()?,
    };
    let Some(located) = locate_in(&root, name) else {
        return program(name);
    };
    let mut command = Command::new(located.program);
    command.args(located.prefix);
    Ok(command)
}

/// QEMU, with the releases' differences known.
pub fn qemu() -> Result<Qemu> {
    let located = locate(qemu::PROGRAM)?;
    Qemu::at(located.program, located.prefix)
}

/// OVMF, from the unpacked packages or from the host.
pub fn uefi() -> Result<Firmware> {
    folder()
        .and_then(|root| Firmware::find_uefi(&root).ok())
        .map_or_else(|| Firmware::find_uefi(Path::new("/")), Ok)
}
