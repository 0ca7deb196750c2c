//! Our own files: the overlay, which mirrors the image's root, and the units.
//!
//! Recipes, overlay and units are embedded in the program, so that it builds
//! in an empty folder; folders of those names in the working directory win.
//! Modes do not depend on how the checkout was made: a file that begins with
//! `#!` is 0755, every other 0644.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use walkdir::WalkDir;

use crate::builder::recipe::RecipeFiles;
use crate::builder::tree::{Node, Tree};
use crate::manual;

static RECIPES: Dir = include_dir!("$CARGO_MANIFEST_DIR/recipes");
static OVERLAY: Dir = include_dir!("$CARGO_MANIFEST_DIR/overlay");
static UNITS: Dir = include_dir!("$CARGO_MANIFEST_DIR/units");

/// Where each folder of `units/` lies in the image.
const UNIT_FOLDERS: [(&str, &str); 7] = [
    ("network", "usr/lib/systemd/network"),
    ("modules-load.d", "usr/lib/modules-load.d"),
    ("preset", "usr/lib/systemd/system-preset"),
    ("repart.d", "usr/lib/repart.d"),
    ("system", "usr/lib/systemd/system"),
    ("system.conf.d", "usr/lib/systemd/system.conf.d"),
    ("tmpfiles.d", "usr/lib/tmpfiles.d"),
];

/// The folder of `units/` that mirrors the initrd's root.
const INITRD_FOLDER: &str = "initrd/";

/// Names of units, one a line with a reason, that must not start.
const MASKED: &str = "masked";

/// The same for containers, besides those.
const MASKED_IN_CONTAINER: &str = "masked-in-container";

/// Recipes, overlay and units, from the checkout or from the program.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    recipes: BTreeMap<String, Vec<u8>>,
    overlay: BTreeMap<String, Vec<u8>>,
    units: BTreeMap<String, Vec<u8>>,
}

impl Resources {
    /// Takes each of the three folders from a directory if it is there.
    pub fn load(directory: &Path) -> Result<Self> {
        let one = |name: &str, embedded: &Dir| {
            let folder = directory.join(name);
            if folder.is_dir() {
                read_folder(&folder)
            } else {
                Ok(read_embedded(embedded))
            }
        };
        Ok(Self {
            recipes: one("recipes", &RECIPES)?,
            overlay: one("overlay", &OVERLAY)?,
            units: one("units", &UNITS)?,
        })
    }

    /// A file of the program's own `recipes/`, whatever the checkout has.
    pub fn embedded_recipe_file(name: &str) -> Option<&'static [u8]> {
        RECIPES.get_file(name).map(include_dir::File::contents)
    }

    /// A file of `recipes/`.
    pub fn recipe_file(&self, name: &str) -> Option<&[u8]> {
        self.recipes.get(name).map(Vec::as_slice)
    }

    /// The names of the recipes, without the tables that they share.
    pub fn recipe_names(&self) -> Vec<&str> {
        let is_recipe = |text: &[u8]| {
            let text = String::from_utf8_lossy(text);
            toml::from_str::<toml::Table>(&text).is_ok_and(|table| table.contains_key("packages"))
        };
        let files = self.recipes.iter().filter(|(_, text)| is_recipe(text));
        files
            .filter_map(|(name, _)| name.strip_suffix(".toml"))
            .collect()
    }

    /// The pages of the manual by name, as they lie in the overlay.
    pub fn manual(&self) -> BTreeMap<String, String> {
        let pages = self.overlay.iter().filter_map(|(path, text)| {
            let name = path.strip_prefix(manual::FOLDER)?.strip_prefix('/')?;
            let text = String::from_utf8_lossy(text).into_owned();
            Some((name.strip_suffix(".md")?.to_owned(), text))
        });
        pages.collect()
    }

    /// The list of units that a container masks.
    pub fn masked_in_containers(&self) -> &[u8] {
        self.units
            .get(MASKED_IN_CONTAINER)
            .map_or(&[], Vec::as_slice)
    }

    /// The files that are laid over the initrd.
    pub fn initrd_tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, bytes) in &self.units {
            if let Some(path) = path.strip_prefix(INITRD_FOLDER) {
                tree.insert(path, file(bytes))?;
            }
        }
        Ok(tree)
    }
}

impl RecipeFiles for Resources {
    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.recipes.get(name).cloned();
        found.with_context(|| format!("reading recipes/{name}: there is no such file"))
    }
}

/// Lays the overlay over the tree.
pub fn install_overlay(tree: &mut Tree, resources: &Resources) -> Result<()> {
    for (path, bytes) in &resources.overlay {
        tree.remove(path);
        tree.insert(path, file(bytes))
            .context("laying the overlay")?;
    }
    Ok(())
}

/// Lays the units over the tree.
pub fn install_units(tree: &mut Tree, resources: &Resources) -> Result<()> {
    for (path, bytes) in &resources.units {
        if path.starts_with(INITRD_FOLDER) {
            continue;
        }
        if path == MASKED_IN_CONTAINER {
            continue;
        }
        if path == MASKED {
            mask_units(tree, &String::from_utf8_lossy(bytes))?;
            continue;
        }
        let (folder, name) = path.split_once('/').unwrap_or(("", path));
        let Some((_, place)) = UNIT_FOLDERS.iter().find(|(known, _)| *known == folder) else {
            bail!(
                "laying units/{path}: the folder is none of {}",
                folder_names()
            );
        };
        tree.insert(&format!("{place}/{name}"), file(bytes))
            .context("laying the units")?;
    }
    Ok(())
}

/// Masks the units that own a host.
pub fn mask_units_of_containers(tree: &mut Tree, resources: &Resources) -> Result<()> {
    let text = String::from_utf8_lossy(resources.masked_in_containers());
    mask_units(tree, &text)
}

fn mask_units(tree: &mut Tree, text: &str) -> Result<()> {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((unit, _reason)) = line.split_once(char::is_whitespace) {
            // An enabled unit of the same name is a link there.
            tree.insert(
                &format!("etc/systemd/system/{unit}"),
                Node::symlink("/dev/null"),
            )?;
        }
    }
    Ok(())
}

fn folder_names() -> String {
    UNIT_FOLDERS.map(|(name, _)| name).join(", ")
}

fn file(bytes: &[u8]) -> Node {
    let mode = if bytes.starts_with(b"#!") {
        0o755
    } else {
        0o644
    };
    Node::file(mode, bytes.to_vec())
}

/// Editors' and version control's leftovers are no part of an image.
fn is_ours(name: &str) -> bool {
    !(name.ends_with('~') || name.ends_with(".swp") || name == ".gitkeep")
}

fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in WalkDir::new(folder) {
        let entry = entry.with_context(|| format!("reading {}", folder.display()))?;
        let path = entry.path();
        let name = path.strip_prefix(folder)?.to_str();
        let name = name.with_context(|| format!("reading {}: not UTF-8", path.display()))?;
        if entry.file_type().is_symlink() {
            bail!(
                "reading {}: links are declared in the recipe's effects",
                path.display()
            );
        }
        if entry.file_type().is_file() && is_ours(name) {
            let bytes =
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            files.insert(name.to_owned(), bytes);
        }
    }
    Ok(files)
}

fn read_embedded(folder: &Dir) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut rest = vec![folder];
    while let Some(folder) = rest.pop() {
        rest.extend(folder.dirs());
        for entry in folder.files() {
            if let Some(name) = entry.path().to_str().filter(|name| is_ours(name)) {
                files.insert(name.to_owned(), entry.contents().to_vec());
            }
        }
    }
    files
}
