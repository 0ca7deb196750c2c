//! Ctrl-C and its kin: what a program does whose user has had enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::builder::write::atomic;

/// Whether a signal came and its thread is about to end the process.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// What is told instead of [`NOTHING_LEFT`]: what is left behind, and what helps.
static LEFT: Mutex<Option<(String, String)>> = Mutex::new(None);
/// What is usually left behind, and what helps.
const NOTHING_LEFT: [&str; 2] = [
    "no output was left behind",
    "run the same command again; what was fetched is kept",
];

/// Says what a signal leaves behind from now on, and what helps then.
pub fn say_when_stopped(left: &str, hint: &str) {
    let told = Some((left.to_owned(), hint.to_owned()));
    *LEFT.lock().unwrap_or_else(PoisonError::into_inner) = told;
}

/// Ctrl-C and its kin leave no half-written output behind.
pub fn stop_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            STOPPED.store(true, Ordering::SeqCst);
            atomic::remove_pending();
            let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner).take();
            let [left, hint] = match left {
                Some((left, hint)) => [left, hint],
                None => NOTHING_LEFT.map(str::to_owned),
            };
            tell!("error: stopped by signal {signal}, {left}\nhint: {hint}");
            // What a shell reports for a program that a signal ended.
            std::process::exit(128 + signal);
        }
    });
}

/// Waits for that end once it has begun: what fails because its output was
/// taken away is not worth a word.
pub fn wait_if_stopped() {
    while STOPPED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
