//! The OCI archive under real container engines, without emulation.
//!
//! An engine's own network would need bridges and rules of this side, so a container gets the
//! network namespace of a place that `engine.sh` makes, which is what `--network host` means
//! on a host. Everything else is as users start it. Under podman runc stands in for crun,
//! which wants to raise a limit that this side may not have (`RLIMIT_MEMLOCK`).

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
const SCRIPT: &str = include_str!("engine.sh");
/// What the script says last.
const READY: &str = "ready for an engine";
/// The controller that would count processes is taken on this side.
const CONFIGURATION: &str = "[containers]\npids_limit = 0\n[engine]\nruntime = \"runc\"\n";
/// Until a container serves; seconds, but the host may be busy.
pub const START_LIMIT: Duration = Duration::from_secs(180);
/// What a container is called.
const NAME: &str = "mail";

/// What docker has to be told for systemd, as the manual says it: nothing that podman does not
/// do by itself.
const DOCKER_OPTIONS: [&str; 8] = [
    "--cgroupns",
    "host",
    "--volume",
    "/sys/fs/cgroup:/sys/fs/cgroup",
    "--tmpfs",
    "/run",
    "--tmpfs",
    "/tmp",
];
/// Starts docker's daemon in the place: $1 is its folder. This side may raise no limits, which
/// the daemon would do for containers.
const DAEMON: &str = "\
mount -t tmpfs tmpfs /run
mkdir /run/lock
exec dockerd --data-root \"$1/docker\" --exec-root \"$1/run\" --pidfile \"$1/docker.pid\" \
    --host \"unix://$1/docker.sock\" --iptables=false --bridge=none \
    --default-ulimit \"nofile=$(ulimit -Hn):$(ulimit -Hn)\"";

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Podman,
    Docker,
}

/// A place with an engine's storage, and a volume for one container at a time.
pub struct Engine {
    kind: Kind,
    /// docker's, which starts containers for who asks.
    daemon: Option<Process>,
    process: Process,
    process_id: u32,
    folder: TempDir,
    groups: PathBuf,
    image: String,
    address: IpAddr,
}

impl Engine {
    /// A place with the archive that lies beside a raw image; nothing, and why, on a host that
    /// has none.
    pub fn with_archive_of(
        kind: Kind,
        image: &Path,
        volume: Option<&Path>,
    ) -> Result<Option<Self>> {
        let mut engine = match Self::start(kind, volume, 0) {
            Ok(engine) => engine,
            Err(error) => {
                println!("skipped: no containers here: {error:#}");
                return Ok(None);
            }
        };
        engine.load(&image.with_extension("oci.tar"))?;
        Ok(Some(engine))
    }

    /// Makes the place with a volume of its own or this one, and says what stopped a host that
    /// cannot give it.
    fn start(kind: Kind, volume: Option<&Path>, tap: u8) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("mailimg-engine-")
            .tempdir_in("/var/tmp")?;
        let log = folder.path().join("place.log");
        let own = folder.path().join("var.ext4");
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "engine.sh"])
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
        until("a place for an engine", START_LIMIT, || {
            process.check_running()?;
            Ok(std::fs::read_to_string(&log)?.contains(READY).then_some(()))
        })?;
        let groups = control_groups().context("finding control groups")?;
        let mut engine = Self {
            kind,
            daemon: None,
            process_id: process.id(),
            process,
            folder,
            groups,
            image: String::new(),
            address: machine_address(tap).into(),
        };
        match kind {
            Kind::Podman => {
                engine.file("containers.conf", CONFIGURATION)?;
            }
            Kind::Docker => engine.start_daemon()?,
        }
        Ok(engine)
    }

    fn start_daemon(&mut self) -> Result<()> {
        let folder = self.folder.path();
        let mut command = self.inside(&["unshare", "--mount", "sh", "-euc", DAEMON, "docker"]);
        command.arg(folder);
        let mut daemon = Process::start(&mut command, &folder.join("docker.log"))?;
        until("docker's daemon", START_LIMIT, || {
            daemon.check_running()?;
            Ok(self.output(&["info"])?.status.success().then_some(()))
        })?;
        self.daemon = Some(daemon);
        Ok(())
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

    /// A file of the test that the engine can be given.
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
        self.launch("--detach", "", self.needed(), options)
    }

    /// What a container says that does not start.
    pub fn refusal(&self, volume_options: &str, options: &[&str]) -> Result<String> {
        let refused = self.launch("--rm", volume_options, self.needed(), options);
        match refused {
            Ok(()) => bail!("it started with {volume_options} {options:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// What a container says that is started as any other.
    pub fn plain_refusal(&self) -> Result<String> {
        let plain: &[&str] = match self.kind {
            Kind::Podman => &["--systemd", "false"],
            Kind::Docker => &[],
        };
        match self.launch("--rm", "", &[], plain) {
            Ok(()) => bail!("it started with {plain:?}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }

    /// What the engine has to be told for systemd.
    fn needed(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Podman => &[],
            Kind::Docker => &DOCKER_OPTIONS,
        }
    }

    fn launch(
        &self,
        manner: &str,
        volume_options: &str,
        needed: &[&str],
        options: &[&str],
    ) -> Result<()> {
        let volume = format!(
            "{}:/var{volume_options}",
            self.folder.path().join("var").display()
        );
        let network = format!("ns:{}", self.folder.path().join("network").display());
        let mut arguments = vec!["run", manner, "--name", NAME, "--volume", &volume];
        match self.kind {
            // Limits of this side, which a container may not raise.
            Kind::Podman => arguments.extend(["--ulimit", "host", "--network", &network]),
            // Its daemon is there already.
            Kind::Docker => arguments.extend(["--network", "host"]),
        }
        arguments.extend(needed.iter().chain(options));
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
        self.stop()?;
        self.run(&["rm", NAME]).map(|_| ())
    }

    /// A shell command in the container; one that fails is an error with its output.
    pub fn shell(&self, command: &str) -> Result<String> {
        self.run(&["exec", NAME, "sh", "-c", command])
    }

    /// What `logs` prints.
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

    /// Runs the engine's program; a failure is an error with what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{:?} {} ended with {}:\n{text}{}",
                self.kind,
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    /// Runs the engine's program in the place, and returns whatever came of it.
    pub fn output(&self, arguments: &[&str]) -> Result<Output> {
        let folder = self.folder.path();
        let mut command = match self.kind {
            Kind::Podman => {
                let mut command = self.inside(&["podman", "--cgroup-manager", "cgroupfs"]);
                command
                    .env("CONTAINERS_CONF", folder.join("containers.conf"))
                    .arg("--root")
                    .arg(folder.join("storage"))
                    .arg("--runroot")
                    .arg(folder.join("run"));
                command
            }
            Kind::Docker => {
                let mut command = self.inside(&["docker"]);
                command
                    .arg("--host")
                    .arg(format!("unix://{}/docker.sock", folder.display()));
                command
            }
        };
        command
            .args(["--log-level", "error"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {:?}", self.kind))
    }

    /// A program in the place, with its control groups; docker's daemon in its network.
    fn inside(&self, program: &[&str]) -> Command {
        let name = self.folder.path().file_name().unwrap_or_default();
        let group = self.groups.join(name).join("cgroup.procs");
        let network = self.folder.path().join("network");
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "echo 0 > \"$1\"; shift; exec nsenter --mount --cgroup --target \"$@\"",
                "engine",
            ])
            .arg(group)
            .arg(self.process_id.to_string());
        if self.kind == Kind::Docker {
            command.arg(format!("--net={}", network.display()));
        }
        command.args(program);
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.log().unwrap_or_default());
        }
        let _ = match self.kind {
            Kind::Podman => self.output(&["rm", "--all", "--force", "--time", "0"]),
            Kind::Docker => self.output(&["rm", "--force", NAME]),
        };
        // A daemon that is told to ends its own daemon as well.
        if let Some(mut daemon) = self.daemon.take() {
            let _ = Command::new("kill").arg(daemon.id().to_string()).status();
            let _ = until("docker's end", START_LIMIT, || {
                Ok(daemon.has_ended()?.then_some(()))
            });
        }
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
