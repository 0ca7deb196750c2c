//! What a container engine must give systemd, and how to ask for it.
//!
//! podman gives all of it by itself to an image whose first process is `/sbin/init`
//! (podman-run(1), `--systemd`); docker has to be asked for each.

use anyhow::{Context, Result, anyhow};
use rustix::fs::{FsWord, StatVfsMountFlags, statfs, statvfs};

use crate::appliance::machine::place::Place;
use crate::error::Hint;

/// Numbers of file systems: <https://man7.org/linux/man-pages/man2/statfs.2.html>.
const CGROUP2: FsWord = 0x6367_7270;
const TMPFS: FsWord = 0x0102_1994;

const CONTROL_GROUPS: &str = "/sys/fs/cgroup";

/// Refuses what systemd would fail on, each with what to change.
pub fn check(place: &Place) -> Result<()> {
    let groups = place.path(CONTROL_GROUPS);
    let kind = statfs(&groups).with_context(|| format!("looking at {CONTROL_GROUPS}"))?;
    if kind.f_type != CGROUP2 {
        return Err(anyhow!(
            "{CONTROL_GROUPS} has no control groups of version 2"
        ))
        .hint("the host has to use them alone: boot it with systemd.unified_cgroup_hierarchy=1");
    }
    let flags = statvfs(&groups)
        .with_context(|| format!("looking at {CONTROL_GROUPS}"))?
        .f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Err(anyhow!(
            "{CONTROL_GROUPS} is read-only, and systemd keeps its services in there"
        ))
        .hint(DOCKER);
    }
    let run = statfs(place.path("/run")).context("looking at /run")?;
    if run.f_type != TMPFS {
        return Err(anyhow!(
            "/run is on a disk, and would keep what has to be gone after a restart"
        ))
        .hint(DOCKER);
    }
    let var = statvfs(place.path("/var")).context("looking at /var")?;
    if var.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(anyhow!("/var is read-only, and mail is kept there"))
            .hint("mount the volume without `:ro`");
    }
    Ok(())
}

/// What docker has to be told; the manual's page on containers has the whole command.
const DOCKER: &str = "podman does it by itself, at the latest with `--systemd=always`; docker wants \
     `--cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup --tmpfs /run --tmpfs /tmp`";
