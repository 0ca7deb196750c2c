//! What a run tells while it works: bars on a terminal, plain lines otherwise, JSON lines on request.
//!
//! Bars and plain lines go to standard error, so that a command's result on
//! standard output can be piped on. JSON lines (<https://jsonlines.org>) are
//! the result of a run and go to standard output, one object a line, each with
//! an `event`: `begin`, `progress`, `end` or `note`. A reader that went away
//! never stops a build.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{DecimalBytes, MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::print::plain;

/// A stage tells where it stands each time another such part of it is done.
const JSON_STEPS: u64 = 20;
/// The same for plain lines, which people read.
const LINE_STEPS: u64 = 4;
/// A stage of fewer bytes is over before a plain line helps anyone.
const LINE_MINIMUM_BYTES: u64 = 16_000_000;

const BYTES_TEMPLATE: &str =
    "{prefix:>10} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const ITEMS_TEMPLATE: &str = "{prefix:>10} [{bar:24}] {pos}/{len}";

/// How a run talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Not at all.
    Hidden,
    /// Bars when standard error is a terminal, plain lines otherwise.
    Auto,
    /// One JSON object a line on standard output.
    Json,
}

/// Reports what a run does; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    output: Arc<Output>,
}

#[derive(Debug, Default)]
enum Output {
    #[default]
    Hidden,
    Bars(MultiProgress),
    Lines(Sink),
    Json(Sink),
}

/// A place for lines that many threads share.
struct Sink(Mutex<Box<dyn Write + Send>>);

impl fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sink")
    }
}

impl Sink {
    fn new(writer: impl Write + Send + 'static) -> Self {
        Self(Mutex::new(Box::new(writer)))
    }

    fn line(&self, text: &str) {
        let mut writer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody listens any more: no reason to lose the build.
        let _ = writeln!(writer, "{}", plain(text)).and_then(|()| writer.flush());
    }

    fn json(&self, value: &Value) {
        self.line(&value.to_string());
    }
}

/// What a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Bytes,
    Items,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Items => "items",
        }
    }
}

/// One stage of a run, counted in bytes or in items; many threads may add to it.
///
/// Dropped without [`Stage::finish`], its bar disappears and nothing is told.
#[derive(Debug)]
pub struct Stage {
    progress: Progress,
    name: String,
    unit: Unit,
    total: u64,
    done: AtomicU64,
    /// The last step told, of `JSON_STEPS` or `LINE_STEPS`.
    told: Mutex<u64>,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Talks in a style.
    pub fn new(style: Style) -> Self {
        let output = match style {
            Style::Hidden => Output::Hidden,
            Style::Auto if io::stderr().is_terminal() => Output::Bars(MultiProgress::new()),
            Style::Auto => Output::Lines(Sink::new(io::stderr())),
            Style::Json => Output::Json(Sink::new(io::stdout())),
        };
        Self {
            output: Arc::new(output),
        }
    }

    /// Says nothing; for tests and libraries.
    pub fn hidden() -> Self {
        Self::default()
    }

    /// Begins a stage of a known total, counted in bytes.
    pub fn bytes(&self, name: &str, total: u64) -> Stage {
        self.begin(name, Unit::Bytes, total)
    }

    /// Begins a stage of a known number of items.
    pub fn items(&self, name: &str, total: u64) -> Stage {
        self.begin(name, Unit::Items, total)
    }

    /// Tells one line.
    pub fn note(&self, text: &str) {
        match &*self.output {
            Output::Hidden => {}
            // Without a bar on screen the library would swallow the line.
            Output::Bars(bars) => bars.suspend(|| Sink::new(io::stderr()).line(text)),
            Output::Lines(sink) => sink.line(text),
            Output::Json(sink) => sink.json(&json!({"event": "note", "text": text})),
        }
    }

    fn begin(&self, name: &str, unit: Unit, total: u64) -> Stage {
        let bar = match &*self.output {
            Output::Bars(bars) => Some(bars.add(make_bar(name, unit, total))),
            _ => None,
        };
        if let Output::Json(sink) = &*self.output {
            sink.json(
                &json!({"event": "begin", "stage": name, "unit": unit.name(), "total": total}),
            );
        }
        Stage {
            progress: self.clone(),
            name: name.to_owned(),
            unit,
            total,
            done: AtomicU64::new(0),
            told: Mutex::new(0),
            bar,
        }
    }
}

fn make_bar(name: &str, unit: Unit, total: u64) -> ProgressBar {
    let template = match unit {
        Unit::Bytes => BYTES_TEMPLATE,
        Unit::Items => ITEMS_TEMPLATE,
    };
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    ProgressBar::new(total)
        .with_style(style)
        .with_prefix(name.to_owned())
}

impl Stage {
    /// Counts more of it as done.
    pub fn add(&self, amount: u64) {
        let done = self.done.fetch_add(amount, Ordering::Relaxed) + amount;
        match &*self.progress.output {
            Output::Hidden => {}
            Output::Bars(_) => {
                if let Some(bar) = &self.bar {
                    bar.inc(amount);
                }
            }
            Output::Lines(sink) => {
                let worth_it = self.unit == Unit::Bytes && self.total >= LINE_MINIMUM_BYTES;
                if worth_it && done < self.total && self.is_new_step(done, LINE_STEPS) {
                    let (done, total) = (DecimalBytes(done), DecimalBytes(self.total));
                    sink.line(&format!("{}: {done} of {total}", self.name));
                }
            }
            Output::Json(sink) => {
                if self.is_new_step(done, JSON_STEPS) {
                    sink.json(&json!({
                        "event": "progress", "stage": self.name, "done": done, "total": self.total,
                    }));
                }
            }
        }
    }

    /// Ends the stage and tells what came of it.
    pub fn finish(self, summary: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        match &*self.progress.output {
            Output::Json(sink) => {
                sink.json(&json!({"event": "end", "stage": self.name, "summary": summary}));
            }
            _ => self.progress.note(&format!("{}: {summary}", self.name)),
        }
    }

    fn is_new_step(&self, done: u64, steps: u64) -> bool {
        let step = done.saturating_mul(steps) / self.total.max(1);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let new = step > *told;
        *told = step.max(*told);
        new
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Output, Progress, Sink};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn progress(make: fn(Sink) -> Output) -> (Progress, Shared) {
        let shared = Shared::default();
        let output = Arc::new(make(Sink::new(shared.clone())));
        (Progress { output }, shared)
    }

    #[test]
    fn json_is_one_object_a_line() {
        let (progress, shared) = progress(Output::Json);
        progress.note("two \"mirrors\"");
        let stage = progress.items("unpack", 2);
        stage.add(1);
        stage.add(1);
        stage.finish("2 packages");
        assert_eq!(
            shared.text(),
            r#"{"event":"note","text":"two \"mirrors\""}
{"event":"begin","stage":"unpack","total":2,"unit":"items"}
{"done":1,"event":"progress","stage":"unpack","total":2}
{"done":2,"event":"progress","stage":"unpack","total":2}
{"event":"end","stage":"unpack","summary":"2 packages"}
"#
        );
    }

    #[test]
    fn lines_tell_quarters_of_what_takes_long() {
        let (progress, shared) = progress(Output::Lines);
        let stage = progress.bytes("fetch", 100_000_000);
        for _ in 0..100 {
            stage.add(1_000_000);
        }
        stage.finish("3 files");
        let short = progress.bytes("unpack", 1000);
        short.add(1000);
        short.finish("1 package");
        assert_eq!(
            shared.text(),
            "fetch: 25.00 MB of 100.00 MB\nfetch: 50.00 MB of 100.00 MB\n\
             fetch: 75.00 MB of 100.00 MB\nfetch: 3 files\nunpack: 1 package\n"
        );
    }

    #[test]
    fn json_says_little_about_many_small_steps() {
        let (progress, shared) = progress(Output::Json);
        let stage = progress.bytes("fetch", 1_000_000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..250_000).for_each(|_| stage.add(1)));
            }
        });
        stage.finish("done");
        assert!(shared.text().lines().count() <= 22);
    }
}
