//! What stands in a record, as text and as hickory's type.
//!
//! Only the types that a mail machine publishes; text is that of zone files
//! (RFC 1035 section 5, <https://www.rfc-editor.org/rfc/rfc1035#section-5>).
//! Names carry no last dot and are in lower case.

use crate::appliance::wire::dns::message::wire_name;
use anyhow::{Context, Result};
use hickory_proto::rr::rdata::caa::CAA;
use hickory_proto::rr::rdata::name::{CNAME, PTR};
use hickory_proto::rr::rdata::tlsa::TLSA;
use hickory_proto::rr::rdata::{A, AAAA, MX, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest string of a TXT record (RFC 1035 section 3.3).
const LONGEST_STRING: usize = 255;

/// The data of one record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// The name of an address.
    Ptr(String),
    /// Another name's alias.
    Cname(String),
    /// Preference and mail server.
    Mx(u16, String),
    /// Strings, which readers join.
    Txt(Vec<String>),
    /// Where a service is: priority, weight, port and host.
    Srv(u16, u16, u16, String),
    /// Usage, selector, matching type and hexadecimal digest of a TLS key.
    Tlsa(u8, u8, u8, String),
    /// Flags, tag and value of who may issue certificates.
    Caa(u8, String, String),
    /// Anything else, for people to read.
    Other(String),
}

impl Data {
    /// A text record of any length.
    pub fn text(text: &str) -> Self {
        let mut strings = Vec::new();
        let mut string = String::new();
        for character in text.chars() {
            if string.len() + character.len_utf8() > LONGEST_STRING {
                strings.push(std::mem::take(&mut string));
            }
            string.push(character);
        }
        strings.push(string);
        Self::Txt(strings)
    }

    /// The strings of a text record, joined as every reader joins them.
    pub fn joined(&self) -> Option<String> {
        match self {
            Self::Txt(strings) => Some(strings.concat()),
            _ => None,
        }
    }

    /// The type's name.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::A(_) => "A",
            Self::Aaaa(_) => "AAAA",
            Self::Ptr(_) => "PTR",
            Self::Cname(_) => "CNAME",
            Self::Mx(..) => "MX",
            Self::Txt(_) => "TXT",
            Self::Srv(..) => "SRV",
            Self::Tlsa(..) => "TLSA",
            Self::Caa(..) => "CAA",
            Self::Other(_) => "?",
        }
    }

    /// The type's number.
    pub fn record_type(&self) -> RecordType {
        match self {
            Self::A(_) => RecordType::A,
            Self::Aaaa(_) => RecordType::AAAA,
            Self::Ptr(_) => RecordType::PTR,
            Self::Cname(_) => RecordType::CNAME,
            Self::Mx(..) => RecordType::MX,
            Self::Txt(_) => RecordType::TXT,
            Self::Srv(..) => RecordType::SRV,
            Self::Tlsa(..) => RecordType::TLSA,
            Self::Caa(..) => RecordType::CAA,
            Self::Other(_) => RecordType::NULL,
        }
    }

    /// What a provider's form takes: as in a zone, but text without quotes.
    pub fn form_value(&self) -> String {
        self.joined().unwrap_or_else(|| self.to_string())
    }

    /// Data off the wire.
    pub fn from_wire(data: &RData) -> Self {
        match data {
            RData::A(A(address)) => Self::A(*address),
            RData::AAAA(AAAA(address)) => Self::Aaaa(*address),
            RData::PTR(PTR(name)) => Self::Ptr(plain_name(name)),
            RData::CNAME(CNAME(name)) => Self::Cname(plain_name(name)),
            RData::MX(mx) => Self::Mx(mx.preference, plain_name(&mx.exchange)),
            RData::TXT(text) => Self::Txt(
                text.txt_data
                    .iter()
                    .map(|string| String::from_utf8_lossy(string).into_owned())
                    .collect(),
            ),
            RData::SRV(srv) => {
                Self::Srv(srv.priority, srv.weight, srv.port, plain_name(&srv.target))
            }
            RData::TLSA(tlsa) => Self::Tlsa(
                tlsa.cert_usage.into(),
                tlsa.selector.into(),
                tlsa.matching.into(),
                hex::encode(&tlsa.cert_data),
            ),
            RData::CAA(caa) => Self::Caa(
                caa.flags(),
                caa.tag.to_ascii_lowercase(),
                String::from_utf8_lossy(&caa.value).into_owned(),
            ),
            other => Self::Other(other.to_string()),
        }
    }

    /// Data for the wire.
    pub fn to_wire(&self) -> Result<RData> {
        Ok(match self {
            Self::A(address) => RData::A(A(*address)),
            Self::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Self::Ptr(name) => RData::PTR(PTR(wire_name(name)?)),
            Self::Cname(name) => RData::CNAME(CNAME(wire_name(name)?)),
            Self::Mx(preference, host) => RData::MX(MX::new(*preference, wire_name(host)?)),
            Self::Txt(strings) => RData::TXT(TXT::new(strings.clone())),
            Self::Srv(priority, weight, port, host) => {
                RData::SRV(SRV::new(*priority, *weight, *port, wire_name(host)?))
            }
            Self::Tlsa(usage, selector, matching, digest) => RData::TLSA(TLSA::new(
                (*usage).into(),
                (*selector).into(),
                (*matching).into(),
                hex::decode(digest).context("reading a digest")?,
            )),
            Self::Caa(flags, tag, value) => {
                let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
                tag.clone_into(&mut caa.tag);
                caa.value = value.clone().into_bytes();
                RData::CAA(caa)
            }
            Self::Other(text) => anyhow::bail!("'{text}' is nothing that this program publishes"),
        })
    }
}

impl fmt::Display for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::A(address) => write!(formatter, "{address}"),
            Self::Aaaa(address) => write!(formatter, "{address}"),
            Self::Ptr(name) | Self::Cname(name) => write!(formatter, "{name}."),
            Self::Mx(preference, host) => write!(formatter, "{preference} {host}."),
            Self::Txt(strings) => {
                let strings: Vec<String> = strings.iter().map(|string| quoted(string)).collect();
                formatter.write_str(&strings.join(" "))
            }
            Self::Srv(priority, weight, port, host) => {
                write!(formatter, "{priority} {weight} {port} {host}.")
            }
            Self::Tlsa(usage, selector, matching, digest) => {
                write!(formatter, "{usage} {selector} {matching} {digest}")
            }
            Self::Caa(flags, tag, value) => write!(formatter, "{flags} {tag} {}", quoted(value)),
            Self::Other(text) => formatter.write_str(text),
        }
    }
}

/// A character-string of a zone file; what a terminal would act on is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\{byte:03}")),
        }
    }
    quoted.push('"');
    quoted
}

/// A name as this program writes it: lower case, without the last dot.
pub fn plain_name(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::Data;

    #[test]
    fn long_text_is_cut_and_joined_again() {
        let text = "x".repeat(300);
        let data = Data::text(&text);
        assert_eq!(data.joined().as_deref(), Some(text.as_str()));
        let Data::Txt(strings) = &data else { panic!() };
        assert_eq!((strings[0].len(), strings[1].len()), (255, 45));
        assert_eq!(Data::from_wire(&data.to_wire().unwrap()), data);
        assert_eq!(Data::text("").to_string(), "\"\"");
        assert_eq!(Data::text("a\"\\\x1b").to_string(), r#""a\"\\\027""#);
    }

    #[test]
    fn the_wire_keeps_every_type() {
        for data in [
            Data::A("192.0.2.1".parse().unwrap()),
            Data::Aaaa("2001:db8::1".parse().unwrap()),
            Data::Ptr("a.example".into()),
            Data::Cname("a.example".into()),
            Data::Mx(10, "a.example".into()),
            Data::Srv(0, 1, 465, "a.example".into()),
            Data::Tlsa(3, 1, 1, "00ff".into()),
            Data::Caa(128, "issue".into(), "ca.example; a=b".into()),
        ] {
            assert_eq!(Data::from_wire(&data.to_wire().unwrap()), data);
        }
        assert!(Data::Other("x".into()).to_wire().is_err());
        assert!(Data::Ptr("a..b".into()).to_wire().is_err());
        assert_eq!(
            Data::Caa(0, "issue".into(), "a; b=c".into()).to_string(),
            "0 issue \"a; b=c\""
        );
    }
}
