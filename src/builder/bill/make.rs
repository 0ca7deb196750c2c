//! From a composed image to its bill of materials.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::digest::{Digests, of_files, verification_code};
use super::document::{
    BILL_PATH, Checksum, CreationInfo, Document, ExternalReference, File, NO_ASSERTION,
    Relationship, SpdxPackage, VerificationCode,
};
use super::{crates, licence};
use crate::builder::archive::suite::join_url;
use crate::builder::compose::{Composed, MAILCTL_PATH, Manifest, Origin, field};
use crate::builder::deb;
use crate::builder::lock::Lock;
use crate::builder::tree::{Content, Kind, Tree};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const IMAGE: &str = "SPDXRef-image";
const MAILCTL: &str = "SPDXRef-mailctl";

/// The folder whose content goes onto the boot partition and not into the root.
const BOOT: &str = "boot/";

/// The licence of what this project writes.
const OWN_LICENCE: &str = env!("CARGO_PKG_LICENSE");

const COMMENT: &str = "Files are the regular files of the root file system, each in the one \
     package that it came with: a package of Debian, overlay, units, mailctl, or builder, which \
     is what mailimg makes itself. Kernel, initrd and boot loader lie on the boot partition; \
     they come from packages that are listed here. Declared licences of Debian's packages are \
     those of their source, from /usr/share/doc/PACKAGE/copyright where all of them have a name \
     in SPDX.";

/// A regular file of the root.
struct Listed<'a> {
    path: &'a str,
    origin: &'a Origin,
    content: &'a Content,
}

/// The path in the root of a file of a bill.
pub fn file_path(file: &File) -> &str {
    file.file_name.strip_prefix("./").unwrap_or(&file.file_name)
}

/// Makes the document.
pub(super) fn make(
    composed: &Composed,
    packages: &[deb::Package],
    lock: &Lock,
) -> Result<Document> {
    let manifest = &composed.manifest;
    let listed = listed(composed)?;
    let digests = digests(&composed.tree, &listed)?;
    let mut by_origin: BTreeMap<&Origin, Vec<usize>> = BTreeMap::new();
    for (index, file) in listed.iter().enumerate() {
        by_origin.entry(file.origin).or_default().push(index);
    }
    let mut made = vec![image(manifest, &digests)];
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", IMAGE)];
    let distribution = distribution(&composed.tree)?;
    let is_there = |package: &&deb::Package| {
        let mut names = manifest.packages.iter().map(|package| &package.name);
        names.any(|name| *name == package.name)
    };
    for package in packages.iter().filter(is_there) {
        let mut one = debian(package, lock, &composed.tree, &distribution)?;
        let origin = Origin::Package(package.name.clone());
        add_files(&mut one, by_origin.remove(&origin), &digests);
        made.push(one);
    }
    for (origin, files) in by_origin {
        let mut one = own(origin, manifest);
        add_files(&mut one, Some(files), &digests);
        made.push(one);
    }
    for package in &made[1..] {
        relationships.push(relationship(IMAGE, "CONTAINS", &package.id));
    }
    if composed.tree.contains(MAILCTL_PATH) {
        for linked in crates::linked() {
            let one = crate_package(&linked);
            relationships.push(relationship(MAILCTL, "STATIC_LINK", &one.id));
            made.push(one);
        }
    }
    let mut document = Document {
        spdx_version: "SPDX-2.3".to_owned(),
        data_license: "CC0-1.0".to_owned(),
        id: DOCUMENT.to_owned(),
        name: format!("{}_{}", manifest.name, manifest.version),
        document_namespace: String::new(),
        creation_info: CreationInfo {
            created: jiff::Timestamp::from_second(lock.time())
                .context("writing the time of the lock")?
                .to_string(),
            creators: vec![format!("Tool: mailimg-{}", env!("CARGO_PKG_VERSION"))],
        },
        comment: COMMENT.to_owned(),
        document_describes: vec![IMAGE.to_owned()],
        packages: made,
        files: listed
            .iter()
            .zip(&digests)
            .enumerate()
            .map(|(index, (file, digests))| File {
                id: file_id(index),
                file_name: format!("./{}", file.path),
                checksums: vec![
                    checksum("SHA1", hex::encode(digests.sha1)),
                    checksum("SHA256", hex::encode(digests.sha256)),
                ],
            })
            .collect(),
        relationships,
    };
    // Of the content, so that two different documents never have the same.
    let digest = hex::encode(Sha256::digest(serde_json::to_vec(&document)?));
    document.document_namespace = format!(
        "https://spdx.org/spdxdocs/mailimg/{}-{digest}",
        document.name
    );
    Ok(document)
}

/// The regular files of the root with their origins, in the order of their paths.
fn listed(composed: &Composed) -> Result<Vec<Listed<'_>>> {
    let tree = &composed.tree;
    let mut listed = Vec::new();
    for (path, node) in tree.iter() {
        let content = match &node.kind {
            Kind::File(content) => content,
            Kind::HardLink(target) => tree
                .content(target)
                .with_context(|| format!("reading /{target}"))?,
            Kind::Directory | Kind::Symlink(_) => continue,
        };
        if path.starts_with(BOOT) {
            continue;
        }
        let origin = composed
            .origins
            .get(path)
            .with_context(|| format!("finding out what brought /{path}"))?;
        listed.push(Listed {
            path,
            origin,
            content,
        });
    }
    Ok(listed)
}

/// The digests of the files, each read once, however many names it has.
fn digests(tree: &Tree, listed: &[Listed]) -> Result<Vec<Digests>> {
    let target = |path: &str| match tree.get(path).map(|node| &node.kind) {
        Some(Kind::HardLink(target)) => target.clone(),
        _ => path.to_owned(),
    };
    let once: BTreeMap<String, (&str, &Content)> = listed
        .iter()
        .map(|file| (target(file.path), (file.path, file.content)))
        .collect();
    let read: Vec<(&str, &Content)> = once.values().copied().collect();
    let known: BTreeMap<&String, Digests> = once.keys().zip(of_files(&read)?).collect();
    Ok(listed
        .iter()
        .map(|file| known[&target(file.path)].clone())
        .collect())
}

fn image(manifest: &Manifest, digests: &[Digests]) -> SpdxPackage {
    SpdxPackage {
        id: IMAGE.to_owned(),
        name: manifest.name.clone(),
        version_info: Some(manifest.version.clone()),
        primary_package_purpose: Some("OPERATING-SYSTEM".to_owned()),
        files_analyzed: true,
        package_verification_code: Some(VerificationCode {
            package_verification_code_value: verification_code(digests.iter()),
            package_verification_code_excluded_files: vec![format!("./{BILL_PATH}")],
        }),
        ..empty()
    }
}

fn debian(
    package: &deb::Package,
    lock: &Lock,
    tree: &Tree,
    distribution: &str,
) -> Result<SpdxPackage> {
    let locked = lock.packages.iter().find(|one| one.name == package.name);
    let location = locked.and_then(|locked| {
        let mut sources = lock.sources.iter();
        let source = sources.find(|source| source.suite == locked.suite)?;
        Some(join_url(source.mirrors.first()?, &locked.path))
    });
    let copyright = tree.content(&format!("usr/share/doc/{}/copyright", package.name));
    let declared = match copyright {
        Some(content) => licence::of_copyright(&String::from_utf8_lossy(&content.read()?)),
        None => None,
    };
    let source = field(&package.control, "Source").unwrap_or(package.name.as_str().into());
    let (source, version) = match source.split_once(" (") {
        Some((source, version)) => (source, version.trim_end_matches(')')),
        None => (&*source, package.version.as_str()),
    };
    Ok(SpdxPackage {
        id: format!("SPDXRef-deb-{}", id_text(&package.name)),
        name: package.name.clone(),
        version_info: Some(package.version.clone()),
        supplier: Some("Organization: Debian".to_owned()),
        download_location: location.unwrap_or_else(|| NO_ASSERTION.to_owned()),
        checksums: locked
            .map(|locked| checksum("SHA256", locked.sha256.clone()))
            .into_iter()
            .collect(),
        source_info: Some(format!("built package from: {source} {version}")),
        license_declared: declared.unwrap_or_else(|| NO_ASSERTION.to_owned()),
        external_refs: vec![purl(format!(
            "pkg:deb/debian/{}@{}?arch={}&distro={}",
            escape(&package.name),
            escape(&package.version),
            package.architecture,
            escape(distribution)
        ))],
        ..empty()
    })
}

/// What this project itself brings.
fn own(origin: &Origin, manifest: &Manifest) -> SpdxPackage {
    let (version, comment) = match origin {
        Origin::Mailctl => (
            env!("CARGO_PKG_VERSION").to_owned(),
            Some("The crates are those that the library of this mailimg links.".to_owned()),
        ),
        _ => (manifest.version.clone(), None),
    };
    SpdxPackage {
        id: format!("SPDXRef-{origin}"),
        name: match origin {
            Origin::Mailctl => origin.to_string(),
            _ => format!("mailimg-{origin}"),
        },
        version_info: Some(version),
        license_declared: match origin {
            // Partly of Debian's texts, such as os-release and certificates.
            Origin::Builder => NO_ASSERTION.to_owned(),
            _ => OWN_LICENCE.to_owned(),
        },
        comment,
        ..empty()
    }
}

fn crate_package(linked: &crates::Crate) -> SpdxPackage {
    let crates::Crate {
        name,
        version,
        sha256,
        licence,
    } = linked;
    SpdxPackage {
        id: format!("SPDXRef-crate-{}-{}", id_text(name), id_text(version)),
        name: (*name).to_owned(),
        version_info: Some((*version).to_owned()),
        primary_package_purpose: Some("LIBRARY".to_owned()),
        download_location: match sha256 {
            Some(_) => format!("https://static.crates.io/crates/{name}/{name}-{version}.crate"),
            None => NO_ASSERTION.to_owned(),
        },
        checksums: sha256
            .map(|digest| checksum("SHA256", digest.to_owned()))
            .into_iter()
            .collect(),
        license_declared: licence.clone().unwrap_or_else(|| NO_ASSERTION.to_owned()),
        external_refs: vec![purl(format!("pkg:cargo/{name}@{}", escape(version)))],
        ..empty()
    }
}

/// A package of which nothing is known.
fn empty() -> SpdxPackage {
    SpdxPackage {
        download_location: NO_ASSERTION.to_owned(),
        license_concluded: NO_ASSERTION.to_owned(),
        license_declared: NO_ASSERTION.to_owned(),
        copyright_text: NO_ASSERTION.to_owned(),
        ..SpdxPackage::default()
    }
}

fn add_files(package: &mut SpdxPackage, files: Option<Vec<usize>>, digests: &[Digests]) {
    let Some(files) = files else { return };
    let of_package = files.iter().map(|index| &digests[*index]);
    package.files_analyzed = true;
    package.package_verification_code = Some(VerificationCode {
        package_verification_code_value: verification_code(of_package),
        package_verification_code_excluded_files: match package.id == "SPDXRef-builder" {
            true => vec![format!("./{BILL_PATH}")],
            false => Vec::new(),
        },
    });
    package.has_files = files.into_iter().map(file_id).collect();
}

fn file_id(index: usize) -> String {
    format!("SPDXRef-f{index}")
}

/// `ID-VERSION_ID` of os-release, as package URLs name a distribution.
fn distribution(tree: &Tree) -> Result<String> {
    let release = match tree.content("usr/lib/os-release") {
        Some(content) => content.read()?,
        None => Vec::new(),
    };
    let release = String::from_utf8_lossy(&release).into_owned();
    let value = |key: &str| {
        let mut lines = release.lines().filter_map(|line| line.split_once('='));
        let found = lines.find(|(name, _)| *name == key);
        found
            .map_or("", |(_, value)| value.trim_matches('"'))
            .to_owned()
    };
    Ok(format!("{}-{}", value("ID"), value("VERSION_ID")))
}

fn relationship(one: &str, kind: &str, other: &str) -> Relationship {
    Relationship {
        spdx_element_id: one.to_owned(),
        relationship_type: kind.to_owned(),
        related_spdx_element: other.to_owned(),
    }
}

fn checksum(algorithm: &str, value: String) -> Checksum {
    Checksum {
        algorithm: algorithm.to_owned(),
        checksum_value: value,
    }
}

fn purl(locator: String) -> ExternalReference {
    ExternalReference {
        reference_category: "PACKAGE-MANAGER".to_owned(),
        reference_type: "purl".to_owned(),
        reference_locator: locator,
    }
}

/// Package URLs leave letters, digits, `.-_~` and `:` as they are.
fn escape(text: &str) -> String {
    let letters = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b':' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    });
    letters.collect()
}

/// Identifiers have letters, digits, `.` and `-`; no name here has a capital `X`.
fn id_text(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' => letter.to_string(),
        _ => format!("X{:X}", u32::from(letter)),
    });
    letters.collect()
}
