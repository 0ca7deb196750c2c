//! Where the monitoring pages are, and who may see them.
//!
//! The keys are Grafana's (<https://grafana.com/docs/grafana/latest/setup-grafana/configure-grafana/#root_url>),
//! as t-lo/mailserver has them. Of the address only the path decides anything here: the host is
//! whatever leads to this machine, and links hold no port.

/// Where the pages are when the address has no path that could be theirs.
const DEFAULT_PATH: &str = "/monitoring";
/// What is said then.
pub(super) const PATH_UNUSABLE: &str = "has no path that could be the pages' own, so they are at /monitoring/; a path is letters, digits, '-', '_' and '.', as in https://HOSTNAME/monitoring/";
/// First parts of paths that are the web server's own.
const TAKEN: [&str; 4] = ["mail", "autodiscover", "robots.txt", "apple.mobileconfig"];

/// The monitoring pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitoring {
    /// `METRICS`.
    pub enabled: bool,
    /// `GF_SECURITY_ADMIN_USER`.
    pub user: String,
    /// `GF_SECURITY_ADMIN_PASSWORD`.
    pub password: Option<String>,
    /// `GF_SERVER_ROOT_URL`.
    pub url: String,
}

impl Monitoring {
    /// The path below which the pages are, without `/` at its end. An address that is no good
    /// locks nobody out.
    pub fn path(&self) -> &str {
        self.own_path().unwrap_or(DEFAULT_PATH)
    }

    /// The path of the address, if pages can be there.
    pub(super) fn own_path(&self) -> Option<&str> {
        let rest = self.url.strip_prefix("https://")?;
        let path = rest[rest.find('/')?..].trim_end_matches('/');
        let mut parts = path.strip_prefix('/')?.split('/');
        let first = parts.next()?;
        let good = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let is_taken = TAKEN.iter().any(|taken| taken.eq_ignore_ascii_case(first));
        (good(first) && !is_taken && parts.all(good)).then_some(path)
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::{parse_settings, resolve_settings};

    fn path_and_warnings(url: &str) -> (String, usize) {
        let text = format!("DOMAIN=a.example\nHOSTNAME=mail.a.example\nGF_SERVER_ROOT_URL={url}\n");
        let resolved = resolve_settings(&parse_settings(text.as_bytes()).unwrap()).unwrap();
        // One is about ssh.
        let path = resolved.settings.monitoring.path().to_owned();
        (path, resolved.warnings.len() - 1)
    }

    #[test]
    fn the_path_of_the_address_counts() {
        for (url, path) in [
            ("", "/monitoring"),
            ("https://mail.a.example/monitoring/", "/monitoring"),
            ("https://other.example:8443/a/b-c", "/a/b-c"),
            ("https://[2001:db8::1]:8443/grafana//", "/grafana"),
        ] {
            assert_eq!(path_and_warnings(url), (path.to_owned(), 0), "{url}");
        }
    }

    #[test]
    fn one_that_is_no_good_locks_nobody_out() {
        for path in [
            "",
            "/",
            "//",
            "/a//b",
            "/..",
            "/a/../b",
            "/.well-known/x",
            "/mail/",
            "/Mail",
            "/a?b",
            "/a#b",
            "/%61",
            "/a<b",
            "/autodiscover/x",
            "/ä",
        ] {
            let url = format!("https://mail.a.example{path}");
            assert_eq!(
                path_and_warnings(&url),
                ("/monitoring".to_owned(), 1),
                "{url}"
            );
        }
    }
}
