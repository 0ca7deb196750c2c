//! Requests that mean harm, and texts that strangers wrote.

use super::browser::{Browser, token};
use super::site::Site;

#[test]
fn no_path_leads_to_a_file() {
    let site = Site::start();
    let mut browser = Browser::logged_in(&site);
    for path in [
        "/assets/../../../../run/mailimg/monitoring.json",
        "/assets/..%2f..%2fpasswd",
        "/assets/%2e%2e/frame.html",
        "/assets//etc/passwd",
        "/assets/",
        "/assets/frame.html",
        "/data/../queue",
        "/data/nothing",
        "/d/psfx/../../x",
        "/api/v1/label/..%2f..%2fadmin/values",
        "/api/v1/../../admin",
        "/%00",
    ] {
        let answer = browser.get(path);
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert!(!answer.body.contains("argon2"), "{answer:?}");
    }
    for method in ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"] {
        assert_eq!(browser.ask(method, "/", "", "").status, 405, "{method}");
    }
    let large = "x".repeat(100 << 10);
    assert_eq!(browser.post("/login", &large).status, 413);
}

#[test]
fn what_strangers_wrote_is_text() {
    let site = Site::start();
    let evil = "\"><script>alert(1)</script>&'@wombat.example";
    let users = site.machine.path("var/lib/mailimg/users");
    let mut text = std::fs::read_to_string(&users).unwrap();
    text.push_str(&format!("{evil}:{{PLAIN}}x::::::\n"));
    std::fs::write(&users, text).unwrap();
    let mut browser = Browser::logged_in(&site);
    let escaped = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for path in [
        "/users".to_owned(),
        format!("/users?search={escaped}"),
        format!("/users?page={escaped}"),
        format!("/?range={escaped}"),
        format!("/d/dnsy/dns-sanity?of={escaped}"),
        format!("/login?next={escaped}"),
    ] {
        let page = browser.get(&path);
        assert!(!page.body.contains("<script>alert"), "{path}: {page:?}");
    }
    let page = browser.get("/users");
    assert!(page.body.contains("&lt;script&gt;alert(1)"), "{page:?}");
    // The name that somebody typed comes back into the form.
    let mut nobody = Browser::new(&site);
    let form = nobody.get("/login");
    let body = format!("token={}&password=x&user={escaped}", token(&form));
    let again = nobody.post("/login", &body);
    assert!(
        again.status == 403 && !again.body.contains("<script"),
        "{again:?}"
    );
    assert!(again.body.contains("&lt;script&gt;"), "{again:?}");
}

#[test]
fn only_four_verbs_and_ids_reach_the_queue() {
    let site = Site::start();
    let mut browser = Browser::logged_in(&site);
    for fields in [
        "verb=delete&id=ALL",
        "verb=delete&id=4cRz1d2Jqvz5%0Adelete+4cRz1d2Jqvz6",
        "verb=delete&id=-r+ALL1",
        "verb=requeue&id=4cRz1d2Jqvz5",
        "verb=delete",
        "id=4cRz1d2Jqvz5",
        // A good one: this folder has no queue to change.
        "verb=delete&id=4cRz1d2Jqvz5",
    ] {
        let token = token(&browser.get("/queue")).to_owned();
        let answer = browser.post("/queue", &format!("token={token}&{fields}"));
        assert_eq!(answer.status, 303, "{fields}: {answer:?}");
        let page = browser.get("/queue");
        assert!(page.body.contains("That failed: "), "{fields}: {page:?}");
        assert!(!browser.get("/queue").body.contains("That failed"));
    }
}
