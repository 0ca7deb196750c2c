//! The network side of fetching: which address is tried when, and what counts as the file.
//!
//! Addresses are tried in order. One that lacks the file or serves something
//! else is not asked again for it; one that stalls, breaks off or is busy is
//! asked again after a pause that doubles each round. What already came stays
//! in the `.part` file and is continued, by this run or a later one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use indicatif::DecimalBytes;

use super::cache::{Cache, discard};
use super::object::{Check, Fetch, Object};
use super::opener::{Open, Opener};
use super::options::FetchOptions;
use super::problem::{Gone, Missing, Problem, Wrong};
use super::transfer::{Transfer, read_document};
use crate::builder::progress::{Progress, Stage};
use crate::error::Hint;

/// The longest pause that a server may ask for.
const LONGEST_RETRY_AFTER: u64 = 60;

/// How many files are fetched at once from snapshots, whose servers answer
/// many requests of one client with 429.
const SNAPSHOT_THREADS: usize = 2;

/// The error of a file that was given up for another one's.
const STOPPED: &str = "stopped because another file failed";

/// How soon a pausing thread notices that another one failed.
const LONGEST_NAP: Duration = Duration::from_millis(100);

/// Fetches over the network through a cache.
#[derive(Debug)]
pub struct Mirror {
    cache: Cache,
    options: FetchOptions,
    opener: Arc<dyn Open>,
    progress: Progress,
}

impl Mirror {
    /// Fetches into a cache.
    pub fn new(cache: Cache, options: FetchOptions, progress: Progress) -> Self {
        let opener = Arc::new(Opener::new(options.clone()));
        Self::through(opener, cache, options, progress)
    }

    /// The same, with addresses that somebody else opens.
    pub(crate) fn through(
        opener: Arc<dyn Open>,
        cache: Cache,
        options: FetchOptions,
        progress: Progress,
    ) -> Self {
        Self {
            cache,
            opener,
            options,
            progress,
        }
    }

    /// Tries every address until one succeeds.
    fn try_all<T>(
        &self,
        label: &str,
        urls: &[String],
        stop: &AtomicBool,
        mut attempt: impl FnMut(&str) -> Result<T, Problem>,
    ) -> Result<T> {
        struct Candidate<'a> {
            url: &'a str,
            reason: String,
            refused: Option<anyhow::Error>,
            gone: bool,
            live: bool,
        }
        let mut candidates: Vec<Candidate> = urls
            .iter()
            .map(|url| Candidate {
                url,
                reason: "not tried".to_owned(),
                refused: None,
                gone: false,
                live: true,
            })
            .collect();
        let mut pause = Duration::ZERO;
        let mut vain_rounds = 0;
        while vain_rounds < self.options.rounds && candidates.iter().any(|candidate| candidate.live)
        {
            sleep_unless(stop, pause);
            pause = self.options.pause * 2u32.saturating_pow(vain_rounds);
            vain_rounds += 1;
            for candidate in candidates.iter_mut().filter(|candidate| candidate.live) {
                if stop.load(Ordering::Relaxed) {
                    return Err(anyhow!(STOPPED));
                }
                match attempt(candidate.url) {
                    Ok(value) => return Ok(value),
                    Err(Problem::Fatal(error)) => return Err(error),
                    Err(Problem::Transient {
                        reason,
                        retry_after,
                        advanced,
                    }) => {
                        if advanced {
                            vain_rounds = 0;
                        }
                        let asked = retry_after.unwrap_or(0).min(LONGEST_RETRY_AFTER);
                        pause = pause.max(Duration::from_secs(asked));
                        candidate.reason = reason;
                    }
                    Err(Problem::Gone(reason)) => {
                        candidate.reason = reason;
                        candidate.gone = true;
                        candidate.live = false;
                    }
                    Err(Problem::Bad(reason)) => {
                        candidate.reason = reason;
                        candidate.live = false;
                    }
                    Err(Problem::Refused(error)) => {
                        candidate.refused = Some(error);
                        candidate.live = false;
                    }
                }
            }
        }
        let refused = candidates
            .iter_mut()
            .find_map(|candidate| Some((candidate.url, candidate.refused.take()?)));
        if let Some((url, error)) = refused {
            // It knows best what helps; what the others said is told before it.
            let others = candidates.iter().filter(|candidate| candidate.url != url);
            let mut told: Vec<String> = others
                .map(|candidate| match &candidate.refused {
                    Some(error) => format!("{} answered a file: {error:#}", candidate.url),
                    None => format!("{} {}", candidate.url, candidate.reason),
                })
                .collect();
            if told.is_empty() {
                return Err(error);
            }
            told.push(format!("{url} answered a file"));
            return Err(error.context(told.join("; ")));
        }
        let reasons: Vec<String> = candidates
            .iter()
            .map(|candidate| format!("{} {}", candidate.url, candidate.reason))
            .collect();
        let reasons = match reasons.as_slice() {
            [] => "no address is known for it".to_owned(),
            _ => reasons.join("; "),
        };
        let context = format!("fetching {label}");
        if !candidates.is_empty() && candidates.iter().all(|candidate| candidate.gone) {
            let label = label.to_owned();
            return Err(Gone { label, reasons }).context(context);
        }
        if candidates.iter().any(|candidate| candidate.live) {
            return Err(anyhow!(reasons))
                .context(context)
                .hint(self.opener.advice().later);
        }
        Err(Wrong { reasons })
            .context(context)
            .hint(self.opener.advice().wrong)
    }

    /// Fetches one file from some of its addresses; tells the one that had it,
    /// or nothing when the cache has it by now.
    fn fetch_object(
        &self,
        object: &Object,
        urls: &[String],
        stage: &Stage,
        stop: &AtomicBool,
    ) -> Result<Option<String>> {
        let path = self.cache.object_path(&object.sha256)?;
        let is_good = |path: &Path| has_size(path, object.size);
        let Some(claim) = self.cache.claim(&path, is_good)? else {
            stage.add(object.size);
            return Ok(None);
        };
        discard(&path)?;
        let mut transfer = Transfer {
            object,
            claim: &claim,
            stage,
            stop,
            counted: 0,
        };
        let result = self.try_all(&object.label, urls, stop, |url| {
            transfer.run(&*self.opener, url).map(|()| url.to_owned())
        });
        match result {
            Ok(url) => claim.commit().map(|()| Some(url)),
            Err(error) => {
                // A part that can be continued stays, anything else goes.
                let full = error.chain().any(|cause| {
                    cause
                        .downcast_ref::<std::io::Error>()
                        .is_some_and(|error| error.kind() == std::io::ErrorKind::StorageFull)
                });
                if full || claim.file.metadata().is_ok_and(|part| part.len() == 0) {
                    claim.abandon();
                }
                Err(error)
            }
        }
    }

    fn fetch_missing(&self, missing: &[&Object]) -> Result<()> {
        let total = missing.iter().map(|object| object.size).sum();
        let stage = self.progress.bytes("fetch", total);
        let left = Mutex::new(Vec::new());
        in_threads(missing, self.options.threads, |object, stop| {
            match self.fetch_object(object, &object.urls, &stage, stop) {
                Err(error) if is_dropped(&error) && !object.snapshots.is_empty() => {
                    let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
                    left.push((*object, error));
                    Ok(())
                }
                other => other.map(drop),
            }
        })?;
        let mut left = left.into_inner().unwrap_or_else(PoisonError::into_inner);
        left.sort_by(|(one, _), (other, _)| one.label.cmp(&other.label));
        self.fetch_from_snapshots(&left, &stage)?;
        stage.finish(&format!("{} files, {}", missing.len(), DecimalBytes(total)));
        Ok(())
    }

    /// Fetches what left the mirrors from archives that keep everything, which
    /// are few and shared by many: a small number of files at once.
    fn fetch_from_snapshots(&self, left: &[(&Object, anyhow::Error)], stage: &Stage) -> Result<()> {
        if left.is_empty() {
            return Ok(());
        }
        self.progress.note(&format!(
            "{} of the locked packages left the mirrors, asking the snapshots",
            left.len()
        ));
        let threads = self.options.threads.min(SNAPSHOT_THREADS);
        in_threads(left, threads, |(object, dropped), stop| {
            match self.fetch_object(object, &object.snapshots, stage, stop) {
                Ok(Some(url)) => {
                    self.progress
                        .note(&format!("snapshot: {} came from {url}", object.label));
                    Ok(())
                }
                Ok(None) => Ok(()),
                // Others than the addresses are to blame: a full disk, say.
                Err(error) if is_stopped(&error) || is_of_storage(&error) => Err(error),
                Err(error) => Err(in_no_snapshot(object, dropped, &error)),
            }
        })
    }
}

/// Applies a function to all items on a few threads; the first failure stops
/// the others.
fn in_threads<T: Sync>(
    items: &[T],
    threads: usize,
    function: impl Fn(&T, &AtomicBool) -> Result<()> + Sync,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()).max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        break;
                    };
                    if let Err(error) = function(item, &stop) {
                        stop.store(true, Ordering::Relaxed);
                        let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                        failures.push((index, error));
                    }
                }
            });
        }
    });
    let mut failures = failures
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    // The one that stopped the others is the one that matters.
    failures.sort_by_key(|(index, error)| (is_stopped(error), *index));
    match failures.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Whether a file failed only because another one did.
fn is_stopped(error: &anyhow::Error) -> bool {
    error.to_string().starts_with(STOPPED)
}

/// Whether reading or writing files failed.
fn is_of_storage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}

/// Whether all addresses answered and none had the file.
fn is_dropped(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.is::<Gone>() || cause.is::<Wrong>())
}

/// The error for a file that neither mirrors nor snapshots have.
///
/// What the mirrors said decides whether the lock is too old; what the
/// snapshots said is told as well.
fn in_no_snapshot(
    object: &Object,
    mirrors: &anyhow::Error,
    snapshots: &anyhow::Error,
) -> anyhow::Error {
    let context = format!("fetching {}", object.label);
    let reasons = format!("{}; {}", mirrors.root_cause(), snapshots.root_cause());
    if mirrors.chain().any(|cause| cause.is::<Gone>()) {
        let label = object.label.clone();
        return anyhow::Error::new(Gone { label, reasons }).context(context);
    }
    Err::<(), _>(anyhow!(reasons))
        .context(context)
        .hint("a mirror or a proxy on the way serves something else: name another mirror in the recipe")
        .unwrap_err()
}

impl Fetch for Mirror {
    fn document(&self, urls: &[String], limit: u64, check: Check<'_>) -> Result<Vec<u8>> {
        if self.options.offline {
            let kept = urls
                .iter()
                .find_map(|url| std::fs::read(self.cache.document_path(url)).ok());
            let kept = kept
                .ok_or_else(|| Missing {
                    labels: urls.first().cloned().into_iter().collect(),
                })
                .context("fetching an index")
                .hint("run once without --offline")?;
            check(&kept)?;
            return Ok(kept);
        }
        let label = urls.first().map_or("an index", String::as_str);
        let never = AtomicBool::new(false);
        let bytes = self
            .try_all(label, urls, &never, |url| {
                let bytes = read_document(&*self.opener, url, limit)?;
                check(&bytes).map_err(Problem::Refused)?;
                Ok(bytes)
            })
            .map_err(|error| hint_when_gone(error, "check the recipe's mirrors and suites"))?;
        for url in urls {
            self.cache.store(&self.cache.document_path(url), &bytes)?;
        }
        Ok(bytes)
    }

    fn kept(&self, urls: &[String]) -> Vec<Vec<u8>> {
        let read = |url: &String| std::fs::read(self.cache.document_path(url)).ok();
        urls.iter().filter_map(read).collect()
    }

    fn objects(&self, objects: &[Object]) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::with_capacity(objects.len());
        let mut missing: Vec<&Object> = Vec::new();
        for object in objects {
            let path = self.cache.object_path(&object.sha256)?;
            if !has_size(&path, object.size) {
                missing.push(object);
            }
            paths.push(path);
        }
        // Big ones first, so that the last thread does not finish alone; and
        // each once, because a file waits for whoever makes it.
        missing.sort_by(|left, right| (right.size, &left.sha256).cmp(&(left.size, &right.sha256)));
        missing.dedup_by(|left, right| left.sha256 == right.sha256);
        if missing.is_empty() {
            return Ok(paths);
        }
        if self.options.offline {
            missing.sort_by(|left, right| left.label.cmp(&right.label));
            let labels = missing.iter().map(|object| object.label.clone()).collect();
            return Err(Missing { labels })
                .context("fetching packages")
                .hint("run once without --offline");
        }
        self.fetch_missing(&missing)
            .map_err(|error| hint_when_gone(error, self.opener.advice().gone))?;
        Ok(paths)
    }
}

/// Pauses, but not longer than the others go on.
fn sleep_unless(stop: &AtomicBool, pause: Duration) {
    let mut left = pause;
    while !left.is_zero() && !stop.load(Ordering::Relaxed) {
        let nap = left.min(LONGEST_NAP);
        std::thread::sleep(nap);
        left -= nap;
    }
}

fn hint_when_gone(error: anyhow::Error, hint: &str) -> anyhow::Error {
    if error.chain().any(|cause| cause.is::<Gone>()) {
        return Err::<(), _>(error).hint(hint).unwrap_err();
    }
    error
}

fn has_size(path: &Path, size: u64) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == size)
}
