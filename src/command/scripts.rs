//! `mailimg scripts`: the maintainer scripts that a recipe's table does not know.
//!
//! For the person who reviews them: each script with the lines to add.

use anyhow::Result;
use clap::Args;

use super::{RecipeArgs, Workspace};
use crate::compose::unreviewed_scripts;

/// Arguments of `mailimg scripts`.
#[derive(Args, Debug)]
pub struct ScriptsArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Prints every script that nobody reviewed, and the table's lines for it.
pub fn run_scripts(args: &ScriptsArgs) -> Result<()> {
    let workspace = Workspace::open(&args.recipe)?;
    let packages = workspace.unpack(workspace.lock()?)?;
    for script in unreviewed_scripts(&workspace.recipe, &packages)? {
        println!("{script}");
    }
    Ok(())
}
