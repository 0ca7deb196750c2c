//! `mailctl`, the program that runs inside the image.

use clap::Parser;
use mailimg::{appliance, error};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = appliance::Arguments::parse();
    match appliance::run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(problem) => ExitCode::from(error::report(&problem)),
    }
}
