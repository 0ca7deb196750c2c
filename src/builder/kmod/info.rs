//! What a kernel module says about itself.
//!
//! The section `.modinfo` holds `key=value` texts, `__ksymtab_strings` the
//! symbols that the module exports; see the kernel's `include/linux/module.h`
//! and `include/linux/export.h`.

use std::collections::BTreeSet;
use std::io::Read;

use anyhow::{Context, Result};
use object::{Object, ObjectSection, ObjectSymbol};

use crate::builder::tree::{Content, name_of};

const PLAIN: &str = ".ko";
const PACKED: &str = ".ko.xz";
/// Symbols that mark exports are called this and the exported name.
const EXPORT_PREFIX: &str = "__ksymtab_";

/// A kernel module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// Path below the kernel's folder.
    pub path: String,
    /// Name with `_` for `-`.
    pub name: String,
    /// Aliases in the module's order.
    pub aliases: Vec<String>,
    /// Names of the modules it is linked with.
    pub depends: Vec<String>,
    /// `softdep=` texts, `pre: a b post: c`.
    pub soft: Vec<String>,
    /// `weakdep=` texts, names of modules it may ask for.
    pub weak: Vec<String>,
    /// Exported symbols.
    pub exports: BTreeSet<String>,
}

impl Module {
    /// Reads a module, unpacking it when its name says that it is packed.
    pub fn read(path: &str, content: &Content) -> Result<Self> {
        let bytes = plain_module(path, content)?;
        let file = object::File::parse(bytes.as_slice()).context("reading ELF headers")?;
        let mut module = Self {
            path: path.to_owned(),
            name: module_name(path),
            ..Self::default()
        };
        if let Some(section) = file.section_by_name(".modinfo") {
            for (key, value) in pairs(section.data()?) {
                module.take(key, value);
            }
        }
        module.exports = file
            .symbols()
            .filter_map(|symbol| Some(symbol.name().ok()?.strip_prefix(EXPORT_PREFIX)?.to_owned()))
            .collect();
        Ok(module)
    }

    fn take(&mut self, key: &str, value: &str) {
        match key {
            "alias" => self.aliases.push(value.to_owned()),
            "depends" => self.depends.extend(
                value
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(underscored),
            ),
            "softdep" => self.soft.push(value.to_owned()),
            "weakdep" => self.weak.push(value.to_owned()),
            _ => {}
        }
    }
}

/// The NUL-terminated `key=value` texts of a section.
pub(super) fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok()?.split_once('='))
}

/// Whether a path is that of a module.
pub(super) fn is_module(path: &str) -> bool {
    path.ends_with(PLAIN) || path.ends_with(PACKED)
}

/// The path of a module without the suffix of its compression.
pub(super) fn plain_path(path: &str) -> &str {
    path.strip_suffix(".xz").unwrap_or(path)
}

/// The name of the module at a path.
pub(super) fn module_name(path: &str) -> String {
    let name = plain_path(name_of(path));
    underscored(name.strip_suffix(PLAIN).unwrap_or(name))
}

/// A name as modules are looked up: with `_` for `-`.
pub(super) fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// The bytes of a module, unpacked.
pub fn plain_module(path: &str, content: &Content) -> Result<Vec<u8>> {
    let bytes = content.read()?;
    if !path.ends_with(PACKED) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    liblzma::bufread::XzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .context("unpacking xz")?;
    Ok(plain)
}
