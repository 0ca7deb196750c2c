//! Errors as a user reads them: one line of causes, then `hint:` lines.
//!
//! Code that branches on an error defines its own `thiserror` type; everything
//! else adds lowercase gerund context with `anyhow`. A hint names the command
//! or the key that mends the matter. Both programs print an error exactly
//! once, in `main`, with [`report`].

use std::fmt;

/// Most characters of a cause that are shown: some parsers quote all that they were given.
const CAUSE_CHARACTERS_MAX: usize = 2000;

/// The process ended as asked.
pub const EXIT_DONE: u8 = 0;
/// Something failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line itself was wrong.
pub const EXIT_USAGE: u8 = 2;

/// An error with advice attached.
///
/// It reads as the error it wraps; only [`report`] looks at the hints.
#[derive(Debug)]
pub struct Hinted {
    source: anyhow::Error,
    hints: Vec<String>,
    usage: bool,
}

impl Hinted {
    fn advises(&self) -> bool {
        !self.hints.is_empty()
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, formatter)
    }
}

impl std::error::Error for Hinted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

fn attach(error: anyhow::Error, hint: Option<String>, usage: bool) -> anyhow::Error {
    // `downcast` alone would also find, and then drop, the context around an inner one.
    let outermost = error
        .chain()
        .next()
        .is_some_and(|cause| cause.is::<Hinted>());
    let wrap = |source| Hinted {
        source,
        hints: Vec::new(),
        usage: false,
    };
    let mut hinted = if outermost {
        error.downcast::<Hinted>().unwrap_or_else(wrap)
    } else {
        wrap(error)
    };
    hinted.hints.extend(hint);
    hinted.usage |= usage;
    anyhow::Error::new(hinted)
}

/// Attaches advice to the error of a result.
pub trait Hint<T> {
    /// Adds a line that tells the user what to change.
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// The same for an error that has no advice yet.
    fn hint_where_none(self, hint: impl Into<String>) -> anyhow::Result<T>;
    /// Marks the error as wrong usage, exit code 2.
    fn usage(self) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Hint<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| attach(error.into(), Some(hint.into()), false))
    }

    fn hint_where_none(self, hint: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            let mut causes = error.chain();
            match causes.any(|cause| cause.downcast_ref().is_some_and(Hinted::advises)) {
                true => error,
                false => attach(error, Some(hint.into()), false),
            }
        })
    }

    fn usage(self) -> anyhow::Result<T> {
        self.map_err(|error| attach(error.into(), None, true))
    }
}

/// Makes an error with a hint from two texts.
pub fn hinted(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    attach(anyhow::Error::msg(message.into()), Some(hint.into()), false)
}

/// Renders `error: a: b: c` and its `hint:` lines.
pub fn render(error: &anyhow::Error) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut hints = Vec::new();
    for cause in error.chain() {
        let text = shortened(cause.to_string());
        // Many libraries repeat their source in their own text.
        if !causes.last().is_some_and(|last| last.ends_with(&text)) {
            causes.push(text);
        }
        if let Some(hinted) = cause.downcast_ref::<Hinted>() {
            hints.extend(hinted.hints.iter());
        }
    }
    let mut text = format!("error: {}", causes.join(": "));
    for hint in hints {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    text
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(CAUSE_CHARACTERS_MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// Prints the error to standard error and returns the exit code it stands for.
pub fn report(error: &anyhow::Error) -> u8 {
    tell!("{}", render(error));
    let usage = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<Hinted>())
        .any(|hinted| hinted.usage);
    if usage { EXIT_USAGE } else { EXIT_FAILED }
}

#[cfg(test)]
mod tests {
    use super::{EXIT_USAGE, Hint, hinted, render, report};
    use anyhow::Context;

    #[test]
    fn advice_is_not_given_twice() {
        let plain = || Err::<(), _>(anyhow::anyhow!("it broke"));
        let advised = |result: anyhow::Result<()>| {
            let result = result.context("doing it").hint_where_none("mend it");
            render(&result.unwrap_err())
        };
        assert_eq!(advised(plain()), "error: doing it: it broke\nhint: mend it");
        assert_eq!(
            advised(plain().hint("buy another")),
            "error: doing it: it broke\nhint: buy another"
        );
        assert!(advised(plain().usage()).ends_with("hint: mend it"));
    }

    /// An answer of a mirror was quoted whole, 32 KB of it.
    #[test]
    fn a_cause_is_no_longer_than_a_screen() {
        let inner = anyhow::anyhow!("ä".repeat(30_000)).context("reading it");
        let text = render(&inner.context("fetching it"));
        assert!(text.starts_with("error: fetching it: reading it: ää"));
        assert!(text.ends_with("ä …") && text.chars().count() < 2100);
    }

    #[test]
    fn causes_are_one_line_and_hints_follow() {
        let error = Err::<(), _>(hinted("no such key", "remove line 3"))
            .context("reading recipes/mail.toml")
            .hint("see recipes/mail.toml")
            .usage()
            .unwrap_err();
        assert_eq!(
            render(&error),
            "error: reading recipes/mail.toml: no such key\n\
             hint: see recipes/mail.toml\nhint: remove line 3"
        );
        assert_eq!(report(&error), EXIT_USAGE);
    }
}
