//! `mailimg upgrade ssh://root@HOST [IMAGE]`: a machine gets a newer version from here.
//!
//! Over ssh alone: `mailctl` on the machine says which blocks it lacks, and only these
//! travel, see [`crate::format::delta`]. The machine tries the version with its next
//! restart, keeps it when mail is taken and handed out, and comes back otherwise.
//! Left out: other ways to a machine than the ssh program, whose configuration counts.

pub mod remote;
pub mod send;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::signals::say_when_stopped;
use crate::builder::progress::{Progress, Style};
use crate::error::{Hint, hinted};
use crate::format::delta::Outcome;
use crate::format::image::Image;
use crate::print::say;
use remote::Remote;
use send::{Sent, send};

/// Arguments of `mailimg upgrade`.
#[derive(Args, Debug)]
pub struct UpgradeArgs {
    /// The machine, as ssh://root@mail.example.org or ssh://root@mail.example.org:2222
    machine: String,
    /// The image, raw [default: the newest in `out`]
    image: Option<PathBuf>,
    /// Restart the machine, and wait until it has kept the version or is back on the old one
    #[arg(long)]
    reboot: bool,
    /// Take an image that is older than what the machine runs
    #[arg(long)]
    allow_downgrade: bool,
    /// How to call ssh, with options
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    ssh: String,
}

/// Upgrades a machine.
pub fn run_upgrade(args: &UpgradeArgs) -> Result<()> {
    let started = Instant::now();
    let remote = Remote::parse(&args.machine, &args.ssh)?;
    let path = match &args.image {
        Some(path) => path.clone(),
        None => newest_image(Path::new("out"))?,
    };
    let file = File::open(&path)
        .with_context(|| format!("opening {}", path.display()))
        .hint("name an image that `mailimg build` made")?;
    let image = Image::read(file).with_context(|| format!("reading {}", path.display()))?;
    let version = &image.offer.described.version;
    let progress = Progress::new(Style::Auto);
    say_when_stopped(
        "the machine runs what it ran",
        "run the same command again, it goes on where it was",
    );
    let doing = || format!("upgrading {}", remote.name());
    let sent = send(&remote, &image, args.allow_downgrade, &progress).with_context(doing)?;
    say(&format!(
        "{}{} in {:.1} s: {}\n",
        if args.reboot { "" } else { "ready: " },
        version,
        started.elapsed().as_secs_f64(),
        describe(&sent),
    ))?;
    if !args.reboot {
        return say(&format!(
            "restart {} to try it: `ssh {} reboot`; `mailctl status` there says how it went\n",
            remote.name(),
            remote.name()
        ));
    }
    conclude(&remote, version, &progress).with_context(doing)
}

/// Restarts the machine and says how it went.
fn conclude(remote: &Remote, version: &str, progress: &Progress) -> Result<()> {
    let began = Instant::now();
    say_when_stopped(
        &format!("{} goes on by itself", remote.name()),
        "`mailctl status` there says how it went",
    );
    let standing = remote.restart_and_wait(progress)?;
    let seconds = began.elapsed().as_secs();
    match standing.outcome {
        Outcome::Kept if standing.running == version => say(&format!(
            "healthy on {version}, {seconds} s after the restart\n"
        )),
        Outcome::CameBack(why) => Err(anyhow!(
            "the machine came back on {} after {seconds} s, because {version} did not work: {why}",
            standing.running
        ))
        .hint("mail goes on there; `journalctl -b -1` on the machine has more"),
        _ => Err(hinted(
            format!("the machine runs {}, not {version}", standing.running),
            "`mailctl status` there says how it went",
        )),
    }
}

fn describe(sent: &Sent) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    format!(
        "{:.1} MiB travelled of {:.0} MiB, {:.1} %",
        mib(sent.travelled),
        mib(sent.whole),
        100.0 * sent.travelled as f64 / sent.whole as f64
    )
}

/// The image that was written last.
fn newest_image(folder: &Path) -> Result<PathBuf> {
    let mut newest = None;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "raw") {
            let written = entry.metadata().and_then(|metadata| metadata.modified())?;
            newest = newest.max(Some((written, path)));
        }
    }
    newest.map(|(_, path)| path).ok_or_else(|| {
        hinted(
            format!(
                "finding an image: there is no .raw file in {}",
                folder.display()
            ),
            "`mailimg build` makes one, or name one after the machine",
        )
    })
}
