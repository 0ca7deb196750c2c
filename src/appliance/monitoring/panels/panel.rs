//! One panel, and how it is shown.

use crate::appliance::monitoring::unit::Unit;
use serde::Serialize;

/// How a panel is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One line a series.
    Lines,
    /// One on top of the other.
    Stacked,
    /// The newest number, large, with its course.
    Tile,
}

/// One panel.
#[derive(Debug)]
pub struct Panel {
    /// How it is called in addresses and tests.
    pub id: &'static str,
    /// Its title.
    pub title: &'static str,
    /// What it says, a sentence.
    pub about: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// How it is shown.
    pub kind: Kind,
    /// Names of series, with labels in braces, and their queries.
    pub queries: &'static [(&'static str, &'static str)],
}

/// A row of the table.
pub const fn panel(
    id: &'static str,
    title: &'static str,
    about: &'static str,
    (unit, kind): (Unit, Kind),
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        id,
        title,
        about,
        unit,
        kind,
        queries,
    }
}

/// A number of things, large.
pub const COUNT_TILE: (Unit, Kind) = (Unit::Count, Kind::Tile);
/// Rates that add up.
pub const RATES: (Unit, Kind) = (Unit::PerMinute, Kind::Stacked);
/// Rates beside each other.
pub const RATE_LINES: (Unit, Kind) = (Unit::PerMinute, Kind::Lines);
