//! What Outlook sends when it looks for settings.
//!
//! Plain old XML of [MS-OXDSCLI] section 2.2.3
//! (<https://learn.microsoft.com/openspecs/exchange_server_protocols/ms-oxdscli/>).
//! Two elements are picked out of a document in which nothing but elements and
//! text may be: no entities, no declarations, so nothing that expands.

/// Longest document that is read; Outlook's has a few hundred bytes.
pub const LONGEST_REQUEST: usize = 16 << 10;
/// Answers of which Outlook makes a mail account end so.
const OUTLOOK_SCHEMA: &str = "/outlook/responseschema/2006a";

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct AutodiscoverRequest {
    /// The address as written.
    pub address: String,
    /// Whether it takes the settings of a mail account for an answer.
    pub takes_mail: bool,
}

/// Reads a request, `None` when it is not one.
pub fn parse_request(body: &[u8]) -> Option<AutodiscoverRequest> {
    let text = std::str::from_utf8(body).ok()?;
    // A document type, a comment or CDATA: Outlook sends none.
    if text.contains("<!") {
        return None;
    }
    let address = element_text(text, "EMailAddress")?.to_owned();
    let takes_mail = element_text(text, "AcceptableResponseSchema")
        .is_none_or(|schema| schema.ends_with(OUTLOOK_SCHEMA));
    Some(AutodiscoverRequest {
        address,
        takes_mail,
    })
}

/// Text of the first element of that name that holds nothing else.
fn element_text<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        let end = rest.find('>')?;
        let tag = rest[..end].split_ascii_whitespace().next()?;
        rest = &rest[end + 1..];
        let local = tag.rsplit(':').next().unwrap_or_default();
        if !tag.starts_with('/') && local == name {
            let end = rest.find('<')?;
            let closing = rest[end..].strip_prefix("</")?.strip_prefix(tag)?;
            closing.trim_start().strip_prefix('>')?;
            let content = rest[..end].trim();
            return (!content.contains('&')).then_some(content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AutodiscoverRequest, parse_request};

    #[test]
    fn picks_out_address_and_schema() {
        let request = |schema: &str| {
            format!(
                "\u{feff}<?xml version=\"1.0\"?>\n<a:Autodiscover xmlns:a=\"x\">\n<Request>\
                 <a:EMailAddress> Jens@a.example </a:EMailAddress>{schema}</Request>\
                 </a:Autodiscover>"
            )
        };
        let parsed = |takes_mail| {
            Some(AutodiscoverRequest {
                address: "Jens@a.example".to_owned(),
                takes_mail,
            })
        };
        assert_eq!(parse_request(request("").as_bytes()), parsed(true));
        let schema = |name: &str| {
            format!(
                "<AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/\
                 {name}</AcceptableResponseSchema>"
            )
        };
        let outlook = request(&schema("outlook/responseschema/2006a"));
        assert_eq!(parse_request(outlook.as_bytes()), parsed(true));
        let phone = request(&schema("mobilesync/responseschema/2006"));
        assert_eq!(parse_request(phone.as_bytes()), parsed(false));
    }

    #[test]
    fn anything_else_is_no_request() {
        for text in [
            "",
            "<",
            "<>",
            "< >",
            "<EMailAddress>",
            "<EMailAddress>a@b",
            "<EMailAddress>a@b<",
            "<EMailAddress>a@b</Other>",
            "<EMailAddress>a@b</EMailAddressX>",
            "<EMailAddress><b>a@b</b></EMailAddress>",
            "<EMailAddress>&who;</EMailAddress>",
            "<!DOCTYPE a [<!ENTITY who \"x\">]><EMailAddress>a@b</EMailAddress>",
            "<EMailAddress><![CDATA[a@b]]></EMailAddress>",
        ] {
            assert_eq!(parse_request(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_request(b"<EMailAddress>\xff</EMailAddress>"), None);
    }
}
