//! Panels of who is kept out.

use super::panel::{COUNT_TILE, Kind, Panel, RATES, panel};
use crate::appliance::monitoring::unit::Unit;

/// In the order of the page.
pub const BANS: &[Panel] = &[
    panel(
        "bans-now",
        "Kept out now",
        "Networks that guessed passwords.",
        COUNT_TILE,
        &[("networks", "sum(mailimg_bans)")],
    ),
    panel(
        "bans-today",
        "Bans in 24 hours",
        "Bans that began.",
        COUNT_TILE,
        &[("bans", "round(sum(increase(mailimg_bans_total[24h])))")],
    ),
    panel(
        "bans",
        "Kept out",
        "Networks, by family of addresses.",
        (Unit::Count, Kind::Stacked),
        &[("{family}", "sum by (family) (mailimg_bans)")],
    ),
    panel(
        "bans-begun",
        "Bans that began",
        "Six wrong passwords in ten minutes lead to one.",
        RATES,
        &[(
            "{family}",
            "60 * sum by (family) (rate(mailimg_bans_total[$window]))",
        )],
    ),
    panel(
        "wrong-passwords",
        "Wrong passwords",
        "Of all services.",
        RATES,
        &[(
            "{service}",
            "60 * sum by (service) (rate(dovecot_logins_total{result=\"failed\"}[$window]))",
        )],
    ),
];
