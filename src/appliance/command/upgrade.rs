//! `mailctl upgrade` and `mailctl rollback`: another version, on trial with the next
//! restart.

use crate::appliance::machine::files::read_optional;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use crate::appliance::machine::settings::load_checked;
use crate::appliance::upgrade::machine::Machine;
use crate::appliance::upgrade::offer::{self, Permissions};
use crate::appliance::upgrade::root::{self, Tally};
use crate::appliance::upgrade::scheduled::run_scheduled;
use crate::appliance::upgrade::source::Source;
use crate::appliance::upgrade::source::folder::Folder;
use crate::appliance::upgrade::source::image_file;
use crate::appliance::upgrade::{self, Upgraded};
use crate::appliance::users::mailbox::human_size;
use crate::error::hinted;
use crate::format::packages::{Pinned, package_changes};
use crate::format::verity::BLOCK;
use crate::settings::KEYS;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

/// What to upgrade to.
#[derive(Debug, clap::Args)]
pub struct UpgradeOptions {
    /// A .raw image of `mailimg build`, plain or compressed by zstd; `-` reads it from
    /// standard input. Or where what `mailimg sign` wrote is: the https address of a
    /// folder, or oci://REGISTRY/REPOSITORY:TAG of a registry [default: UPDATE_SOURCE].
    source: Option<String>,
    /// Say what would come, and change nothing.
    #[arg(long)]
    check: bool,
    /// Take a version that is older than the one that runs.
    #[arg(long)]
    allow_downgrade: bool,
    /// Restart at once.
    #[arg(long, conflicts_with = "check")]
    reboot: bool,
    /// Forget a version that waits for a restart.
    #[arg(long, conflicts_with_all = ["source", "check", "allow_downgrade", "reboot"])]
    cancel: bool,
    /// Do what UPDATE_SCHEDULE says, if it is time.
    #[arg(long, hide = true, conflicts_with_all = ["source", "check", "allow_downgrade", "reboot", "cancel"])]
    scheduled: bool,
    /// Seconds that a server has for a word.
    #[arg(long, hide = true, default_value_t = 30)]
    patience: u64,
}

/// What to do after going back.
#[derive(Debug, clap::Args)]
pub struct RollbackOptions {
    /// Restart at once.
    #[arg(long)]
    reboot: bool,
}

/// The image of a container is its engine's.
fn refuse_in_container(place: &Place) -> Result<()> {
    if !place.is_container() {
        return Ok(());
    }
    Err(hinted(
        "this is a container: its engine chooses the image",
        "start a container of the other image on the same volume, /var",
    ))
}

/// Puts another version on trial, and says what comes next.
pub fn run_upgrade(place: &Place, options: &UpgradeOptions) -> Result<String> {
    refuse_in_container(place)?;
    if options.cancel {
        let version = upgrade::cancel(place)?;
        return Ok(format!("{version} is not tried. What runs stays."));
    }
    let patience = Duration::from_secs(options.patience);
    if options.scheduled {
        return run_scheduled(place, patience);
    }
    let permissions = Permissions {
        downgrade: options.allow_downgrade,
    };
    let source = match &options.source {
        Some(source) => source.clone(),
        None => configured_source(place)?,
    };
    let said = if source.contains("://") {
        let mut folder = Folder::open(place, &source, patience)?;
        if options.check {
            return check_folder(place, &mut folder, permissions);
        }
        let done = upgrade::upgrade(place, &mut folder, permissions)?;
        format!(
            "{} {} travelled.",
            describe(&done),
            human_size(folder.travelled())
        )
    } else {
        let mut image = image_file::open(place, Path::new(&source))?;
        if options.check {
            return check_image(place, &image, permissions);
        }
        describe(&upgrade::upgrade(place, &mut image, permissions)?)
    };
    if options.reboot {
        restart()?;
        return Ok(format!("{said}\nThe machine restarts to try it."));
    }
    Ok(format!("{said}\n{NEXT}"))
}

fn configured_source(place: &Place) -> Result<String> {
    let resolved = load_checked(place, place::SETTINGS)?;
    let source = resolved.and_then(|resolved| resolved.settings.updates.source);
    source.ok_or_else(|| {
        hinted(
            "there is nothing to upgrade from",
            "name an image or the address of an update, or set UPDATE_SOURCE",
        )
    })
}

/// Puts the version before on trial, and says what comes next.
pub fn run_rollback(place: &Place, options: &RollbackOptions) -> Result<String> {
    refuse_in_container(place)?;
    let version = upgrade::rollback(place)?;
    if options.reboot {
        restart()?;
        return Ok(format!("The machine restarts to go back to {version}."));
    }
    Ok(format!("{version} is ready.\n{NEXT}"))
}

const NEXT: &str = "`systemctl reboot` tries it. It is kept when mail is taken and handed out; \
                    if not, this version comes back by itself.";

fn check_image(place: &Place, source: &dyn Source, permissions: Permissions) -> Result<String> {
    let machine = Machine::open(place)?;
    let offer = source.offer();
    offer::check(offer, &machine, permissions)?;
    Ok(format!(
        "{} would come, {} runs. Its root has {}.",
        offer.described.version,
        machine.version,
        human_size(offer.root_size())
    ))
}

/// What a folder has, what of it would travel, and in what it differs.
fn check_folder(
    place: &Place,
    folder: &mut Folder<'_>,
    permissions: Permissions,
) -> Result<String> {
    let machine = Machine::open(place)?;
    let offer = folder.offer().clone();
    if offer.described.root_hash == machine.root_hash {
        return Ok(format!(
            "{} is what runs. Nothing would come.",
            machine.version
        ));
    }
    offer::check(&offer, &machine, permissions)?;
    let index = folder.index()?;
    let wanted = root::missing(&machine, &offer, &index)?;
    let bytes = folder.would_travel(&wanted)?;
    let update = &folder.update;
    let whole = update.root.size + update.kernel.size;
    let mut text = format!(
        "{} would come, {} runs. {} would travel of {}.\nSigned by {}, good until {}{}.\n",
        update.version,
        machine.version,
        human_size(bytes + folder.travelled()),
        human_size(whole),
        folder.signer,
        update.expires,
        if folder.is_clock_set {
            ""
        } else {
            ", which is not judged: this machine's clock was not set since it was switched on"
        }
    );
    for line in differences(place, &update.packages, &update.settings)? {
        let _ = writeln!(text, "  {line}");
    }
    Ok(text)
}

/// What changes in packages and settings, as far as the running image says what it has.
fn differences(place: &Place, packages: &[Pinned], settings: &[String]) -> Result<Vec<String>> {
    /// What of the image's manifest counts here.
    #[derive(Deserialize)]
    struct Running {
        packages: Vec<Pinned>,
    }
    let Some(bytes) = read_optional(&place.path(place::MANIFEST))? else {
        return Ok(Vec::new());
    };
    let running: Running =
        serde_json::from_slice(&bytes).with_context(|| format!("reading {}", place::MANIFEST))?;
    let changes = package_changes(&running.packages, packages);
    let mut lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let here = |name: &str| KEYS.iter().any(|key| key.name == name);
    // A recipe without mailctl knows no keys at all.
    if !settings.is_empty() {
        let added = settings.iter().filter(|name| !here(name));
        lines.extend(added.map(|name| format!("{:<11} setting {name}", "added")));
        let there = |name: &str| settings.iter().any(|one| one == name);
        let removed = KEYS.iter().filter(|key| !there(key.name));
        lines.extend(removed.map(|key| format!("{:<11} setting {}", "removed", key.name)));
    }
    Ok(lines)
}

fn describe(done: &Upgraded) -> String {
    let Tally {
        blocks,
        copied,
        found,
        fetched,
    } = done.tally;
    let size = |blocks: u64| human_size(blocks * BLOCK as u64);
    format!(
        "{} is ready: {} in all, {} as they are here, {} new.",
        done.version,
        size(blocks),
        size(copied + found),
        size(fetched)
    )
}

fn restart() -> Result<()> {
    run_program("/usr/bin/systemctl", &["--no-block", "reboot"])
        .map(|_| ())
        .map_err(|error| hinted(format!("{error:#}"), "`systemctl reboot` tries it"))
}
