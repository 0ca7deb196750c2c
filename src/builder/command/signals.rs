//! Ctrl-C and its kin: what a program does whose user has had enough.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::builder::write::atomic;

/// Whether a signal came and its thread is about to end the process.
static STOPPED: AtomicBool = AtomicBool::new(false);

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
            tell!(
                "error: stopped by signal {signal}, no output was left behind\n\
                 hint: run the same command again; what was fetched is kept"
            );
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
