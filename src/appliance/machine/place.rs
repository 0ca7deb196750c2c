//! Where things lie in a running machine.
//!
//! Every path is named here once. Tests put a folder in front of them with
//! `--root`; then no program is started and no kernel state is changed.

use std::path::{Path, PathBuf};

/// The settings in use.
pub const SETTINGS: &str = "/var/lib/mailimg/settings.env";
/// The settings before the last import.
pub const OLD_SETTINGS: &str = "/var/lib/mailimg/settings.env.old";
/// Digests of the sources last imported.
pub const IMPORTS: &str = "/var/lib/mailimg/imports.json";
/// All state but mail and queue.
pub const STATE: &str = "/var/lib/mailimg";
/// Layout version of the state.
pub const STATE_VERSION: &str = "/var/lib/mailimg/state-version";
/// How the last upgrade went.
pub const UPGRADE: &str = "/var/lib/mailimg/upgrade.json";
/// Public keys that may sign updates, a line each, put there by the build.
pub const UPDATE_KEYS: &str = "/usr/share/mailimg/update-keys";
/// What the running image consists of.
pub const MANIFEST: &str = "/usr/share/mailimg/manifest.json";
/// Accounts, in Dovecot's passwd-file format.
pub const USERS: &str = "/var/lib/mailimg/users";
/// Held while accounts or maps change.
pub const USERS_LOCK: &str = "/var/lib/mailimg/users.lock";
/// Aliases, in the format of a virtual alias table, for people to edit.
pub const ALIASES: &str = "/var/lib/mailimg/aliases";
/// One empty file per account whose open sessions lost their right, by address.
pub const REVOKED: &str = "/run/mailimg/revoked";
/// Socket of the mail filter, which Postfix opens.
pub const FILTER_SOCKET: &str = "/run/mailimg-filter/filter.sock";
/// Socket over which Postfix takes mail of the machine itself.
pub const OWN_MAIL_SOCKET: &str = "/var/spool/postfix/public/own";
/// Where Postfix takes what filters of the users send, on loopback.
pub const FILTERS_MAIL_PORT: u16 = 10025;
/// That port, as the mail filter is told of it.
pub const FILTERS_DAEMON: &str = "sieve";
/// Where the machine's own mail comes in, as the signer is told of it.
pub const OWN_DAEMON: &str = "own";
/// Socket over which bans are listed and lifted, root's alone.
pub const GUARD_SOCKET: &str = "/run/mailimg-guard/control.sock";
/// Why a container can ban nobody, once it knows.
pub const NO_BANS: &str = "/run/mailimg-guard/no-bans";
/// Where Dovecot reports every login, on loopback.
pub const GUARD_PORT: u16 = 8479;
/// Bans that outlive a restart.
pub const BANS: &str = "/var/lib/mailimg/guard/bans.json";
/// When each account last logged in.
pub const LOGINS: &str = "/var/lib/mailimg/guard/logins.json";
/// The key that such reports carry, new at each boot.
pub const GUARD_KEY: &str = "/run/mailimg/guard-key";
/// The same as a line of Dovecot's configuration.
pub const GUARD_CONFIGURATION: &str = "/run/mailimg/dovecot/guard.conf";
/// The account that the health gate logs in with, new at each boot: files
/// `users` (a passwd-file), `password`, and its `home`.
pub const PROBE: &str = "/run/mailimg/probe";
/// Names the account made at first boot.
pub const ADMIN_CREATED: &str = "/var/lib/mailimg/admin-created";
/// A generated first password, until it is changed.
pub const ADMIN_PASSWORD: &str = "/var/lib/mailimg/admin-password";
/// DKIM keys, one folder per domain.
pub const DKIM: &str = "/var/lib/mailimg/dkim";
/// Diffie-Hellman groups.
pub const DH: &str = "/var/lib/mailimg/dh";
/// Certificate and key of HOSTNAME.
pub const TLS: &str = "/var/lib/mailimg/tls";
/// Certificates of optional names, a folder of such a pair for each.
pub const TLS_NAMES: &str = "/var/lib/mailimg/tls/names";
/// Roots that the machine trusts: the image's, and that of a private authority.
pub const TRUST: &str = "/run/mailimg/trust.pem";
/// The root of a private authority, imported with the settings that name it.
pub const PRIVATE_CA: &str = "/var/lib/mailimg/private-ca.pem";
/// State of the certificate agent; its secrets are its user's alone.
pub const ACME: &str = "/var/lib/mailimg/acme";
/// What others may know of it: digest of the next key, address of the account.
pub const ACME_PUBLIC: &str = "/var/lib/mailimg/acme/public.json";
/// What the certificate agent acts on, rendered from settings.
pub const ACME_CONFIGURATION: &str = "/run/mailimg/acme.json";
/// Answers to challenges of HTTP-01, a file for each token (RFC 8555, section 8.3).
pub const HTTP_CHALLENGES: &str = "/run/mailimg-acme/http";
/// Certificates that answer TLS-ALPN-01, NAME.pem with its key (RFC 8737).
pub const ALPN_CHALLENGES: &str = "/run/mailimg-acme/alpn";
/// What the mail filter acts on, rendered from settings.
pub const FILTER_CONFIGURATION: &str = "/run/mailimg/filter.json";
/// What the web server serves, rendered from settings.
pub const WEB_CONFIGURATION: &str = "/run/mailimg/web.json";
/// What the pages of monitoring act on, rendered from settings; not there without monitoring.
pub const MONITORING_CONFIGURATION: &str = "/run/mailimg/monitoring.json";
/// Socket to which the web server hands on what is for the pages of monitoring.
pub const MONITORING_SOCKET: &str = "/run/mailimg-monitoring/pages.sock";
/// Socket over which these ask for facts that only root may read.
pub const FACTS_SOCKET: &str = "/run/mailimg-facts.sock";
/// Socket over which they have messages of the queue tried, kept back and deleted.
pub const QUEUE_SOCKET: &str = "/run/mailimg-queue-change.sock";
/// Where the image keeps what the pages of monitoring load.
pub const MONITORING_ASSETS: &str = "/usr/share/mailimg/monitoring";
/// The library that draws charts, a package of its own.
pub const CHARTS: &str = "/usr/share/javascript/dygraphs";
/// What the service of policies and reports goes by, rendered from settings.
pub const STS_CONFIGURATION: &str = "/run/mailimg/sts.json";
/// The settings that records are made of, with the key that publishes them.
pub const DNS_CONFIGURATION: &str = "/run/mailimg/dns.env";
/// What monitoring knows of the settings, which is no secret.
pub const METRICS_CONFIGURATION: &str = "/run/mailimg/metrics.env";
/// What was counted of the journal, and up to where.
pub const METRICS_RECORD: &str = "/var/lib/mailimg/metrics/record.json";
/// Where the exporter of figures answers, on loopback.
pub const METRICS_PORT: u16 = 9117;
/// Where the store of figures answers, on loopback.
pub const STORE_PORT: u16 = 8428;
/// Where Dovecot shows what it counted, to the exporter alone.
pub const DOVECOT_FIGURES: &str = "/run/dovecot/figures";
/// Where Dovecot says who is logged in, to vmail's group.
pub const DOVECOT_SESSIONS: &str = "/run/dovecot/anvil";
/// Socket over which Postfix asks for the MTA-STS policy of a domain (RFC 8461).
pub const STS_SOCKET: &str = "/run/mailimg-sts/policy.sock";
/// Socket to which Postfix reports the outcome of TLS (RFC 8460).
pub const TLSRPT_SOCKET: &str = "/run/mailimg-sts/report.sock";
/// Policies of other domains and what is to be reported to them.
pub const STS: &str = "/var/lib/mailimg/sts";
/// What the cloud's metadata says of this machine: its public addresses.
pub const CLOUD: &str = "/var/lib/mailimg/cloud.json";
/// What the metadata address gave, for the process that imports it.
pub const CLOUD_ANSWER: &str = "/run/mailimg-metadata/answer.json";
/// Exists when the public addresses were noted in this boot.
pub const CLOUD_ASKED: &str = "/run/mailimg/cloud-asked";
/// Why the cloud gave no settings.
pub const CLOUD_PROBLEMS: &str = "/run/mailimg/cloud-problems";
/// Host keys of sshd.
pub const SSH_HOST_KEYS: &str = "/var/lib/mailimg/ssh";
/// Mail, as `mail/inboxes/DOMAIN/ADDRESS` below it.
pub const MAIL: &str = "/var/vmail";
/// Postfix's queue.
pub const QUEUE: &str = "/var/spool/postfix";
/// The compiled filter of all mailboxes, which the first delivery makes.
pub const SIEVE: &str = "/run/mailimg-sieve";
/// Rendered configuration.
pub const RENDERED: &str = "/run/mailimg";
/// Exists when settings are there and rendered.
pub const CONFIGURED: &str = "/run/mailimg/configured";
/// Exists when everything that services need is there.
pub const PROVISIONED: &str = "/run/mailimg/provisioned";
/// What was wrong with settings that were not taken.
pub const IMPORT_PROBLEMS: &str = "/run/mailimg/import-problems";
/// Link to the ESP's block device, left by the initrd.
pub const ESP_LINK: &str = "/run/mailimg-initrd/esp";
/// Link to the disk that the root lies on, left by the initrd.
pub const DISK_LINK: &str = "/run/mailimg-initrd/disk";
/// The kernel's command line, left by the initrd.
pub const COMMAND_LINE: &str = "/run/mailimg-initrd/command-line";
/// The number of this boot, left by the initrd.
pub const BOOT_ID: &str = "/run/mailimg-initrd/boot-id";
/// Where the ESP is mounted while it is read.
pub const ESP_MOUNT: &str = "/run/mailimg/esp";
/// Exists in a container: what its engine gave.
pub const CONTAINER: &str = "/run/mailimg-container";
/// The image's templates.
pub const TEMPLATES: &str = "/usr/share/mailimg/templates";

/// The root of the machine, `/` unless in a test.
#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// The machine itself, or a folder that stands for one.
    pub fn new(root: Option<&Path>) -> Self {
        Self {
            // Below it no link is followed; how people come to it is theirs.
            root: root.map_or_else(
                || PathBuf::from("/"),
                |root| root.canonicalize().unwrap_or_else(|_| root.to_path_buf()),
            ),
        }
    }

    /// Whether this is the running machine: programs may be started.
    pub fn is_machine(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Whether a container engine started it.
    pub fn is_container(&self) -> bool {
        self.path(CONTAINER).exists()
    }

    /// The path to open for an absolute path of the machine.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.root
            .join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}
