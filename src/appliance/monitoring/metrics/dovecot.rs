//! What Dovecot counts itself, and who is logged in.
//!
//! Its statistics come in OpenMetrics
//! (<https://doc.dovecot.org/2.4.1/core/config/statistics.html>) over a socket of its own, from
//! the blocks `metric` of its configuration. They begin at zero with each of its starts, which
//! whoever computes rates sees by itself. Labels are sorted into words of ours again: the store
//! never depends on what another program may come to say.

use super::exposition::{Buckets, Samples, number};
use crate::appliance::dovecot::share::count_sessions;
use crate::appliance::machine::place::{self, Place};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// It answers at once, or not at all.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Longest answer; all our blocks together take 60 kB.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Commands of RFC 9051 and what extensions added, as Dovecot knows them.
const COMMANDS: [&str; 50] = [
    "APPEND",
    "AUTHENTICATE",
    "CANCELUPDATE",
    "CAPABILITY",
    "CHECK",
    "CLOSE",
    "COMPRESS",
    "COPY",
    "CREATE",
    "DELETE",
    "DELETEACL",
    "ENABLE",
    "EXAMINE",
    "EXPUNGE",
    "FETCH",
    "GETACL",
    "GETMETADATA",
    "GETQUOTA",
    "GETQUOTAROOT",
    "ID",
    "IDLE",
    "LIST",
    "LOGIN",
    "LOGOUT",
    "LSUB",
    "MOVE",
    "NAMESPACE",
    "NOOP",
    "NOTIFY",
    "RENAME",
    "SEARCH",
    "SELECT",
    "SETMETADATA",
    "SORT",
    "STARTTLS",
    "STATUS",
    "STORE",
    "SUBSCRIBE",
    "THREAD",
    "UNSELECT",
    "UNSUBSCRIBE",
    "UID COPY",
    "UID EXPUNGE",
    "UID FETCH",
    "UID MOVE",
    "UID SEARCH",
    "UID SORT",
    "UID STORE",
    "UID THREAD",
    "XLIST",
];
/// What filters do (RFC 5228 and its extensions).
const ACTIONS: [&str; 6] = [
    "keep", "fileinto", "redirect", "vacation", "reject", "discard",
];
/// Protocols of logins, and what they are called here.
const LOGINS: [(&str, &str); 4] = [
    ("imap", "imap"),
    ("sieve", "sieve"),
    ("managesieve", "sieve"),
    ("smtp", "smtp"),
];
/// What is in no list.
const OTHER: &str = "other";

/// Adds all of it, and says whether Dovecot answered.
pub async fn show_dovecot(place: &Place, samples: &mut Samples) -> bool {
    if !place.is_machine() {
        return false;
    }
    let text = timeout(ANSWER_LIMIT, ask(place::DOVECOT_FIGURES, REQUEST)).await;
    let Ok(Ok(text)) = text else {
        return false;
    };
    show_counts(&text, samples);
    let list = timeout(ANSWER_LIMIT, ask(place::DOVECOT_SESSIONS, SESSIONS)).await;
    if let Ok(Ok(list)) = list {
        let mut sums = BTreeMap::from([("imap", 0), ("sieve", 0)]);
        for service in count_sessions(&list) {
            if let Some(sum) = sums.get_mut(known_login(service)) {
                *sum += 1;
            }
        }
        for (service, sum) in sums {
            samples.add("dovecot_sessions", &[service], number(sum));
        }
    }
    true
}

const REQUEST: &str = "GET /metrics HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const SESSIONS: &str = "VERSION\tanvil-client\t2\t0\n\nCONNECT-DUMP\n";

/// Asks at a socket, and reads to the end or to the empty line that ends a list.
async fn ask(path: &str, question: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut bytes = Vec::new();
    let mut stream = stream.take(LONGEST_ANSWER);
    let is_list = !question.starts_with("GET ");
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            break;
        }
        // Anvil's list has an empty line behind its head, and one at its end.
        let ends = bytes.windows(2).filter(|pair| pair == b"\n\n").count();
        if is_list && bytes.ends_with(b"\n\n") && ends > 1 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line `NAME{LABEL="VALUE",…} NUMBER`.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

fn parse(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",");
    let labels = labels.filter_map(|label| {
        let (name, value) = label.split_once("=\"")?;
        Some((name, value.trim_end_matches('"')))
    });
    Some(Sample {
        name,
        labels: labels.collect(),
        value,
    })
}

fn known(words: &'static [&'static str], word: &str) -> &'static str {
    let found = words.iter().find(|known| known.eq_ignore_ascii_case(word));
    found.copied().unwrap_or(OTHER)
}

fn known_login(word: &str) -> &'static str {
    let found = LOGINS.iter().find(|(protocol, _)| *protocol == word);
    found.map_or(OTHER, |(_, service)| service)
}

fn show_counts(text: &str, samples: &mut Samples) {
    let mut sums: BTreeMap<(&'static str, Vec<&'static str>), f64> = BTreeMap::new();
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let mut sum = 0.0;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(Sample {
            name,
            labels,
            value,
        }) = parse(line)
        else {
            continue;
        };
        let label = |wanted: &str| {
            let found = labels.iter().find(|(name, _)| *name == wanted);
            found.map_or("", |(_, value)| *value)
        };
        let mut add = |name, labels| *sums.entry((name, labels)).or_default() += value;
        match name {
            // A line without the second label is the sum of those with it. It says `yes` or
            // nothing.
            "dovecot_login_total" if labels.len() == 2 => {
                let is_success = label("success") == "yes";
                let result = if is_success { "ok" } else { "failed" };
                add(
                    "dovecot_logins_total",
                    vec![known_login(label("protocol")), result],
                );
            }
            "dovecot_delivery_total" => add("dovecot_deliveries_total", vec!["ok"]),
            "dovecot_failed_delivery_total" => add("dovecot_deliveries_total", vec!["failed"]),
            "dovecot_filter_action_total" if !label("action_name").is_empty() => {
                let action = known(&ACTIONS, label("action_name"));
                add("dovecot_sieve_actions_total", vec![action]);
            }
            "dovecot_command_total" if !label("cmd_name").is_empty() => {
                let command = known(&COMMANDS, label("cmd_name"));
                add("dovecot_imap_commands_total", vec![command]);
            }
            "dovecot_command_duration_seconds_total" if !label("cmd_name").is_empty() => {
                let command = known(&COMMANDS, label("cmd_name"));
                add("dovecot_imap_command_seconds_total", vec![command]);
            }
            "dovecot_command_time_bucket" => {
                if let Ok(limit) = label("le").parse() {
                    buckets.push((limit, whole(value)));
                }
            }
            "dovecot_command_time_sum" => sum = value,
            _ => {}
        }
    }
    for ((name, labels), sum) in sums {
        samples.add(name, &labels, sum);
    }
    show_times(&buckets, sum, samples);
}

fn show_times(buckets: &[(f64, u64)], sum: f64, samples: &mut Samples) {
    let finite = buckets.iter().filter(|(limit, _)| limit.is_finite());
    let (limits, counts): (Vec<f64>, Vec<u64>) = finite.copied().unzip();
    if let Some((_, all)) = buckets.last() {
        let buckets = Buckets {
            limits: &limits,
            counts: &counts,
            number: *all,
            sum,
        };
        samples.add_histogram("dovecot_imap_command_duration_seconds", &[], &buckets);
    }
}

fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    let whole = value.max(0.0) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, known, show_counts};
    use crate::appliance::monitoring::metrics::exposition::Samples;

    /// Printed by Dovecot 2.4.1.
    const TEXT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2715\r\n\r\n\
        # TYPE dovecot_login counter\n\
        dovecot_login_total{protocol=\"imap\"} 3\n\
        dovecot_login_total{protocol=\"imap\",success=\"\"} 2\n\
        dovecot_login_total{protocol=\"imap\",success=\"yes\"} 1\n\
        dovecot_login_total{protocol=\"new\",success=\"yes\"} 1\n\
        dovecot_login_count 3\n\
        dovecot_delivery_total 5\n\
        dovecot_failed_delivery_total 1\n\
        dovecot_filter_action_total{action_name=\"fileinto\"} 2\n\
        dovecot_filter_action_total{action_name=\"new\"} 1\n\
        dovecot_filter_action_count 3\n\
        dovecot_command_total{cmd_name=\"SELECT\"} 1\n\
        dovecot_command_total{cmd_name=\"unknown\"} 2\n\
        dovecot_command_duration_seconds_total{cmd_name=\"SELECT\"} 0.001102\n\
        dovecot_command_time_bucket{le=\"0.001000\"} 1\n\
        dovecot_command_time_bucket{le=\"10.000000\"} 2\n\
        dovecot_command_time_bucket{le=\"+Inf\"} 3\n\
        dovecot_command_time_sum 0.5\n\
        # EOF\n";

    #[test]
    fn what_it_counts_is_shown_in_our_words() {
        let mut samples = Samples::default();
        show_counts(TEXT, &mut samples);
        insta::assert_snapshot!(samples.text());
        let mut samples = Samples::default();
        show_counts("HTTP/1.1 500 no\r\n\r\n{} x{ y=\" 1", &mut samples);
        assert_eq!(samples.count(), 0);
        assert_eq!(known(&COMMANDS, "uid fetch"), "UID FETCH");
    }
}
