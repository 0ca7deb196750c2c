//! The commented settings.env that ships on the ESP, and blanking of secrets.

use super::file::visible_length;
use super::key::{KEYS, find_key};
use super::written::{KEPT_SECRET, Written};

/// A settings.env with every key commented out, ready to be filled in.
#[must_use]
pub fn settings_template() -> String {
    let mut text = String::from(
        "# Settings of this mail server. Fill in DOMAIN and HOSTNAME, then start the machine.\n\
         # One KEY=value per line, without quotes. ${KEY} stands for the value of another key,\n\
         # except in passwords, which are taken as they are.\n",
    );
    for key in KEYS {
        text.push_str("\n# ");
        text.push_str(key.about);
        text.push('\n');
        if key.required {
            text.push_str(&format!("{}=\n", key.name));
        } else {
            text.push_str(&format!("#{}={}\n", key.name, key.default));
        }
    }
    text
}

/// Replaces every secret by the marker that stands for the stored one.
///
/// All else stays as it is, byte for byte, unreadable lines included.
#[must_use]
pub fn blank_secrets(text: &[u8]) -> Vec<u8> {
    replace_secrets(text, |_, _| Some(KEPT_SECRET.to_owned()))
}

/// Puts stored secrets where the text says that they are kept.
///
/// A marker without a stored value stays, and [`super::resolve_settings`]
/// refuses it with its line.
#[must_use]
pub fn restore_secrets(text: &[u8], stored: &Written) -> Vec<u8> {
    replace_secrets(text, |key, value| {
        (value == KEPT_SECRET.as_bytes())
            .then(|| stored.value(key).map(str::to_owned))
            .flatten()
    })
}

fn replace_secrets(text: &[u8], replacement: impl Fn(&str, &[u8]) -> Option<String>) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    for raw in text.split_inclusive(|byte| *byte == b'\n') {
        let change = secret_span(raw).and_then(|(key, start, end)| {
            replacement(key, &raw[start..end]).map(|value| (start, value, end))
        });
        match change {
            Some((start, value, end)) => {
                result.extend_from_slice(&raw[..start]);
                result.extend_from_slice(value.as_bytes());
                result.extend_from_slice(&raw[end..]);
            }
            None => result.extend_from_slice(raw),
        }
    }
    result
}

/// The secret that a line sets, and where its value lies.
fn secret_span(line: &[u8]) -> Option<(&'static str, usize, usize)> {
    let after_mark = if line.starts_with(b"\xef\xbb\xbf") {
        3
    } else {
        0
    };
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let key = std::str::from_utf8(line.get(after_mark..equals)?).ok()?;
    let key = find_key(key.trim_start_matches([' ', '\t'])).filter(|key| key.secret)?;
    // As it is read: what follows the value is none of it.
    let end = visible_length(line);
    (end > equals + 1).then_some((key.name, equals + 1, end))
}

#[cfg(test)]
mod tests {
    use super::{blank_secrets, restore_secrets, settings_template};
    use crate::settings::{KEYS, parse_settings};

    #[test]
    fn the_template_sets_nothing_and_names_all() {
        let template = settings_template();
        assert!(parse_settings(template.as_bytes()).unwrap().is_empty());
        for key in KEYS {
            assert!(
                template.contains(&format!("\n{}=", key.name))
                    || template.contains(&format!("\n#{}=", key.name))
            );
        }
    }

    #[test]
    fn only_secrets_are_blanked() {
        let text = b"\xef\xbb\xbfRELAYHOST_PASSWORD=p w\r\nDOMAIN=a.b\n# RELAYHOST_PASSWORD=c\nACME_EAB_HMAC=\n GF_SECURITY_ADMIN_PASSWORD=x\xff";
        let blanked = blank_secrets(text);
        assert_eq!(
            blanked,
            b"\xef\xbb\xbfRELAYHOST_PASSWORD=__KEPT_ON_THE_MACHINE__\r\nDOMAIN=a.b\n# RELAYHOST_PASSWORD=c\nACME_EAB_HMAC=\n GF_SECURITY_ADMIN_PASSWORD=__KEPT_ON_THE_MACHINE__"
        );
        assert_eq!(blank_secrets(&blanked), blanked);
        let text = b"RELAYHOST_PASSWORD=p w \t\r\nACME_EAB_HMAC= \t\r\n";
        assert_eq!(
            blank_secrets(text),
            b"RELAYHOST_PASSWORD=__KEPT_ON_THE_MACHINE__ \t\r\nACME_EAB_HMAC= \t\r\n"
        );
    }
    #[test]
    fn blanked_secrets_come_back_from_the_store() {
        let stored = parse_settings(b"RELAYHOST_PASSWORD=p w\n").unwrap();
        let text = b"# c\r\nRELAYHOST_PASSWORD=p w\r\nACME_EAB_HMAC=";
        let blanked = blank_secrets(text);
        assert_eq!(restore_secrets(&blanked, &stored), text);
        assert_eq!(
            restore_secrets(b"RELAYHOST_PASSWORD=__KEPT_ON_THE_MACHINE__\t\r\n", &stored),
            b"RELAYHOST_PASSWORD=p w\t\r\n"
        );
        let nothing = parse_settings(b"").unwrap();
        assert_eq!(restore_secrets(&blanked, &nothing), blanked);
        assert_eq!(
            restore_secrets(b"RELAYHOST_PASSWORD=new", &stored),
            b"RELAYHOST_PASSWORD=new"
        );
    }
}
