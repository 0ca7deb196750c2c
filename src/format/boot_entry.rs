//! Names of unified kernel images on the boot partition, with the tries they have left.
//!
//! `mail_1.0.0+3.efi` has three tries, `mail_1.0.0+2-1.efi` two and has used one; without a
//! counter it is good. The boot loader counts by renaming, and takes one without tries only
//! when there is no other: <https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT/>.

use std::fmt;

/// Folder of the unified kernel images on the boot partition.
pub const KERNELS: &str = "EFI/Linux";
/// The boot loader where firmware looks for it, and where it calls itself so.
pub const LOADERS: [&str; 2] = ["EFI/BOOT/BOOTX64.EFI", "EFI/systemd/systemd-bootx64.efi"];
/// How often a version on trial is started before the old one comes back.
pub const TRIES: u32 = 3;
/// What the names end with.
const EXTENSION: &str = ".efi";

/// Whether a text can be name or version of an image, and so a part of names of files and of
/// labels: letters, digits, `.` and `-`, and one of the first two at its beginning.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|one| one.is_ascii_alphanumeric() || matches!(one, '.' | '-'))
}

/// A name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEntry {
    /// Recipe and version, as `mail_1.0.0`.
    pub stem: String,
    /// How often it may still be tried; nothing for one that is good.
    pub tries: Option<u32>,
    /// How often it was tried.
    pub tried: u32,
}

impl BootEntry {
    /// One that is good.
    pub fn good(stem: &str) -> Self {
        Self {
            stem: stem.to_owned(),
            tries: None,
            tried: 0,
        }
    }

    /// One on trial.
    pub fn on_trial(stem: &str) -> Self {
        Self {
            tries: Some(TRIES),
            ..Self::good(stem)
        }
    }

    /// One that is good but only started when nothing else is.
    pub fn set_aside(stem: &str) -> Self {
        Self {
            tries: Some(0),
            ..Self::good(stem)
        }
    }

    /// Reads a file's name; nothing when it is not that of a kernel image.
    pub fn parse(name: &str) -> Option<Self> {
        let at = name.len().checked_sub(EXTENSION.len())?;
        let (name, extension) = name.split_at_checked(at)?;
        if !extension.eq_ignore_ascii_case(EXTENSION) {
            return None;
        }
        let counted = name.rsplit_once('+').and_then(|(stem, counter)| {
            let (tries, tried) = counter.split_once('-').unwrap_or((counter, "0"));
            Some(Self {
                stem: stem.to_owned(),
                tries: Some(number(tries)?),
                tried: number(tried)?,
            })
        });
        Some(counted.unwrap_or_else(|| Self::good(name)))
    }

    /// Every name that an image of this stem has in its life, the usual one first.
    pub fn all_names(stem: &str) -> Vec<String> {
        let trials = (0..=TRIES).map(|tried| Self {
            tries: Some(TRIES - tried),
            tried,
            ..Self::good(stem)
        });
        // One that is set aside is counted when nothing else starts.
        let aside = (0..TRIES).map(|tried| Self {
            tried,
            ..Self::set_aside(stem)
        });
        [Self::good(stem)]
            .into_iter()
            .chain(trials)
            .chain(aside)
            .map(|entry| entry.to_string())
            .collect()
    }
}

impl fmt::Display for BootEntry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.stem)?;
        if let Some(tries) = self.tries {
            write!(formatter, "+{tries}")?;
        }
        if self.tried > 0 {
            write!(formatter, "-{}", self.tried)?;
        }
        formatter.write_str(EXTENSION)
    }
}

fn number(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::BootEntry;

    #[test]
    fn names_are_read_and_written() {
        let names = BootEntry::all_names("mail_1.0.0-2");
        assert_eq!(
            names,
            [
                "mail_1.0.0-2.efi",
                "mail_1.0.0-2+3.efi",
                "mail_1.0.0-2+2-1.efi",
                "mail_1.0.0-2+1-2.efi",
                "mail_1.0.0-2+0-3.efi",
                "mail_1.0.0-2+0.efi",
                "mail_1.0.0-2+0-1.efi",
                "mail_1.0.0-2+0-2.efi",
            ]
        );
        for name in names {
            assert_eq!(BootEntry::parse(&name).unwrap().to_string(), name);
        }
        // What is no counter belongs to the name.
        for name in ["a+x.efi", "a+.efi", "a+1-y.efi", "+3", "é"] {
            let entry = BootEntry::parse(name);
            assert!(entry.is_none_or(|entry| entry.tries.is_none()), "{name}");
        }
        assert_eq!(BootEntry::parse("MAIL~1.EFI").unwrap().stem, "MAIL~1");
    }
}
