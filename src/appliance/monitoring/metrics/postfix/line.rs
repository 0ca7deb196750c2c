//! The parts that all lines have: who writes, about which message, what.

/// Services that take mail, by the name that master.cf gives them for the log.
pub const SERVICES: [&str; 5] = ["submission", "submissions", "sieve", "own", "relay"];

/// A line, taken apart as far as all have the same form.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// `smtpd` of `postfix/submission/smtpd`.
    pub daemon: &'a str,
    /// Index of the service, [`SERVICES`]`.len()` for port 25.
    pub service: usize,
    /// The message's name in the queue.
    pub id: Option<&'a str>,
    /// What it says.
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Takes it apart.
    pub fn read(identifier: &'a str, message: &'a str) -> Self {
        let mut words = identifier.split('/');
        let middle = words.nth(1).unwrap_or_default();
        let daemon = words.next().unwrap_or(middle);
        let known = SERVICES.iter().position(|service| *service == middle);
        let (id, text) = match message.split_once(": ") {
            Some((id, text)) if is_queue_id(id) => (Some(id), text),
            _ => (None, message),
        };
        Self {
            daemon,
            service: known.unwrap_or(SERVICES.len()),
            id,
            text,
        }
    }
}

/// Names are of letters and digits (`enable_long_queue_ids`). There is a digit in each of our time,
/// and none in `warning` or `statistics`.
fn is_queue_id(word: &str) -> bool {
    let bytes = word.as_bytes();
    (6..=24).contains(&bytes.len())
        && bytes.iter().all(u8::is_ascii_alphanumeric)
        && bytes.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::{Line, SERVICES};

    #[test]
    fn parts() {
        let line = Line::read("postfix/submission/smtpd", "4jc8bT3Vrnz1xpp: client=a");
        assert_eq!(
            (line.daemon, SERVICES[line.service]),
            ("smtpd", "submission")
        );
        assert_eq!((line.id, line.text), (Some("4jc8bT3Vrnz1xpp"), "client=a"));
        for text in ["warning: x", "statistics: x", "NOQUEUE: x", "x", "", ": "] {
            let line = Line::read("postfix/anvil", text);
            assert_eq!((line.daemon, line.service), ("anvil", SERVICES.len()));
            assert_eq!((line.id, line.text), (None, text));
        }
        assert_eq!(Line::read("", "").daemon, "");
    }
}
