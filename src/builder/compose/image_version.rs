//! The version of an image, which rises by itself: `0.1.0-202611261432-1a2b3c4d`.
//!
//! That is the recipe's version, when the lock was made (UTC, to the minute)
//! and the first digits of a digest over the content. A newer lock sorts
//! higher, as systemd-boot sorts its entries
//! (<https://uapi-group.org/specifications/specs/version_format_specification/>),
//! and images of different content differ in the digits, those of one lock
//! too: the overlay or `mailctl` may have changed. The form fits partition
//! labels (36 UTF-16 units), boot entries (no `+`) and tags of OCI images.
//!
//! The digest is taken before the version is written into the image. It
//! covers what decides the image's bytes, settings excepted: they are put
//! into finished images too.

use std::io;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use sha2::{Digest, Sha256};

use super::composed::Composed;
use super::resources::Resources;
use crate::builder::lock::Lock;
use crate::builder::recipe::{LABEL_ROOM, Recipe};
use crate::builder::tree::{Content, Kind, Tree};
use crate::error::hinted;
use crate::settings::settings_template;

/// Digits of the content's digest that a version has.
const CONTENT_DIGITS: usize = 8;
/// How a version writes the time of its lock.
const TIME_FORMAT: &str = "%Y%m%d%H%M";
/// What is added to the recipe's version: `-`, the time, `-`, the digits.
const SUFFIX_LENGTH: usize = 1 + "YYYYMMDDhhmm".len() + 1 + CONTENT_DIGITS;

/// Refuses a recipe to whose version nothing can be added.
pub fn check_room(recipe: &Recipe) -> Result<()> {
    let length = recipe.name.len() + recipe.version.len() + SUFFIX_LENGTH;
    if length <= LABEL_ROOM {
        return Ok(());
    }
    Err(hinted(
        format!(
            "naming the image: '{}' and '{}' leave no room for the time and digits that make \
             its version; all together takes {length} characters, {LABEL_ROOM} fit into a \
             partition's label",
            recipe.name, recipe.version
        ),
        format!(
            "shorten name and version in the recipe to {} characters together, or give the \
             whole version with `--image-version`",
            LABEL_ROOM - SUFFIX_LENGTH
        ),
    ))
}

/// The version of what was composed.
pub fn image_version(
    recipe: &Recipe,
    lock: &Lock,
    composed: &Composed,
    resources: &Resources,
) -> Result<String> {
    let made = Timestamp::from_second(lock.made())
        .context("reading the time of the lock")?
        .strftime(TIME_FORMAT);
    let digest = content_digest(recipe, composed, resources)
        .context("taking the digest of the image's content")?;
    let digits = &hex::encode(digest)[..CONTENT_DIGITS];
    Ok(format!("{}-{made}-{digits}", recipe.version))
}

/// SHA-256 over what decides the bytes of an image, its version excepted.
fn content_digest(recipe: &Recipe, composed: &Composed, resources: &Resources) -> Result<[u8; 32]> {
    let mut total = Sha256::new();
    // Layouts of file systems may change with the program.
    add(&mut total, env!("CARGO_PKG_VERSION").as_bytes());
    add(&mut total, &serde_json::to_vec(&composed.manifest)?);
    add(&mut total, &serde_json::to_vec(&recipe.image)?);
    // What the container of this image is without.
    add(&mut total, &serde_json::to_vec(&recipe.container)?);
    add(&mut total, resources.masked_in_containers());
    add(&mut total, settings_template().as_bytes());
    for tree in [
        &composed.tree,
        &composed.build_only,
        &resources.initrd_tree()?,
    ] {
        add_tree(&mut total, tree)?;
    }
    Ok(total.finalize().into())
}

/// Adds bytes behind their length, so that no two lists of them are the same.
fn add(total: &mut Sha256, bytes: &[u8]) {
    total.update((bytes.len() as u64).to_le_bytes());
    total.update(bytes);
}

fn add_tree(total: &mut Sha256, tree: &Tree) -> Result<()> {
    let nodes: Vec<_> = tree.iter().collect();
    let digests = nodes
        .par_iter()
        .map(|(path, node)| match &node.kind {
            Kind::File(content) => file_digest(content)
                .with_context(|| format!("reading /{path}"))
                .map(Some),
            _ => Ok(None),
        })
        .collect::<Result<Vec<Option<[u8; 32]>>>>()?;
    add(total, &(nodes.len() as u64).to_le_bytes());
    for ((path, node), digest) in nodes.iter().zip(digests) {
        add(total, path.as_bytes());
        let (kind, content): (u8, &[u8]) = match &node.kind {
            Kind::Directory => (b'd', &[]),
            Kind::File(_) => (b'f', digest.as_ref().map_or(&[], |digest| &digest[..])),
            Kind::Symlink(target) => (b'l', target.as_bytes()),
            Kind::HardLink(target) => (b'h', target.as_bytes()),
        };
        let metadata = &node.metadata;
        total.update([kind]);
        total.update(metadata.mode.to_le_bytes());
        total.update(metadata.uid.to_le_bytes());
        total.update(metadata.gid.to_le_bytes());
        add(total, content);
        add(total, &(metadata.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &metadata.xattrs {
            add(total, name.as_bytes());
            add(total, value);
        }
    }
    Ok(())
}

fn file_digest(content: &Content) -> io::Result<[u8; 32]> {
    let mut digester = Digester(Sha256::new());
    content.copy_to(&mut digester)?;
    Ok(digester.0.finalize().into())
}

/// Takes what is written to it into a digest.
struct Digester(Sha256);

impl io::Write for Digester {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Composed, check_room, content_digest, image_version};
    use crate::builder::compose::{Manifest, Origins, Resources};
    use crate::builder::lock::Lock;
    use crate::builder::recipe::{Image, Recipe};
    use crate::builder::tree::{Node, Tree};
    use crate::error::render;

    type Change = dyn Fn(&mut Composed, &mut Image);

    fn recipe(name: &str, version: &str) -> Recipe {
        toml::from_str(&format!(
            "name = \"{name}\"\nversion = \"{version}\"\narchitecture = \"amd64\"\n\
             packages = []\nsources = []\n\
             [image]\nkernel_package = \"kernel\"\ncommand_line = \"quiet\"\n\
             [image.initrd]\nfiles = []\nmodules = []\n\
             [image.disk]\nesp_mib = 34\nroot_mib = 32\nverity_mib = 1\n"
        ))
        .unwrap()
    }

    fn composed() -> Composed {
        let mut tree = Tree::default();
        tree.insert("usr/bin/a", Node::file(0o755, "one")).unwrap();
        tree.insert("usr/bin/b", Node::file(0o755, "two")).unwrap();
        Composed {
            tree,
            origins: Origins::default(),
            build_only: Tree::default(),
            kernel_version: None,
            manifest: Manifest {
                name: "tiny".to_owned(),
                version: "1".to_owned(),
                architecture: "amd64".to_owned(),
                time: 0,
                kernel: None,
                root_hash: None,
                packages: Vec::new(),
                settings: Vec::new(),
                sizes: None,
                boot: Vec::new(),
            },
        }
    }

    #[test]
    fn a_version_has_the_time_of_the_lock_and_digits_of_the_content() {
        let lock = Lock {
            recipe_sha256: "0".repeat(64),
            made: Some(1_795_348_325),
            sources: Vec::new(),
            packages: Vec::new(),
        };
        let resources = Resources::default();
        let version = image_version(&recipe("tiny", "1"), &lock, &composed(), &resources).unwrap();
        let (start, digits) = version.rsplit_once('-').unwrap();
        assert_eq!(start, "1-202611221152");
        assert_eq!(digits.len(), 8);
        assert!(digits.chars().all(|digit| digit.is_ascii_hexdigit()));
    }

    #[test]
    fn everything_that_decides_the_bytes_counts() {
        let resources = Resources::default();
        let digest = |change: &Change| {
            let (mut composed, mut recipe) = (composed(), recipe("tiny", "1"));
            change(&mut composed, recipe.image.as_mut().unwrap());
            content_digest(&recipe, &composed, &resources).unwrap()
        };
        let changes: [&Change; 9] = [
            &|_, _| {},
            &|composed, _| composed.manifest.time = 1,
            &|_, image| image.command_line.push('x'),
            &|_, image| image.disk.root_mib += 1,
            &|composed, _| composed.tree.get_mut("usr/bin/a").unwrap().metadata.mode = 0o4755,
            &|composed, _| {
                let node = composed.tree.get_mut("usr/bin/a").unwrap();
                node.metadata.xattrs.insert("user.a".into(), b"1".to_vec());
            },
            &|composed, _| {
                let changed = Node::file(0o755, "onetwo");
                composed.tree.insert("usr/bin/a", changed).unwrap();
            },
            &|composed, _| {
                let link = Node::symlink("usr/bin/a");
                composed.tree.insert("usr/bin/b", link).unwrap();
            },
            &|composed, _| {
                let loader = Node::file(0o644, "loader");
                composed.build_only.insert("boot", loader).unwrap();
            },
        ];
        let mut digests: Vec<_> = changes.iter().map(|change| digest(change)).collect();
        assert_eq!(digests[0], digest(&|_, _| {}));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), changes.len());
    }

    #[test]
    fn a_name_that_leaves_no_room_is_refused() {
        check_room(&recipe("mail", "10.10.0")).unwrap();
        assert_eq!(
            render(&check_room(&recipe("mailserver", "10.0")).unwrap_err()),
            "error: naming the image: 'mailserver' and '10.0' leave no room for the time and \
             digits that make its version; all together takes 36 characters, 33 fit into a \
             partition's label\n\
             hint: shorten name and version in the recipe to 11 characters together, or give \
             the whole version with `--image-version`"
        );
    }
}
