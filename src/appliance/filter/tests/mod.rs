//! The filter as Postfix talks to it, over a socket.

mod users;

use super::from::judge_from;
use super::protocol::{actions, parse_command, steps};
use super::results::names_host;
use super::shared::SUFFIXES;
use super::{Shared, name_server, serve};
use crate::appliance::machine::place::Place;
use proptest::prelude::{any, prop};
use std::rc::Rc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;

const OFFERED_STEPS: u32 = 0x1f_ffff;
const OFFERED_ACTIONS: u32 = 0x1ff;

/// A machine's folder with what the filter reads.
pub fn machine(limit: Option<u32>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(Some(folder.path()));
    let rendered = folder.path().join("run/mailimg");
    std::fs::create_dir_all(rendered.join("postfix")).unwrap();
    std::fs::create_dir_all(rendered.join("revoked")).unwrap();
    std::fs::create_dir_all(folder.path().join("var")).unwrap();
    let limit = limit.map_or("null".to_owned(), |limit| limit.to_string());
    let json = format!(
        "{{\"hostname\":\"mx.example\",\"sending_limit\":{limit},\"trusted_sealers\":[],\"domains\":[\"a.example\"]}}"
    );
    let suffixes = place.path(SUFFIXES);
    std::fs::create_dir_all(suffixes.parent().unwrap()).unwrap();
    std::fs::write(suffixes, "example\n").unwrap();
    std::fs::write(rendered.join("filter.json"), json).unwrap();
    std::fs::write(
        rendered.join("postfix/senders"),
        "jens@a.example jens@a.example\n",
    )
    .unwrap();
    folder
}

/// A machine's folder with a running filter.
struct Filter {
    folder: TempDir,
}

impl Filter {
    async fn start(limit: Option<u32>) -> Self {
        let folder = machine(limit);
        let place = Place::new(Some(folder.path()));
        let server = name_server::start(&[
            ("b.example", "v=spf1 ip4:192.0.2.1 -all"),
            ("_dmarc.victim.example", "v=DMARC1; p=reject"),
        ])
        .await;
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let shared = Rc::new(Shared::new(&place, server).unwrap());
        tokio::task::spawn_local(serve(listener, shared));
        Self { folder }
    }

    async fn connect(&self) -> Client {
        let path = self.folder.path().join("socket");
        Client(UnixStream::connect(path).await.unwrap())
    }

    /// A session that has come as far as HELO.
    async fn session(&self, client: &str) -> Client {
        let mut session = self.connect().await;
        session.negotiate().await;
        let family = if client.contains(':') { '6' } else { '4' };
        let macros = "DC{client_name}\0client.example\0{client_resolve}\0OK\0";
        session.send(macros.as_bytes()).await;
        let connect = format!("Cclient.example\0{family}\x10\x10{client}\0");
        session.send(connect.as_bytes()).await;
        session.send(b"Hclient.example\0").await;
        session
    }
}

struct Client(UnixStream);

impl Client {
    async fn send(&mut self, packet: &[u8]) {
        let length = u32::try_from(packet.len()).unwrap();
        self.0.write_all(&length.to_be_bytes()).await.unwrap();
        self.0.write_all(packet).await.unwrap();
    }

    async fn receive(&mut self) -> Option<Vec<u8>> {
        let length = self.0.read_u32().await.ok()?;
        let mut packet = vec![0; length as usize];
        self.0.read_exact(&mut packet).await.ok()?;
        Some(packet)
    }

    async fn ask(&mut self, packet: &[u8]) -> String {
        self.send(packet).await;
        String::from_utf8(self.receive().await.unwrap()).unwrap()
    }

    async fn negotiate(&mut self) -> u32 {
        let offer = [6u32, OFFERED_ACTIONS, OFFERED_STEPS].map(u32::to_be_bytes);
        self.send(&[b"O", offer.as_flattened()].concat()).await;
        let answer = self.receive().await.unwrap();
        assert_eq!(answer[0], b'O');
        u32::from_be_bytes(answer[9..13].try_into().unwrap())
    }

    async fn mail(&mut self, sender: &str, account: Option<&str>) -> String {
        let macros = account.map_or(String::new(), |name| format!("{{auth_authen}}\0{name}\0"));
        self.send(format!("DM{macros}").as_bytes()).await;
        self.ask(format!("M<{sender}>\0SIZE=9\0").as_bytes()).await
    }

    async fn mail_by_filter(&mut self, sender: &str) {
        self.send(b"DM{daemon_name}\0sieve\0").await;
        let said = self.ask(format!("M<{sender}>\0").as_bytes()).await;
        assert_eq!(said, "c");
    }

    /// Sends a message's headers and returns all that is said about it.
    async fn message(&mut self, headers: &[(&str, &str)]) -> Vec<String> {
        self.send(b"T").await;
        for (name, value) in headers {
            self.send(format!("L{name}\0{value}\0").as_bytes()).await;
        }
        self.send(b"BHello.\r\n").await;
        self.send(b"E").await;
        let mut said = Vec::new();
        loop {
            let packet = self.receive().await.unwrap();
            let text = String::from_utf8_lossy(&packet).replace('\0', "|");
            let last = !text.starts_with(['m', 'i', 'e']);
            said.push(text);
            if last {
                return said;
            }
        }
    }
}

async fn local(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

const FROM: (&str, &str) = ("From", "Somebody <a@b.example>");

#[tokio::test]
async fn only_what_is_needed_is_asked_for() {
    local(async {
        let filter = Filter::start(None).await;
        let asked = filter.connect().await.negotiate().await;
        assert_eq!(asked & steps::LEADING_SPACE, steps::LEADING_SPACE);
        assert_eq!(asked & steps::NO_RECIPIENT, steps::NO_RECIPIENT);
        let filter = Filter::start(Some(5)).await;
        let asked = filter.connect().await.negotiate().await;
        assert_eq!(asked & steps::NO_RECIPIENT, 0);
        // A server that cannot do it gets no answer, and refuses mail for now.
        let mut client = filter.connect().await;
        let offer = [6, actions::ADD_HEADERS, OFFERED_STEPS].map(u32::to_be_bytes);
        client.send(&[b"O", offer.as_flattened()].concat()).await;
        assert_eq!(client.receive().await, None);
    })
    .await;
}

#[tokio::test]
async fn forged_results_go_and_ours_come() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        let headers = [
            ("Authentication-Results", " mx.example; dmarc=pass"),
            ("Received-SPF", "pass"),
            ("authentication-results", "other.example; dkim=pass"),
            FROM,
            ("AUTHENTICATION-RESULTS", "MX.example (x) 1; spf=pass"),
            ("Received-SPF", "pass"),
        ];
        for _ in 0..2 {
            assert_eq!(session.mail("a@b.example", None).await, "c");
            assert_eq!(
                session.message(&headers).await,
                [
                    "m|||\u{2}Received-SPF||",
                    "m|||\u{3}Authentication-Results||",
                    "m|||\u{1}Received-SPF||",
                    "m|||\u{1}Authentication-Results||",
                    "i|||\u{1}Authentication-Results| mx.example; dmarc=none \
                     header.from=b.example;\n spf=pass smtp.mailfrom=b.example;\n \
                     iprev=pass (client.example) policy.iprev=192.0.2.1;\n dkim=none;\n \
                     arc=none|",
                    "c"
                ]
            );
        }
        let mut session = filter.session("2001:db8::5").await;
        session.mail("a@b.example", None).await;
        let said = session.message(&[FROM]).await;
        assert!(said[0].contains("spf=fail"), "{said:?}");
        let iprev = "iprev=pass (client.example) policy.iprev=\"2001:db8::5\"";
        assert!(said[0].contains(iprev), "{said:?}");
        session.mail("", None).await;
        let said = session.message(&[FROM]).await;
        assert!(
            said[0].contains("spf=none smtp.helo=client.example"),
            "{said:?}"
        );
    })
    .await;
}

/// Results that name us in whatever spelling make nobody believe a stranger.
#[tokio::test]
async fn a_stranger_cannot_speak_for_us() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        for results in [
            "mx . example; spf=pass smtp.mailfrom=victim.example",
            "mx\\.example; spf=pass smtp.mailfrom=victim.example",
            "\"mx\".example; dkim=pass header.d=victim.example",
            "m(x)x.example; dmarc=pass header.from=victim.example",
        ] {
            let results = ("Authentication-Results", results);
            session.mail("a@b.example", None).await;
            assert_eq!(
                session
                    .message(&[("From", " Boss <a@victim.example>"), results])
                    .await,
                [
                    "y550 5.7.1 victim.example wants mail in its name refused that it does not \
                     stand behind (DMARC p=reject): SPF pass for b.example, no DKIM signature|"
                ]
            );
        }
        session.mail("a@b.example", None).await;
        let said = session
            .message(&[FROM, ("Authentication-Results", " mx . example; spf=pass")])
            .await;
        assert_eq!(said[0], "m|||\u{1}Authentication-Results||");
    })
    .await;
}

/// A service that was taken over could write to everybody here in anybody's name.
#[tokio::test]
async fn this_machine_is_a_stranger_without_login() {
    local(async {
        let filter = Filter::start(None).await;
        for client in ["127.0.0.1", "::1"] {
            let mut session = filter.session(client).await;
            session.mail("a@victim.example", None).await;
            let said = session.message(&[("From", "a@victim.example")]).await;
            assert!(said[0].starts_with("y550 5.7.1 victim.example"), "{said:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_from_header() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        for (headers, count) in [(&[FROM, FROM][..], 2), (&[("Subject", "x")], 0)] {
            session.mail("a@b.example", None).await;
            assert_eq!(
                session.message(headers).await,
                [format!(
                    "y550 5.7.1 The message has {count} From headers instead of one \
                     (RFC 5322 section 3.6)|"
                )]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn endless_forgeries_are_not_kept() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        session.mail("a@b.example", None).await;
        let mut headers = vec![("Received-SPF", "pass"); 2000];
        headers.push(FROM);
        let said = session.message(&headers).await;
        assert!(
            said[0].starts_with("y550 5.7.1 The message claims"),
            "{said:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_confused_peer_is_cut_off() {
    local(async {
        let filter = Filter::start(None).await;
        for packet in [&b"M<a@b.example>\0"[..], b"LFrom\0x\0", b"X"] {
            let mut client = filter.connect().await;
            client.send(packet).await;
            let answer = client.receive().await;
            assert!(answer.is_none_or(|answer| answer == b"t"), "{packet:?}");
        }
        let mut client = filter.session("192.0.2.1").await;
        client.send(b"L\0").await;
        assert_eq!(client.receive().await, None);
    })
    .await;
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever comes, the filter neither panics nor holds more than was sent, and serves the next.
    #[test]
    fn any_bytes(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..20), raw in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(local(async {
            let filter = Filter::start(Some(1)).await;
            let mut client = filter.session("192.0.2.1").await;
            for packet in &packets {
                let length = u32::try_from(packet.len()).unwrap().to_be_bytes();
                let head: &[u8] = if raw { &[] } else { &length };
                // The filter may have hung up on us by now.
                let _ = client.0.write_all(&[head, packet].concat()).await;
            }
            drop(client);
            let mut session = filter.session("127.0.0.1").await;
            session.mail("", None).await;
            assert_eq!(session.message(&[FROM]).await.last().unwrap(), "c");
        }));
    }

    /// Readers of what strangers wrote take any bytes.
    #[test]
    fn any_value(value in prop::collection::vec(any::<u8>(), 0..200), text in "[<>@,:;()\"\\\\ a.\\[\\]]{0,40}") {
        for value in [&value[..], text.as_bytes()] {
            let _ = parse_command(value);
            let _ = names_host(value, "mx.example");
            let _ = judge_from(value, |address| {
                assert!(address.contains('@'));
                false
            });
        }
    }
}
