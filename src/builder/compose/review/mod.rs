//! The review of maintainer scripts: each one in an image was read by somebody.
//!
//! What counts is what a script does at a first installation. prerm, postrm and
//! config are never run then. Of preinst and postinst the blocks that packaging
//! helpers write are recognised ([`block`]) and their effect is checked in the
//! image ([`effect`]); what is left is known by its SHA-256, comments and empty
//! lines not counted ([`shell`]). Files of triggers are read by their grammar
//! ([`trigger`]). Anything that the recipe's tables do not know stops the build:
//! an unknown line in a block, another parameter, another rest.
//!
//! Debian's kernel packages carry their version in their name and in their
//! scripts, so that every update would bring the same scripts to read again.
//! Names and scripts are therefore compared with the kernel's version written
//! as [`KERNEL`], which hides nothing: the version is part of a package name, of
//! letters, digits and `.+-` alone (Debian Policy 5.6.7,
//! <https://www.debian.org/doc/debian-policy/ch-controlfields.html#package>),
//! and a script in which the placeholder itself occurs is compared as it is.

mod block;
mod effect;
mod pattern;
mod script;
mod shell;
#[cfg(test)]
mod tests;
mod trigger;
mod unreviewed;

pub use effect::check_effects;
pub use unreviewed::{Unreviewed, UnreviewedScripts};

use std::borrow::Cow;

use anyhow::Result;
use sha2::{Digest, Sha256};

use self::block::{Command, Rules};
use self::script::{Meaning, read_script};
use self::trigger::unknown_triggers;
use super::merge::glob_set;
use crate::builder::deb::{Package, Script};
use crate::builder::recipe::{Recipe, ReviewedScript};

/// Stands for the kernel's version in the table of reviewed scripts.
pub const KERNEL: &str = "@KERNEL@";

/// What dpkg runs when a package is installed for the first time.
const RUN_AT_INSTALLATION: [&str; 2] = ["preinst", "postinst"];
const TRIGGERS: &str = "triggers";

/// What the scripts of an image's packages come to.
#[derive(Debug, Default)]
pub struct Review<'a> {
    /// What known blocks would have done, with the package that asks for it.
    pub effects: Vec<(&'a Package, Command<'a>)>,
    /// Scripts that the recipe's tables do not know.
    pub unreviewed: Vec<Unreviewed>,
    /// How many scripts and files of triggers a first installation looks at.
    pub looked_at: usize,
}

/// Reads every script; fails only when the recipe's own tables are wrong.
pub fn review_scripts<'a>(recipe: &'a Recipe, packages: &'a [Package]) -> Result<Review<'a>> {
    let kernel = kernel_version(recipe, packages)?;
    let rules = Rules::new(&recipe.blocks)?;
    let mut review = Review::default();
    for package in packages {
        let name = match kernel {
            Some(kernel) => package.name.replace(kernel, KERNEL),
            None => package.name.clone(),
        };
        for script in &package.scripts {
            let reading = Reading {
                package,
                name: &name,
                reviewed: recipe
                    .scripts
                    .iter()
                    .filter(|one| one.package == name && one.kind == script.kind)
                    .collect(),
                script: comparable(script, kernel),
            };
            if RUN_AT_INSTALLATION.contains(&script.kind.as_str()) {
                let meaning = read_script(&reading.script, &rules);
                review.looked_at += 1;
                review.unreviewed.extend(reading.compare(&meaning));
                let commands = meaning.commands.into_iter();
                review
                    .effects
                    .extend(commands.map(|command| (package, command)));
            } else if script.kind == TRIGGERS {
                review.unreviewed.extend(reading.compare_triggers(recipe));
                review.looked_at += 1;
            }
        }
    }
    Ok(review)
}

/// Fails when a package carries a script that the recipe's tables do not know.
pub fn check_scripts<'a>(recipe: &'a Recipe, packages: &'a [Package]) -> Result<Review<'a>> {
    let mut review = review_scripts(recipe, packages)?;
    let scripts = std::mem::take(&mut review.unreviewed);
    match scripts.is_empty() {
        true => Ok(review),
        false => Err(UnreviewedScripts { scripts }.into()),
    }
}

/// All that could be reviewed of these packages, as if nobody had yet.
pub fn read_scripts(recipe: &Recipe, packages: &[Package]) -> Result<Vec<Unreviewed>> {
    let forgetful = Recipe {
        scripts: Vec::new(),
        ..recipe.clone()
    };
    Ok(review_scripts(&forgetful, packages)?.unreviewed)
}

/// A script beside what the table says of it.
struct Reading<'a> {
    package: &'a Package,
    name: &'a str,
    reviewed: Vec<&'a ReviewedScript>,
    script: Script,
}

impl Reading<'_> {
    fn compare(&self, meaning: &Meaning) -> Option<Unreviewed> {
        let does = meaning.does();
        let rest = meaning.rest.as_ref();
        let known = self.reviewed.iter().any(|one| match &one.sha256 {
            // Pasting a digest is not reviewing.
            Some(_) if one.effect.trim().is_empty() => false,
            Some(digest) if *digest == self.script.sha256 => true,
            // What it no longer does is nothing new.
            digest => {
                does.iter().all(|deed| one.does.contains(deed))
                    && digest.as_ref() == rest.map(|rest| &rest.sha256)
            }
        });
        if known || (does.is_empty() && rest.is_none()) {
            return None;
        }
        let entry = ReviewedScript {
            does,
            sha256: rest.map(|rest| rest.sha256.clone()),
            ..self.entry()
        };
        Some(
            self.unreviewed(entry, rest.and_then(|rest| rest.whole.clone()), {
                rest.map(|rest| rest.text.clone()).unwrap_or_default()
            }),
        )
    }

    fn compare_triggers(&self, recipe: &Recipe) -> Option<Unreviewed> {
        let unknown = unknown_triggers(&self.script.text, &recipe.blocks);
        let listed = self.reviewed.iter().any(|one| {
            one.sha256.as_ref() == Some(&self.script.sha256) && !one.effect.trim().is_empty()
        });
        if unknown.is_empty() || listed {
            return None;
        }
        let entry = ReviewedScript {
            sha256: Some(self.script.sha256.clone()),
            ..self.entry()
        };
        let reason = format!("it has unknown triggers: {}", unknown.join(", "));
        Some(self.unreviewed(entry, Some(reason), unknown.join("\n")))
    }

    fn entry(&self) -> ReviewedScript {
        ReviewedScript {
            package: self.name.to_owned(),
            kind: self.script.kind.clone(),
            ..ReviewedScript::default()
        }
    }

    fn unreviewed(&self, entry: ReviewedScript, whole: Option<String>, rest: String) -> Unreviewed {
        Unreviewed {
            package: self.package.name.clone(),
            version: self.package.version.clone(),
            earlier: self.reviewed.iter().map(|one| (*one).clone()).collect(),
            entry,
            whole,
            rest,
        }
    }
}

/// The script with the kernel's version replaced.
fn comparable(script: &Script, kernel: Option<&str>) -> Script {
    match kernel.and_then(|kernel| without_version(&script.text, kernel)) {
        Some(text) => Script {
            kind: script.kind.clone(),
            sha256: hex::encode(Sha256::digest(text.as_bytes())),
            text: text.into_owned().into_bytes(),
        },
        None => script.clone(),
    }
}

/// What the recipe's pattern for the kernel's package leaves open, up to the
/// end of the name: `6.12.9-cloud-amd64`.
fn kernel_version<'a>(recipe: &Recipe, packages: &'a [Package]) -> Result<Option<&'a str>> {
    let Some(pattern) = recipe.image.as_ref().map(|image| &image.kernel_package) else {
        return Ok(None);
    };
    let (prefix, _) = pattern.split_once('*').unwrap_or((pattern, ""));
    let wanted = glob_set(std::slice::from_ref(pattern))?;
    let mut versions = packages
        .iter()
        .filter(|package| wanted.is_match(&package.name))
        .filter_map(|package| package.name.strip_prefix(prefix));
    Ok(versions.find(|version| !version.is_empty()))
}

/// The script with the kernel's version replaced; nothing when it is not there.
fn without_version<'a>(script: &'a [u8], kernel: &str) -> Option<Cow<'a, str>> {
    let text = std::str::from_utf8(script).ok()?;
    // debhelper writes a `+` with a backslash before it, for the shell.
    let escaped = kernel.replace('+', "\\+");
    let there = text.contains(kernel) || text.contains(&escaped);
    (there && !text.contains(KERNEL)).then(|| {
        text.replace(kernel, KERNEL)
            .replace(&escaped, KERNEL)
            .into()
    })
}
