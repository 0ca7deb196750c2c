//! Signatures as minisign writes them, and its keys: <https://jedisct1.github.io/minisign/>.
//!
//! Ed25519 (RFC 8032) over the BLAKE2b-512 (RFC 7693) of what is signed, "ED". A trusted
//! comment is signed along with the signature, the untrusted one by nobody. A file may hold
//! signatures by several keys, one after the other; minisign itself looks at the first.
//! Left out: the old form that signs the bytes themselves, and secret keys behind a
//! password, which would have to be typed where images are signed by a machine.

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use crate::error::{Hint, hinted};

/// What keys are for.
const ALGORITHM: [u8; 2] = *b"Ed";
/// What signatures over a hash are.
const HASHED: [u8; 2] = *b"ED";
/// What the checksum of a secret key is.
const CHECKSUM: [u8; 2] = *b"B2";
/// No password.
const NO_PASSWORD: [u8; 2] = [0; 2];
/// Bytes between the names of algorithms and the key: salt and costs of a password.
const PASSWORD_FIELDS: usize = 32 + 8 + 8;
/// Bytes of a secret key's file: three names, a password's fields, number, key, checksum.
const SECRET_BYTES: usize = 6 + PASSWORD_FIELDS + 8 + 64 + 32;
/// What begins the lines of comments.
const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";
/// Lines of one signature.
const SIGNATURE_LINES: usize = 4;

/// What tells keys apart; a number, written as minisign does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyNumber([u8; 8]);

impl std::fmt::Display for KeyNumber {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016X}", u64::from_le_bytes(self.0))
    }
}

/// What signatures are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Which one it is.
    pub number: KeyNumber,
    key: [u8; 32],
}

impl PublicKey {
    /// Reads a public key: the line in base64, with or without the comment before it.
    pub fn parse(text: &str) -> Result<Self> {
        const HINT: &str = "a public key is a line as `mailimg key new` prints it, RW and 54 more";
        let line = text.lines().find(|line| !line.starts_with(UNTRUSTED));
        let bytes = STANDARD.decode(line.unwrap_or_default().trim());
        let bytes: [u8; 42] = bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .filter(|bytes: &[u8; 42]| bytes.starts_with(&ALGORITHM))
            .ok_or_else(|| hinted(format!("'{}' is no public key", text.trim()), HINT))?;
        Ok(Self {
            number: KeyNumber(part(&bytes, 2)),
            key: part(&bytes, 10),
        })
    }

    /// The line in base64.
    pub fn to_line(&self) -> String {
        STANDARD.encode([&ALGORITHM[..], &self.number.0, &self.key].concat())
    }

    /// The whole file.
    pub fn to_text(&self) -> String {
        format!(
            "{UNTRUSTED}minisign public key {}\n{}\n",
            self.number,
            self.to_line()
        )
    }
}

/// What signatures are made with.
pub struct SecretKey {
    number: KeyNumber,
    seed: [u8; 32],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// A new one.
    pub fn generate() -> Result<Self> {
        let random = SystemRandom::new();
        let (mut number, mut seed) = ([0; 8], [0; 32]);
        random
            .fill(&mut number)
            .and_then(|()| random.fill(&mut seed))
            .map_err(|_| anyhow::anyhow!("asking the system for random numbers"))?;
        Self::of(number, seed)
    }

    fn of(number: [u8; 8], seed: [u8; 32]) -> Result<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed);
        Ok(Self {
            number: KeyNumber(number),
            pair: pair.map_err(|_| anyhow::anyhow!("making a key"))?,
            seed,
        })
    }

    /// Reads the file of a secret key.
    pub fn parse(text: &str) -> Result<Self> {
        const HINT: &str = "`mailimg key new` makes a key, `minisign -G -W` another";
        let line = text.lines().find(|line| !line.starts_with(UNTRUSTED));
        let bytes = STANDARD.decode(line.unwrap_or_default().trim());
        let bytes: [u8; SECRET_BYTES] = bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .filter(|bytes: &[u8; SECRET_BYTES]| bytes.starts_with(&ALGORITHM))
            .context("it is no secret key of minisign")
            .hint(HINT)?;
        if bytes[2..4] != NO_PASSWORD {
            return Err(hinted(
                "it is locked with a password",
                "`minisign -C -W -s FILE` takes the password off; keep the file where only you \
                 can read it",
            ));
        }
        let at = 6 + PASSWORD_FIELDS;
        let number = part(&bytes, at);
        let key = Self::of(number, part(&bytes, at + 8))?;
        let public: [u8; 32] = part(&bytes, at + 40);
        let checksum: [u8; 32] = part(&bytes, at + 72);
        // Without a password minisign leaves it empty.
        let is_summed = checksum == key.checksum() || checksum == [0; 32];
        let is_whole = key.public().key == public && is_summed;
        is_whole
            .then_some(key)
            .context("it is damaged: its checksum is another")
            .hint("take it from your backup")
    }

    /// The whole file, to be kept from others.
    pub fn to_text(&self) -> String {
        let bytes = [
            &ALGORITHM[..],
            &NO_PASSWORD,
            &CHECKSUM,
            &[0; PASSWORD_FIELDS],
            &self.number.0,
            &self.seed,
            &self.public().key,
            &self.checksum(),
        ];
        format!(
            "{UNTRUSTED}minisign secret key {}\n{}\n",
            self.number,
            STANDARD.encode(bytes.concat())
        )
    }

    fn checksum(&self) -> [u8; 32] {
        let mut hash = Blake2b::<U32>::new();
        for bytes in [
            &ALGORITHM[..],
            &self.number.0,
            &self.seed,
            &self.public().key,
        ] {
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    /// What its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        let mut key = [0; 32];
        key.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey {
            number: self.number,
            key,
        }
    }

    /// Signs a message, and the comment with it: the text of a signature.
    pub fn sign(&self, message: &[u8], comment: &str) -> String {
        let signature = self.pair.sign(&Blake2b512::digest(message));
        let both = [signature.as_ref(), comment.as_bytes()].concat();
        let global = self.pair.sign(&both);
        let first = [&HASHED[..], &self.number.0, signature.as_ref()].concat();
        format!(
            "{UNTRUSTED}signature from mailimg, key {}\n{}\n{TRUSTED}{comment}\n{}\n",
            self.number,
            STANDARD.encode(first),
            STANDARD.encode(global)
        )
    }
}

/// A signature over something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The key that is said to have made it.
    pub number: KeyNumber,
    signature: [u8; 64],
    comment: String,
    global: [u8; 64],
}

impl Signature {
    /// Reads all signatures of a file, with the lines of each.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let lines: Vec<&str> = text.lines().collect();
        let each = lines.chunks(SIGNATURE_LINES).map(Self::parse);
        each.collect()
    }

    fn parse(lines: &[&str]) -> Result<Self> {
        let [first, signature, comment, global] = lines else {
            bail!("a signature has {SIGNATURE_LINES} lines");
        };
        let decode = |line: &str| STANDARD.decode(line.trim_end()).ok();
        let (Some(signature), Some(comment), Some(global)) = (
            decode(signature),
            comment.strip_prefix(TRUSTED),
            decode(global),
        ) else {
            bail!("it is no signature of minisign");
        };
        ensure!(
            first.starts_with(UNTRUSTED) && signature.len() == 74 && global.len() == 64,
            "it is no signature of minisign"
        );
        ensure!(
            signature.starts_with(&HASHED),
            "it is a signature of an old form, or of another kind"
        );
        Ok(Self {
            number: KeyNumber(part(&signature, 2)),
            signature: part(&signature, 10),
            comment: comment.to_owned(),
            global: part(&global, 0),
        })
    }

    /// Whether a key made it, for this message.
    pub fn is_by(&self, key: &PublicKey, message: &[u8]) -> bool {
        let public = UnparsedPublicKey::new(&ED25519, key.key);
        let both = [&self.signature[..], self.comment.as_bytes()].concat();
        self.number == key.number
            && public
                .verify(&Blake2b512::digest(message), &self.signature)
                .is_ok()
            && public.verify(&both, &self.global).is_ok()
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|number| bytes[at + number])
}

#[cfg(test)]
mod tests {
    use super::{PublicKey, SecretKey, Signature};
    use std::fs;
    use std::path::Path;
    use std::process::{Command, Stdio};

    const MESSAGE: &[u8] = b"what is signed\n";

    #[test]
    fn keys_and_signatures_come_back_as_they_went() {
        let key = SecretKey::generate().unwrap();
        let again = SecretKey::parse(&key.to_text()).unwrap();
        assert_eq!(again.to_text(), key.to_text());
        let public = PublicKey::parse(&key.public().to_text()).unwrap();
        assert_eq!(public, PublicKey::parse(&public.to_line()).unwrap());
        assert_eq!(public, again.public());
        let other = SecretKey::generate().unwrap();
        let text = other.sign(MESSAGE, "b") + &key.sign(MESSAGE, "a");
        let signatures = Signature::parse_all(&text).unwrap();
        assert_eq!(signatures.len(), 2);
        assert!(signatures[1].is_by(&public, MESSAGE));
        assert!(!signatures[0].is_by(&public, MESSAGE));
        assert!(!signatures[1].is_by(&public, b"something else"));
    }

    #[test]
    fn a_flipped_bit_is_no_signature_any_more() {
        let key = SecretKey::generate().unwrap();
        let text = key.sign(MESSAGE, "made for a test");
        let begin = text.find('\n').unwrap();
        for at in begin..text.len() {
            for bit in 0..7 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else {
                    continue;
                };
                let is_good = Signature::parse_all(&changed)
                    .is_ok_and(|all| all.iter().all(|one| one.is_by(&key.public(), MESSAGE)));
                // White space at the ends of lines means nothing.
                let same = changed.split_whitespace().eq(text.split_whitespace());
                assert!(!is_good || same, "{at} {bit}: {changed}");
            }
        }
        for length in 0..text.len() - 1 {
            let good = Signature::parse_all(&text[..length])
                .is_ok_and(|all| all.iter().any(|one| one.is_by(&key.public(), MESSAGE)));
            assert!(!good, "{length}");
        }
    }

    #[test]
    fn damaged_and_locked_keys_are_told_apart() {
        let text = SecretKey::generate().unwrap().to_text();
        let said = |text: &str| SecretKey::parse(text).err().unwrap().to_string();
        assert!(said("").contains("no secret key"));
        assert!(said(&text.replace("RWQAAEIy", "RWRTY0Iy")).contains("locked with a password"));
        let lines: Vec<&str> = text.lines().collect();
        let middle = if &lines[1][120..121] == "A" { "B" } else { "A" };
        let damaged = format!("{}{middle}{}", &lines[1][..120], &lines[1][121..]);
        assert!(said(&damaged).contains("damaged"));
        assert!(PublicKey::parse(&text).is_err());
    }

    fn minisign(folder: &Path, arguments: &[&str]) -> bool {
        let mut command = Command::new("minisign");
        command.args(arguments).current_dir(folder);
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        status.unwrap().success()
    }

    #[test]
    fn minisign_and_we_take_each_others_keys_and_signatures() {
        if Command::new("minisign").arg("-v").output().is_err() {
            println!("skipped: minisign is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let read = |name: &str| fs::read_to_string(path(name)).unwrap();
        fs::write(path("message"), MESSAGE).unwrap();
        let run = |arguments: &[&str]| minisign(folder.path(), arguments);

        // Ours by theirs, with a second signature behind the first.
        let (key, other) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let line = key.public().to_line();
        let text = key.sign(MESSAGE, "for a test") + &other.sign(MESSAGE, "more");
        fs::write(path("message.minisig"), &text).unwrap();
        assert!(run(&["-V", "-m", "message", "-P", &line]));
        let other_line = other.public().to_line();
        assert!(!run(&["-V", "-m", "message", "-P", &other_line]));
        // Our key in their hands.
        fs::write(path("ours.key"), key.to_text()).unwrap();
        assert!(run(&["-S", "-m", "message", "-s", "ours.key"]));
        let signatures = Signature::parse_all(&read("message.minisig")).unwrap();
        assert!(signatures[0].is_by(&key.public(), MESSAGE));
        // Theirs by us.
        assert!(run(&["-G", "-W", "-p", "theirs.pub", "-s", "theirs.key"]));
        assert!(run(&["-S", "-m", "message", "-s", "theirs.key"]));
        let public = PublicKey::parse(&read("theirs.pub")).unwrap();
        let signatures = Signature::parse_all(&read("message.minisig")).unwrap();
        assert!(signatures[0].is_by(&public, MESSAGE));
        let theirs = SecretKey::parse(&read("theirs.key")).unwrap();
        assert_eq!(theirs.public(), public);
    }
}
