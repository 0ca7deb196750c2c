//! Asking the store of figures, which speaks Prometheus's HTTP API.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. Everything is bounded: the
//! time to answer, the size of the answer, the points of a range. Calls block.

use crate::appliance::wire::http::client;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for the store.
const STORE_LIMIT: Duration = Duration::from_secs(10);
/// Largest answer of it.
const LARGEST_ANSWER: u64 = 3 << 20;
/// Points that a chart is wide.
const POINTS: i64 = 240;
/// The store is fed every quarter of a minute; closer points say nothing.
const LEAST_STEP: i64 = 15;
/// Rates are taken over at least so many seconds: shorter ones show every single message as a
/// peak of its own.
const LEAST_WINDOW: i64 = 300;

/// What of time is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// How it is called in addresses.
    pub name: &'static str,
    /// How it is called on the page.
    pub words: &'static str,
    /// Its length in seconds.
    pub seconds: i64,
}

const fn range(name: &'static str, words: &'static str, seconds: i64) -> Range {
    Range {
        name,
        words,
        seconds,
    }
}

/// All of them; the store keeps what the last one shows.
pub const RANGES: [Range; 6] = [
    range("1h", "1 hour", 3600),
    range("6h", "6 hours", 6 * 3600),
    range("24h", "24 hours", 86_400),
    range("7d", "7 days", 7 * 86_400),
    range("30d", "30 days", 30 * 86_400),
    range("60d", "60 days", 60 * 86_400),
];

impl Range {
    /// The range of that name, or the usual one.
    pub fn find(name: Option<&str>) -> Self {
        let found = RANGES.into_iter().find(|range| Some(range.name) == name);
        found.unwrap_or(RANGES[1])
    }

    /// Seconds between points.
    pub fn step(self) -> i64 {
        (self.seconds / POINTS).max(LEAST_STEP)
    }

    /// Seconds over which rates are taken.
    pub fn window(self) -> i64 {
        (self.step() * 2).max(LEAST_WINDOW)
    }
}

/// One series of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Seconds since 1970, and the value.
    pub points: Vec<(i64, f64)>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// The way to the store.
#[derive(Debug, Clone)]
pub struct Store {
    agent: ureq::Agent,
    address: SocketAddr,
}

impl Store {
    /// The store at an address of loopback.
    pub fn new(address: SocketAddr) -> Self {
        let config = client()
            .timeout_global(Some(STORE_LIMIT))
            .max_idle_connections(8)
            .build();
        Self {
            agent: ureq::Agent::new_with_config(config),
            address,
        }
    }

    /// Asks for a range that ends now.
    pub fn range(&self, query: &str, range: Range, now: i64) -> Result<Vec<Series>> {
        let step = range.step();
        // On the grid of the step, so that a chart does not change its shape as time passes.
        let end = now / step * step;
        let query = query.replace("$window", &format!("{}s", range.window()));
        let parameters = [
            ("query", query),
            ("start", (end - range.seconds).to_string()),
            ("end", end.to_string()),
            ("step", step.to_string()),
        ];
        let (status, text) = self.pass("/api/v1/query_range", &parameters)?;
        parse(status, &text)
    }

    /// Asks whatever is asked, and returns status and text as they came.
    pub fn pass(
        &self,
        path: &str,
        parameters: &[(impl AsRef<str>, String)],
    ) -> Result<(u16, String)> {
        let url = format!("http://{}{path}", self.address);
        let form = parameters
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()));
        let mut response = self
            .agent
            .post(&url)
            .send_form(form)
            .context("asking the store of figures")?;
        let text = response
            .body_mut()
            .with_config()
            .limit(LARGEST_ANSWER)
            .read_to_string()
            .context("reading what the store of figures says")?;
        Ok((response.status().as_u16(), text))
    }
}

fn parse(status: u16, text: &str) -> Result<Vec<Series>> {
    let answer: Answer = serde_json::from_str(text)
        .with_context(|| format!("reading what the store of figures says ({status})"))?;
    if answer.status != "success" {
        bail!("the store of figures says: {}", answer.error);
    }
    let rows = answer.data.map(|data| data.result).unwrap_or_default();
    Ok(rows
        .into_iter()
        .map(|row| Series {
            labels: row.metric,
            points: row
                .values
                .into_iter()
                .filter_map(|(time, value)| Some((time as i64, value.parse().ok()?)))
                .collect(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::{RANGES, Range, parse};

    #[test]
    fn no_range_asks_for_more_points_than_a_chart_is_wide() {
        for range in RANGES {
            assert!(range.seconds / range.step() <= 240, "{}", range.name);
            assert!(range.window() >= range.step());
            assert_eq!(Range::find(Some(range.name)), range);
        }
        assert_eq!(Range::find(Some("1y")), Range::find(None));
    }

    #[test]
    fn answers_of_the_store_are_read() {
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"queue":"hold"},"values":[[1795300000,"1"],[1795300015,"NaN"]]}]}}"#;
        let series = parse(200, text).unwrap();
        assert_eq!(series[0].labels["queue"], "hold");
        assert_eq!(series[0].points[0], (1_795_300_000, 1.0));
        assert!(series[0].points[1].1.is_nan());
        let error = parse(422, r#"{"status":"error","errorType":"422","error":"no"}"#);
        assert!(error.unwrap_err().to_string().ends_with("no"));
        assert!(parse(502, "<html>").is_err());
        assert!(parse(200, r#"{"status":"success"}"#).unwrap().is_empty());
    }
}
