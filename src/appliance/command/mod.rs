//! The command line of `mailctl`: which verb is whose.
//!
//! A group's verbs stand in the group's file. What only units call is hidden, and bears its
//! unit's name: mailimg-X runs `mailctl X`.

pub mod alias;
pub mod ban;
pub mod certificate;
pub mod certificate_status;
pub mod dkim;
pub mod dkim_rotate;
pub mod dns;
pub mod facts;
pub mod manual;
pub mod peer;
pub mod queue_change;
pub mod settings;
pub mod status;
pub mod status_facts;
pub mod upgrade;
pub mod user;
pub mod user_list;

use super::boot::cloud::{self, CloudOptions};
use super::boot::health::{self, HealthOptions};
use super::boot::{clock, console, container, fallback, import_settings, provision, render, start};
use super::certificate::acme;
use super::dovecot::dh;
use super::dovecot::reload::{self, ReloadOptions};
use super::dovecot::share::{self, AdmitOptions};
use super::machine::place::{GUARD_PORT, Place};
use super::monitoring::measured::dns::{DnsOptions, measure_dns};
use super::monitoring::measured::mail::measure_mail;
use super::monitoring::measured::queue::measure_queue;
use super::monitoring::metrics::{MetricsOptions, run_metrics};
use super::monitoring::store;
use super::postfix::queue;
use super::services::SERVICES;
use super::unbound::resolver;
use super::upgrade::conclusion;
use super::{filter, guard, monitoring, sts, takeover, web};
use crate::error::{EXIT_DONE, EXIT_FAILED};
use crate::print::say;
use crate::version::VERSION_MARKER;
use alias::AliasVerb;
use anyhow::Result;
use ban::BanVerb;
use certificate::CertificateVerb;
use clap::{Parser, Subcommand};
use dkim::DkimVerb;
use dns::DnsVerb;
use peer::PeerVerb;
use settings::SettingsVerb;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use upgrade::{RollbackOptions, UpgradeOptions};
use user::UserVerb;

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
    #[command(subcommand, visible_alias = "cert")]
    Certificate(CertificateVerb),
    /// Services, queue, disk, memory and certificate on one screen.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put another version of the system beside this one, to be tried with the next restart.
    Upgrade(UpgradeOptions),
    /// Go back to the version before the last upgrade, with the next restart.
    Rollback(RollbackOptions),
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
    Health(HealthOptions),
    /// Addresses kept out because passwords were guessed from there.
    #[command(subcommand)]
    Ban(BanVerb),
    /// Say what the consoles show, and bring them up to date.
    Console,
    /// Render all configuration from settings.
    Render,

    /// What `settings start` was called; here for one release.
    #[command(hide = true)]
    Start,
    /// Take new settings from the credential or the EFI system partition.
    #[command(hide = true)]
    ImportSettings,
    /// Take settings from the cloud, if this machine waits for some.
    #[command(hide = true, alias = "import-cloud")]
    Cloud(CloudOptions),
    /// Fetch the cloud's metadata for `cloud`.
    #[command(hide = true, alias = "fetch-metadata")]
    Metadata,
    /// Make missing certificate, host key, groups and first account.
    #[command(hide = true)]
    Provision,
    /// Bring the resolver's upstream and validation up to date.
    #[command(hide = true)]
    Resolver,
    /// Take over the workspace that a container has at /host, once.
    #[command(hide = true)]
    Takeover,
    /// Copy systemd's console to a container's log.
    #[command(hide = true)]
    ContainerConsole,
    /// Let services go on when the clock was put back.
    #[command(hide = true)]
    Clock,
    /// What `mailimg upgrade` calls.
    #[command(subcommand, hide = true)]
    Peer(PeerVerb),
    /// Keep a version on trial, since this boot is good; or say that the old one is back.
    #[command(hide = true)]
    Bless,
    /// Go back to the version before, if this one is on trial.
    #[command(hide = true)]
    Fallback,
    /// Get certificates that are missing or due.
    #[command(hide = true)]
    Acme,
    /// The Diffie-Hellman group of DH_PARAMS.
    #[command(subcommand, hide = true)]
    Dh(DhVerb),
    /// Serve Postfix as its mail filter, until stopped.
    #[command(hide = true)]
    Filter,
    /// Tell Postfix what other domains demand of mail to them, until stopped.
    #[command(hide = true)]
    Sts(sts::StsOptions),
    /// Report to other domains how TLS fared on the days before.
    #[command(hide = true)]
    Tlsrpt(sts::ReportOptions),
    /// Ban addresses that guess passwords, until stopped.
    #[command(hide = true)]
    Guard {
        /// Where Dovecot reports logins.
        #[arg(long, hide = true, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, GUARD_PORT)))]
        listen: SocketAddr,
    },
    /// Let a user in who has no more than a share of the sessions; Dovecot's, after each login.
    #[command(hide = true)]
    Admit(AdmitOptions),
    /// Let Dovecot take its configuration anew.
    #[command(hide = true)]
    DovecotReload(ReloadOptions),
    /// Serve web pages to authorities, mail servers and mail programs, until stopped.
    #[command(hide = true)]
    Web,
    /// Answer with the figures of this machine, until stopped.
    #[command(hide = true)]
    Metrics(MetricsOptions),
    /// Measure Postfix's queue for `metrics`.
    #[command(hide = true)]
    MeasureQueue,
    /// Measure the mailboxes for `metrics`.
    #[command(hide = true)]
    MeasureMail,
    /// Look at the records in DNS for `metrics`.
    #[command(hide = true)]
    MeasureDns(DnsOptions),
    /// Move what the store of figures cannot open aside; its unit's, when it has ended.
    #[command(hide = true)]
    StoreEnded,
    /// Serve the pages of monitoring to the web server, until stopped.
    #[command(hide = true)]
    Monitoring(monitoring::MonitoringOptions),
    /// Answer the pages of monitoring what only root may read.
    #[command(hide = true)]
    Facts,
    /// Do with a message of the queue what the pages of monitoring ask for.
    #[command(hide = true)]
    QueueChange,
}

#[derive(Debug, Subcommand)]
enum DhVerb {
    /// Search for the group that generate:BITS asks for; takes minutes to hours.
    Generate,
}

/// Becomes systemd as a container's first process; what stopped that, or nothing when it is
/// none.
pub fn become_first_process() -> Option<anyhow::Error> {
    container::become_first_process(&Place::new(None))
}

/// Does what was asked, prints the outcome and returns the exit code.
pub fn run(arguments: &Arguments) -> Result<u8> {
    let place = Place::new(arguments.root.as_deref());
    let said: Said = match &arguments.verb {
        Verb::User(verb) => user::run_verb(&place, verb)?.into(),
        Verb::Alias(verb) => alias::run_verb(&place, verb)?.into(),
        Verb::UpdateAliases => alias::update_aliases(&place)?.into(),
        Verb::Settings(verb) => settings::run_verb(&place, verb)?.into(),
        Verb::Manual { page } => manual::show_manual(&place, page.as_deref())?.into(),
        Verb::Dkim(verb) => dkim::run_verb(&place, verb)?.into(),
        Verb::Dns(verb) => dns::run_verb(&place, verb)?.into(),
        Verb::Certificate(verb) => certificate::run_verb(&place, verb)?.into(),
        Verb::Status { json } => status::show_status(&place, *json)?.into(),
        Verb::Upgrade(options) => upgrade::run_upgrade(&place, options)?.into(),
        Verb::Rollback(options) => upgrade::run_rollback(&place, options)?.into(),
        Verb::Import { workspace, dry_run } => {
            takeover::import_workspace(&place, workspace, *dry_run)?.into()
        }
        Verb::Queue { json } => queue::show_queue(&place, *json)?.into(),
        Verb::Health(options) => health::run_health(&place, options)?.into(),
        Verb::Ban(verb) => ban::run_verb(&place, verb)?.into(),
        Verb::Console => console::refresh_console(&place)?.into(),
        Verb::Render => waiting_or(render::render_all(&place)?, "Rendered all configuration."),
        Verb::Start => start::start(&place)?.into(),
        Verb::ImportSettings => import_settings::import_settings(&place)?.into(),
        Verb::Cloud(options) => cloud::import_cloud(&place, options)?.into(),
        Verb::Metadata => cloud::leave_metadata(&place)?.into(),
        Verb::Provision => waiting_or(provision::provision(&place)?, "Provisioned."),
        Verb::Resolver => resolver::refresh_resolver(&place)?.into(),
        Verb::Takeover => takeover::take_over_host(&place)?.into(),
        Verb::ContainerConsole => container::copy_console()?.into(),
        Verb::Clock => clock::follow_clock(&place)?.into(),
        Verb::Peer(verb) => peer::run_verb(&place, verb)?.into(),
        Verb::Bless => conclusion::bless(&place)?.into(),
        Verb::Fallback => fallback::fall_back(&place)?.into(),
        Verb::Acme => acme::run_agent(&place)?.into(),
        Verb::Dh(DhVerb::Generate) => dh::generate_group(&place)?.into(),
        Verb::Filter => filter::run_filter(&place)?.into(),
        Verb::Sts(options) => sts::run_sts(&place, options)?.into(),
        Verb::Tlsrpt(options) => sts::send_reports(&place, options)?.into(),
        Verb::Guard { listen } => guard::run_guard(&place, *listen)?.into(),
        Verb::Admit(options) => share::admit(options)?.into(),
        Verb::DovecotReload(options) => reload::reload(options)?.into(),
        Verb::Web => web::run_web(&place)?.into(),
        Verb::Metrics(options) => {
            let units = SERVICES.iter().filter_map(|service| service.daemon);
            run_metrics(&place, *options, units.collect())?.into()
        }
        Verb::MeasureQueue => measure_queue(&place)?.into(),
        Verb::MeasureMail => measure_mail(&place)?.into(),
        Verb::MeasureDns(options) => measure_dns(&place, options)?.into(),
        Verb::StoreEnded => store::note_end(&place)?.into(),
        Verb::Monitoring(options) => monitoring::run_monitoring(&place, options)?.into(),
        Verb::Facts => facts::answer_facts(&place)?.into(),
        Verb::QueueChange => queue_change::answer_change(&place)?.into(),
    };
    if !said.text.is_empty() {
        say(&format!("{}\n", said.text.trim_end()))?;
    }
    Ok(if said.is_good { EXIT_DONE } else { EXIT_FAILED })
}

/// What a verb has to say, and whether that is good.
struct Said {
    text: String,
    is_good: bool,
}

impl From<String> for Said {
    fn from(text: String) -> Self {
        (text, true).into()
    }
}

/// Of verbs that judge: what they say is asked for, good or not.
impl From<(String, bool)> for Said {
    fn from((text, is_good): (String, bool)) -> Self {
        Self { text, is_good }
    }
}

fn waiting_or(done: bool, text: &str) -> Said {
    let waiting = "No settings yet: only the resolver is configured.";
    (if done { text } else { waiting }).to_owned().into()
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// Until the release after 0.1.
    #[test]
    fn verbs_of_before_are_still_known() {
        for old in ["start", "import-cloud", "fetch-metadata", "cert take"] {
            let line = ["mailctl"].into_iter().chain(old.split(' '));
            Arguments::try_parse_from(line).unwrap_or_else(|error| panic!("{old}: {error}"));
        }
    }
}
