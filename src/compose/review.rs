//! The review of maintainer scripts: each one in an image was read by somebody.
//!
//! A script is known by its SHA-256. One that is new or has changed stops the
//! build; [`Unreviewed`] prints the lines to add to the table once it was read.
//!
//! Debian's kernel packages carry their version in their name and in their
//! scripts, so that every update would bring the same eight scripts to read
//! again. Names and scripts are therefore compared with the kernel's version
//! written as [`KERNEL`], which hides nothing: the version is part of a package
//! name, of letters, digits and `.+-` alone (Debian Policy 5.6.7,
//! <https://www.debian.org/doc/debian-policy/ch-controlfields.html#package>),
//! and a script in which the placeholder itself occurs is compared as it is.

use std::borrow::Cow;
use std::fmt;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::merge::glob_set;
use crate::deb::{Package, Script};
use crate::error::hinted;
use crate::recipe::{Recipe, ReviewedScript};

/// Stands for the kernel's version in the table of reviewed scripts.
pub const KERNEL: &str = "@KERNEL@";

/// A script that the recipe's table does not know.
///
/// [`Display`](fmt::Display) shows the entry to add, to be given its effect,
/// and the script below it.
#[derive(Clone, Debug)]
pub struct Unreviewed {
    /// The package with its version, for people.
    pub package: String,
    /// The entry that the table lacks, without an effect.
    pub entry: ReviewedScript,
    /// What the table says of earlier scripts of that package and kind.
    pub earlier: Vec<String>,
    /// The script.
    pub text: String,
}

/// Fails when a package carries a script that the recipe's table does not know.
pub fn check_scripts(recipe: &Recipe, packages: &[Package]) -> Result<()> {
    let unknown = unreviewed_scripts(recipe, packages)?;
    if unknown.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unknown
        .iter()
        .map(|one| {
            let ReviewedScript { kind, sha256, .. } = &one.entry;
            format!("{} {kind} (sha256 {sha256})", one.package)
        })
        .collect();
    let table = recipe
        .scripts_file
        .as_deref()
        .unwrap_or("the table of scripts");
    Err(hinted(
        format!(
            "checking maintainer scripts: nobody reviewed: {}",
            list.join("; ")
        ),
        format!(
            "read each with `mailimg scripts {}`, declare what it does, then add it with its effect to recipes/{table}",
            recipe.name
        ),
    ))
}

/// The scripts that the recipe's table does not know; an entry that names no
/// effect counts for nothing.
pub fn unreviewed_scripts(recipe: &Recipe, packages: &[Package]) -> Result<Vec<Unreviewed>> {
    let kernel = kernel_version(recipe, packages)?;
    let mut unknown = Vec::new();
    for package in packages {
        for script in &package.scripts {
            let entry = entry(package, script, kernel);
            let of_kind: Vec<&ReviewedScript> = recipe
                .scripts
                .iter()
                .filter(|one| one.package == entry.package && one.kind == entry.kind)
                .collect();
            let reviewed = of_kind
                .iter()
                .any(|one| one.sha256 == entry.sha256 && !one.effect.trim().is_empty());
            if !reviewed {
                unknown.push(Unreviewed {
                    package: format!("{} {}", package.name, package.version),
                    earlier: of_kind.iter().map(|one| one.effect.clone()).collect(),
                    text: String::from_utf8_lossy(&script.text).into_owned(),
                    entry,
                });
            }
        }
    }
    Ok(unknown)
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

fn entry(package: &Package, script: &Script, kernel: Option<&str>) -> ReviewedScript {
    let (mut name, mut sha256) = (package.name.clone(), script.sha256.clone());
    if let Some(kernel) = kernel {
        name = name.replace(kernel, KERNEL);
        if let Some(text) = without_version(&script.text, kernel) {
            sha256 = hex::encode(Sha256::digest(text.as_bytes()));
        }
    }
    ReviewedScript {
        package: name,
        kind: script.kind.clone(),
        sha256,
        effect: String::new(),
    }
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

impl fmt::Display for Unreviewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReviewedScript {
            package,
            kind,
            sha256,
            ..
        } = &self.entry;
        writeln!(formatter, "# {}", self.package)?;
        for effect in &self.earlier {
            writeln!(formatter, "# an earlier {kind}: {effect}")?;
        }
        writeln!(formatter, "[[script]]\npackage = \"{package}\"")?;
        writeln!(formatter, "kind = \"{kind}\"\nsha256 = \"{sha256}\"")?;
        writeln!(formatter, "effect = \"\"")?;
        for line in self.text.lines() {
            writeln!(formatter, "{}", format!("#   {line}").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::{check_scripts, unreviewed_scripts};
    use crate::deb::{Package, Script};
    use crate::error::render;
    use crate::recipe::{Recipe, parse_recipe};

    /// A recipe with this table of scripts.
    fn recipe(scripts: &str) -> Recipe {
        let folder = tempfile::tempdir().unwrap();
        let text = "name = \"x\"\nversion = \"1\"\narchitecture = \"amd64\"\npackages = []\n\
                    sources = []\nscripts_file = \"scripts.toml\"\n\
                    [image]\nkernel_package = \"linux-image-*-cloud-amd64\"\ncommand_line = \"\"\n\
                    initrd = { files = [], modules = [] }\n\
                    disk = { esp_mib = 64, root_mib = 1, verity_mib = 1 }\n";
        std::fs::write(folder.path().join("x.toml"), text).unwrap();
        std::fs::write(folder.path().join("scripts.toml"), scripts).unwrap();
        parse_recipe("x.toml", &folder.path().to_path_buf()).unwrap()
    }

    fn package(name: &str, script: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "1.0-1".to_owned(),
            architecture: "amd64".to_owned(),
            control: String::new(),
            conffiles: Vec::new(),
            scripts: vec![Script {
                kind: "postinst".to_owned(),
                sha256: hex::encode(Sha256::digest(script)),
                text: script.as_bytes().to_vec(),
            }],
            entries: Vec::new(),
        }
    }

    fn kernel(version: &str, command: &str) -> Vec<Package> {
        let escaped = version.replace('+', "\\+");
        vec![
            package(
                &format!("linux-image-{version}-cloud-amd64"),
                &format!("version={version}-cloud-amd64\n{command} $version\n"),
            ),
            package(
                "linux-image-cloud-amd64",
                &format!("helper linux-image-{escaped}-cloud-amd64\n"),
            ),
        ]
    }

    #[test]
    fn an_unknown_script_is_printed_ready_for_the_table() {
        let shell = package("shell", "#!/bin/sh\n\necho\n");
        let error = check_scripts(&recipe(""), std::slice::from_ref(&shell)).unwrap_err();
        let digest = &shell.scripts[0].sha256;
        assert_eq!(
            render(&error),
            format!(
                "error: checking maintainer scripts: nobody reviewed: \
                 shell 1.0-1 postinst (sha256 {digest})\n\
                 hint: read each with `mailimg scripts x`, declare what it does, \
                 then add it with its effect to recipes/scripts.toml"
            )
        );
        let older = "[[script]]\npackage = \"shell\"\nkind = \"postinst\"\nsha256 = \"00\"\neffect = \"nothing\"\n";
        let unknown = unreviewed_scripts(&recipe(older), std::slice::from_ref(&shell)).unwrap();
        let printed = unknown[0].to_string();
        assert_eq!(
            printed,
            format!(
                "# shell 1.0-1\n# an earlier postinst: nothing\n[[script]]\npackage = \"shell\"\n\
                 kind = \"postinst\"\nsha256 = \"{digest}\"\neffect = \"\"\n\
                 #   #!/bin/sh\n#\n#   echo\n"
            )
        );
        // Pasting is not reviewing.
        check_scripts(&recipe(&printed), std::slice::from_ref(&shell)).unwrap_err();
        let reviewed = printed.replace("effect = \"\"", "effect = \"says hello\"");
        check_scripts(&recipe(&reviewed), &[shell]).unwrap();
    }

    #[test]
    fn a_new_kernel_with_the_same_scripts_needs_no_review() {
        let table: String = unreviewed_scripts(&recipe(""), &kernel("6.12.9+deb13", "depmod"))
            .unwrap()
            .iter()
            .map(|one| one.to_string().replace("effect = \"\"", "effect = \"e\""))
            .collect();
        assert!(
            table.contains("package = \"linux-image-@KERNEL@\""),
            "{table}"
        );
        let recipe = recipe(&table);
        check_scripts(&recipe, &kernel("6.12.10+deb13", "depmod")).unwrap();
        for changed in ["rm -rf", "@KERNEL@"] {
            let error = check_scripts(&recipe, &kernel("6.12.10+deb13", changed)).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("linux-image-6.12.10+deb13-cloud-amd64"),
                "{error}"
            );
            assert!(!error.contains(';'), "{error}");
        }
    }
}
