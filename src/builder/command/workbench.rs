//! A recipe with everything needed to work on it: what most commands begin with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use super::lock;
use crate::builder::compose::Resources;
use crate::builder::deb::{Package, unpack_packages};
use crate::builder::fetch::{Cache, FetchOptions, Mirror};
use crate::builder::lock::{HeldPackage, Lock, LockedPackage, difference, make_lock, objects};
use crate::builder::progress::{Progress, Style};
use crate::builder::recipe::{Recipe, RecipeFiles, parse_recipe};
use crate::error::{self, Hint, hinted};

/// Which recipe, and where its packages come from.
#[derive(Args, Clone, Debug)]
pub struct RecipeArgs {
    /// Name of a recipe, or the path of a recipe's .toml file
    #[arg(default_value = "mail")]
    pub recipe: String,
    /// Use what is in the cache and touch no network
    #[arg(long)]
    pub offline: bool,
    /// Seconds to wait for a mirror that sends nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Print JSON lines instead of progress
    #[arg(long)]
    pub json: bool,
}

/// A recipe with everything needed to work on it.
#[derive(Debug)]
pub struct Workbench {
    /// Recipes, overlay and units.
    pub resources: Resources,
    /// The parsed recipe.
    pub recipe: Recipe,
    /// The lock beside it, if there is one.
    pub lock: Option<Lock>,
    /// Where a new lock is written; nothing when the recipe is embedded.
    pub lock_path: Option<PathBuf>,
    /// What was fetched and made before.
    pub cache: Cache,
    /// The fetcher.
    pub mirror: Mirror,
    /// What tells the user how far it is.
    pub progress: Progress,
}

impl Workbench {
    /// Finds a recipe by name or path, and its lock.
    pub fn open(args: &RecipeArgs) -> Result<Self> {
        let progress = Progress::new(if args.json { Style::Json } else { Style::Auto });
        let resources = Resources::load(Path::new("."))?;
        let (recipe, lock, lock_path) = if args.recipe.ends_with(".toml") {
            let path = Path::new(&args.recipe);
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let lock_path = path.with_extension("lock");
            if !path.exists() {
                return Err(unknown_recipe(&args.recipe, &resources));
            }
            (
                parse_recipe(name, &folder)?,
                lock::load_lock_if_any(&lock_path)?,
                Some(lock_path),
            )
        } else {
            let name = format!("{}.toml", args.recipe);
            if resources.recipe_file(&name).is_none() {
                return Err(unknown_recipe(&args.recipe, &resources));
            }
            let lock = resources.recipe_file(&format!("{}.lock", args.recipe));
            let lock = lock
                .map(|bytes| Lock::parse(&String::from_utf8_lossy(bytes)))
                .transpose()
                .with_context(|| format!("reading the lock of recipe {}", args.recipe))?;
            let lock_path = Path::new("recipes").join(format!("{}.lock", args.recipe));
            let lock_path = Path::new("recipes").is_dir().then_some(lock_path);
            (
                parse_recipe(&name, &resources as &dyn RecipeFiles)?,
                lock,
                lock_path,
            )
        };
        let cache = Cache::open(Cache::default_path()?)?;
        let patience = Duration::from_secs(args.timeout);
        let defaults = FetchOptions::default();
        let options = FetchOptions {
            offline: args.offline,
            connect_timeout: defaults.connect_timeout.min(patience),
            idle_timeout: patience,
            ..defaults
        };
        let mirror = Mirror::new(cache.clone(), options, progress.clone());
        Ok(Self {
            resources,
            recipe,
            lock,
            lock_path,
            cache,
            mirror,
            progress,
        })
    }

    /// Resolves the recipe anew, keeps the lock and tells what changed.
    ///
    /// The lock goes beside the recipe, or to `otherwise` for an embedded one.
    ///
    /// `hold` names packages to hold back at their last known version.
    pub fn resolve(&self, otherwise: &Path, hold: &[String]) -> Result<(Lock, String)> {
        let mut lock = self.resolve_with(&[])?;
        if !hold.is_empty() {
            lock = self.resolve_with(&self.hold(hold, &lock)?)?;
        }
        lock::write_lock(&lock, self.lock_path.as_deref().unwrap_or(otherwise))?;
        let none = Lock {
            recipe_sha256: String::new(),
            made: None,
            sources: Vec::new(),
            packages: Vec::new(),
        };
        let difference = difference(self.lock.as_ref().unwrap_or(&none), &lock);
        Ok((lock, difference))
    }

    fn resolve_with(&self, held: &[HeldPackage]) -> Result<Lock> {
        make_lock(
            &self.recipe,
            &self.mirror,
            self.lock.as_ref(),
            held,
            now(),
            &self.progress,
        )
    }

    /// The packages of a lock, fetched where the cache lacks them.
    pub fn unpack(&self, lock: &Lock) -> Result<Vec<Package>> {
        let objects = objects(lock, &self.recipe);
        let packages = unpack_packages(&objects, &self.mirror, &self.cache, &self.progress)?;
        for (locked, package) in lock.packages.iter().zip(&packages) {
            check_identity(locked, package)?;
        }
        Ok(packages)
    }

    /// The lock, or an error that tells how to make it.
    pub fn lock(&self) -> Result<&Lock> {
        self.lock.as_ref().ok_or_else(|| self.no_lock())
    }

    /// The error that there is no lock.
    pub fn no_lock(&self) -> anyhow::Error {
        error::hinted(
            format!("reading recipes/{}.lock: there is none", self.recipe.name),
            format!("make it with `mailimg lock {}`", self.recipe.name),
        )
    }
}

/// Refuses a package that says that it is another one than index and lock say.
///
/// What it says goes into the image's list of packages, and scanners for vulnerabilities
/// believe that.
fn check_identity(locked: &LockedPackage, package: &Package) -> Result<()> {
    let LockedPackage {
        name,
        version,
        architecture,
        ..
    } = locked;
    if [name, version, architecture] == [&package.name, &package.version, &package.architecture] {
        return Ok(());
    }
    Err(hinted(
        format!(
            "using {name} {version} for {architecture}: its control file says that it is {} {} \
             for {}",
            package.name, package.version, package.architecture
        ),
        "the archive's index and its packages do not agree: ask who runs it, or name another \
         source in the recipe",
    ))
}

fn unknown_recipe(name: &str, resources: &Resources) -> anyhow::Error {
    let known = resources.recipe_names().join(", ");
    Err::<(), _>(anyhow!("finding the recipe {name}: there is none"))
        .hint(format!(
            "known are {known}; a path that ends in .toml names a recipe elsewhere"
        ))
        .usage()
        .unwrap_err()
}

/// Seconds since 1970, now.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
