//! Panels of the machine.

use super::panel::{COUNT_TILE, Kind, Panel, panel};
use crate::appliance::monitoring::unit::Unit;

/// In the order of the page.
pub const MACHINE: &[Panel] = &[
    panel(
        "up",
        "Running since",
        "Time since this boot began.",
        (Unit::Seconds, Kind::Tile),
        &[("since", "time() - mailimg_boot_time_seconds")],
    ),
    panel(
        "memory-now",
        "Memory available",
        "What programs can still have.",
        (Unit::Bytes, Kind::Tile),
        &[("available", "mailimg_memory_bytes{kind=\"available\"}")],
    ),
    panel(
        "certificate",
        "Certificate",
        "Time until the first one ends.",
        (Unit::Seconds, Kind::Tile),
        &[(
            "left",
            "min(mailimg_certificate_expiry_timestamp_seconds) - time()",
        )],
    ),
    panel(
        "services-down",
        "Services that do not run",
        "Of those that should.",
        COUNT_TILE,
        &[("down", "count(mailimg_service_up == 0) or vector(0)")],
    ),
    panel(
        "cpu",
        "Processor",
        "What processor time went to; 100 % is all processors.",
        (Unit::Share, Kind::Stacked),
        &[(
            "{mode}",
            "sum by (mode) (rate(mailimg_cpu_seconds_total{mode!=\"idle\"}[$window])) / on() group_left() max(mailimg_cpus)",
        )],
    ),
    panel(
        "load",
        "Load",
        "Processes that run or wait, mean of one, five and fifteen minutes.",
        (Unit::Count, Kind::Lines),
        &[
            ("1 minute", "mailimg_load1"),
            ("5 minutes", "mailimg_load5"),
            ("15 minutes", "mailimg_load15"),
        ],
    ),
    panel(
        "memory",
        "Memory",
        "In use and available.",
        (Unit::Bytes, Kind::Stacked),
        &[
            ("available", "mailimg_memory_bytes{kind=\"available\"}"),
            (
                "in use",
                "sum(mailimg_memory_bytes{kind=\"total\"}) - sum(mailimg_memory_bytes{kind=\"available\"})",
            ),
        ],
    ),
    panel(
        "swap",
        "Swap in use",
        "Memory that was put onto the disk, where the machine has a place for it.",
        (Unit::Bytes, Kind::Lines),
        &[(
            "in use",
            "sum(mailimg_memory_bytes{kind=\"swap_total\"}) - sum(mailimg_memory_bytes{kind=\"swap_free\"})",
        )],
    ),
    panel(
        "service-memory",
        "Memory of services",
        "Their part of the file cache included.",
        (Unit::Bytes, Kind::Stacked),
        &[(
            "{service}",
            "topk(12, sum by (service) (mailimg_service_memory_bytes))",
        )],
    ),
    panel(
        "service-cpu",
        "Processor time of services",
        "100 % is one processor.",
        (Unit::Share, Kind::Stacked),
        &[(
            "{service}",
            "topk(12, sum by (service) (rate(mailimg_service_cpu_seconds_total[$window])))",
        )],
    ),
    panel(
        "disk",
        "Disk",
        "Room for mail and state.",
        (Unit::Bytes, Kind::Stacked),
        &[
            (
                "free",
                "mailimg_filesystem_bytes{place=\"state\",kind=\"free\"}",
            ),
            (
                "in use",
                "sum(mailimg_filesystem_bytes{place=\"state\",kind=\"size\"}) - sum(mailimg_filesystem_bytes{place=\"state\",kind=\"free\"})",
            ),
        ],
    ),
    panel(
        "inodes",
        "Files",
        "How many files there can still be.",
        (Unit::Count, Kind::Lines),
        &[(
            "free",
            "mailimg_filesystem_inodes{place=\"state\",kind=\"free\"}",
        )],
    ),
    panel(
        "network",
        "Network",
        "What went through it, loopback not counted.",
        (Unit::BytesPerSecond, Kind::Lines),
        &[(
            "{direction}",
            "sum by (direction) (rate(mailimg_network_bytes_total[$window]))",
        )],
    ),
    panel(
        "processes",
        "Processes",
        "Their threads counted.",
        (Unit::Count, Kind::Lines),
        &[("processes", "mailimg_processes")],
    ),
    panel(
        "restarts",
        "Restarts that nobody asked for",
        "Of services, within the range of a point.",
        (Unit::Count, Kind::Stacked),
        &[(
            "{service}",
            "sum by (service) (increase(mailimg_service_restarts_total[$window])) > 0",
        )],
    ),
];
