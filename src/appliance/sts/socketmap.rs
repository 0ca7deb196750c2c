//! The socket at which Postfix asks.
//!
//! <https://www.postfix.org/socketmap_table.5.html>: `NAME KEY` is answered with
//! `OK VALUE`, `NOTFOUND ` or `TEMP REASON`. The key is the next hop: a domain, or
//! `[host]`, `host:port` where somebody chose a server by hand, to which no
//! policy applies; after a domain without answer, each parent with a dot before it.

use super::answer::Answer;
use super::lookup::Lookup;
use super::netstring::{read_netstring, write_netstring};
use super::policy::is_domain;
use crate::appliance::wire::serve::serve_connections;
use anyhow::Result;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// Name of the map, in main.cf too.
pub const MAP: &str = "sts";
/// Longest request: the map's name, and a name in DNS with brackets and port.
const LONGEST_REQUEST: usize = 512;
/// Most connections; Postfix has at most `default_process_limit` clients, 50.
const MOST_CONNECTIONS: usize = 200;
/// Postfix closes what is idle for 10 s.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// Longest from the first byte of a request to its last, and for taking an answer.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Serves Postfix for ever.
pub async fn serve(listener: UnixListener, lookup: Rc<Lookup>) {
    serve_connections(listener, MOST_CONNECTIONS, |stream| {
        converse(stream, lookup.clone())
    })
    .await;
}

async fn converse(mut stream: UnixStream, lookup: Rc<Lookup>) -> Result<()> {
    loop {
        if timeout(IDLE_LIMIT, stream.readable()).await.is_err() {
            return Ok(());
        }
        let request =
            timeout(EXCHANGE_LIMIT, read_netstring(&mut stream, LONGEST_REQUEST)).await??;
        let Some(request) = request else {
            return Ok(());
        };
        let text = match wanted_domain(&request) {
            Ok(Some(domain)) => render(lookup.answer(&domain).await),
            Ok(None) => render(Answer::NotFound),
            Err(reason) => format!("PERM {reason}"),
        };
        timeout(
            EXCHANGE_LIMIT,
            write_netstring(&mut stream, text.as_bytes()),
        )
        .await??;
    }
}

/// The domain that a request is about, if a policy can apply to its key.
pub fn wanted_domain(request: &[u8]) -> Result<Option<String>, &'static str> {
    let text = std::str::from_utf8(request).map_err(|_| "the request is no UTF-8")?;
    let (map, key) = text.split_once(' ').ok_or("the request has no key")?;
    if map != MAP {
        return Err("there is no such map");
    }
    let key = key.to_ascii_lowercase();
    Ok(is_domain(&key).then_some(key))
}

fn render(answer: Answer) -> String {
    match answer {
        Answer::Level(text) => format!("OK {text}"),
        Answer::NotFound => "NOTFOUND ".to_owned(),
        Answer::Later(reason) => format!("TEMP {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::wanted_domain;

    #[test]
    fn only_domains_are_looked_up() {
        let domain = |request: &str| wanted_domain(request.as_bytes());
        assert_eq!(
            domain("sts Example.com"),
            Ok(Some("example.com".to_owned()))
        );
        for key in [
            "",
            " ",
            ".example.com",
            "[mail.example.com]",
            "[192.0.2.1]:25",
            "example.com:587",
            "localhost",
            "192.0.2.1",
            "example.com ",
            "a/../b.example",
            "/run/dovecot/lmtp",
        ] {
            assert_eq!(domain(&format!("sts {key}")), Ok(None), "{key}");
        }
        assert!(domain("other example.com").is_err());
        assert!(domain("sts").is_err() && domain("").is_err());
        assert!(wanted_domain(b"sts \xff.example").is_err());
    }
}
