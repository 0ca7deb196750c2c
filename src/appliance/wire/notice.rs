//! A short message to the owner, through this machine's own Postfix.
//!
//! Handed over by SMTP (RFC 5321, <https://www.rfc-editor.org/rfc/rfc5321>), so that it is
//! signed and queued like any other; the form is that of RFC 5322.

use super::smtp::{Door, Envelope, hand_over};
use anyhow::Result;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// What is to be told, and whom.
pub struct Notice<'a> {
    /// This machine.
    pub hostname: &'a str,
    /// Who it is from, on this machine.
    pub sender: &'a str,
    /// The owner.
    pub recipient: &'a str,
    /// In a line.
    pub subject: &'a str,
    /// In full; each is wrapped.
    pub paragraphs: &'a [String],
}

/// Hands a message over.
pub fn send_notice(door: &Door, notice: &Notice<'_>) -> Result<()> {
    let envelope = Envelope {
        hostname: notice.hostname,
        sender: notice.sender,
        recipient: notice.recipient,
    };
    hand_over(door, &envelope, &message(notice))
}

fn message(notice: &Notice<'_>) -> String {
    let date = DateTimePrinter::new()
        .timestamp_to_string(&Timestamp::now())
        .unwrap_or_default();
    let id = hex::encode(rand::random::<[u8; 12]>());
    let mut lines = vec![
        format!("From: mailimg <{}>", notice.sender),
        format!("To: <{}>", notice.recipient),
        format!("Subject: {}", notice.subject),
        format!("Date: {date}"),
        format!("Message-ID: <{id}@{}>", notice.hostname),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: 8bit".to_owned(),
        String::new(),
    ];
    for paragraph in notice.paragraphs {
        lines.push(wrapped(paragraph));
        lines.push(String::new());
    }
    lines.join("\r\n")
}

/// Lines of a mail are short, and none begins with a dot.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        // A line must not have more than 998 bytes whatever the CA writes.
        let word: String = word.trim_start_matches('.').chars().take(200).collect();
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(&word),
            Some(line) if line.len() + word.len() < 76 => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word),
        }
    }
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn no_line_ends_the_message() {
        let text = wrapped(&format!(". .. .x {}", "word ".repeat(40)));
        assert!(
            text.lines()
                .all(|line| line.len() < 80 && !line.starts_with('.'))
        );
    }
}
