//! `mailimg diff` and the bill of materials, as a user runs them.

mod bill;
mod diff;

#[path = "../support/mod.rs"]
mod support;

/// The bench with its image built in these formats, always as version 1.
fn built(bench: support::Bench, format: &str) -> support::Bench {
    let build = ["build", "tiny", "--image-version", "1", "--format", format];
    bench.run(&build).done();
    bench
}
