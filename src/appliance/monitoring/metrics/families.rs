//! Every series that the machine has, one row each: name, labels, what it says, where it is from.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>. The page `metrics` of the manual
//! has the same table; a test compares them. What is written of a series to whoever asks, its
//! HELP and TYPE, comes from here.

/// How a series is to be read (<https://prometheus.io/docs/concepts/metric_types/>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// Counts of what was at most so much.
    Histogram,
}

impl Kind {
    /// The word of the text format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A row.
#[derive(Debug)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// How it is to be read.
    pub kind: Kind,
    /// Names of labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
    /// Where it is from.
    pub source: &'static str,
}

type Labels = &'static [&'static str];
type Text = &'static str;

const fn row(name: Text, kind: Kind, labels: Labels, help: Text, source: Text) -> Family {
    Family {
        name,
        kind,
        labels,
        help,
        source,
    }
}

const fn counter(name: Text, labels: Labels, help: Text, source: Text) -> Family {
    row(name, Kind::Counter, labels, help, source)
}

const fn gauge(name: Text, labels: Labels, help: Text, source: Text) -> Family {
    row(name, Kind::Gauge, labels, help, source)
}

const fn histogram(name: Text, labels: Labels, help: Text, source: Text) -> Family {
    row(name, Kind::Histogram, labels, help, source)
}

/// All of them, in the order in which they are shown.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    // What runs.
    gauge("mailimg_build_info", &["version"], "1, with the version of the image", "os-release"),
    gauge("mailimg_boot_time_seconds", &[], "when this boot began, seconds since 1970", "/proc/stat"),
    gauge("mailimg_source_up", &["source"], "whether a source of figures answered: journal, systemd, dovecot, queue, mail, dns", "the exporter"),
    gauge("mailimg_service_up", &["service"], "whether a service runs", "systemd"),
    counter("mailimg_service_restarts_total", &["service"], "starts of a service that were not asked for", "systemd"),
    gauge("mailimg_service_memory_bytes", &["service"], "memory of a service, its part of the file cache included", "control groups"),
    counter("mailimg_service_cpu_seconds_total", &["service"], "processor time of a service", "control groups"),
    // The machine.
    gauge("mailimg_cpus", &[], "processors", "/proc/stat"),
    counter("mailimg_cpu_seconds_total", &["mode"], "processor time by what it went to: user, nice, system, idle, iowait, irq, softirq, steal", "/proc/stat"),
    gauge("mailimg_load1", &[], "processes that run or wait, mean of a minute", "/proc/loadavg"),
    gauge("mailimg_load5", &[], "the same of five minutes", "/proc/loadavg"),
    gauge("mailimg_load15", &[], "the same of fifteen minutes", "/proc/loadavg"),
    gauge("mailimg_processes", &[], "processes, their threads counted", "/proc/loadavg"),
    gauge("mailimg_memory_bytes", &["kind"], "memory: total, available, swap_total, swap_free", "/proc/meminfo"),
    gauge("mailimg_filesystem_bytes", &["place", "kind"], "size and free room of a file system: places root and state, kinds size and free", "statvfs"),
    gauge("mailimg_filesystem_inodes", &["place", "kind"], "the same in files", "statvfs"),
    counter("mailimg_network_bytes_total", &["direction"], "bytes received and sent, loopback not counted", "/proc/net/dev"),
    // Mail in and out.
    counter("postfix_connections_total", &["service"], "connections: smtpd is port 25, submission 587, submissions 465", "journal"),
    counter("postfix_screened_total", &["result"], "clients of port 25 by what was made of them before a greeting: pass, pregreet, hangup, denied, other", "journal"),
    counter("postfix_commands_total", &["service", "result"], "SMTP commands, ok or rejected", "journal"),
    counter("postfix_lost_connections_total", &["service", "kind"], "conversations that ended without QUIT: lost, timeout, errors", "journal"),
    counter("postfix_messages_received_total", &["service"], "messages taken into the queue; sieve is what filters send, own what the machine itself does", "journal"),
    counter("postfix_message_bytes_total", &[], "size of these messages", "journal"),
    counter("postfix_deliveries_total", &["transport", "status"], "attempts for a recipient: lmtp is to mailboxes here, smtp to others; sent, deferred, bounced, expired", "journal"),
    counter("postfix_deliveries_by_destination_total", &["provider", "status"], "attempts to others by whose servers they are: google, microsoft, yahoo, apple, gmx, telekom, proton, fastmail, yandex, other", "journal"),
    histogram("postfix_delivery_delay_seconds", &["stage"], "where a delivery's time went: before_queue, queue, connection, transmission", "journal"),
    counter("postfix_rejects_total", &["reason"], "refusals by reason: unknown_recipient, relay, sender, login_mismatch, helo, client, content, policy, quota, size, rate, pipelining, syntax, encryption, temporary, other", "journal"),
    counter("postfix_tls_connections_total", &["direction", "protocol", "cipher"], "encrypted connections, in and out", "journal"),
    counter("postfix_sasl_logins_total", &["service"], "messages begun after a login", "journal"),
    counter("postfix_sasl_failures_total", &["service"], "logins refused", "journal"),
    counter("postfix_hostname_errors_total", &[], "clients whose address and name do not lead to each other", "journal"),
    counter("postfix_problems_total", &["severity"], "lines that are a warning, error, fatal or panic", "journal"),
    counter("postfix_lines_total", &[], "lines that Postfix wrote", "journal"),
    counter("postfix_unparsed_lines_total", &[], "lines that no rule knows", "journal"),
    gauge("postfix_queue_messages", &["queue"], "messages in maildrop, incoming, active, deferred, hold, corrupt", "its folders, every minute"),
    gauge("postfix_queue_bytes", &["queue"], "size of these messages", "its folders, every minute"),
    gauge("postfix_queue_oldest_seconds", &["queue"], "age of the oldest of them", "its folders, every minute"),
    // Mailboxes.
    counter("dovecot_logins_total", &["service", "result"], "logins: imap, sieve, smtp; ok or failed", "Dovecot"),
    gauge("dovecot_sessions", &["service"], "open sessions: imap, sieve", "Dovecot"),
    counter("dovecot_deliveries_total", &["result"], "deliveries into mailboxes, ok or failed", "Dovecot"),
    counter("dovecot_sieve_actions_total", &["action"], "what filters did: keep, fileinto, redirect, vacation, reject, discard, other", "Dovecot"),
    counter("dovecot_imap_commands_total", &["command"], "IMAP commands, by name", "Dovecot"),
    counter("dovecot_imap_command_seconds_total", &["command"], "time they took together", "Dovecot"),
    histogram("dovecot_imap_command_duration_seconds", &[], "time of an IMAP command, those that wait for mail (IDLE) not counted", "Dovecot"),
    gauge("dovecot_users", &[], "accounts with a mailbox", "the mailboxes, every ten minutes"),
    gauge("dovecot_mailbox_bytes", &["user"], "size on disk of the twenty largest, and of the rest as (others)", "the mailboxes, every ten minutes"),
    gauge("dovecot_mailbox_messages", &["user"], "messages in the same", "the mailboxes, every ten minutes"),
    gauge("dovecot_unread_messages", &["user"], "messages that the administrator has not read", "the mailboxes, every ten minutes"),
    // Trust.
    gauge("mailimg_bans", &["family"], "networks that are kept out now: ipv4, ipv6", "journal"),
    counter("mailimg_bans_total", &["family"], "bans that began", "journal"),
    counter("mailimg_verdicts_total", &["check", "result"], "what was found of mail from others: spf, dkim, dmarc; pass, fail, softfail, neutral, none, temperror, permerror", "journal"),
    gauge("mailimg_sending_limit", &[], "recipients that an account may write to within an hour, absent without a limit", "settings"),
    gauge("mailimg_sending_limit_used", &["user"], "recipients within the last hour, of the ten accounts with the most", "journal"),
    gauge("mailimg_certificate_expiry_timestamp_seconds", &["name"], "when a certificate ends, seconds since 1970", "the certificates"),
    gauge("mailimg_certificate_self_signed", &["name"], "1 for one that no authority signed", "the certificates"),
    gauge("mailimg_dns_check", &["domain", "record", "need"], "1 for a record that is as it should be, 0 otherwise; need is required or recommended", "the DNS, every hour"),
    gauge("mailimg_dns_check_timestamp_seconds", &[], "when they were looked at", "the DNS, every hour"),
    gauge("mailimg_update_state", &["state"], "1 for how the last upgrade stands: none, waiting, gave-up, kept, interrupted, came-back", "upgrade.json"),
    gauge("mailimg_update_look_timestamp_seconds", &[], "when the machine last looked for updates by itself", "upgrade-attempt.json"),
];

/// The row of a series.
pub fn find(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

#[cfg(test)]
mod tests {
    use super::{FAMILIES, Kind};
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../../overlay/usr/share/mailimg/manual/metrics.md");

    #[test]
    fn the_manual_has_the_same_rows() {
        let rows: Vec<String> = FAMILIES
            .iter()
            .map(|family| {
                let labels = family.labels.join(", ");
                format!(
                    "| `{}` | {} | {labels} | {} | {} |",
                    family.name,
                    family.kind.word(),
                    family.help,
                    family.source
                )
            })
            .collect();
        let page: Vec<&str> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        assert_eq!(rows, page);
    }

    #[test]
    fn names_say_what_they_count() {
        let names: BTreeSet<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        for family in FAMILIES {
            let counts = family.name.ends_with("_total");
            assert_eq!(counts, family.kind == Kind::Counter, "{}", family.name);
            let known = ["mailimg_", "postfix_", "dovecot_"];
            assert!(known.iter().any(|begin| family.name.starts_with(begin)));
            assert!(!family.help.contains(['\n', '\\', '|']), "{}", family.name);
        }
    }
}
