//! `mailctl upgrade` and `mailctl rollback`: another version, on trial with the next
//! restart.

use crate::appliance::machine::place::Place;
use crate::appliance::machine::program::run_program;
use crate::appliance::upgrade::offer::Permissions;
use crate::appliance::upgrade::root::Tally;
use crate::appliance::upgrade::source::Source;
use crate::appliance::upgrade::source::image_file;
use crate::appliance::upgrade::{self, Upgraded};
use crate::appliance::users::mailbox::human_size;
use crate::error::hinted;
use crate::format::verity::BLOCK;
use anyhow::Result;
use std::path::PathBuf;

/// What to upgrade to.
#[derive(Debug, clap::Args)]
pub struct UpgradeOptions {
    /// A .raw image of `mailimg build`, plain or compressed by zstd; `-` reads it from
    /// standard input.
    #[arg(required_unless_present = "cancel")]
    image: Option<PathBuf>,
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
    #[arg(long, conflicts_with_all = ["image", "check", "allow_downgrade", "reboot"])]
    cancel: bool,
}

/// What to do after going back.
#[derive(Debug, clap::Args)]
pub struct RollbackOptions {
    /// Restart at once.
    #[arg(long)]
    reboot: bool,
}

/// Puts another version on trial, and says what comes next.
pub fn run_upgrade(place: &Place, options: &UpgradeOptions) -> Result<String> {
    let Some(image) = options.image.as_ref().filter(|_| !options.cancel) else {
        let version = upgrade::cancel(place)?;
        return Ok(format!("{version} is not tried. What runs stays."));
    };
    let mut source = image_file::open(place, image)?;
    let permissions = Permissions {
        downgrade: options.allow_downgrade,
    };
    if options.check {
        return check(place, &source, permissions);
    }
    let done = upgrade::upgrade(place, &mut source, permissions)?;
    let said = describe(&done);
    if options.reboot {
        restart()?;
        return Ok(format!("{said}\nThe machine restarts to try it."));
    }
    Ok(format!("{said}\n{NEXT}"))
}

/// Puts the version before on trial, and says what comes next.
pub fn run_rollback(place: &Place, options: &RollbackOptions) -> Result<String> {
    let version = upgrade::rollback(place)?;
    if options.reboot {
        restart()?;
        return Ok(format!("The machine restarts to go back to {version}."));
    }
    Ok(format!("{version} is ready.\n{NEXT}"))
}

const NEXT: &str = "`systemctl reboot` tries it. It is kept when mail is taken and handed out; \
                    if not, this version comes back by itself.";

fn check(place: &Place, source: &dyn Source, permissions: Permissions) -> Result<String> {
    let machine = upgrade::machine::Machine::open(place)?;
    let offer = source.offer();
    upgrade::offer::check(offer, &machine, permissions)?;
    Ok(format!(
        "{} would come, {} runs. Its root has {}.",
        offer.described.version,
        machine.version,
        human_size(offer.root_size())
    ))
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
