//! Attempts to deliver, and encryption on the way.

use crate::appliance::monitoring::metrics::counters::Counters;

/// Daemons that deliver, as they are shown.
const TRANSPORTS: [&str; 3] = ["lmtp", "smtp", "error"];
/// What an attempt may end in, as qmgr(8) and bounce(8) write it.
const STATUSES: [(&str, &str); 6] = [
    ("sent", "sent"),
    ("deferred", "deferred"),
    ("bounced", "bounced"),
    ("expired", "expired"),
    ("force-expired", "expired"),
    ("undeliverable", "bounced"),
];
/// The four times of `delays=`, https://www.postfix.org/postconf.5.html#delay_logging_resolution_limit
const STAGES: [&str; 4] = ["before_queue", "queue", "connection", "transmission"];
/// Large providers: how their mail servers' names end, and domains where no server was reached.
const PROVIDERS: [(&str, &[&str]); 9] = [
    ("google", &["google.com", "googlemail.com", "gmail.com"]),
    (
        "microsoft",
        &[
            "outlook.com",
            "hotmail.com",
            "live.com",
            "msn.com",
            "outlook.de",
            "hotmail.de",
        ],
    ),
    (
        "yahoo",
        &[
            "yahoodns.net",
            "yahoo.com",
            "yahoo.de",
            "ymail.com",
            "aol.com",
        ],
    ),
    ("apple", &["icloud.com", "me.com", "mac.com", "apple.com"]),
    (
        "gmx",
        &[
            "gmx.net", "gmx.de", "gmx.com", "gmx.at", "gmx.ch", "web.de", "1und1.de",
        ],
    ),
    ("telekom", &["t-online.de", "magenta.de"]),
    (
        "proton",
        &["protonmail.ch", "proton.me", "protonmail.com", "pm.me"],
    ),
    (
        "fastmail",
        &["messagingengine.com", "fastmail.com", "fastmail.fm"],
    ),
    ("yandex", &["yandex.ru", "yandex.net", "yandex.com"]),
];
/// Ciphers that both sides of this image may agree on.
const CIPHERS: [&str; 9] = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];
const PROTOCOLS: [&str; 4] = ["TLSv1.3", "TLSv1.2", "TLSv1.1", "TLSv1"];
/// What is in no list.
const OTHER: &str = "other";

/// Counts `to=<…>, relay=…, delay=…, delays=…/…/…/…, dsn=…, status=… (…)`.
pub fn count(daemon: &str, text: &str, counters: &mut Counters) {
    let transport = known(&TRANSPORTS, daemon);
    // The first ones: what the other server said comes last.
    let status = text.split_once("status=").map_or("", |(_, rest)| rest);
    let status = status.split([' ', ',']).next().unwrap_or_default();
    let status = STATUSES.iter().find(|(word, _)| *word == status);
    let status = status.map_or(OTHER, |(_, status)| status);
    counters.count("postfix_deliveries_total", &[transport, status]);
    let relay = between(text, ">, relay=", ",").unwrap_or_default();
    if transport == "smtp" {
        let host = relay
            .split('[')
            .next()
            .filter(|host| !host.is_empty() && *host != "none");
        let domain = between(text, "to=<", ">, ").and_then(|to| to.rsplit_once('@'));
        let whose = host
            .or(domain.map(|(_, domain)| domain))
            .unwrap_or_default();
        let labels = [provider(whose), status];
        counters.count("postfix_deliveries_by_destination_total", &labels);
    }
    if status == "sent" {
        let delays = between(text, ", delays=", ",").unwrap_or_default();
        for (stage, seconds) in STAGES.iter().zip(delays.split('/')) {
            if let Ok(seconds) = seconds.parse::<f64>()
                && seconds.is_finite()
            {
                counters.note_delay("postfix_delivery_delay_seconds", &[stage], seconds.max(0.0));
            }
        }
    }
}

/// Protocol and cipher of `TLS connection established …: TLSv1.3 with cipher NAME (…) …`.
pub fn encryption(text: &str) -> (&'static str, &'static str) {
    let Some((before, after)) = text.split_once(" with cipher ") else {
        return (OTHER, OTHER);
    };
    let protocol = before.rsplit(' ').next().unwrap_or_default();
    let cipher = after.split(' ').next().unwrap_or_default();
    (known(&PROTOCOLS, protocol), known(&CIPHERS, cipher))
}

fn known(words: &'static [&'static str], word: &str) -> &'static str {
    let found = words.iter().find(|known| **known == word);
    found.copied().unwrap_or(OTHER)
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

fn provider(host: &str) -> &'static str {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let is_in = |domain: &&str| {
        let front = host.strip_suffix(domain);
        front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let found = PROVIDERS
        .iter()
        .find(|(_, domains)| domains.iter().any(is_in));
    found.map_or(OTHER, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::{encryption, provider};

    #[test]
    fn providers_are_known_by_their_servers_and_strangers_are_other() {
        for (host, expected) in [
            ("gmail-smtp-in.l.google.com", "google"),
            ("b-example.mail.protection.outlook.com", "microsoft"),
            ("MX-EU.MAIL.AM0.yahoodns.net.", "yahoo"),
            ("mx00.t-online.de", "telekom"),
            ("gmail.com", "google"),
            ("evilgmail.com", "other"),
            ("google.com.evil.example", "other"),
            ("", "other"),
        ] {
            assert_eq!(provider(host), expected, "{host}");
        }
    }

    #[test]
    fn encryption_is_one_that_we_know_or_other() {
        let line = |protocol: &str, cipher: &str| {
            format!(
                "Anonymous TLS connection established from a[192.0.2.1]: {protocol} with cipher {cipher} (256/256 bits)"
            )
        };
        let cipher = "TLS_AES_256_GCM_SHA384";
        assert_eq!(encryption(&line("TLSv1.3", cipher)), ("TLSv1.3", cipher));
        assert_eq!(encryption(&line("x", "y")), ("other", "other"));
        assert_eq!(encryption(""), ("other", "other"));
    }
}
