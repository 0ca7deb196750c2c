//! `mailctl settings start`: what every boot begins with, before anything reads a configuration.

use super::console::refresh_console;
use super::import_settings::import_settings;
use super::render::render_all;
use crate::appliance::machine::place::Place;
use anyhow::Result;

/// Takes new settings, renders all configuration from them and brings the consoles up to
/// date; returns what to say of the settings.
///
/// One process instead of three, since every boot waits for it.
pub fn start(place: &Place) -> Result<String> {
    let imported = import_settings(place)?;
    render_all(place)?;
    refresh_console(place)?;
    Ok(imported)
}
