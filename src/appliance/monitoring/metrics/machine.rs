//! The machine: processors, memory, file systems, network.
//!
//! From proc(5), <https://man7.org/linux/man-pages/man5/proc.5.html>. What cannot be read is left
//! out. Disks are not counted: the provider's figures of them are better.

use super::exposition::{Samples, number};
use crate::appliance::machine::place::Place;

/// Jiffies a second; the kernel shows times so on every architecture that matters.
const TICKS: f64 = 100.0;
/// Columns of the line `cpu`.
const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];
/// File systems, and what lies on them.
const FILE_SYSTEMS: [(&str, &str); 2] = [("root", "/"), ("state", "/var")];
/// More files than any disk holds.
const MOST_FILES: u64 = 1 << 48;
/// Lines of meminfo.
const MEMORY: [(&str, &str); 4] = [
    ("total", "MemTotal"),
    ("available", "MemAvailable"),
    ("swap_total", "SwapTotal"),
    ("swap_free", "SwapFree"),
];

/// Adds all of it.
pub fn show_machine(place: &Place, samples: &mut Samples) {
    let read = |path: &str| std::fs::read_to_string(place.path(path)).unwrap_or_default();
    show_stat(&read("/proc/stat"), samples);
    show_load(&read("/proc/loadavg"), samples);
    show_memory(&read("/proc/meminfo"), samples);
    show_network(&read("/proc/net/dev"), samples);
    for (name, path) in FILE_SYSTEMS {
        let Ok(found) = rustix::fs::statvfs(place.path(path)) else {
            continue;
        };
        let bytes = [("size", found.f_blocks), ("free", found.f_bavail)];
        for (kind, blocks) in bytes {
            let bytes = number(blocks * found.f_frsize);
            samples.add("mailimg_filesystem_bytes", &[name, kind], bytes);
        }
        // A sealed file system has no number of them.
        if found.f_files == 0 || found.f_files > MOST_FILES {
            continue;
        }
        for (kind, files) in [("size", found.f_files), ("free", found.f_favail)] {
            samples.add("mailimg_filesystem_inodes", &[name, kind], number(files));
        }
    }
}

fn show_stat(text: &str, samples: &mut Samples) {
    let mut processors = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cpu") => {
                for (mode, ticks) in MODES.iter().zip(words) {
                    let ticks: f64 = ticks.parse().unwrap_or_default();
                    samples.add("mailimg_cpu_seconds_total", &[mode], ticks / TICKS);
                }
            }
            Some("btime") => add_word("mailimg_boot_time_seconds", words.next(), samples),
            Some(word) if word.starts_with("cpu") => processors += 1,
            _ => {}
        }
    }
    if processors > 0 {
        samples.add("mailimg_cpus", &[], number(processors));
    }
}

fn add_word(name: &str, word: Option<&str>, samples: &mut Samples) {
    if let Some(value) = word.and_then(|word| word.parse().ok()) {
        samples.add(name, &[], value);
    }
}

fn show_load(text: &str, samples: &mut Samples) {
    let mut words = text.split_whitespace();
    for name in ["mailimg_load1", "mailimg_load5", "mailimg_load15"] {
        add_word(name, words.next(), samples);
    }
    let all = words.next().and_then(|word| word.split('/').nth(1));
    add_word("mailimg_processes", all, samples);
}

fn show_memory(text: &str, samples: &mut Samples) {
    for (kind, key) in MEMORY {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        if let Some(kibibytes) = kibibytes {
            samples.add("mailimg_memory_bytes", &[kind], kibibytes * 1024.0);
        }
    }
}

fn show_network(text: &str, samples: &mut Samples) {
    let mut sums = [0.0, 0.0];
    let mut cards = 0;
    for line in text.lines().skip(2) {
        let Some((name, rest)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        cards += 1;
        let words: Vec<f64> = rest
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        for (sum, column) in sums.iter_mut().zip([0, 8]) {
            *sum += words.get(column).copied().unwrap_or_default();
        }
    }
    if cards > 0 {
        for (direction, sum) in ["received", "sent"].into_iter().zip(sums) {
            samples.add("mailimg_network_bytes_total", &[direction], sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{show_load, show_memory, show_network, show_stat};
    use crate::appliance::monitoring::metrics::exposition::Samples;

    /// Lines of Linux 6.12.
    #[test]
    fn what_the_kernel_writes_is_read() {
        let mut samples = Samples::default();
        show_stat(
            "cpu  1000 20 300 40000 50 6 7 8 0 0\ncpu0 500 10 150 20000 25 3 3 4 0 0\n\
             cpu1 500 10 150 20000 25 3 4 4 0 0\nintr 1\nbtime 1795868280\nprocesses 9\n",
            &mut samples,
        );
        show_load("0.24 1.50 2.00 3/211 4242\n", &mut samples);
        show_memory(
            "MemTotal:  2014468 kB\nMemFree: 1 kB\nMemAvailable:  1000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n",
            &mut samples,
        );
        show_network(
            "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes packets errs\n    \
             lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0\n  \
             ens3: 1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n  ens4:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n",
            &mut samples,
        );
        insta::assert_snapshot!(samples.text());
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let mut samples = Samples::default();
        show_stat("", &mut samples);
        show_load("", &mut samples);
        show_memory("MemTotal: x kB", &mut samples);
        show_network("", &mut samples);
        assert_eq!(samples.count(), 0);
    }
}
