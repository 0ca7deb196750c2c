//! The pages' templates, Tera's with escaping on (<https://keats.github.io/tera/>).

use super::frame::Frame;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::web::answer::Answer;
use anyhow::{Context, Result};
use http::header;
use serde::Serialize;

const NAMES: [&str; 9] = [
    "frame.html",
    "panels.html",
    "login.html",
    "overview.html",
    "charts.html",
    "bans.html",
    "dns.html",
    "queue.html",
    "users.html",
];
/// What a page is.
pub const HTML: &str = "text/html; charset=utf-8";

/// The templates, read once.
pub struct Templates(tera::Tera);

/// A page's own values beside those of all pages.
#[derive(Serialize)]
struct Values<'a, T> {
    frame: &'a Frame,
    page: &'a T,
}

impl Templates {
    /// Reads them.
    pub fn load(place: &Place) -> Result<Self> {
        let mut tera = tera::Tera::new();
        tera.autoescape_on([".html"]);
        let mut texts = Vec::new();
        for name in NAMES {
            let path = place.path(place::TEMPLATES).join("monitoring").join(name);
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("reading {}", path.display()))?;
            texts.push((name, text));
        }
        tera.add_raw_templates(texts.iter().map(|(name, text)| (*name, text.as_str())))
            .context("reading the templates of the pages")?;
        Ok(Self(tera))
    }

    /// A page, which nobody keeps.
    pub fn page(&self, name: &str, frame: &Frame, page: &impl Serialize) -> Result<Answer> {
        let context = tera::Context::from_serialize(&Values { frame, page })?;
        let text = self
            .0
            .render(name, &context)
            .with_context(|| format!("rendering the template {name}"))?;
        Ok(Answer::new(HTML, text).with(header::CACHE_CONTROL, "no-store"))
    }
}
