//! User-data and servers that are something else than settings.

use super::server::{Handler, LIMIT, NOTHING, SETTINGS, Server, found, import};
use crate::world::machine::Machine;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What the consoles show of a machine without settings whose cloud has this user-data.
fn console_with(user_data: Vec<u8>) -> String {
    let server = Server::answering(move |request| match request.path.as_str() {
        "/hetzner/v1/userdata" => (200, user_data.clone()),
        _ => NOTHING,
    });
    let machine = Machine::new();
    machine.run(&["settings", "start"]).success();
    import(&machine, "hetzner", &server, &[]);
    assert!(!machine.path("var/lib/mailimg/settings.env").exists());
    assert!(!machine.path("run/mailimg/configured").exists());
    let console = machine.read("run/issue.d/50-mailimg.issue");
    assert!(console.starts_with("This mail server waits for its settings."));
    console
}

#[test]
fn user_data_that_is_no_settings_file() {
    let foreign = "User-data is there in the metadata of Hetzner, but it is no settings.env: it is";
    for (user_data, expected) in [
        (
            b"#cloud-config\nhostname: x\n".to_vec(),
            format!("{foreign} a #cloud-config.\n"),
        ),
        (
            b"#!/bin/sh\nreboot\n".to_vec(),
            format!("{foreign} a script.\n"),
        ),
        (
            b"Content-Type: multipart/mixed; boundary=\"==\"\n\n".to_vec(),
            format!("{foreign} a MIME message.\n"),
        ),
        (
            b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
            format!("{foreign} compressed.\n"),
        ),
        (
            b"<html><body>Log in to this hotel</body></html>".to_vec(),
            format!("{foreign} something without any key of ours.\n"),
        ),
        (
            Vec::new(),
            "There is no user-data in the metadata of Hetzner.\n".to_owned(),
        ),
    ] {
        let console = console_with(user_data);
        assert!(console.contains(&expected), "{console}");
    }
}

#[test]
fn settings_with_mistakes_are_named_with_their_lines() {
    let console = console_with(b"DOMAIN=wombat\nHOSTNAM=mail.wombat.example\n".to_vec());
    assert!(
        console.contains(
            "The settings from the metadata of Hetzner were not taken.\nerror: 3 problems\n  \
             line 1: DOMAIN: 'wombat' has only one label; expected a full name such as \
             mail.example.org\n"
        ),
        "{console}"
    );
    assert!(console.contains("line 2: HOSTNAM: is no known key and is ignored; expected HOSTNAME"));
}

#[test]
fn line_ends_byte_order_mark_and_base64() {
    let windows = format!("\u{feff}{}", SETTINGS.replace('\n', "\r\n"));
    for user_data in [windows.clone(), STANDARD.encode(SETTINGS)] {
        let server = Server::answering(move |request| match request.path.as_str() {
            "/hetzner/v1/userdata" => found(&user_data),
            _ => NOTHING,
        });
        let machine = Machine::new();
        machine.run(&["settings", "start"]).success();
        import(&machine, "hetzner", &server, &[]);
        let shown = machine.run(&["settings", "show"]).success();
        let shown = String::from_utf8_lossy(&shown.get_output().stdout).into_owned();
        assert!(shown.contains("HOSTNAME=mail.wombat.example\n"), "{shown}");
    }
}

/// Sends bytes until the other side has enough.
fn send_for_ever(stream: &mut TcpStream, start: &str, piece: &[u8], pause: Duration) {
    let _ = stream.write_all(start.as_bytes());
    while stream.write_all(piece).is_ok() {
        std::thread::sleep(pause);
    }
}

/// Refuses whatever is asked.
fn refusing(status: &'static str) -> Handler {
    Box::new(move |_, stream| {
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    })
}

#[test]
fn servers_that_never_give_an_answer() {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let second = Duration::from_secs(1);
    let servers: Vec<(&str, Handler, &str)> = vec![
        (
            "endless body",
            Box::new(move |_, stream| {
                send_for_ever(stream, &format!("{OK}\r\n"), &[b'#'; 4096], Duration::ZERO);
            }),
            "the answer has more than 65536 bytes",
        ),
        (
            "slow body",
            Box::new(move |_, stream| {
                let start = format!("{OK}Content-Length: 100\r\n\r\n");
                send_for_ever(stream, &start, b"#", second);
            }),
            "in vain until the end",
        ),
        (
            "endless headers",
            Box::new(move |_, stream| {
                send_for_ever(stream, OK, b"X-More: of this\r\n", Duration::ZERO);
            }),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "slow headers",
            Box::new(move |_, stream| send_for_ever(stream, "", b"H", second)),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "silence",
            Box::new(|_, stream| {
                let _ = stream.read(&mut [0; 16]);
                std::thread::sleep(LIMIT);
            }),
            "in vain until the end",
        ),
        (
            "garbage",
            Box::new(|_, stream| {
                let _ = stream.write_all(&[0xff; 300]);
            }),
            "No settings came from the metadata of Hetzner",
        ),
        (
            "redirect",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\
                      Content-Length: 0\r\n\r\n",
                );
            }),
            "redirects are not followed",
        ),
        ("errors", refusing("500 Sorry"), "it answers 500"),
        ("refusal", refusing("403 No"), "it answers 403"),
        (
            "broken off",
            Box::new(|_, stream| {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nDOMAIN=wombat.example\n",
                );
            }),
            "No settings came from the metadata of Hetzner",
        ),
    ];
    std::thread::scope(|scope| {
        for (name, handler, expected) in servers {
            scope.spawn(move || {
                let server = Server::start(handler);
                let machine = Machine::new();
                machine.run(&["settings", "start"]).success();
                let started = Instant::now();
                let said = import(&machine, "hetzner", &server, &[]);
                let took = started.elapsed();
                println!("{name}: {:.1} s: {}", took.as_secs_f64(), said.trim());
                assert!(took < LIMIT, "{name} took {took:?}");
                assert!(said.contains(expected), "{name}: {said}");
                let console = machine.read("run/issue.d/50-mailimg.issue");
                assert!(console.contains(expected), "{name}: {console}");
                assert!(!machine.path("var/lib/mailimg/settings.env").exists());
            });
        }
    });
}
