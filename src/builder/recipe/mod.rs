//! A recipe: which packages an image is made of, and what is done with them.
//!
//! `recipes/NAME.toml` with two tables beside it that recipes share: accounts
//! (fixed numeric ids, append-only) and reviewed maintainer scripts; a recipe may
//! also extend another one, `extends`, by what is different. Unknown
//! keys are errors that name line and column. A [`Recipe`] is what was
//! written; nothing in it has been looked up.

mod blocks;
mod extend;
mod load;
mod names;

pub use blocks::{BlockKind, Blocks, Check, Condition, Holds, Trigger};
pub(crate) use load::parse_toml;
pub use load::{RecipeFiles, load_recipe, parse_recipe};
pub use names::{LABEL_ROOM, check_names, is_place};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A recipe as written, with the tables it names.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// First part of every output's name, and the image id in os-release.
    pub name: String,
    /// First part of the image's version: letters, digits, `.` and `-`. What
    /// makes it rise is added by a build.
    pub version: String,
    /// Debian architecture, `amd64`.
    pub architecture: String,
    /// Where packages come from, in order of preference between equal versions.
    pub sources: Vec<Archive>,
    /// Packages to install; what they need comes along.
    pub packages: Vec<String>,
    /// Packages never to install, with the reason.
    #[serde(default)]
    pub drop: Vec<Drop>,
    /// Files that are left out of the tree.
    #[serde(default)]
    pub strip: Strip,
    /// Small changes that maintainer scripts would have made.
    #[serde(default)]
    pub effects: Effects,
    /// How the tree becomes a bootable image; absent for a recipe of tools.
    pub image: Option<Image>,
    /// How the tree becomes a container; absent for a recipe that makes none.
    pub container: Option<ContainerParts>,
    /// Whose updates a machine takes from a folder.
    #[serde(default)]
    pub update: Updates,
    /// File beside the recipe with the fixed accounts.
    pub accounts_file: Option<String>,
    /// File beside the recipe with the reviewed maintainer scripts; without
    /// one, scripts are not looked at (recipes of tools that never boot).
    pub scripts_file: Option<String>,
    /// File beside the recipe with the blocks and triggers that scripts are
    /// read by; without one, scripts are known by their digest alone.
    pub blocks_file: Option<String>,
    /// Whether the checkout's overlay and units go into the tree.
    #[serde(default)]
    pub overlay: bool,
    /// The accounts, read from `accounts_file`.
    #[serde(skip)]
    pub accounts: Accounts,
    /// The reviewed scripts, read from `scripts_file`.
    #[serde(skip)]
    pub scripts: Vec<ReviewedScript>,
    /// The blocks and triggers, read from `blocks_file`.
    #[serde(skip)]
    pub blocks: Blocks,
    /// The keyrings beside the recipe, by the names that `keys` has for them.
    #[serde(skip)]
    pub key_files: BTreeMap<String, Vec<u8>>,
}

/// One suite of a Debian archive.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Suite or code name below `dists/`, `trixie-updates`.
    pub suite: String,
    /// Base addresses, tried in order.
    pub mirrors: Vec<String>,
    /// Archives that keep what mirrors drop, asked for locked packages that
    /// left all mirrors: `http://snapshot.debian.org/archive/debian/{time}`.
    /// `{time}` is when the locked index was made, as `20261126T143205Z`.
    #[serde(default)]
    pub snapshots: Vec<String>,
    /// Components, `main`.
    pub components: Vec<String>,
    /// Keyrings that may sign it: names of embedded ones (see
    /// `src/builder/archive/keys`), or of files beside the recipe that end in `.pgp`
    /// (binary) or `.asc` (armored), for a mirror that signs for itself.
    pub keys: Vec<String>,
}

/// Packages left out although something depends on them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// Their names.
    pub packages: Vec<String>,
    /// Why the image does without.
    pub reason: String,
}

/// Files left out of the tree, as glob patterns on paths without leading `/`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Strip {
    /// Left out.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Kept although `paths` matches.
    #[serde(default)]
    pub keep: Vec<String>,
}

/// What maintainer scripts would have done, as data.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Effects {
    /// Owner and mode of single paths.
    #[serde(default)]
    pub attributes: Vec<Attributes>,
    /// Symbolic links, alternatives among them.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Directories that must exist.
    #[serde(default)]
    pub directories: Vec<Attributes>,
}

/// Owner and mode of a path.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Path without leading `/`.
    pub path: String,
    /// Account name; `root` when absent.
    #[serde(default = "root_name")]
    pub owner: String,
    /// Group name; `root` when absent.
    #[serde(default = "root_name")]
    pub group: String,
    /// Four octal digits, `2755`.
    pub mode: String,
    /// Which script this stands for, or why it is needed.
    pub reason: String,
}

fn root_name() -> String {
    "root".to_owned()
}

/// A symbolic link.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Path without leading `/`.
    pub path: String,
    /// Target, verbatim.
    pub target: String,
    /// Which script this stands for, or why it is needed.
    pub reason: String,
}

/// Whose updates a machine takes from a folder.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// Public keys as `mailimg key new` and minisign print them. An update is taken
    /// that one of them signed.
    #[serde(default)]
    pub keys: Vec<String>,
}

/// How the tree becomes a bootable image.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Glob of the kernel package's name, `linux-image-*-cloud-amd64`.
    pub kernel_package: String,
    /// Packages whose files feed boot partition and initrd but stay out of the root.
    #[serde(default)]
    pub build_only: Vec<String>,
    /// Kernel command line; `roothash=` is added.
    pub command_line: String,
    /// What goes into the initrd.
    pub initrd: Initrd,
    /// Sizes of the fixed partitions.
    pub disk: PartitionSizes,
}

/// How the tree becomes a container.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerParts {
    /// Globs of packages that it does without, besides the kernel and what boots it.
    #[serde(default)]
    pub without: Vec<String>,
    /// Files left out, as glob patterns on paths without leading `/`.
    #[serde(default)]
    pub strip: Vec<String>,
    /// Globs of packages whose files are a layer of their own, since they change together.
    #[serde(default)]
    pub services: Vec<String>,
    /// Ports that it listens on, `25/tcp`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// The command, word by word, that ends with 0 while all is well.
    #[serde(default)]
    pub health_check: Vec<String>,
}

/// What goes into the initrd; libraries come along by ELF closure.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Initrd {
    /// Glob patterns of paths of the root tree.
    pub files: Vec<String>,
    /// Kernel modules by name; what they depend on comes along.
    pub modules: Vec<String>,
}

/// Sizes in MiB of the partitions that an image fixes for ever.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSizes {
    /// EFI system partition.
    pub esp_mib: u64,
    /// Root slot.
    pub root_mib: u64,
    /// Verity slot.
    pub verity_mib: u64,
}

/// Fixed accounts: an append-only table, since `/var` keeps numeric owners.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// Users.
    #[serde(default)]
    pub users: Vec<User>,
    /// Groups.
    #[serde(default)]
    pub groups: Vec<Group>,
}

/// A fixed user, with the group of the same name unless `group` says otherwise.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// Numeric id.
    pub uid: u32,
    /// Primary group.
    pub group: String,
    /// Comment field.
    #[serde(default)]
    pub comment: String,
    /// Home directory.
    pub home: String,
    /// Login shell; `/usr/sbin/nologin` when absent.
    #[serde(default = "nologin")]
    pub shell: String,
}

fn nologin() -> String {
    "/usr/sbin/nologin".to_owned()
}

/// A fixed group.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Group name.
    pub name: String,
    /// Numeric id.
    pub gid: u32,
    /// Further members.
    #[serde(default)]
    pub members: Vec<String>,
}

/// A maintainer script that somebody read.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ReviewedScript {
    /// Package name.
    pub package: String,
    /// `preinst`, `postinst` or `triggers`; others are never run and not looked at.
    pub kind: String,
    /// What its blocks do, each a kind of [`Blocks`] with its parameters.
    #[serde(default)]
    pub does: Vec<String>,
    /// SHA-256 of what is left without blocks, comments and empty lines,
    /// hexadecimal, or of the whole script; none when nothing is left.
    pub sha256: Option<String>,
    /// What the rest would have done and where the image says so instead.
    #[serde(default)]
    pub effect: String,
}
