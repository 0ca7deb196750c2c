//! The last version of a package whose maintainer scripts are known.
//!
//! It is what a new version is compared with, and what a build may fall back on
//! while nobody has reviewed the new one. Looked for in the locks before: the
//! one on the disk, that of the last image built on this machine, and the one
//! inside the program, whose scripts were all known when it was compiled.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::workbench::Workbench;
use crate::builder::compose::{Resources, Unreviewed, read_scripts, review_scripts};
use crate::builder::deb::{Package, unpack_packages};
use crate::builder::lock::{Held, HeldPackage, Lock, LockedPackage, objects};
use crate::error::{Hint, hinted};

/// How the lock of the last image is named in the cache.
const BUILT: &str = "built.lock";

impl Workbench {
    /// Remembers a lock from which an image was built.
    pub fn remember_built(&self, lock: &Lock) -> Result<()> {
        let path = self.cache.derived_path(&self.recipe_key(), BUILT)?;
        self.cache.store(&path, lock.to_text().as_bytes())
    }

    fn recipe_key(&self) -> String {
        hex::encode(Sha256::digest(format!("lock of {}", self.recipe.name)))
    }

    /// Locks in which a known version may be found, the latest first.
    fn earlier_locks(&self) -> Vec<Lock> {
        let built = self.cache.derived_path(&self.recipe_key(), BUILT);
        let built = built.and_then(|path| Ok(std::fs::read(path)?)).ok();
        let name = format!("{}.lock", self.recipe.name);
        let embedded = Resources::embedded_recipe_file(&name).map(<[u8]>::to_vec);
        let texts = built.into_iter().chain(embedded);
        let parsed = texts.filter_map(|text| Lock::parse(&String::from_utf8_lossy(&text)).ok());
        self.lock.iter().cloned().chain(parsed).collect()
    }

    /// The last version of a package whose scripts are known, other than this one.
    ///
    /// Nothing when no lock before has one, or when it is not to be had any more.
    pub fn last_known(&self, name: &str, other_than: &str) -> Option<LastKnown> {
        self.earlier_locks().into_iter().find_map(|lock| {
            let mut packages = lock.packages.iter();
            let same = packages.clone().find(|one| one.name == name);
            let found = same.or_else(|| packages.find(|one| is_successor(&one.name, name)))?;
            if found.version == other_than {
                return None;
            }
            let package = self.unpack_one(&lock, found)?;
            let review = review_scripts(&self.recipe, std::slice::from_ref(&package)).ok()?;
            review.unreviewed.is_empty().then(|| LastKnown {
                locked: found.clone(),
                package,
                lock: lock.clone(),
            })
        })
    }

    fn unpack_one(&self, lock: &Lock, package: &LockedPackage) -> Option<Package> {
        let one = Lock {
            packages: vec![package.clone()],
            ..lock.clone()
        };
        let unpacked = unpack_packages(
            &objects(&one, &self.recipe),
            &self.mirror,
            &self.cache,
            &self.progress,
        );
        unpacked.ok()?.pop()
    }

    /// What to hold back for these packages: each at its last known version, and
    /// with it what is made from the same source.
    pub fn hold(&self, names: &[String], current: &Lock) -> Result<Vec<HeldPackage>> {
        let mut held = Vec::new();
        let mut done = BTreeSet::new();
        for name in names {
            let now = current.packages.iter().find(|one| one.name == *name);
            let now = now
                .with_context(|| format!("holding back {name}: it is not in the image"))
                .hint(format!("`mailimg why {name}` says what is"))?;
            let known = self.last_known(name, &now.version).ok_or_else(|| {
                hinted(
                    format!("holding back {name}: no earlier version with known scripts was found"),
                    format!(
                        "review the scripts of {}: `mailimg scripts {}`",
                        now.version, self.recipe.name
                    ),
                )
            })?;
            for sibling in known.siblings() {
                if !done.insert(sibling.name.clone()) {
                    continue;
                }
                let package = self.unpack_one(&known.lock, sibling).with_context(|| {
                    format!(
                        "holding back {name}: fetching {} {}",
                        sibling.name, sibling.version
                    )
                })?;
                let offered = current.packages.iter().find(|one| one.name == sibling.name);
                held.push(HeldPackage {
                    locked: sibling.clone(),
                    control: package.control,
                    held: Held {
                        offered: offered.unwrap_or(now).version.clone(),
                        listed: known.listed(sibling),
                    },
                });
            }
        }
        Ok(held)
    }
}

/// Whether two names differ in numbers alone: a kernel's package has its version
/// in its name.
fn is_successor(earlier: &str, name: &str) -> bool {
    let words = |name: &str| -> Vec<String> {
        let words = name.split(|letter: char| letter.is_ascii_digit());
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    name.starts_with("linux-image-") && words(earlier) == words(name)
}

/// A version whose scripts are known.
pub struct LastKnown {
    /// What its lock says of it.
    pub locked: LockedPackage,
    package: Package,
    lock: Lock,
}

impl LastKnown {
    /// The script of that kind, to compare a new one with.
    pub fn script(&self, workbench: &Workbench, kind: &str) -> Option<Unreviewed> {
        let packages = std::slice::from_ref(&self.package);
        let scripts = read_scripts(&workbench.recipe, packages).ok()?;
        scripts.into_iter().find(|one| one.entry.kind == kind)
    }

    /// The packages of the same source in that lock: they lie in one folder of
    /// the pool, and often need each other at exactly one version.
    fn siblings(&self) -> impl Iterator<Item = &LockedPackage> {
        let folder = |package: &LockedPackage| {
            package
                .path
                .rsplit_once('/')
                .map(|(folder, _)| folder.to_owned())
        };
        let of_this = folder(&self.locked);
        let (version, name) = (&self.locked.version, &self.locked.name);
        self.lock.packages.iter().filter(move |one| {
            one.name == *name || (one.version == *version && folder(one) == of_this)
        })
    }

    fn listed(&self, package: &LockedPackage) -> i64 {
        let earlier = package.held.as_ref().map(|held| held.listed);
        let source = self
            .lock
            .sources
            .iter()
            .find(|one| one.suite == package.suite);
        earlier
            .or(source.map(|source| source.date))
            .unwrap_or_default()
    }
}
