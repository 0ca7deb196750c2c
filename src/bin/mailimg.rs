//! The program that builds images; all of it is in [`mailimg::builder::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mailimg::builder::command::main()
}
