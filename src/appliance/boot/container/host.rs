//! What the host does in place of units that a container has masked.
//!
//! Its clock is set by somebody else, so Unbound need not wait for timesyncd before it
//! insists on signatures. Its resolver, which engines name in `/etc/resolv.conf`, may strip
//! signatures or answer from a cache of its own; mail asks Unbound, as on a machine. That
//! file is the container's own, also where engines mount it.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::Result;
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

use crate::appliance::machine::clock::SYNCHRONIZED;
use crate::appliance::machine::files::{PUBLIC, ensure_folder, write_file};
use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;

const RESOLVER_FILE: &str = "/etc/resolv.conf";
/// What an image has there.
const OWN_RESOLVER: &str = include_str!("../../../../overlay/etc/resolv.conf");
const NFT: &str = "/usr/sbin/nft";
/// What a machine loads before it has a network.
const LOOPBACK_FILTER: &str = "/usr/share/mailimg/loopback.nft";
/// What differs for a unit in a container, and for all services.
const CONCLUSION: &str = "/run/systemd/system/mailimg-boot-complete.service.d";
const SERVICES: &str = "/run/systemd/system/service.d";

/// Notes all of it before systemd starts.
pub fn stand_in(place: &Place) -> Result<()> {
    let synchronized = place.path(SYNCHRONIZED);
    if let Some(folder) = synchronized.parent() {
        ensure_folder(folder, 0o755, None)?;
    }
    write_file(&synchronized, b"", PUBLIC, None)?;
    if let Err(error) = ask_unbound(place) {
        tell!("{RESOLVER_FILE} stays the engine's, which may cost DANE: {error}");
    }
    // Without the right to it the guard says nothing either: mailctl status does.
    if capability_is_in_bounding_set(CapabilitySet::NET_ADMIN).unwrap_or(false) {
        // A host whose kernel has no such filter has a mail server all the same.
        if let Err(error) = run_program(NFT, &["-f", LOOPBACK_FILTER]) {
            tell!("the port of users' filters is open to all services: {error:#}");
        }
    }
    // What a machine's consoles show goes to the log.
    let log = "[Service]\nStandardOutput=journal+console\n";
    write_drop_in(place, CONCLUSION, log)?;
    if !has_user_namespaces() {
        // Of all of a sandbox that an engine may forbid, systemd insists on this alone.
        write_drop_in(place, SERVICES, "[Service]\nPrivateUsers=no\n")?;
    }
    Ok(())
}

/// Writes into the file, since nothing can be renamed over a mount.
fn ask_unbound(place: &Place) -> std::io::Result<()> {
    let path = place.path(RESOLVER_FILE);
    if std::fs::read_to_string(&path).is_ok_and(|text| text == OWN_RESOLVER) {
        return Ok(());
    }
    File::create(&path)?.write_all(OWN_RESOLVER.as_bytes())
}

/// systemd.unit(5): files of the folder are read behind the unit's own.
fn write_drop_in(place: &Place, folder: &str, text: &str) -> Result<()> {
    let folder = place.path(folder);
    ensure_folder(&folder, 0o755, None)?;
    write_file(
        &folder.join("container.conf"),
        text.as_bytes(),
        PUBLIC,
        None,
    )
}

/// docker's filter of system calls forbids them.
fn has_user_namespaces() -> bool {
    let tried = Command::new("/usr/bin/unshare")
        .args(["--user", "/usr/bin/true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}
