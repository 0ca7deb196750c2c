//! Commands inside a machine, over ssh with a key made for the test.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::peers;
use super::process::run;

/// A key pair.
pub struct SshKey {
    folder: TempDir,
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
        Ok(Self { folder, public })
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
        peers::program("ssh")?
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
            .arg(format!("root@{machine}"))
            .arg(command)
            .stdin(std::process::Stdio::null())
            .output()
            .context("running ssh")
    }
}
