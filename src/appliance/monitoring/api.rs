//! PromQL for a Grafana of one's own: Prometheus's HTTP API, to be read only.
//!
//! <https://prometheus.io/docs/prometheus/latest/querying/api/>. Left out is whatever writes,
//! deletes or tells of the store's own settings: a list says what there is.

use super::asked::Asked;
use super::login::{Credentials, Outcome};
use super::pages::configuration::Configuration;
use super::site::Site;
use crate::appliance::web::answer::Answer;
use anyhow::Result;
use http::{Method, StatusCode, header};
use std::rc::Rc;
use tokio::task::spawn_blocking;

/// Where it begins below the pages' path.
pub const PATH: &str = "/api/";
const JSON: &str = "application/json; charset=utf-8";
/// What is handed on as it is.
const KNOWN: [&str; 5] = ["query", "query_range", "series", "labels", "metadata"];
/// Parameters that are handed on.
const PARAMETERS: [&str; 9] = [
    "query", "time", "start", "end", "step", "match[]", "limit", "metric", "timeout",
];
/// Longest query.
const LONGEST_QUERY: usize = 16 << 10;
/// Points of a range; Prometheus gives no more either.
const MOST_POINTS: f64 = 11_000.0;

/// Answers a question of a program's.
pub async fn answer(
    site: &Rc<Site>,
    asked: &Asked,
    configuration: &Rc<Configuration>,
) -> Result<Answer> {
    if let Some(refusal) = refuse(site, asked, configuration).await {
        return Ok(refusal);
    }
    let Some(name) = asked.path.strip_prefix("/api/v1/") else {
        return Ok(error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such question",
        ));
    };
    let is_values = name
        .strip_prefix("label/")
        .and_then(|rest| rest.strip_suffix("/values"))
        .is_some_and(is_label);
    if name == "status/buildinfo" {
        return Ok(Answer::new(JSON, build_information()));
    }
    if !KNOWN.contains(&name) && !is_values {
        return Ok(error(
            StatusCode::NOT_FOUND,
            "not_found",
            "there is no such question",
        ));
    }
    if !matches!(asked.method, Method::GET | Method::HEAD | Method::POST) {
        return Ok(Answer::plain(StatusCode::METHOD_NOT_ALLOWED));
    }
    let mut parameters = asked.parameters();
    parameters.extend(asked.form());
    parameters.retain(|(name, _)| PARAMETERS.contains(&name.as_str()));
    if let Some(problem) = too_much(name, &parameters) {
        return Ok(error(StatusCode::BAD_REQUEST, "bad_data", problem));
    }
    let (store, path) = (site.store.clone(), format!("/api/v1/{name}"));
    let asked = spawn_blocking(move || store.pass(&path, &parameters)).await?;
    Ok(match asked {
        Ok((status, text)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            Answer::new(JSON, text).with_status(status)
        }
        Err(problem) => {
            tell!("{problem:#}");
            error(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "the store of figures does not answer",
            )
        }
    }
    .with(header::CACHE_CONTROL, "no-store"))
}

/// Why this program gets nothing: neither a session nor the right password.
async fn refuse(
    site: &Rc<Site>,
    asked: &Asked,
    configuration: &Rc<Configuration>,
) -> Option<Answer> {
    if site.session(asked, configuration).is_some() {
        return None;
    }
    let outcome = match Credentials::basic(asked) {
        Some(given) => site.check(given, asked, configuration).await,
        None => Some(Outcome::Wrong),
    };
    match outcome {
        Some(Outcome::Right) => None,
        Some(Outcome::Wrong) => Some(
            error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "name and password are those of the pages",
            )
            .with(
                header::WWW_AUTHENTICATE,
                "Basic realm=\"monitoring\", charset=\"UTF-8\"",
            ),
        ),
        None => Some(
            error(
                StatusCode::TOO_MANY_REQUESTS,
                "unauthorized",
                "too many wrong passwords from this address",
            )
            .with(header::RETRY_AFTER, "3600"),
        ),
    }
}

fn error(status: StatusCode, kind: &str, text: &str) -> Answer {
    let value = serde_json::json!({"status": "error", "errorType": kind, "error": text});
    Answer::new(JSON, value.to_string())
        .with_status(status)
        .with(header::CACHE_CONTROL, "no-store")
}

/// Grafana looks here for what it may ask; the version is that of an API that all of the above has.
fn build_information() -> String {
    let value = serde_json::json!({
        "status": "success",
        "data": {
            "version": "2.24.0",
            "revision": env!("CARGO_PKG_VERSION"),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
        },
    });
    value.to_string()
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn too_much(name: &str, parameters: &[(String, String)]) -> Option<&'static str> {
    let all: usize = parameters.iter().map(|(_, value)| value.len()).sum();
    if all > LONGEST_QUERY {
        return Some("the query is too long");
    }
    let number = |name: &str| -> Option<f64> {
        let (_, value) = parameters.iter().find(|(key, _)| key == name)?;
        value.trim_end_matches('s').parse().ok()
    };
    let points = (number("end")? - number("start")?) / number("step")?;
    (name == "query_range" && (points.is_nan() || points > MOST_POINTS))
        .then_some("there are too many points in this range: take a longer step")
}

#[cfg(test)]
mod tests {
    use super::{is_label, too_much};

    #[test]
    fn ranges_have_an_end() {
        let range = |start: &str, end: &str, step: &str| {
            let pairs = [("start", start), ("end", end), ("step", step)];
            let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
            too_much("query_range", &pairs).is_some()
        };
        assert!(!range("0", "3600", "15"));
        assert!(range("0", "3600", "0.001") && range("0", "3600", "0"));
        let long = [("query".to_owned(), "x".repeat(20_000))];
        assert!(too_much("query", &long).is_some());
        assert!(is_label("__name__") && !is_label("../x") && !is_label(""));
    }
}
