//! `mailctl monitoring`: serves the pages on a Unix socket, to the web server alone.
//!
//! Without a session there is the page to log in with and its style; whatever else is asked
//! for below the path leads there, whether it exists or not.

use super::api;
use super::asked::Asked;
use super::login::sessions::{COOKIE, LOGIN_COOKIE, is_token, set_cookie};
use super::login::{Credentials, Outcome, token};
use super::pages::charts::show_panels;
use super::pages::configuration::Configuration;
use super::pages::frame::{Frame, is_page};
use super::pages::{assets, bans, dns, overview, queue, users};
use super::panels::Page;
use super::query::Range;
use super::site::Site;
use crate::appliance::machine::accounts::find_group;
use crate::appliance::machine::place::{self, Place, STORE_PORT};
use crate::appliance::web::answer::Answer;
use crate::appliance::web::passing::LARGEST_BODY;
use crate::appliance::wire::serve::{bind_socket, serve_connections, start_runtime, tell_ready};
use anyhow::{Context, Result};
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Threads that wait for store and helpers; a store that hangs keeps six of them for each page.
const WAITING_THREADS: usize = 32;
/// Connections at once; the web server makes eight.
const MOST_CONNECTIONS: usize = 32;
/// Longest life of one.
const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for headers.
const HEADERS_LIMIT: Duration = Duration::from_secs(10);
/// What a browser may load and do on these pages (<https://www.w3.org/TR/CSP3/>).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// Whom the pages ask, unless it is the usual ones.
#[derive(Debug, Args)]
pub struct MonitoringOptions {
    /// The store of figures.
    #[arg(long, hide = true, default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, STORE_PORT)))]
    store: SocketAddr,
    /// The guard's port.
    #[arg(long, hide = true)]
    guard: Option<u16>,
}

/// Serves the pages until the process is stopped.
pub fn run_monitoring(place: &Place, options: &MonitoringOptions) -> Result<String> {
    let runtime = start_runtime(WAITING_THREADS)?;
    LocalSet::new().block_on(&runtime, async {
        let site = Rc::new(Site::new(place, options.store, options.guard)?);
        let path = place.path(place::MONITORING_SOCKET);
        let listener = bind_socket(&path, 0o660, |path| UnixListener::bind(path))?;
        if place.is_machine() {
            let group = find_group(place, "mailimg-web")?;
            std::os::unix::fs::chown(&path, None, Some(group))
                .with_context(|| format!("giving {} to the web server", path.display()))?;
        }
        tell_ready()?;
        serve_connections(listener, MOST_CONNECTIONS, |stream| {
            converse(site.clone(), stream)
        })
        .await;
        Ok("The pages of monitoring have ended.".to_owned())
    })
}

async fn converse(site: Rc<Site>, stream: UnixStream) -> Result<()> {
    let service = service_fn(move |request| {
        let site = site.clone();
        async move {
            let answer = match read(&site, request).await {
                Ok(asked) => respond(&site, &asked).await,
                Err(status) => Answer::plain(status),
            };
            Ok::<_, Infallible>(answer.into_response(POLICY, false))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // That a browser has gone is nobody's news.
    let _ = timeout(CONNECTION_LIMIT, connection).await;
    Ok(())
}

async fn read(site: &Site, request: Request<Incoming>) -> Result<Asked, StatusCode> {
    let (parts, body) = request.into_parts();
    let base = &site.configuration().path;
    let below = parts.uri.path().strip_prefix(base.as_str());
    let path = below.ok_or(StatusCode::NOT_FOUND)?.to_owned();
    let body = Limited::new(body, LARGEST_BODY).collect().await;
    Ok(Asked {
        method: parts.method,
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: body.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes().into(),
    })
}

async fn respond(site: &Rc<Site>, asked: &Asked) -> Answer {
    let configuration = site.configuration();
    let result = match asked.path.as_str() {
        "/login" => log_in(site, asked, &configuration).await,
        path if path.strip_prefix("/assets/").is_some_and(assets::is_open) => asset(site, path),
        path if path.starts_with(api::PATH) => api::answer(site, asked, &configuration).await,
        _ => match site.session(asked, &configuration) {
            Some(token) => inside(site, asked, &configuration, &token).await,
            None => Ok(outside(asked, &configuration)),
        },
    };
    result.unwrap_or_else(|error| {
        let path = asked.path.escape_default();
        tell!("answering {} {path}: {error:#}", asked.method);
        Answer::plain(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

/// Sends somebody without a session to the page where he gets one.
fn outside(asked: &Asked, configuration: &Configuration) -> Answer {
    if asked.path.starts_with("/data/") || asked.path.starts_with("/assets/") {
        return Answer::plain(StatusCode::UNAUTHORIZED).with(header::CACHE_CONTROL, "no-store");
    }
    let next = match is_page(&asked.path) && asked.path != "/" {
        true => format!("?next={}", asked.path),
        false => String::new(),
    };
    see_other(&format!("{}/login{next}", configuration.path))
}

fn see_other(location: &str) -> Answer {
    Answer::plain(StatusCode::SEE_OTHER)
        .with(header::LOCATION, location)
        .with(header::CACHE_CONTROL, "no-store")
}

fn asset(site: &Site, path: &str) -> Result<Answer> {
    let name = path.strip_prefix("/assets/").unwrap_or_default();
    let found = assets::find(&site.place, name)?;
    Ok(found.unwrap_or_else(|| Answer::plain(StatusCode::NOT_FOUND)))
}

#[derive(Serialize)]
struct LoginValues<'a> {
    can_log_in: bool,
    user: &'a str,
    next: &'a str,
    problem: &'a str,
}

async fn log_in(site: &Site, asked: &Asked, configuration: &Rc<Configuration>) -> Result<Answer> {
    let base = &configuration.path;
    let given = |name: &str| asked.field(name).or_else(|| asked.parameter(name));
    let next = given("next").filter(|next| is_page(next));
    let next = next.as_deref().unwrap_or("/");
    let page = |status: StatusCode, problem: &str| {
        let token = token();
        let frame = Frame::new((configuration, &site.version), asked, "/login", &token);
        let values = LoginValues {
            can_log_in: configuration.password.is_some(),
            user: &asked.field("user").unwrap_or_default(),
            next,
            problem,
        };
        let answer = site.templates.page("login.html", &frame, &values)?;
        Ok(answer
            .with_status(status)
            .with(header::SET_COOKIE, &set_cookie(LOGIN_COOKIE, &token)))
    };
    if site.session(asked, configuration).is_some() {
        return Ok(see_other(&format!("{base}{next}")));
    }
    if asked.method != Method::POST || configuration.password.is_none() {
        return page(StatusCode::OK, "");
    }
    // Nobody else's page makes a browser log in: it cannot set the cookie that fits.
    let expected = asked.cookie(LOGIN_COOKIE).unwrap_or_default();
    if !is_token(asked.field("token").as_deref(), expected) {
        return page(
            StatusCode::BAD_REQUEST,
            "The form was too old. Please try again.",
        );
    }
    let credentials = Credentials {
        user: asked.field("user").unwrap_or_default(),
        password: asked.field("password").unwrap_or_default(),
    };
    match site.check(credentials, asked, configuration).await {
        Some(Outcome::Right) => {
            let hash = configuration.password.as_deref().unwrap_or_default();
            let value = site.sessions.borrow_mut().begin(hash, Instant::now());
            Ok(see_other(&format!("{base}{next}"))
                .with(header::SET_COOKIE, &set_cookie(COOKIE, &value))
                .with(header::SET_COOKIE, &set_cookie(LOGIN_COOKIE, "")))
        }
        Some(Outcome::Wrong) => page(StatusCode::FORBIDDEN, "That name and password do not fit."),
        None => page(
            StatusCode::TOO_MANY_REQUESTS,
            "There were too many wrong passwords from your address. Wait an hour.",
        ),
    }
}

/// What is there for a session.
async fn inside(
    site: &Rc<Site>,
    asked: &Asked,
    configuration: &Rc<Configuration>,
    token: &str,
) -> Result<Answer> {
    let base = &configuration.path;
    let path = asked.path.as_str();
    if asked.method == Method::POST {
        if !is_token(asked.field("token").as_deref(), token) {
            return Ok(Answer::plain(StatusCode::FORBIDDEN));
        }
        return post(site, asked, base).await;
    }
    let range = Range::find(asked.parameter("range").as_deref());
    let mut frame = Frame::new((configuration, &site.version), asked, path, token);
    if is_page(path) {
        let cookie = asked.cookie(COOKIE).unwrap_or_default();
        frame.said = site.sessions.borrow_mut().take_said(cookie);
    }
    match path {
        "" => Ok(see_other(&format!("{base}/"))),
        "/" => overview::answer(site, &frame.with_panels(Page::Overview), range).await,
        "/d/psfx/postfix" => charts(site, frame, Page::Postfix, range).await,
        "/d/dvct/dovecot" => charts(site, frame, Page::Dovecot, range).await,
        "/d/mchn/machine" => charts(site, frame, Page::Machine, range).await,
        "/d/bans/bans" => {
            let panels = show_panels(&site.store, Page::Bans, range).await;
            let values = bans::load(&site.place, panels).await;
            let frame = frame.with_panels(Page::Bans);
            site.templates.page("bans.html", &frame, &values)
        }
        "/d/dnsy/dns-sanity" => dns::answer(site, &frame, asked).await,
        "/queue" => queue::answer(site, &frame).await,
        "/users" => users::answer(site, &frame, asked).await,
        _ => match (path.strip_prefix("/data/"), short_address(path)) {
            (Some(name), _) => data(site, name, range).await,
            (None, Some(full)) => Ok(see_other(&format!("{base}{full}"))),
            _ if path.starts_with("/assets/") => asset(site, path),
            _ => Ok(Answer::plain(StatusCode::NOT_FOUND)),
        },
    }
}

/// The page that a Grafana address without its last part means.
fn short_address(path: &str) -> Option<&'static str> {
    match path.trim_end_matches('/') {
        "/d/psfx" => Some("/d/psfx/postfix"),
        "/d/dvct" => Some("/d/dvct/dovecot"),
        "/d/mchn" => Some("/d/mchn/machine"),
        "/d/bans" | "/d/f2bn" | "/d/f2bn/fail2ban" => Some("/d/bans/bans"),
        "/d/dnsy" => Some("/d/dnsy/dns-sanity"),
        "/d/main" | "/d/main/main" => Some("/"),
        _ => None,
    }
}

#[derive(Serialize)]
struct Charts<T> {
    panels: T,
}

async fn charts(site: &Site, frame: Frame, page: Page, range: Range) -> Result<Answer> {
    let panels = show_panels(&site.store, page, range).await;
    let values = Charts { panels };
    site.templates
        .page("charts.html", &frame.with_panels(page), &values)
}

async fn data(site: &Site, name: &str, range: Range) -> Result<Answer> {
    let Some(page) = Page::find(name) else {
        return Ok(Answer::plain(StatusCode::NOT_FOUND));
    };
    let panels = show_panels(&site.store, page, range).await;
    let text = serde_json::to_string(&Charts { panels })?;
    Ok(
        Answer::new("application/json; charset=utf-8", text)
            .with(header::CACHE_CONTROL, "no-store"),
    )
}

async fn post(site: &Rc<Site>, asked: &Asked, base: &str) -> Result<Answer> {
    let cookie = asked.cookie(COOKIE).unwrap_or_default();
    match asked.path.as_str() {
        "/logout" => {
            site.sessions.borrow_mut().end(cookie);
            let gone = set_cookie(COOKIE, "");
            Ok(see_other(&format!("{base}/login")).with(header::SET_COOKIE, &gone))
        }
        "/d/dnsy/dns-sanity" => {
            dns::check_again(site);
            Ok(see_other(&format!("{base}{}", asked.path)))
        }
        "/queue" => {
            let said = match queue::change(site, asked).await {
                Ok(said) => said,
                Err(error) => format!("That failed: {error:#}"),
            };
            site.sessions.borrow_mut().say(cookie, said);
            Ok(see_other(&format!("{base}/queue")))
        }
        _ => Ok(Answer::plain(StatusCode::METHOD_NOT_ALLOWED)),
    }
}
