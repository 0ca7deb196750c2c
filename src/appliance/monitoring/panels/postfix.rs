//! Panels of the mail server.

use super::panel::{COUNT_TILE, Kind, Panel, RATE_LINES, RATES, panel};
use crate::appliance::monitoring::unit::Unit;

/// In the order of the page.
pub const POSTFIX: &[Panel] = &[
    panel(
        "queue-now",
        "In the queue",
        "Messages that wait.",
        COUNT_TILE,
        &[("messages", "sum(postfix_queue_messages)")],
    ),
    panel(
        "queue-size-now",
        "Size of the queue",
        "What they take on the disk.",
        (Unit::Bytes, Kind::Tile),
        &[("size", "sum(postfix_queue_bytes)")],
    ),
    panel(
        "queue-oldest-now",
        "Oldest message",
        "How long it waits.",
        (Unit::Seconds, Kind::Tile),
        &[("age", "max(postfix_queue_oldest_seconds)")],
    ),
    panel(
        "tls-share",
        "Encrypted, coming in",
        "Encrypted connections for each 100 connections.",
        (Unit::Share, Kind::Tile),
        &[(
            "encrypted",
            "clamp_max(sum(increase(postfix_tls_connections_total{direction=\"in\"}[24h])) / sum(increase(postfix_connections_total[24h])), 1)",
        )],
    ),
    panel(
        "connections",
        "Connections",
        "Port 25 is other servers; submission and submissions are people's mail programs.",
        RATES,
        &[(
            "{service}",
            "60 * sum by (service) (rate(postfix_connections_total[$window]))",
        )],
    ),
    panel(
        "received",
        "Messages received",
        "By the door through which they came.",
        RATES,
        &[(
            "{service}",
            "60 * sum by (service) (rate(postfix_messages_received_total[$window]))",
        )],
    ),
    panel(
        "received-bytes",
        "Size of messages received",
        "What they brought with them.",
        (Unit::BytesPerSecond, Kind::Lines),
        &[("size", "sum(rate(postfix_message_bytes_total[$window]))")],
    ),
    panel(
        "deliveries",
        "Deliveries",
        "Attempts for a recipient: lmtp is to mailboxes here, smtp to others.",
        RATES,
        &[(
            "{transport} {status}",
            "60 * sum by (transport, status) (rate(postfix_deliveries_total[$window]))",
        )],
    ),
    panel(
        "destinations",
        "Deliveries to others",
        "By whose servers they are.",
        RATES,
        &[(
            "{provider} {status}",
            "60 * sum by (provider, status) (rate(postfix_deliveries_by_destination_total[$window]))",
        )],
    ),
    panel(
        "delays",
        "Where a delivery's time goes",
        "Mean of each stage.",
        (Unit::Seconds, Kind::Stacked),
        &[(
            "{stage}",
            "sum by (stage) (rate(postfix_delivery_delay_seconds_sum[$window])) / sum by (stage) (rate(postfix_delivery_delay_seconds_count[$window]))",
        )],
    ),
    panel(
        "delay-slowest",
        "Slow deliveries",
        "Nine of ten deliveries are faster than this in each stage.",
        (Unit::Seconds, Kind::Lines),
        &[(
            "{stage}",
            "histogram_quantile(0.9, sum by (stage, le) (rate(postfix_delivery_delay_seconds_bucket[$window])))",
        )],
    ),
    panel(
        "queue",
        "Queue",
        "Messages that wait, by where they wait.",
        (Unit::Count, Kind::Stacked),
        &[("{queue}", "sum by (queue) (postfix_queue_messages)")],
    ),
    panel(
        "queue-size",
        "Size of the queue",
        "What they take on the disk.",
        (Unit::Bytes, Kind::Stacked),
        &[("{queue}", "sum by (queue) (postfix_queue_bytes)")],
    ),
    panel(
        "queue-age",
        "Age of the oldest message",
        "A queue that grows old is mail that does not leave.",
        (Unit::Seconds, Kind::Lines),
        &[("{queue}", "max by (queue) (postfix_queue_oldest_seconds)")],
    ),
    panel(
        "rejects",
        "Refused",
        "Mail that was not taken, by reason.",
        RATES,
        &[(
            "{reason}",
            "60 * sum by (reason) (rate(postfix_rejects_total[$window]))",
        )],
    ),
    panel(
        "screened",
        "Screened at port 25",
        "What was made of clients before they were greeted.",
        RATES,
        &[(
            "{result}",
            "60 * sum by (result) (rate(postfix_screened_total[$window]))",
        )],
    ),
    panel(
        "tls-protocols",
        "Encryption",
        "Encrypted connections by protocol.",
        RATES,
        &[(
            "{direction} {protocol}",
            "60 * sum by (direction, protocol) (rate(postfix_tls_connections_total[$window]))",
        )],
    ),
    panel(
        "tls-ciphers",
        "Ciphers",
        "Encrypted connections by cipher.",
        RATES,
        &[(
            "{cipher}",
            "60 * sum by (cipher) (rate(postfix_tls_connections_total[$window]))",
        )],
    ),
    panel(
        "logins",
        "Logins to send",
        "Messages begun after a login, and logins refused.",
        RATE_LINES,
        &[
            (
                "begun",
                "60 * sum(rate(postfix_sasl_logins_total[$window]))",
            ),
            (
                "refused",
                "60 * sum(rate(postfix_sasl_failures_total[$window]))",
            ),
        ],
    ),
    panel(
        "troubles",
        "Odd clients",
        "Conversations that broke off, and clients whose name and address do not lead to each other.",
        RATE_LINES,
        &[
            (
                "{kind}",
                "60 * sum by (kind) (rate(postfix_lost_connections_total[$window]))",
            ),
            (
                "name does not fit",
                "60 * sum(rate(postfix_hostname_errors_total[$window]))",
            ),
        ],
    ),
    panel(
        "verdicts",
        "SPF, DKIM and DMARC",
        "What was found of mail from others.",
        RATES,
        &[(
            "{check} {result}",
            "60 * sum by (check, result) (rate(mailimg_verdicts_total[$window]))",
        )],
    ),
    panel(
        "sending",
        "Sending limit used",
        "Recipients within the last hour, of the accounts with the most.",
        (Unit::Count, Kind::Lines),
        &[
            (
                "{user}",
                "topk(10, sum by (user) (mailimg_sending_limit_used))",
            ),
            ("limit", "mailimg_sending_limit"),
        ],
    ),
    panel(
        "lines",
        "Lines that no rule knows",
        "They are counted nowhere else.",
        RATE_LINES,
        &[(
            "unknown",
            "60 * sum(rate(postfix_unparsed_lines_total[$window]))",
        )],
    ),
];
