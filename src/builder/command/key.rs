//! `mailimg key new`: a pair of keys for updates, as minisign has them.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::signals::say_when_stopped;
use crate::builder::write::atomic::{Privacy, write_output};
use crate::error::hinted;
use crate::format::minisign::SecretKey;
use crate::print::say;

/// What is done about keys.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a pair of keys: NAME.key signs and is for you alone, NAME.pub is for everybody
    ///
    /// They are minisign's. The secret one has no password, as `minisign -G -W` makes it,
    /// so that a machine may sign: whoever reads the file can give your mail servers
    /// another system.
    New(NewArgs),
}

/// Arguments of `mailimg key new`.
#[derive(Args, Debug)]
pub struct NewArgs {
    /// What the files are called, with a folder if they belong elsewhere
    #[arg(long, value_name = "NAME", default_value = "update")]
    output: PathBuf,
}

/// Does it.
pub fn run_key(verb: &KeyVerb) -> Result<()> {
    let KeyVerb::New(args) = verb;
    let named = |ending: &str| {
        let mut name = args.output.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (secret, public) = (named(".key"), named(".pub"));
    for path in [&secret, &public] {
        refuse_existing(path)?;
    }
    let key = SecretKey::generate()?;
    let write = |path: &Path, privacy: Privacy, text: String| {
        write_output(path, privacy, |mut file| {
            file.write_all(text.as_bytes()).context("writing the key")
        })
    };
    // The public one first: of a pair that is half there, the secret one is missing.
    write(&public, Privacy::Public, key.public().to_text())?;
    write(&secret, Privacy::Private, key.to_text())?;
    say_when_stopped(
        &format!("{} and {} are whole", secret.display(), public.display()),
        "the line for the recipe stands in the second one",
    );
    say(&format!(
        "key {}: wrote {}, which signs, and {}\n\
         into the recipe, so that machines believe it:\n\n[update]\nkeys = [\"{}\"]\n",
        key.public().number,
        secret.display(),
        public.display(),
        key.public().to_line()
    ))
}

/// A key that machines know cannot be had again.
fn refuse_existing(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    Err(hinted(
        format!("making a key: {} is there already", path.display()),
        "give the new one another name with --output",
    ))
}
