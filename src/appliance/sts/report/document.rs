//! A report as its readers want it.
//!
//! JSON of RFC 8460, section 4 (<https://www.rfc-editor.org/rfc/rfc8460#section-4>).

use super::day::{DomainDay, PolicyDay};
use super::event::Failure;
use crate::appliance::sts::configuration::Configuration;
use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use serde::Serialize;
use std::io::Write;

/// A report, made and packed.
#[derive(Debug)]
pub struct Document {
    pub id: String,
    /// Name of the file, section 5.1.
    pub file_name: String,
    /// The JSON, in gzip.
    pub packed: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    organization_name: &'a str,
    date_range: DateRange,
    contact_info: &'a str,
    report_id: &'a str,
    policies: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct DateRange {
    start_datetime: String,
    end_datetime: String,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Part<'a> {
    policy: Policy<'a>,
    summary: Summary,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failure_details: Vec<Detail<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Policy<'a> {
    policy_type: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    policy_string: &'a [String],
    policy_domain: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    mx_host: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary {
    total_successful_session_count: u64,
    total_failure_session_count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Detail<'a> {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sending_mta_ip: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_hostname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_mx_helo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receiving_ip: Option<&'a str>,
    failed_session_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_information: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason_code: Option<&'a str>,
}

/// Makes the report for a domain about a day.
pub fn make_document(
    configuration: &Configuration,
    domain: &str,
    date: Date,
    day: &DomainDay,
) -> Result<Document> {
    let id = format!("{date}.{domain}@{}", configuration.hostname);
    let bytes = serde_json::to_vec_pretty(&describe(configuration, domain, date, &id, day))
        .context("writing JSON")?;
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&bytes)?;
    let packed = packer.finish()?;
    let start = date
        .to_zoned(jiff::tz::TimeZone::UTC)?
        .timestamp()
        .as_second();
    let end = start + 24 * 3600 - 1;
    Ok(Document {
        file_name: format!("{}!{domain}!{start}!{end}.json.gz", configuration.hostname),
        id,
        packed,
    })
}

fn describe<'a>(
    configuration: &'a Configuration,
    domain: &'a str,
    date: Date,
    id: &'a str,
    day: &'a DomainDay,
) -> Report<'a> {
    Report {
        organization_name: &configuration.domain,
        date_range: DateRange {
            start_datetime: format!("{date}T00:00:00Z"),
            end_datetime: format!("{date}T23:59:59Z"),
        },
        contact_info: &configuration.contact,
        report_id: id,
        policies: day
            .policies
            .iter()
            .map(|policy| part(domain, policy))
            .collect(),
    }
}

fn part<'a>(domain: &'a str, day: &'a PolicyDay) -> Part<'a> {
    Part {
        policy: Policy {
            policy_type: policy_type(day.policy.kind),
            policy_string: &day.policy.texts,
            policy_domain: day.policy.domain.as_deref().unwrap_or(domain),
            mx_host: &day.policy.patterns,
        },
        summary: Summary {
            total_successful_session_count: day.successes,
            total_failure_session_count: day.failures,
        },
        failure_details: day
            .details
            .iter()
            .map(|(failure, count)| detail(failure, *count))
            .collect(),
    }
}

fn detail(failure: &Failure, count: u64) -> Detail<'_> {
    Detail {
        result_type: result_type(failure.code),
        sending_mta_ip: failure.sender.as_deref(),
        receiving_mx_hostname: failure.server.as_deref(),
        receiving_mx_helo: failure.greeting.as_deref(),
        receiving_ip: failure.address.as_deref(),
        failed_session_count: count,
        additional_information: failure.more.as_deref(),
        failure_reason_code: failure.reason.as_deref(),
    }
}

/// `tlsrpt_policy_type_t` of tlsrpt.h.
fn policy_type(number: u16) -> &'static str {
    match number {
        1 => "tlsa",
        2 => "sts",
        _ => "no-policy-found",
    }
}

/// `tlsrpt_failure_t` of tlsrpt.h, in the words of section 4.3.
fn result_type(number: u16) -> &'static str {
    match number {
        201 => "starttls-not-supported",
        202 => "certificate-host-mismatch",
        203 => "certificate-not-trusted",
        204 => "certificate-expired",
        301 => "sts-policy-fetch-error",
        302 => "sts-policy-invalid",
        303 => "sts-webpki-invalid",
        304 => "tlsa-invalid",
        305 => "dnssec-invalid",
        306 => "dane-required",
        _ => "validation-failure",
    }
}

#[cfg(test)]
mod tests {
    use super::{describe, make_document};
    use crate::appliance::sts::configuration::Configuration;
    use crate::appliance::sts::report::day::{Day, date_of};
    use crate::appliance::sts::report::event::parse_event;
    use std::io::Read;

    #[test]
    fn it_has_the_shape_of_the_example_of_the_rfc() {
        let policy = r#""policy-type":2,"policy-domain":"company-y.example",
            "policy-string":["version: STSv1","mode: testing","mx: *.mail.company-y.example","max_age: 86400"],
            "mx-host":["*.mail.company-y.example"]"#;
        let mut day = Day::default();
        for (end, times) in [
            (r#""f":0"#, 5),
            (
                r#""failure-details":[{"c":204,"s":"2001:db8:abcd:0012::1","n":"mx1.mail.company-y.example"}],"f":1"#,
                2,
            ),
            (
                r#""failure-details":[{"c":201,"s":"2001:db8:abcd:0013::1","n":"mx2.mail.company-y.example","r":"203.0.113.56","a":"https://reports.company-x.example/report_info?id=5065427c23d3"}],"f":1"#,
                1,
            ),
            (
                r#""failure-details":[{"c":205,"f":"X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED","h":"mx"}],"f":1"#,
                1,
            ),
        ] {
            let text =
                format!(r#"{{"d":"company-y.example","pr":"","policies":[{{{policy},{end}}}]}}"#);
            for _ in 0..times {
                day.count(parse_event(text.as_bytes()).unwrap());
            }
        }
        let configuration = Configuration {
            dnssec: true,
            hostname: "mail.company-x.example".to_owned(),
            domain: "company-x.example".to_owned(),
            contact: "sts-reporting@company-x.example".to_owned(),
        };
        let date = date_of(1_459_468_800);
        let domain = &day.domains["company-y.example"];
        let report = describe(&configuration, "company-y.example", date, "id", domain);
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
        {
          "organization-name": "company-x.example",
          "date-range": {
            "start-datetime": "2016-04-01T00:00:00Z",
            "end-datetime": "2016-04-01T23:59:59Z"
          },
          "contact-info": "sts-reporting@company-x.example",
          "report-id": "id",
          "policies": [
            {
              "policy": {
                "policy-type": "sts",
                "policy-string": [
                  "version: STSv1",
                  "mode: testing",
                  "mx: *.mail.company-y.example",
                  "max_age: 86400"
                ],
                "policy-domain": "company-y.example",
                "mx-host": [
                  "*.mail.company-y.example"
                ]
              },
              "summary": {
                "total-successful-session-count": 5,
                "total-failure-session-count": 4
              },
              "failure-details": [
                {
                  "result-type": "certificate-expired",
                  "sending-mta-ip": "2001:db8:abcd:0012::1",
                  "receiving-mx-hostname": "mx1.mail.company-y.example",
                  "failed-session-count": 2
                },
                {
                  "result-type": "starttls-not-supported",
                  "sending-mta-ip": "2001:db8:abcd:0013::1",
                  "receiving-mx-hostname": "mx2.mail.company-y.example",
                  "receiving-ip": "203.0.113.56",
                  "failed-session-count": 1,
                  "additional-information": "https://reports.company-x.example/report_info?id=5065427c23d3"
                },
                {
                  "result-type": "validation-failure",
                  "receiving-mx-helo": "mx",
                  "failed-session-count": 1,
                  "failure-reason-code": "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"
                }
              ]
            }
          ]
        }
        "#);
        let document = make_document(&configuration, "company-y.example", date, domain).unwrap();
        assert_eq!(
            document.file_name,
            "mail.company-x.example!company-y.example!1459468800!1459555199.json.gz"
        );
        assert_eq!(
            document.id,
            "2016-04-01.company-y.example@mail.company-x.example"
        );
        let mut text = String::new();
        flate2::read::GzDecoder::new(&document.packed[..])
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.contains("\"policy-type\": \"sts\""));
    }
}
