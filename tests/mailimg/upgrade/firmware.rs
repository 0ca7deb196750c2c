//! What boot loaders do with a boot partition: which version starts, and what they write.
//!
//! systemd-boot sorts its entries and counts by renaming
//! (<https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT/>); GRUB runs our grub.cfg, which is
//! repeated here in its meaning.

use std::fs;
use std::path::Path;

use mailimg::format::boot_entry::{BootEntry, KERNELS};
use mailimg::format::grub::{Slot, Trial, parse_good, parse_trial, trial_file};
use mailimg::format::uki::{Described, describe};
use mailimg::format::version_order::compare_versions;

/// The firmware of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    Uefi,
    Bios,
}

/// Both.
pub const BOTH: [Firmware; 2] = [Firmware::Uefi, Firmware::Bios];

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// The kernel image.
    pub described: Described,
    /// All of it.
    pub kernel: Vec<u8>,
    /// Whether it uses up a try.
    pub counted: bool,
}

impl Firmware {
    /// Starts what comes first.
    pub fn start(self, esp: &Path) -> Started {
        match self {
            Self::Uefi => start_uefi(esp),
            Self::Bios => start_bios(esp),
        }
    }
}

/// Kernel images that a boot loader takes for such.
fn kernels(esp: &Path) -> Vec<(BootEntry, Described)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(esp.join(KERNELS)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = fs::read(esp.join(KERNELS).join(&name)).unwrap();
        if let (Some(entry), Ok(described)) = (BootEntry::parse(&name), describe(&bytes)) {
            found.push((entry, described));
        }
    }
    found
}

fn start_uefi(esp: &Path) -> Started {
    let mut kernels = kernels(esp);
    kernels.sort_by(|(one, first), (other, second)| {
        let exhausted = |entry: &BootEntry| entry.tries == Some(0);
        exhausted(one)
            .cmp(&exhausted(other))
            .then_with(|| first.image.cmp(&second.image))
            .then_with(|| compare_versions(&second.version, &first.version))
    });
    let (entry, described) = kernels.into_iter().next().expect("nothing starts");
    let path = |entry: &BootEntry| esp.join(KERNELS).join(entry.to_string());
    let kernel = fs::read(path(&entry)).unwrap();
    if let Some(tries) = entry.tries {
        let used = BootEntry {
            tries: Some(tries.saturating_sub(1)),
            tried: entry.tried + 1,
            ..entry.clone()
        };
        fs::rename(path(&entry), path(&used)).unwrap();
    }
    Started {
        described,
        kernel,
        counted: entry.tries.is_some(),
    }
}

fn start_bios(esp: &Path) -> Started {
    let read = |name: &str| fs::read(esp.join("grub").join(name)).unwrap_or_default();
    let mut slot = parse_good(&read("good.cfg")).unwrap_or('a');
    let mut counted = false;
    if let Some(trial) = parse_trial(&read("grubenv"))
        && (1..=3).contains(&trial.tries)
        && esp.join(format!("grub/{}.cfg", trial.slot)).exists()
    {
        let left = Trial {
            tries: trial.tries - 1,
            ..trial
        };
        fs::write(esp.join("grub/grubenv"), trial_file(Some(left))).unwrap();
        slot = trial.slot;
        counted = true;
    }
    let text = fs::read_to_string(esp.join(format!("grub/{slot}.cfg"))).unwrap();
    let slot = Slot::parse(&text).unwrap();
    // It looks for the file by every name that counting gives it; the last one stays.
    let mut names = BootEntry::all_names(&slot.stem);
    names.retain(|name| esp.join(KERNELS).join(name).exists());
    let name = names.last().expect("nothing starts");
    let read = |name: &String| fs::read(esp.join(KERNELS).join(name)).unwrap();
    let mut whole = read(name);
    // GRUB reads kernel and initrd by place, whatever the first sector says.
    if whole.starts_with(&[0; 2]) {
        let others = names.iter().map(read);
        let mut awake = others.filter(|other| !other.starts_with(&[0; 2]));
        let other = awake
            .next()
            .expect("a kernel image that is asleep was started");
        whole[..512].copy_from_slice(&other[..512]);
    }
    let expected = Slot::of_image(&slot.stem, &whole);
    assert_eq!(slot, expected.expect("half a kernel image was started"));
    Started {
        described: describe(&whole).unwrap(),
        kernel: whole,
        counted,
    }
}
