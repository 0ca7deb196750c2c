//! The store's figures, through the pages and as a Grafana asks for them.

use super::browser::Browser;
use super::site::{PASSWORD, Site};
use base64::Engine;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// Requests as the store got them: path and body.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// Answers like the store, whose own tests run in the image, and keeps what it was asked.
fn store() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Asked::default();
    let kept = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = kept.clone();
            std::thread::spawn(move || converse(stream, &kept));
        }
    });
    (address, asked)
}

fn converse(stream: std::net::TcpStream, kept: &Asked) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            if header.trim().is_empty() {
                break;
            }
            if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let path = line.split(' ').nth(1).unwrap().to_owned();
        kept.lock()
            .unwrap()
            .push((path, String::from_utf8(body).unwrap()));
        let text = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let _ = write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
    }
}

#[test]
fn pages_ask_their_own_queries_only() {
    let (address, asked) = store();
    let site = Site::start_with("", address);
    let mut browser = Browser::logged_in(&site);
    for page in ["overview", "postfix", "dovecot", "machine", "bans"] {
        let data = browser.get(&format!("/data/{page}?range=60d&query=evil&step=1"));
        assert_eq!(data.status, 200);
    }
    let asked = asked.lock().unwrap();
    let queries: HashSet<&str> = asked.iter().map(|(_, body)| body.as_str()).collect();
    assert!(queries.len() > 60, "only {}", queries.len());
    assert!(asked.iter().all(|(path, body)| {
        path == "/api/v1/query_range" && !body.contains("evil") && body.contains("step=21600")
    }));
    assert!(!queries.iter().any(|query| query.contains("window")));
}

/// The requests of Grafana's data source when it is saved, looked at and drawn.
#[test]
fn a_grafana_asks_as_it_does() {
    let (address, asked) = store();
    let site = Site::start_with("", address);
    let mut grafana = Browser::new(&site);
    let encoded = base64::engine::general_purpose::STANDARD.encode(format!("mail:{PASSWORD}"));
    let login = format!("Authorization: Basic {encoded}\r\n");
    let form = format!("{login}Content-Type: application/x-www-form-urlencoded\r\n");
    for (method, path, body) in [
        ("POST", "/api/v1/query", "query=1%2B1&time=1795303607.012"),
        ("GET", "/api/v1/status/buildinfo", ""),
        ("POST", "/api/v1/labels", "start=1795300000&end=1795303600"),
        (
            "GET",
            "/api/v1/label/__name__/values?start=1&end=2&limit=40000",
            "",
        ),
        ("GET", "/api/v1/metadata?limit=40000", ""),
        ("POST", "/api/v1/series", "match%5B%5D=up&start=1&end=2"),
        (
            "POST",
            "/api/v1/query_range",
            "query=rate%28postfix_messages_received_total%5B5m%5D%29&start=1795300000&end=1795303600&step=15",
        ),
    ] {
        let headers = if body.is_empty() { &login } else { &form };
        let answer = grafana.ask(method, path, headers, body);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json; charset=utf-8")
        );
        let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(value["status"], "success");
    }
    let count = asked.lock().unwrap().len();
    assert_eq!(count, 6);
    // Nothing that writes, deletes or tells of the store itself, and no range without an end.
    for (path, status) in [
        ("/api/v1/admin/tsdb/delete_series?match[]=up", 404),
        ("/api/v1/import", 404),
        ("/api/v1/write", 404),
        ("/api/v1/status/tsdb", 404),
        ("/api/v1/label/a%2fb/values", 404),
        (
            "/api/v1/query_range?query=up&start=0&end=1795303600&step=1",
            400,
        ),
    ] {
        let answer = grafana.ask("POST", path, &form, "");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    assert_eq!(asked.lock().unwrap().len(), count);
    // The session of a browser will do, too; a wrong password will not.
    let mut browser = Browser::logged_in(&site);
    assert_eq!(browser.get("/api/v1/labels").status, 200);
    let wrong = "Authorization: Basic bWFpbDp4\r\n";
    let answer = grafana.ask("GET", "/api/v1/labels", wrong, "");
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("basic realm=\"monitoring\", charset=\"utf-8\"")
    );
    // Nor is it asked for, or taken, by pages.
    assert_eq!(grafana.ask("GET", "/queue", &login, "").status, 303);
}
