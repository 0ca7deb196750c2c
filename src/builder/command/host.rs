//! `mailimg build` for hosts and clusters that run the image as a container: which options say
//! so, and what is written of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::settings::Checked;
use crate::builder::write::atomic::{Output, Privacy, explain};
use crate::builder::write::ignition::{
    DataDisk, Deployment, Host, HostSettings, ImageSource, SETTINGS_FOLDER, Window, butane_config,
    check_url, ignition_config, read_archive, write_quadlet,
};
use crate::builder::write::kube::{KubeSettings, kube_objects};
use crate::error::{Hint, hinted};

/// Arguments of `mailimg build` that say what a host runs.
#[derive(Args, Debug)]
#[command(next_help_heading = "Hosts (--format ignition, butane, quadlet, kube)")]
pub struct HostArgs {
    /// The image in a registry: the host follows REGISTRY/REPOSITORY:TAG, and stays on
    /// REGISTRY/REPOSITORY@sha256:DIGEST
    #[arg(long, value_name = "REFERENCE")]
    image_reference: Option<String>,
    /// Without a registry: where the host fetches the OCI archive from
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,
    /// The OCI archive that lies there [default: that of this build, with `oci` in --format]
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Disk of the host that gets a partition for mail, such as /dev/vdb
    #[arg(long, value_name = "DISK")]
    data_disk: Option<String>,
    /// When the host may restart and take updates, in UTC
    #[arg(long, value_name = "DAYS TIME", default_value = "Sun 03:00")]
    update_schedule: String,
    /// How long that time lasts, such as 90min
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
    /// Objects of a Kubernetes cluster.
    Kube,
}

impl HostFormat {
    /// How its files' names end.
    fn extension(self) -> &'static str {
        match self {
            Self::Ignition => "ign",
            Self::Butane => "bu",
            Self::Quadlet => "quadlet.tar",
            Self::Kube => "kube.yaml",
        }
    }

    /// Whether the settings are in it.
    fn has_settings(self) -> bool {
        self != Self::Quadlet
    }

    /// What becomes of the settings, which people may not expect.
    fn settings_warning(self) -> String {
        match self {
            Self::Ignition | Self::Butane => "it holds the settings with their secrets. What a \
                 host gets as user-data stays readable in it, for its programs too"
                .to_owned(),
            Self::Quadlet => format!(
                "it holds no settings; put them on the host as {SETTINGS_FOLDER}/settings.env"
            ),
            Self::Kube => "it holds the settings with their secrets. Who may read secrets of \
                 their namespace, or start pods in it, can read them"
                .to_owned(),
        }
    }
}

/// What is known of a deployment before anything is built.
#[derive(Debug)]
pub struct Plan {
    image: PlannedImage,
    window: Window,
    data_disk: Option<DataDisk>,
}

/// Where the image will come from.
#[derive(Debug)]
enum PlannedImage {
    Known(ImageSource),
    /// The archive of this very build, fetched from an address if there is one.
    Built(Option<String>),
}

impl Plan {
    /// The deployment, once the archive of this build is whole.
    pub fn deployment(self, built: Option<&File>) -> Result<Deployment> {
        let image = match (self.image, built) {
            (PlannedImage::Known(image), _) => image,
            (PlannedImage::Built(url), Some(file)) => ImageSource::Archive(
                read_archive(file, url).context("reading the archive of this build")?,
            ),
            (PlannedImage::Built(_), None) => bail!("this build writes no archive"),
        };
        Ok(Deployment {
            image,
            window: self.window,
            data_disk: self.data_disk,
        })
    }
}

impl HostArgs {
    /// What a host is to run, checked before anything is built; nothing when no such output
    /// is asked for.
    pub fn load(
        &self,
        formats: &BTreeSet<HostFormat>,
        builds_archive: bool,
    ) -> Result<Option<Plan>> {
        let reading = |option: &str| format!("reading {option}");
        self.refuse_without_format(formats)?;
        if formats.is_empty() {
            return Ok(None);
        }
        let image = self.image(formats, builds_archive)?;
        let data_disk = self.data_disk.as_deref().map(DataDisk::parse);
        let data_disk = data_disk
            .transpose()
            .context(reading("--data-disk"))
            .usage()?;
        Ok(Some(Plan {
            image,
            window: Window::parse(&self.update_schedule, &self.update_window)?,
            data_disk,
        }))
    }

    /// Options that nothing comes of are mistakes.
    fn refuse_without_format(&self, formats: &BTreeSet<HostFormat>) -> Result<()> {
        let runs = !formats.is_empty();
        let has_disks = formats.iter().any(|format| *format != HostFormat::Kube);
        let given = [
            ("--image-reference", self.image_reference.is_some(), runs),
            ("--archive-url", self.archive_url.is_some(), runs),
            ("--archive", self.archive.is_some(), runs),
            ("--data-disk", self.data_disk.is_some(), has_disks),
        ];
        match given.iter().find(|(_, given, of_use)| *given && !of_use) {
            None => Ok(()),
            Some((option, _, _)) => Err(hinted(
                format!("{option} says what a host runs, and no output is for one"),
                "add `--format ignition`, `butane` or `quadlet`, or leave the option out",
            ))
            .usage(),
        }
    }

    /// Where the image comes from.
    fn image(&self, formats: &BTreeSet<HostFormat>, builds_archive: bool) -> Result<PlannedImage> {
        let fetches = formats.iter().any(|format| *format != HostFormat::Quadlet);
        let archive = self.archive_url.as_ref().map(|_| "--archive-url");
        let archive = archive.or(self.archive.as_ref().map(|_| "--archive"));
        match (&self.image_reference, archive) {
            (None, None) if builds_archive && !fetches => Ok(PlannedImage::Built(None)),
            (None, None) => Err(hinted(
                "nothing says where the host gets the image from",
                "add `--image-reference REGISTRY/REPOSITORY:TAG`, or without a registry \
                 `--archive-url URL` with `oci` in --format",
            ))
            .usage(),
            (Some(_), Some(archive)) => Err(hinted(
                format!("--image-reference and {archive} both say where the image comes from"),
                "leave out one of them",
            ))
            .usage(),
            (Some(reference), None) => ImageSource::parse_registry(reference)
                .map(PlannedImage::Known)
                .context("reading --image-reference")
                .usage(),
            (None, Some(archive)) if formats.contains(&HostFormat::Kube) => Err(hinted(
                format!(
                    "{archive} says where the image comes from, and a cluster fetches no archive"
                ),
                "add `--image-reference REGISTRY/REPOSITORY:TAG` instead",
            ))
            .usage(),
            (None, Some(_)) => self.load_archive(fetches, builds_archive),
        }
    }

    fn load_archive(&self, fetches: bool, builds_archive: bool) -> Result<PlannedImage> {
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
            if builds_archive {
                return Ok(PlannedImage::Built(self.archive_url.clone()));
            }
            return Err(hinted(
                "nothing says what lies at --archive-url",
                "add `oci` to --format for the archive of this build, or `--archive FILE` for \
                 another: the host checks its digest",
            ))
            .usage();
        };
        File::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|file| read_archive(&file, self.archive_url.clone()))
            .map(|archive| PlannedImage::Known(ImageSource::Archive(archive)))
            .with_context(|| format!("reading the OCI archive {}", path.display()))
            .hint("`--archive` takes what `mailimg build --format oci` writes")
    }
}

/// Writes what was asked for; the outputs wait for their names.
pub fn write_host_outputs(
    formats: &BTreeSet<HostFormat>,
    deployment: &Deployment,
    settings: Option<&Checked>,
    at: &dyn Fn(&str) -> PathBuf,
) -> Result<Vec<Output>> {
    let values = settings.map(Checked::values).transpose()?;
    let known = settings.zip(values.as_ref());
    let host_settings = known.map(|(settings, values)| HostSettings {
        text: &settings.text,
        authority: settings.authority.as_ref(),
        keys: &values.ssh.keys,
    });
    let kube_settings = known.map(|(settings, values)| KubeSettings {
        domain: &values.domain,
        text: &settings.text,
        authority: settings.authority.as_ref(),
    });
    let host = Host::new(deployment, host_settings);
    let mut outputs = Vec::new();
    for format in formats {
        let path = at(format.extension());
        let privacy = match settings {
            Some(_) if format.has_settings() => Privacy::Private,
            _ => Privacy::Public,
        };
        let output = Output::create(&path, privacy)?;
        let file = output.file();
        match format {
            HostFormat::Ignition => write_text(file, &ignition_config(&host)?),
            HostFormat::Butane => write_text(file, &butane_config(&host)),
            HostFormat::Quadlet => write_quadlet(deployment, file),
            HostFormat::Kube => match &deployment.image {
                ImageSource::Registry(image) => {
                    write_text(file, &kube_objects(image, kube_settings)?)
                }
                ImageSource::Archive(_) => bail!("a cluster fetches no archive"),
            },
        }
        .map_err(|error| explain(error, &path))?;
        if settings.is_some() {
            tell!("warning: {}: {}", path.display(), format.settings_warning());
        }
        outputs.push(output);
    }
    Ok(outputs)
}

fn write_text(mut file: &File, text: &str) -> Result<()> {
    Ok(file.write_all(text.as_bytes())?)
}
