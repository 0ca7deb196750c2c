//! Names in a recipe, which become names of files, here and in the image.

use anyhow::Result;

use super::Archive;
use crate::error::hinted;
use crate::format::boot_entry::is_name;

/// How long name and version may be together: a GPT label has 36 UTF-16
/// units, of which `_` and `_r` take three.
pub const LABEL_ROOM: usize = 36 - 3;

/// Checks that name and version can be what they become: file names, GPT
/// labels, tags of OCI images (no `+`, no `~`) and boot entries, where `+`
/// begins the count of attempts.
pub fn check_names(name: &str, version: &str) -> Result<()> {
    for (what, text) in [("name", name), ("version", version)] {
        if !is_name(text) {
            return Err(hinted(
                format!("'{text}' cannot be the {what} of an image"),
                format!(
                    "a {what} takes letters, digits, '.' and '-', and begins with one of the first two"
                ),
            ));
        }
    }
    let length = name.len() + version.len();
    if length > LABEL_ROOM {
        return Err(hinted(
            format!("'{name}' and '{version}' together are longer than {LABEL_ROOM} characters"),
            format!(
                "they are part of a partition's label: shorten them by {}",
                length - LABEL_ROOM
            ),
        ));
    }
    Ok(())
}

/// Refuses names that lead out of an archive, and snapshots of anything but a time.
pub(super) fn check_sources(sources: &[Archive]) -> Result<()> {
    for source in sources {
        for (what, text) in std::iter::once(("suite", &source.suite))
            .chain(source.components.iter().map(|one| ("component", one)))
        {
            if !is_place(text) {
                return Err(hinted(
                    format!("{text:?} cannot be a {what} of an archive"),
                    format!("a {what} is a name as in `trixie-security` or `stable/updates`"),
                ));
            }
        }
    }
    check_snapshots(sources)
}

/// Whether a text is a path of plain names.
pub fn is_place(text: &str) -> bool {
    text.split('/').all(|part| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part
                .chars()
                .all(|one| one.is_ascii_alphanumeric() || "._+~-".contains(one))
    })
}

/// Refuses a table that lies elsewhere.
pub(super) fn check_beside(file: Option<&str>) -> Result<()> {
    let Some(file) = file else {
        return Ok(());
    };
    let beside = !file.is_empty()
        && ![".", ".."].contains(&file)
        && !file.contains(|one: char| one == '/' || one.is_control());
    if beside {
        return Ok(());
    }
    Err(hinted(
        format!("{file:?} is not the name of a file beside it"),
        "put the table beside the recipe",
    ))
}

/// The one thing that an address of a snapshot may leave open is the time.
fn check_snapshots(sources: &[Archive]) -> Result<()> {
    for address in sources.iter().flat_map(|source| &source.snapshots) {
        if address.replace("{time}", "").contains(['{', '}']) {
            return Err(hinted(
                format!("'{address}' under 'snapshots' has a placeholder that is not known"),
                "the only one is {time}, as in http://snapshot.debian.org/archive/debian/{time}",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result};

    use crate::builder::recipe::{RecipeFiles, parse_recipe};

    struct Texts(Vec<(&'static str, String)>);

    impl RecipeFiles for Texts {
        fn bytes(&self, name: &str) -> Result<Vec<u8>> {
            let found = self.0.iter().find(|(file, _)| *file == name);
            Ok(found.context("no such file")?.1.clone().into())
        }
    }

    #[test]
    fn no_name_is_a_path() {
        let source = "\n[[sources]]\nsuite = \"SUITE\"\nmirrors = []\n\
                      components = [\"COMPONENT\"]\nkeys = [\"debian-trixie\"]\n";
        let text = format!(
            "name = \"NAME\"\nversion = \"VERSION\"\narchitecture = \"amd64\"\n\
             packages = []\naccounts_file = \"FILE\"\n{source}"
        );
        let good = [
            ("NAME", "t"),
            ("VERSION", "1"),
            ("SUITE", "stable/updates"),
            ("COMPONENT", "main"),
            ("FILE", "accounts.toml"),
        ];
        let read = |changed: &str, value: &str| {
            let mut text = text.clone();
            for (place, usual) in good {
                let value = if place == changed { value } else { usual };
                text = text.replace(place, value);
            }
            let accounts = "users = []\ngroups = []\n";
            let files = vec![("t.toml", text), ("accounts.toml", accounts.to_owned())];
            parse_recipe("t.toml", &Texts(files))
        };
        read("", "").unwrap();
        for (place, _) in good {
            for value in [
                "",
                ".",
                "..",
                "../x",
                "x/..",
                "/x",
                "x/",
                "a//b",
                "a\\nb",
                "a\\u0000b",
            ] {
                let error = read(place, value).unwrap_err();
                let text = format!("{error:#}");
                assert!(
                    text.contains("cannot be the")
                        || text.contains("cannot be a")
                        || text.contains("is not the name of a file beside it"),
                    "{place} {value:?}: {text}"
                );
            }
        }
    }
}
