//! A browser: it keeps cookies, and says what it wants and nothing else.

use super::site::{HOSTNAME, PASSWORD, Site};
use crate::web::client::{Answer, browse, exchange};

pub struct Browser<'a> {
    site: &'a Site,
    /// Where the pages are.
    pub base: &'static str,
    /// Whom the proxy in front says it has.
    pub address: &'static str,
    pub cookies: Vec<(String, String)>,
}

impl<'a> Browser<'a> {
    pub fn new(site: &'a Site) -> Self {
        Self {
            site,
            base: "/monitoring",
            address: "192.0.2.10",
            cookies: Vec::new(),
        }
    }

    /// One that has logged in.
    pub fn logged_in(site: &'a Site) -> Self {
        let mut browser = Self::new(site);
        let answer = browser.log_in(PASSWORD);
        assert_eq!(answer.status, 303, "{answer:?}");
        browser
    }

    /// A request with more headers, each with its line's end.
    pub fn ask(&mut self, method: &str, path: &str, more: &str, body: &str) -> Answer {
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {HOSTNAME}\r\nConnection: close\r\n\
             Cookie: {}\r\nX-Forwarded-For: {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            self.base,
            cookies.join("; "),
            self.address,
            body.len()
        );
        let text = exchange(browse(self.site.https, HOSTNAME), request.as_bytes());
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        for line in head.lines() {
            let Some(value) = line.strip_prefix("set-cookie: ") else {
                continue;
            };
            let pair = value.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        Answer::parse(&text)
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    pub fn post(&mut self, path: &str, body: &str) -> Answer {
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.ask("POST", path, form, body)
    }

    /// Loads the form and sends it.
    pub fn log_in(&mut self, password: &str) -> Answer {
        let form = self.get("/login");
        let body = format!(
            "token={}&user=mail&password={}",
            token(&form),
            password.replace(' ', "+")
        );
        self.post("/login", &body)
    }

    pub fn cookie(&self, name: &str) -> Option<&str> {
        let mut found = self.cookies.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }
}

/// The hidden field of a page's forms.
pub fn token(page: &Answer) -> &str {
    let rest = page.body.split("name=\"token\" value=\"").nth(1);
    let rest = rest.unwrap_or_else(|| panic!("no form: {page:?}"));
    rest.split('"').next().unwrap()
}
