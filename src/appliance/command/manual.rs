//! `mailctl manual`: the manual as the image has it.

use crate::appliance::machine::place::Place;
use crate::manual::{FOLDER, show_page};
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Shows a page, or lists all.
pub fn show_manual(place: &Place, page: Option<&str>) -> Result<String> {
    let folder = place.path("/").join(FOLDER);
    let mut pages = BTreeMap::new();
    let reading = || format!("reading {}", folder.display());
    for entry in std::fs::read_dir(&folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|_| path.extension().is_some_and(|kind| kind == "md")) {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            pages.insert(name.to_owned(), text);
        }
    }
    show_page(&pages, page)
}
