//! GRUB's configuration on the boot partition: what chooses a slot, and what a slot is.
//!
//! Kernel and initrd lie there once, in the unified kernel image that UEFI starts: its
//! sections begin at whole sectors, so GRUB reads them by their place in that file,
//! as `(DEVICE)START+COUNT` in
//! <https://www.gnu.org/software/grub/manual/grub/html_node/Block-list-syntax.html>.
//! `grub.cfg` is the same for all images. Each slot has a file of its own, `a.cfg` and
//! later `b.cfg`; `good.cfg` says which of them is good, and `grubenv` which one is on
//! trial, and how often it may still be tried. These two have one sector each and are
//! written where they lie, so that a power cut leaves the old or the new text; one that is
//! torn nevertheless is not understood, and the good slot starts.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use super::boot_entry::{BootEntry, KERNELS};
use super::uki::find_section;

/// What chooses the slot.
pub const CONFIGURATION_FILE: &str = "grub/grub.cfg";
/// What the slots are; the second one is made by an upgrade.
pub const SLOT_FILES: [&str; 2] = ["grub/a.cfg", "grub/b.cfg"];

/// Says which slot is good.
pub const GOOD_FILE: &str = "grub/good.cfg";
/// Says which slot is on trial, and how often it may still be tried.
pub const TRIAL_FILE: &str = "grub/grubenv";
/// The kernel's command line has it when a slot is on trial.
pub const TRIAL_WORD: &str = "mailimg.trial";
/// Where a slot's file has that word, or nothing.
const TRIAL_VARIABLE: &str = "$on_trial";

/// Chooses the slot, and shuts what they do not need: as for UEFI, holding a key
/// shows the menu, and nobody at the console edits an entry or gets a shell.
pub const CONFIGURATION: &str = "\
# How this disk starts on legacy BIOS; UEFI does not read it. Written by mailimg.
set timeout=0
set timeout_style=hidden
# Nobody has this name: entries are started, not edited.
set superusers=nobody
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
# Which slot is good, as slot=a; the first one, if nothing says.
set slot=a
if [ -f $prefix/good.cfg ]; then
  source $prefix/good.cfg
fi
# A slot on trial starts instead, once for each try that it has left. The try is noted
# before it is used; what cannot be noted is not tried.
set trial=
set tries=
set on_trial=
if [ -f $prefix/grubenv ]; then
  load_env --file $prefix/grubenv trial tries
fi
if [ \"$trial\" = a -o \"$trial\" = b ]; then
  set left=
  if [ \"$tries\" = 3 ]; then set left=2; fi
  if [ \"$tries\" = 2 ]; then set left=1; fi
  if [ \"$tries\" = 1 ]; then set left=0; fi
  if [ -n \"$left\" -a -f $prefix/$trial.cfg ]; then
    set tries=$left
    if save_env --file $prefix/grubenv tries; then
      set slot=$trial
      set on_trial=mailimg.trial
    fi
  fi
fi
set other=b
if [ \"$slot\" = b ]; then set other=a; fi
# The first entry starts by itself, the other one is for people.
for file in $slot $other; do
  if [ -f $prefix/$file.cfg ]; then
    source $prefix/$file.cfg
    set found=yes
  fi
done
if [ -z \"$found\" ]; then
  echo 'There is no slot to start. The machine starts again in 10 seconds.'
  sleep 10
  reboot
fi
";

/// Bytes of a sector, in which places inside files are counted.
const SECTOR: u64 = 512;
/// Characters that mean nothing to GRUB's language anywhere in a word.
const PLAIN: &str = "-_./:=,+@%";
/// Characters that GRUB passes on to the kernel with a backslash, which it does not read.
const UNSPEAKABLE: [char; 3] = ['\'', '"', '\\'];
/// The name that a slot's file has for the unified kernel image.
const IMAGE: &str = "uki";
/// First line of an environment block.
const ENVIRONMENT_TITLE: &str = "# GRUB Environment Block\n";

/// The file that says which slot is good: `a` or `b`. One sector.
pub fn good_file(slot: char) -> Vec<u8> {
    let mut text = format!("# The slot that is good. Written by mailimg.\nset slot={slot}\n");
    let rest = SECTOR as usize - text.len() - 1;
    text.push_str(&"#".repeat(rest));
    text.push('\n');
    text.into_bytes()
}

/// Reads the good slot from its file.
pub fn parse_good(text: &[u8]) -> Option<char> {
    let text = std::str::from_utf8(text).ok()?;
    let slot = text
        .lines()
        .find_map(|line| line.strip_prefix("set slot="))?;
    slot_name(slot)
}

/// A slot on trial, as GRUB counts its tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// `a` or `b`.
    pub slot: char,
    /// How often it may still be tried.
    pub tries: u32,
}

/// The environment block that says what is on trial. One sector, in the form that GRUB
/// writes to, <https://www.gnu.org/software/grub/manual/grub/html_node/Environment-block.html>.
pub fn trial_file(trial: Option<Trial>) -> Vec<u8> {
    let mut text = ENVIRONMENT_TITLE.to_owned();
    if let Some(Trial { slot, tries }) = trial {
        text.push_str(&format!("trial={slot}\ntries={tries}\n"));
    }
    let mut bytes = text.into_bytes();
    bytes.resize(SECTOR as usize, b'#');
    bytes
}

/// Reads what is on trial; nothing when the block is damaged, as GRUB takes it.
pub fn parse_trial(block: &[u8]) -> Option<Trial> {
    let text = std::str::from_utf8(block).ok()?;
    let text = text.strip_prefix(ENVIRONMENT_TITLE)?;
    let field = |key: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Trial {
        slot: slot_name(field("trial")?)?,
        tries: field("tries")?.parse().ok()?,
    })
}

fn slot_name(text: &str) -> Option<char> {
    match text {
        "a" => Some('a'),
        "b" => Some('b'),
        _ => None,
    }
}

/// What starts one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The unified kernel image, without folder, counter and ending.
    pub stem: String,
    /// The kernel in it, in sectors.
    pub kernel: Range<u64>,
    /// The initrd in it, in sectors.
    pub initrd: Range<u64>,
    /// Words of the kernel's command line.
    pub command_line: Vec<String>,
}

impl Slot {
    /// What starts the unified kernel image of that stem and content.
    pub fn of_image(stem: &str, image: &[u8]) -> Result<Self> {
        let place = |section: &str| -> Result<Range<u64>> {
            let range = find_section(image, section)?;
            ensure!(
                range.start.is_multiple_of(SECTOR),
                "the section {section} does not begin at a sector"
            );
            Ok(range.start / SECTOR..range.end.div_ceil(SECTOR))
        };
        let text = find_section(image, ".cmdline")?;
        let text = &image[text.start as usize..text.end as usize];
        let text = String::from_utf8_lossy(text);
        Ok(Self {
            stem: stem.to_owned(),
            kernel: place(".linux")?,
            initrd: place(".initrd")?,
            command_line: text
                .trim_end_matches('\0')
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        })
    }

    /// The slot's file. `id` is what a later choice names it by.
    pub fn to_text(&self, id: &str, title: &str) -> Result<String> {
        let blocks =
            |range: &Range<u64>| format!("({IMAGE}){}+{}", range.start, range.end - range.start);
        let mut words = Vec::new();
        for word in &self.command_line {
            words.push(quote(word).context("writing the kernel's command line for BIOS")?);
        }
        let names = BootEntry::all_names(&self.stem);
        let names: Vec<String> = names
            .iter()
            .map(|name| quote(name))
            .collect::<Result<_>>()?;
        Ok(format!(
            "\
# Kernel and initrd are read where they lie in the file that UEFI starts, in sectors.
# On UEFI its name counts tries.
menuentry {title} --id {id} --unrestricted {{
  for name in {names}; do
    if [ -f /{KERNELS}/$name ]; then
      loopback {IMAGE} /{KERNELS}/$name
    fi
  done
  if linux {kernel} {command_line} {TRIAL_VARIABLE}; then
    if initrd {initrd}; then
      boot
    fi
  fi
  echo 'This slot does not start. The machine starts again in 10 seconds.'
  sleep 10
  reboot
}}
",
            title = quote(title)?,
            names = names.join(" "),
            kernel = blocks(&self.kernel),
            command_line = words.join(" "),
            initrd = blocks(&self.initrd),
        ))
    }

    /// Reads a slot's file as [`to_text`](Self::to_text) writes it.
    pub fn parse(text: &str) -> Result<Self> {
        let mut commands: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            let line = line.strip_prefix("if ").unwrap_or(line);
            let line = line.strip_suffix("; then").unwrap_or(line);
            let line = line.strip_suffix("; do").unwrap_or(line);
            let mut words = split_words(line)?.into_iter();
            if let Some(command) = words.next() {
                commands.insert(command, words.collect());
            }
        }
        let mut take = |command: &str| {
            let words = commands.remove(command).unwrap_or_default();
            let mut words = words.into_iter();
            match words.next() {
                Some(first) => Ok((first, words)),
                None => bail!("there is no command {command}"),
            }
        };
        let (_, mut names) = take("for")?;
        let name = names.nth(1).context("it names no kernel image")?;
        let entry = BootEntry::parse(&name).context("it names no kernel image")?;
        let (kernel, command_line) = take("linux")?;
        let (initrd, _) = take("initrd")?;
        Ok(Self {
            stem: entry.stem,
            kernel: parse_blocks(&kernel)?,
            initrd: parse_blocks(&initrd)?,
            command_line: command_line.filter(|word| word != TRIAL_VARIABLE).collect(),
        })
    }
}

/// A word as GRUB's language reads it.
fn quote(word: &str) -> Result<String> {
    ensure!(
        !word.contains(UNSPEAKABLE) && !word.contains(char::is_control),
        "GRUB cannot pass {word:?} on: it has a quote, a backslash or a control character"
    );
    let plain = |character: char| character.is_ascii_alphanumeric() || PLAIN.contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        Ok(word.to_owned())
    } else {
        Ok(format!("'{word}'"))
    }
}

/// Splits a line at spaces that are not inside single quotes.
fn split_words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = if first == '\'' {
            rest[1..]
                .split_once('\'')
                .context("a quote is not closed")?
        } else {
            rest.split_once(' ').unwrap_or((rest, ""))
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

/// Reads `(uki)START+COUNT`.
fn parse_blocks(text: &str) -> Result<Range<u64>> {
    let numbers = text
        .strip_prefix(&format!("({IMAGE})"))
        .and_then(|text| text.split_once('+'))
        .and_then(|(start, count)| Some((start.parse().ok()?, count.parse().ok()?)));
    let (start, count): (u64, u64) =
        numbers.with_context(|| format!("{text} is no place in the image"))?;
    let end = start
        .checked_add(count)
        .with_context(|| format!("{text} is no place in the image"))?;
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::{Slot, Trial, good_file, parse_good, parse_trial, trial_file};

    fn slot() -> Slot {
        let words = [
            "root=/dev/mapper/root",
            "console=ttyS0,115200",
            "a=$b;c",
            "quiet",
        ];
        Slot {
            stem: "mail_0.1.0-1".to_owned(),
            kernel: 183..23123,
            initrd: 23123..45286,
            command_line: words.map(str::to_owned).to_vec(),
        }
    }

    #[test]
    fn a_slot_is_written_and_read_back() {
        let text = slot().to_text("a", "mail 0.1.0-1").unwrap();
        assert_eq!(
            text,
            "\
# Kernel and initrd are read where they lie in the file that UEFI starts, in sectors.
# On UEFI its name counts tries.
menuentry 'mail 0.1.0-1' --id a --unrestricted {
  for name in mail_0.1.0-1.efi mail_0.1.0-1+3.efi mail_0.1.0-1+2-1.efi mail_0.1.0-1+1-2.efi mail_0.1.0-1+0-3.efi mail_0.1.0-1+0.efi mail_0.1.0-1+0-1.efi mail_0.1.0-1+0-2.efi; do
    if [ -f /EFI/Linux/$name ]; then
      loopback uki /EFI/Linux/$name
    fi
  done
  if linux (uki)183+22940 root=/dev/mapper/root console=ttyS0,115200 'a=$b;c' quiet $on_trial; then
    if initrd (uki)23123+22163; then
      boot
    fi
  fi
  echo 'This slot does not start. The machine starts again in 10 seconds.'
  sleep 10
  reboot
}
"
        );
        assert_eq!(Slot::parse(&text).unwrap(), slot());
    }

    #[test]
    fn good_and_trial_have_one_sector_and_are_read_back() {
        for slot in ['a', 'b'] {
            let good = good_file(slot);
            assert_eq!((good.len(), parse_good(&good)), (512, Some(slot)));
            let trial = Trial { slot, tries: 3 };
            let block = trial_file(Some(trial));
            assert_eq!((block.len(), parse_trial(&block)), (512, Some(trial)));
        }
        let none = trial_file(None);
        assert_eq!((none.len(), parse_trial(&none)), (512, None));
        // What a torn sector may look like.
        let block = trial_file(Some(Trial {
            slot: 'b',
            tries: 2,
        }));
        for length in 0..block.len() {
            let mut torn = block.clone();
            torn[..length].fill(0);
            assert_eq!(parse_trial(&torn).is_some(), length == 0, "{length}");
        }
        assert_eq!(parse_good(&[0; 512]), None);
    }

    #[test]
    fn what_grub_cannot_pass_on_is_refused() {
        for word in ["a=\"b\"", "a='b'", "a\\b", "a\nb"] {
            let mut odd = slot();
            odd.command_line.push(word.to_owned());
            let error = format!("{:#}", odd.to_text("a", "mail").unwrap_err());
            assert!(
                error.contains(&format!("cannot pass {word:?} on")),
                "{error}"
            );
        }
    }

    #[test]
    fn a_damaged_slot_says_what_is_wrong() {
        let text = slot().to_text("a", "mail").unwrap();
        let refused = |text: &str| Slot::parse(text).unwrap_err().to_string();
        assert_eq!(refused(""), "there is no command for");
        assert_eq!(
            refused(&text.replace("183+", "183-")),
            "(uki)183-22940 is no place in the image"
        );
        assert_eq!(
            refused(&text.replace("183+22940", "183+18446744073709551615")),
            "(uki)183+18446744073709551615 is no place in the image"
        );
        assert_eq!(
            refused(&text.replace("if initrd", "if i")),
            "there is no command initrd"
        );
        assert_eq!(
            refused(&text.replace("c' quiet", "c quiet")),
            "a quote is not closed"
        );
    }
}
