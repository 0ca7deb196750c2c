//! What strangers send, damaged without end: no panic, no answer that takes long, no end of
//! memory, and nothing said that means something else to who hears it.
//!
//! A table of targets for each area: a name, real input, words of its format, and what reads
//! it. Damage comes from a sequence of numbers that is the same each time, so that an input
//! that fails does so again. Coverage does not guide it: that takes another compiler. Each
//! target has a moment among the tests and `MAILIMG_FUZZ_SECONDS` with `ci/full`. File systems
//! that others make, config drives and boot partitions, are read by the kernel alone.

mod boot;
mod change;
mod dns;
mod mail;
mod numbers;
mod sts;
mod web;

use change::changed;
use numbers::Numbers;
use rustix::time::{ClockId, clock_gettime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long each target is tried, unless told otherwise.
const USUAL: Duration = Duration::from_millis(300);
/// How much work one input may be, without optimisation.
const LONGEST_WORK: Duration = Duration::from_secs(3);
/// How long one may be waited for, on a busy host.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most memory that a process with some targets ever has, in KiB.
const MEMORY_KIB_MAX: u64 = 400 << 10;

/// Reads one input.
type Reader = Box<dyn Fn(&[u8])>;

/// What reads input of strangers.
pub struct Target {
    /// What it is, in words.
    pub name: &'static str,
    /// Real input.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something in it.
    pub words: &'static [&'static str],
    /// Makes what is needed; what it returns is tried, and asserts what must hold.
    pub start: fn() -> Reader,
}

/// Tries targets one after the other.
fn try_all(targets: &[Target]) {
    let seconds = std::env::var("MAILIMG_FUZZ_SECONDS");
    let time = seconds.map_or(USUAL, |text| Duration::from_secs_f64(text.parse().unwrap()));
    for target in targets {
        try_one(target, time);
    }
    let peak = peak_memory();
    println!("most memory: {} MiB", peak >> 10);
    assert!(peak < MEMORY_KIB_MAX, "{peak} KiB of memory");
}

fn try_one(target: &Target, time: Duration) {
    let run = (target.start)();
    let seeds = (target.seeds)();
    let mut slowest = (Duration::ZERO, 0);
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < time || count < seeds.len() as u64 {
        let mut numbers = Numbers(count);
        // First as they are.
        let input = match seeds.get(count as usize) {
            Some(seed) => seed.clone(),
            None => changed(&mut numbers, &seeds, target.words),
        };
        let (worked, waited) = (processor_time(), Instant::now());
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        let (worked, waited) = (processor_time() - worked, waited.elapsed());
        assert!(
            outcome.is_ok() && worked < LONGEST_WORK && waited < LONGEST_WAIT,
            "{}, input {count}, {worked:?} of work in {waited:?}: \"{}\"",
            target.name,
            input.escape_ascii()
        );
        slowest = slowest.max((worked, input.len()));
        count += 1;
    }
    println!(
        "{}: {count} inputs, the slowest took {:?} for {} bytes",
        target.name, slowest.0, slowest.1
    );
}

/// What this thread has had of the processor.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().split_whitespace().next();
    number.unwrap().parse().unwrap()
}

/// Runs what waits on this thread.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Seeds of texts.
fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Whether a terminal or a log shows a text as it is.
fn is_plain(text: &str) -> bool {
    !text.contains(char::is_control)
}
