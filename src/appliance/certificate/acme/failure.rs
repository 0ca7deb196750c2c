//! What kept a certificate from coming, in words for its owner.
//!
//! Problem types: RFC 8555, section 6.7,
//! <https://www.rfc-editor.org/rfc/rfc8555#section-6.7>.

use super::client::CaError;
use instant_acme::Problem;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What problem types of ACME begin with.
const PROBLEM_PREFIX: &str = "urn:ietf:params:acme:error:";
/// Longest text of others that is kept.
const FOREIGN_TEXT_BYTES_MAX: usize = 600;

/// What sort of failure it is: what to do next depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The machine's clock is wrong.
    Clock,
    /// The name is not in DNS.
    NoSuchName,
    /// The name leads to another machine.
    PointsElsewhere,
    /// The name servers of the name do not answer.
    NameServers,
    /// The machine's own web server does not answer.
    WebServer,
    /// The CA cannot be reached.
    Unreachable,
    /// The CA answers with an error of its own.
    Refused,
    /// The CA has had enough of us for now.
    RateLimited,
    /// The CA does not take the account.
    Account,
    /// The CA could not connect to the machine.
    Port,
    /// The CA reached something else than the machine's answer.
    Validation,
    /// The CA does not find the name in DNS.
    Dns,
    /// DNS forbids the CA to issue (RFC 8659).
    Caa,
    /// The answer was to another nonce; only a matter of asking again.
    Nonce,
    /// The CA no longer knows the account.
    AccountGone,
    /// The CA no longer knows the order.
    OrderGone,
    /// What the CA sent is not what was ordered.
    Chain,
    /// Certificates come, and still more are due: something is wrong.
    Enough,
    /// The machine itself failed.
    Machine,
}

/// One failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What sort.
    pub kind: Kind,
    /// What happened.
    pub text: String,
    /// What mends it.
    pub hint: String,
    /// When the CA wants to be asked again, in seconds since 1970.
    #[serde(default)]
    pub retry_after: Option<i64>,
}

impl Failure {
    /// A failure with its advice.
    pub fn new(kind: Kind, text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            kind,
            text: shortened(text.into()),
            hint: hint.into(),
            retry_after: None,
        }
    }

    /// What sort it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether nobody was asked: it costs nothing to look again soon.
    pub fn is_local(&self) -> bool {
        matches!(
            self.kind,
            Kind::Clock
                | Kind::NoSuchName
                | Kind::PointsElsewhere
                | Kind::NameServers
                | Kind::WebServer
        )
    }

    /// What an error of the CA's library means.
    pub fn of_error(error: &instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::of_problem(problem),
            instant_acme::Error::Other(other) => match other.downcast_ref::<CaError>() {
                Some(error) => Self::of_client(error),
                None => Self::refused(other.to_string()),
            },
            instant_acme::Error::Timeout(_) => {
                Self::refused("it did not decide in time".to_owned())
            }
            other => Self::refused(format!("an answer that is none: {other}")),
        }
    }

    fn of_client(error: &CaError) -> Self {
        let hint = match error {
            CaError::Unreachable { reason, .. } if reason.contains("certificate") => {
                "the certificate of the CA's own server is not trusted: for a private CA set \
                 ACME_CA_FILE; otherwise see whether the clock is right"
            }
            CaError::Unreachable { .. } => {
                "check ACME_DIRECTORY_URL and whether the machine reaches the internet"
            }
            CaError::Status { .. } | CaError::TooLarge { .. } => {
                "check ACME_DIRECTORY_URL; if it is right, the CA has trouble of its own"
            }
        };
        let kind = match error {
            CaError::Unreachable { .. } => Kind::Unreachable,
            CaError::Status { status: 429, .. } => Kind::RateLimited,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string(), hint)
    }

    fn refused(text: String) -> Self {
        Self::new(
            Kind::Refused,
            format!("the CA refuses: {text}"),
            "nothing has to be done if this passes by itself",
        )
    }

    /// What a problem document means.
    pub fn of_problem(problem: &Problem) -> Self {
        let name = problem.r#type.as_deref().unwrap_or_default();
        let name = name.strip_prefix(PROBLEM_PREFIX).unwrap_or(name);
        let mut detail = problem.detail.clone().unwrap_or_default();
        for part in &problem.subproblems {
            detail.push_str(&format!("; {part}"));
        }
        if detail.is_empty() {
            name.clone_into(&mut detail);
        }
        let (kind, text, hint) = match name {
            "badNonce" => (Kind::Nonce, "the CA refuses every nonce", ""),
            "rateLimited" => (
                Kind::RateLimited,
                "the CA's limit is reached",
                "nothing has to be done: it is asked again when it allows",
            ),
            "accountDoesNotExist" => (Kind::AccountGone, "the CA does not know the account", ""),
            "externalAccountRequired" => (
                Kind::Account,
                "the CA wants an account that it gave out",
                "set ACME_EAB_KID and ACME_EAB_HMAC to what the CA gave you, then run \
                 mailctl settings apply",
            ),
            "unauthorized" | "invalidContact" | "unsupportedContact" | "userActionRequired"
            | "badPublicKey" => (
                Kind::Account,
                "the CA refuses the account",
                "check ACME_EAB_KID, ACME_EAB_HMAC and ADMIN_EMAIL",
            ),
            "caa" => (
                Kind::Caa,
                "a CAA record in DNS forbids the CA to issue",
                "mailctl dns records shows the CAA record that allows it",
            ),
            "dns" => (
                Kind::Dns,
                "the CA does not find the name in DNS",
                "mailctl dns check shows what is wrong in DNS; what was published just now \
                 takes its time to reach everybody",
            ),
            "rejectedIdentifier" | "unsupportedIdentifier" => (
                Kind::Refused,
                "the CA does not issue for this name",
                "check HOSTNAME, or choose another CA by ACME_DIRECTORY_URL",
            ),
            _ => (
                Kind::Refused,
                "the CA refuses",
                "nothing has to be done if this passes by itself",
            ),
        };
        Self::new(kind, format!("{text}: {detail}"), hint)
    }

    /// What the error of an order means: that of its challenge, if it can be one.
    ///
    /// The words are those of RFC 8555, section 6.7
    /// (<https://www.rfc-editor.org/rfc/rfc8555#section-6.7>).
    pub fn of_order(problem: &Problem, port: u16) -> Self {
        const OF_CHALLENGES: [&str; 6] = [
            "caa",
            "connection",
            "dns",
            "incorrectResponse",
            "tls",
            "unauthorized",
        ];
        let name = problem.r#type.as_deref().unwrap_or_default();
        let name = name.strip_prefix(PROBLEM_PREFIX).unwrap_or(name);
        if OF_CHALLENGES.contains(&name) {
            Self::of_challenge(problem, port)
        } else {
            Self::of_problem(problem)
        }
    }

    /// What a failed challenge means; `port` is where the CA had to connect to.
    pub fn of_challenge(problem: &Problem, port: u16) -> Self {
        let name = problem.r#type.as_deref().unwrap_or_default();
        let detail = problem.detail.clone().unwrap_or_default();
        // Some CAs have no words of their own for these, and say it only in the text.
        let unresolved = ["could not resolve", "no such host", "NXDOMAIN", "SERVFAIL"];
        if unresolved.iter().any(|text| detail.contains(text)) {
            let mut problem = problem.clone();
            problem.r#type = Some(format!("{PROBLEM_PREFIX}dns"));
            return Self::of_problem(&problem);
        }
        let refused = ["connection refused", "i/o timeout", "no route to host"];
        let unconnected =
            name.ends_with(":connection") || refused.iter().any(|text| detail.contains(text));
        if unconnected {
            return Self::new(
                Kind::Port,
                format!("the CA cannot connect to port {port}: {detail}"),
                format!(
                    "open port {port} in the provider's firewall, and forward it when behind NAT; \
                     mailctl dns check shows whether DNS is right"
                ),
            );
        }
        if name.ends_with(":dns") || name.ends_with(":caa") {
            return Self::of_problem(problem);
        }
        Self::new(
            Kind::Validation,
            format!("the CA reached something else on port {port}: {detail}"),
            "another machine answers for this name, or another web server in front of this one \
             does not pass /.well-known/acme-challenge/ on; check A and AAAA records",
        )
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(
            Kind::Machine,
            format!("{error:#}"),
            "mailctl status shows whether the disk is full",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Text of others on one line, without what a terminal acts on.
fn shortened(text: String) -> String {
    let clean = |character: char| {
        if character.is_control() {
            ' '
        } else {
            character
        }
    };
    text.chars()
        .take(FOREIGN_TEXT_BYTES_MAX)
        .map(clean)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Failure, Kind};
    use instant_acme::Problem;

    fn problem(name: &str, detail: &str) -> Problem {
        Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{name}")),
            detail: Some(detail.to_owned()),
            status: None,
            subproblems: Vec::new(),
        }
    }

    #[test]
    fn problems_are_told_apart() {
        for (name, kind) in [
            ("rateLimited", Kind::RateLimited),
            ("externalAccountRequired", Kind::Account),
            ("accountDoesNotExist", Kind::AccountGone),
            ("caa", Kind::Caa),
            ("somethingNew", Kind::Refused),
        ] {
            let failure = Failure::of_problem(&problem(name, "why\u{1b}[31m"));
            assert_eq!(failure.kind, kind, "{name}");
            assert!(failure.text.contains("why [31m"), "{}", failure.text);
        }
        let of = |name: &str, detail: &str| Failure::of_challenge(&problem(name, detail), 80).kind;
        assert_eq!(of("connection", "Timeout during connect"), Kind::Port);
        assert_eq!(
            of("unauthorized", "dial tcp: connection refused"),
            Kind::Port
        );
        assert_eq!(of("unauthorized", "404"), Kind::Validation);
        assert_eq!(of("dns", "looking up A"), Kind::Dns);
        assert_eq!(of("connection", "could not resolve URL"), Kind::Dns);
        // The order of a shut port once said so before its challenge did, which cost the
        // other way of proving.
        let of = |name: &str| Failure::of_order(&problem(name, "why"), 80).kind;
        assert_eq!(of("connection"), Kind::Port);
        assert_eq!(of("unauthorized"), Kind::Validation);
        assert_eq!(of("caa"), Kind::Caa);
        assert_eq!(of("rateLimited"), Kind::RateLimited);
        let empty = Problem {
            r#type: None,
            detail: None,
            status: None,
            subproblems: Vec::new(),
        };
        assert_eq!(Failure::of_problem(&empty).kind, Kind::Refused);
    }
}
