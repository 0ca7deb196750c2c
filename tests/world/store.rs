//! The peers' packages, unpacked: by our own lock, fetcher and reader of .debs.
//!
//! Each package is laid out below one folder as its archive says, less owners;
//! no script runs. The folder is named after the lock's text, so a changed
//! lock makes a new one and tests at the same time share one.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use mailimg::builder::deb::{Package, unpack_packages};
use mailimg::builder::fetch::{Cache, FetchOptions, Gone, Mirror};
use mailimg::builder::lock::{Lock, make_lock, objects};
use mailimg::builder::progress::Progress;
use mailimg::builder::recipe::{Recipe, load_recipe};
use mailimg::builder::tree::{Kind, Node};
use sha2::{Digest, Sha256};

/// The recipe of the tools.
const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/peers.toml");
/// What a resolved recipe looked like last.
const LOCK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recipes/peers.lock");

/// Fetches and unpacks what is missing, and returns the folder.
pub fn ensure_unpacked() -> Result<PathBuf> {
    let recipe = load_recipe(Path::new(RECIPE))?;
    let text = fs::read_to_string(LOCK).with_context(|| format!("reading {LOCK}"))?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "peers-{}",
        &hex::encode(Sha256::digest(&text))[..16]
    ));
    if folder.is_dir() {
        return Ok(folder);
    }
    let lock = Lock::parse(&text).with_context(|| format!("reading {LOCK}"))?;
    let packages = load_packages(&recipe, &lock)?;
    let unfinished = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    for package in &packages {
        for (path, node) in &package.entries {
            lay_out(unfinished.path(), path, node)
                .with_context(|| format!("unpacking {path} of {}", package.name))?;
        }
    }
    // Somebody else may have been faster; then theirs is as good.
    if fs::rename(unfinished.path(), &folder).is_ok() {
        let _ = unfinished.keep();
    }
    Ok(folder)
}

/// The packages of the lock, or their successors when a mirror has let them go.
fn load_packages(recipe: &Recipe, lock: &Lock) -> Result<Vec<Package>> {
    let progress = Progress::hidden();
    let cache = Cache::open(Cache::default_path()?)?;
    let mirror = Mirror::new(cache.clone(), FetchOptions::default(), progress.clone());
    let unpacked = unpack_packages(&objects(lock, recipe), &mirror, &cache, &progress);
    match unpacked {
        Err(error) if error.chain().any(|cause| cause.is::<Gone>()) => {
            println!(
                "{error:#}; resolving the peers anew, `mailimg lock recipes/peers.toml` keeps it"
            );
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let now = i64::try_from(now.as_secs())?;
            let lock = make_lock(recipe, &mirror, Some(lock), &[], now, &progress)?;
            unpack_packages(&objects(&lock, recipe), &mirror, &cache, &progress)
        }
        other => other,
    }
}

/// Makes one path below the root; links stay inside it.
fn lay_out(root: &Path, path: &str, node: &Node) -> Result<()> {
    let target = root.join(path);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    match &node.kind {
        Kind::Directory => fs::create_dir_all(&target)?,
        Kind::File(content) => {
            content.copy_to(&mut File::create(&target)?)?;
            let mode = u32::from(node.metadata.mode & 0o755) | 0o600;
            fs::set_permissions(&target, fs::Permissions::from_mode(mode))?;
        }
        Kind::Symlink(to) => {
            // Relative to where the link lies, since the folder is renamed.
            let inside = to.strip_prefix('/').map_or_else(
                || to.clone(),
                |to| "../".repeat(path.matches('/').count()) + to,
            );
            // The same link may come with two packages.
            let _ = fs::remove_file(&target);
            symlink(inside, &target)?;
        }
        Kind::HardLink(to) => fs::hard_link(root.join(to), &target)?,
    }
    Ok(())
}
