//! What goes wrong with a registry, and for how long that is put up with.

use std::io::Read;
use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::Deserialize;

use super::message::Answer;
use crate::builder::fetch::{FetchOptions, Problem};
use crate::error::{Hint, hinted};

/// The longest pause that a registry may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// Most bytes of an answer that says what is wrong.
const WORDS_BYTES_MAX: u64 = 1 << 14;
/// Most characters of them that are shown.
const WORDS_SHOWN_MAX: usize = 200;
/// What helps where patience does not.
const LATER: &str = "check the network, and what the registry's log says; the same command goes \
                     on where this one stopped";
const BUSY: &str = "the registry limits how often it is asked: run the same command again later, \
                    it goes on where this one stopped";
const FULL: &str = "the registry is in trouble, a full disk perhaps, and its log says more; the \
                    same command goes on where this one stopped";

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may work in a moment.
    Later {
        reason: String,
        /// How long the registry asked to wait.
        pause: Option<Duration>,
        hint: &'static str,
    },
    /// It will not.
    Final(anyhow::Error),
}

impl Failure {
    /// An answer that nobody can follow.
    pub fn unusable(what: &str) -> Self {
        Self::Final(hinted(
            format!("the registry {what}"),
            "check the reference: this may be no registry; or ask who runs it",
        ))
    }

    /// Sorts what went wrong on the way.
    pub fn of(problem: Problem) -> Self {
        match problem {
            Problem::Transient { reason, .. } => Self::Later {
                reason,
                pause: None,
                hint: LATER,
            },
            Problem::Fatal(error) | Problem::Refused(error) => Self::Final(error),
            Problem::Gone(reason) | Problem::Bad(reason) => Self::Final(hinted(
                reason,
                "check the reference; `--ca-file FILE` names a CA of your own, and a registry on this machine may do without TLS, with --plain-http",
            )),
        }
    }

    /// An answer that another try may change.
    pub fn later(answer: Answer) -> Self {
        Self::Later {
            reason: words(answer),
            pause: None,
            hint: LATER,
        }
    }

    /// The registry took what was sent, and kept none of it.
    pub fn in_vain() -> Self {
        Self::Later {
            reason: "the registry keeps nothing of what is sent".to_owned(),
            pause: None,
            hint: FULL,
        }
    }

    /// Tells answers that say to come back later from others.
    pub fn of_later(answer: Answer) -> Result<Answer, Self> {
        let hint = match answer.status {
            429 => BUSY,
            408 | 425 => LATER,
            500..=599 => FULL,
            _ => return Ok(answer),
        };
        let pause = answer.header("retry-after").and_then(pause_of);
        Err(Self::Later {
            pause,
            hint,
            reason: words(answer),
        })
    }

    /// The same for who fetches files.
    pub fn into_problem(self) -> Problem {
        match self {
            Self::Later { reason, pause, .. } => Problem::Transient {
                reason,
                retry_after: pause.map(|pause| pause.as_secs()),
                advanced: false,
            },
            Self::Final(error) => Problem::Fatal(error),
        }
    }
}

/// Seconds, or a moment, RFC 9110 section 10.2.3.
fn pause_of(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    let seconds = moment.as_second() - Timestamp::now().as_second();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}

/// What an answer says besides its status.
pub(super) fn words(answer: Answer) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Said>,
    }
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = answer.status;
    let mut text = Vec::new();
    // Half an explanation is as good as none.
    let _ = answer.reader.take(WORDS_BYTES_MAX).read_to_end(&mut text);
    let said = serde_json::from_slice(&text).ok();
    let said = said.and_then(|all: Errors| all.errors.into_iter().next());
    let Some(said) = said else {
        return format!("the registry answered {status}");
    };
    let mut words = format!("{} {}", said.code, said.message);
    if let Some((end, _)) = words.char_indices().nth(WORDS_SHOWN_MAX) {
        words.truncate(end);
    }
    format!("the registry answered {status} ({})", words.trim())
}

/// The error of an answer that is no success.
pub(super) fn refusal(answer: Answer) -> anyhow::Error {
    let hint = match answer.status {
        404 => Some("check the reference: registry, repository and tag have to be there"),
        405 => Some("the registry only reads, or is none: ask who runs it"),
        413 => Some(
            "the registry, or a proxy before it, takes no files of this size: ask who runs it to \
             raise the limit, client_max_body_size in nginx",
        ),
        _ => None,
    };
    let error = anyhow!(words(answer));
    match hint {
        Some(hint) => Err::<(), _>(error).hint(hint).unwrap_err(),
        None => error,
    }
}

/// How often something may come to nothing, one time after the other.
pub(super) struct Patience {
    rounds: u32,
    first_pause: Duration,
    vain: u32,
}

impl Patience {
    pub fn new(options: &FetchOptions) -> Self {
        Self {
            rounds: options.rounds,
            first_pause: options.pause,
            vain: 0,
        }
    }

    /// Something came of it.
    pub fn renew(&mut self) {
        self.vain = 0;
    }

    /// Waits for the next try, unless there is none.
    pub fn wait(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Later {
                reason,
                pause,
                hint,
            } => {
                let asked = pause.unwrap_or_default();
                self.vain += 1;
                if self.vain >= self.rounds || asked > RETRY_AFTER_MAX {
                    let told = match asked.as_secs() {
                        0 => reason,
                        seconds => format!("{reason}, and asks to wait {seconds} seconds"),
                    };
                    return Err(hinted(told, hint));
                }
                let pause = self.first_pause * 2u32.saturating_pow(self.vain - 1);
                std::thread::sleep(pause.max(asked));
                Ok(())
            }
        }
    }
}
