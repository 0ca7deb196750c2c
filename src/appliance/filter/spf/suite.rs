//! The policies of a table, each with what it must say about some clients.
//!
//! The table has the shape of the test suite of RFC 7208 that came from openspf.org,
//! as JSON: a list of scenarios with `zonedata` and `tests`. That suite itself can be
//! tried as well: `MAILIMG_SPF_SUITE` names it, and `ci/spf-suite` fetches it.

use super::evaluate::Evaluation;
use super::question::{Question, Verdict};
use crate::appliance::filter::lookup::{Family, Lookup, NoAnswer};
use serde_json::{Map, Value};
use std::net::IpAddr;

/// Our own table.
const CASES: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/spf/cases.json"));
/// Names another one.
const SUITE: &str = "MAILIMG_SPF_SUITE";
/// This host in the suite.
const RECEIVER: &str = "example.org";

/// A part of the DNS: names in lower case, and records as the suite writes them.
struct Zone(Vec<(String, Vec<Value>)>);

impl Zone {
    fn read(zone: &Map<String, Value>) -> Self {
        let names = zone.iter().map(|(name, records)| {
            let records = records.as_array().unwrap();
            (name.to_lowercase(), records.clone())
        });
        Self(names.collect())
    }

    fn records(&self, name: &str, kind: &str) -> Result<Vec<Value>, NoAnswer> {
        self.followed(name, kind, 0)
    }

    /// The same behind so many aliases.
    fn followed(&self, name: &str, kind: &str, aliases: u32) -> Result<Vec<Value>, NoAnswer> {
        const MOST_ALIASES: u32 = 10;
        if aliases > MOST_ALIASES {
            return Err(NoAnswer);
        }
        let name = name.trim_end_matches('.').to_lowercase();
        let Some((_, records)) = self.0.iter().find(|(known, _)| *known == name) else {
            return Ok(Vec::new());
        };
        if let Some(target) = records.iter().find_map(|record| record.get("CNAME")) {
            return self.followed(target.as_str().unwrap(), kind, aliases + 1);
        }
        // The suite is older than the end of the record type SPF.
        let without_text = records.iter().all(|record| record.get("TXT").is_none());
        let kind = if kind == "TXT" && without_text {
            "SPF"
        } else {
            kind
        };
        let mut found = Vec::new();
        for record in records {
            if record == "TIMEOUT" {
                if found.is_empty() {
                    return Err(NoAnswer);
                }
                break;
            }
            match record.get(kind) {
                Some(value) if value == "TIMEOUT" => return Err(NoAnswer),
                Some(value) if value == "NONE" => {}
                Some(value) => found.push(value.clone()),
                None => {}
            }
        }
        Ok(found)
    }
}

impl Lookup for Zone {
    async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, NoAnswer> {
        let found = self.records(name, "TXT")?;
        let text = |value: &Value| match value {
            Value::Array(parts) => parts.iter().map(|part| part.as_str().unwrap()).collect(),
            other => other.as_str().unwrap().to_owned(),
        };
        Ok(found.iter().map(|value| text(value).into()).collect())
    }

    async fn addresses(&self, name: &str, family: Family) -> Result<Vec<IpAddr>, NoAnswer> {
        let kind = match family {
            Family::V4 => "A",
            Family::V6 => "AAAA",
        };
        let found = self.records(name, kind)?;
        let address = |value: &Value| value.as_str().unwrap().parse().unwrap();
        Ok(found.iter().map(address).collect())
    }

    async fn exchanges(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        let found = self.records(name, "MX")?;
        let host = |value: &Value| value[1].as_str().unwrap().to_owned();
        Ok(found.iter().map(host).collect())
    }

    async fn names(&self, address: IpAddr) -> Result<Vec<String>, NoAnswer> {
        let name = mail_auth::hickory_resolver::proto::rr::Name::from(address).to_ascii();
        let found = self.records(&name, "PTR")?;
        let name = |value: &Value| value.as_str().unwrap().to_owned();
        Ok(found.iter().map(name).collect())
    }
}

/// One or several words, or nothing.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(words) => words.iter().map(|word| word.as_str().unwrap()).collect(),
        other => other.as_str().into_iter().collect(),
    }
}

async fn try_all(text: &str) -> Vec<String> {
    let scenarios: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for scenario in &scenarios {
        let zone = Zone::read(scenario["zonedata"].as_object().unwrap());
        for (name, test) in scenario["tests"].as_object().unwrap() {
            count += 1;
            let client = test["host"].as_str().unwrap().parse().unwrap();
            let helo = test["helo"].as_str().unwrap_or_default();
            let question = Question::new(client, helo, test["mailfrom"].as_str().unwrap());
            let mut evaluation = Evaluation::new(&zone, &question, RECEIVER);
            let outcome = evaluation.run().await;
            let explanation = evaluation.explain(&outcome).await;
            let found = outcome.verdict.word();
            let results = words(&test["result"]);
            if !results.contains(&found) {
                wrong.push(format!("{name}: {found} instead of {results:?}"));
            }
            // DEFAULT is what a host says in words of its own.
            let expected = words(&test["explanation"])
                .first()
                .filter(|text| **text != "DEFAULT")
                .map(|text| text.to_lowercase());
            let explanation = explanation.map(|text| text.to_lowercase());
            let explained = outcome.verdict == Verdict::Fail && test["explanation"].is_string();
            if explained && explanation != expected {
                wrong.push(format!("{name}: {explanation:?} instead of {expected:?}"));
            }
        }
    }
    assert!(count > 0);
    wrong
}

#[tokio::test]
async fn cases() {
    assert_eq!(try_all(CASES).await, [""; 0]);
}

#[tokio::test]
async fn the_suite_of_the_standard() {
    let Some(path) = std::env::var_os(SUITE) else {
        println!("skipped: {SUITE} names no suite");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    assert_eq!(try_all(&text).await, [""; 0]);
}
