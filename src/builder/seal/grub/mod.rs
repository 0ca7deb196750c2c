//! GRUB for legacy BIOS, put together from the parts that Debian's grub-pc-bin ships.
//!
//! What `grub-mkimage -O i386-pc` does, without running anything:
//! <https://www.gnu.org/software/grub/manual/grub/html_node/Images.html>. The boot
//! sector loads the core image's first sector, that one the rest, which unpacks itself
//! and has all modules that are ever needed, so that none is read from the disk. Where
//! on the disk they lie is written into them by [`crate::builder::write::bios`].
//! Left out: other platforms than i386-pc, Reed-Solomon codes, memory disks, keys.

mod core_image;
mod modules;

use anyhow::{Context, Result, ensure};

use crate::builder::tree::Tree;
use crate::format::bios::Grub;
use core_image::{Ingredients, SECTOR, make_core_image};
use modules::order_modules;

/// Where grub-pc-bin keeps its parts.
const FOLDER: &str = "usr/lib/grub/i386-pc";

/// What is in the core image; what these need comes along.
///
/// Disk, table and file system; the language of grub.cfg; the kernel's loader, and files
/// inside files for it; both consoles; environment blocks, for two slots with a counter.
pub const MODULES: [&str; 14] = [
    "biosdisk",
    "part_gpt",
    "fat",
    "normal",
    "configfile",
    "test",
    "loadenv",
    "linux",
    "loopback",
    "terminal",
    "serial",
    "echo",
    "sleep",
    "reboot",
];

/// Where grub.cfg is: the first partition of the disk that BIOS started from.
const PREFIX: &str = "(,gpt1)/grub";

/// Runs before grub.cfg is there, so that a disk without one opens no shell either:
/// nobody has a password, and what comes back from grub.cfg ends in a restart.
const FIRST_COMMANDS: &str = "set superusers=nobody\nnormal\nsleep 10\nreboot\n";

/// Makes both from the files of grub-pc-bin; nothing when the tree has none.
pub fn make_grub(tree: &Tree, version: &str) -> Result<Option<Grub>> {
    if !tree.contains(FOLDER) {
        return Ok(None);
    }
    let read = |name: &str| -> Result<Vec<u8>> {
        let path = format!("{FOLDER}/{name}");
        let content = tree
            .content(&path)
            .with_context(|| format!("finding /{path}"))?;
        content.read().with_context(|| format!("reading /{path}"))
    };
    let boot_sector = read("boot.img")?;
    let first_sector = read("diskboot.img")?;
    for (name, image) in [("boot.img", &boot_sector), ("diskboot.img", &first_sector)] {
        ensure!(
            image.len() == SECTOR,
            "reading {name}: it has {} bytes instead of one sector",
            image.len()
        );
    }
    let dependencies = String::from_utf8(read("moddep.lst")?).context("reading moddep.lst")?;
    let modules = order_modules(&dependencies, &MODULES)?
        .iter()
        .map(|name| read(&format!("{name}.mod")))
        .collect::<Result<Vec<_>>>()?;
    let core_image = make_core_image(&Ingredients {
        first_sector,
        decompressor: read("lzma_decompress.img")?,
        kernel: &read("kernel.img")?,
        modules: &modules,
        commands: FIRST_COMMANDS,
        prefix: PREFIX,
    })
    .context("making GRUB's core image")?;
    Ok(Some(Grub {
        boot_sector,
        core_image,
        version: version.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::core_image::fixture;
    use super::{FOLDER, MODULES, make_grub};
    use crate::builder::tree::{Node, Tree};
    use crate::error::render;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        let mut insert = |name: &str, bytes: Vec<u8>| {
            let path = format!("{FOLDER}/{name}");
            tree.insert(&path, Node::file(0o644, bytes)).unwrap();
        };
        insert("boot.img", vec![1; 512]);
        insert("diskboot.img", fixture::first_sector());
        insert("lzma_decompress.img", vec![3; 100]);
        insert("kernel.img", fixture::kernel());
        let mut dependencies = String::new();
        for name in MODULES {
            dependencies.push_str(&format!("{name}:\n"));
            insert(&format!("{name}.mod"), name.as_bytes().to_vec());
        }
        insert("moddep.lst", dependencies.into_bytes());
        tree
    }

    #[test]
    fn a_tree_without_grub_makes_none() {
        assert_eq!(make_grub(&Tree::default(), "1").unwrap(), None);
    }

    #[test]
    fn the_same_parts_make_the_same_bytes() {
        let grub = make_grub(&tree(), "1").unwrap().unwrap();
        assert_eq!(grub, make_grub(&tree(), "1").unwrap().unwrap());
        assert_eq!(grub.core_image.len() % 512, 0);
    }

    #[test]
    fn a_missing_or_odd_part_is_named() {
        let mut lacking = tree();
        lacking.remove(&format!("{FOLDER}/fat.mod"));
        let text = render(&make_grub(&lacking, "1").unwrap_err());
        assert_eq!(text, "error: finding /usr/lib/grub/i386-pc/fat.mod");
        let mut odd = tree();
        odd.insert(
            &format!("{FOLDER}/boot.img"),
            Node::file(0o644, vec![1; 440]),
        )
        .unwrap();
        let text = render(&make_grub(&odd, "1").unwrap_err());
        assert_eq!(
            text,
            "error: reading boot.img: it has 440 bytes instead of one sector"
        );
    }
}
