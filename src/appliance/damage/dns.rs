//! Answers of name servers, and what records of others are read for.

use super::{LONGEST_WORK, Target, is_plain, processor_time, texts, try_all};
use crate::appliance::dns::data::Data;
use crate::appliance::dns::facts::Issuer;
use crate::appliance::dns::policy::text::{Found, Kind};
use crate::appliance::dns::policy::{
    dkim, dmarc, issue, reports, spf, spf_repair, spf_term, tags::Tags,
};
use crate::appliance::wire::dns::message::{Packet, Question, accept, text_of};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::rdata::{A, CAA, CNAME, MX, NULL, SRV, TLSA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

const KINDS: [Kind; 5] = [
    Kind::Spf,
    Kind::Key,
    Kind::Dmarc,
    Kind::Sts,
    Kind::TlsReports,
];

const TARGETS: &[Target] = &[
    Target {
        name: "answers of name servers",
        seeds: answers,
        words: &["\u{c0}\x0c", "issue", "letsencrypt.org", "\x1b[2J"],
        start: || Box::new(read_answer()),
    },
    Target {
        name: "records of others that are to be completed",
        seeds: || {
            texts(&[
                "v=spf1 include:_spf.b.example ip4:192.0.2.0/24 mx ~all",
                "\"v=spf1 a -all\" \"v=DMARC1; p=none; rua=mailto:a@b.example\"",
                "_dmarc IN TXT ( \"v=DMARC1; p=reject;\" \"rua=mailto:a@b.example!5m,https://c.example\" )",
                "v=DKIM1; k=rsa; h=sha256; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQ",
                "letsencrypt.org; accounturi=https://a.example/1; validationmethods=dns-01,http-01",
                "v=TLSRPTv1; rua=mailto:a@b.example",
            ])
        },
        words: &[
            "v=spf1", "v=DMARC1", "\"", "\\", "TXT", " IN ", "(", ")", ";", "=", "\u{201c}",
            "\u{a0}",
        ],
        start: || Box::new(complete),
    },
];

#[test]
fn answers_of_strangers() {
    try_all(TARGETS);
}

/// For a record of 60 KiB of blanks, or of redirects, `mailctl dns check` took the square of
/// its length: minutes here.
#[test]
fn long_records_are_read_at_once() {
    for text in [
        format!(
            "v=DMARC1; p=none{}rua=mailto:a@b.example",
            " ".repeat(60_000)
        ),
        format!("v=DMARC1; p=none{}", " p".repeat(30_000)),
        format!("v=spf1{} -all", " redirect=a".repeat(5_500)),
        format!("v=spf1{} -all", " x=a".repeat(15_000)),
    ] {
        let before = processor_time();
        complete(text.as_bytes());
        let spent = processor_time() - before;
        let shown = &text[..20];
        assert!(spent < LONGEST_WORK, "{shown}...: {spent:?}");
    }
}

fn question() -> Packet {
    Question::new("a.example", RecordType::ANY)
        .unwrap()
        .packet(true)
        .unwrap()
}

fn answers() -> Vec<Vec<u8>> {
    let name = |text: &str| Name::from_ascii(text).unwrap();
    let mut caa = CAA::new_issue(true, None, Vec::new());
    caa.value = b"letsencrypt.org; accounturi=https://a.example/1".to_vec();
    let all = [
        RData::A(A([192, 0, 2, 1].into())),
        RData::CNAME(CNAME(name("b.example."))),
        RData::MX(MX::new(10, name("mx.a.example."))),
        RData::TXT(TXT::new(vec!["v=spf1 ".to_owned(), "mx -all".to_owned()])),
        RData::SRV(SRV::new(0, 1, 993, name("mail.a.example."))),
        RData::TLSA(TLSA::new(
            CertUsage::DaneEe,
            Selector::Spki,
            Matching::Sha256,
            vec![7; 32],
        )),
        RData::CAA(caa),
        RData::NULL(NULL::with(vec![1, 2, 3])),
    ];
    let written = |records: &[RData]| {
        let sent = Message::from_vec(question().bytes()).unwrap();
        let mut answer = Message::response(sent.metadata.id, sent.metadata.op_code);
        answer.add_query(Query::query(name("a.example."), RecordType::ANY));
        for data in records {
            answer.add_answer(Record::from_rdata(name("a.example."), 60, data.clone()));
        }
        answer.to_vec().unwrap()
    };
    let mut seeds = vec![written(&all)];
    seeds.extend(all.chunks(1).map(written));
    seeds
}

/// The answer to a question of ours; what is shown of it says nothing to a terminal.
fn read_answer() -> impl Fn(&[u8]) {
    let packet = question();
    move |input| {
        let mut bytes = input.to_vec();
        let length = bytes.len().min(2);
        bytes[..length].copy_from_slice(&packet.bytes()[..length]);
        let Some(Ok(answer)) = packet.read_answer(&bytes).map(accept) else {
            return;
        };
        for record in &answer.answers {
            let _ = text_of(&record.data);
            let data = Data::from_wire(&record.data);
            let shown = data.to_string();
            assert!(is_plain(&shown), "{shown:?}");
            let _ = (data.form_value(), data.to_wire());
            for kind in KINDS {
                let _ = Found::among(kind, std::slice::from_ref(&data)).slips();
            }
        }
    }
}

fn complete(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let records: Vec<Data> = text.lines().map(Data::text).collect();
    for kind in KINDS {
        let found = Found::among(kind, &records);
        let _ = found.slips();
        for reading in &found.readings {
            judge(&reading.text);
        }
    }
    judge(&text);
}

fn judge(text: &str) {
    let ours = ["mx".to_owned(), "a:mail.a.example".to_owned()];
    let _ = spf::merged(&ours, &[], &[text]);
    let _ = (
        spf::bad_terms(text),
        spf::ending(text),
        spf_repair::repaired_terms(text),
    );
    for term in spf_term::terms(text) {
        let _ = spf_term::parse_term(term);
    }
    let _ = dmarc::completed("v=DMARC1; p=reject", &[text]);
    let _ = dkim::completed("v=DKIM1; k=rsa; p=AAAA", &[text]);
    let _ = (
        reports::mended(text),
        reports::united(text, "mailto:a@b.example"),
    );
    let _ = Tags::parse(text).repeated();
    let issuer = Issuer {
        domain: "letsencrypt.org".to_owned(),
        account: None,
        methods: vec!["http-01"],
    };
    let _ = issue::judge(&issuer, text);
}
