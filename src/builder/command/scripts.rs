//! `mailimg scripts`: the maintainer scripts that a recipe's tables do not know.
//!
//! For the person who reviews them: each script with the lines to add.

use anyhow::Result;
use clap::Args;

use super::workbench::{RecipeArgs, Workbench};
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
    let workbench = Workbench::open(&args.recipe)?;
    let packages = workbench.unpack(workbench.lock()?)?;
    let review = review_scripts(&workbench.recipe, &packages)?;
    for script in &review.unreviewed {
        let known = workbench.last_known(&script.package, &script.version);
        let before = known.and_then(|known| known.script(&workbench, &script.entry.kind));
        say(&(script.to_text(before.as_ref()) + "\n"))?;
    }
    workbench.progress.note(&format!(
        "scripts: {} of {} are known",
        review.looked_at - review.unreviewed.len(),
        review.looked_at
    ));
    Ok(())
}
