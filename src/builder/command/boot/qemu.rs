//! QEMU itself: where it is, its version, and how its options are written.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::error::hinted;

/// The program's name on every distribution we know.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// A release of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
}

/// Reads `QEMU emulator version 7.2.22 (Debian …)`.
pub fn parse_version(text: &str) -> Option<Version> {
    let number = text.lines().next()?.split("version ").nth(1)?;
    let mut parts = number.split(|character: char| !character.is_ascii_digit());
    Some(Version {
        major: parts.next()?.parse().ok()?,
        minor: parts.next()?.parse().ok()?,
    })
}

/// An installed QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    /// Words before QEMU's own options: a loader and its program, in tests.
    prefix: Vec<String>,
    version: Version,
}

impl Qemu {
    /// Finds QEMU on `PATH`.
    pub fn find() -> Result<Self> {
        let program = find_program(PROGRAM).ok_or_else(|| {
            hinted(
                format!("starting a machine: {PROGRAM} is not installed"),
                "install it: `apt install qemu-system-x86 ovmf` on Debian and Ubuntu",
            )
        })?;
        Self::at(program, Vec::new())
    }

    /// Takes a given QEMU; `prefix` are the words before its own options.
    pub fn at(program: PathBuf, prefix: Vec<String>) -> Result<Self> {
        let output = Command::new(&program)
            .args(&prefix)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {}", program.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).with_context(|| {
            format!(
                "reading the version of {}: {:?}",
                program.display(),
                text.trim()
            )
        })?;
        Ok(Self {
            program,
            prefix,
            version,
        })
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// A command without default devices and without the host's configuration.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.prefix)
            .args(["-nodefaults", "-no-user-config"]);
        command
    }
}

/// Looks a program up on `PATH`, then in the folders of system programs.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// QEMU ends an option at a comma unless it is doubled.
pub fn escape_commas(text: &str) -> String {
    text.replace(',', ",,")
}

/// `key=` followed by a path as QEMU's option syntax wants it.
pub fn path_option(key: &str, path: &Path) -> String {
    format!("{key}={}", escape_commas(&path.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::{Version, escape_commas, find_program, parse_version};

    #[test]
    fn versions_of_distributions_are_read() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)";
        assert_eq!(parse_version(debian), Some(Version { major: 7, minor: 2 }));
        let plain = "QEMU emulator version 10.0.2\n";
        assert_eq!(
            parse_version(plain),
            Some(Version {
                major: 10,
                minor: 0
            })
        );
        assert_eq!(parse_version("command not found"), None);
    }

    #[test]
    fn commas_in_paths_survive() {
        assert_eq!(escape_commas("/tmp/a,b/disk"), "/tmp/a,,b/disk");
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-of-ours").is_none());
    }
}
