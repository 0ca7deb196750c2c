//! Boot: settings came from a drive, and the boot was a good one.

use anyhow::{Result, ensure};

use super::super::cloud;
use super::Promise;
use super::world::World;

/// Containers see no drives.
pub const ON_A_MACHINE: &[Promise] = &[
    Promise {
        says: "settings on a config drive are taken; what is on other drives is told and left alone",
        check: config_drive,
    },
    Promise {
        says: "the kernel keeps track of 65536 connections, whatever its memory",
        check: tracked_connections,
    },
];

pub const PROMISES: &[Promise] = &[Promise {
    says: "after a first boot every unit has done what it should",
    check: good_boot,
}];

/// Of 8192, a stranger's made-up addresses would fill all within a minute.
fn tracked_connections(world: &World) -> Result<()> {
    let most = world.run("cat /proc/sys/net/netfilter/nf_conntrack_max")?;
    ensure!(most.trim() == "65536", "{most}");
    Ok(())
}

fn config_drive(world: &World) -> Result<()> {
    let said = world.run(
        "journalctl --no-pager -b -o cat -u mailimg-cloud.service; \
         grep -c config-drive /proc/mounts || true",
    )?;
    println!("{said}");
    ensure!(
        said.contains("Took settings from the drive labelled config-2."),
        "{said}"
    );
    ensure!(said.ends_with("\n0\n"), "a drive is still mounted: {said}");
    Ok(())
}

fn good_boot(world: &World) -> Result<()> {
    cloud::nothing_failed(world.address(), &world.key)
}
