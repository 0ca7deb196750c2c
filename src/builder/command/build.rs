//! `mailimg build`: all arrows of the flow on one screen.

mod container;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};

use self::container::{make_container, write_archive};
use super::boot_partition::read_boot_files;
use super::host::{HostArgs, HostFormat, write_host_outputs};
use super::mailctl::load_mailctl;
use super::settings::{Checked, load_checked};
use super::workbench::{RecipeArgs, Workbench};
use crate::builder::bill::install_bill;
use crate::builder::compose::{
    Ingredients, Manifest, Sizes, UnreviewedScripts, check_room, compose, image_version,
    install_version,
};
use crate::builder::deb::Package;
use crate::builder::fetch::Gone;
use crate::builder::lock::{self, Lock};
use crate::builder::recipe::{Recipe, check_names};
use crate::builder::seal::image::{Sealed, install_loaders, seal};
use crate::builder::write::atomic::{Output, Privacy, explain};
use crate::builder::write::image::write_disk;
use crate::builder::write::qcow2::write_qcow2;
use crate::error::Hint;
use crate::format::gpt::read_gpt;

/// Arguments of `mailimg build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What to write
    #[arg(long, value_enum, value_delimiter = ',', default_value = "disk")]
    format: Vec<OutputFormat>,
    /// Settings to put onto the image's boot partition
    #[arg(long)]
    settings: Option<PathBuf>,
    /// Folder for what is built
    #[arg(long, default_value = "out")]
    output_dir: PathBuf,
    /// Build exactly what the lock says, or fail
    #[arg(long)]
    locked: bool,
    /// Keep these packages at the last version whose maintainer scripts are known
    #[arg(
        long,
        value_name = "PACKAGE",
        value_delimiter = ',',
        conflicts_with = "locked"
    )]
    hold: Vec<String>,
    /// The image's version [default: the recipe's, when the lock was made, and digits of
    /// the content]
    #[arg(long, value_name = "VERSION")]
    image_version: Option<String>,
    /// The mailctl to put into the image [default: the one beside this program]
    #[arg(long, env = "MAILIMG_AGENT")]
    agent: Option<PathBuf>,
    /// Also write the tree as text
    #[arg(long)]
    listing: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// A kind of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Sparse raw disk image, NAME_VERSION.raw
    Disk,
    /// QEMU's format, NAME_VERSION.qcow2
    Qcow2,
    /// OCI archive for podman, docker and registries, NAME_VERSION.oci.tar
    Oci,
    /// Bill of materials, SPDX 2.3 as JSON, NAME_VERSION.spdx.json
    Spdx,
    /// Ignition config of a Fedora CoreOS that runs the image, NAME_VERSION.ign
    Ignition,
    /// The same for editing, NAME_VERSION.bu
    Butane,
    /// Service files for podman on any host, NAME_VERSION.quadlet.tar
    Quadlet,
    /// Objects of a Kubernetes cluster that runs the image, NAME_VERSION.kube.yaml
    Kube,
}

impl OutputFormat {
    /// The format if it is one for a host that runs the image as a container.
    fn for_host(&self) -> Option<HostFormat> {
        match self {
            Self::Ignition => Some(HostFormat::Ignition),
            Self::Butane => Some(HostFormat::Butane),
            Self::Quadlet => Some(HostFormat::Quadlet),
            Self::Kube => Some(HostFormat::Kube),
            Self::Disk | Self::Qcow2 | Self::Spdx | Self::Oci => None,
        }
    }

    /// Whether it is made of a machine's sealed root.
    fn is_of_disk(&self) -> bool {
        matches!(self, Self::Disk | Self::Qcow2 | Self::Spdx)
    }
}

/// Builds an image: recipe, lock, packages, tree, sealed root, disk.
pub fn run_build(args: &BuildArgs) -> Result<()> {
    let start = Instant::now();
    let settings = args.settings.as_deref().map(load_checked).transpose()?;
    let host_formats = args
        .format
        .iter()
        .filter_map(OutputFormat::for_host)
        .collect();
    let builds_archive = args.format.contains(&OutputFormat::Oci);
    let plan = args.host.load(&host_formats, builds_archive)?;
    let workbench = Workbench::open(&args.recipe)?;
    check_buildable(&workbench.recipe)?;
    check_version(&workbench.recipe, args.image_version.as_deref())?;
    let mailctl = workbench
        .recipe
        .overlay
        .then(|| load_mailctl(args.agent.as_deref()))
        .transpose()?;
    prepare_folder(&args.output_dir)?;

    let lock = ensure_lock(&workbench, args)?;
    let (lock, packages) = load_packages(&workbench, lock, args)?;
    let ingredients = Ingredients {
        resources: &workbench.resources,
        mailctl,
        lock: &lock,
    };
    tell_held(&workbench, &lock);
    let mut composed = compose(&workbench.recipe, &packages, &ingredients)
        .map_err(|error| explain_scripts(&workbench, error))?;
    let version = match &args.image_version {
        Some(version) => version.clone(),
        None => image_version(&workbench.recipe, &lock, &composed, &workbench.resources)?,
    };
    // From here on the recipe is that of this one image.
    let recipe = Recipe {
        version,
        ..workbench.recipe.clone()
    };
    let base = format!("{}_{}", recipe.name, recipe.version);
    let at = |extension: &str| args.output_dir.join(format!("{base}.{extension}"));
    let mut outputs = Vec::new();
    if builds_archive {
        let container = make_container(&recipe, &composed, &packages, &lock, &workbench)?;
        let path = at("oci.tar");
        outputs.push(write_archive(
            &recipe,
            &container,
            lock.time(),
            &path,
            &workbench,
        )?);
    }
    let is_of_disk = args.format.iter().any(OutputFormat::is_of_disk);
    if is_of_disk || args.listing {
        install_version(&mut composed, &recipe)?;
        let loaders = install_loaders(&mut composed)?;
        let bill = install_bill(&mut composed, &packages, &lock)?;
        if args.listing {
            write_text(&at("listing"), &composed.tree.listing())?.commit()?;
        }
        if is_of_disk {
            let sealed = seal(
                &recipe,
                composed,
                loaders,
                &workbench.resources,
                &workbench.cache,
                lock.time(),
            )?;
            let disk = write_outputs(
                args,
                &workbench,
                &recipe,
                &sealed,
                &bill,
                settings.as_ref(),
                &at,
            )?;
            outputs.extend(disk);
        }
    }
    if let Some(plan) = plan {
        let archive = outputs.iter().find(|output| output.path() == at("oci.tar"));
        let deployment = plan.deployment(archive.map(Output::file))?;
        let written = write_host_outputs(&host_formats, &deployment, settings.as_ref(), &at)?;
        outputs.extend(written);
    }
    give_names(&workbench, outputs)?;
    workbench.remember_built(&lock)?;
    workbench
        .progress
        .note(&format!("done in {:.1} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// The disk's files, whole and without their names yet.
fn write_outputs(
    args: &BuildArgs,
    workbench: &Workbench,
    recipe: &Recipe,
    sealed: &Sealed,
    bill: &str,
    settings: Option<&Checked>,
    at: &dyn Fn(&str) -> PathBuf,
) -> Result<Vec<Output>> {
    let privacy = if settings.is_some() {
        Privacy::Private
    } else {
        Privacy::Public
    };
    let raw = Output::create(&at("raw"), privacy)?;
    let text = settings.map(|settings| settings.text.as_slice());
    let authority = settings.and_then(|settings| settings.authority.as_ref());
    let disk = write_disk(recipe, sealed, text, authority, raw.file())
        .map_err(|error| explain(error, &at("raw")))?;
    workbench
        .progress
        .note(&format!("root hash {}", hex::encode(disk.root_hash)));
    let mut outputs = Vec::new();
    if args.format.contains(&OutputFormat::Qcow2) {
        let qcow2 = Output::create(&at("qcow2"), privacy)?;
        write_qcow2(raw.file(), qcow2.file(), &disk.editable)
            .map_err(|error| explain(error, &at("qcow2")))?;
        outputs.push(qcow2);
    }
    let root_hash = Some(hex::encode(disk.root_hash));
    let manifest = Manifest {
        root_hash,
        sizes: Some(Sizes {
            root: sealed.root.size(),
            kernel: sealed.kernel.len() as u64,
            initrd: sealed.initrd.len() as u64,
            image: raw.file().metadata()?.len(),
        }),
        boot: read_boot_files(&mut raw.file(), &read_gpt(&raw.file())?)
            .context("reading back what was written")?,
        ..sealed.manifest.clone()
    };
    let manifest = serde_json::to_string_pretty(&manifest)? + "\n";
    outputs.push(write_text(&at("manifest.json"), &manifest)?);
    if args.format.contains(&OutputFormat::Spdx) {
        outputs.push(write_text(&at("spdx.json"), bill)?);
    }
    if args.format.contains(&OutputFormat::Disk) {
        outputs.push(raw);
    }
    Ok(outputs)
}

/// All are whole before the first gets its name.
fn give_names(workbench: &Workbench, outputs: Vec<Output>) -> Result<()> {
    for output in outputs {
        let path = output.path().to_owned();
        output.commit()?;
        workbench
            .progress
            .note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// The lock of the recipe, resolved anew when there is none or it is older.
fn ensure_lock(workbench: &Workbench, args: &BuildArgs) -> Result<Lock> {
    if !args.hold.is_empty() {
        let reason = format!("holding back {}", args.hold.join(", "));
        return resolve_again(workbench, args, &reason);
    }
    let reason = match &workbench.lock {
        Some(lock) => match lock::check_fresh(&workbench.recipe, lock) {
            Ok(()) => return Ok(lock.clone()),
            Err(error) if args.locked => return Err(error),
            Err(error) => error.to_string(),
        },
        None if args.locked => return Err(workbench.no_lock()),
        None => "there is no lock yet".to_owned(),
    };
    resolve_again(workbench, args, &reason)
}

fn resolve_again(workbench: &Workbench, args: &BuildArgs, reason: &str) -> Result<Lock> {
    workbench.progress.note(&format!("resolving: {reason}"));
    // A recipe out of the binary has no folder of its own for the new lock.
    let beside = args
        .output_dir
        .join(format!("{}.lock", workbench.recipe.name));
    let (lock, difference) = workbench.resolve(&beside, &args.hold)?;
    let difference = difference.trim_end();
    if !difference.is_empty() {
        workbench.progress.note(difference);
    }
    Ok(lock)
}

/// Fetches and unpacks; a package that left the mirror makes the lock anew.
fn load_packages(
    workbench: &Workbench,
    lock: Lock,
    args: &BuildArgs,
) -> Result<(Lock, Vec<Package>)> {
    let error = match workbench.unpack(&lock) {
        Ok(packages) => return Ok((lock, packages)),
        Err(error) => error,
    };
    if !error.chain().any(|cause| cause.is::<Gone>()) {
        return Err(error);
    }
    if args.locked || args.recipe.offline {
        return Err(error);
    }
    let lock = resolve_again(workbench, args, &format!("{error:#}"))?;
    let packages = workbench.unpack(&lock)?;
    Ok((lock, packages))
}

/// Says at every build what is not the newest.
fn tell_held(workbench: &Workbench, lock: &Lock) {
    for line in lock.packages.iter().filter_map(lock::held_text) {
        workbench.progress.note(&line);
    }
}

/// Shows what is new in scripts that nobody reviewed, and both ways on.
fn explain_scripts(workbench: &Workbench, error: anyhow::Error) -> anyhow::Error {
    let Some(UnreviewedScripts { scripts }) = error.downcast_ref() else {
        return error;
    };
    let mut names = Vec::new();
    let mut versions = Vec::new();
    for script in scripts {
        let known = workbench.last_known(&script.package, &script.version);
        let before = known
            .as_ref()
            .and_then(|known| known.script(workbench, &script.entry.kind));
        workbench
            .progress
            .note(script.to_text(before.as_ref()).trim_end());
        if let Some(known) = known
            && !names.contains(&script.package)
        {
            names.push(script.package.clone());
            versions.push(format!("{} {}", known.locked.name, known.locked.version));
        }
    }
    let recipe = &workbench.recipe;
    let table = recipe
        .scripts_file
        .as_deref()
        .unwrap_or("the table of scripts");
    let review = format!(
        "read what is shown above (`mailimg scripts {}` prints it again), declare what it does, \
         and put the entry with its effect into recipes/{table}",
        recipe.name
    );
    let error = Err::<(), _>(error).hint(review);
    let error = match names.is_empty() {
        true => error,
        false => error.hint(format!(
            "who cannot wait: `mailimg build {} --hold {}` builds with {}, whose scripts are known, \
             and says so",
            recipe.name,
            names.join(","),
            versions.join(", ")
        )),
    };
    error.unwrap_err()
}

/// Recipes of tools have nothing to build.
fn check_buildable(recipe: &Recipe) -> Result<()> {
    match recipe.image {
        Some(_) => Ok(()),
        None => Err(anyhow!(
            "building {}: the recipe has no [image], so it is not one of a bootable image",
            recipe.name
        ))
        .hint("build another recipe, `mailimg build mail`, or add an [image] table to this one")
        .usage(),
    }
}

/// A version that cannot be one is told before anything is fetched.
fn check_version(recipe: &Recipe, given: Option<&str>) -> Result<()> {
    match given {
        Some(version) => check_names(&recipe.name, version)
            .context("reading --image-version")
            .usage(),
        None => check_room(recipe),
    }
}

/// Makes the folder for what is built, and proves early that it takes files.
fn prepare_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("making the folder {}", folder.display()))
        .and_then(|()| {
            tempfile::tempfile_in(folder)
                .map(drop)
                .with_context(|| format!("writing to {}", folder.display()))
        })
        .hint("choose a folder that you may write to with `--output-dir`")
}

/// A text that waits for its name.
fn write_text(path: &Path, text: &str) -> Result<Output> {
    use std::io::Write as _;
    let output = Output::create(path, Privacy::Public)?;
    let mut file: &File = output.file();
    file.write_all(text.as_bytes())
        .map_err(|error| explain(error.into(), path))?;
    Ok(output)
}
