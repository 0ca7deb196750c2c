//! Conversations in lines with a service of this machine.

use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for one answer; a slow guest under emulation needs seconds.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest line a server may answer with, in bytes.
const LONGEST_LINE: u64 = 2048;
/// Most lines of one answer.
const MOST_LINES: usize = 100;

/// Connects to a port of this machine.
pub fn connect(port: u16) -> Result<TcpStream> {
    connect_to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), ANSWER_LIMIT)
}

/// Connects to a server of which each answer is waited for so long.
pub fn connect_to(server: SocketAddr, limit: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// A conversation, encrypted or not.
pub struct Conversation<S: Read + Write> {
    reader: BufReader<S>,
}

impl<S: Read + Write> Conversation<S> {
    /// Begins on an open connection.
    pub fn new(stream: S) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        let mut limited = Read::take(&mut self.reader, LONGEST_LINE);
        limited.read_until(b'\n', &mut bytes)?;
        ensure!(bytes.last() == Some(&b'\n'), "the connection ended");
        Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// Sends one line; errors do not repeat it, since it may hold a password.
    pub fn send(&mut self, line: &str) -> Result<()> {
        let stream = self.reader.get_mut();
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .and_then(|()| stream.flush())
            .context("sending")
    }

    /// Reads one SMTP reply (RFC 5321 section 4.2) and wants its code.
    pub fn expect_smtp(&mut self, code: &str) -> Result<()> {
        for _ in 0..MOST_LINES {
            let line = self.line()?;
            if !line.starts_with(code) {
                bail!("'{line}' instead of {code}");
            }
            if line.as_bytes().get(code.len()) != Some(&b'-') {
                return Ok(());
            }
        }
        bail!("an endless answer");
    }

    /// Reads up to the line with this tag (RFC 9051 section 7.1) and wants it to say OK.
    pub fn expect_imap(&mut self, tag: &str) -> Result<()> {
        for _ in 0..MOST_LINES {
            let line = self.line()?;
            if let Some(rest) = line.strip_prefix(tag) {
                ensure!(rest.starts_with(" OK"), "'{line}' instead of OK");
                return Ok(());
            }
            // A greeting has no tag, and BYE comes whenever the server wants.
            ensure!(
                line.starts_with("* ") && !line.starts_with("* BYE") || tag == "z",
                "'{line}' instead of {tag} OK"
            );
        }
        bail!("an endless answer");
    }
}

#[cfg(test)]
mod tests {
    use super::Conversation;
    use std::io::Cursor;

    fn heard(text: &str) -> Conversation<Cursor<Vec<u8>>> {
        Conversation::new(Cursor::new(text.as_bytes().to_vec()))
    }

    #[test]
    fn greetings_in_parts() {
        // What postscreen says before smtpd speaks for itself.
        let mut smtp = heard("220-mx.example ESMTP\r\n220 mx.example ESMTP\r\n250 ok\r\n");
        smtp.expect_smtp("220").unwrap();
        smtp.expect_smtp("250").unwrap();
        let error = heard("421 no\r\n").expect_smtp("220").unwrap_err();
        assert_eq!(error.to_string(), "'421 no' instead of 220");
        assert!(heard("220-mx").expect_smtp("220").is_err());
        assert!(heard(&"220-x\r\n".repeat(1000)).expect_smtp("220").is_err());
    }

    #[test]
    fn tagged_answers() {
        let mut imap = heard("* OK ready\r\n* 0 EXISTS\r\na OK done\r\nb NO mailbox\r\n");
        imap.expect_imap("*").unwrap();
        imap.expect_imap("a").unwrap();
        assert!(imap.expect_imap("b").is_err());
    }
}
