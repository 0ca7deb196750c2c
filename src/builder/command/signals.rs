//! Ctrl-C and its kin: what a program does whose user has had enough.
//!
//! There is one way to end, whatever a command was at: the programs that it started are
//! ended, its temporary folders and unfinished outputs are removed, and a line says so.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::builder::write::atomic;

/// How long a program may take to end itself when it is asked to.
const LONGEST_END: Duration = Duration::from_secs(3);
/// How often a program's end is looked for.
const INTERVAL: Duration = Duration::from_millis(10);

/// Whether a signal came and its thread is about to end the process.
static STOPPED: AtomicBool = AtomicBool::new(false);

/// What is told instead of [`NOTHING_LEFT`]: what is left behind, and what helps.
static LEFT: Mutex<Option<(String, String)>> = Mutex::new(None);
/// What is usually left behind, and what helps.
const NOTHING_LEFT: [&str; 2] = [
    "no output was left behind",
    "run the same command again; what was fetched is kept",
];

/// Held by what is not to be interrupted.
static UNDISTURBED: Mutex<()> = Mutex::new(());

/// What must not outlive the process.
static HELD: Mutex<Held> = Mutex::new(Held {
    children: Vec::new(),
    folders: Vec::new(),
    closed: false,
});

struct Held {
    children: Vec<Arc<Mutex<Child>>>,
    folders: Vec<Arc<TempDir>>,
    closed: bool,
}

impl Held {
    /// What is held, for as long as something is added to it: nothing begins once the end has.
    fn open() -> Result<MutexGuard<'static, Self>> {
        let held = lock(&HELD);
        if held.closed {
            bail!("interrupted");
        }
        Ok(held)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that is removed when it is dropped, and by signals.
#[derive(Debug)]
pub struct TemporaryFolder(Arc<TempDir>);

impl TemporaryFolder {
    /// Makes one.
    pub fn make(make: impl FnOnce() -> std::io::Result<TempDir>) -> Result<Self> {
        let mut held = Held::open()?;
        let folder = Arc::new(make()?);
        held.folders.push(Arc::clone(&folder));
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        lock(&HELD)
            .folders
            .retain(|folder| !Arc::ptr_eq(folder, &self.0));
    }
}

/// A program that runs until it ends, or a signal ends us.
#[derive(Debug)]
pub struct Started(Arc<Mutex<Child>>);

impl Started {
    /// Starts a program.
    pub fn new(command: &mut Command) -> Result<Self> {
        let mut held = Held::open()?;
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let child = Arc::new(Mutex::new(child));
        held.children.push(Arc::clone(&child));
        Ok(Self(child))
    }

    /// The program, for what it reads and writes.
    pub fn child(&self) -> MutexGuard<'_, Child> {
        lock(&self.0)
    }

    /// Waits for its end and tells its status, none when it was ended after the limit.
    pub fn wait(self, limit: Option<Duration>) -> Result<Option<ExitStatus>> {
        let ended = wait_for(&self.0, limit).context("waiting for a program")?;
        if ended.is_none() {
            end(&self.0, Duration::ZERO);
        }
        Ok(ended)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        lock(&HELD)
            .children
            .retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

/// Runs a program to its end and tells its status, none when it was ended after the limit.
pub fn run_program(command: &mut Command, limit: Option<Duration>) -> Result<Option<ExitStatus>> {
    Started::new(command)?.wait(limit)
}

/// Does what takes an instant and must not be half done: signals wait for its end.
pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _undisturbed = lock(&UNDISTURBED);
    work()
}

/// Waits for a program, locked only while it is looked at: who wants it ended can have it.
fn wait_for(child: &Mutex<Child>, limit: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(status) = lock(child).try_wait()? {
            return Ok(Some(status));
        }
        if limit.is_some_and(|limit| started.elapsed() >= limit) {
            return Ok(None);
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Asks a program to end, and ends it when it takes longer than that.
fn end(child: &Mutex<Child>, patience: Duration) {
    {
        let mut child = lock(child);
        // One that was waited for has no process number any more.
        if let Ok(None) = child.try_wait() {
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
        }
    }
    if let Ok(None) = wait_for(child, Some(patience)) {
        let mut child = lock(child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Ends what was started and removes what is temporary; nothing more can begin.
fn end_held() {
    let (children, folders) = {
        let mut held = lock(&HELD);
        held.closed = true;
        (
            std::mem::take(&mut held.children),
            std::mem::take(&mut held.folders),
        )
    };
    for child in children {
        end(&child, LONGEST_END);
    }
    for folder in folders {
        // Again when the command put something in meanwhile.
        let started = Instant::now();
        while std::fs::remove_dir_all(folder.path()).is_err()
            && folder.path().exists()
            && started.elapsed() < LONGEST_END
        {
            std::thread::sleep(INTERVAL);
        }
    }
}

/// What a command leaves behind that makes files, and what helps.
fn usually_left(finished: &[PathBuf]) -> (String, String) {
    let [nothing, hint] = NOTHING_LEFT;
    if finished.is_empty() {
        return (nothing.to_owned(), hint.to_owned());
    }
    let names: Vec<String> = finished
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let left = format!("what was finished stays: {}", names.join(", "));
    (left, hint.to_owned())
}

/// Says what a signal leaves behind from now on, and what helps then.
pub fn say_when_stopped(left: &str, hint: &str) {
    let told = Some((left.to_owned(), hint.to_owned()));
    *lock(&LEFT) = told;
}

/// Ctrl-C and its kin leave no half-written output behind, no program and no folder.
pub fn stop_on_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let ending = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];
    let Ok(mut signals) = signal_hook::iterator::Signals::new(ending) else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            STOPPED.store(true, Ordering::SeqCst);
            // Never given back.
            let undisturbed = lock(&UNDISTURBED);
            std::mem::forget(undisturbed);
            end_held();
            let finished = atomic::remove_pending();
            let (left, hint) = lock(&LEFT)
                .take()
                .unwrap_or_else(|| usually_left(&finished));
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::{TemporaryFolder, run_program, usually_left};

    #[test]
    fn the_end_of_a_program_is_noticed() {
        let run = |program: &str| run_program(&mut Command::new(program), None).unwrap();
        assert!(run("true").unwrap().success());
        assert!(!run("false").unwrap().success());
        assert!(run_program(&mut Command::new("/nonexistent"), None).is_err());
    }

    #[test]
    fn a_program_is_ended_after_its_limit() {
        let mut sleep = Command::new("sleep");
        let limit = Some(Duration::from_millis(50));
        assert_eq!(run_program(sleep.arg("60"), limit).unwrap(), None);
    }

    #[test]
    fn what_is_finished_is_told_of() {
        assert_eq!(usually_left(&[]).0, "no output was left behind");
        let finished = ["out/a.raw".into(), "out/a.qcow2".into()];
        assert_eq!(
            usually_left(&finished).0,
            "what was finished stays: out/a.raw, out/a.qcow2"
        );
    }

    #[test]
    fn a_temporary_folder_goes_with_its_owner() {
        let folder = TemporaryFolder::make(tempfile::tempdir).unwrap();
        let path = folder.path().to_owned();
        assert!(path.is_dir());
        drop(folder);
        assert!(!path.exists());
    }
}
