//! Panels of the first page.

use super::panel::{COUNT_TILE, Kind, Panel, RATE_LINES, panel};
use crate::appliance::monitoring::unit::Unit;

/// In the order of the page.
pub const OVERVIEW: &[Panel] = &[
    panel(
        "mail-today",
        "Received in 24 hours",
        "Messages that were taken into the queue.",
        COUNT_TILE,
        &[(
            "received",
            "round(sum(increase(postfix_messages_received_total[24h])))",
        )],
    ),
    panel(
        "delivered-today",
        "Delivered in 24 hours",
        "Recipients that were reached, here and elsewhere.",
        COUNT_TILE,
        &[(
            "delivered",
            "round(sum(increase(postfix_deliveries_total{status=\"sent\"}[24h])))",
        )],
    ),
    panel(
        "refused-today",
        "Refused in 24 hours",
        "Mail that was not taken.",
        COUNT_TILE,
        &[(
            "refused",
            "round(sum(increase(postfix_rejects_total[24h])))",
        )],
    ),
    panel(
        "waiting",
        "Waiting",
        "Messages in the queue.",
        COUNT_TILE,
        &[("waiting", "sum(postfix_queue_messages)")],
    ),
    panel(
        "banned",
        "Banned",
        "Networks that are kept out now.",
        COUNT_TILE,
        &[("banned", "sum(mailimg_bans)")],
    ),
    panel(
        "disk-free",
        "Disk free",
        "Room for mail and state.",
        (Unit::Bytes, Kind::Tile),
        &[(
            "free",
            "mailimg_filesystem_bytes{place=\"state\",kind=\"free\"}",
        )],
    ),
    panel(
        "mail-flow",
        "Mail",
        "Messages taken in, and recipients reached here and elsewhere.",
        RATE_LINES,
        &[
            (
                "received",
                "60 * sum(rate(postfix_messages_received_total[$window]))",
            ),
            (
                "into mailboxes",
                "60 * sum(rate(postfix_deliveries_total{transport=\"lmtp\",status=\"sent\"}[$window]))",
            ),
            (
                "to others",
                "60 * sum(rate(postfix_deliveries_total{transport!=\"lmtp\",status=\"sent\"}[$window]))",
            ),
            ("refused", "60 * sum(rate(postfix_rejects_total[$window]))"),
        ],
    ),
    panel(
        "machine-load",
        "Load",
        "Processes that run or wait, beside the number of processors.",
        (Unit::Count, Kind::Lines),
        &[
            ("1 minute", "mailimg_load1"),
            ("processors", "mailimg_cpus"),
        ],
    ),
];
