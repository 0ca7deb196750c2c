//! Handing a message to Postfix on loopback: as much of SMTP (RFC 5321) as that takes.

use anyhow::{Context, bail, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest wait for an answer; filters that sign come before the last.
const ANSWER: Duration = Duration::from_secs(60);
/// Longest answer.
const LONGEST_ANSWER: u64 = 16 << 10;

/// Submits a message without a sender, so that nothing comes back.
///
/// # Errors
/// No server, or one that does not take it.
pub fn submit(
    server: SocketAddr,
    hostname: &str,
    recipient: &str,
    message: &str,
) -> anyhow::Result<()> {
    let work = || -> anyhow::Result<()> {
        let stream = TcpStream::connect_timeout(&server, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut session = BufReader::new(stream);
        expect(&mut session, "220")?;
        say(&mut session, &format!("EHLO {hostname}\r\n"), "250")?;
        say(&mut session, "MAIL FROM:<>\r\n", "250")?;
        say(&mut session, &format!("RCPT TO:<{recipient}>\r\n"), "250")?;
        say(&mut session, "DATA\r\n", "354")?;
        let mut text = String::with_capacity(message.len() + 16);
        for line in message.split_inclusive("\r\n") {
            if line.starts_with('.') {
                text.push('.');
            }
            text.push_str(line);
        }
        text.push_str(".\r\n");
        say(&mut session, &text, "250")?;
        // Taken is taken, whatever comes now.
        let _ = session.get_mut().write_all(b"QUIT\r\n");
        Ok(())
    };
    work().with_context(|| format!("handing mail for {recipient} to {server}"))
}

fn say(session: &mut BufReader<TcpStream>, text: &str, code: &str) -> anyhow::Result<()> {
    session.get_mut().write_all(text.as_bytes())?;
    expect(session, code)
}

/// Reads an answer of one or more lines.
fn expect(session: &mut BufReader<TcpStream>, code: &str) -> anyhow::Result<()> {
    let mut limited = session.take(LONGEST_ANSWER);
    loop {
        let mut line = String::new();
        ensure!(
            limited.read_line(&mut line)? > 0,
            "the server closed the connection"
        );
        if !line.starts_with(code) {
            bail!("the server says '{}'", line.trim_end());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}
