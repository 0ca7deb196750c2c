//! QEMU itself: where it is, its version, and the machine it is to build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::accelerator::Accelerator;
use crate::error::hinted;

/// The program's name on every distribution we know.
pub const PROGRAM: &str = "qemu-system-x86_64";

/// First release whose emulated `cmpxchg16b` is sound with one thread a CPU.
///
/// Version 7.2 corrupts flags there and guests die of double faults.
const SOUND_CMPXCHG16B: Version = Version { major: 8, minor: 0 };

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
                "install it: `apt install qemu-system-x86 qemu-utils ovmf` on Debian and Ubuntu",
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

/// Size of a machine.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// Number of CPUs.
    pub cpus: u32,
}

impl Default for Hardware {
    /// A small VPS.
    fn default() -> Self {
        Self {
            memory_mib: 1024,
            cpus: 2,
        }
    }
}

impl Hardware {
    /// The machine, its CPUs, its memory and a source of randomness.
    pub fn arguments(self, qemu: &Qemu, accelerator: Accelerator) -> Vec<String> {
        let mut arguments = vec!["-machine".to_owned(), "q35".to_owned()];
        arguments.extend(accelerator.arguments(qemu.version));
        arguments.extend(
            [
                ("-smp", self.cpus.to_string()),
                ("-m", self.memory_mib.to_string()),
                ("-device", "virtio-rng-pci".to_owned()),
                ("-display", "none".to_owned()),
            ]
            .into_iter()
            .flat_map(|(key, value)| [key.to_owned(), value]),
        );
        arguments
    }
}

impl Accelerator {
    /// Accelerator and CPU model for a release of QEMU.
    ///
    /// Emulated, a CPU with little is a fast one: with `qemu64`, which has what Debian's
    /// amd64 asks for and not much more, the mail image boots in four fifths of the time
    /// that it takes with `max`.
    pub fn arguments(self, version: Version) -> [String; 4] {
        let (accelerator, cpu) = match self {
            Self::Kvm => ("kvm", "host"),
            Self::Tcg if version < SOUND_CMPXCHG16B => ("tcg,thread=multi", "qemu64,-cx16"),
            Self::Tcg => ("tcg,thread=multi", "qemu64"),
        };
        ["-accel", accelerator, "-cpu", cpu].map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::{Version, escape_commas, find_program, parse_version};
    use crate::command::boot::accelerator::Accelerator;

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
    fn old_emulation_goes_without_cmpxchg16b() {
        let text = |accelerator: Accelerator, major| {
            accelerator.arguments(Version { major, minor: 2 }).join(" ")
        };
        assert_eq!(
            text(Accelerator::Tcg, 7),
            "-accel tcg,thread=multi -cpu qemu64,-cx16"
        );
        assert_eq!(
            text(Accelerator::Tcg, 10),
            "-accel tcg,thread=multi -cpu qemu64"
        );
        assert_eq!(text(Accelerator::Kvm, 7), "-accel kvm -cpu host");
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
