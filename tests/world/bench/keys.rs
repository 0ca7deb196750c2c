//! OpenPGP keys of a test archive, and signatures good and bad.

use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, Timestamp};
use rsa::rand_core::{CryptoRng, Error, RngCore};

/// The key that the recipe's keyring holds.
pub const ARCHIVE: u64 = 1;
/// A key that nobody allowed.
pub const FOREIGN: u64 = 2;
/// Seconds of a day.
pub const DAY: i64 = 86400;

/// How and when something is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signing {
    /// Which key, a number of one's choice.
    pub key: u64,
    /// Seconds ago.
    pub age: i64,
    /// Seconds until the signature expires.
    pub lifetime: Option<u32>,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            key: ARCHIVE,
            age: 60,
            lifetime: None,
        }
    }
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The public half of a key, binary.
pub fn public_key(number: u64) -> Vec<u8> {
    make_key(number).to_public_key().to_bytes().unwrap()
}

/// The public half of a key, armored.
pub fn armored_public_key(number: u64) -> Vec<u8> {
    make_key(number)
        .to_public_key()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

/// Signs a text as an InRelease is signed.
pub fn sign(text: &str, signing: Signing) -> Vec<u8> {
    let key = make_key(signing.key);
    let made = timestamp(now() - signing.age);
    let subpacket = |data| Subpacket::regular(data).unwrap();
    let message = CleartextSignedMessage::new_many(text, |normalized| {
        let primary = &key.primary_key;
        let mut config = SignatureConfig::v4(
            SignatureType::Text,
            primary.algorithm(),
            HashAlgorithm::Sha256,
        );
        config.hashed_subpackets = vec![
            subpacket(SubpacketData::SignatureCreationTime(made)),
            subpacket(SubpacketData::IssuerFingerprint(primary.fingerprint())),
        ];
        if let Some(lifetime) = signing.lifetime {
            let lifetime = Duration::from_secs(lifetime);
            config
                .hashed_subpackets
                .push(subpacket(SubpacketData::SignatureExpirationTime(lifetime)));
        }
        Ok(vec![config.sign(
            primary,
            &Password::empty(),
            normalized.as_bytes(),
        )?])
    });
    message
        .unwrap()
        .to_armored_bytes(ArmorOptions::default())
        .unwrap()
}

fn make_key(number: u64) -> SignedSecretKey {
    SecretKeyParamsBuilder::default()
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .created_at(timestamp(1_700_000_000))
        .primary_user_id(format!("Archive {number}"))
        .build()
        .unwrap()
        .generate(Sequence(number))
        .unwrap()
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp::from_secs(u32::try_from(seconds).unwrap())
}

/// Numbers that are no secret (splitmix64), so that a key comes out the same.
struct Sequence(u64);

impl RngCore for Sequence {
    fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let next = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&next[..chunk.len()]);
        }
    }
    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Sequence {}
