//! SPF, RFC 7208 (<https://www.rfc-editor.org/rfc/rfc7208>).
//!
//! The rules are those of the crate `mail-auth`; this file says whom to ask,
//! for how long, and how the outcome is written down (RFC 8601 section 2.7.2).
//! No result refuses mail: DMARC, further on, decides what follows from it. The
//! crate is milder than the RFC where a record is wrong: it passes over
//! mechanisms it does not know, takes the first of several records, and counts
//! lookups without counting empty ones apart.

use crate::appliance::wire::authenticator::authenticator;
use anyhow::Result;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{MessageAuthenticator, SpfResult};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::timeout;

/// Longest wait for all answers together; RFC 7208 section 4.6.4 allows 20 s.
const SPF_LIMIT: Duration = Duration::from_secs(10);

/// One client and whom it says to write for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfQuestion {
    /// The client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// MAIL FROM without brackets, empty for a bounce.
    pub sender: String,
}

impl SpfQuestion {
    /// The domain asked about and how it is called in a result.
    fn identity(&self) -> (&'static str, &str) {
        match self.sender.rsplit_once('@') {
            Some((_, domain)) => ("smtp.mailfrom", domain),
            None => ("smtp.helo", &self.helo),
        }
    }
}

/// Asks one name server.
pub struct SpfChecker {
    authenticator: MessageAuthenticator,
}

impl SpfChecker {
    /// A checker that asks this server.
    pub fn new(server: SocketAddr) -> Result<Self> {
        Ok(Self {
            authenticator: authenticator(server)?,
        })
    }

    /// The value of this host's Authentication-Results header about a client.
    pub async fn check(&self, host: &str, question: &SpfQuestion) -> String {
        let SpfQuestion {
            client,
            helo,
            sender,
        } = question;
        let parameters = if sender.contains('@') {
            SpfParameters::verify_mail_from(*client, helo, host, sender)
        } else {
            SpfParameters::verify_ehlo(*client, helo, host)
        };
        let result = match timeout(SPF_LIMIT, self.authenticator.verify_spf(parameters)).await {
            Ok(output) => output.result(),
            Err(_) => SpfResult::TempError,
        };
        header_value(host, question, result)
    }
}

fn header_value(host: &str, question: &SpfQuestion, result: SpfResult) -> String {
    let (property, domain) = question.identity();
    let result = match result {
        SpfResult::Pass => "pass",
        SpfResult::Fail => "fail",
        SpfResult::SoftFail => "softfail",
        SpfResult::Neutral => "neutral",
        SpfResult::TempError => "temperror",
        SpfResult::PermError => "permerror",
        SpfResult::None => "none",
    };
    if is_domain(domain) {
        format!("{host}; spf={result} {property}={domain}")
    } else {
        // Nothing a stranger chose goes into the header unless it is a domain.
        format!("{host}; spf=none")
    }
}

fn is_domain(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::{SpfChecker, SpfQuestion, header_value};
    use crate::appliance::filter::name_server;
    use mail_auth::SpfResult;

    fn question(client: &str, helo: &str, sender: &str) -> SpfQuestion {
        SpfQuestion {
            client: client.parse().unwrap(),
            helo: helo.to_owned(),
            sender: sender.to_owned(),
        }
    }

    #[test]
    fn results_as_text() {
        let value = |sender, result| {
            header_value(
                "mx.example",
                &question("192.0.2.1", "h.example", sender),
                result,
            )
        };
        assert_eq!(
            value("a@b.example", SpfResult::SoftFail),
            "mx.example; spf=softfail smtp.mailfrom=b.example"
        );
        assert_eq!(
            value("", SpfResult::Pass),
            "mx.example; spf=pass smtp.helo=h.example"
        );
        assert_eq!(
            value("a@b.example;x=y", SpfResult::Pass),
            "mx.example; spf=none"
        );
    }

    #[tokio::test]
    async fn answers_of_a_name_server() {
        let server = name_server::start(&[
            (
                "a.example",
                "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all",
            ),
            ("b.example", "v=spf1 include:a.example ~all"),
            ("c.example", "unrelated"),
            ("d.example", "v=spf1 ip4:bogus -all"),
            ("e.example", "v=spf1 redirect=gone.example"),
        ])
        .await;
        let checker = SpfChecker::new(server).unwrap();
        for (client, sender, expected) in [
            ("192.0.2.9", "x@a.example", "pass smtp.mailfrom=a.example"),
            ("2001:db8::9", "x@a.example", "pass smtp.mailfrom=a.example"),
            (
                "198.51.100.1",
                "x@a.example",
                "fail smtp.mailfrom=a.example",
            ),
            ("192.0.2.9", "x@b.example", "pass smtp.mailfrom=b.example"),
            (
                "198.51.100.1",
                "x@b.example",
                "softfail smtp.mailfrom=b.example",
            ),
            ("192.0.2.9", "x@c.example", "none smtp.mailfrom=c.example"),
            (
                "192.0.2.9",
                "x@gone.example",
                "none smtp.mailfrom=gone.example",
            ),
            (
                "192.0.2.9",
                "x@d.example",
                "permerror smtp.mailfrom=d.example",
            ),
            (
                "192.0.2.9",
                "x@e.example",
                "permerror smtp.mailfrom=e.example",
            ),
            (
                "192.0.2.9",
                "x@fails.example",
                "temperror smtp.mailfrom=fails.example",
            ),
            ("192.0.2.9", "", "pass smtp.helo=a.example"),
        ] {
            let value = checker
                .check("mx.example", &question(client, "a.example", sender))
                .await;
            assert_eq!(value, format!("mx.example; spf={expected}"), "{sender}");
        }
    }
}
