//! The program that builds images; all of it is in [`mailimg::command`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mailimg::command::main()
}
