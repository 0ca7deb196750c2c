//! The control archive: the package's paragraph, its conffiles and its scripts.
//!
//! Kept: `control`, `conffiles`, the maintainer scripts and `triggers`. Left
//! out, because only dpkg or debconf need them: `md5sums`, `shlibs`, `symbols`,
//! `templates`. Formats: deb-control(5), deb-conffiles(5), deb-triggers(5).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::Script;
use super::headers::Checked;

/// What of a package runs, or makes others run, when dpkg installs it; sorted.
const SCRIPTS: [&str; 6] = [
    "config", "postinst", "postrm", "preinst", "prerm", "triggers",
];
/// Far above the largest control file of Debian 13 (some MiB of symbols), bytes.
const LARGEST_FILE: u64 = 16 << 20;

/// The control data of a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub paragraph: String,
    pub conffiles: Vec<String>,
    pub scripts: Vec<Script>,
}

/// Reads the decompressed control archive to its end.
pub(super) fn read_control(mut reader: impl Read) -> Result<Control> {
    let mut files = read_files(&mut reader)?;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    let paragraph = files
        .remove("control")
        .context("there is no control file in it")?;
    let paragraph = String::from_utf8(paragraph).context("reading the control file")?;
    check_paragraph(&paragraph)?;
    let conffiles = files.remove("conffiles").unwrap_or_default();
    let conffiles = String::from_utf8(conffiles).context("reading the conffiles")?;
    let scripts = SCRIPTS
        .iter()
        .filter_map(|kind| {
            let text = files.remove(*kind)?;
            Some(Script {
                kind: (*kind).to_owned(),
                sha256: hex::encode(Sha256::digest(&text)),
                text,
            })
        })
        .collect();
    Ok(Control {
        name: field(&paragraph, "Package")?.to_owned(),
        version: field(&paragraph, "Version")?.to_owned(),
        architecture: field(&paragraph, "Architecture")?.to_owned(),
        paragraph,
        conffiles: parse_conffiles(&conffiles)?,
        scripts,
    })
}

fn read_files(reader: &mut impl Read) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(Checked::new(reader)).entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if entry.header().entry_type().is_dir() && name.is_empty() {
            continue;
        }
        let wanted =
            ["control", "conffiles"].contains(&name.as_str()) || SCRIPTS.contains(&name.as_str());
        if !wanted {
            continue;
        }
        if !entry.header().entry_type().is_file() {
            bail!("{name} is not a regular file");
        }
        if entry.size() > LARGEST_FILE {
            bail!("{name} is larger than {LARGEST_FILE} bytes");
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        if bytes.len() as u64 != entry.size() {
            bail!("the archive ends inside {name}");
        }
        if files.insert(name.clone(), bytes).is_some() {
            bail!("{name} is there twice");
        }
    }
    Ok(files)
}

/// Refuses what two readers would read as two packages: a second paragraph, a field twice.
///
/// The paragraph goes into the image's list of packages as it is.
fn check_paragraph(paragraph: &str) -> Result<()> {
    let mut names = BTreeSet::new();
    let text = paragraph.trim_end_matches('\n');
    if text.contains(|character: char| character.is_control() && !"\n\t".contains(character)) {
        bail!("the control file holds control characters");
    }
    for line in text.split('\n') {
        if line.trim().is_empty() {
            bail!("the control file has more than one paragraph");
        }
        if line.starts_with([' ', '\t', '#']) {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else {
            bail!("the line {line:?} of the control file is no field");
        };
        if !names.insert(name.to_ascii_lowercase()) {
            bail!("the control file has {name} twice");
        }
    }
    Ok(())
}

/// One field of the paragraph, on one line.
fn field<'a>(paragraph: &'a str, name: &str) -> Result<&'a str> {
    paragraph
        .lines()
        .find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
        .filter(|value| !value.is_empty())
        .with_context(|| format!("the control file lacks {name}"))
}

fn parse_conffiles(text: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
    {
        // A flag names a file that the package no longer has.
        if line.starts_with("remove-on-upgrade ") {
            continue;
        }
        let path = line
            .strip_prefix('/')
            .with_context(|| format!("the conffile {line} is not an absolute path"))?;
        paths.push(path.to_owned());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::{check_paragraph, field, parse_conffiles};

    /// Scanners read what follows as one more package of the image.
    #[test]
    fn a_paragraph_is_one_package() {
        let sound = "Package: a\nVersion: 1\nDescription: x\n text\n .\n\tmore\n\n";
        check_paragraph(sound).unwrap();
        for (text, reason) in [
            ("Package: a\n\nPackage: b\n", "more than one paragraph"),
            ("Package: a\n \nPackage: b\n", "more than one paragraph"),
            ("\nPackage: a\n", "more than one paragraph"),
            ("Package: a\nVersion: 1\npackage: b\n", "has package twice"),
            ("Package: a\r\nVersion: 1\n", "control characters"),
            ("Package: a\nX: \x1b[2J\n", "control characters"),
            ("Package: a\nVersion 1\n", "is no field"),
        ] {
            let error = check_paragraph(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn conffiles_without_the_removed_ones() {
        let text = "/etc/a b\nremove-on-upgrade /etc/gone\n/etc/c \n\n";
        assert_eq!(parse_conffiles(text).unwrap(), ["etc/a b", "etc/c"]);
        assert!(parse_conffiles("etc/a").is_err());
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let paragraph = "package: dash\nVersion:  1:2\nDescription: x\n Package: no\n";
        assert_eq!(field(paragraph, "Package").unwrap(), "dash");
        assert_eq!(field(paragraph, "Version").unwrap(), "1:2");
        assert_eq!(
            field(paragraph, "Architecture").unwrap_err().to_string(),
            "the control file lacks Architecture"
        );
    }
}
