//! The hashes of a body, made while it comes in.

use super::canonical::{BodyHasher, Canonicalization, Hashed};
use super::headers::Headers;
use super::tags::Tags;

/// Headers whose signatures cover the body, in lower case.
const SIGNERS: [&str; 2] = ["dkim-signature", "arc-message-signature"];

/// A body under way.
#[derive(Default)]
pub struct BodyStream {
    /// Known once the first piece is there.
    hashers: Option<(Option<BodyHasher>, Option<BodyHasher>)>,
}

/// A body that is complete.
#[derive(Debug, Default)]
pub struct Bodies {
    simple: Option<Hashed>,
    relaxed: Option<Hashed>,
}

impl BodyStream {
    fn hashers(&mut self, headers: &Headers) -> &mut (Option<BodyHasher>, Option<BodyHasher>) {
        self.hashers.get_or_insert_with(|| {
            let wants = |kind| wanted(headers, kind).then(|| BodyHasher::new(kind));
            (
                wants(Canonicalization::Simple),
                wants(Canonicalization::Relaxed),
            )
        })
    }

    /// Takes the next piece; all headers came before.
    pub fn update(&mut self, headers: &Headers, piece: &[u8]) {
        let (simple, relaxed) = self.hashers(headers);
        for hasher in [simple, relaxed].into_iter().flatten() {
            hasher.update(piece);
        }
    }

    /// The hashes of the whole.
    pub fn finish(mut self, headers: &Headers) -> Bodies {
        let (simple, relaxed) = self.hashers(headers);
        Bodies {
            simple: simple.take().map(BodyHasher::finish),
            relaxed: relaxed.take().map(BodyHasher::finish),
        }
    }
}

impl Bodies {
    /// The hash of one kind, if a signature wants it.
    pub fn hashed(&self, kind: Canonicalization) -> Option<&Hashed> {
        match kind {
            Canonicalization::Simple => self.simple.as_ref(),
            Canonicalization::Relaxed => self.relaxed.as_ref(),
        }
    }
}

/// Whether a signature is over a body of this kind.
fn wanted(headers: &Headers, kind: Canonicalization) -> bool {
    let signers = SIGNERS.iter().flat_map(|name| headers.named(name));
    signers
        .filter_map(|header| Tags::parse(&header.value))
        .any(|tags| {
            let relaxed = tags.packed("c").is_some_and(|text| {
                let body = text.split_once('/').map(|(_, body)| body.to_owned());
                body.is_some_and(|body| body.eq_ignore_ascii_case("relaxed"))
            });
            relaxed == (kind == Canonicalization::Relaxed)
        })
}

#[cfg(test)]
mod tests {
    use super::{BodyStream, Canonicalization, Headers};

    #[test]
    fn only_what_is_signed_is_hashed() {
        for (value, simple, relaxed) in [
            ("v=1; c=relaxed/relaxed", false, true),
            ("v=1; c=relaxed", true, false),
            ("v=1", true, false),
            ("", true, false),
            ("unreadable", false, false),
        ] {
            let mut headers = Headers::default();
            headers.push(b"DKIM-Signature", value.as_bytes());
            let mut stream = BodyStream::default();
            stream.update(&headers, b"a\r\n");
            let bodies = stream.finish(&headers);
            let found = [Canonicalization::Simple, Canonicalization::Relaxed]
                .map(|kind| bodies.hashed(kind).is_some());
            assert_eq!(found, [simple, relaxed], "{value}");
        }
        let headers = Headers::default();
        let bodies = BodyStream::default().finish(&headers);
        assert!(bodies.hashed(Canonicalization::Simple).is_none());
    }
}
