//! Whether a guest really runs under KVM on this host.
//!
//! That `/dev/kvm` opens says little: inside some clouds KVM interprets guests
//! by its instruction emulator, firmware runs and a stock kernel dies. So a
//! tiny guest of ours is run. It is a firmware image that enters 64-bit mode,
//! multiplies two floating-point numbers (which KVM's emulator cannot do) and
//! ends QEMU with a status that nothing else gives. Mode switch: Intel SDM
//! volume 3, "Initializing IA-32e Mode"; the exit device: QEMU's
//! `isa-debug-exit`, which ends with `value * 2 + 1`.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::signals::{TemporaryFolder, run_program};
use super::qemu::{Qemu, Version};
use crate::error::Hint;

/// The device that stands for KVM.
const KVM_DEVICE: &str = "/dev/kvm";
/// First release whose emulated `cmpxchg16b` is sound with one thread a CPU.
///
/// Version 7.2 corrupts flags there and guests die of double faults.
const SOUND_CMPXCHG16B: Version = Version { major: 8, minor: 0 };
/// The CPU without KVM: x86-64-v2, AES and SHA, and nothing that is slow to emulate.
const EMULATED_CPU: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+sha-ni";
/// A guest that runs takes a tenth of this.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// QEMU maps a firmware image of this size below 1 MiB and below 4 GiB.
const ROM_BYTES: usize = 65536;
/// Where a CPU starts within the last 64 KiB.
const RESET_OFFSET: usize = 0xfff0;
/// `jmp 0xf000:0`, the beginning of the image as seen below 1 MiB.
const RESET_CODE: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];
/// Status of a probe that ran to its end: `0x2a * 2 + 1`.
const PROBE_STATUS: i32 = 85;

/// The probe guest, to be seen at physical address 0xf0000.
#[rustfmt::skip]
const PROBE_CODE: [u8; 142] = [
    // 16-bit: page tables that map the first 2 MiB onto themselves.
    0xfa,                                                 // cli
    0x31, 0xc0,                                           // xor ax, ax
    0x8e, 0xd8,                                           // mov ds, ax
    0x66, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0x00, 0x00, // mov dword [0x1000], 0x2003
    0x66, 0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, 0x00, 0x00, // mov dword [0x2000], 0x3003
    0x66, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0x00, 0x00, // mov dword [0x3000], 0x83
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x88, 0x00,             // lgdt cs:[0x88]
    // CR4: PAE, OSFXSR, OSXMMEXCPT.
    0x66, 0xb8, 0x20, 0x06, 0x00, 0x00,                   // mov eax, 0x620
    0x0f, 0x22, 0xe0,                                     // mov cr4, eax
    0x66, 0xb8, 0x00, 0x10, 0x00, 0x00,                   // mov eax, 0x1000
    0x0f, 0x22, 0xd8,                                     // mov cr3, eax
    // EFER: long mode enable.
    0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0,                   // mov ecx, 0xc0000080
    0x0f, 0x32,                                           // rdmsr
    0x66, 0x0d, 0x00, 0x01, 0x00, 0x00,                   // or eax, 0x100
    0x0f, 0x30,                                           // wrmsr
    // CR0: paging, extension type, protection.
    0x66, 0xb8, 0x11, 0x00, 0x00, 0x80,                   // mov eax, 0x80000011
    0x0f, 0x22, 0xc0,                                     // mov cr0, eax
    0x66, 0xea, 0x5a, 0x00, 0x0f, 0x00, 0x08, 0x00,       // jmp 0x08:0xf005a
    // 64-bit: 6.0 * 6.0 = 36.
    0xb8, 0x06, 0x00, 0x00, 0x00,                         // mov eax, 6
    0xf2, 0x0f, 0x2a, 0xc0,                               // cvtsi2sd xmm0, eax
    0xf2, 0x0f, 0x59, 0xc0,                               // mulsd xmm0, xmm0
    0xf2, 0x0f, 0x2c, 0xc0,                               // cvttsd2si eax, xmm0
    0x83, 0xf8, 0x24,                                     // cmp eax, 36
    0x75, 0x04,                                           // jne stop
    0xb0, 0x2a,                                           // mov al, 0x2a
    0xe6, 0xf4,                                           // out 0xf4, al
    0xf4,                                                 // stop: hlt
    0xeb, 0xfd,                                           // jmp stop
    0x90,                                                 // nop
    // Descriptors: none; 64-bit code, marked accessed since this is read-only.
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00,
    // For lgdt, at 0x88: 15, 0xf0078.
    0x0f, 0x00, 0x78, 0x00, 0x0f, 0x00,
];

/// What runs a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The CPU, through Linux.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum AcceleratorChoice {
    /// KVM where a guest really runs under it, else emulation.
    Auto,
    /// KVM, the CPU itself.
    Kvm,
    /// QEMU's emulation: works everywhere, slowly.
    Tcg,
}

impl Accelerator {
    /// Accelerator and CPU model for a release of QEMU.
    ///
    /// Emulated, a plain CPU is a fast one: with what Debian's amd64 asks for and the
    /// instructions of cryptography, the mail image boots in five sixths of the time
    /// that it takes with `max`.
    pub fn arguments(self, version: Version) -> [String; 4] {
        let (accelerator, cpu) = match self {
            Self::Kvm => ("kvm", "host".to_owned()),
            Self::Tcg if version < SOUND_CMPXCHG16B => {
                ("tcg,thread=multi", format!("{EMULATED_CPU},-cx16"))
            }
            Self::Tcg => ("tcg,thread=multi", EMULATED_CPU.to_owned()),
        };
        [
            "-accel".to_owned(),
            accelerator.to_owned(),
            "-cpu".to_owned(),
            cpu,
        ]
    }
}

/// An accelerator and why it was taken.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The accelerator.
    pub accelerator: Accelerator,
    /// Why KVM was passed over.
    pub reason: Option<String>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.accelerator {
            Accelerator::Kvm => write!(formatter, "kvm")?,
            Accelerator::Tcg => write!(formatter, "tcg, slow")?,
        }
        match &self.reason {
            Some(reason) => write!(formatter, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// Settles the accelerator; `auto` takes at most a few seconds.
pub fn choose(choice: AcceleratorChoice, qemu: &Qemu) -> Result<Chosen> {
    let plain = |accelerator| Chosen {
        accelerator,
        reason: None,
    };
    match choice {
        AcceleratorChoice::Tcg => Ok(plain(Accelerator::Tcg)),
        AcceleratorChoice::Kvm => {
            open_kvm()
                .with_context(|| format!("opening {KVM_DEVICE}"))
                .hint("join the group that owns it (`adduser $USER kvm`), or use `--accel tcg`")?;
            Ok(plain(Accelerator::Kvm))
        }
        AcceleratorChoice::Auto => {
            if let Err(error) = open_kvm() {
                let reason = Some(format!("{KVM_DEVICE}: {error}"));
                return Ok(Chosen {
                    accelerator: Accelerator::Tcg,
                    reason,
                });
            }
            // A probe that cannot be made counts as a no: emulation always works.
            if probe(qemu, Accelerator::Kvm, PROBE_LIMIT).unwrap_or(false) {
                Ok(plain(Accelerator::Kvm))
            } else {
                let reason = Some(format!("{KVM_DEVICE} opens but runs no ordinary guest"));
                Ok(Chosen {
                    accelerator: Accelerator::Tcg,
                    reason,
                })
            }
        }
    }
}

fn open_kvm() -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(KVM_DEVICE)
}

/// Whether the probe guest runs to its end within the limit.
pub fn probe(qemu: &Qemu, accelerator: Accelerator, limit: Duration) -> Result<bool> {
    let folder = TemporaryFolder::make(|| tempfile::TempDir::with_prefix("mailimg-probe-"))
        .context("making the probe guest")?;
    let rom = folder.path().join("rom");
    std::fs::write(&rom, probe_rom()).context("writing the probe guest")?;
    let mut command = qemu.command();
    command
        .args([
            "-machine",
            "q35",
            "-m",
            "16",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(accelerator.arguments(qemu.version()))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(&rom)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let status = run_program(&mut command, Some(limit))?;
    Ok(status.and_then(|status| status.code()) == Some(PROBE_STATUS))
}

fn probe_rom() -> Vec<u8> {
    let mut rom = vec![0; ROM_BYTES];
    rom[..PROBE_CODE.len()].copy_from_slice(&PROBE_CODE);
    rom[RESET_OFFSET..RESET_OFFSET + RESET_CODE.len()].copy_from_slice(&RESET_CODE);
    rom
}

#[cfg(test)]
mod tests {
    use super::{Accelerator, Chosen, EMULATED_CPU, probe, probe_rom};
    use crate::builder::command::boot::qemu::{Qemu, Version};
    use std::time::Duration;

    #[test]
    fn the_probe_starts_where_a_cpu_does() {
        let rom = probe_rom();
        assert_eq!(rom.len(), 65536);
        assert_eq!(rom[0xfff0..0xfff5], [0xea, 0, 0, 0, 0xf0]);
        // The far jump's target is the first 64-bit instruction, `mov eax, 6`.
        assert_eq!(rom[0x5a..0x5f], [0xb8, 6, 0, 0, 0]);
    }

    #[test]
    fn the_probe_runs_under_emulation() {
        let Ok(qemu) = Qemu::find() else {
            tell!("skipped: QEMU is not installed");
            return;
        };
        // Generous: the machine that runs the tests may be busy.
        assert!(probe(&qemu, Accelerator::Tcg, Duration::from_secs(60)).unwrap());
    }

    #[test]
    fn old_emulation_goes_without_cmpxchg16b() {
        let text = |accelerator: Accelerator, major| {
            accelerator.arguments(Version { major, minor: 2 }).join(" ")
        };
        assert_eq!(
            text(Accelerator::Tcg, 7),
            format!("-accel tcg,thread=multi -cpu {EMULATED_CPU},-cx16")
        );
        assert_eq!(
            text(Accelerator::Tcg, 10),
            format!("-accel tcg,thread=multi -cpu {EMULATED_CPU}")
        );
        assert_eq!(text(Accelerator::Kvm, 7), "-accel kvm -cpu host");
    }

    #[test]
    fn the_choice_reads_with_its_reason() {
        let chosen = Chosen {
            accelerator: Accelerator::Tcg,
            reason: Some("no KVM".to_owned()),
        };
        assert_eq!(chosen.to_string(), "tcg, slow (no KVM)");
    }
}
