//! `mailctl metrics`: gathers figures, and answers with them on loopback.
//!
//! One thread answers; another follows the journal. What is asked for is read at that moment,
//! but for what was counted of the journal, and what others have [`super::measured`].

pub mod counters;
mod dovecot;
pub mod exposition;
pub mod families;
mod journal;
mod machine;
mod own;
mod postfix;
mod record;
mod services;
mod state;

use super::configuration;
use super::measured::{dns::show_dns, mail::show_mail, queue::show_queue};
use crate::appliance::machine::clock::now;
use crate::appliance::machine::place::{METRICS_PORT, Place};
use crate::appliance::wire::serve::{rest_after, start_runtime, tell_ready};
use crate::settings::Settings;
use anyhow::{Context, Result};
use exposition::Samples;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use journal::{Shared, catch_up, follow, lock};
use record::Record;
use services::Services;
use std::cell::RefCell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{interval, timeout};

/// How often what was counted is kept.
const KEEPING_INTERVAL: Duration = Duration::from_secs(30);
/// Longest a conversation may take; whoever asks again asks anew.
const CONVERSATION_LIMIT: Duration = Duration::from_secs(60);
/// Threads for what blocks: none is needed.
const BLOCKING_THREADS: usize = 1;

/// Where it answers.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct MetricsOptions {
    /// Address and port.
    #[arg(long, hide = true, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, METRICS_PORT)))]
    listen: SocketAddr,
}

/// All that an answer is made of.
struct Exporter {
    place: Place,
    settings: Option<Settings>,
    version: String,
    record: Shared,
    reads_journal: Arc<AtomicBool>,
    services: RefCell<Services>,
}

/// Answers until the process is stopped; the units are those whose use is shown.
pub fn run_metrics(
    place: &Place,
    options: MetricsOptions,
    units: Vec<&'static str>,
) -> Result<String> {
    let record: Shared = Arc::new(Mutex::new(Record::load(place)));
    catch_up(place, &record);
    let reads_journal = Arc::new(AtomicBool::new(false));
    if place.is_machine() {
        let (record, reads) = (record.clone(), reads_journal.clone());
        std::thread::spawn(move || follow(&record, &reads));
    }
    let exporter = Rc::new(Exporter {
        place: place.clone(),
        settings: configuration::load(place),
        version: state::image_version(place),
        record,
        reads_journal,
        services: RefCell::new(Services::of(units)),
    });
    let runtime = start_runtime(BLOCKING_THREADS)?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("listening on {}", options.listen))?;
        tell_ready()?;
        let mut end = signal(SignalKind::terminate()).context("waiting for the end")?;
        tokio::select! {
            () = serve(listener, exporter.clone()) => {}
            () = keep(&exporter) => {}
            _ = end.recv() => {}
        }
        let record = lock(&exporter.record).clone();
        record.save(place)?;
        Ok("The exporter has ended.".to_owned())
    })
}

async fn keep(exporter: &Exporter) {
    let mut ticks = interval(KEEPING_INTERVAL);
    let mut kept = None;
    let mut failed = false;
    loop {
        ticks.tick().await;
        let record = lock(&exporter.record).clone();
        if kept.as_ref() == Some(&record.cursor) {
            continue;
        }
        match record.save(&exporter.place) {
            Ok(()) => {
                kept = Some(record.cursor);
                failed = false;
            }
            // Said once: a full disk stays full.
            Err(error) if !failed => {
                tell!("{error:#}");
                failed = true;
            }
            Err(_) => {}
        }
    }
}

async fn serve(listener: TcpListener, exporter: Rc<Exporter>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(converse(stream, exporter.clone()));
            }
            Err(error) => rest_after(error).await,
        }
    }
}

async fn converse(stream: TcpStream, exporter: Rc<Exporter>) {
    let service = service_fn(move |request| {
        let exporter = exporter.clone();
        async move { Ok::<_, Infallible>(answer(&exporter, &request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CONVERSATION_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever asked has gone.
    let _ = timeout(CONVERSATION_LIMIT, connection).await;
}

async fn answer(exporter: &Exporter, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => (StatusCode::OK, exporter.gather().await.text()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => (StatusCode::NOT_FOUND, "See /metrics.\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

impl Exporter {
    async fn gather(&self) -> Samples {
        let mut samples = Samples::default();
        let Self {
            place, settings, ..
        } = self;
        samples.add("mailimg_build_info", &[&self.version], 1.0);
        machine::show_machine(place, &mut samples);
        let dovecot = dovecot::show_dovecot(place, &mut samples).await;
        let sources = [
            ("journal", self.reads_journal.load(Ordering::Relaxed)),
            (
                "systemd",
                self.services.borrow_mut().show(place, &mut samples),
            ),
            ("dovecot", dovecot),
            ("queue", show_queue(place, &mut samples)),
            ("mail", show_mail(place, &mut samples)),
            ("dns", show_dns(place, &mut samples)),
        ];
        for (source, is_up) in sources {
            let up = if is_up { 1.0 } else { 0.0 };
            samples.add("mailimg_source_up", &[source], up);
        }
        let second = u64::try_from(now()).unwrap_or_default();
        lock(&self.record).show(second, &mut samples);
        if let Some(settings) = settings {
            state::show_certificates(place, settings, &mut samples);
            if let Some(limit) = settings.sending_limit {
                samples.add("mailimg_sending_limit", &[], f64::from(limit));
            }
        }
        state::show_updates(place, &mut samples);
        samples
    }
}

#[cfg(test)]
mod tests {
    use super::{Exporter, Record, Services};
    use crate::appliance::machine::place::{self, Place};
    use crate::appliance::monitoring::measured::{mail::measure_mail, queue::measure_queue};
    use crate::appliance::wire::serve::start_runtime;
    use crate::settings::{parse_settings, resolve_settings};
    use std::cell::RefCell;
    use std::sync::{Arc, Mutex};

    /// The whole answer of a folder that stands for a machine.
    #[test]
    fn an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        for path in ["var/spool/postfix/deferred", "run/mailimg"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let text = "DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=root\n";
        std::fs::write(place.path(place::METRICS_CONFIGURATION), text).unwrap();
        measure_queue(&place).unwrap();
        measure_mail(&place).unwrap();
        let mut record = Record::default();
        let line = "connect from unknown[192.0.2.1]";
        record.take("postfix.service", "postfix/smtpd", line, 60);
        let written = parse_settings(text.as_bytes()).unwrap();
        let exporter = Exporter {
            place: place.clone(),
            settings: Some(resolve_settings(&written).unwrap().settings),
            version: "0.1.0".to_owned(),
            record: Arc::new(Mutex::new(record)),
            reads_journal: Arc::default(),
            services: RefCell::new(Services::of(Vec::new())),
        };
        let runtime = start_runtime(1).unwrap();
        let text = runtime.block_on(exporter.gather()).text();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("mailimg_filesystem_"))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
