//! Panels of the IMAP server.

use super::panel::{COUNT_TILE, Kind, Panel, RATES, panel};
use crate::appliance::monitoring::unit::Unit;

/// In the order of the page.
pub const DOVECOT: &[Panel] = &[
    panel(
        "inbox-total",
        "All mailboxes",
        "What they take on the disk.",
        (Unit::Bytes, Kind::Tile),
        &[("size", "sum(dovecot_mailbox_bytes)")],
    ),
    panel(
        "inbox-messages",
        "Messages",
        "In all mailboxes.",
        COUNT_TILE,
        &[("messages", "sum(dovecot_mailbox_messages)")],
    ),
    panel(
        "unread",
        "Unread by the administrator",
        "Reports and notices wait there.",
        COUNT_TILE,
        &[("unread", "sum(dovecot_unread_messages)")],
    ),
    panel(
        "sessions-now",
        "Sessions",
        "Mail programs that are connected now.",
        COUNT_TILE,
        &[("sessions", "sum(dovecot_sessions)")],
    ),
    panel(
        "inbox-sizes",
        "Largest mailboxes",
        "The twenty largest, and all others together.",
        (Unit::Bytes, Kind::Stacked),
        &[("{user}", "sum by (user) (dovecot_mailbox_bytes)")],
    ),
    panel(
        "imap-logins",
        "Logins",
        "Logins and wrong passwords.",
        RATES,
        &[(
            "{service} {result}",
            "60 * sum by (service, result) (rate(dovecot_logins_total[$window]))",
        )],
    ),
    panel(
        "sessions",
        "Sessions",
        "Mail programs that are connected.",
        (Unit::Count, Kind::Stacked),
        &[("{service}", "sum by (service) (dovecot_sessions)")],
    ),
    panel(
        "mail-stored",
        "Deliveries into mailboxes",
        "As Dovecot saw them.",
        RATES,
        &[(
            "{result}",
            "60 * sum by (result) (rate(dovecot_deliveries_total[$window]))",
        )],
    ),
    panel(
        "sieve",
        "What filters did",
        "Actions of Sieve scripts.",
        RATES,
        &[(
            "{action}",
            "60 * sum by (action) (rate(dovecot_sieve_actions_total[$window]))",
        )],
    ),
    panel(
        "commands",
        "IMAP commands",
        "By name.",
        RATES,
        &[(
            "{command}",
            "60 * sum by (command) (rate(dovecot_imap_commands_total[$window]))",
        )],
    ),
    panel(
        "command-times",
        "Time of IMAP commands",
        "Mean by name.",
        (Unit::Seconds, Kind::Lines),
        &[(
            "{command}",
            "sum by (command) (rate(dovecot_imap_command_seconds_total[$window])) / sum by (command) (rate(dovecot_imap_commands_total[$window]))",
        )],
    ),
    panel(
        "command-slowest",
        "Slow IMAP commands",
        "Half, and nine of ten, are faster; waiting for mail is not counted.",
        (Unit::Seconds, Kind::Lines),
        &[
            (
                "half",
                "histogram_quantile(0.5, sum by (le) (rate(dovecot_imap_command_duration_seconds_bucket[$window])))",
            ),
            (
                "nine of ten",
                "histogram_quantile(0.9, sum by (le) (rate(dovecot_imap_command_duration_seconds_bucket[$window])))",
            ),
        ],
    ),
];
