//! Whether user-data is a settings.env: clouds hand over whatever somebody put in.
//!
//! Formats of others: <https://docs.cloud-init.io/en/latest/explanation/format.html>.

use crate::settings::{MAXIMUM_BYTES, find_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What user-data turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum UserData {
    /// Nothing but white space.
    Empty,
    /// A settings.env, perhaps with mistakes.
    Settings(Vec<u8>),
    /// Somebody else's, with what it is in words.
    Foreign(String),
}

/// First bytes of what is not ours.
const FOREIGN: [(&[u8], &str); 8] = [
    (b"#cloud-config", "a #cloud-config"),
    (b"#cloud-boothook", "a #cloud-boothook"),
    (b"#include", "a list of addresses to include"),
    (b"#!", "a script"),
    (b"## template:", "a template of cloud-init"),
    (b"Content-Type:", "a MIME message"),
    (b"MIME-Version:", "a MIME message"),
    (b"{", "JSON"),
];
const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"];

/// Looks at user-data; some providers and tools wrap it in Base64.
pub fn examine(bytes: &[u8]) -> UserData {
    match examine_plain(bytes) {
        UserData::Foreign(what) => {
            let unwrapped: Vec<u8> = bytes
                .iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect();
            match STANDARD.decode(unwrapped) {
                Ok(inner) => match examine_plain(&inner) {
                    UserData::Empty => UserData::Foreign(what),
                    inner => inner,
                },
                Err(_) => UserData::Foreign(what),
            }
        }
        plain => plain,
    }
}

fn examine_plain(bytes: &[u8]) -> UserData {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if text.trim_ascii().is_empty() {
        return UserData::Empty;
    }
    if COMPRESSED.iter().any(|magic| text.starts_with(magic)) {
        return UserData::Foreign("compressed".to_owned());
    }
    if let Some((_, what)) = FOREIGN
        .iter()
        .find(|(start, _)| text.trim_ascii_start().starts_with(start))
    {
        return UserData::Foreign((*what).to_owned());
    }
    if !text.split(|byte| *byte == b'\n').any(sets_known_key) {
        return UserData::Foreign("something without any key of ours".to_owned());
    }
    if bytes.len() > MAXIMUM_BYTES {
        return UserData::Foreign(format!("longer than {MAXIMUM_BYTES} bytes"));
    }
    UserData::Settings(bytes.to_vec())
}

fn sets_known_key(line: &[u8]) -> bool {
    let key = line.trim_ascii_start().split(|byte| *byte == b'=').next();
    line.contains(&b'=')
        && key
            .and_then(|key| std::str::from_utf8(key).ok())
            .is_some_and(|key| find_key(key).is_some())
}

#[cfg(test)]
mod tests {
    use super::{UserData, examine};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    fn foreign(bytes: &[u8]) -> String {
        match examine(bytes) {
            UserData::Foreign(what) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn settings_with_any_line_ends() {
        for text in [
            "DOMAIN=a.example\nHOSTNAME=mail.a.example\n",
            "\u{feff}# mine\r\nHOSTNAME=mail.a.example\r\nDOMAIN=a.example\r\n",
            "# only half of it\nDOMAIN=a.example",
        ] {
            let expected = UserData::Settings(text.as_bytes().to_vec());
            assert_eq!(examine(text.as_bytes()), expected);
            let wrapped = STANDARD.encode(text);
            let (left, right) = wrapped.split_at(8);
            assert_eq!(examine(format!("{left}\n{right}\n").as_bytes()), expected);
        }
        assert_eq!(examine(b""), UserData::Empty);
        assert_eq!(examine(b" \r\n"), UserData::Empty);
    }

    #[test]
    fn what_belongs_to_others() {
        assert_eq!(
            foreign(b"#cloud-config\nDOMAIN=a.example\n"),
            "a #cloud-config"
        );
        assert_eq!(foreign(b"#!/bin/sh\nDOMAIN=x\n"), "a script");
        assert_eq!(
            foreign(b"Content-Type: multipart/mixed; boundary=\"=\"\n"),
            "a MIME message"
        );
        assert_eq!(foreign(b"\x1f\x8b\x08\0DOMAIN=x\n"), "compressed");
        assert_eq!(foreign(b"{\"ignition\": {}}"), "JSON");
        assert_eq!(
            foreign(b"PATH=/bin\n<html>DOMAIN=\n"),
            "something without any key of ours"
        );
        assert_eq!(
            foreign(STANDARD.encode("#!/bin/sh\n").as_bytes()),
            "a script"
        );
        let long = format!("DOMAIN=a.example\n{}", "#".repeat(64 * 1024));
        assert_eq!(foreign(long.as_bytes()), "longer than 65536 bytes");
        assert_eq!(foreign(&[0xff; 100]), "something without any key of ours");
    }
}
