//! What users of this machine send, by login and by their filters.

use super::{FROM, Filter, local};
use crate::appliance::machine::clock::ticks;
use std::time::Duration;

/// What users and the machine itself send is nobody's to judge.
#[tokio::test]
async fn our_own_mail_is_not_judged() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        session.mail("jens@a.example", Some("jens@a.example")).await;
        assert_eq!(session.message(&[("From", "jens@a.example")]).await, ["c"]);
    })
    .await;
}

/// A script could answer as anybody, and what others forged was signed when it was sent on.
#[tokio::test]
async fn filters_of_users_are_held_to_their_rules() {
    local(async {
        let filter = Filter::start(Some(2)).await;
        let mut session = filter.session("127.0.0.1").await;
        let own = ("From", "Jens <jens@a.example>");
        session.mail_by_filter("jens@a.example").await;
        assert_eq!(session.message(&[own]).await, ["e<>|", "c"]);
        session.mail_by_filter("jens@a.example").await;
        let said = session.message(&[("From", "boss@a.example")]).await;
        assert_eq!(
            said,
            ["y550 5.7.1 jens@a.example may not send as boss@a.example (From header)|"]
        );
        let sent_on = [
            ("X-Sieve-Redirected-From", "jens@a.example"),
            ("Authentication-Results", "mx.example; spf=pass"),
            ("From", "boss@a.example"),
        ];
        let unsigned = "i|||\u{1}X-Mailimg-Unsigned| <forwarded@mail.invalid>|";
        for sender in ["jens@a.example", ""] {
            session.mail_by_filter(sender).await;
            assert_eq!(session.message(&sent_on).await, [unsigned, "c"]);
        }
        // Each of them is counted, and apart from what the user sends.
        session.mail_by_filter("jens@a.example").await;
        for _ in 0..2 {
            assert_eq!(session.ask(b"R<x@y.example>\0").await, "c");
        }
        assert_eq!(session.message(&sent_on).await, [unsigned, "c"]);
        session.mail_by_filter("jens@a.example").await;
        assert_eq!(session.ask(b"R<x@y.example>\0").await, "c");
        assert_eq!(
            session.message(&sent_on).await,
            [
                "y450 4.7.1 the filter of jens@a.example has reached its limit of 2 recipients an \
              hour, try again in 60 minutes|"
            ]
        );
        session.mail("jens@a.example", Some("jens@a.example")).await;
        assert_eq!(session.ask(b"R<x@y.example>\0").await, "c");
    })
    .await;
}

#[tokio::test]
async fn users_write_as_themselves() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        let account = Some("Jens@a.example");
        assert_eq!(session.mail("jens@a.example", account).await, "c");
        assert_eq!(
            session.message(&[("From", "jens+x@a.example")]).await,
            ["c"]
        );
        session.mail("jens@a.example", account).await;
        assert_eq!(
            session.message(&[("From", "<ceo@a.example>")]).await,
            ["y550 5.7.1 jens@a.example may not send as ceo@a.example (From header)|"]
        );
        session.mail("jens@a.example", account).await;
        let said = session.message(&[("From", "a@x <jens@a.example>")]).await;
        assert_eq!(
            said,
            ["y550 5.7.1 The From header cannot be read: put the name in quotes|"]
        );
        session.mail("jens@a.example", account).await;
        let said = session
            .message(&[("From", "jens@a.example <jens@a.example>")])
            .await;
        assert_eq!(said, ["c"]);
        // The table is read again when it was replaced.
        let table = filter.folder.path().join("run/mailimg/postfix/senders");
        std::fs::write(&table, "ceo@a.example jens@a.example\n\n").unwrap();
        session.mail("jens@a.example", account).await;
        assert_eq!(session.message(&[("From", "ceo@a.example")]).await, ["c"]);
        // Without it nobody can be judged.
        std::fs::remove_file(table).unwrap();
        session.mail("jens@a.example", account).await;
        assert_eq!(session.message(&[("From", "ceo@a.example")]).await, ["t"]);
    })
    .await;
}

#[tokio::test]
async fn a_sender_header_names_nobody_else() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        const OWN: (&str, &str) = ("From", "jens@a.example");
        const DELETED: &str = "m|||\u{1}Sender||";
        for (sender, expected) in [
            ("Jens <jens+x@a.example>", &["c"][..]),
            ("ceo@a.example", &[DELETED, "c"]),
            ("jens@localhost.localdomain", &[DELETED, "c"]),
            ("\"unreadable", &[DELETED, "c"]),
        ] {
            session.mail("jens@a.example", Some("jens@a.example")).await;
            let said = session.message(&[OWN, ("sender", sender)]).await;
            assert_eq!(said, expected, "{sender}");
        }
        session.mail("jens@a.example", Some("jens@a.example")).await;
        let said = session
            .message(&[OWN, ("Sender", "a"), ("Sender", "b")])
            .await;
        assert!(
            said[0].contains("2 Sender headers instead of one"),
            "{said:?}"
        );
        // What strangers say of themselves is theirs.
        let mut session = filter.session("192.0.2.1").await;
        session.mail("a@b.example", None).await;
        let said = session
            .message(&[FROM, ("Sender", "x"), ("Sender", "y")])
            .await;
        assert_eq!(said.last().unwrap(), "c");
    })
    .await;
}

#[tokio::test]
async fn the_sending_limit_is_the_accounts() {
    local(async {
        let filter = Filter::start(Some(2)).await;
        for recipients in [1, 2] {
            let mut session = filter.session("192.0.2.1").await;
            session.mail("jens@a.example", Some("jens@a.example")).await;
            assert_eq!(session.ask(b"R<x@y.example>\0").await, "c");
            if recipients == 2 {
                assert_eq!(
                    session.ask(b"R<x@y.example>\0").await,
                    "y450 4.7.1 jens@a.example has reached its limit of 2 recipients an hour, \
                     try again in 60 minutes\0"
                );
            }
        }
        let mut session = filter.session("192.0.2.1").await;
        for _ in 0..5 {
            session.mail("x@b.example", None).await;
            assert_eq!(session.ask(b"R<x@y.example>\0").await, "c");
            session.send(b"A").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_session_ends() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        let account = Some("jens@a.example");
        let file = filter
            .folder
            .path()
            .join("run/mailimg/revoked/jens@a.example");
        assert_eq!(session.mail("jens@a.example", account).await, "c");
        // What the file's own time says is nothing: clocks are set.
        std::fs::write(&file, ticks().to_string()).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let opened = std::fs::File::open(&file).unwrap();
        opened.set_modified(long_ago).unwrap();
        assert_eq!(
            session.mail("jens@a.example", account).await,
            "y421 4.7.0 The password of this account was changed, log in again\0"
        );
        let mut session = filter.session("192.0.2.1").await;
        assert_eq!(session.mail("jens@a.example", account).await, "c");
        let in_years = std::time::SystemTime::now() + Duration::from_secs(1 << 30);
        opened.set_modified(in_years).unwrap();
        assert_eq!(session.mail("jens@a.example", account).await, "c");
        assert_eq!(session.mail("jens@a.example", Some("../users")).await, "t");
    })
    .await;
}

/// Cut up by the server that sends it on, it left with a signature that did not hold.
#[tokio::test]
async fn long_lines_of_users_are_written_anew() {
    local(async {
        let filter = Filter::start(None).await;
        let mut session = filter.session("192.0.2.1").await;
        let own = ("From", "jens@a.example");
        let long = format!("Long = {}\r\n", "x".repeat(2500));
        for account in [Some("jens@a.example"), None] {
            session.mail("jens@a.example", account).await;
            session.send(b"T").await;
            for (name, value) in [own, ("Content-Transfer-Encoding", " 7bit")] {
                session.send(format!("L{name}\0{value}\0").as_bytes()).await;
            }
            // In pieces, as Postfix sends it.
            for piece in long.as_bytes().chunks(1000) {
                session.send(&[b"B", piece].concat()).await;
            }
            session.send(b"E").await;
            let mut said = Vec::new();
            while said
                .last()
                .is_none_or(|last: &String| last.starts_with(['m', 'i', 'b']))
            {
                let packet = session.receive().await.unwrap();
                said.push(String::from_utf8_lossy(&packet).replace('\0', "|"));
            }
            let body = said.iter().find(|said| said.starts_with('b'));
            if account.is_none() {
                assert_eq!(body, None, "what others signed is nobody's to change");
                continue;
            }
            let body = body.unwrap().strip_prefix('b').unwrap();
            assert!(
                body.starts_with("Long =3D xxx") && body.ends_with("x\r\n"),
                "{body}"
            );
            assert!(body.lines().all(|line| line.len() <= 76));
            let told = |text: &str| said.iter().any(|said| said.contains(text));
            assert!(
                told("Content-Transfer-Encoding| quoted-printable|"),
                "{said:?}"
            );
            assert!(told("MIME-Version| 1.0|"), "{said:?}");
        }
    })
    .await;
}
