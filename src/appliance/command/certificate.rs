//! `mailctl certificate`, for short `cert`: show certificates, renew them, take new ones into use.

use super::certificate_status;
use crate::appliance::certificate::acme::{
    self, Configuration, Record, RenewalRequest, is_left, leave_request, load_configured,
    load_record,
};
use crate::appliance::certificate::chain::{Untimely, check_links, parse_chain, read_facts};
use crate::appliance::certificate::pair::{CHAIN, KEY, install_pair};
use crate::appliance::certificate::{check_pair, key_owner, names_folder, replace_certificate};
use crate::appliance::dns;
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{ensure_folder, remove_folder};
use crate::appliance::machine::folder::Folder;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program;
use crate::appliance::services::readers_of_certificate;
use crate::error::Hint;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, Instant};

/// Longest wait for the agent.
const AGENT_LIMIT: Duration = Duration::from_secs(300);
/// Pause between two looks at it.
const AGENT_POLL_PAUSE: Duration = Duration::from_millis(500);
/// Pause before another try to install, when the disk is full for instance.
const INSTALL_RETRY_PAUSE: Duration = Duration::from_secs(30);
/// Largest file of a pair, in bytes.
const PAIR_FILE_BYTES_MAX: u64 = 1 << 20;

/// What can be done about certificates.
#[derive(Debug, Subcommand)]
pub enum CertificateVerb {
    /// Show issuer, end and next renewal of each, and what keeps one from coming.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try now what is due or failed.
    Renew {
        /// Only this name's; HOSTNAME's when absent.
        name: Option<String>,
        /// Renew though nothing is due; CAs limit how often.
        #[arg(long)]
        force: bool,
    },
    /// Take certificates into use that the agent has got.
    #[command(hide = true)]
    Take,
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &CertificateVerb) -> Result<String> {
    match verb {
        CertificateVerb::Status { json } => certificate_status::show_status(place, *json),
        CertificateVerb::Renew { name, force } => renew(place, name.as_deref(), *force),
        CertificateVerb::Take => take(place),
    }
}

fn renew(place: &Place, name: Option<&str>, force: bool) -> Result<String> {
    let configuration = load_configured(place)?;
    let name = name.unwrap_or(&configuration.hostname).to_ascii_lowercase();
    if !configuration.names().any(|known| known == name) {
        return Err(anyhow::anyhow!(
            "'{name}' is none of the names that get a certificate"
        ))
        .hint("mailctl cert status lists them");
    }
    leave_request(place, &name, RenewalRequest { force })?;
    if place.is_machine() {
        wait_for_agent(place, &name)?;
    } else {
        acme::run_agent(place)?;
    }
    let record = load_record(place, &name);
    if let Some(failed) = &record.failed {
        let mut error = Err(anyhow::anyhow!("{}", failed.failure));
        if let Some(pause) = record.pause {
            let until = Timestamp::from_second(pause.until).unwrap_or_default();
            error = error.hint(format!("it is tried again after {until}"));
        }
        return error
            .with_context(|| format!("getting a certificate for {name}"))
            .hint(failed.failure.hint.clone());
    }
    if let Some(waiting) = &record.waiting {
        bail!("no certificate for {name} yet: {waiting}");
    }
    outcome(place, &configuration, &name, &record)
}

fn outcome(
    place: &Place,
    configuration: &Configuration,
    name: &str,
    record: &Record,
) -> Result<String> {
    let chain = acme::find_chain(place, configuration, name).context("there is no certificate")?;
    let facts = read_facts(&chain)?;
    let until = Timestamp::from_second(facts.not_after)?;
    let due = record
        .renewal
        .as_ref()
        .and_then(|renewal| Timestamp::from_second(renewal.at).ok())
        .map_or_else(String::new, |at| {
            format!("; it is renewed at {at}, or at once with --force")
        });
    Ok(format!(
        "{name} has a certificate of {} until {until}{due}.",
        facts.issuer
    ))
}

/// Starts the agent, and again when it was just running and did not see the request.
fn wait_for_agent(place: &Place, name: &str) -> Result<()> {
    let began = Instant::now();
    program::start_unit(acme::UNIT)?;
    loop {
        std::thread::sleep(AGENT_POLL_PAUSE);
        let state = program::unit_state(acme::UNIT)?;
        let runs = matches!(state.as_str(), "active" | "activating" | "reloading");
        if !runs && !is_left(place, name) {
            return Ok(());
        }
        if began.elapsed() > AGENT_LIMIT {
            return Err(anyhow::anyhow!(
                "waited {} s for the agent",
                AGENT_LIMIT.as_secs()
            ))
            .hint("mailctl cert status shows how it ends");
        }
        if !runs {
            program::start_unit(acme::UNIT)?;
        }
    }
}

/// Installs what the agent left, and returns what to say.
fn take(place: &Place) -> Result<String> {
    let ready = acme::ready_folder(place);
    let configuration = load_configured(place)?;
    let mut lines = Vec::new();
    let mut refused = Vec::new();
    let mut host_changed = false;
    let entries = match Folder::open(&ready).and_then(|folder| folder.entries()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        entries => entries.with_context(|| format!("reading {}", ready.display()))?,
    };
    for (entry, _) in entries {
        let path = ready.join(&entry);
        let name = entry.to_string_lossy().into_owned();
        let checked = if configuration.names().any(|known| known == name) {
            check_ready(&path, &name)
        } else {
            Err(anyhow::anyhow!("nobody asked for it"))
        };
        match checked {
            Ok((_, Err(untimely))) => {
                acme::put_by(place, &name)?;
                lines.push(format!("The certificate of {name} is put by: {untimely}."));
                continue;
            }
            Ok((pair, Ok(()))) => {
                if let Err(error) = install(place, &configuration, &name, &pair) {
                    // It stays where it is, and the path unit starts us again at once.
                    if place.is_machine() {
                        std::thread::sleep(INSTALL_RETRY_PAUSE);
                    }
                    return Err(error.context(format!("installing the certificate of {name}")));
                }
                host_changed |= name == configuration.hostname;
                lines.push(format!("Took the certificate of {name} into use."));
            }
            // What is refused once is refused always; the agent gets another.
            Err(error) => refused.push(format!(
                "the certificate of '{}': {error:#}",
                name.escape_default()
            )),
        }
        remove_folder(&path)?;
    }
    if host_changed && place.is_machine() {
        for unit in readers_of_certificate() {
            program::reload_unit(unit)?;
        }
        program::start_unit(dns::UNIT)?;
    }
    if !refused.is_empty() {
        bail!("refused {}", refused.join("; "));
    }
    if lines.is_empty() {
        lines.push("No certificate waits.".to_owned());
    }
    Ok(lines.join("\n"))
}

/// A chain and its key, PEM.
struct Pair {
    chain: String,
    key: String,
}

/// The pair, and whether it is its time.
fn check_ready(folder: &Path, name: &str) -> Result<(Pair, Result<(), Untimely>)> {
    let pair = Pair {
        chain: read_limited(&folder.join(CHAIN))?,
        key: read_limited(&folder.join(KEY))?,
    };
    let facts = check_pair(name, &pair.chain, &pair.key)?;
    check_links(&parse_chain(pair.chain.as_bytes())?, name, now())?;
    Ok((pair, facts.check_time(now())))
}

fn install(place: &Place, configuration: &Configuration, name: &str, pair: &Pair) -> Result<()> {
    if name == configuration.hostname {
        return replace_certificate(place, &pair.chain, &pair.key);
    }
    // Its mode by name: under this service's umask nobody else could look inside.
    ensure_folder(&place.path(place::TLS_NAMES), 0o755, None)?;
    install_pair(
        &place.path(names_folder(name)),
        pair.chain.as_bytes(),
        pair.key.as_bytes(),
        key_owner(place)?,
    )
}

/// The agent's files, which are another user's: what they say of their size may change.
fn read_limited(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = Folder::of(path)
        .and_then(|(folder, name)| folder.file(name))
        .and_then(|file| file.take(PAIR_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    let length = read.with_context(|| format!("reading {}", path.display()))?;
    if length as u64 > PAIR_FILE_BYTES_MAX {
        bail!("{} is no file of a sensible size", path.display());
    }
    Ok(text)
}
