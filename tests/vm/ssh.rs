//! Commands inside a machine, over ssh with a key made for the test.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::world::peers;
use crate::world::process::{Process, run};
use crate::world::wait::until;

/// Under emulation, on a busy host.
const LIMIT: Duration = Duration::from_secs(120);

/// A key pair.
///
/// Kept connections end with it.
pub struct SshKey {
    folder: TempDir,
    kept: Mutex<Option<Process>>,
    /// The line for `authorized_keys`.
    pub public: String,
}

impl SshKey {
    /// Makes an Ed25519 key.
    pub fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("key");
        run(peers::program("ssh-keygen")?
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"])
            .arg(&path))?;
        let public = std::fs::read_to_string(path.with_extension("pub"))?
            .trim()
            .to_owned();
        Ok(Self {
            folder,
            kept: Mutex::new(None),
            public,
        })
    }

    /// Keeps one connection for all commands from now on: under emulation a
    /// handshake takes longer than most commands.
    pub fn keep_connection(&self, machine: IpAddr) -> Result<()> {
        let mut master = self.ssh(machine)?;
        master.args(["-M", "-N"]);
        let process = Process::start(&mut master, &self.folder.path().join("master.log"))?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        until("a connection to keep", LIMIT, || {
            Ok(self.socket().exists().then_some(()))
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("connection")
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Runs a shell command as root; one that fails is an error with its output.
    pub fn run(&self, machine: IpAddr, command: &str) -> Result<String> {
        let output = self.output(machine, command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!(
                "{command:?} in the machine ended with {}:\n{text}{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(text)
    }

    /// Runs a shell command as root and returns whatever came of it; status
    /// 255 is ssh's own.
    pub fn output(&self, machine: IpAddr, command: &str) -> Result<Output> {
        self.ssh(machine)?
            .arg(command)
            .stdin(std::process::Stdio::null())
            .output()
            .context("running ssh")
    }

    /// The same for programs that call ssh themselves: its name and options.
    pub fn command_line(&self) -> Result<String> {
        let ssh = peers::program("ssh")?;
        let options = "BatchMode=yes ConnectTimeout=60 StrictHostKeyChecking=no \
                       UserKnownHostsFile=/dev/null GlobalKnownHostsFile=/dev/null LogLevel=ERROR";
        let options: Vec<String> = options
            .split(' ')
            .map(|option| format!("-o {option}"))
            .collect();
        Ok(format!(
            "{} -F none {} -i {}",
            ssh.get_program().display(),
            options.join(" "),
            self.path().display()
        ))
    }

    fn ssh(&self, machine: IpAddr) -> Result<Command> {
        let mut ssh = peers::program("ssh")?;
        ssh
            // No configuration, no host keys, no questions; a machine under
            // emulation is slow to shake hands.
            .args([
                "-F",
                "none",
                "-o",
                "BatchMode=yes",
                "-o",
                "ConnectTimeout=60",
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args([
                "-o",
                "GlobalKnownHostsFile=/dev/null",
                "-o",
                "LogLevel=ERROR",
                "-i",
            ])
            .arg(self.path())
            // A machine that ends without a word is noticed.
            .args([
                "-o",
                "ServerAliveInterval=15",
                "-o",
                "ServerAliveCountMax=4",
            ])
            .arg("-S")
            .arg(self.socket())
            .arg(format!("root@{machine}"));
        Ok(ssh)
    }
}
