//! Messages that the crate `mail-auth` signed, and what becomes of messages as a whole.

use super::body::{Bodies, BodyStream};
use super::headers::Headers;
use super::judge::{Decision, Incoming, Rules, decide};
use super::organisation::Organisations;
use super::{arc, compared, dkim};
use crate::appliance::filter::lookup::{Family, Lookup, NoAnswer};
use crate::appliance::filter::spf::{Spf, Verdict};
use mail_auth::common::crypto::{Ed25519Key, RsaKey, Sha256, SigningKey};
use mail_auth::common::headers::HeaderWriter;
use mail_auth::dkim::{Canonicalization, DkimSigner};
use proptest::prelude::{any, prop};
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::Instant;

/// Names below this one are never answered.
const FAILING: &str = "fails.example";
/// Names below this one are asked for in vain.
const SILENT: &str = "silent.example";
/// When messages are judged here.
pub const NOW: u64 = 1_800_000_000;

/// Later than any test ends.
pub fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// TXT records by name.
#[derive(Default)]
pub struct Records(HashMap<String, Vec<u8>>);

impl Records {
    /// With one more.
    pub fn add(mut self, name: &str, text: &str) -> Self {
        self.0.insert(name.to_owned(), text.into());
        self
    }
}

impl Lookup for Records {
    async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, NoAnswer> {
        if name.ends_with(FAILING) {
            return Err(NoAnswer);
        }
        if name.ends_with(SILENT) {
            return std::future::pending().await;
        }
        Ok(self.0.get(name).cloned().into_iter().collect())
    }

    async fn addresses(&self, name: &str, _: Family) -> Result<Vec<IpAddr>, NoAnswer> {
        let found = name.starts_with("there.").then(|| [192, 0, 2, 1].into());
        Ok(found.into_iter().collect())
    }

    async fn exchanges(&self, _: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(Vec::new())
    }

    async fn names(&self, _: IpAddr) -> Result<Vec<String>, NoAnswer> {
        Ok(Vec::new())
    }
}

/// A message as Postfix hands it over: headers folded with LF, a body in pieces. The last is the
/// value of From.
pub fn received(message: &[u8]) -> (Headers, Bodies, Vec<u8>) {
    let end = message.windows(4).position(|part| part == b"\r\n\r\n");
    let (head, body) = message.split_at(end.unwrap());
    let mut headers = Headers::default();
    let mut from = Vec::new();
    let mut header: Vec<u8> = Vec::new();
    let mut lines = lines(head).into_iter().peekable();
    while let Some(line) = lines.next() {
        header.extend_from_slice(line);
        if lines
            .peek()
            .is_some_and(|next| next.starts_with(b" ") || next.starts_with(b"\t"))
        {
            header.push(b'\n');
            continue;
        }
        let colon = header.iter().position(|byte| *byte == b':').unwrap();
        let (name, value) = (&header[..colon], &header[colon + 1..]);
        if name.eq_ignore_ascii_case(b"from") {
            from = value.to_vec();
        }
        headers.push(name, value);
        header.clear();
    }
    let mut stream = BodyStream::default();
    for piece in body[4..].chunks(7) {
        stream.update(&headers, piece);
    }
    let bodies = stream.finish(&headers);
    (headers, bodies, from)
}

/// The lines between CR LF; a lone CR ends none.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let ends = head
        .windows(2)
        .enumerate()
        .filter(|(_, two)| two == b"\r\n");
    let mut start = 0;
    let mut found = Vec::new();
    for (end, _) in ends {
        found.push(&head[start..end]);
        start = end + 2;
    }
    found.push(&head[start..]);
    found
}

async fn words(records: &Records, message: &str) -> (Vec<&'static str>, &'static str) {
    let (headers, bodies, _) = received(message.as_bytes());
    let signed = dkim::check(records, &headers, &bodies, NOW, deadline()).await;
    let chain = arc::check(records, &headers, &bodies, NOW).await;
    let signed = signed.iter().map(|signed| signed.verdict.word());
    (signed.collect(), chain.verdict.word())
}

fn signed_by(key: impl SigningKey, headers: Canonicalization, body: Canonicalization) -> String {
    let message = "From: Anna <anna@a.example>\r\nSubject: a  b\r\n\tc \r\n\r\nOne  two \r\n\r\n";
    let signature = DkimSigner::from_key(key)
        .domain("a.example")
        .selector("s")
        .headers(["From", "Subject", "To"])
        .header_canonicalization(headers)
        .body_canonicalization(body)
        .sign(message.as_bytes())
        .unwrap();
    format!("{}{message}", signature.to_header())
}

#[tokio::test]
async fn what_the_crate_signs() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let rsa = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
    let public = rsa.to_public_key().to_public_key_der().unwrap();
    let rsa_record = format!("v=DKIM1; p={}", STANDARD.encode(public.as_bytes()));
    let rsa = rsa.to_pkcs8_der().unwrap();
    let ed25519 = Ed25519Key::generate_pkcs8().unwrap();
    let public = Ed25519Key::from_pkcs8_der(&ed25519).unwrap().public_key();
    let ed25519_record = format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(public));
    use Canonicalization::{Relaxed, Simple};
    for (headers, body) in [
        (Relaxed, Relaxed),
        (Relaxed, Simple),
        (Simple, Relaxed),
        (Simple, Simple),
    ] {
        let der = rustls::pki_types::PrivatePkcs8KeyDer::from(rsa.as_bytes());
        let key = RsaKey::<Sha256>::from_key_der(der.into()).unwrap();
        let by_rsa = signed_by(key, headers, body);
        let key = Ed25519Key::from_pkcs8_der(&ed25519).unwrap();
        let by_ed25519 = signed_by(key, headers, body);
        for (message, record) in [(by_rsa, &rsa_record), (by_ed25519, &ed25519_record)] {
            let records = Records::default().add("s._domainkey.a.example", record);
            assert_eq!(words(&records, &message).await, (vec!["pass"], "none"));
            for (part, other) in [
                ("Anna", "Berta"),
                ("One", "Two"),
                ("Subject: ", "To: b@c.example\r\nSubject: "),
                ("From: ", "From: b@c.example\r\nFrom: "),
            ] {
                let (signed, _) = words(&records, &message.replace(part, other)).await;
                // What is signed is the lowest of a name.
                let expected = if part == "From: " { "pass" } else { "fail" };
                assert_eq!(signed, [expected], "{part} {headers:?} {body:?}");
            }
            let none = words(&Records::default(), &message).await;
            assert_eq!(none.0, ["permerror"]);
        }
    }
}

const SUFFIXES: &str = "example\n";

/// What becomes of a message from 192.0.2.1 and this sender, of which SPF says this.
async fn decided(records: &Records, message: &str, spf: Verdict, trusted: &[&str]) -> Decision {
    decided_by(deadline(), records, message, spf, trusted).await
}

/// The same when answers are waited for until then.
async fn decided_by(
    deadline: Instant,
    records: &Records,
    message: &str,
    spf: Verdict,
    trusted: &[&str],
) -> Decision {
    let (headers, bodies, from) = received(message.as_bytes());
    let trusted: Vec<String> = trusted.iter().map(|name| (*name).to_owned()).collect();
    let rules = Rules {
        hostname: "mx.example",
        trusted: &trusted,
        served: &["ours.example".to_owned()],
        organisations: &Organisations::parse(SUFFIXES).unwrap(),
        deadline,
    };
    let incoming = Incoming {
        from: &from,
        headers: &headers,
        bodies,
        iprev: None,
    };
    let spf = async {
        Some(Spf {
            verdict: spf,
            property: "smtp.mailfrom",
            domain: Some("sender.example".to_owned()),
            explanation: None,
        })
    };
    decide(records, &rules, incoming, spf).await
}

fn policies() -> Records {
    let texts = |name: &str| format!("_dmarc.{name}");
    Records::default()
        .add(&texts("reject.example"), "v=DMARC1; p=reject; np=none")
        .add(&texts("quarantine.example"), "v=DMARC1; p=quarantine")
        .add(&texts("sender.example"), "v=DMARC1; p=reject")
        .add(&texts("none.example"), "v=DMARC1; p=none")
        .add(&texts("pct.example"), "v=DMARC1; p=reject; pct=0")
        .add(&texts("a.example"), "v=DMARC1; p=reject")
}

#[tokio::test]
async fn what_a_from_header_comes_to() {
    for (from, expected) in [
        ("a@reject.example", "550 5.7.1 reject.example wants"),
        (
            "a@there.reject.example",
            "550 5.7.1 there.reject.example wants",
        ),
        ("a@not.reject.example", "dmarc=fail (p=none dis=none)"),
        (
            "a@quarantine.example",
            "dmarc=fail (p=quarantine dis=quarantine) header.from=quarantine.example \
             policy.dmarc=quarantine",
        ),
        ("a@pct.example", "dmarc=fail (p=reject dis=quarantine)"),
        ("a@none.example", "dmarc=fail (p=none dis=none)"),
        (
            "a@sender.example",
            "dmarc=pass (p=reject dis=none) header.from=sender.example policy.dmarc=none",
        ),
        ("a@news.sender.example", "dmarc=pass (p=reject dis=none)"),
        (
            "a@unknown.example",
            "dmarc=none header.from=unknown.example",
        ),
        (
            "a@fails.example",
            "451 4.7.1 The DMARC policy of fails.example cannot be looked up now",
        ),
        // Of this machine: its users log in, and what others write in its name is filed away.
        (
            "a@ours.example",
            "dmarc=fail (p=none dis=quarantine) header.from=ours.example",
        ),
        // Each is judged, the strictest decides.
        (
            "a@sender.example, b@reject.example",
            "550 5.7.1 reject.example",
        ),
        (
            "a@none.example, b@quarantine.example",
            "dmarc=fail (p=quarantine dis=quarantine) header.from=quarantine.example",
        ),
        // Nobody's, and honest.
        ("MAILER-DAEMON", "dmarc=none (no domain in From)"),
        ("<>", "dmarc=none (no domain in From)"),
        ("Team: a@sender.example;", "dmarc=pass"),
        ("Doe, John <a@sender.example>", "dmarc=pass"),
        (
            "\"open <a@sender.example>",
            "550 5.7.1 The From header does not show",
        ),
    ] {
        let message =
            format!("From: {from}\r\nTo: b@c.example\r\nTo: d@e.example\r\n\r\nHello.\r\n");
        let text = match decided(&policies(), &message, Verdict::Pass, &[]).await {
            Decision::Take(value) => {
                let (host, rest) = value.split_once("; ").unwrap();
                assert_eq!(host, "mx.example");
                rest.to_owned()
            }
            Decision::Refuse(reply) => reply,
        };
        assert!(text.starts_with(expected), "{from}: {text}");
    }
}

#[tokio::test]
async fn what_cannot_be_known_waits() {
    let message = "From: a@sender.example\r\n\r\nHello.\r\n";
    let Decision::Refuse(reply) = decided(&policies(), message, Verdict::TempError, &[]).await
    else {
        panic!("taken");
    };
    assert!(reply.starts_with("451 4.7.1 Whether"), "{reply}");
    let Decision::Refuse(reply) = decided(&policies(), message, Verdict::Fail, &[]).await else {
        panic!("taken");
    };
    assert!(reply.starts_with("550 5.7.1 sender.example"), "{reply}");
    assert!(
        reply.ends_with("SPF fail for sender.example, no DKIM signature"),
        "{reply}"
    );
}

/// A name server that is silent is as one that fails, and what others say still counts.
#[tokio::test]
async fn what_nobody_answers() {
    let signature = "DKIM-Signature: v=1; a=rsa-sha256; d=silent.example; s=s; h=from; b=YWJj; \
                     bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; c=relaxed/relaxed\r\n";
    let sets: String = (1..=50)
        .map(|number| {
            let verdict = if number == 1 { "none" } else { "pass" };
            format!(
                "ARC-Seal: i={number}; cv={verdict}; a=rsa-sha256; d=silent.example; s=s; b=YWJj\r\n\
                 ARC-Authentication-Results: i={number}; a.example; none\r\n\
                 ARC-Message-Signature: i={number};{}",
                signature.split_once("v=1;").unwrap().1
            )
        })
        .collect();
    let head = format!("{sets}{}", signature.repeat(10));
    let message = format!("{head}From: a@sender.example\r\n\r\n");
    let soon = || Instant::now() + Duration::from_millis(50);
    let decision = decided_by(soon(), &policies(), &message, Verdict::Pass, &[]).await;
    let Decision::Take(value) = decision else {
        panic!("{decision:?}");
    };
    assert!(value.starts_with("mx.example; dmarc=pass"), "{value}");
    assert_eq!(value.matches("dkim=temperror").count(), 10, "{value}");
    assert!(
        value.ends_with("arc=fail (no answer about a key)"),
        "{value}"
    );
    let message = message.replace("From: a@sender", "From: a@silent");
    let decision = decided_by(soon(), &policies(), &message, Verdict::Pass, &[]).await;
    assert!(matches!(decision, Decision::Refuse(reply) if reply.starts_with("451 4.7.1")));
}

#[tokio::test]
async fn a_list_that_is_trusted_may_change_the_subject() {
    let table = compared::read();
    let records = compared::keys(&table, policies());
    let messages = table["messages"].as_array().unwrap();
    let named = |name: &str| {
        let mut found = messages.iter().filter(|message| message["name"] == name);
        String::from_utf8(compared::message(found.next().unwrap())).unwrap()
    };
    let listed = named("a list that changes the subject");
    let refused = decided(&records, &listed, Verdict::Pass, &[]).await;
    assert!(matches!(refused, Decision::Refuse(reply) if reply.starts_with("550 5.7.1 a.example")));
    let taken = decided(&records, &listed, Verdict::Pass, &["lists.example"]).await;
    let Decision::Take(value) = taken else {
        panic!("{taken:?}");
    };
    assert!(
        value.starts_with("mx.example; dmarc=fail (p=reject dis=none arc=lists.example)"),
        "{value}"
    );
    assert!(
        value.ends_with(";\n arc=pass (i=1 lists.example)"),
        "{value}"
    );
    let altered = named("one seal, then a subject");
    let refused = decided(&records, &altered, Verdict::Pass, &["lists.example"]).await;
    assert!(matches!(refused, Decision::Refuse(_)));
}

/// What ended or fooled other judges.
#[tokio::test]
async fn hostile_headers_are_judged() {
    let many = "a=b; ".repeat(4000);
    let properties = " smtp.mailfrom=x.example".repeat(1000);
    let long = format!("Authentication-Results: mx.example; {many}spf=pass{properties}");
    let sets = "ARC-Seal:\r\nARC-Message-Signature:\r\nARC-Authentication-Results:\r\n".repeat(60);
    for headers in [
        "ARC-Authentication-Results:\r\nARC-Seal:".to_owned(),
        "ARC-Authentication-Results: i=1\r\nARC-Seal: i=1; cv=none\r\nARC-Message-Signature: i=1"
            .to_owned(),
        sets.trim_end().to_owned(),
        long,
        "DKIM-Signature:\r\nDKIM-Signature: v=1; b=; bh=; h=from; d=a.example; s=s; a=rsa-sha256"
            .to_owned(),
        format!("DKIM-Signature: v=1; h={}", "from:".repeat(10_000)),
    ] {
        let message = format!("{headers}\r\nFrom: a@reject.example\r\n\r\nHello.\r\n");
        let decision = decided(&policies(), &message, Verdict::Pass, &[]).await;
        let refused = matches!(&decision, Decision::Refuse(reply) if reply.starts_with("550 5.7.1 reject.example"));
        assert!(refused, "{decision:?}");
    }
    let message = format!(
        "From: a@b.example\r\n{}\r\nHello.\r\n",
        "X: y\r\n".repeat(3000)
    );
    let decision = decided(&policies(), &message, Verdict::Pass, &[]).await;
    assert!(matches!(decision, Decision::Refuse(reply) if reply.starts_with("552 5.3.4")));
}

proptest::proptest! {
    /// Whatever the headers are, the message is judged.
    #[test]
    fn any_headers(
        values in prop::collection::vec(("[a-z]{1,3}=[a-z0-9:;=./ ]{0,30}", any::<u8>()), 0..12),
        tags in "(i|a|b|bh|c|cv|d|h|l|q|s|t|v|x)?(=|;| |1|none|pass|rsa-sha256|ed25519-sha256|from|a\\.example|YWJj|relaxed|@){0,40}",
    ) {
        const NAMES: [&str; 5] = [
            "DKIM-Signature",
            "ARC-Seal",
            "ARC-Message-Signature",
            "ARC-Authentication-Results",
            "Authentication-Results",
        ];
        let mut message = String::new();
        for (value, name) in &values {
            let name = NAMES[usize::from(*name) % NAMES.len()];
            message.push_str(&format!("{name}: {value};{tags}\r\n"));
        }
        message.push_str("From: a@reject.example\r\n\r\nHello.\r\n");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let decision = runtime.block_on(decided(&policies(), &message, Verdict::Pass, &[]));
        proptest::prop_assert!(matches!(decision, Decision::Refuse(_)));
    }
}
