//! A group as a file: PKCS #3 in PEM (RFC 7468, <https://www.rfc-editor.org/rfc/rfc7468>),
//! and whether its prime is a safe one.

use super::named;
use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use num_bigint::BigUint;
use rand::Rng;
use x509_parser::asn1_rs::{FromDer, Integer, Sequence};

const BEGIN: &str = "-----BEGIN DH PARAMETERS-----";
const END: &str = "-----END DH PARAMETERS-----";
/// Sizes of named groups.
const NAMED: [u32; 3] = [2048, 3072, 4096];
/// Bases that a number is tried with; each lets through less than a quarter of
/// all composites (Miller and Rabin), of random ones far less.
const MILLER_RABIN_ROUNDS: usize = 16;

/// A prime and the number whose powers are exchanged.
#[derive(Debug, PartialEq, Eq)]
pub struct Group {
    prime: BigUint,
    generator: BigUint,
}

impl Group {
    /// Reads a group.
    pub fn parse(pem: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(pem)?.trim();
        let body = text
            .strip_prefix(BEGIN)
            .and_then(|rest| rest.strip_suffix(END))
            .context("no PEM block of DH parameters")?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body)?;
        let (rest, sequence) =
            Sequence::from_der(&der).map_err(|_| anyhow::anyhow!("no sequence of numbers"))?;
        ensure!(rest.is_empty(), "more than one sequence");
        let (rest, prime) = number(&sequence.content)?;
        let (rest, generator) = number(rest)?;
        // The length of the private value may follow.
        if !rest.is_empty() {
            let (rest, _) = number(rest)?;
            ensure!(rest.is_empty(), "more than three numbers");
        }
        Ok(Self { prime, generator })
    }

    /// Size of the prime.
    pub fn bits(&self) -> u64 {
        self.prime.bits()
    }

    /// Whether it is one of RFC 7919.
    pub fn is_named(&self) -> bool {
        let mut named = NAMED.iter().filter_map(|bits| named::prime(*bits));
        named.any(|prime| prime == self.prime)
    }

    /// Whether it is fit for use: generator 2 of a group modulo a safe prime.
    pub fn check(&self, bits: u32) -> Result<()> {
        if self.bits() != u64::from(bits) {
            bail!("the prime has {} bits and not {bits}", self.bits());
        }
        ensure!(
            self.generator == BigUint::from(2u32),
            "the generator is not 2"
        );
        // p = 2q + 1, so q is all bits of p but the last.
        let half = &self.prime >> 1u32;
        ensure!(
            is_prime(&half) && is_prime(&self.prime),
            "the prime is not a safe one"
        );
        Ok(())
    }
}

fn number(der: &[u8]) -> Result<(&[u8], BigUint)> {
    let (rest, number) = Integer::from_der(der).map_err(|_| anyhow::anyhow!("no number"))?;
    let bytes = number.as_ref();
    ensure!(
        bytes.first().is_some_and(|first| *first < 0x80),
        "a negative number"
    );
    Ok((rest, BigUint::from_bytes_be(bytes)))
}

/// Miller and Rabin's test with random bases.
fn is_prime(number: &BigUint) -> bool {
    let one = BigUint::from(1u32);
    let two = BigUint::from(2u32);
    if *number <= BigUint::from(3u32) {
        return *number >= two;
    }
    let below = number - &one;
    let twos = below.trailing_zeros().unwrap_or_default();
    if twos == 0 {
        return false;
    }
    let odd = &below >> twos;
    let mut random = vec![0u8; number.to_bytes_be().len()];
    (0..MILLER_RABIN_ROUNDS).all(|_| {
        rand::rng().fill_bytes(&mut random);
        // Any of 2 to n - 2.
        let base = BigUint::from_bytes_be(&random) % (&below - &two) + &two;
        let mut power = base.modpow(&odd, number);
        if power == one || power == below {
            return true;
        }
        (1..twos).any(|_| {
            power = power.modpow(&two, number);
            power == below
        })
    })
}

#[cfg(test)]
mod tests {
    use super::{Group, is_prime};
    use crate::appliance::dovecot::dh::named::named_group_pem;
    use num_bigint::BigUint;

    #[test]
    fn primes_and_what_looks_like_them() {
        let prime = |number: u64| is_prime(&BigUint::from(number));
        for number in [2, 3, 5, 7, 97, 65_537, 4_294_967_291] {
            assert!(prime(number), "{number}");
        }
        // Carmichael's numbers, squares, even ones.
        for number in [0, 1, 4, 9, 561, 1105, 1729, 825_265, 4_294_967_297] {
            assert!(!prime(number), "{number}");
        }
    }

    #[test]
    fn named_groups_are_safe_and_others_are_not() {
        let pem = named_group_pem(2048).unwrap();
        let group = Group::parse(pem.as_bytes()).unwrap();
        group.check(2048).unwrap();
        assert!(group.is_named());
        let said = |group: &Group, bits| group.check(bits).unwrap_err().to_string();
        assert_eq!(said(&group, 4096), "the prime has 2048 bits and not 4096");
        let other = Group {
            prime: &group.prime - 2u32,
            generator: BigUint::from(2u32),
        };
        assert!(!other.is_named());
        assert_eq!(said(&other, 2048), "the prime is not a safe one");
    }

    #[test]
    fn damaged_files_are_no_group() {
        let pem = named_group_pem(2048).unwrap();
        for length in [0, 10, 100, pem.len() - 5] {
            assert!(Group::parse(&pem.as_bytes()[..length]).is_err(), "{length}");
        }
        assert!(Group::parse(format!("{pem}{pem}").as_bytes()).is_err());
        for der in [
            "",
            "AA==",
            "MAA=",
            "MAMCAQI=",
            "MAYCAf8CAQI=",
            "MAYCAQcCAQIA",
        ] {
            let pem = format!("{}\n{der}\n{}\n", super::BEGIN, super::END);
            assert!(Group::parse(pem.as_bytes()).is_err(), "{der}");
        }
    }
}
