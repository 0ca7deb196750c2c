//! What pages load: one style and some scripts, all of this machine.
//!
//! Names are looked up in a list, so no path of a request ever becomes one of a file. The
//! library that draws charts is Debian's package libjs-dygraphs, as it is.

use crate::appliance::machine::place::{self, Place};
use crate::appliance::web::answer::Answer;
use anyhow::{Context, Result};
use http::header;
use sha2::{Digest, Sha256};

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

struct Asset {
    name: &'static str,
    folder: &'static str,
    kind: &'static str,
}

const fn asset(name: &'static str, folder: &'static str, kind: &'static str) -> Asset {
    Asset { name, folder, kind }
}

const ASSETS: [Asset; 7] = [
    asset("pages.css", place::MONITORING_ASSETS, CSS),
    asset("theme.js", place::MONITORING_ASSETS, JAVASCRIPT),
    asset("pages.js", place::MONITORING_ASSETS, JAVASCRIPT),
    asset("charts.js", place::MONITORING_ASSETS, JAVASCRIPT),
    asset("icon.svg", place::MONITORING_ASSETS, "image/svg+xml"),
    asset("dygraph.min.js", place::CHARTS, JAVASCRIPT),
    asset("dygraph.min.css", place::CHARTS, CSS),
];

/// Those that the page without a session needs.
const OPEN: [&str; 2] = ["pages.css", "icon.svg"];

/// Changes when one of them does, so that browsers take the new one.
pub fn version(place: &Place) -> String {
    let mut digest = Sha256::new();
    for asset in &ASSETS {
        digest.update(std::fs::read(place.path(asset.folder).join(asset.name)).unwrap_or_default());
    }
    hex::encode(&digest.finalize()[..4])
}

/// Whether somebody without a session gets it.
pub fn is_open(name: &str) -> bool {
    OPEN.contains(&name)
}

/// The file of that name, `None` when there is no such.
pub fn find(place: &Place, name: &str) -> Result<Option<Answer>> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Ok(None);
    };
    let path = place.path(asset.folder).join(asset.name);
    let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let answer = Answer::new(asset.kind, bytes);
    Ok(Some(
        answer.with(header::CACHE_CONTROL, "private, max-age=3600"),
    ))
}
