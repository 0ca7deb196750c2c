//! The bill of materials of an image: SPDX 2.3 as JSON.
//!
//! Specification: <https://spdx.github.io/spdx-spec/v2.3/>; package URLs:
//! <https://github.com/package-url/purl-spec>. It lists every package of the
//! lock, every regular file of the root with what brought it
//! ([`super::compose::Origins`]), and the crates compiled into `mailctl`. The
//! copy in the image is the same as the one beside it: it lists all files but
//! itself, which SPDX calls an excluded file. It depends on what is in the
//! image and on nothing else: its time is the lock's.
//!
//! Left out: folders and symbolic links, which are no files to SPDX; the kernel,
//! the initrd and the boot loader, which lie on the boot partition, as files
//! (their packages are listed); copyright holders.

mod crates;
mod digest;
mod document;
mod licence;
mod make;

pub use document::{BILL_PATH, Document};
pub use licence::is_valid;
pub use make::file_path;

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;

use super::compose::{Composed, Origin};
use super::deb::Package;
use super::lock::{Lock, Pinned};
use super::tree::Node;

/// The Debian packages of a bill.
pub fn debian_packages(bill: &Document) -> Vec<Pinned> {
    let debian = bill.packages.iter().filter(|package| {
        let mut urls = package.external_refs.iter();
        urls.any(|url| url.reference_locator.starts_with("pkg:deb/"))
    });
    debian
        .map(|package| Pinned {
            name: package.name.clone(),
            version: package.version_info.clone().unwrap_or_default(),
            sha256: package
                .checksums
                .first()
                .map(|checksum| checksum.checksum_value.clone())
                .unwrap_or_default(),
        })
        .collect()
}

/// What brought each file of an image, as its bill says, by path.
pub fn file_origins(bill: &Document) -> BTreeMap<String, String> {
    let names: HashMap<&str, &str> = bill
        .packages
        .iter()
        .flat_map(|package| {
            let ids = package.has_files.iter().map(String::as_str);
            ids.map(|id| (id, package.name.as_str()))
        })
        .collect();
    let files = bill.files.iter().filter_map(|file| {
        let name = names.get(file.id.as_str())?;
        Some((file_path(file).to_owned(), (*name).to_owned()))
    });
    // The bill itself, which it cannot list.
    let itself = (BILL_PATH.to_owned(), format!("mailimg-{}", Origin::Builder));
    files.chain([itself]).collect()
}

/// Makes the bill of a composed image, puts it into the image and returns it.
pub fn install_bill(composed: &mut Composed, packages: &[Package], lock: &Lock) -> Result<String> {
    let document = make::make(composed, packages, lock)?;
    let text = serde_json::to_string(&document)? + "\n";
    composed
        .tree
        .insert(BILL_PATH, Node::file(0o644, text.clone()))?;
    Ok(text)
}
