//! Diffie-Hellman groups of RFC 7919 (<https://www.rfc-editor.org/rfc/rfc7919#appendix-A>), as PEM.
//!
//! Computed from their definition, p = 2^b - 2^(b-64) + (floor(2^(b-130) e) + X) 2^64 - 1
//! with g = 2, rather than kept as 1,500 digits.

use base64::Engine;
use num_bigint::BigUint;

/// X of appendix A for a group's size in bits, `None` for a size without a group.
fn offset(bits: u32) -> Option<u32> {
    match bits {
        2048 => Some(560_316),
        3072 => Some(2_625_351),
        4096 => Some(5_736_041),
        _ => None,
    }
}

/// floor(2^bits e), by the series of 1/n! with guard bits.
fn scaled_e(bits: u32) -> BigUint {
    // Each of the about 600 terms cuts off less than one unit of the last place.
    const GUARD_BITS: u32 = 64;
    let mut term = BigUint::from(1u32) << (bits + GUARD_BITS);
    let mut sum = term.clone();
    let mut divisor = 1u32;
    while term != BigUint::ZERO {
        term /= divisor;
        sum += &term;
        divisor += 1;
    }
    sum >> GUARD_BITS
}

/// The prime of the named group of that size, `None` when there is none.
pub fn prime(bits: u32) -> Option<BigUint> {
    let one = BigUint::from(1u32);
    let middle = scaled_e(bits - 130) + BigUint::from(offset(bits)?);
    Some((&one << bits) - (&one << (bits - 64)) + (middle << 64u32) - one)
}

/// DER of a definite-length element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    if length < 128 {
        bytes.push(u8::try_from(length).unwrap_or_default());
    } else {
        let digits: Vec<u8> = length
            .to_be_bytes()
            .into_iter()
            .skip_while(|byte| *byte == 0)
            .collect();
        bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or_default());
        bytes.extend(digits);
    }
    bytes.extend_from_slice(content);
    bytes
}

/// The named group of that size in the PEM form of PKCS #3, `None` when there is none.
pub fn named_group_pem(bits: u32) -> Option<String> {
    let prime = prime(bits)?.to_bytes_be();
    // The top bit of p is set: a leading zero keeps it positive.
    let p = element(0x02, &[&[0], prime.as_slice()].concat());
    let g = element(0x02, &[2]);
    let der = element(0x30, &[p, g].concat());
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN DH PARAMETERS-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str("-----END DH PARAMETERS-----\n");
    Some(pem)
}

#[cfg(test)]
mod tests {
    use super::{named_group_pem, prime};
    use sha2::{Digest, Sha256};

    #[test]
    fn primes_are_those_of_the_standard() {
        let text = format!("{:X}", prime(2048).unwrap());
        assert!(text.starts_with("FFFFFFFFFFFFFFFFADF85458A2BB4A9AAFDC5620273D3CF1"));
        assert!(text.ends_with("886B423861285C97FFFFFFFFFFFFFFFF"));
        let text = format!("{:X}", prime(3072).unwrap());
        assert!(text.ends_with("25E41D2B66C62E37FFFFFFFFFFFFFFFF"));
        let text = format!("{:X}", prime(4096).unwrap());
        assert!(text.ends_with("C68A007E5E655F6AFFFFFFFFFFFFFFFF"));
        assert!(named_group_pem(1024).is_none());
    }

    /// SHA-256 of what `openssl genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048` prints.
    #[test]
    fn bytes_are_those_of_openssl() {
        let digest = |bits| hex::encode(Sha256::digest(named_group_pem(bits).unwrap()));
        assert_eq!(
            digest(2048),
            "9ba6429597aeed2d8617a7705b56e96d044f64b07971659382e426675105654b"
        );
        assert_eq!(
            digest(3072),
            "c410cc9c4fd85d2c109f7ebe5930ca5304a52927c0ebcb1a11c5cf6b2386bbab"
        );
        assert_eq!(
            digest(4096),
            "64852d6890ff9e62eecd1ee89c72af9af244dfef5b853bcedea3dfd7aade22b3"
        );
    }
}
