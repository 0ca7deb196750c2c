//! What can go wrong with one address, and how it is told when all of them failed.

use std::io;

use thiserror::Error;
use ureq::Error as HttpError;

/// How many names an error lists before it only counts the rest.
const NAMES_LISTED: usize = 5;

/// No mirror has the file any more: the lock is older than the mirrors.
///
/// It stands in the chain of the error that [`super::Fetch::objects`] returns.
#[derive(Debug, Error)]
#[error("{reasons}")]
pub struct Gone {
    /// What was to be fetched.
    pub label: String,
    /// Every address with its answer.
    pub reasons: String,
}

/// Every address answered, and none with the file: some serve other bytes.
#[derive(Debug, Error)]
#[error("{reasons}")]
pub(super) struct Wrong {
    /// Every address with its answer.
    pub reasons: String,
}

/// The network was not to be used and the cache lacks files.
#[derive(Debug, Error)]
#[error("offline, and the cache lacks {}", list(.labels))]
pub struct Missing {
    /// What the cache lacks.
    pub labels: Vec<String>,
}

fn list(labels: &[String]) -> String {
    let named = labels[..labels.len().min(NAMES_LISTED)].join(", ");
    match labels.len().saturating_sub(NAMES_LISTED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Why an address did not yield a file.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It may work in a moment: a connection, a time-out, a busy server.
    Transient {
        /// In words.
        reason: String,
        /// How many seconds the server asked to wait.
        retry_after: Option<u64>,
        /// Whether so much came that the attempt was not in vain.
        advanced: bool,
    },
    /// The file is not there and will not be.
    Gone(String),
    /// What came is not the file, or the address is of no use.
    Bad(String),
    /// What came does not pass the check of who asked for it.
    Refused(anyhow::Error),
    /// No address can help: the disk is full, say.
    Fatal(anyhow::Error),
}

impl Problem {
    pub(crate) fn transient(reason: impl Into<String>) -> Self {
        Self::Transient {
            reason: reason.into(),
            retry_after: None,
            advanced: false,
        }
    }

    /// Sorts a failed request.
    pub(crate) fn of_request(error: &HttpError) -> Self {
        match error {
            // A certificate that nobody vouches for arrives as invalid data.
            HttpError::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                Self::Bad(io_words(error))
            }
            HttpError::Io(error) => Self::transient(io_words(error)),
            HttpError::Timeout(_)
            | HttpError::HostNotFound
            | HttpError::ConnectionFailed
            | HttpError::Protocol(_) => Self::transient(words(error)),
            _ => Self::Bad(words(error)),
        }
    }

    /// Sorts an answer that is neither 200 nor 206.
    pub(crate) fn of_status(status: u16, retry_after: Option<u64>) -> Self {
        let reason = format!("answered {status}");
        match status {
            404 | 410 => Self::Gone(reason),
            408 | 425 | 429 | 500..=599 => Self::Transient {
                reason,
                retry_after,
                advanced: false,
            },
            _ => Self::Bad(reason),
        }
    }

    /// Sorts a transfer that broke off.
    pub(crate) fn of_transfer(error: &io::Error, done: u64) -> Self {
        Self::transient(format!("broke off after {done} bytes: {}", io_words(error)))
    }
}

fn io_words(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(inner) => words(inner),
        None => error.to_string(),
    }
}

fn words(error: &HttpError) -> String {
    match error {
        HttpError::Timeout(
            ureq::Timeout::PerRead | ureq::Timeout::PerWrite | ureq::Timeout::RecvResponse,
        ) => "stalled".to_owned(),
        HttpError::Timeout(ureq::Timeout::Connect) => "no connection in time".to_owned(),
        HttpError::Timeout(_) => "too slow".to_owned(),
        HttpError::HostNotFound => "host name not found".to_owned(),
        HttpError::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::Missing;

    #[test]
    fn long_lists_of_missing_files_are_counted() {
        let labels: Vec<String> = (1..=7).map(|number| format!("p{number}")).collect();
        assert_eq!(
            Missing { labels }.to_string(),
            "offline, and the cache lacks p1, p2, p3, p4, p5 and 2 more"
        );
    }
}
