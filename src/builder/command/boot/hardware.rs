//! The machine that QEMU is to build.

use super::accelerator::Accelerator;
use super::qemu::Qemu;

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
        arguments.extend(accelerator.arguments(qemu.version()));
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
