//! Whether an image that is offered may replace the one that runs.

use anyhow::Result;

use super::machine::Machine;
use crate::error::hinted;
use crate::format::image::Offer;
use crate::format::uki::Described;
use crate::format::verity::hash_size;
use crate::format::version_order::compare_versions;

/// Digits of the content's digest that the builder adds to a version.
const CONTENT_DIGITS: usize = 8;
/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// What is allowed beyond the usual.
#[derive(Clone, Copy, Debug, Default)]
pub struct Permissions {
    /// A version that is older than the one that runs.
    pub downgrade: bool,
}

/// Refuses what must not come into the other slot.
pub fn check(offer: &Offer, machine: &Machine, permissions: Permissions) -> Result<()> {
    let Described {
        image,
        version,
        architecture,
        root_hash,
    } = &offer.described;
    if *architecture != own_architecture() {
        return Err(hinted(
            format!(
                "the image is for {architecture}, this machine is {}",
                own_architecture()
            ),
            "take an image that was built for this machine",
        ));
    }
    if *image != machine.image {
        return Err(hinted(
            format!(
                "the image is of the recipe {image:?}, this machine runs one of {:?}",
                machine.image
            ),
            format!(
                "`mailimg build {}` builds one for it; another recipe is installed from a rescue \
                 system, `mailctl manual install`",
                machine.image
            ),
        ));
    }
    if *root_hash == machine.root_hash {
        return Err(hinted(
            format!("version {version} is what runs"),
            "there is nothing to do",
        ));
    }
    let order = compare_versions(version, &machine.version);
    if order.is_eq() {
        return Err(hinted(
            format!("the image has the version that runs, {version}, and other content"),
            "build it with another --image-version",
        ));
    }
    // Of one lock neither is older: the last digits tell contents apart, not times.
    let older = order.is_lt() && without_digits(version) != without_digits(&machine.version);
    if older && !permissions.downgrade {
        return Err(hinted(
            format!(
                "the image has version {version}, which is older than {}, which runs",
                machine.version
            ),
            "`mailctl rollback` goes back to the version before; --allow-downgrade takes any",
        ));
    }
    if *root_hash == machine.slot_root_hash(machine.other()) {
        return Ok(());
    }
    let [root, hashes] = machine.layout.slot(machine.other());
    let parts = [
        ("root", offer.root_size(), root.size(), "root_mib"),
        (
            "tree of hashes",
            hash_size(offer.root_size()),
            hashes.size(),
            "verity_mib",
        ),
    ];
    for (part, size, room, key) in parts {
        if size > room {
            return Err(hinted(
                format!(
                    "the image's {part} takes {} MiB, a slot of the disk has {} MiB",
                    size.div_ceil(MIB),
                    room / MIB
                ),
                format!("set {key} in the recipe to {} at most", room / MIB),
            ));
        }
    }
    Ok(())
}

/// The version up to the digits of its content, if it was made by `mailimg build`:
/// `0.1.0-202611261432-1a2b3c4d`.
fn without_digits(version: &str) -> &str {
    let is_digits = |text: &str| {
        text.len() == CONTENT_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match version.rsplit_once('-') {
        Some((start, digits)) if is_digits(digits) => start,
        _ => version,
    }
}

/// This machine's, as [`crate::format::uki::describe`] calls it.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "x86-64",
        other => other,
    }
}
