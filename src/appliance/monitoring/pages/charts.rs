//! Pages of panels: their numbers as text, and as data for the script that draws them.

use crate::appliance::machine::clock::now;
use crate::appliance::monitoring::panels::{Kind, Page, Panel};
use crate::appliance::monitoring::query::{Range, Series, Store};
use crate::appliance::monitoring::unit::Unit;
use futures_util::future::join_all;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

/// Longest that a page waits for all of its panels.
const PANELS_LIMIT: Duration = Duration::from_secs(4);
/// Questions to the store at once.
const AT_ONCE: usize = 6;
/// Series that one panel shows at most.
const MOST_SERIES: usize = 24;

/// One series of a chart: values on a grid of times, `null` where there is none.
#[derive(Debug, Serialize)]
pub struct Line {
    /// As the legend calls it.
    pub name: String,
    values: Vec<Option<f64>>,
}

/// The same in numbers.
#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    last: String,
    least: String,
    mean: String,
    most: String,
}

/// A panel with its numbers.
#[derive(Debug, Serialize)]
pub struct Shown {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    unit: Unit,
    words: &'static str,
    kind: Kind,
    /// Seconds since 1970 of the first value.
    start: i64,
    /// Seconds between values.
    step: i64,
    lines: Vec<Line>,
    /// The newest number, of the first series.
    number: String,
    summaries: Vec<Summary>,
    /// Why there are none.
    problem: Option<String>,
}

/// Asks for every panel of a page.
pub async fn show_panels(store: &Store, page: Page, range: Range) -> Vec<Shown> {
    let (now, deadline) = (now(), Instant::now() + PANELS_LIMIT);
    let turns = &Semaphore::new(AT_ONCE);
    let panels = page.panels().iter().map(|panel| async move {
        let work = async {
            let _turn = turns.acquire().await;
            let store = store.clone();
            let asked = spawn_blocking(move || ask(&store, panel, range, now)).await;
            asked.unwrap_or_else(|error| Err(anyhow::anyhow!("{error}")))
        };
        let lines = match timeout_at(deadline, work).await {
            Ok(result) => result.map_err(|error| format!("{error:#}")),
            Err(_) => Err("no answer in time".to_owned()),
        };
        show(panel, range, now, lines)
    });
    let shown = join_all(panels).await;
    let mut problems = shown.iter().filter_map(|panel| panel.problem.as_ref());
    if let Some(first) = problems.next() {
        let others = problems.count();
        tell!(
            "asking for a panel of {}: {first} (and {others} more)",
            page.name()
        );
    }
    shown
}

fn ask(store: &Store, panel: &Panel, range: Range, now: i64) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (legend, query) in panel.queries {
        for series in store.range(query, range, now)? {
            lines.push(line(legend, &series, range, now));
        }
    }
    // What never had a value says nothing.
    lines.retain(|line| line.values.iter().any(Option::is_some));
    if lines.len() > MOST_SERIES {
        lines.sort_by(|one, other| largest(other).total_cmp(&largest(one)));
        lines.truncate(MOST_SERIES);
    }
    lines.sort_by(|one, other| {
        let quiet = |line: &Line| largest(line) == 0.0;
        quiet(one).cmp(&quiet(other))
    });
    Ok(lines)
}

fn largest(line: &Line) -> f64 {
    let values = line.values.iter().flatten();
    values.fold(0.0, |most: f64, value| most.max(value.abs()))
}

fn first_time(range: Range, now: i64) -> i64 {
    now / range.step() * range.step() - range.seconds
}

fn line(legend: &str, series: &Series, range: Range, now: i64) -> Line {
    let (start, step) = (first_time(range, now), range.step());
    let count = usize::try_from(range.seconds / step).unwrap_or_default() + 1;
    let mut values = vec![None; count];
    for (time, value) in &series.points {
        let place = usize::try_from((time - start) / step).ok();
        if let Some(place) = place.and_then(|place| values.get_mut(place)) {
            *place = value.is_finite().then_some(*value);
        }
    }
    let mut name = legend.to_owned();
    for (label, value) in &series.labels {
        // Words of ours are written with '_', addresses as they are.
        let value = match value.contains('@') {
            true => value.clone(),
            false => value.replace('_', " "),
        };
        name = name.replace(&format!("{{{label}}}"), &value);
    }
    Line { name, values }
}

fn show(panel: &'static Panel, range: Range, now: i64, lines: Result<Vec<Line>, String>) -> Shown {
    let (lines, problem) = match lines {
        Ok(lines) => (lines, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let newest = |line: &Line| line.values.iter().rev().flatten().next().copied();
    let number = lines.first().and_then(newest);
    Shown {
        id: panel.id,
        title: panel.title,
        about: panel.about,
        unit: panel.unit,
        words: panel.unit.words(),
        kind: panel.kind,
        start: first_time(range, now),
        step: range.step(),
        number: number.map_or_else(|| "–".to_owned(), |number| panel.unit.write(number)),
        summaries: lines.iter().map(|line| sum_up(panel.unit, line)).collect(),
        lines,
        problem,
    }
}

fn sum_up(unit: Unit, line: &Line) -> Summary {
    let known: Vec<f64> = line.values.iter().flatten().copied().collect();
    let count = known.len().max(1) as f64;
    Summary {
        name: line.name.clone(),
        last: unit.write(known.last().copied().unwrap_or(f64::NAN)),
        least: unit.write(known.iter().copied().fold(f64::INFINITY, f64::min)),
        mean: unit.write(known.iter().sum::<f64>() / count),
        most: unit.write(known.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    }
}

#[cfg(test)]
mod tests {
    use super::{first_time, line, sum_up};
    use crate::appliance::monitoring::query::{Range, Series};
    use crate::appliance::monitoring::unit::Unit;

    #[test]
    fn points_lie_on_the_grid_and_gaps_stay() {
        let (range, now) = (Range::find(Some("1h")), 1_795_303_607);
        let start = first_time(range, now);
        let labels = [("queue".to_owned(), "<b>".to_owned())].into();
        let points = vec![
            (start, 1.0),
            (start + 30, f64::NAN),
            (start + 45, 3.0),
            (start + 999_999, 9.0),
        ];
        let line = line("{queue} x", &Series { labels, points }, range, now);
        assert_eq!(line.name, "<b> x");
        assert_eq!(line.values.len(), 241);
        assert_eq!(line.values[..4], [Some(1.0), None, None, Some(3.0)]);
        let sum = sum_up(Unit::Count, &line);
        assert_eq!(
            (sum.last, sum.least, sum.mean, sum.most),
            ("3".into(), "1".into(), "2".into(), "3".into())
        );
    }
}
