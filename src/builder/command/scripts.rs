//! `mailimg scripts`: the maintainer scripts that a recipe's tables do not know.
//!
//! For the person who reviews them: each script with the lines to add.

use anyhow::Result;
use clap::Args;

use super::workspace::{RecipeArgs, Workspace};
use crate::builder::compose::review_scripts;
use crate::print::say;

/// Arguments of `mailimg scripts`.
#[derive(Args, Debug)]
pub struct ScriptsArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Prints every script that nobody reviewed, as a difference where an earlier
/// version is known, and the table's lines for it.
pub fn run_scripts(args: &ScriptsArgs) -> Result<()> {
    let workspace = Workspace::open(&args.recipe)?;
    let packages = workspace.unpack(workspace.lock()?)?;
    let review = review_scripts(&workspace.recipe, &packages)?;
    for script in &review.unreviewed {
        let known = workspace.last_known(&script.package, &script.version);
        let before = known.and_then(|known| known.script(&workspace, &script.entry.kind));
        say(&(script.to_text(before.as_ref()) + "\n"))?;
    }
    workspace.progress.note(&format!(
        "scripts: {} of {} are known",
        review.looked_at - review.unreviewed.len(),
        review.looked_at
    ));
    Ok(())
}
