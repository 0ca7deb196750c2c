//! The command line of `mailimg`: arguments in, one function per command out.

pub mod boot;
pub mod boot_partition;
pub mod build;
pub mod check_image;
pub mod configure;
pub mod diff;
pub mod host;
pub mod inspect;
pub mod install;
pub mod key;
pub mod last_known;
pub mod lock;
pub mod mailctl;
pub mod outdated;
pub mod pull;
pub mod push;
pub mod registry;
pub mod scripts;
pub mod settings;
pub mod sign;
mod signals;
pub mod upgrade;
pub mod why;
pub mod workbench;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::builder::compose::Resources;
use crate::error;
use crate::manual::show_page;
use crate::print::{say, say_with};
use crate::settings::{describe_settings, settings_template};
use signals::{stop_on_signals, wait_if_stopped};
use workbench::{RecipeArgs, Workbench};

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
    Build(Box<build::BuildArgs>),
    /// Resolve a recipe to recipes/NAME.lock
    Lock(LockArgs),
    /// Compare the lock with what the mirrors offer; exit code 1 when it is behind
    Outdated(outdated::OutdatedArgs),
    /// Boot an image in QEMU on a throw-away overlay
    Boot(boot::BootOptions),
    /// Put settings into a finished image, in place
    Configure(ConfigureArgs),
    /// Put an image onto a disk, keeping a machine's data if asked to
    Install(install::InstallArgs),
    /// Give a running machine a newer version over ssh
    Upgrade(upgrade::UpgradeArgs),
    /// Keys that sign updates
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Sign an image, and make a folder of it that machines take it from by https
    Sign(sign::SignArgs),
    /// Send an OCI archive to a registry
    Push(push::PushArgs),
    /// Get an OCI archive from a registry, as it was pushed
    Pull(pull::PullArgs),
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
    /// Tell what the keys of settings.env mean
    Settings {
        /// Only this one
        key: Option<String>,
    },
    /// Show a page of the manual, or list its pages
    Manual {
        /// The page
        page: Option<String>,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
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

/// All commands and options, as the manual may name them.
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the program; the only place that prints an error.
pub fn main() -> ExitCode {
    stop_on_signals();
    let cli = Cli::parse();
    let result = run(cli.command);
    wait_if_stopped();
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
            let workbench = Workbench::open(&args.recipe)?;
            let here = format!("{}.lock", workbench.recipe.name);
            let (_, difference) = workbench.resolve(Path::new(&here), &args.hold)?;
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
        Command::Install(args) => install::run_install(&args),
        Command::Upgrade(args) => upgrade::run_upgrade(&args),
        Command::Key(verb) => key::run_key(&verb),
        Command::Sign(args) => sign::run_sign(&args),
        Command::Push(args) => push::run_push(&args),
        Command::Pull(args) => pull::run_pull(&args),
        Command::Inspect(args) => inspect::run_inspect(&args),
        Command::Verify(args) => inspect::run_verify(&args),
        Command::Diff(args) => diff::run_diff(&args),
        Command::Why(args) => {
            let workbench = Workbench::open(&args.recipe)?;
            let packages = workbench.unpack(workbench.lock()?)?;
            let controls: Vec<&str> = packages.iter().map(|one| one.control.as_str()).collect();
            say(&(why::explain(&controls, &workbench.recipe, &args.package)? + "\n"))
        }
        Command::Scripts(args) => scripts::run_scripts(&args),
        Command::Settings { key } => say(&describe_settings(key.as_deref())?),
        Command::Manual { page } => {
            let pages = Resources::load(Path::new("."))?.manual();
            say(&show_page(&pages, page.as_deref())?)
        }
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
