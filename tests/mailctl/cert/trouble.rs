//! A CA that is away, refuses or lies; DNS that leads elsewhere; alerts.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

use super::HOST;
use super::web::read_request;
use super::world::{Manner, World};

#[test]
fn nonces_that_are_refused_are_asked_for_again() {
    let world = World::started(Manner {
        nonce_reject: 25,
        ..Manner::default()
    });
    world.machine.run(&["cert", "renew"]).success();
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn an_authority_that_is_away_breaks_nothing() {
    let mut world = World::new(Manner {
        lifetime: 5 * 86_400,
        ..Manner::default()
    });
    let said = world.acme();
    assert!(said.contains("cannot be reached"), "{said}");
    let problem = world.status(HOST)["problem"].clone();
    assert_eq!(problem["kind"], "unreachable");
    assert_eq!(problem["times"], 1);
    assert!(problem["next_try"].is_string());
    // The pause is kept; nobody is asked.
    assert_eq!(world.acme().trim(), "");
    assert_eq!(world.status(HOST)["problem"]["times"], 1);
    world
        .machine
        .run(&["cert", "renew"])
        .code(1)
        .stderr(contains("cannot be reached").and(contains("hint: check ACME_DIRECTORY_URL")));
    assert_eq!(world.status(HOST)["problem"]["times"], 2);
    world
        .machine
        .run(&["status"])
        .success()
        .stdout(contains("cannot be reached"));

    world.start_ca();
    world.machine.run(&["cert", "renew"]).success();
    world.machine.run(&["cert", "take"]).success();
    assert_eq!(world.status(HOST)["problem"], json!(null));
    let serial = world.status(HOST)["certificate"]["serial"].clone();

    // Away again when the renewal is due: the certificate stays, and the owner is told once.
    world.stop_ca();
    world.machine.run(&["cert", "renew", "--force"]).code(1);
    world.acme();
    assert_eq!(world.status(HOST)["problem"]["kind"], "unreachable");
    world.change_record(HOST, |record| record["pause"] = json!(null));
    let mails = mail_sink(&world);
    world.acme();
    assert_eq!(world.status(HOST)["problem"], json!(null));
    for _ in 0..3 {
        world.change_record(HOST, |record| {
            record["renewal"]["at"] = 0.into();
            record["pause"] = json!(null);
        });
        world.machine.run(&["acme"]).success();
    }
    assert_eq!(world.status(HOST)["certificate"]["serial"], serial);
    let mails = mails.lock().unwrap().clone();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(mails[0].contains(&format!(
        "Subject: The certificate of {HOST} runs out in 4 days"
    )));
    assert!(mails[0].contains("cannot be reached"), "{}", mails[0]);
    assert!(mails[0].contains("To: <postmaster@wombat.example>"));

    // It came back without any memory of us.
    world.start_ca();
    world.machine.run(&["cert", "renew"]).success();
    world.machine.run(&["cert", "take"]).success();
    assert_ne!(world.status(HOST)["certificate"]["serial"], serial);
    assert_eq!(world.counts(), (1, 1));
}

/// Takes mail as port 25 does, and keeps it.
fn mail_sink(world: &World) -> Arc<Mutex<Vec<String>>> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let door = format!("127.0.0.1:{port}");
    world.configure(|configuration| configuration["mail"] = door.into());
    let mails = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&mails);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut say = |text: &str| write!(stream, "{text}\r\n").unwrap();
            say("220 sink");
            while let Some(Ok(line)) = lines.next() {
                match line.split(' ').next().unwrap_or_default() {
                    "QUIT" => {
                        say("221 bye");
                        break;
                    }
                    "DATA" => {
                        say("354 go on");
                        let mail: Vec<String> = lines
                            .by_ref()
                            .map_while(Result::ok)
                            .take_while(|line| line != ".")
                            .collect();
                        kept.lock().unwrap().push(mail.join("\n"));
                        say("250 kept");
                    }
                    _ => say("250 ok"),
                }
            }
        }
    });
    mails
}

/// A CA that answers everything with one refusal, and counts.
fn refusing(world: &World, answer: &'static str) -> Arc<AtomicUsize> {
    let (certificate, key) = world.server_certificate();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind(world.ca_address()).unwrap();
    let count = Arc::<AtomicUsize>::default();
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut reader = BufReader::new(rustls::StreamOwned::new(connection, stream));
            if read_request(&mut reader).is_none() {
                continue;
            }
            seen.fetch_add(1, Ordering::SeqCst);
            let stream = reader.get_mut();
            let _ = stream.write_all(answer.as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    count
}

#[test]
fn a_limit_is_kept_as_long_as_the_authority_says() {
    let world = World::new(Manner::default());
    let count = refusing(
        &world,
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 36000\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\nno",
    );
    world.acme();
    let problem = world.status(HOST)["problem"].clone();
    assert_eq!(problem["kind"], "rate-limited", "{problem}");
    assert_eq!(problem["asked_to_wait"], true);
    let until = world.record(HOST)["pause"]["until"].as_i64().unwrap();
    let since = world.record(HOST)["pause"]["since"].as_i64().unwrap();
    assert!((35_990..=36_010).contains(&(until - since)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    world.acme();
    // Neither does a person's wish hurry it, only insistence.
    world.machine.run(&["cert", "renew"]).code(1);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    world.machine.run(&["cert", "renew", "--force"]).code(1);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    world
        .machine
        .run(&["cert", "status"])
        .success()
        .stdout(contains("as the CA asks"));
}

#[test]
fn answers_that_are_none() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n<html>",
        "HTTP/1.1 302 Found\r\nLocation: http://localhost:1/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n",
        "garbage\r\n\r\n",
        "",
    ] {
        let world = World::new(Manner::default());
        refusing(&world, answer);
        let said = world.acme();
        let problem = world.status(HOST)["problem"].clone();
        let kind = problem["kind"].as_str().unwrap();
        assert!(
            matches!(kind, "refused" | "unreachable"),
            "{answer}: {said}"
        );
        assert!(said.contains("hint: "), "{said}");
    }
}

#[test]
fn dns_that_leads_elsewhere_asks_nobody() {
    let world = World::started(Manner::default());
    world.own("198.18.0.2");
    let renew = |text: &str| {
        world
            .machine
            .run(&["cert", "renew"])
            .code(1)
            .stderr(contains(text));
    };
    renew("mail.wombat.example leads to 127.0.0.1 in DNS, this machine is 198.18.0.2");
    assert_eq!(world.status(HOST)["problem"]["kind"], "points-elsewhere");
    world.names.remove(HOST);
    renew("mail.wombat.example is not in DNS");
    assert_eq!(world.counts(), (0, 0));
    // Looked at again with every run.
    world.names.point(HOST, "127.0.0.1");
    world.own("127.0.0.1");
    world.acme_and_take();
    assert_eq!(world.status(HOST)["problem"], json!(null));
    assert_eq!(world.counts(), (1, 1));
}

#[test]
fn what_does_not_fit_is_not_taken() {
    let world = World::started(Manner::default());
    world.acme_and_take();
    let tls = |name: &str| world.machine.read(&format!("var/lib/mailimg/tls/{name}"));
    let before = (tls("fullchain.pem"), tls("privkey.pem"));
    let ready = world.machine.path("var/lib/mailimg/acme/ready");
    let put = |name: &str, chain: &str, key: &str| {
        std::fs::create_dir_all(ready.join(name)).unwrap();
        std::fs::write(ready.join(name).join("fullchain.pem"), chain).unwrap();
        std::fs::write(ready.join(name).join("privkey.pem"), key).unwrap();
    };
    let leaf_twice = before
        .0
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap();
    let foreign = rcgen::KeyPair::generate().unwrap().serialize_pem();
    for (name, chain, key, why) in [
        (
            HOST,
            &before.0[..],
            &foreign[..],
            "comparing it with its key",
        ),
        (HOST, "", &before.1, "the chain is empty"),
        (
            HOST,
            &leaf_twice.repeat(2),
            &before.1,
            "is not signed by the next one",
        ),
        ("other.example", &before.0, &before.1, "nobody asked for it"),
    ] {
        put(name, chain, key);
        world
            .machine
            .run(&["cert", "take"])
            .code(1)
            .stderr(contains(why));
        assert!(!ready.join(name).exists(), "it would be tried for ever");
    }
    std::fs::create_dir_all(ready.join(HOST)).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", ready.join(HOST).join("fullchain.pem")).unwrap();
    world
        .machine
        .run(&["cert", "take"])
        .code(1)
        .stderr(contains("a link lies there, or on the way"));
    assert_eq!((tls("fullchain.pem"), tls("privkey.pem")), before);
    world
        .machine
        .run(&["cert", "take"])
        .success()
        .stdout("No certificate waits.\n");
    // The agent's folder as a link: root removed what lay where it led.
    let elsewhere = world.machine.path("elsewhere");
    std::fs::create_dir_all(elsewhere.join("kept")).unwrap();
    std::fs::remove_dir_all(&ready).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &ready).unwrap();
    let refused = world.machine.run(&["cert", "take"]).code(1);
    refused.stderr(contains("a link lies there, or on the way"));
    assert!(elsewhere.join("kept").exists());
}

#[test]
fn torn_files_stop_nothing() {
    let world = World::started(Manner::default());
    world.acme();
    let folder = world.machine.path("var/lib/mailimg/acme");
    std::fs::remove_dir_all(folder.join("ready")).unwrap();
    for name in ["account.json", "public.json"] {
        std::fs::write(folder.join(name), "{\"direc").unwrap();
    }
    for name in ["record.json", "order.json", "next-key.pem"] {
        std::fs::write(folder.join("names").join(HOST).join(name), "\u{0}{").unwrap();
    }
    world.acme_and_take();
    assert_eq!(world.status(HOST)["certificate"]["self_signed"], false);
    assert!(folder.join("account.json.damaged").exists());
}
