//! What the programs say, for readers who may have gone away.
//!
//! `println!` and `eprintln!` panic when nobody reads on: `mailimg inspect IMAGE | head`
//! would end so, and a service that warns while the journal starts again. What is
//! asked for goes to standard output with [`say`]; `tell!` is for all the rest.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Tells a line on standard error, formatted as with `eprintln!`.
macro_rules! tell {
    ($($words:tt)*) => {
        $crate::print::tell_line(format_args!($($words)*))
    };
}

/// Prints a text as it is to standard output; that its reader has gone is no error.
pub fn say(text: &str) -> Result<()> {
    say_with(|output| output.write_all(text.as_bytes()))
}

/// The same for what writes itself.
pub fn say_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match write(&mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// What `tell!` does: one write, so that lines of two threads stay whole.
pub fn tell_line(words: Arguments<'_>) {
    // There is nobody left to tell that nobody listens.
    let _ = std::io::stderr().write_all(format!("{words}\n").as_bytes());
}
