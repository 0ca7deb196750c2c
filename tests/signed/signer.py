"""Keys that are only for tests, and a signer that signs whatever it is told to.

dkimpy's own signer writes none of the disorder that is to be tried: here a signature is a
template that stays as it is, with @BH@ and @B@ where the hash of the body and the signature
go. Canonicalization and cryptography are dkimpy's and PyNaCl's.
"""

import base64
import hashlib
import re

import dkim
import nacl.signing
from dkim.canonicalization import CanonicalizationPolicy
from dkim.crypto import EMSA_PKCS1_v1_5_encode, int2str, str2int
from dkim.util import parse_tag_value

# When the messages are judged: 2027-01-15 08:00 UTC, as the Rust test has it.
NOW = 1_800_000_000
SEED = b"mailimg: keys for tests, known to everybody"
EXPONENT = 65537
SMALL_PRIMES = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]


def prime(label, bits):
    """The first prime that the hash of a label leads to, with its two highest bits set."""
    seed = hashlib.shake_256(SEED + label.encode()).digest(bits // 8)
    number = int.from_bytes(seed, "big") | 3 << (bits - 2) | 1
    while True:
        number += 2
        if any(number % small == 0 for small in SMALL_PRIMES) or number % EXPONENT == 1:
            continue
        # Fermat's test is enough where nobody chose the number.
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7)):
            return number


class Rsa:
    """A key whose primes follow from its name."""

    algorithm = "rsa-sha256"

    def __init__(self, name, bits):
        p, q = prime(name + "p", bits // 2), prime(name + "q", bits // 2)
        self.modulus = p * q
        self.private = pow(EXPONENT, -1, (p - 1) * (q - 1))

    def sign(self, text, hasher=hashlib.sha256):
        length = len(int2str(self.modulus))
        encoded = EMSA_PKCS1_v1_5_encode(hasher(text), length)
        return bytes(int2str(pow(str2int(encoded), self.private, self.modulus), length))

    def bare(self):
        """PKCS #1."""
        return der(0x30, integer(self.modulus) + integer(EXPONENT))

    def public(self):
        """PKCS #1 within what X.509 puts around it."""
        kind = bytes.fromhex("300d06092a864886f70d0101010500")
        return der(0x30, kind + der(3, b"\0" + self.bare()))


class Ed25519:
    """A key that follows from its name."""

    algorithm = "ed25519-sha256"

    def __init__(self, name):
        self.key = nacl.signing.SigningKey(hashlib.sha256(SEED + name.encode()).digest())

    def sign(self, text):
        return self.key.sign(hashlib.sha256(text).digest()).signature

    def public(self):
        return self.key.verify_key.encode()


def der(kind, content):
    length = len(content)
    if length < 128:
        return bytes([kind, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([kind, 128 | size]) + length.to_bytes(size, "big") + content


def integer(number):
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def text64(data):
    return base64.b64encode(data).decode()


KEYS = {
    "rsa512": Rsa("rsa512", 512),
    "rsa1024": Rsa("rsa1024", 1024),
    "rsa2048": Rsa("rsa2048", 2048),
    "rsa4096": Rsa("rsa4096", 4096),
    "ed25519": Ed25519("ed25519"),
    "other": Rsa("other", 1024),
}


def sign(message, template, key="rsa1024", name="DKIM-Signature", fold=None, hasher=None):
    """The message below a signature; what is not in the template is not signed."""
    headers, body = dkim.rfc822_parse(message)
    tags = parse_tag_value(template.encode())
    policy = CanonicalizationPolicy.from_c_value(tags.get(b"c", b"").lower() or None)
    canonical = policy.canonicalize_body(body)
    length = tags.get(b"l", b"")
    if length.isdigit():
        canonical = canonical[: int(length)]
    hashed = (hasher or hashlib.sha256)(canonical).digest()
    template = template.replace("@BH@", text64(hashed))
    named = [one.strip().lower() for one in tags[b"h"].split(b":")]
    chosen = dkim.select_headers(policy.canonicalize_headers(headers), named)
    text = b"".join(one + b":" + value for one, value in chosen)
    return place(text, template, key, name, policy, fold, hasher) + message


def place(text, template, key, name, policy, fold=None, hasher=None):
    """A header over a text and over itself; RFC 6376 section 3.7."""
    unsigned = re.sub(r"\s*@B@\s*", "", template).encode()
    ((own, value),) = policy.canonicalize_headers([[name.encode(), unsigned + b"\r\n"]])
    text += own + b":" + value.removesuffix(b"\r\n")
    signer = KEYS[key]
    signature = text64(signer.sign(text, hasher) if hasher else signer.sign(text))
    if fold:
        signature = fold.join(re.findall(".{1,64}", signature))
    return f"{name}:".encode() + template.replace("@B@", signature).encode() + b"\r\n"


RELAXED = CanonicalizationPolicy.from_c_value(b"relaxed/relaxed")
SET = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")


def arc_set(
    message,
    number,
    cv=None,
    key="rsa1024",
    results="i=@I@; lists.example; dmarc=pass header.from=a.example",
    signed="i=@I@; a=@A@; c=relaxed/relaxed; d=lists.example; s=@S@; h=from:to:subject; "
    "bh=@BH@; b=@B@",
    sealed="i=@I@; a=@A@; cv=@CV@; d=lists.example; s=@S@; b=@B@",
    last_only=False,
):
    """The message below a set of ARC that seals those that are there."""
    cv = cv or ("none" if number == 1 else "pass")
    for mark, text in [("@I@", number), ("@A@", KEYS[key].algorithm), ("@S@", key), ("@CV@", cv)]:
        results, signed, sealed = (
            part.replace(mark, str(text)) for part in (results, signed, sealed)
        )
    message = sign(message, " " + signed, key, "ARC-Message-Signature")
    message = f"ARC-Authentication-Results: {results}\r\n".encode() + message
    headers, _ = dkim.rfc822_parse(message)
    numbered = {}
    for one, value in headers:
        if one.lower() in SET:
            instance = re.search(rb"i\s*=\s*(\d+)", value)
            numbered[int(instance[1]), SET.index(one.lower())] = [one, value]
    order = [at for at in sorted(numbered) if not last_only or at[0] == number]
    chosen = RELAXED.canonicalize_headers([numbered[at] for at in order])
    text = b"".join(one + b":" + value for one, value in chosen)
    return place(text, " " + sealed, key, "ARC-Seal", RELAXED) + message
