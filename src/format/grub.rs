//! GRUB's configuration on the boot partition: what chooses a slot, and what a slot is.
//!
//! Kernel and initrd lie there once, in the unified kernel image that UEFI starts: its
//! sections begin at whole sectors, so GRUB reads them by their place in that file,
//! as `(DEVICE)START+COUNT` in
//! <https://www.gnu.org/software/grub/manual/grub/html_node/Block-list-syntax.html>.
//! `grub.cfg` is the same for all images; each slot has a file of its own, `a.cfg` and
//! later `b.cfg`, and a counter for a slot on trial would be in `grubenv`.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

use crate::format::uki::find_section;

/// What chooses the slot.
pub const CONFIGURATION_FILE: &str = "grub/grub.cfg";
/// What the slots are; the second one is made by an upgrade.
pub const SLOT_FILES: [&str; 2] = ["grub/a.cfg", "grub/b.cfg"];

/// Names the slots' files, and shuts what they do not need: as for UEFI, holding a key
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
if [ -f $prefix/a.cfg ]; then
  source $prefix/a.cfg
else
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

/// What starts one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The unified kernel image on the boot partition.
    pub image: String,
    /// The kernel in it, in sectors.
    pub kernel: Range<u64>,
    /// The initrd in it, in sectors.
    pub initrd: Range<u64>,
    /// Words of the kernel's command line.
    pub command_line: Vec<String>,
}

impl Slot {
    /// What starts the unified kernel image of that name and content.
    pub fn of_image(name: &str, image: &[u8]) -> Result<Self> {
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
            image: name.to_owned(),
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
        Ok(format!(
            "\
# Kernel and initrd are read where they lie in the file that UEFI starts, in sectors.
menuentry {title} --id {id} --unrestricted {{
  loopback {IMAGE} {image}
  if linux {kernel} {command_line}; then
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
            image = quote(&format!("/{}", self.image))?,
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
        let (name, mut rest) = take("loopback")?;
        ensure!(name == IMAGE, "it reads {name}, not {IMAGE}");
        let image = rest.next().context("loopback names no file")?;
        let (kernel, command_line) = take("linux")?;
        let (initrd, _) = take("initrd")?;
        Ok(Self {
            image: image.trim_start_matches('/').to_owned(),
            kernel: parse_blocks(&kernel)?,
            initrd: parse_blocks(&initrd)?,
            command_line: command_line.collect(),
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
    use super::Slot;

    fn slot() -> Slot {
        let words = [
            "root=/dev/mapper/root",
            "console=ttyS0,115200",
            "a=$b;c",
            "quiet",
        ];
        Slot {
            image: "EFI/Linux/mail_0.1.0-1.efi".to_owned(),
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
menuentry 'mail 0.1.0-1' --id a --unrestricted {
  loopback uki /EFI/Linux/mail_0.1.0-1.efi
  if linux (uki)183+22940 root=/dev/mapper/root console=ttyS0,115200 'a=$b;c' quiet; then
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
        assert_eq!(refused(""), "there is no command loopback");
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
