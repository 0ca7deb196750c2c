//! `mailctl cloud`: settings from the cloud that runs the machine.
//!
//! Last among the sources: only a machine that neither credential nor ESP gave
//! settings looks here, first on the disks that clouds attach ([`drive`]), then
//! at the metadata address ([`metadata`]) of a provider that the firmware names
//! ([`provider`]). What was taken once is kept; user-data that changes later is
//! not looked at, so a machine with settings owes nothing to its cloud.
//!
//! Runs in the background at each boot and whenever the network changes; no
//! part of the boot waits for it. Two processes do the work, so that the one
//! that may write state never talks to the network: a unit with no right but
//! that of reaching the metadata address fetches ([`leave_metadata`]) and leaves what it
//! got in a file. On a machine with settings all that happens is that the
//! public addresses are noted, once a boot, if it lies behind NAT.

mod client;
mod drive;
pub mod metadata;
mod provider;
pub mod user_data;

use super::apply::apply_settings;
use super::console::refresh_console;
use super::import_settings::take_cloud_settings;
use crate::appliance::machine::files::{PUBLIC, ensure_folder, remove_file, write_file};
use crate::appliance::machine::folder::Folder;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::{run_program, start_unit_and_wait};
use crate::appliance::machine::settings::load_checked;
use crate::error::render as render_error;
use anyhow::{Context, Result};
use client::{Client, METADATA_URL, TIME_BUDGET};
use metadata::{Metadata, fetch_metadata};
use provider::{Provider, find_provider};
use std::io::Read;
use std::time::Duration;
use user_data::{UserData, examine};

pub use metadata::leave_metadata;

/// The unit that runs [`leave_metadata`].
const FETCHER: &str = "mailimg-metadata.service";
/// Largest answer that is read from it, Base64 around 128 KiB of Base64.
const ANSWER_BYTES: u64 = 256 * 1024;

/// What tests and people may set.
#[derive(Debug, Default, clap::Args)]
pub struct CloudOptions {
    /// The provider, whatever the firmware says.
    #[arg(long, hide = true)]
    provider: Option<Provider>,
    /// Where metadata is served, instead of the metadata address.
    #[arg(long, hide = true, requires = "provider", value_name = "URL")]
    base: Option<String>,
    /// Seconds for all of it, at most the usual ones.
    #[arg(long, hide = true, requires = "base", value_name = "SECONDS")]
    budget: Option<u64>,
}

/// Takes settings from the cloud if the machine waits for some, and returns what to say.
pub fn import_cloud(place: &Place, options: &CloudOptions) -> Result<String> {
    if !waits_for_settings(place) {
        return note_addresses(place, options);
    }
    let mut problems = Vec::new();
    let offer = find_offer(place, options, &mut problems)?;
    // A person may have been faster.
    if !waits_for_settings(place) {
        return Ok("Settings are there already.".to_owned());
    }
    if let Some(offer) = offer {
        match take_cloud_settings(place, &offer.settings) {
            Ok(()) => {
                // In the journal: what came before may be what was meant.
                for problem in &problems {
                    tell!("{problem}");
                }
                remove_file(&place.path(place::CLOUD_PROBLEMS))?;
                let said = format!("Took settings from {}.", offer.origin);
                return take_into_use(place).map(|more| format!("{said}\n{more}"));
            }
            Err(error) => problems.push(format!(
                "The settings from {} were not taken.\n{}",
                offer.origin,
                render_error(&error)
            )),
        }
    }
    let text: String = problems.iter().map(|line| format!("{line}\n")).collect();
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    write_file(
        &place.path(place::CLOUD_PROBLEMS),
        text.as_bytes(),
        PUBLIC,
        None,
    )?;
    show_on_consoles(place)?;
    Ok(if text.is_empty() {
        "No cloud that offers settings.".to_owned()
    } else {
        text
    })
}

/// Whether there are no settings, not even ones with mistakes: those are to be mended.
fn waits_for_settings(place: &Place) -> bool {
    matches!(load_checked(place, place::SETTINGS), Ok(None))
        && !place.path(place::IMPORT_PROBLEMS).exists()
}

/// A settings.env and where it comes from.
struct Offer {
    origin: String,
    settings: Vec<u8>,
}

fn find_offer(
    place: &Place,
    options: &CloudOptions,
    problems: &mut Vec<String>,
) -> Result<Option<Offer>> {
    for drive in drive::read_drives(place) {
        match drive {
            Ok(found) => {
                let origin = format!("the drive labelled {}", found.label);
                if let Some(offer) = judge(origin, &found.bytes, problems) {
                    return Ok(Some(offer));
                }
            }
            Err(error) => problems.push(render_error(&error)),
        }
    }
    let Some(provider) = options.provider.or_else(|| find_provider(place)) else {
        return Ok(None);
    };
    let metadata = ask(place, provider, options)?;
    keep_addresses(place, &metadata)?;
    let user_data = metadata.user_data();
    if let Some(problem) = &metadata.problem
        && user_data.is_none()
    {
        problems.push(format!(
            "No settings came from the metadata of {provider}: {problem}"
        ));
        return Ok(None);
    }
    let origin = format!("the metadata of {provider}");
    Ok(judge(origin, &user_data.unwrap_or_default(), problems))
}

fn judge(origin: String, user_data: &[u8], problems: &mut Vec<String>) -> Option<Offer> {
    match examine(user_data) {
        UserData::Settings(settings) => Some(Offer { origin, settings }),
        UserData::Empty => {
            problems.push(format!("There is no user-data in {origin}."));
            None
        }
        UserData::Foreign(what) => {
            problems.push(format!(
                "User-data is there in {origin}, but it is no settings.env: it is {what}."
            ));
            None
        }
    }
}

/// The settings are kept now; what goes wrong from here on is for the consoles, too.
fn take_into_use(place: &Place) -> Result<String> {
    let applied = apply_settings(place);
    if let Err(error) = &applied {
        let text = format!(
            "The settings were taken, and not all of them are in use.\n{}\n",
            render_error(error)
        );
        write_file(
            &place.path(place::IMPORT_PROBLEMS),
            text.as_bytes(),
            PUBLIC,
            None,
        )?;
    }
    show_on_consoles(place)?;
    applied
}

/// Brings the consoles up to date, which wait for nobody's login by now.
fn show_on_consoles(place: &Place) -> Result<()> {
    refresh_console(place)?;
    if place.is_machine() {
        // agetty(8) shows what changed; without it the next one to start does.
        let _ = run_program("/usr/sbin/agetty", &["--reload"]);
    }
    Ok(())
}

/// Notes the public addresses of a machine that has its settings, once a boot.
fn note_addresses(place: &Place, options: &CloudOptions) -> Result<String> {
    let asked = place.path(place::CLOUD_ASKED);
    let Some(provider) = options.provider.or_else(|| find_provider(place)) else {
        return Ok("Settings are there already.".to_owned());
    };
    if asked.exists() {
        return Ok("Settings are there already, and the addresses are noted.".to_owned());
    }
    let metadata = ask(place, provider, options)?;
    keep_addresses(place, &metadata)?;
    Ok("Settings are there already.".to_owned())
}

fn keep_addresses(place: &Place, metadata: &Metadata) -> Result<()> {
    if !metadata.answered {
        return Ok(());
    }
    ensure_folder(&place.path(place::STATE), 0o755, None)?;
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    let text = serde_json::to_vec(&metadata.addresses).context("writing JSON")?;
    write_file(&place.path(place::CLOUD), &text, PUBLIC, None)?;
    write_file(&place.path(place::CLOUD_ASKED), b"", PUBLIC, None)
}

/// Has the metadata fetched by the unit for it, or fetches it in a test.
fn ask(place: &Place, provider: Provider, options: &CloudOptions) -> Result<Metadata> {
    if !place.is_machine() || options.base.is_some() {
        let base = options.base.as_deref().unwrap_or(METADATA_URL);
        let budget = options.budget.map_or(TIME_BUDGET, Duration::from_secs);
        return Ok(fetch_metadata(
            provider,
            &Client::new(base, budget.min(TIME_BUDGET)),
        ));
    }
    let path = place.path(place::CLOUD_ANSWER);
    remove_file(&path)?;
    if let Err(error) = start_unit_and_wait(FETCHER) {
        return Ok(Metadata::failed(render_error(&error)));
    }
    let mut text = Vec::new();
    // The folder belongs to who fetched it.
    let read = Folder::of(&path)
        .and_then(|(folder, name)| folder.file(name))
        .and_then(|file| file.take(ANSWER_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => serde_json::from_slice(&text).context("reading what was fetched"),
        // It found that there is no need to ask.
        Err(_) => Ok(Metadata::default()),
    }
}
