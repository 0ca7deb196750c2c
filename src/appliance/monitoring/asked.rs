//! One request as the web server handed it on.
//!
//! Forms are `application/x-www-form-urlencoded`
//! (<https://url.spec.whatwg.org/#application/x-www-form-urlencoded>); cookies by RFC 6265,
//! section 5.4. What the client said about itself and its address was dropped on the way; the
//! two headers that begin with `x-mailimg-` are the web server's word.

use crate::appliance::web::asked::decode;
use crate::appliance::web::passing::{CERTIFICATE_HEADER, CLIENT_HEADER, SELF_SIGNED};
use http::{HeaderMap, Method, header};
use std::net::{IpAddr, Ipv4Addr};

/// One request, read whole.
#[derive(Debug)]
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The path below the pages' own, with its first `/`.
    pub path: String,
    /// What follows `?`.
    pub query: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Asked {
    /// The client's address.
    pub fn client(&self) -> IpAddr {
        let text = self.header(CLIENT_HEADER);
        text.and_then(|text| text.parse().ok())
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }

    /// Whether the browser has warned of our certificate.
    pub fn is_self_signed(&self) -> bool {
        self.header(CERTIFICATE_HEADER) == Some(SELF_SIGNED)
    }

    /// A header, unless it is there twice or is no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().ok(),
            _ => None,
        }
    }

    /// A parameter of the address.
    pub fn parameter(&self, name: &str) -> Option<String> {
        pairs(&self.query).find_map(|(key, value)| (key == name).then_some(value))
    }

    /// A field of the posted form.
    pub fn field(&self, name: &str) -> Option<String> {
        let form = self.form();
        form.into_iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// All fields of the posted form.
    pub fn form(&self) -> Vec<(String, String)> {
        let kind = self.header(header::CONTENT_TYPE.as_str());
        if !kind.is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")) {
            return Vec::new();
        }
        std::str::from_utf8(&self.body).map_or_else(|_| Vec::new(), |text| pairs(text).collect())
    }

    /// All parameters of the address.
    pub fn parameters(&self) -> Vec<(String, String)> {
        pairs(&self.query).collect()
    }

    /// A cookie; one that is there twice counts for nothing.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let headers = self.headers.get_all(header::COOKIE).iter();
        let mut found = headers
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter_map(|(key, value)| (key == name).then_some(value));
        match (found.next(), found.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }
}

/// The pairs of a form; those that cannot be read are left out.
fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |text: &str| decode(&text.replace('+', " "));
        Some((plain(key)?, plain(value)?))
    })
}

#[cfg(test)]
mod tests {
    use super::Asked;
    use http::{HeaderMap, Method};

    fn asked(query: &str, headers: &[(&'static str, &str)]) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Asked {
            method: Method::GET,
            path: "/".to_owned(),
            query: query.to_owned(),
            headers: map,
            body: b"a=1".to_vec(),
        }
    }

    #[test]
    fn parameters_and_cookies_are_read_once() {
        let one = asked(
            "a=b+c%26&d&%zz=1",
            &[("cookie", "x=1; y=2"), ("cookie", "y=3")],
        );
        assert_eq!(one.parameter("a").as_deref(), Some("b c&"));
        assert_eq!(one.parameter("d").as_deref(), Some(""));
        assert_eq!((one.cookie("x"), one.cookie("y")), (Some("1"), None));
        assert_eq!(one.field("a"), None);
        let form = ("content-type", "application/x-www-form-urlencoded");
        assert_eq!(asked("", &[form]).field("a").as_deref(), Some("1"));
        let twice = asked(
            "",
            &[("x-mailimg-client", "1.2.3.4"), ("x-mailimg-client", "::1")],
        );
        assert!(twice.client().is_unspecified());
    }
}
