//! The firmware that starts an image: OVMF where distributions put it, or QEMU's own BIOS.
//!
//! OVMF is a pair: code, which is only read, and a store of variables, which
//! is the machine's own. Both must come from one build and have one size.
//! <https://github.com/tianocore/tianocore.github.io/wiki/OVMF>.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::qemu::path_option;
use crate::error::hinted;

/// Which firmware the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FirmwareKind {
    /// OVMF.
    Uefi,
    /// SeaBIOS, which comes with QEMU.
    Bios,
}

/// Code and variables, in order of preference; none of them enforces Secure Boot.
const UEFI_PAIRS: [(&str, &str); 11] = [
    // Debian, Ubuntu
    (
        "usr/share/OVMF/OVMF_CODE_4M.fd",
        "usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    ("usr/share/OVMF/OVMF_CODE.fd", "usr/share/OVMF/OVMF_VARS.fd"),
    // Fedora, CentOS
    (
        "usr/share/edk2/ovmf/OVMF_CODE.fd",
        "usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    // Arch
    (
        "usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "usr/share/edk2-ovmf/x64/OVMF_CODE.fd",
        "usr/share/edk2-ovmf/x64/OVMF_VARS.fd",
    ),
    // openSUSE
    (
        "usr/share/qemu/ovmf-x86_64-4m-code.bin",
        "usr/share/qemu/ovmf-x86_64-4m-vars.bin",
    ),
    (
        "usr/share/qemu/ovmf-x86_64-code.bin",
        "usr/share/qemu/ovmf-x86_64-vars.bin",
    ),
    // Gentoo
    (
        "usr/share/edk2/OvmfX64/OVMF_CODE.fd",
        "usr/share/edk2/OvmfX64/OVMF_VARS.fd",
    ),
    (
        "usr/share/edk2-ovmf/OVMF_CODE.fd",
        "usr/share/edk2-ovmf/OVMF_VARS.fd",
    ),
    // QEMU's own, also below /usr/local
    (
        "usr/share/qemu/edk2-x86_64-code.fd",
        "usr/share/qemu/edk2-i386-vars.fd",
    ),
    (
        "usr/local/share/qemu/edk2-x86_64-code.fd",
        "usr/local/share/qemu/edk2-i386-vars.fd",
    ),
];

/// A firmware that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// OVMF.
    Uefi {
        /// Code, only read.
        code: PathBuf,
        /// Empty variables, copied for each machine.
        variables: PathBuf,
    },
    /// SeaBIOS, which comes with QEMU.
    Bios,
}

impl Firmware {
    /// Finds OVMF below a root folder: `/`, or one with unpacked packages.
    pub fn find_uefi(root: &Path) -> Result<Self> {
        UEFI_PAIRS
            .iter()
            .map(|(code, variables)| (root.join(code), root.join(variables)))
            .find(|(code, variables)| code.is_file() && variables.is_file())
            .map(|(code, variables)| Self::Uefi { code, variables })
            .ok_or_else(|| {
                hinted(
                    "starting a machine under UEFI: OVMF is not installed",
                    "install it: `apt install ovmf` on Debian and Ubuntu, `edk2-ovmf` on Fedora and Arch",
                )
            })
    }

    /// QEMU's options; the machine's variables are kept in the folder.
    pub fn arguments(&self, folder: &Path) -> Result<Vec<String>> {
        let Self::Uefi { code, variables } = self else {
            return Ok(Vec::new());
        };
        let own = folder.join("variables.fd");
        // A restarted machine keeps its boot entries.
        if !own.exists() {
            // Read and write, since the package's file may be read-only.
            let empty = std::fs::read(variables)
                .with_context(|| format!("reading firmware variables {}", variables.display()))?;
            std::fs::write(&own, empty)
                .with_context(|| format!("writing firmware variables {}", own.display()))?;
        }
        Ok(vec![
            "-drive".to_owned(),
            format!(
                "if=pflash,unit=0,format=raw,readonly=on,{}",
                path_option("file", code)
            ),
            "-drive".to_owned(),
            format!("if=pflash,unit=1,format=raw,{}", path_option("file", &own)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::Firmware;

    #[test]
    fn a_pair_is_taken_only_whole() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/share/OVMF");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("OVMF_CODE_4M.fd"), "code").unwrap();
        std::fs::write(folder.join("OVMF_CODE.fd"), "old code").unwrap();
        std::fs::write(folder.join("OVMF_VARS.fd"), "old variables").unwrap();
        let found = Firmware::find_uefi(root.path()).unwrap();
        assert_eq!(
            found,
            Firmware::Uefi {
                code: folder.join("OVMF_CODE.fd"),
                variables: folder.join("OVMF_VARS.fd")
            }
        );
    }

    #[test]
    fn each_machine_has_its_own_variables() {
        let root = tempfile::tempdir().unwrap();
        let variables = root.path().join("vars.fd");
        std::fs::write(&variables, "empty").unwrap();
        let firmware = Firmware::Uefi {
            code: root.path().join("a,b.fd"),
            variables: variables.clone(),
        };
        let machine = tempfile::tempdir().unwrap();
        let arguments = firmware.arguments(machine.path()).unwrap();
        assert!(arguments[1].ends_with("a,,b.fd"), "{arguments:?}");
        std::fs::write(machine.path().join("variables.fd"), "entries").unwrap();
        firmware.arguments(machine.path()).unwrap();
        assert_eq!(
            std::fs::read_to_string(machine.path().join("variables.fd")).unwrap(),
            "entries"
        );
        assert_eq!(std::fs::read_to_string(&variables).unwrap(), "empty");
    }

    #[test]
    fn a_missing_firmware_names_the_package() {
        let root = tempfile::tempdir().unwrap();
        let text = crate::error::render(&Firmware::find_uefi(root.path()).unwrap_err());
        assert!(
            text.contains("hint: install it: `apt install ovmf`"),
            "{text}"
        );
    }
}
