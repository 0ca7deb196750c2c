//! `mailctl`, the program that runs inside the image.

use clap::Parser;
use mailimg::{appliance, error};
use std::process::ExitCode;

fn main() -> ExitCode {
    // An engine that starts a container gives no verb.
    if let Some(problem) = appliance::become_first_process() {
        return ExitCode::from(error::report(&problem));
    }
    let arguments = appliance::Arguments::parse();
    match appliance::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => ExitCode::from(error::report(&problem)),
    }
}
