//! Handing a message to Postfix on this machine: as much of SMTP
//! (RFC 5321, <https://www.rfc-editor.org/rfc/rfc5321>) as that takes.

use super::line::{Conversation, connect_to};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest wait for an answer; filters that sign come before the last.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Who writes to whom.
pub struct Envelope<'a> {
    /// What we call ourselves.
    pub hostname: &'a str,
    /// Where bounces go; empty for nowhere.
    pub sender: &'a str,
    /// Who gets it.
    pub recipient: &'a str,
}

/// Hands a message over; its lines end with CR LF.
pub fn hand_over(server: SocketAddr, envelope: &Envelope<'_>, message: &str) -> Result<()> {
    let Envelope {
        hostname,
        sender,
        recipient,
    } = envelope;
    let work = || -> Result<()> {
        let mut session = Conversation::new(connect_to(server, ANSWER_LIMIT)?);
        session.expect_smtp("220").context("greeting")?;
        for (command, code) in [
            (format!("EHLO {hostname}"), "250"),
            (format!("MAIL FROM:<{sender}>"), "250"),
            (format!("RCPT TO:<{recipient}>"), "250"),
            ("DATA".to_owned(), "354"),
        ] {
            session.send(&command)?;
            session.expect_smtp(code).with_context(|| command)?;
        }
        session.send(&dotted(message))?;
        session.expect_smtp("250").context("the message")?;
        // Taken is taken, whatever comes now.
        let _ = session.send("QUIT");
        Ok(())
    };
    work().with_context(|| format!("handing mail for {recipient} to {server}"))
}

/// The message as DATA has it, but for the last line break (section 4.5.2).
fn dotted(message: &str) -> String {
    let mut text = String::with_capacity(message.len() + 16);
    for line in message.split_inclusive("\r\n") {
        if line.starts_with('.') {
            text.push('.');
        }
        text.push_str(line);
    }
    if !text.ends_with("\r\n") {
        text.push_str("\r\n");
    }
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::dotted;

    #[test]
    fn a_line_of_one_dot_ends_no_message() {
        assert_eq!(dotted("a\r\n.\r\n..b\r\n"), "a\r\n..\r\n...b\r\n.");
        assert_eq!(dotted("no end"), "no end\r\n.");
    }
}
