"""Messages with chains of ARC, RFC 8617, each with the word that we have for the chain.

No message has a DKIM signature unless its name says so. A case is as in dkim_cases.py.
"""

import re

import dkim_cases
from signer import NOW, arc_set, sign

HEAD = b"From: Anna <anna@a.example>\r\nTo: bob@b.example\r\nSubject: Lunch\r\n"
MESSAGE = HEAD + b"\r\nHello Bob.\r\n"
NAMES = (b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results")
SIGNED = (
    "i=@I@; a=@A@; c=relaxed/relaxed; d=lists.example; s=@S@; h=from:to:subject; bh=@BH@; b=@B@"
)
SEALED = "i=@I@; a=@A@; cv=@CV@; d=lists.example; s=@S@; b=@B@"
FOLDED_SEAL = "\r\n i = @I@ ; cv\r\n\t=\r\n @CV@ ;a=@A@;d=lists.example; s=@S@; b=\r\n\t@B@ ;"
RESULTS = "i=@I@; lists.example; dmarc=pass header.from=a.example"


def case(name, message, arc="pass", differs=None, words=""):
    return "ARC: " + name, message, words.split(), arc, differs


def chain(sets, message=MESSAGE, **more):
    for number in range(1, sets + 1):
        message = arc_set(message, number, **more)
    return message


def split(message):
    """The headers of the sets, from the top, and the rest."""
    headers = re.split(rb"\r\n(?![ \t])", message.split(b"\r\n\r\n")[0])
    return [one for one in headers if one.startswith(b"ARC-")], MESSAGE


def joined(headers, rest):
    return b"".join(header + b"\r\n" for header in headers) + rest


def of(header, name, number):
    return header.startswith(name + b":") and re.search(rb"[: ]i=%d;" % number, header)


def without(message, name, number):
    headers, rest = split(message)
    return joined([one for one in headers if not of(one, name, number)], rest)


def broken(message, name, number, before, after):
    headers, rest = split(message)
    altered = [one.replace(before, after) if of(one, name, number) else one for one in headers]
    assert altered != headers, (name, number, before)
    return joined(altered, rest)


def chains():
    cases = []
    for sets in range(1, 6):
        good = chain(sets)
        cases += [
            case(f"{sets} good", good),
            case(f"{sets}, RSA of 2048 bits", chain(sets, key="rsa2048")),
            case(f"{sets}, another body", good.replace(b"Hello", b"Hallo"), "fail"),
            case(f"{sets}, another subject", good.replace(b"Lunch", b"Dinner"), "fail"),
            case(f"{sets}, a header more", good.replace(b"To:", b"X: y\r\nTo:")),
        ]
        for number in {1, sets}:
            at = f"of {number} in {sets}"
            for name in NAMES:
                word = name.decode()
                headers, rest = split(good)
                twice = [one for one in headers for _ in range(2 if of(one, name, number) else 1)]
                cases += [
                    case(f"no {word} {at}", without(good, name, number), "fail"),
                    case(f"{word} {at} twice", joined(twice, rest), "fail"),
                ]
            cases += [
                case(
                    f"seal {at} broken", broken(good, NAMES[0], number, b" b=", b" b=Zm9v"), "fail"
                ),
                case(
                    f"results {at} altered",
                    broken(good, NAMES[2], number, b"pass", b"fail"),
                    "fail",
                ),
                case(
                    f"signature {at} altered",
                    broken(good, NAMES[1], number, b"to:", b"TO:"),
                    "fail",
                ),
                case(f"cv {at} altered", broken(good, NAMES[0], number, b"cv=", b"cv=x"), "fail"),
            ]
    return cases


def sets():
    good = chain(3)
    headers, rest = split(good)
    middle = [one for one in headers if not any(of(one, name, 2) for name in NAMES)]
    first = [one for one in headers if not any(of(one, name, 1) for name in NAMES)]
    renamed = [re.sub(rb"i=3", b"i=4", one) for one in headers]
    listed = chain(1).replace(b"Hello Bob.\r\n", b"Hello Bob.\r\n-- \r\nThe list\r\n")
    failing = chain(2, cv="fail", last_only=True)
    order = "RFC 8617 section 5.1.1: seals cover sets by their instances, wherever they stand"
    return [
        case("no chain", MESSAGE, "none"),
        case("in another order", joined(reversed(headers), rest), differs=order),
        case("sorted by name", joined(sorted(headers), rest), differs=order),
        case("below the other headers", HEAD + joined(headers, b"\r\nHello Bob.\r\n")),
        case("set 2 of 3 gone", joined(middle, rest), "fail"),
        case("set 1 of 3 gone", joined(first, rest), "fail"),
        case("set 3 is called 4", joined(renamed, rest), "fail"),
        case("sets 1 and 2 change places", broken_order(chain(2)), "fail"),
        case(
            "all of set 2 twice", joined(headers[:3] + headers[3:6] * 2 + headers[6:], rest), "fail"
        ),
        case("a footer behind a seal", listed, "fail"),
        case("a footer before the next seal", arc_set(listed, 2)),
        case(
            "a subject before the next seal", arc_set(chain(1).replace(b"Lunch", b"[l] Lunch"), 2)
        ),
        case(
            "the first seal broken before the next",
            arc_set(broken(chain(1), NAMES[0], 1, b" b=", b" b=Zm9v"), 2),
            "fail",
        ),
        case("seals only", b"ARC-Seal: i=1; cv=none\r\n" + MESSAGE, "fail"),
        case(
            "results only",
            b"ARC-Authentication-Results: i=1; a.example; none\r\n" + MESSAGE,
            "fail",
        ),
        case("no instances", good.replace(b"i=", b"j="), "fail"),
        case("an instance of 0", good.replace(b"i=1;", b"i=0;"), "fail"),
        case("an instance of 51", chain(1).replace(b"i=1;", b"i=51;"), "fail"),
        case("a broken chain that says so", failing, "fail"),
        case("cv=fail at the first", chain(1, cv="fail"), "fail"),
        case("cv=pass at the first", chain(1, cv="pass"), "fail"),
        case("cv=none at the second", arc_set(chain(1), 2, cv="none"), "fail"),
        case("cv=fail, and a seal of more", arc_set(failing, 3), "fail"),
        case(
            "cv in capitals",
            chain(1, cv="NONE"),
            differs="RFC 8617 section 4.1.3: the words are ABNF, whose case does not count",
        ),
        case("no cv", chain(1, sealed=SEALED.replace(" cv=@CV@;", "")), "fail"),
        case("an unknown cv", chain(1, cv="maybe"), "fail"),
    ]


def broken_order(message):
    headers, rest = split(message)
    marks = [(b"i=1;", b"i=@;"), (b"i=2;", b"i=1;"), (b"i=@;", b"i=2;")]
    for before, after in marks:
        headers = [one.replace(before, after) for one in headers]
    return joined(headers, rest)


def spellings():
    folded = (
        "\r\n\ti = @I@ ;\r\n a=@A@; c=relaxed/relaxed;d=lists.example; s=@S@;\r\n\th=from :\r\n"
        " to : subject;\r\n bh=@BH@;\r\n b=\r\n @B@"
    )
    simple = "RFC 8617 section 4.1.2: as in a DKIM-Signature, without c= it is simple"
    ed25519 = "RFC 8463 section 3 and RFC 8617 section 4.1.2: algorithms are those of DKIM"
    itself = "RFC 6376 section 3.5: a signature does not name itself in h="
    plain = SIGNED.replace("from:to:subject", "from:arc-message-signature")
    return [
        case(
            "a signature folded everywhere",
            chain(2, signed=folded),
            differs="RFC 8617 section 4.1.2: tags are folded and spaced as those of DKIM",
        ),
        case(
            "a seal folded everywhere",
            chain(2, sealed=FOLDED_SEAL),
            differs="RFC 6376 section 3.7: space around the value of b= is left out with it",
        ),
        case(
            "results folded",
            chain(
                2, results=" i=@I@;\r\n\tlists.example;\r\n dmarc=pass\r\n\theader.from=a.example"
            ),
        ),
        case(
            "results with a comment", chain(1, results="i=@I@ (first); lists.example; dmarc=pass")
        ),
        case(
            "results with a comment before",
            chain(1, results="(first) i=@I@; lists.example; dmarc=pass"),
        ),
        case(
            "results with a semicolon in a comment",
            chain(1, results="(a;b) i=@I@; lists.example; dmarc=pass"),
        ),
        case("results of none", chain(1, results="i=@I@; lists.example; none")),
        case("results without an end", chain(1, results="i=@I@")),
        case(
            "results of UTF-8",
            chain(1, results="i=@I@; lists.example; spf=pass smtp.mailfrom=j\u00fc@a.example"),
        ),
        case("no c", chain(1, signed=SIGNED.replace(" c=relaxed/relaxed;", "")), differs=simple),
        case("c of simple", chain(2, signed=SIGNED.replace("relaxed/relaxed", "simple/simple"))),
        case("t and x", chain(1, signed=SIGNED.replace("; bh", f"; t={NOW - 9}; x={NOW + 9}; bh"))),
        case(
            "x yesterday", chain(1, signed=SIGNED.replace("; bh", f"; x={NOW - 86400}; bh")), "fail"
        ),
        case("a v", chain(1, signed=SIGNED.replace("; bh", "; v=1; bh"))),
        case("h of a seal", chain(1, sealed=SEALED.replace("; b=", "; h=from; b=")), "fail"),
        case("c of a seal", chain(1, sealed=SEALED.replace("; b=", "; c=relaxed/relaxed; b="))),
        case("t of a seal", chain(2, sealed=SEALED.replace("; b=", f"; t={NOW - 60}; b="))),
        case(
            "a seal is signed", chain(1, signed=SIGNED.replace("from:", "from:arc-seal:")), "fail"
        ),
        case("earlier signatures are signed", arc_set(chain(1), 2, signed=plain)),
        case(
            "From is not signed",
            chain(1, signed=SIGNED.replace("from:to", "to")),
            "fail",
            "RFC 6376 section 5.4: From is always signed",
        ),
        case(
            "l of a part",
            chain(1, signed=SIGNED.replace("; bh", "; l=5; bh")),
            "fail",
            "RFC 6376 section 8.2: what is behind l= is anybody's, and is not believed here",
        ),
        case("Ed25519", chain(2, key="ed25519"), differs=ed25519),
        case("RSA of 512 bits", chain(1, key="rsa512"), "fail"),
        case("SHA-1", chain(1).replace(b"rsa-sha256", b"rsa-sha1"), "fail"),
        case("no key", chain(1, sealed=SEALED.replace("s=@S@", "s=none")), "fail"),
        case("a key that was revoked", chain(1, sealed=SEALED.replace("s=@S@", "s=gone")), "fail"),
        case(
            "a signature without a key", chain(1, signed=SIGNED.replace("s=@S@", "s=none")), "fail"
        ),
        case(
            "a seal with a tag twice",
            chain(1, sealed=SEALED.replace("; b=", "; n=1; n=2; b=")),
            "fail",
        ),
        case(
            "a seal of another domain",
            arc_set(chain(1), 2, sealed=SEALED.replace("lists.", "news.a.")),
        ),
        case("two domains in one set", chain(1, sealed=SEALED.replace("lists.", "news.a."))),
        case("signed twice", chain(1, signed=plain), differs=itself),
    ]


def signed():
    """With DKIM signatures below, that lists break or leave."""
    one = sign(MESSAGE, dkim_cases.template())
    footer = one.replace(b"Bob.\r\n", b"Bob.\r\n-- \r\nThe list\r\n")
    subject = sign(dkim_cases.MESSAGE, dkim_cases.template()).replace(
        b"Subject: two", b"Subject: [list] two"
    )
    seal = {
        "results": "i=@I@; mx.lists.example;\r\n dmarc=pass header.from=a.example;\r\n"
        " dkim=pass header.d=a.example"
    }
    altered = arc_set(sign(dkim_cases.MESSAGE, dkim_cases.template()), 1, **seal)
    plain = [
        (
            "one seal, then a subject",
            altered.replace(b"Subject: two", b"Subject: [list] two"),
            ["fail"],
            "fail",
            None,
        ),
        ("a list that changes the subject", arc_set(subject, 1, **seal), ["fail"], "pass", None),
    ]
    return plain + [
        case("a DKIM signature", chain(1, one), words="pass"),
        case("a DKIM signature, then a footer", chain(2, footer), words="fail"),
        case(
            "signed behind the seal",
            sign(chain(1), dkim_cases.template(names="from:arc-seal")),
            words="pass",
        ),
    ]


def cases():
    return [*chains(), *sets(), *spellings(), *signed()]
