//! What Postfix hands on of a message, its headers, signatures and the records they lead to.

use super::{Target, is_plain, runtime, texts, try_all};
use crate::appliance::filter::encoded::decode_words;
use crate::appliance::filter::from::judge_from;
use crate::appliance::filter::lines::shorten;
use crate::appliance::filter::lookup::{Family, Lookup, NoAnswer};
use crate::appliance::filter::name_server;
use crate::appliance::filter::protocol::{Replies, parse_command, read_packet};
use crate::appliance::filter::results::{instance, names_host, statements};
use crate::appliance::filter::session::{Session, Step};
use crate::appliance::filter::shared::Shared;
use crate::appliance::filter::spf::{self, Question};
use crate::appliance::filter::tests::machine;
use crate::appliance::filter::verify::body::BodyStream;
use crate::appliance::filter::verify::compared;
use crate::appliance::filter::verify::headers::Headers;
use crate::appliance::filter::verify::judge::{Decision, Incoming, Rules, decide};
use crate::appliance::filter::verify::organisation::Organisations;
use crate::appliance::machine::place::Place;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Between two packets of a session.
const BETWEEN: &[u8] = b"\xff\xff";
/// Every so many of the signed messages is a seed.
const EVERY: usize = 9;
const HEADER_WORDS: &[&str] = &[
    "From:",
    "DKIM-Signature:",
    "ARC-Seal:",
    "ARC-Message-Signature:",
    "ARC-Authentication-Results:",
    "Authentication-Results:",
    "mx.example",
    "i=1;",
    "i=50;",
    "bh=",
    "b=",
    "h=from:",
    "l=",
    "x=",
    "t=",
    "c=relaxed/simple;",
    "=?utf-8?q?",
    "=?utf-8?b?",
    "?=",
    "\r\n\r\n",
    "\r\n ",
    "\n\t",
    "<a@b.example>",
    "Group:",
    "\"",
    "\\",
    "(",
    ")",
    "\u{fc}",
    "multipart/mixed; boundary=a",
    "message/rfc822",
    "\r\n--a\r\n",
    "quoted-printable",
    "base64",
];
const RECORD_WORDS: &[&str] = &[
    "v=spf1",
    " include:",
    " redirect=",
    " exp=",
    " ip4:192.0.2.0/24",
    " ip6:2001:db8::/32",
    " mx",
    " a:%{i}",
    " ptr",
    " exists:%{ir}.%{l1r+-}._spf.%{d2}",
    " -all",
    "%{",
    "%%",
    "%_",
    "//",
    "v=DMARC1;",
    " p=reject;",
    " np=",
    " sp=",
    " pct=",
    " adkim=s;",
    " rua=mailto:",
    "v=DKIM1;",
    " k=ed25519;",
    " k=rsa;",
    " p=MIGf",
    " t=s:y;",
    " h=sha256;",
    " s=email;",
    "\n",
];

const TARGETS: &[Target] = &[
    Target {
        name: "a session of Postfix with the filter",
        seeds: sessions,
        words: &[
            "\u{ff}",
            "DM{auth_authen}\0jens@a.example\0",
            "\0",
            "L",
            "E",
            "sieve",
        ],
        start: || Box::new(in_session()),
    },
    Target {
        name: "packets of the filter's protocol",
        seeds: packets,
        words: &["\0\0\0\x01E", "\0\0\0\x05", "IPv6:"],
        start: || Box::new(read_packets),
    },
    Target {
        name: "a signed message",
        seeds: messages,
        words: HEADER_WORDS,
        start: || Box::new(judge_message()),
    },
    Target {
        name: "the value of a header",
        seeds: values,
        words: HEADER_WORDS,
        start: || Box::new(read_value),
    },
    Target {
        name: "a user's body",
        seeds: bodies,
        words: HEADER_WORDS,
        start: || Box::new(shorten_body),
    },
    Target {
        name: "SPF, DMARC and DKIM records",
        seeds: records,
        words: RECORD_WORDS,
        start: || Box::new(judge_by_records()),
    },
];

#[test]
fn mail_of_strangers() {
    try_all(TARGETS);
}

fn session(packets: &[&[u8]]) -> Vec<u8> {
    packets.join(BETWEEN)
}

fn sessions() -> Vec<Vec<u8>> {
    let connect: [&[u8]; 3] = [
        b"DC{client_name}\0client.example\0{client_resolve}\0OK\0",
        b"Cclient.example\x004\x10\x10192.0.2.1\0",
        b"Hclient.example\0",
    ];
    let stranger: [&[u8]; 7] = [
        b"M<a@b.example>\0SIZE=9\0",
        b"R<jens@a.example>\0",
        b"T",
        b"LFrom\0 Somebody <a@b.example>\0",
        b"LAuthentication-Results\0 mx.example (x) 1;\n dmarc=pass\0",
        b"BHello.\r\n",
        b"E",
    ];
    let user: [&[u8]; 8] = [
        b"DM{auth_authen}\0jens@a.example\0",
        b"M<jens@a.example>\0",
        b"R<a@b.example>\0",
        b"T",
        b"LFrom\0 =?utf-8?q?J=C3=A9?= <jens@a.example>\0",
        b"LContent-Type\0 multipart/mixed; boundary=\"a\"\0",
        b"B--a\r\nContent-Type: text/plain\r\n\r\nHello.\r\n--a--\r\n",
        b"E",
    ];
    vec![
        session(&[&connect[..], &stranger].concat()),
        session(&[&connect[..], &user].concat()),
        session(&[&connect[..], &stranger, &[b"A"], &user, &[b"Q"]].concat()),
    ]
}

/// All that the filter does; what it answers keeps to the protocol.
fn in_session() -> impl Fn(&[u8]) {
    let runtime = runtime();
    let folder = machine(Some(100));
    let place = Place::new(Some(folder.path()));
    let records = [
        ("b.example", "v=spf1 ip4:192.0.2.1 -all"),
        ("_dmarc.b.example", "v=DMARC1; p=none"),
    ];
    let server = runtime.block_on(name_server::start(&records));
    let shared = Rc::new(Shared::new(&place, server).unwrap());
    move |input| {
        let _ = &folder;
        let offer = [6, 0x1ff, 0x1f_ffff_u32].map(u32::to_be_bytes);
        let offer = [b"O", offer.as_flattened()].concat();
        let mut session = Session::new(shared.clone()).unwrap();
        let mut packets = vec![offer.as_slice()];
        let mut rest = input;
        while let Some(end) = rest.windows(2).position(|two| two == BETWEEN) {
            packets.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        packets.push(rest);
        let all = LocalSet::new();
        all.block_on(&runtime, async {
            for packet in packets {
                let Ok(command) = parse_command(packet) else {
                    return;
                };
                match session.take(command).await {
                    Ok(Step::Answer(replies) | Step::Rewrite(_, replies)) => check(&replies),
                    Ok(Step::Silent) => {}
                    Ok(Step::Close) | Err(_) => return,
                }
            }
        });
    }
}

/// Whether replies are whole, and no header or refusal is more than one.
fn check(replies: &Replies) {
    let mut rest = replies.0.as_slice();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (packet, after) = after.split_at(u32::from_be_bytes(*length) as usize);
        match packet[0] {
            b'y' => {
                let text = str::from_utf8(packet[1..].strip_suffix(b"\0").unwrap()).unwrap();
                assert!(text.starts_with(['4', '5']) && is_plain(text), "{text:?}");
                assert!(text.len() < 900, "{text:?}");
            }
            b'i' => {
                let fields: Vec<&[u8]> = packet[5..].split(|byte| *byte == 0).collect();
                assert_eq!(fields.len(), 3, "{fields:?}");
                for line in str::from_utf8(fields[1]).unwrap().split("\n") {
                    assert!(line.starts_with([' ', '\t']), "{line:?}");
                    assert!(is_plain(line.trim_start_matches('\t')), "{line:?}");
                }
            }
            b'm' | b'e' | b'c' | b't' | b'O' => {}
            other => panic!("reply {other}"),
        }
        rest = after;
    }
    assert!(rest.is_empty());
}

fn packets() -> Vec<Vec<u8>> {
    let framed = |packets: Vec<u8>| -> Vec<u8> {
        let parts = packets
            .split(|byte| *byte == 0xff)
            .filter(|part| !part.is_empty());
        parts
            .flat_map(|part| [&(part.len() as u32).to_be_bytes(), part].concat())
            .collect()
    };
    sessions().into_iter().map(framed).collect()
}

fn read_packets(input: &[u8]) {
    runtime().block_on(async {
        let mut reader = input;
        let mut packet = Vec::new();
        while let Ok(true) = read_packet(&mut reader, &mut packet).await {
            let _ = parse_command(&packet);
        }
    });
}

fn messages() -> Vec<Vec<u8>> {
    let table = compared::read();
    let rows = table["messages"].as_array().unwrap();
    rows.iter().step_by(EVERY).map(compared::message).collect()
}

/// Headers by their lines, and a body in pieces.
fn received(input: &[u8]) -> (Headers, BodyStream, Vec<u8>) {
    let end = input.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = input.split_at(end.unwrap_or(input.len()));
    let mut fields: Vec<Vec<u8>> = Vec::new();
    for line in head.split(|byte| *byte == b'\n') {
        match fields.last_mut() {
            Some(field) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                field.push(b'\n');
                field.extend(line);
            }
            _ => fields.push(line.to_vec()),
        }
    }
    let mut headers = Headers::default();
    let mut from = Vec::new();
    for field in &fields {
        let colon = field.iter().position(|byte| *byte == b':');
        let (name, value) = field.split_at(colon.unwrap_or(0));
        let value = value.get(1..).unwrap_or_default();
        if name.eq_ignore_ascii_case(b"from") {
            from = value.to_vec();
        }
        headers.push(name, value);
    }
    let mut stream = BodyStream::default();
    for piece in body.get(4..).unwrap_or_default().chunks(1000) {
        stream.update(&headers, piece);
    }
    (headers, stream, from)
}

/// Judges a message, and looks whether the verdict is one header.
async fn judge(lookup: &impl Lookup, organisations: &Organisations, input: &[u8]) {
    let (headers, stream, from) = received(input);
    let rules = Rules {
        hostname: "mx.example",
        trusted: &["a.example".to_owned()],
        served: &["ours.example".to_owned()],
        organisations,
        deadline: Instant::now() + Duration::from_secs(60),
    };
    let incoming = Incoming {
        from: &from,
        headers: &headers,
        bodies: stream.finish(&headers),
        iprev: None,
    };
    let text = match decide(lookup, &rules, incoming, async { None }).await {
        Decision::Take(text) => text.replace("\n ", ""),
        Decision::Refuse(text) => text.chars().filter(char::is_ascii).collect(),
    };
    let shown = text.strip_suffix('\n').unwrap_or(&text);
    assert!(
        is_plain(shown) || shown.starts_with('5') || shown.starts_with('4'),
        "{text:?}"
    );
}

fn judge_message() -> impl Fn(&[u8]) {
    let table = compared::read();
    let records = compared::keys(&table, Default::default())
        .add("_dmarc.a.example", "v=DMARC1; p=reject")
        .add("_dmarc.b.example", "v=DMARC1; p=quarantine; pct=50");
    let organisations = Organisations::parse("example\n").unwrap();
    let runtime = runtime();
    move |input| runtime.block_on(judge(&records, &organisations, input))
}

fn values() -> Vec<Vec<u8>> {
    texts(&[
        " Somebody <a@b.example>",
        " \"Doe, John\" <a@b.example>, Team: c@d.example, <@x,@y:e@f.example>;",
        " =?utf-8?q?J=C3=A9?= =?iso-8859-1?b?6Q==?= (a (nested) comment) <j@a.example>",
        " mx.example; dmarc=pass (p=none dis=none) header.from=b.example;\r\n\tspf=pass \
         smtp.mailfrom=\"a b\"@b.example; dkim=pass header.d=b.example header.i=@b.example",
        " i=1; mx.example 1; arc=none",
    ])
}

fn read_value(input: &[u8]) {
    let _ = judge_from(input, |address| address == "j@a.example");
    if let Err(refusal) = judge_from(input, |_| false) {
        let _ = refusal.reply("j@a.example");
    }
    let _ = names_host(input, "mx.example");
    let _ = instance(input);
    let _ = statements(input);
    let _ = decode_words(input);
}

fn bodies() -> Vec<Vec<u8>> {
    let long = "x=\u{e9}".repeat(400);
    let parts = format!(
        "multipart/mixed; boundary=a\n\nbefore\r\n--a\r\nContent-Type: text/plain\r\n\r\n{long}\r\n\
         --a\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\n{long}\r\n--a--\r\nbehind"
    );
    let base64 = format!("image/png\nbase64\n{}", "QUJD".repeat(300));
    let quoted = format!("text/plain\nquoted-printable\n{}", "=C3=A9".repeat(300));
    texts(&[&parts, &base64, &quoted, "text/plain\n\nHello.\r\n"])
}

/// Two lines that say what it is, then the body.
fn shorten_body(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (kind, encoding, body) = (next(), next(), next());
    let mut output = Vec::new();
    shorten(kind, encoding, body, &mut output).unwrap();
    // Three characters for a byte, and a line break now and then.
    assert!(
        output.len() <= 4 * body.len() + 1000,
        "{} of {}",
        output.len(),
        body.len()
    );
}

fn records() -> Vec<Vec<u8>> {
    let key = compared::read()["keys"]["rsa1024._domainkey.a.example"].clone();
    let mut all = texts(&[
        "v=spf1 include:b.example mx a:%{i}._spf.%{d2} exists:%{ir}.%{v}.%{h} -all\n\
         v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 ptr:c.example redirect=d.example exp=e.example",
        "v=spf1 include:a.b include:c.d include:e.f include:g.h ?all\nv=spf1 mx mx:x.y a/24//64 ~all",
        "v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=r; pct=50; \
         rua=mailto:a@b.example!10m,mailto:c@d.example; ruf=mailto:e@f.example; fo=1:d:s; ri=86400",
        "v=DKIM1; k=ed25519; h=sha256; s=email; t=s; n=note; p=agDVCWM8vcaa5AVOLiyg3wpHnH/YAxyGZs7oG/jIt7w=",
    ]);
    all.push(key.as_str().unwrap().as_bytes().to_vec());
    all
}

/// Answers each question with one of some lines, which one by the length of the name.
struct Lines<'a>(Vec<&'a [u8]>);

impl Lookup for Lines<'_> {
    async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, NoAnswer> {
        Ok(vec![self.0[name.len() % self.0.len()].to_vec()])
    }

    async fn addresses(&self, name: &str, _: Family) -> Result<Vec<IpAddr>, NoAnswer> {
        let found = name.len().is_multiple_of(2).then(|| [192, 0, 2, 1].into());
        Ok(found.into_iter().collect())
    }

    async fn exchanges(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        Ok(vec![format!("mx.{name}"); 12])
    }

    async fn names(&self, _: IpAddr) -> Result<Vec<String>, NoAnswer> {
        Ok(vec!["host.c.example".to_owned(); 12])
    }
}

fn judge_by_records() -> impl Fn(&[u8]) {
    let table = compared::read();
    let rows = table["messages"].as_array().unwrap();
    let message = compared::message(&rows[0]);
    let organisations = Organisations::parse("example\n").unwrap();
    let runtime = runtime();
    move |input| {
        let lines = Lines(input.split(|byte| *byte == b'\n').collect());
        let client = [198, 51, 100, 1].into();
        let question = Question::new(client, "helo.example", "jo.hn+x@mail.b.example");
        runtime.block_on(async {
            let found = spf::check(&lines, "mx.example", &question).await;
            if let Some(text) = found.explanation {
                assert!(is_plain(&text), "{text:?}");
            }
            judge(&lines, &organisations, &message).await;
        });
    }
}
