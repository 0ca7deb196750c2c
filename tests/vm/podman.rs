//! The OCI archive under the real podman, without emulation.
//!
//! podman's own network would need bridges and rules of this side, so a container gets the
//! network namespace of a place that `podman.sh` makes, which is what `--network host` means
//! on a host. Everything else is as users start it. runc stands in for crun, which wants
//! to raise a limit that this side may not have (`RLIMIT_MEMLOCK`).

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::container::{control_groups, remove_control_groups};
use super::smtp::read_banner;
use crate::world::network::{GATEWAY, GATEWAY6, machine_address, machine_address6, machine_mac};
use crate::world::process::{Process, last_lines};
use crate::world::wait::until;

/// Makes the place.
const SCRIPT: &str = include_str!("podman.sh");
/// What the script says last.
const READY: &str = "ready for podman";
/// The controller that would count processes is taken on this side.
const CONFIGURATION: &str = "[containers]\npids_limit = 0\n[engine]\nruntime = \"runc\"\n";
/// Until a container serves; seconds, but the host may be busy.
pub const START_LIMIT: Duration = Duration::from_secs(180);
/// What a container is called.
const NAME: &str = "mail";

/// A place with podman's storage, and a volume for one container at a time.
pub struct Podman {
    process: Process,
    process_id: u32,
    folder: TempDir,
    groups: PathBuf,
    image: String,
    address: IpAddr,
}

impl Podman {
    /// A place with the archive that lies beside a raw image; nothing, and why, on a host that
    /// has none.
    pub fn with_archive_of(image: &Path, volume: Option<&Path>) -> Result<Option<Self>> {
        let mut podman = match Self::start(volume, 0) {
            Ok(podman) => podman,
            Err(error) => {
                println!("skipped: no containers here: {error:#}");
                return Ok(None);
            }
        };
        podman.load(&image.with_extension("oci.tar"))?;
        Ok(Some(podman))
    }

    /// Makes the place with a volume of its own or this one, and says what stopped a host that
    /// cannot give it.
    fn start(volume: Option<&Path>, tap: u8) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailimg-podman-")
            .tempdir_in("/var/tmp")?;
        let log = folder.path().join("place.log");
        let own = folder.path().join("var.ext4");
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "podman.sh"])
            .arg(folder.path())
            .arg(volume.unwrap_or(&own))
            .args([
                format!("veth{tap}"),
                machine_mac(tap),
                machine_address(tap).to_string(),
                GATEWAY.to_string(),
                machine_address6(tap).to_string(),
                GATEWAY6.to_string(),
            ]);
        let mut process = Process::start(&mut command, &log)?;
        until("a place for podman", START_LIMIT, || {
            process.check_running()?;
            Ok(std::fs::read_to_string(&log)?.contains(READY).then_some(()))
        })?;
        let groups = control_groups().context("finding control groups")?;
        let podman = Self {
            process_id: process.id(),
            process,
            folder,
            groups,
            image: String::new(),
            address: machine_address(tap).into(),
        };
        podman.file("containers.conf", CONFIGURATION)?;
        Ok(podman)
    }

    /// Loads the archive that containers are made of.
    fn load(&mut self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("reading the archive's name")?;
        let said = self.run(&["load", "--quiet", "--input", archive])?;
        let image = said.trim().rsplit(' ').next().unwrap_or_default();
        image.clone_into(&mut self.image);
        Ok(())
    }

    /// Where containers are reached.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// A file of the test that podman can be given.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.folder.path().join(name);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Starts a container of the image on the volume, with more options.
    pub fn create(&self, options: &[&str]) -> Result<()> {
        self.launch("--detach", "", options)
    }

    /// What a container says that does not start.
    pub fn refusal(&self, volume_options: &str, options: &[&str]) -> Result<String> {
        let refused = self.launch("--rm", volume_options, options);
        match refused {
            Ok(()) => bail!("it started with {volume_options} {options:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    fn launch(&self, manner: &str, volume_options: &str, options: &[&str]) -> Result<()> {
        let volume = format!(
            "{}:/var{volume_options}",
            self.folder.path().join("var").display()
        );
        let network = format!("ns:{}", self.folder.path().join("network").display());
        let mut arguments = vec!["run", manner, "--name", NAME];
        // Those of this side, which a container may not raise.
        arguments.extend([
            "--ulimit",
            "host",
            "--network",
            &network,
            "--volume",
            &volume,
        ]);
        arguments.extend(options);
        arguments.push(&self.image);
        self.run(&arguments).map(|_| ())
    }

    /// Fails when the container has ended.
    pub fn check_running(&self) -> Result<()> {
        let state = self.run(&[
            "container",
            "inspect",
            "--format",
            "{{.State.Status}}",
            NAME,
        ])?;
        if state.trim() != "running" {
            bail!("the container is {}:\n{}", state.trim(), self.log()?);
        }
        Ok(())
    }

    /// Stops the container as its host does, and says how long it took.
    pub fn stop(&self) -> Result<Duration> {
        let began = Instant::now();
        self.run(&["stop", "--time", "60", NAME])?;
        Ok(began.elapsed())
    }

    /// Stops the container and throws it away; the volume stays.
    pub fn remove(&self) -> Result<()> {
        self.run(&["rm", "--force", "--time", "60", NAME])
            .map(|_| ())
    }

    /// A shell command in the container; one that fails is an error with its output.
    pub fn shell(&self, command: &str) -> Result<String> {
        self.run(&["exec", NAME, "sh", "-c", command])
    }

    /// What `podman logs` prints.
    pub fn log(&self) -> Result<String> {
        let output = self.output(&["logs", NAME])?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr))
    }

    /// Waits until a server says something on a port.
    pub fn wait_for_banner(&self, port: u16) -> Result<String> {
        let target = (self.address, port).into();
        until(&format!("a banner on port {port}"), START_LIMIT, || {
            Ok(read_banner(target, Duration::from_secs(10)))
        })
        .with_context(|| self.log().unwrap_or_default())
    }

    /// Runs podman; a failure is an error with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "podman {} ended with {}:\n{text}{}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    /// Runs podman in the place, and returns whatever came of it.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let name = self.folder.path().file_name().unwrap_or_default();
        let group = self.groups.join(name).join("cgroup.procs");
        Command::new("sh")
            .args([
                "-c",
                "echo 0 > \"$1\"; shift; exec nsenter --mount --cgroup --target \"$@\"",
                "podman",
            ])
            .arg(group)
            .arg(self.process_id.to_string())
            .arg("podman")
            .env(
                "CONTAINERS_CONF",
                self.folder.path().join("containers.conf"),
            )
            .arg("--root")
            .arg(self.folder.path().join("storage"))
            .arg("--runroot")
            .arg(self.folder.path().join("run"))
            .args(["--cgroup-manager", "cgroupfs", "--log-level", "error"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .context("running podman")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log().unwrap_or_default());
        }
        let _ = self.output(&["rm", "--all", "--force", "--time", "0"]);
        let _ = self.process.kill();
        let _ = Command::new("umount")
            .arg(self.folder.path().join("network"))
            .status();
        if let Some(name) = self.folder.path().file_name() {
            remove_control_groups(name);
        }
        let log = last_lines(&self.folder.path().join("place.log"));
        if !log.ends_with(READY) {
            println!("{log}");
        }
    }
}
