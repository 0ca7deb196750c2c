//! `mailimg scripts`: the maintainer scripts that a recipe's table does not know.
//!
//! For the person who reviews them: each script with the lines to add.

use anyhow::Result;
use clap::Args;

use super::{RecipeArgs, Workspace};

/// Arguments of `mailimg scripts`.
#[derive(Args, Debug)]
pub struct ScriptsArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Prints every script that nobody reviewed, and the table's lines for it.
pub fn run_scripts(args: &ScriptsArgs) -> Result<()> {
    let workspace = Workspace::open(&args.recipe)?;
    for package in workspace.unpack(workspace.lock()?)? {
        for script in &package.scripts {
            let known = workspace.recipe.scripts.iter().any(|reviewed| {
                reviewed.package == package.name
                    && reviewed.kind == script.kind
                    && reviewed.sha256 == script.sha256
            });
            if !known {
                println!("# {} {}\n[[script]]", package.name, package.version);
                println!("package = \"{}\"\nkind = \"{}\"", package.name, script.kind);
                println!("sha256 = \"{}\"\neffect = \"\"", script.sha256);
                for line in String::from_utf8_lossy(&script.text).lines() {
                    println!("#   {line}");
                }
                println!();
            }
        }
    }
    Ok(())
}
