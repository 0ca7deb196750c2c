//! The command line of `mailctl`: verbs for people, and those that units call.

pub mod alias;
pub mod ban;
pub mod certificate;
pub mod certificate_status;
pub mod dkim_rotate;
pub mod dns;
pub mod facts;
pub mod manual;
pub mod settings;
pub mod status;
pub mod user;
pub mod user_list;

use super::boot::apply::apply_settings;
use super::boot::{cloud, console, health, import, provision, render};
use super::certificate::acme;
use super::dovecot::dh;
use super::machine::place::{GUARD_PORT, Place, SETTINGS};
use super::machine::settings::{load_checked, load_stored};
use super::postfix::queue;
use super::{dkim, filter, guard, sts, takeover, unbound, web};
use crate::error::{EXIT_DONE, EXIT_FAILED};
use crate::print::say;
use crate::settings::describe_settings;
use crate::version::VERSION_MARKER;
use anyhow::Result;
use ban::{lift_ban, list_bans};
use certificate::CertificateVerb;
use clap::{Parser, Subcommand};
use dns::{DnsVerb, run_dns};
use settings::{check_settings, show_settings};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use user::{add_user, change_password, change_quota, delete_user};
use user_list::list_users;

/// Runs and inspects this mail server.
#[derive(Debug, Parser)]
#[command(name = "mailctl", version, long_version = VERSION_MARKER)]
pub struct Arguments {
    /// Work on the machine whose root is this folder; starts no program.
    #[arg(long, global = true, hide = true, env = "MAILCTL_ROOT")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Accounts and their passwords.
    #[command(subcommand)]
    User(UserVerb),
    /// Addresses that lead to accounts or elsewhere.
    #[command(subcommand)]
    Alias(AliasVerb),
    /// Take an edited aliases file into use.
    UpdateAliases,
    /// The settings of this machine.
    #[command(subcommand)]
    Settings(SettingsVerb),
    /// Show a page of the manual, or list its pages.
    Manual {
        /// The page.
        page: Option<String>,
    },
    /// Keys that sign outgoing mail.
    #[command(subcommand)]
    Dkim(DkimVerb),
    /// Records in DNS: what to publish, and whether it is.
    #[command(subcommand)]
    Dns(DnsVerb),
    /// Certificates of this machine.
    #[command(subcommand)]
    Cert(CertificateVerb),
    /// Get certificates that are missing or due.
    Acme,
    /// Services, queue, disk, memory and certificate on one screen.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take over a workspace of t-lo/mailserver; what exists here is never replaced.
    Import {
        /// The folder, `_server_workspace_` unless renamed; it is only read.
        workspace: PathBuf,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// What waits to be delivered, and why.
    Queue {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Wait until mail is accepted; fails when the time is up.
    Health {
        /// How long to wait, in seconds.
        #[arg(long, default_value_t = 300, value_name = "SECONDS")]
        timeout: u64,
        /// Print JSON: every probe with its outcome.
        #[arg(long)]
        json: bool,
    },
    /// Say what the consoles show, and bring them up to date.
    Console,
    /// What a boot begins with: import-settings, render and console in one.
    Start,
    /// Take new settings from the credential or the EFI system partition.
    ImportSettings,
    /// Take settings from the cloud, if this machine waits for some.
    ImportCloud(cloud::Options),
    /// Fetch the cloud's metadata for import-cloud.
    #[command(hide = true)]
    FetchMetadata,
    /// Render all configuration from settings.
    Render,
    /// Make missing certificate, host key, groups and first account.
    Provision,
    /// Bring the resolver's upstream and validation up to date.
    Resolver,
    /// Addresses kept out because passwords were guessed from there.
    #[command(subcommand)]
    Ban(BanVerb),
    /// Serve Postfix as its mail filter, until stopped.
    Filter,
    /// Tell Postfix what other domains demand of mail to them, until stopped.
    Sts(sts::StsOptions),
    /// Report to other domains how TLS fared on the days before.
    Tlsrpt(sts::ReportOptions),
    /// Ban addresses that guess passwords, until stopped.
    Guard {
        /// Where Dovecot reports logins.
        #[arg(long, hide = true, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, GUARD_PORT)))]
        listen: SocketAddr,
    },
    /// The Diffie-Hellman group of DH_PARAMS.
    #[command(subcommand)]
    Dh(DhVerb),
    /// Serve web pages to authorities, mail servers and mail programs, until stopped.
    Web,
}

#[derive(Debug, Subcommand)]
enum UserVerb {
    /// Make an account; without a password one is generated.
    Add {
        /// The full address.
        address: String,
        /// The password; other people on this machine may see it in the process list.
        #[arg(conflicts_with = "password_stdin", allow_hyphen_values = true)]
        password: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Delete an account; its mail stays unless purged.
    Del {
        /// Remove the mailbox too.
        #[arg(long)]
        purge_inbox: bool,
        /// The full address.
        address: String,
    },
    /// Set a new password; without one it is generated.
    Passwd {
        /// The full address.
        address: String,
        /// The password; other people on this machine may see it in the process list.
        #[arg(conflicts_with = "password_stdin", allow_hyphen_values = true)]
        password: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give an account a quota of its own.
    Quota {
        /// The full address.
        address: String,
        /// A size such as 500M or 2G, none for no limit, default for that of MAILBOX_QUOTA.
        size: String,
    },
    /// List accounts with the size of their mailboxes.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an edited aliases file into use.
    UpdateAliases,
}

#[derive(Debug, Subcommand)]
enum AliasVerb {
    /// Add an alias, or targets to one that is there.
    Add {
        /// An address in a served domain, or @DOMAIN for all of it.
        alias: String,
        /// Full addresses, here or elsewhere, or user names of the first domain.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Delete an alias, or only some of its targets.
    Del {
        /// The alias.
        alias: String,
        /// The targets to delete; all when absent.
        targets: Vec<String>,
    },
    /// List aliases.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
enum SettingsVerb {
    /// Check a file, or the settings in use.
    Check {
        /// The file; the settings in use when absent.
        file: Option<PathBuf>,
    },
    /// Show all keys, secrets hidden.
    Show,
    /// Tell what the keys mean.
    Help {
        /// Only this one.
        key: Option<String>,
    },
    /// Take edited settings into use.
    Apply,
}

#[derive(Debug, Subcommand)]
enum BanVerb {
    /// List who is banned, since when and for how long.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let an address in again; an IPv6 one with its whole /64.
    Lift {
        /// The address, or 'all'.
        address: String,
    },
}

#[derive(Debug, Subcommand)]
enum DhVerb {
    /// Search for the group that generate:BITS asks for; takes minutes to hours.
    Generate,
}

#[derive(Debug, Subcommand)]
enum DkimVerb {
    /// Print the TXT records to publish.
    Show {
        /// Only this domain's.
        domain: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make the next key of a domain, or sign with it once its record is published.
    Rotate {
        /// Only this domain's; all when absent.
        domain: Option<String>,
        /// Sign with the next key from now on.
        #[arg(long)]
        activate: bool,
        /// Do not ask DNS whether the record is published.
        #[arg(long, requires = "activate")]
        force: bool,
    },
    /// Make the keys that are missing.
    Ensure,
}

/// Does what was asked, prints the outcome and returns the exit code.
///
/// # Errors
/// Whatever the verb failed with.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let place = Place::new(arguments.root.as_deref());
    let mut code = EXIT_DONE;
    let said = match &arguments.verb {
        Verb::User(verb) => run_user(&place, verb)?,
        Verb::Alias(verb) => run_alias(&place, verb)?,
        Verb::UpdateAliases => alias::update_aliases(&place)?,
        Verb::Settings(SettingsVerb::Check { file }) => check_settings(&place, file.as_deref())?,
        Verb::Settings(SettingsVerb::Show) => show_settings(&place)?,
        Verb::Settings(SettingsVerb::Help { key }) => describe_settings(key.as_deref())?,
        Verb::Manual { page } => manual::show_manual(&place, page.as_deref())?,
        Verb::Settings(SettingsVerb::Apply) => apply_settings(&place)?,
        Verb::Dkim(verb) => run_dkim(&place, verb)?,
        Verb::Dns(verb) => {
            let (text, good) = run_dns(&place, verb)?;
            if !good {
                code = EXIT_FAILED;
            }
            text
        }
        Verb::Cert(verb) => certificate::run_verb(&place, verb)?,
        Verb::Acme => acme::run_agent(&place)?,
        Verb::Status { json } => status::show_status(&place, *json)?,
        Verb::Import { workspace, dry_run } => {
            takeover::import_workspace(&place, workspace, *dry_run)?
        }
        Verb::Queue { json } => queue::show_queue(&place, *json)?,
        Verb::Health { timeout, json } => {
            let deadline = Duration::from_secs(*timeout);
            if *json {
                let (text, healthy) = health::show_health(&place, deadline)?;
                if !healthy {
                    code = EXIT_FAILED;
                }
                text
            } else {
                health::check_health(&place, deadline)?
            }
        }
        Verb::Console => console::refresh_console(&place)?,
        Verb::Start => start(&place)?,
        Verb::ImportSettings => import::import_settings(&place)?,
        Verb::ImportCloud(options) => cloud::import_cloud(&place, options)?,
        Verb::FetchMetadata => cloud::fetch(&place)?,
        Verb::Render => waiting_or(render::render_all(&place)?, "Rendered all configuration."),
        Verb::Provision => waiting_or(provision::provision(&place)?, "Provisioned."),
        Verb::Ban(BanVerb::List { json }) => list_bans(&place, *json)?,
        Verb::Ban(BanVerb::Lift { address }) => lift_ban(&place, address)?,
        Verb::Filter => filter::run_filter(&place)?,
        Verb::Sts(options) => sts::run_sts(&place, options)?,
        Verb::Tlsrpt(options) => sts::send_reports(&place, options)?,
        Verb::Guard { listen } => guard::run_guard(&place, *listen)?,
        Verb::Dh(DhVerb::Generate) => dh::generate_group(&place)?,
        Verb::Web => web::run_web(&place)?,
        Verb::Resolver => {
            let changed = unbound::refresh(&place)?;
            if changed {
                "The resolver has a new configuration."
            } else {
                "The resolver is up to date."
            }
            .to_owned()
        }
    };
    say(&format!("{}\n", said.trim_end()))?;
    Ok(code)
}

/// One process instead of three, since every boot waits for it.
fn start(place: &Place) -> Result<String> {
    let imported = import::import_settings(place)?;
    render::render_all(place)?;
    console::refresh_console(place)?;
    Ok(imported)
}

fn run_dkim(place: &Place, verb: &DkimVerb) -> Result<String> {
    match verb {
        DkimVerb::Show { domain, json } => {
            let settings = load_stored(place)?.settings;
            dkim::show_records(place, &settings, domain.as_deref(), *json)
        }
        DkimVerb::Rotate {
            domain,
            activate: true,
            force,
        } => dkim_rotate::activate(place, domain.as_deref(), *force),
        DkimVerb::Rotate { domain, .. } => dkim_rotate::prepare(place, domain.as_deref()),
        DkimVerb::Ensure => ensure_dkim(place),
    }
}

fn ensure_dkim(place: &Place) -> Result<String> {
    let Some(resolved) = load_checked(place, SETTINGS)? else {
        return Ok("No settings yet: no domain needs a key.".to_owned());
    };
    dkim::ensure_keys(place, &resolved.settings)?;
    Ok("Every domain has its signing key.".to_owned())
}

fn waiting_or(done: bool, text: &str) -> String {
    if done {
        text
    } else {
        "No settings yet: only the resolver is configured."
    }
    .to_owned()
}

fn run_user(place: &Place, verb: &UserVerb) -> Result<String> {
    match verb {
        UserVerb::Add {
            address,
            password,
            password_stdin,
        } => add_user(place, address, password.as_deref(), *password_stdin),
        UserVerb::Del {
            purge_inbox,
            address,
        } => delete_user(place, address, *purge_inbox),
        UserVerb::Passwd {
            address,
            password,
            password_stdin,
        } => change_password(place, address, password.as_deref(), *password_stdin),
        UserVerb::Quota { address, size } => change_quota(place, address, size),
        UserVerb::List { json } => list_users(place, *json),
        UserVerb::UpdateAliases => alias::update_aliases(place),
    }
}

fn run_alias(place: &Place, verb: &AliasVerb) -> Result<String> {
    match verb {
        AliasVerb::Add { alias, targets } => alias::add_alias(place, alias, targets),
        AliasVerb::Del { alias, targets } => alias::delete_alias(place, alias, targets),
        AliasVerb::List { json } => alias::list_aliases(place, *json),
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
