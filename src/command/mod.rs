//! The command line of `mailimg`: arguments in, one function per command out.

pub mod agent;
pub mod boot;
pub mod build;
pub mod configure;
pub mod diff;
pub mod inspect;
pub mod last_known;
pub mod lock;
pub mod outdated;
pub mod scripts;
pub mod settings;
pub mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::compose::Resources;
use crate::deb::{Package, unpack_packages};
use crate::error::{self, Hint};
use crate::fetch::{Cache, Mirror, Options};
use crate::lock::{HeldPackage, Lock, difference, make_lock, objects};
use crate::print::{say, say_with};
use crate::progress::{Progress, Style};
use crate::recipe::{Recipe, Source, parse_recipe};
use crate::settings::settings_template;
use crate::write::atomic;

/// Builds an immutable operating-system image whose only job is mail.
#[derive(Debug, Parser)]
#[command(name = "mailimg", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build an image from a recipe
    Build(build::BuildArgs),
    /// Resolve a recipe to recipes/NAME.lock
    Lock(LockArgs),
    /// Compare the lock with what the mirrors offer; exit code 1 when it is behind
    Outdated(outdated::OutdatedArgs),
    /// Boot an image in QEMU on a throw-away overlay
    Boot(boot::BootOptions),
    /// Put settings into a finished image, in place
    Configure(ConfigureArgs),
    /// Tell what an image consists of
    Inspect(inspect::InspectArgs),
    /// Re-derive every hash of an image
    Verify(inspect::VerifyArgs),
    /// Tell what changed between two images, locks or manifests
    Diff(diff::DiffArgs),
    /// Tell why a package is in an image
    Why(WhyArgs),
    /// Print the maintainer scripts that nobody reviewed yet
    Scripts(scripts::ScriptsArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

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

#[derive(Args, Debug)]
struct LockArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Keep these packages at the last version whose maintainer scripts are known
    #[arg(long, value_name = "PACKAGE", value_delimiter = ',')]
    hold: Vec<String>,
}

#[derive(Args, Debug)]
struct WhyArgs {
    /// Package to explain
    package: String,
    #[command(flatten)]
    recipe: RecipeArgs,
}

#[derive(Args, Debug)]
struct ConfigureArgs {
    /// The image, raw or qcow2
    image: PathBuf,
    /// The settings to put in
    #[arg(long, required_unless_present = "reset", conflicts_with = "reset")]
    settings: Option<PathBuf>,
    /// Take the settings out again; the image is then byte for byte as built
    #[arg(long)]
    reset: bool,
}

/// A recipe with everything needed to work on it.
#[derive(Debug)]
pub struct Workspace {
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

impl Workspace {
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
                parse_recipe(&name, &resources as &dyn Source)?,
                lock,
                lock_path,
            )
        };
        let cache = Cache::open(Cache::default_path()?)?;
        let patience = Duration::from_secs(args.timeout);
        let defaults = Options::default();
        let options = Options {
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
        unpack_packages(&objects, &self.mirror, &self.cache, &self.progress)
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

/// Whether a signal came and its thread is about to end the process.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// Runs the program; the only place that prints an error.
pub fn main() -> ExitCode {
    stop_on_signals();
    let cli = Cli::parse();
    let result = run(cli.command);
    // What fails because its output was taken away is not worth a word.
    while STOPPED.load(Ordering::SeqCst) {
        std::thread::park();
    }
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => ExitCode::from(error::report(&error)),
    }
}

/// Runs a command and returns its exit code.
fn run(command: Command) -> Result<u8> {
    let done = match command {
        Command::Outdated(args) => return outdated::run_outdated(&args),
        Command::Build(args) => build::run_build(&args),
        Command::Lock(args) => {
            let workspace = Workspace::open(&args.recipe)?;
            let here = format!("{}.lock", workspace.recipe.name);
            let (_, difference) = workspace.resolve(Path::new(&here), &args.hold)?;
            say(&difference)
        }
        Command::Boot(args) => boot::run_boot(&args),
        Command::Configure(args) => {
            let settings = args
                .settings
                .as_deref()
                .map(settings::load_checked)
                .transpose()?;
            let pristine = settings_template();
            configure::configure(&args.image, settings.as_ref(), pristine.as_bytes())
        }
        Command::Inspect(args) => inspect::run_inspect(&args),
        Command::Verify(args) => inspect::run_verify(&args),
        Command::Diff(args) => diff::run_diff(&args),
        Command::Why(args) => {
            let workspace = Workspace::open(&args.recipe)?;
            let packages = workspace.unpack(workspace.lock()?)?;
            let controls: Vec<&str> = packages.iter().map(|one| one.control.as_str()).collect();
            say(&(why::explain(&controls, &workspace.recipe, &args.package)? + "\n"))
        }
        Command::Scripts(args) => scripts::run_scripts(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "mailimg", &mut script);
            say_with(|output| output.write_all(&script))
        }
        Command::Man => {
            say_with(|mut output| clap_mangen::Man::new(Cli::command()).render(&mut output))
        }
    };
    done.map(|()| error::EXIT_DONE)
}

/// Ctrl-C and its kin leave no half-written output behind.
fn stop_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            STOPPED.store(true, Ordering::SeqCst);
            atomic::remove_pending();
            tell!(
                "error: stopped by signal {signal}, no output was left behind\n\
                 hint: run the same command again; what was fetched is kept"
            );
            // What a shell reports for a program that a signal ended.
            std::process::exit(128 + signal);
        }
    });
}
