//! The MTA-STS policy of our domains: RFC 8461 (<https://www.rfc-editor.org/rfc/rfc8461#section-3.2>).
//!
//! All of them have the same one, since all of them are served by `HOSTNAME`.
//! Keeping to the policies of others is left out here.

use crate::settings::{Settings, StsMode};
use sha2::{Digest, Sha256};

/// How long others keep to it, in seconds: long enough to outlast a week without us.
const MAXIMUM_AGE: u32 = 604_800;
/// The same once it is withdrawn (section 8.3): nobody need remember that for long.
const WITHDRAWN_AGE: u32 = 86_400;
/// Hexadecimal digits of an id; the record takes up to 32 (section 3.1).
const ID_LENGTH: usize = 16;

/// A policy and what tells it from the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StsPolicy {
    /// What `https://mta-sts.DOMAIN/.well-known/mta-sts.txt` answers.
    pub text: String,
    /// `id` of the record `_mta-sts.DOMAIN`, another one whenever the text changes.
    pub id: String,
}

/// The policy that follows from the settings.
pub fn sts_policy(settings: &Settings) -> StsPolicy {
    let (mode, age) = match settings.sts_mode {
        StsMode::Enforce => ("enforce", MAXIMUM_AGE),
        StsMode::Testing => ("testing", MAXIMUM_AGE),
        StsMode::None => ("none", WITHDRAWN_AGE),
    };
    let text = format!(
        "version: STSv1\r\nmode: {mode}\r\nmx: {}\r\nmax_age: {age}\r\n",
        settings.hostname
    );
    let mut id = hex::encode(Sha256::digest(&text));
    id.truncate(ID_LENGTH);
    StsPolicy { text, id }
}

#[cfg(test)]
mod tests {
    use super::sts_policy;
    use crate::settings::{parse_settings, resolve_settings};

    fn policy(more: &str) -> super::StsPolicy {
        let text = format!("DOMAIN=wombat.example\nHOSTNAME=mail.wombat.example\n{more}");
        let written = parse_settings(text.as_bytes()).unwrap();
        sts_policy(&resolve_settings(&written).unwrap().settings)
    }

    #[test]
    fn each_mode_has_a_text_and_an_id_of_its_own() {
        let enforce = policy("");
        assert_eq!(
            enforce.text,
            "version: STSv1\r\nmode: enforce\r\nmx: mail.wombat.example\r\nmax_age: 604800\r\n"
        );
        assert_eq!(enforce.id.len(), 16);
        assert!(policy("MTA_STS=none").text.contains("mode: none\r\n"));
        assert!(policy("MTA_STS=none").text.ends_with("max_age: 86400\r\n"));
        assert_ne!(policy("MTA_STS=testing").id, enforce.id);
        assert_eq!(policy("ADDITIONAL_DOMAINS=koala.example").id, enforce.id);
    }
}
