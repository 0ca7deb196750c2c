//! A report as mail.
//!
//! RFC 8460, section 5.3 (<https://www.rfc-editor.org/rfc/rfc8460#section-5.3>).
//! The sender lies in our first domain, so that OpenDKIM signs it with a key
//! that aligns: readers drop reports without one.

use super::document::Document;
use crate::appliance::sts::configuration::Configuration;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Local part that the RFC proposes, with an address that takes no answers.
const SENDER: &str = "noreply-smtp-tls-reporting";
/// Longest line of base64 (RFC 2045, section 6.8).
const BASE64_LINE_BYTES: usize = 76;

/// Writes the message, with CR LF and without the dot at its end.
pub fn write_message(
    configuration: &Configuration,
    domain: &str,
    recipient: &str,
    document: &Document,
    now: Timestamp,
) -> String {
    let Configuration {
        hostname,
        domain: own,
        contact,
        ..
    } = configuration;
    let date = now.to_zoned(TimeZone::UTC);
    let date = date.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let boundary = format!("=_report_{}", now.as_second());
    let (id, file_name) = (&document.id, &document.file_name);
    let encoded = STANDARD.encode(&document.packed);
    let body: Vec<&str> = (0..encoded.len())
        .step_by(BASE64_LINE_BYTES)
        .map(|start| &encoded[start..encoded.len().min(start + BASE64_LINE_BYTES)])
        .collect();
    let lines = [
        format!("From: <{SENDER}@{own}>"),
        format!("To: <{recipient}>"),
        format!("Date: {date}"),
        format!("Message-ID: <{id}>"),
        format!("Subject: Report Domain: {domain}"),
        format!(" Submitter: {own}"),
        format!(" Report-ID: <{id}>"),
        format!("TLS-Report-Domain: {domain}"),
        format!("TLS-Report-Submitter: {own}"),
        // RFC 8689: arrives even if TLS is what is broken.
        "TLS-Required: No".to_owned(),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: multipart/report; report-type=\"tlsrpt\";".to_owned(),
        format!(" boundary=\"{boundary}\""),
        String::new(),
        format!("--{boundary}"),
        "Content-Type: text/plain; charset=us-ascii".to_owned(),
        String::new(),
        format!("How TLS fared with mail from {hostname}"),
        format!("to {domain}, as its record _smtp._tls asks for (RFC 8460)."),
        format!("Questions: {contact}"),
        String::new(),
        format!("--{boundary}"),
        "Content-Type: application/tlsrpt+gzip".to_owned(),
        "Content-Transfer-Encoding: base64".to_owned(),
        "Content-Disposition: attachment;".to_owned(),
        format!(" filename=\"{file_name}\""),
        String::new(),
        body.join("\r\n"),
        format!("--{boundary}--"),
        String::new(),
    ];
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::write_message;
    use crate::appliance::sts::configuration::Configuration;
    use crate::appliance::sts::report::document::Document;
    use jiff::Timestamp;

    #[test]
    fn it_is_what_the_rfc_wants() {
        let configuration = Configuration {
            dnssec: true,
            hostname: "mail.sndr.example".to_owned(),
            domain: "sndr.example".to_owned(),
            contact: "postmaster@sndr.example".to_owned(),
        };
        let document = Document {
            id: "2026-11-22.example.net@mail.sndr.example".to_owned(),
            file_name: "mail.sndr.example!example.net!1!2.json.gz".to_owned(),
            packed: vec![0; 60],
        };
        let now = Timestamp::from_second(1_795_354_663).unwrap();
        let text = write_message(
            &configuration,
            "example.net",
            "r@example.net",
            &document,
            now,
        );
        assert!(text.lines().all(|line| line.len() < 200));
        assert_eq!(text.replace("\r\n", "").find('\n'), None);
        insta::assert_snapshot!(text.replace('\r', ""), @r#"
        From: <noreply-smtp-tls-reporting@sndr.example>
        To: <r@example.net>
        Date: Sun, 22 Nov 2026 13:37:43 +0000
        Message-ID: <2026-11-22.example.net@mail.sndr.example>
        Subject: Report Domain: example.net
         Submitter: sndr.example
         Report-ID: <2026-11-22.example.net@mail.sndr.example>
        TLS-Report-Domain: example.net
        TLS-Report-Submitter: sndr.example
        TLS-Required: No
        Auto-Submitted: auto-generated
        MIME-Version: 1.0
        Content-Type: multipart/report; report-type="tlsrpt";
         boundary="=_report_1795354663"

        --=_report_1795354663
        Content-Type: text/plain; charset=us-ascii

        How TLS fared with mail from mail.sndr.example
        to example.net, as its record _smtp._tls asks for (RFC 8460).
        Questions: postmaster@sndr.example

        --=_report_1795354663
        Content-Type: application/tlsrpt+gzip
        Content-Transfer-Encoding: base64
        Content-Disposition: attachment;
         filename="mail.sndr.example!example.net!1!2.json.gz"

        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
        AAAA
        --=_report_1795354663--
        "#);
    }
}
