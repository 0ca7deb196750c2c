//! `mailctl import-settings`: from where a person put settings to where they are kept.
//!
//! Sources, first hit wins: the systemd credential `settings.env`, then the
//! ESP; then, in the background, the cloud ([`super::cloud`]). A source is taken
//! again only when its digest differs from the last import of that source; the
//! root certificate that it names counts as a part of it. Whatever is wrong with
//! a source is told on the
//! console and never stops the boot: a provisioned machine goes on with what
//! it has.

use crate::appliance::machine::esp::open_esp;
use crate::appliance::machine::files::{
    PUBLIC, SECRET, ensure_folder, ensure_version, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::resolve_here;
use crate::error::{Hint, render as render_error};
use crate::settings::{
    AUTHORITY_KEY, Written, blank_secrets, load_settings, named_authority, parse_authority,
    parse_settings, restore_secrets,
};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

const CREDENTIAL: &str = "credential";
const ESP: &str = "esp";
/// The credential with the file that `ACME_CA_FILE` names.
const AUTHORITY_CREDENTIAL: &str = "private-ca.pem";
const CLOUD: &str = "cloud";

/// Per source the digests that count as the last import.
type Imports = BTreeMap<String, Vec<String>>;

struct SettingsSource {
    name: &'static str,
    bytes: Vec<u8>,
    /// The root certificate that the settings name, if it is there.
    authority: Option<Vec<u8>>,
}

impl SettingsSource {
    fn digest(&self) -> String {
        self.digest_as(&self.bytes)
    }

    /// The digest with other settings and the same certificate.
    fn digest_as(&self, settings: &[u8]) -> String {
        let mut digest = Sha256::new();
        digest.update(settings);
        if let Some(authority) = &self.authority {
            // A byte that no settings file holds keeps the two apart.
            digest.update([0]);
            digest.update(authority);
        }
        hex::encode(digest.finalize())
    }
}

/// Takes new settings over if there are any, and returns what to say.
pub fn import_settings(place: &Place) -> Result<String> {
    ensure_version(place)?;
    ensure_folder(&place.path(place::RENDERED), 0o755, None)?;
    remove_file(&place.path(place::IMPORT_PROBLEMS))?;
    let mut problems = Vec::new();
    let sources = collect_sources(place, &mut problems);
    let mut imports = load_imports(place);
    let stored = load_stored_text(place);
    let mut said = None;
    for source in &sources {
        let known = imports
            .get(source.name)
            .is_some_and(|digests| digests.contains(&source.digest()));
        if known && stored.is_some() {
            continue;
        }
        match take(place, source, &sources, stored.as_ref(), &mut imports) {
            Ok(true) => {
                said = Some(format!(
                    "Took settings from the {}.",
                    describe(place, source.name)
                ));
                break;
            }
            Ok(false) => {}
            Err(error) => {
                problems.push(format!(
                    "The settings of the {} were not taken.\n{}",
                    describe(place, source.name),
                    render_error(&error)
                ));
                break;
            }
        }
    }
    if let Err(error) = blank_imported(place, &imports) {
        problems.push(render_error(&error));
    }
    if !problems.is_empty() {
        let text = format!("{}\n", problems.join("\n"));
        write_file(
            &place.path(place::IMPORT_PROBLEMS),
            text.as_bytes(),
            PUBLIC,
            None,
        )?;
        tell!("{}", text.trim_end());
    }
    let stored = place.path(place::SETTINGS).exists();
    Ok(said.unwrap_or_else(|| {
        if stored {
            "Settings are unchanged.".to_owned()
        } else {
            "No settings yet; mailctl console says how to supply them.".to_owned()
        }
    }))
}

/// Takes the settings that a cloud offers; a file without a value is refused like a mistake.
pub fn take_cloud_settings(place: &Place, bytes: &[u8]) -> Result<()> {
    ensure_version(place)?;
    let source = SettingsSource {
        name: CLOUD,
        bytes: bytes.to_vec(),
        // User data is one file.
        authority: None,
    };
    let mut imports = load_imports(place);
    let stored = load_stored_text(place);
    let sources = std::slice::from_ref(&source);
    if !take(place, &source, sources, stored.as_ref(), &mut imports)? {
        bail!("no key has a value");
    }
    Ok(())
}

fn describe(place: &Place, name: &str) -> &'static str {
    match name {
        ESP => "EFI system partition",
        _ if place.is_container() => "container engine",
        _ => "systemd credential",
    }
}

fn collect_sources(place: &Place, problems: &mut Vec<String>) -> Vec<SettingsSource> {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .map_or(Ok(None), |folder| read_credential(Path::new(&folder)));
    [credential, read_esp(place)]
        .into_iter()
        .filter_map(|read| {
            read.unwrap_or_else(|error| {
                problems.push(render_error(&error));
                None
            })
        })
        .collect()
}

fn read_credential(folder: &Path) -> Result<Option<SettingsSource>> {
    let Some(bytes) = read_optional(&folder.join("settings.env"))? else {
        return Ok(None);
    };
    let authority = match name_of_authority(&bytes) {
        Some(_) => read_optional(&folder.join(AUTHORITY_CREDENTIAL))?,
        None => None,
    };
    Ok(Some(SettingsSource {
        name: CREDENTIAL,
        bytes,
        authority,
    }))
}

fn read_esp(place: &Place) -> Result<Option<SettingsSource>> {
    let Some(esp) = open_esp(place, false)? else {
        return Ok(None);
    };
    let Some(bytes) = esp.read_settings()? else {
        return Ok(None);
    };
    let authority = match name_of_authority(&bytes) {
        Some(name) => esp.read_authority(&name)?,
        None => None,
    };
    Ok(Some(SettingsSource {
        name: ESP,
        bytes,
        authority,
    }))
}

fn name_of_authority(settings: &[u8]) -> Option<String> {
    named_authority(&parse_settings(settings).ok()?)
}

/// Damaged notes count as none: at worst a source is taken once more.
fn load_imports(place: &Place) -> Imports {
    std::fs::read(place.path(place::IMPORTS))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

fn load_stored_text(place: &Place) -> Option<Written> {
    load_settings(&place.path(place::SETTINGS))
        .ok()
        .filter(|written| !written.is_empty())
}

/// Checks and keeps one source; false when it sets nothing.
fn take(
    place: &Place,
    source: &SettingsSource,
    sources: &[SettingsSource],
    stored: Option<&Written>,
    imports: &mut Imports,
) -> Result<bool> {
    let text = match stored {
        Some(stored) => restore_secrets(&source.bytes, stored),
        None => source.bytes.clone(),
    };
    let written = parse_settings(&text)?;
    if written.is_empty() {
        return Ok(false);
    }
    let resolved = resolve_here(place, &written)?;
    for warning in &resolved.warnings {
        tell!("warning: {warning}");
    }
    let authority = resolved
        .settings
        .acme
        .ca_file
        .map(|name| check_authority(source, &name))
        .transpose()?;
    let path = place.path(place::SETTINGS);
    if let Some(old) = read_optional(&path)? {
        write_file(&place.path(place::OLD_SETTINGS), &old, SECRET, None)?;
    }
    // Before the settings that name it: a run that is cut short is done again.
    let root = place.path(place::PRIVATE_CA);
    match authority {
        Some(certificates) => write_file(&root, certificates.as_bytes(), PUBLIC, None)?,
        None => remove_file(&root)?,
    }
    write_file(&path, &text, SECRET, None)?;
    for other in sources {
        // Sources that were there and lost count as seen, or the next boot would take them.
        let mut digests = vec![other.digest()];
        if other.name == source.name {
            digests.push(other.digest_as(&blank_secrets(&other.bytes)));
        }
        imports.insert(other.name.to_owned(), digests);
    }
    let notes = serde_json::to_vec(&imports).context("writing JSON")?;
    write_file(&place.path(place::IMPORTS), &notes, SECRET, None)?;
    Ok(true)
}

/// The certificates of the file that a source's settings name.
fn check_authority(source: &SettingsSource, name: &str) -> Result<String> {
    let (what, hint) = if source.name == ESP {
        (
            format!("{AUTHORITY_KEY}: the file {name} on the EFI system partition"),
            format!("put {name} beside settings.env, or remove the line {AUTHORITY_KEY}"),
        )
    } else {
        (
            format!("{AUTHORITY_KEY}: the systemd credential {AUTHORITY_CREDENTIAL}"),
            format!(
                "hand {name} over as the credential {AUTHORITY_CREDENTIAL}, \
                 or remove the line {AUTHORITY_KEY}"
            ),
        )
    };
    source
        .authority
        .as_deref()
        .context("it is not there")
        .and_then(parse_authority)
        .context(what)
        .hint(hint)
}

/// Blanks the secrets of an ESP whose settings are kept, also after a run that was cut short.
fn blank_imported(place: &Place, imports: &Imports) -> Result<()> {
    let Some(digests) = imports.get(ESP) else {
        return Ok(());
    };
    let Some(source) = read_esp(place)? else {
        return Ok(());
    };
    let blanked = blank_secrets(&source.bytes);
    let taken = digests.contains(&source.digest()) && digests.contains(&source.digest_as(&blanked));
    if !taken || blanked == source.bytes {
        return Ok(());
    }
    match open_esp(place, true)? {
        Some(esp) => esp.replace_settings(&blanked),
        None => Ok(()),
    }
}
