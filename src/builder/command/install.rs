//! `mailimg install`: puts an image onto a disk, from a rescue system say.
//!
//! The image is checked, written and read back. With `--keep-data` a machine's `/var`
//! stays, which [`mod@keep_data`] does; otherwise the disk becomes that of a new machine,
//! see [`whole_disk`]. Left out: sectors of other sizes than 512 bytes, and telling the
//! kernel of new partitions: the machine is started anew.

pub mod copy;
pub mod in_use;
pub mod keep_data;
pub mod note;
pub mod source;
pub mod target;
pub mod whole_disk;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use super::settings::load_checked;
use super::signals::say_when_stopped;
use crate::builder::progress::{Progress, Style};
use crate::builder::write::disk::MIB;
use crate::builder::write::opened::Opened;
use crate::error::{Hint, hinted};
use crate::print::say;
use in_use::Host;
use keep_data::{Options, keep_data};
use source::Source;
use target::Target;
use whole_disk::{check_disk, write_whole_disk};

/// Arguments of `mailimg install`.
#[derive(Args, Debug)]
pub struct InstallArgs {
    /// The image, raw or qcow2
    image: PathBuf,
    /// The disk, as /dev/vda, or a file that stands for one
    disk: PathBuf,
    /// Keep the machine's data: replace only the system on the disk of a mailimg machine
    #[arg(long)]
    keep_data: bool,
    /// Put these settings in; otherwise the disk's are kept with --keep-data, and the image's
    /// are used without it
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Overwrite a disk that is not empty; with --keep-data, go on where one of both partition
    /// tables or the boot partition is damaged
    #[arg(long)]
    force: bool,
}

/// Puts an image onto a disk.
pub fn run_install(args: &InstallArgs) -> Result<()> {
    let started = Instant::now();
    say_when_stopped("nothing was written", "run the same command again");
    let settings = args.settings.as_deref().map(load_checked).transpose()?;
    let name = args.disk.display().to_string();
    let doing = || format!("installing on {name}");
    let mut disk = Target::open(&args.disk, &Host::new(Path::new("/"))).with_context(doing)?;

    let file = File::open(&args.image)
        .with_context(|| format!("opening {}", args.image.display()))
        .hint("name an image that `mailimg build` made")?;
    if disk.is(&file) {
        return Err(hinted(
            format!("{name} is the image itself"),
            "name the disk after the image: `mailimg install IMAGE DISK`",
        ));
    }
    let checking = || format!("checking {}", args.image.display());
    let opened = Opened::new(&file).with_context(checking)?;
    let mut source = Source::check(&opened).with_context(checking)?;
    let progress = Progress::new(Style::Auto);

    let what = if args.keep_data {
        let options = Options {
            settings: settings.as_ref(),
            force: args.force,
        };
        let kept = || keep_data(&mut source, &mut disk, &options, &progress);
        let kept = while_writing(&name, true, kept).with_context(doing)?;
        format!(
            "slot {}, with {} and /var ({} MiB) as it was",
            kept.slot,
            kept.settings,
            kept.var / MIB
        )
    } else {
        if let Some(settings) = &settings {
            source.put_settings(settings)?;
        }
        check_disk(&source, &disk, args.force).with_context(doing)?;
        let write = || write_whole_disk(&source, &mut disk, &progress);
        while_writing(&name, false, write).with_context(doing)?;
        "a new machine, whose first start makes /var".to_owned()
    };
    say(&format!(
        "installed {} on {name} in {:.1} s: {what}\nstart the machine from this disk: `reboot`, \
         and leave the rescue system\n",
        source.name(),
        started.elapsed().as_secs_f64()
    ))
}

/// Runs what writes; whoever stops it is told how the disk is.
fn while_writing<T>(name: &str, keep: bool, write: impl FnOnce() -> Result<T>) -> Result<T> {
    let how = if keep {
        "run the same command again, it ends what was begun; /var is as it was"
    } else {
        "run the same command again; until then the disk does not start"
    };
    say_when_stopped(&format!("{name} is half written"), how);
    let written = write()?;
    say_when_stopped(
        &format!("{name} is written and checked"),
        "start the machine from this disk",
    );
    Ok(written)
}
