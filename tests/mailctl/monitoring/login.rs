//! Who gets in, and how long that holds.

use super::browser::{Browser, token};
use super::site::{PASSWORD, Site};
use crate::web::client::plain;
use crate::world::machine::service::Service;

const SESSION: &str = "__Host-mailimg";
/// All there is to see; the last two are the store's.
const INSIDE: [&str; 17] = [
    "/",
    "",
    "/d/psfx/postfix",
    "/d/dvct/dovecot",
    "/d/mchn/machine",
    "/d/bans/bans",
    "/d/dnsy/dns-sanity",
    "/queue",
    "/users",
    "/data/overview",
    "/assets/pages.js",
    "/assets/charts.js",
    "/assets/theme.js",
    "/assets/dygraph.min.js",
    "/logout",
    "/api/v1/query?query=up",
    "/api/v1/labels",
];

#[test]
fn without_a_session_there_is_the_login_and_its_style() {
    let site = Site::start();
    let mut browser = Browser::new(&site);
    let form = browser.get("/login");
    assert_eq!(form.status, 200);
    assert_eq!(form.header("cache-control"), Some("no-store"));
    let policy = form.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"));
    assert!(!form.body.contains("<script") && !form.body.contains("style="));
    assert_eq!(browser.get("/assets/pages.css").status, 200);
    for path in INSIDE
        .into_iter()
        .chain(["/nothing", "/d/x", "/login/x", "/logi", "//", "/x/../"])
    {
        let answer = browser.get(path);
        assert!([303, 401].contains(&answer.status), "{path}: {answer:?}");
        assert!(
            !answer.body.contains("wombat.example"),
            "{path}: {answer:?}"
        );
        let posted = browser.post(path, "token=&verb=delete&id=4cRz1d2Jqvz5");
        assert!([303, 401].contains(&posted.status), "{path}: {posted:?}");
    }
    let wanted = browser.get("/d/dnsy/dns-sanity");
    assert_eq!(
        wanted.header("location"),
        Some("/monitoring/login?next=/d/dnsy/dns-sanity")
    );
    for next in [
        "//evil.example",
        "https://evil.example/",
        "/nothing",
        "/\\evil",
    ] {
        let form = browser.get(&format!("/login?next={next}"));
        assert!(form.body.contains("name=\"next\" value=\"/\""), "{form:?}");
    }
    // In the clear there is nothing but the way to https.
    let clear = plain(site.http, "mail.wombat.example", "GET /monitoring/login");
    assert_eq!(clear.status, 301);
    assert_eq!(
        clear.header("location"),
        Some("https://mail.wombat.example/monitoring/login")
    );
}

#[test]
fn a_session_begins_at_the_login_and_ends_with_it() {
    let site = Site::start();
    let mut browser = Browser::new(&site);
    // Fixation: a value that somebody planted is no session, and does not become one.
    let planted = "a".repeat(64);
    browser.cookies.push((SESSION.to_owned(), planted.clone()));
    assert_eq!(browser.get("/").status, 303);
    let answer = browser.log_in(PASSWORD);
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/monitoring/"))
    );
    assert!(
        answer
            .head
            .contains("; path=/; secure; httponly; samesite=strict\r\n"),
        "{answer:?}"
    );
    let first = browser.cookie(SESSION).unwrap().to_owned();
    assert_ne!(first, planted);
    assert_eq!(first.len(), 64);
    let page = browser.get("/queue");
    assert_eq!(page.status, 200);
    // Two at once, each with a session of its own.
    let mut other = Browser::logged_in(&site);
    assert_ne!(other.cookie(SESSION).unwrap(), first);
    assert_eq!(other.get("/").status, 200);
    // Twice in one request it counts for nothing.
    other.cookies.push((SESSION.to_owned(), planted));
    assert_eq!(other.get("/").status, 303);
    other.cookies.pop();
    assert_eq!(browser.get("/logout").status, 404);
    assert_eq!(
        browser
            .post("/logout", &format!("token={}", token(&page)))
            .status,
        303
    );
    assert_eq!(browser.cookie(SESSION), None);
    browser.cookies.push((SESSION.to_owned(), first));
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(other.get("/").status, 200);
}

#[test]
fn another_password_ends_all_sessions_and_none_lets_nobody_in() {
    let site = Site::start();
    let mut browser = Browser::logged_in(&site);
    // What changes nothing ends nothing.
    site.apply("PUBLIC_IPV4=192.0.2.1", "PUBLIC_IPV4=192.0.2.2");
    assert_eq!(browser.get("/").status, 200);
    site.apply(&format!("PASSWORD={PASSWORD}"), "PASSWORD=other");
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(browser.log_in(PASSWORD).status, 403);
    assert_eq!(browser.log_in("other").status, 303);
    assert_eq!(browser.get("/").status, 200);
    site.apply(
        "GF_SECURITY_ADMIN_PASSWORD=other",
        "GF_SECURITY_ADMIN_PASSWORD=",
    );
    assert_eq!(browser.get("/").status, 303);
    let form = browser.get("/login");
    assert!(form.body.contains("GF_SECURITY_ADMIN_PASSWORD") && !form.body.contains("<form"));
    browser.cookies.clear();
    for password in ["", "other"] {
        let answer = browser.post("/login", &format!("token=x&user=mail&password={password}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(browser.cookie(SESSION).is_none());
    }
    let basic = "Authorization: Basic bWFpbDo=\r\n";
    assert_eq!(browser.ask("GET", "/api/v1/labels", basic, "").status, 401);
}

/// A page elsewhere that sends a form, or makes somebody log in as another.
#[test]
fn forms_need_their_own_token() {
    let site = Site::start();
    let mut browser = Browser::logged_in(&site);
    let page = browser.get("/queue");
    let other = Browser::logged_in(&site).get("/queue");
    for bad in ["", "x", token(&other)] {
        for path in ["/queue", "/logout", "/d/dnsy/dns-sanity"] {
            let body = format!("token={bad}&verb=delete&id=4cRz1d2Jqvz5");
            assert_eq!(browser.post(path, &body).status, 403, "{path} {bad}");
        }
    }
    let body = format!("token={}", token(&page));
    let json = "Content-Type: application/json\r\n";
    assert_eq!(browser.ask("POST", "/logout", json, &body).status, 403);
    assert_eq!(browser.get(&format!("/logout?{body}")).status, 404);
    assert_eq!(browser.get("/").status, 200);
    // The form to log in is bound to the browser that loaded it.
    let form = Browser::new(&site).get("/login");
    let mut victim = Browser::new(&site);
    victim.get("/login");
    let body = format!("token={}&user=mail&password=wombats+watch", token(&form));
    assert_eq!(victim.post("/login", &body).status, 400);
    assert!(victim.cookie(SESSION).is_none());
}

#[test]
fn who_guesses_is_refused_and_reported() {
    let site = Site::start();
    let listen = format!("127.0.0.1:{}", site.guard);
    let _guard = Service::start(&site.machine, &["guard", "--listen", &listen]);
    let mut guesser = Browser::new(&site);
    guesser.address = "198.51.100.7";
    for number in 0..10 {
        assert_eq!(guesser.log_in(&format!("guess{number}")).status, 403);
    }
    let refused = guesser.log_in(PASSWORD);
    assert_eq!(refused.status, 429);
    assert!(guesser.cookie(SESSION).is_none());
    let basic = "Authorization: Basic bWFpbDp3b21iYXRzIHdhdGNo\r\n";
    assert_eq!(guesser.ask("GET", "/api/v1/labels", basic, "").status, 429);
    let bans = site.machine.run(&["ban", "list"]).success();
    let said = String::from_utf8_lossy(&bans.get_output().stdout).into_owned();
    assert!(
        said.contains("198.51.100.7") && said.contains("monitoring: mail"),
        "{said}"
    );
    // Others are let in, whatever they say of themselves.
    let mut neighbour = Browser::new(&site);
    neighbour.address = "198.51.100.7, 192.0.2.11";
    assert_eq!(neighbour.log_in(PASSWORD).status, 303);
    let page = neighbour.get("/d/bans/bans");
    assert!(page.body.contains("198.51.100.7"), "{page:?}");
}

#[test]
fn the_path_is_that_of_the_address() {
    let site = Site::start_with(
        "GF_SERVER_ROOT_URL=https://grafana.example:8443/watch/mail/\n",
        super::site::free_address(),
    );
    let mut browser = Browser::new(&site);
    assert_eq!(browser.get("/login").status, 404);
    browser.base = "/watch/mail";
    let answer = browser.log_in(PASSWORD);
    assert_eq!(answer.header("location"), Some("/watch/mail/"));
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("href=\"/watch/mail/assets/pages.css"));
    assert!(!page.body.contains("/monitoring/"), "{page:?}");
    browser.base = "/watch/mailx";
    assert_eq!(browser.get("/login").status, 404);
}
