//! A container: the image's own systemd on this side's kernel, in namespaces.
//!
//! It serves after seconds where an emulated machine needs more than a minute, and has
//! everything of the image but what starts it: boot loader, kernel, initrd and verity
//! are the business of tests with machines. Control groups count nothing in it when
//! their controllers are taken on this side, so no limit of memory or processors holds,
//! and its clock is this side's. The namespaces are made by `container.sh`; a host that
//! gives none (no cgroup2, a kernel without EROFS) has to take a machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mailimg::builder::command::boot::credentials::Credential;
use mailimg::format::gpt::{TYPE_ROOT, read_gpt};
use tempfile::TempDir;

use super::smtp::read_banner;
use super::ssh::SshKey;
use crate::world::network::{machine_address, machine_mac};
use crate::world::process::{Process, last_lines};
use crate::world::wait::until;

/// Makes the namespaces.
const SCRIPT: &str = include_str!("container.sh");
/// What the script says last.
const BEGUN: &str = "starting systemd";
/// Until it serves; seconds, but the host may be busy.
pub const START_LIMIT: Duration = Duration::from_secs(180);
/// A clean end stops every service first.
const END_LIMIT: Duration = Duration::from_secs(120);
/// How long one attempt to reach a port takes at most.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// A running container.
pub struct Container {
    process: Process,
    log: PathBuf,
    started: Instant,
    address: IpAddr,
    ended: bool,
    folder: TempDir,
}

impl Container {
    /// Starts the root of an image with these credentials, and a volume of its own or this one.
    pub fn start(
        image: &Path,
        credentials: &[Credential],
        volume: Option<&Path>,
        tap: u8,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailimg-container-")
            .tempdir_in("/var/tmp")?;
        let own = folder.path().join("var.ext4");
        let handed_over = folder.path().join("credentials");
        std::fs::create_dir(&handed_over)?;
        for credential in credentials {
            File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(handed_over.join(credential.name()))?
                .write_all(credential.value())?;
        }
        let table = read_gpt(&&File::open(image)?)?;
        let root = table
            .find(&TYPE_ROOT)
            .with_context(|| format!("looking for the root of {}", image.display()))?;
        let log = folder.path().join("console.log");
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "container.sh"])
            .arg(image)
            .arg(root.offset().to_string())
            .arg(folder.path())
            .arg(volume.unwrap_or(&own))
            .arg(format!("veth{tap}"))
            .arg(machine_mac(tap));
        let started = Instant::now();
        Ok(Self {
            process: Process::start(&mut command, &log)?,
            log,
            started,
            address: machine_address(tap).into(),
            ended: false,
            folder,
        })
    }

    /// Whether this host can run the image so: its systemd was reached, or the error is
    /// what stopped the script.
    pub fn is_possible(&mut self) -> Result<()> {
        until("the namespaces of a container", START_LIMIT, || {
            let begun = std::fs::read_to_string(&self.log)?.contains(BEGUN);
            if !begun {
                self.process.check_running()?;
            }
            Ok(begun.then_some(()))
        })
        .inspect_err(|_| self.ended = true)
    }

    /// Its address on IPv4.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Time since its start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Fails when it has ended.
    pub fn check_running(&mut self) -> Result<()> {
        self.process.check_running()
    }

    /// Waits until a server says something on a port.
    pub fn wait_for_banner(&mut self, port: u16) -> Result<String> {
        let target = SocketAddr::new(self.address, port);
        until(&format!("a banner on port {port}"), START_LIMIT, || {
            self.process.check_running()?;
            Ok(read_banner(target, ATTEMPT_LIMIT))
        })
    }

    /// Waits until ssh lets this key in.
    pub fn wait_for_ssh(&mut self, key: &SshKey) -> Result<()> {
        until("ssh", START_LIMIT, || {
            self.process.check_running()?;
            let output = key.output(self.address, "true")?;
            Ok(output.status.success().then_some(()))
        })
    }

    /// Switches it off from inside and waits for a clean end.
    pub fn power_off(mut self, key: &SshKey) -> Result<()> {
        // The connection may be cut before the command's status arrives.
        let _ = key.output(self.address, "systemctl poweroff")?;
        let started = Instant::now();
        // A container that switches itself off is ended by the kernel, by a signal.
        while self.process.check_running().is_ok() {
            if started.elapsed() > END_LIMIT {
                bail!(
                    "waited {} s for the end of a container",
                    END_LIMIT.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.ended = true;
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.process.kill();
        // Or its folder could not be removed.
        let _ = Command::new("umount")
            .arg(self.folder.path().join("network"))
            .status();
        if let Some(name) = self.folder.path().file_name() {
            remove_control_groups(name);
        }
        if !self.ended {
            eprintln!(
                "--- the container's last lines, {} s after its start ---\n{}\n---",
                self.age().as_secs(),
                last_lines(&self.log)
            );
        }
    }
}

/// Where this side has control groups of version 2.
pub fn control_groups() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).map(PathBuf::from))
}

/// Removes what a container leaves on the host once its processes are gone.
pub fn remove_control_groups(name: &OsStr) {
    let Some(groups) = control_groups() else {
        return;
    };
    // The kernel takes a moment to bury the processes.
    for _ in 0..50 {
        let removed = Command::new("find")
            .arg(groups.join(name))
            .args(["-depth", "-type", "d", "-delete"])
            .stderr(Stdio::null())
            .status();
        if removed.is_ok_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
