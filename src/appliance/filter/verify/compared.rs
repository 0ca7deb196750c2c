//! What other implementations say about the same messages and policies.
//!
//! `tests/signed/make.py` wrote `messages.json`: dkimpy judged the messages, authheaders the
//! policies. Beside their verdicts stand ours. Where one passes and the other does not, a
//! row names the section of the standard that says why.

use super::arc;
use super::dkim::{self, Signed};
use super::dmarc::{Findings, judge};
use super::organisation::Organisations;
use super::policy::find_policy;
use super::signature::{Algorithm, Seal, Signature};
use super::tests::{NOW, Records, deadline, received};
use crate::appliance::filter::spf::{self, Spf};
use crate::appliance::filter::verify::canonical::Canonicalization;
use serde_json::Value;

/// Messages, their keys, policies, and verdicts.
const COMPARED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/signed/messages.json"
));
/// Fewer were not written by what is in the repository.
const FEWEST_MESSAGES: usize = 500;

/// The table.
pub fn read() -> Value {
    serde_json::from_str(COMPARED).unwrap()
}

/// The keys of its messages.
pub fn keys(table: &Value, records: Records) -> Records {
    let keys = table["keys"].as_object().unwrap();
    keys.iter().fold(records, |records, (name, text)| {
        records.add(name, text.as_str().unwrap())
    })
}

/// The message of a row, of which one character is one byte, as Postfix hands it on.
///
/// A line that ends by LF alone is one (`smtpd_forbid_bare_newline = normalize`). A CR alone
/// would be a space (`cleanup_replace_stray_cr_lf`), and is judged here as it came.
pub fn message(row: &Value) -> Vec<u8> {
    let text = row["message"].as_str().unwrap().chars();
    let mut message: Vec<u8> = Vec::new();
    for byte in text.map(|byte| u8::try_from(byte).unwrap()) {
        if byte == b'\n' && message.last() != Some(&b'\r') {
            message.push(b'\r');
        }
        message.push(byte);
    }
    message
}

fn passes(words: &Value) -> Vec<bool> {
    let all = words
        .as_array()
        .map_or(std::slice::from_ref(words), Vec::as_slice);
    all.iter().map(|word| word == "pass").collect()
}

#[tokio::test]
async fn messages_as_dkimpy_judges_them() {
    let table = read();
    let records = keys(&table, Records::default());
    let rows = table["messages"].as_array().unwrap();
    assert!(rows.len() >= FEWEST_MESSAGES);
    let mut wrong = Vec::new();
    for row in rows {
        let (headers, bodies, _) = received(&message(row));
        let signed = dkim::check(&records, &headers, &bodies, NOW, deadline()).await;
        let chain = arc::check(&records, &headers, &bodies, NOW).await;
        let words: Vec<&str> = signed.iter().map(|one| one.verdict.word()).collect();
        if row["dkim"] != Value::from(words.clone()) || row["arc"] != chain.verdict.word() {
            let reasons: Vec<_> = signed.iter().map(|one| one.verdict.reason()).collect();
            wrong.push(format!(
                "{}: {words:?} {reasons:?}, {:?} instead of {} {}",
                row["name"], chain.verdict, row["dkim"], row["arc"]
            ));
        }
        let same = passes(&row["dkim"]) == passes(&row["dkimpy"])
            && passes(&row["arc"]) == passes(&row["dkimpy_arc"]);
        assert_eq!(same, row["differs"].is_null(), "{}", row["name"]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn spf_of(text: &str) -> Option<Spf> {
    use spf::Verdict;
    let (word, domain) = text.split_once(' ')?;
    let all = [
        Verdict::Pass,
        Verdict::Fail,
        Verdict::SoftFail,
        Verdict::Neutral,
        Verdict::TempError,
        Verdict::PermError,
    ];
    Some(Spf {
        verdict: all.into_iter().find(|one| one.word() == word).unwrap(),
        property: "smtp.mailfrom",
        domain: Some(domain.to_owned()),
        explanation: None,
    })
}

fn dkim_of(text: &str) -> Option<Signed> {
    use dkim::Verdict;
    let (word, domain) = text.split_once(' ')?;
    let all = [
        Verdict::Pass,
        Verdict::Fail(""),
        Verdict::Policy(""),
        Verdict::Neutral(""),
        Verdict::TempError,
        Verdict::PermError(""),
    ];
    let seal = Seal {
        algorithm: Algorithm::RsaSha256,
        domain: domain.to_owned(),
        selector: "s".to_owned(),
        signature: Vec::new(),
    };
    let signature = Signature {
        seal,
        headers: Vec::new(),
        header_kind: Canonicalization::Simple,
        body_kind: Canonicalization::Simple,
        body_hash: Vec::new(),
        length: None,
        expires: None,
        identity: None,
    };
    Some(Signed {
        verdict: all.into_iter().find(|one| one.word() == word).unwrap(),
        signature: Some(signature),
    })
}

#[tokio::test]
async fn policies_as_authheaders_judges_them() {
    let table = read();
    let list = Organisations::parse("com\nnet\norg\nuk\nco.uk\n").unwrap();
    for row in table["dmarc"].as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap();
        let policies = row["policies"].as_object().unwrap();
        let records = policies
            .iter()
            .fold(Records::default(), |records, (name, text)| {
                records.add(&format!("_dmarc.{name}"), text.as_str().unwrap())
            });
        let findings = Findings {
            spf: spf_of(text("spf")),
            iprev: None,
            dkim: dkim_of(text("dkim")).into_iter().collect(),
            arc: arc::Verdict::None.into(),
        };
        let policy = find_policy(&records, &list, text("from")).await;
        let found = judge(text("from"), policy, &findings, &list, &[], 0);
        let wish = found
            .wish
            .map_or(String::new(), |wish| format!(" {}", wish.word()));
        let found = format!("{}{wish}", found.verdict.word());
        assert_eq!(found, text("expected"), "{row}");
        let same = text("authheaders") == text("expected");
        assert_eq!(same, row["differs"].is_null(), "{row}");
    }
}
