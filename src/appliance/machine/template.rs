//! Templates of the image, filled in.
//!
//! They are Tera's (<https://keats.github.io/tera/>) with escaping off: the values
//! are checked where settings are parsed, and an undefined variable is an error,
//! never an empty text.

use super::accounts::owner;
use super::files::{PUBLIC, ensure_file, ensure_folder};
use super::place::{self, Place};
use anyhow::{Context, Result};
use serde::Serialize;

/// Renders one template of the image.
pub fn render_template(place: &Place, name: &str, values: &impl Serialize) -> Result<String> {
    let path = place.path(place::TEMPLATES).join(name);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut tera = tera::Tera::new();
    tera.autoescape_on(Vec::<&str>::new());
    tera.add_raw_template(name, &text)
        .with_context(|| format!("reading the template {name}"))?;
    let context = tera::Context::from_serialize(values)?;
    tera.render(name, &context)
        .with_context(|| format!("rendering the template {name}"))
}

/// Fills a template in and puts it below /run/mailimg, under the same name.
pub fn ensure_rendered(place: &Place, name: &str, values: &impl Serialize) -> Result<()> {
    let text = render_template(place, name, values)?;
    ensure_below_run(place, name, &text, PUBLIC)
}

/// Puts a text below /run/mailimg.
pub fn ensure_below_run(place: &Place, name: &str, text: &str, mode: u32) -> Result<()> {
    let path = place.path(place::RENDERED).join(name);
    let folder = path.parent().context("a file without a folder")?;
    ensure_folder(folder, 0o755, None)?;
    ensure_file(&path, text.as_bytes(), mode, owner(place, "root", "root")?).map(|_| ())
}
