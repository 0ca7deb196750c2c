//! `mailimg pull`: an image of a registry becomes the OCI archive that was pushed, byte for byte.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::registry::RegistryArgs;
use crate::builder::fetch::Cache;
use crate::builder::progress::Progress;
use crate::builder::registry::{Checked, Client, fetch_blobs, find_image};
use crate::builder::write::atomic::{Privacy, write_output};
use crate::builder::write::oci::{Named, write_archive};
use crate::error::{Hint, hinted};
use crate::format::oci::{DOCUMENT_BYTES_MAX, parse_oci_reference};
use crate::print::say;

/// Arguments of `mailimg pull`.
#[derive(Args, Debug)]
pub struct PullArgs {
    /// Which image: oci://REGISTRY/REPOSITORY:TAG, or @sha256:DIGEST
    reference: String,
    /// Folder for the archive
    #[arg(long, default_value = "out")]
    output_dir: PathBuf,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pulls an image.
pub fn run_pull(args: &PullArgs) -> Result<()> {
    let reference = parse_oci_reference(&args.reference)?;
    let pulling = || format!("pulling {reference}");
    let progress = args.registry.progress();
    let client = Arc::new(args.registry.client(&reference, false, &[])?);
    let cache = Cache::open(Cache::default_path()?)?;
    let manifest = find_image(&client, &reference).with_context(pulling)?;
    let image = Named::of(&manifest).with_context(pulling).hint_where_none(
        "`mailimg pull` takes what `mailimg push` sent; `podman pull` takes other images",
    )?;
    if image.manifest.config.size > DOCUMENT_BYTES_MAX {
        return Err(hinted(
            format!("{}: its configuration is too large", pulling()),
            "push the image again, with `mailimg push`",
        ));
    }
    let path = args.output_dir.join(image.file_name());
    let fetch = || fetch_image(args, &client, &image, &cache, &path, &progress);
    // What a power cut left in the cache is fetched once more.
    let written = match fetch() {
        Err(_) if discard_damaged(&image, &cache)? => fetch(),
        written => written,
    };
    written.with_context(pulling)?;
    tell(args, &client, &image, &path)
}

fn fetch_image(
    args: &PullArgs,
    client: &Arc<Client>,
    image: &Named,
    cache: &Cache,
    path: &Path,
    progress: &Progress,
) -> Result<()> {
    let manifest = &image.manifest;
    let options = args.registry.options();
    let blobs = fetch_blobs(client, manifest, cache, &options, progress)?;
    let open =
        |path: &PathBuf| File::open(path).with_context(|| format!("reading {}", path.display()));
    let config = fs::read(&blobs[0]).context("reading the configuration")?;
    ensure!(
        manifest.config.is_of(&config),
        "the configuration is damaged in the cache"
    );
    let layers = blobs[1..].iter().map(open).collect::<Result<Vec<File>>>()?;
    write_output(path, Privacy::Public, |output| {
        let layers = layers.into_iter().zip(&manifest.layers);
        let layers = layers.map(|(file, descriptor)| Checked::new(file, descriptor));
        write_archive(image, &config, layers, output)
    })
}

/// Throws away what is in the cache under another digest's name; tells whether there was some.
fn discard_damaged(image: &Named, cache: &Cache) -> Result<bool> {
    let mut any = false;
    let manifest = &image.manifest;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let Ok(file) = File::open(cache.object_path(blob.sha256()?)?) else {
            continue;
        };
        let mut checked = Checked::new(file, blob);
        if std::io::copy(&mut checked, &mut std::io::sink()).is_err() {
            cache.discard_object(blob.sha256()?)?;
            any = true;
        }
    }
    Ok(any)
}

fn tell(args: &PullArgs, client: &Client, image: &Named, path: &Path) -> Result<()> {
    let manifest = &image.manifest;
    let layers = manifest.layers.iter().map(|layer| layer.size);
    let total: u64 = layers.sum::<u64>() + manifest.config.size;
    let received = client.received();
    let kept = total.saturating_sub(received);
    let digest = &image.descriptor.digest;
    if args.registry.json {
        let line = json!({
            "event": "pulled", "path": path.display().to_string(), "digest": digest,
            "received": received, "kept": kept,
        });
        return say(&format!("{line}\n"));
    }
    say(&format!(
        "{} is {digest}: {received} bytes received, {kept} were there\n",
        path.display()
    ))
}
