//! The guard as Dovecot and `mailctl ban` talk to it.

use super::control::{ControlRequest, ControlResponse};
use super::firewall::Firewall;
use super::{Keeper, reports};
use crate::appliance::machine::place::Place;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, Receiver};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A report with the bytes of Dovecot 2.4.1.
fn report(key: &str, body: &str) -> String {
    format!(
        "POST /?command=report HTTP/1.1\r\nHost: 127.0.0.1:8479\r\n\
         Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nContent-Length: {}\r\n\
         Connection: Keep-Alive\r\nContent-Type: application/json\r\nX-API-Key: {key}\r\n\r\n{body}",
        body.len()
    )
}

fn failure(remote: &str, fail_type: &str) -> String {
    format!(
        "{{\"device_id\":\"\",\"fail_type\":\"{fail_type}\",\"login\":\"jens@a.example\",\
         \"protocol\":\"imap\",\"pwhash\":\"c0ff\",\"remote\":\"{remote}\",\
         \"session_id\":\"x\",\"success\":false,\"policy_reject\":false,\"tls\":true}}"
    )
}

/// Sends requests one after the other on one connection, the last of which closes it.
async fn send(requests: &str) -> (String, Receiver<super::Attempt>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, attempts) = mpsc::channel(10);
    tokio::spawn(async move {
        let _ = axum::serve(listener, reports::router(KEY.to_owned(), sender)).await;
    });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (first, last) = requests.rsplit_once("Keep-Alive").unwrap();
    let requests = format!("{first}close{last}");
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    (said, attempts)
}

#[tokio::test]
async fn reports_of_dovecot() {
    let success = "{\"login\":\"a@b.example\",\"remote\":\"::ffff:192.0.2.1\",\"success\":true}";
    let all = report(KEY, &failure("192.0.2.1", "credentials"))
        + &report(KEY, &failure("2001:db8::1", "account"))
        + &report(KEY, success)
        // Not the client's fault, or nobody's that could be banned.
        + &report(KEY, &failure("192.0.2.1", "internal"))
        + &report(KEY, &failure("192.0.2.1", "policy"))
        + &report(KEY, &failure("127.0.0.1", "credentials"))
        + &report(KEY, &failure("::1", "credentials"))
        + &report(KEY, &failure("", "credentials"));
    let (said, mut attempts) = send(&all).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 8, "{said}");
    let mut seen = Vec::new();
    while let Ok(attempt) = attempts.try_recv() {
        seen.push(format!(
            "{} {} {}",
            attempt.source, attempt.account, attempt.success
        ));
    }
    assert_eq!(
        seen,
        [
            "192.0.2.1 jens@a.example false",
            "2001:db8::/64 jens@a.example false",
            "192.0.2.1 a@b.example true"
        ]
    );
}

#[tokio::test]
async fn reports_of_others() {
    let body = failure("192.0.2.1", "credentials");
    let all = report("wrong", &body)
        + &report("", &body)
        + &report(KEY, "not json")
        + &report(KEY, &"x".repeat(20_000));
    let (said, mut attempts) = send(&all).await;
    assert_eq!(said.matches("403 Forbidden").count(), 2, "{said}");
    assert_eq!(said.matches("400 Bad Request").count(), 1, "{said}");
    assert_eq!(said.matches("413 Payload Too Large").count(), 1, "{said}");
    assert!(attempts.try_recv().is_err());
}

fn machine() -> (TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("var/lib/mailimg/guard")).unwrap();
    let place = Place::new(Some(folder.path()));
    (folder, place)
}

fn addresses(response: ControlResponse) -> Vec<String> {
    match response {
        ControlResponse::Bans(bans) => bans.iter().map(|ban| ban.address.to_string()).collect(),
        ControlResponse::Error(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn bans_outlive_the_process_until_lifted() {
    let (_folder, place) = machine();
    let mut keeper = Keeper::start(&place, Firewall::Absent).unwrap();
    for source in ["192.0.2.1", "2001:db8::1"] {
        for _ in 0..6 {
            let attempt = super::Attempt {
                source: source.parse().unwrap(),
                account: "jens@a.example".to_owned(),
                password: "same".to_owned(),
                success: false,
            };
            keeper.note(attempt).await;
        }
    }
    let mut keeper = Keeper::start(&place, Firewall::Absent).unwrap();
    let both = ["192.0.2.1", "2001:db8::/64"];
    assert_eq!(addresses(keeper.answer(ControlRequest::List).await), both);
    let lift = |text: &str| {
        serde_json::from_str::<ControlRequest>(&format!("{{\"verb\":\"lift\",\"address\":{text}}}"))
    };
    let one = lift("\"2001:db8::abcd\"").unwrap();
    assert_eq!(addresses(keeper.answer(one).await), both[1..]);
    assert!(lift("\"nonsense\"").is_err());
    let mut keeper = Keeper::start(&place, Firewall::Absent).unwrap();
    let all = ControlRequest::Lift { address: None };
    assert_eq!(addresses(keeper.answer(all).await), both[..1]);
    let mut keeper = Keeper::start(&place, Firewall::Absent).unwrap();
    assert!(addresses(keeper.answer(ControlRequest::List).await).is_empty());
}

#[test]
fn a_damaged_journal_stops_nothing() {
    let (folder, place) = machine();
    std::fs::write(folder.path().join("var/lib/mailimg/guard/bans.json"), "{").unwrap();
    assert!(Keeper::start(&place, Firewall::Absent).is_ok());
}
