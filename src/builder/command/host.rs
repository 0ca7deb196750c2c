//! `mailimg build` for hosts that run the image as a container: which options say so, and
//! what is written of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use super::settings::Checked;
use crate::builder::write::atomic::{Output, Privacy, explain};
use crate::builder::write::ignition::{
    Archive, DataDisk, Deployment, Host, HostSettings, ImageSource, SETTINGS_FOLDER, Window,
    butane_config, check_url, ignition_config, read_archive, write_quadlet,
};
use crate::error::{Hint, hinted};

/// Arguments of `mailimg build` that say what a host runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Hosts (--format ignition, butane, quadlet)")]
pub struct HostArgs {
    /// The image in a registry: the host follows REGISTRY/REPOSITORY:TAG, and stays on
    /// REGISTRY/REPOSITORY@sha256:DIGEST
    #[arg(long, value_name = "REFERENCE")]
    image_reference: Option<String>,
    /// Without a registry: where the host fetches the OCI archive from
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,
    /// The OCI archive that lies there
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Disk of the host that gets a partition for mail, such as /dev/vdb
    #[arg(long, value_name = "DISK")]
    data_disk: Option<String>,
    /// When the host may restart and take updates, in UTC
    #[arg(long, value_name = "DAYS TIME", default_value = "Sun 03:00")]
    update_schedule: String,
    /// How long it may begin to
    #[arg(long, value_name = "LENGTH", default_value = "2h")]
    update_window: String,
}

/// A kind of output for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostFormat {
    /// What Fedora CoreOS reads at its first boot.
    Ignition,
    /// The same for people who edit.
    Butane,
    /// The files for podman alone.
    Quadlet,
}

impl HostFormat {
    /// How its files' names end.
    fn extension(self) -> &'static str {
        match self {
            Self::Ignition => "ign",
            Self::Butane => "bu",
            Self::Quadlet => "quadlet.tar",
        }
    }
}

impl HostArgs {
    /// What a host is to run, checked before anything is built; nothing when no such output
    /// is asked for.
    pub fn load(&self, formats: &BTreeSet<HostFormat>) -> Result<Option<Deployment>> {
        let reading = |option: &str| format!("reading {option}");
        if formats.is_empty() {
            return self.refuse_without_format().map(|()| None);
        }
        let image = self.image(formats.iter().any(|one| *one != HostFormat::Quadlet))?;
        let data_disk = self.data_disk.as_deref().map(DataDisk::parse);
        let data_disk = data_disk
            .transpose()
            .context(reading("--data-disk"))
            .usage()?;
        Ok(Some(Deployment {
            image,
            window: Window::parse(&self.update_schedule, &self.update_window)?,
            data_disk,
        }))
    }

    fn refuse_without_format(&self) -> Result<()> {
        let given = [
            ("--image-reference", self.image_reference.is_some()),
            ("--archive-url", self.archive_url.is_some()),
            ("--archive", self.archive.is_some()),
            ("--data-disk", self.data_disk.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(hinted(
                format!("{option} says what a host runs, and no output is for one"),
                "add `--format ignition`, `butane` or `quadlet`, or leave the option out",
            ))
            .usage(),
        }
    }

    /// Where the image comes from; whether the host has to fetch an archive by itself.
    fn image(&self, fetches: bool) -> Result<ImageSource> {
        let archive = self.archive_url.as_ref().map(|_| "--archive-url");
        let archive = archive.or(self.archive.as_ref().map(|_| "--archive"));
        match (&self.image_reference, archive) {
            (None, None) => Err(hinted(
                "nothing says where the host gets the image from",
                "add `--image-reference REGISTRY/REPOSITORY:TAG`, or without a registry \
                 `--archive-url URL --archive FILE`",
            ))
            .usage(),
            (Some(_), Some(archive)) => Err(hinted(
                format!("--image-reference and {archive} both say where the image comes from"),
                "leave out one of them",
            ))
            .usage(),
            (Some(reference), None) => ImageSource::parse_registry(reference)
                .context("reading --image-reference")
                .usage(),
            (None, Some(_)) => self.load_archive(fetches).map(ImageSource::Archive),
        }
    }

    fn load_archive(&self, fetches: bool) -> Result<Archive> {
        if let Some(url) = &self.archive_url {
            check_url(url).context("reading --archive-url").usage()?;
        } else if fetches {
            return Err(hinted(
                "nothing says where the host fetches the archive from",
                "add `--archive-url URL`; only `--format quadlet` goes without",
            ))
            .usage();
        }
        let Some(path) = &self.archive else {
            return Err(hinted(
                "nothing says what lies at --archive-url",
                "add `--archive FILE`, the archive itself: the host checks its digest",
            ))
            .usage();
        };
        File::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|file| read_archive(&file, self.archive_url.clone()))
            .with_context(|| format!("reading the OCI archive {}", path.display()))
            .hint("`--archive` takes a file such as `podman save --format oci-archive` writes")
    }
}

/// Writes what was asked for; the outputs wait for their names.
pub fn write_host_outputs(
    formats: &BTreeSet<HostFormat>,
    deployment: &Deployment,
    settings: Option<&Checked>,
    at: &dyn Fn(&str) -> PathBuf,
) -> Result<Vec<Output>> {
    let keys = settings
        .map(Checked::ssh_keys)
        .transpose()?
        .unwrap_or_default();
    let host_settings = settings.map(|settings| HostSettings {
        text: &settings.text,
        authority: settings.authority.as_ref(),
        keys: &keys,
    });
    let host = Host::new(deployment, host_settings);
    let mut outputs = Vec::new();
    for format in formats {
        let path = at(format.extension());
        let secret = settings.is_some() && *format != HostFormat::Quadlet;
        let privacy = if secret {
            Privacy::Private
        } else {
            Privacy::Public
        };
        let output = Output::create(&path, privacy)?;
        let mut file: &File = output.file();
        match format {
            HostFormat::Ignition => file
                .write_all(ignition_config(&host)?.as_bytes())
                .map_err(Into::into),
            HostFormat::Butane => file
                .write_all(butane_config(&host).as_bytes())
                .map_err(Into::into),
            HostFormat::Quadlet => write_quadlet(deployment, file),
        }
        .map_err(|error| explain(error, &path))?;
        if settings.is_some() {
            tell!("warning: {}", settings_warning(secret, &path));
        }
        outputs.push(output);
    }
    Ok(outputs)
}

/// What becomes of the settings, which people may not expect.
fn settings_warning(secret: bool, path: &Path) -> String {
    if secret {
        format!(
            "{}: it holds the settings with their secrets. What a host gets as user-data stays \
             readable in it, for its programs too",
            path.display()
        )
    } else {
        format!(
            "{}: it holds no settings; put them on the host as {SETTINGS_FOLDER}/settings.env",
            path.display()
        )
    }
}
