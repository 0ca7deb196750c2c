//! `mailimg sign`: an image becomes a folder that machines take updates from.
//!
//! What is in the folder is said in [`crate::format::update`]; it is written in
//! [`publish`]. Signatures are minisign's.

pub mod publish;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::boot_partition::read_boot_files;
use super::check_image::check_image;
use super::diff::subject::Subject;
use crate::builder::progress::{Progress, Style};
use crate::builder::write::opened::Opened;
use crate::error::{Hint, hinted};
use crate::format::gpt::read_gpt;
use crate::format::image::{IS_RAW, Image};
use crate::format::minisign::SecretKey;
use crate::format::update::{FORMAT, Kernel, Part, Root, UPDATE_FILE, Update};
use crate::print::say;
use publish::{Folder, human};

/// Longest time that something is signed for, in days: a year and a leap day.
const LONGEST: u16 = 366;

/// Arguments of `mailimg sign`.
#[derive(Args, Debug)]
pub struct SignArgs {
    /// A raw image, or a folder that was written by this command before: with
    /// --valid-for what is there is signed anew, without it a signature is added
    source: PathBuf,
    /// A secret key of `mailimg key new`, or of minisign without a password; several sign
    /// one after the other
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The folder to write, for any web server that serves files by https: update.json,
    /// which comes last, and parts by their content [default: `update` beside the image]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
    /// For how many days machines take it [default for an image: 90]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=i64::from(LONGEST)))]
    valid_for: Option<u16>,
}

/// Signs an image, or a folder once more.
pub fn run_sign(args: &SignArgs) -> Result<()> {
    let keys = args.key.iter().map(|path| load_key(path));
    let keys = keys.collect::<Result<Vec<SecretKey>>>()?;
    if args.source.is_dir() {
        if args.into.is_some() {
            return Err(hinted(
                "signing a folder: --into is for images",
                "leave it out: the folder is signed where it is",
            ))
            .usage();
        }
        return sign_folder(&args.source, &keys, args.valid_for)
            .with_context(|| format!("signing {}", args.source.display()));
    }
    let beside = args.source.parent().unwrap_or(Path::new(""));
    let folder = args.into.clone().unwrap_or_else(|| beside.join("update"));
    sign_image(&args.source, &folder, &keys, args.valid_for.unwrap_or(90))
}

fn load_key(path: &Path) -> Result<SecretKey> {
    let reading = || format!("reading the key {}", path.display());
    let text = std::fs::read_to_string(path)
        .with_context(reading)
        .hint("`mailimg key new` makes one")?;
    SecretKey::parse(&text).with_context(reading)
}

/// Writes a folder from an image.
fn sign_image(path: &Path, folder: &Path, keys: &[SecretKey], days: u16) -> Result<()> {
    let reading = || format!("reading {}", path.display());
    let file = File::open(path).with_context(reading).hint(IS_RAW)?;
    let image = Image::read(file.try_clone()?).with_context(reading)?;
    let mut opened = Opened::new(&file)?;
    check_image(&mut opened)
        .with_context(reading)
        .hint_where_none("it is damaged or was changed: copy or build it again")?;
    let table = read_gpt(&opened).with_context(reading)?;
    let boot = read_boot_files(&mut opened, &table).with_context(reading)?;
    let subject = Subject::load(path).with_context(reading)?;

    let progress = Progress::new(Style::Auto);
    let folder = Folder::open(folder)?;
    let (root, kernel) = folder.write_parts(&image, &progress)?;
    let (created, expires) = validity(days)?;
    let described = &image.offer.described;
    let superblock = &image.offer.superblock;
    let update = Update {
        format: FORMAT,
        image: described.image.clone(),
        version: described.version.clone(),
        architecture: described.architecture.clone(),
        created,
        expires,
        root: Root {
            hash: hex::encode(described.root_hash),
            size: image.offer.root_size(),
            salt: hex::encode(&superblock.salt),
            uuid: hex::encode(superblock.uuid),
            blocks: root,
        },
        kernel: Kernel {
            version: subject.kernel.clone(),
            size: image.kernel.len() as u64,
            sha256: Part::of(&image.kernel).sha256,
            pieces: kernel,
        },
        boot,
        settings: subject.settings,
        packages: subject.packages,
    };
    folder.conclude(&update, keys)?;
    folder.remove_old()?;
    tell(&update, folder.path(), keys)
}

/// Adds signatures to a folder, or signs it anew for longer.
fn sign_folder(path: &Path, keys: &[SecretKey], days: Option<u16>) -> Result<()> {
    let missing = || {
        hinted(
            format!("there is no {UPDATE_FILE} in it"),
            "name an image: `mailimg sign IMAGE --key FILE` makes a folder",
        )
    };
    // Before anything is made in a folder of something else.
    if !path.join(UPDATE_FILE).exists() {
        return Err(missing());
    }
    let folder = Folder::open(path)?;
    let (text, mut update) = folder.current()?.ok_or_else(missing)?;
    match days {
        None => folder.add_signatures(&text, keys)?,
        Some(days) => {
            (update.created, update.expires) = validity(days)?;
            folder.conclude(&update, keys)?;
        }
    }
    tell(&update, folder.path(), keys)
}

/// Now, and when it is over.
fn validity(days: u16) -> Result<(String, String)> {
    let now = Timestamp::from_second(Timestamp::now().as_second())?;
    let hours = SignedDuration::from_hours(i64::from(days) * 24);
    let Ok(end) = now.checked_add(hours) else {
        bail!("the clock of this machine is beyond all times");
    };
    Ok((now.to_string(), end.to_string()))
}

fn tell(update: &Update, folder: &Path, keys: &[SecretKey]) -> Result<()> {
    let numbers: Vec<String> = keys
        .iter()
        .map(|key| key.public().number.to_string())
        .collect();
    let packs = update.root.blocks.pack.size + update.kernel.pieces.pack.size;
    say(&format!(
        "{} {} in {}: {} of {}, signed by {}, good until {}\n",
        update.image,
        update.version,
        folder.display(),
        human(packs),
        human(update.root.size + update.kernel.size),
        numbers.join(", "),
        update.expires
    ))
}
