//! The two texts by which a domain announces a policy: its record and its file.
//!
//! RFC 8461, sections 3.1 and 3.2 (<https://www.rfc-editor.org/rfc/rfc8461#section-3>).

use serde::{Deserialize, Serialize};

/// Most patterns of a policy; more would not fit an answer to Postfix.
const MOST_PATTERNS: usize = 100;
/// Longest life of a policy, in seconds (section 3.2).
const LONGEST_LIFE: u64 = 31_557_600;
/// Longest identifier of a policy (section 3.1).
const LONGEST_ID: usize = 32;
/// RFC 1035, section 2.3.4.
const LONGEST_NAME: usize = 253;

/// What senders are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Deliver to servers that match and prove who they are, and to no others.
    Enforce,
    /// Deliver as ever, and report.
    Testing,
    /// There is no policy any more.
    None,
}

impl Mode {
    /// The word in a policy.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Testing => "testing",
            Self::None => "none",
        }
    }
}

/// A policy of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub mode: Mode,
    /// Names of mail servers, in lower case; `*.` stands for one label.
    pub patterns: Vec<String>,
    /// Seconds that the policy holds from when it was fetched.
    pub max_age: u64,
}

/// Reads a policy file.
pub fn parse_policy(bytes: &[u8]) -> Result<Policy, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8".to_owned())?;
    let mut version = None;
    let mut mode = None;
    let mut max_age = None;
    let mut patterns = Vec::new();
    for line in text.trim_end_matches(['\r', '\n', ' ', '\t']).split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let Some((key, value)) = line.split_once(':').filter(|(key, _)| is_key(key)) else {
            return Err(format!("'{}' is no KEY: VALUE", shortened(line)));
        };
        let value = value.trim_matches([' ', '\t']);
        if value.contains(char::is_control) {
            return Err(format!("the value of {key} holds control characters"));
        }
        match key {
            // Of keys that come twice the first counts.
            "version" => version = version.or(Some(value)),
            "mode" => mode = mode.or(Some(value)),
            "max_age" => max_age = max_age.or(Some(value)),
            "mx" => patterns.push(parse_pattern(value)?),
            _ => {}
        }
    }
    if version != Some("STSv1") {
        return Err("it has no 'version: STSv1'".to_owned());
    }
    let modes = [Mode::Enforce, Mode::Testing, Mode::None];
    let mode = modes
        .into_iter()
        .find(|known| mode.is_some_and(|mode| mode.eq_ignore_ascii_case(known.word())))
        .ok_or("its mode is none of enforce, testing and none")?;
    let max_age = max_age
        .filter(|digits| (1..=10).contains(&digits.len()))
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok())
        .ok_or("its max_age is no number of seconds")?;
    if patterns.is_empty() && mode != Mode::None {
        return Err("it names no mail server".to_owned());
    }
    if patterns.len() > MOST_PATTERNS {
        return Err(format!("it has more than {MOST_PATTERNS} mail servers"));
    }
    Ok(Policy {
        mode,
        patterns,
        max_age: max_age.min(LONGEST_LIFE),
    })
}

fn is_key(key: &str) -> bool {
    (1..=32).contains(&key.len())
        && key.starts_with(|first: char| first.is_ascii_alphanumeric())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn parse_pattern(value: &str) -> Result<String, String> {
    let pattern = value.to_ascii_lowercase();
    let name = pattern.strip_prefix("*.").unwrap_or(&pattern);
    if !is_domain(name) {
        return Err(format!("'{}' is no mail server", shortened(value)));
    }
    Ok(pattern)
}

/// Whether a text is a full name that can be asked of DNS: letters, digits and hyphens.
pub fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    // An address in digits is no name.
    let last_is_word = |name: &str| {
        name.rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().any(|byte| byte.is_ascii_alphabetic()))
    };
    name.len() <= LONGEST_NAME
        && name.contains('.')
        && name.split('.').all(label)
        && last_is_word(name)
}

/// The identifier of the one policy that TXT records announce.
///
/// Records of other kinds do not count; two that do, or a malformed one, are none.
pub fn parse_records(records: &[String]) -> Option<String> {
    let mut ours = records
        .iter()
        .filter_map(|record| record.strip_prefix("v=STSv1"))
        .filter(|rest| rest.trim_start_matches([' ', '\t']).starts_with(';'));
    let (Some(fields), None) = (ours.next(), ours.next()) else {
        return None;
    };
    let id = fields
        .split(';')
        .filter_map(|field| field.trim_matches([' ', '\t']).split_once('='))
        .find_map(|(key, value)| (key == "id").then_some(value))?;
    let good =
        (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| id.to_owned())
}

/// The beginning of a stranger's text, fit for a log.
fn shortened(text: &str) -> String {
    text.chars()
        .take(60)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Mode, is_domain, parse_policy, parse_records};

    const GOOD: &str = "version: STSv1\r\nmode: enforce\r\nmx: Mail.example.com\r\n\
                        mx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n";

    #[test]
    fn the_example_of_the_rfc_is_read_with_either_line_end() {
        let policy = parse_policy(GOOD.as_bytes()).unwrap();
        assert_eq!(policy.mode, Mode::Enforce);
        assert_eq!(policy.max_age, 604_800);
        assert_eq!(
            policy.patterns,
            ["mail.example.com", "*.example.net", "backupmx.example.com"]
        );
        let unix = GOOD.replace('\r', "");
        assert_eq!(parse_policy(unix.trim_end().as_bytes()), Ok(policy.clone()));
        // Keys to come, the first of two, more space, another order.
        let odd = "x.new-key_1: ü, {y}\nmax_age:604800\nmx:mail.example.com \nmode: ENFORCE\n\
                   mx: *.example.net\nmode: none\nversion: STSv1\nversion: STSv9\n\
                   mx:\tbackupmx.example.com\nmax_age: 1\n\n";
        assert_eq!(parse_policy(odd.as_bytes()), Ok(policy));
    }

    #[test]
    fn no_servers_are_needed_for_no_policy_and_lives_are_bounded() {
        let policy = parse_policy(b"version: STSv1\nmode: none\nmax_age: 9999999999\n").unwrap();
        assert_eq!(policy.max_age, 31_557_600);
        assert!(policy.patterns.is_empty());
    }

    #[test]
    fn what_is_malformed_is_no_policy() {
        let wrong = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            parse_policy(GOOD.replace(from, to).as_bytes()).unwrap_err()
        };
        wrong("STSv1", "STSv2");
        wrong("version: STSv1\r\n", "");
        wrong("mode: enforce\r\n", "");
        wrong("enforce", "maybe");
        for age in ["", "-1", "1h", "12345678901", "+5", "1.5", " "] {
            wrong("604800", age);
        }
        for server in [
            "",
            "*",
            "*.",
            "a",
            "mail.*.com",
            "*.*.com",
            "mail..com",
            "-a.com",
            "a b.com",
            "a{b}.com",
            "192.0.2.1",
            "mail.example.com.",
            "m\u{7}.example",
            "ü.example",
            "a,b.example",
        ] {
            wrong("Mail.example.com", server);
        }
        wrong("mx: *.example.net\r\n", "<html>\r\n");
        wrong("mx: *.example.net\r\n", "\r\n");
        wrong("mx: *.example.net", "mx *.example.net");
        assert!(parse_policy(b"").is_err());
        assert!(parse_policy(b"\xff\xfe").is_err());
        assert!(parse_policy(b"version: STSv1\nmode: enforce\nmax_age: 1\n").is_err());
        let many = "mx: a.example\n".repeat(101);
        let many = format!("version: STSv1\nmode: enforce\nmax_age: 1\n{many}");
        assert!(
            parse_policy(many.as_bytes())
                .unwrap_err()
                .contains("more than 100")
        );
    }

    #[test]
    fn exactly_one_record_counts() {
        let id = |records: &[&str]| {
            let records: Vec<String> = records.iter().map(|one| (*one).to_owned()).collect();
            parse_records(&records)
        };
        assert_eq!(
            id(&["v=STSv1; id=20160831085700Z;"]).as_deref(),
            Some("20160831085700Z")
        );
        assert_eq!(
            id(&["spf", "v=STSv1 ;\tx=y; id=1", "v=STSv10; id=2"]).as_deref(),
            Some("1")
        );
        for none in [
            &["v=STSv1; id=1", "v=STSv1; id=1"][..],
            &["v=STSv1"],
            &["v=STSv1;"],
            &["v=STSv1; id="],
            &["v=STSv1; id=a b"],
            &["v=STSv1; id=a-b"],
            &["V=STSv1; id=1"],
            &[" v=STSv1; id=1"],
            &[],
        ] {
            assert_eq!(id(none), None, "{none:?}");
        }
        let long = format!("v=STSv1; id={}", "a".repeat(33));
        assert_eq!(id(&[&long]), None);
    }

    #[test]
    fn only_names_are_asked_about() {
        assert!(is_domain("example.com") && is_domain("xn--bcher-kva.example"));
        for other in [
            "",
            "localhost",
            ".example.com",
            "[192.0.2.1]",
            "192.0.2.1",
            "a.example:25",
            "a/b.example",
            "..",
            "a_b.example",
        ] {
            assert!(!is_domain(other), "{other}");
        }
    }
}
