"""Messages with DKIM signatures, each with the words that RFC 8601 wants from us.

A case is a name, a message, a word for each signature from the top, one for ARC, and the
section by which dkimpy is wrong where it says otherwise.
"""

import hashlib

from dkim_tags import keys, lengths, tags, times
from signer import sign

HEAD = (
    b"From: Anna  <anna@a.example> \r\nTo:bob@b.example,\r\n \tcarl@b.example\r\n"
    b"Subject: two   words\t \r\n  folded  \r\nDate: Fri, 15 Jan 2027 07:59:00 +0000\r\n"
)
BODY = b"Hello  Bob, \r\n\r\n\tindented\t text\r\n  \r\n\r\n \t\r\n"
MESSAGE = HEAD + b"\r\n" + BODY
PAIRS = [f"{head}/{body}" for head in ("simple", "relaxed") for body in ("simple", "relaxed")]


def template(kind="relaxed/relaxed", key="rsa1024", names="from:to:subject:date", more=""):
    algorithm = "ed25519-sha256" if key == "ed25519" else "rsa-sha256"
    return (
        f" v=1; a={algorithm}; c={kind}; d=a.example; s={key}; h={names};{more}\r\n"
        "\tbh=@BH@;\r\n\tb=@B@"
    )


def case(name, message, words="pass", arc="none", differs=None):
    return name, message, words.split(), arc, differs


def kinds():
    """Every algorithm with every pair of canonicalizations."""
    return [
        case(f"{key} {kind}", sign(MESSAGE, template(kind, key), key, fold="\r\n\t "))
        for key in ("rsa1024", "rsa2048", "rsa4096", "ed25519")
        for kind in PAIRS
    ]


# What happens on the way, and which canonicalizations bear it.
CHANGES = [
    ("another word in the body", b"Bob", b"Bert", ()),
    ("a letter of the body in another case", b"text", b"Text", ()),
    ("an empty line less within the body", b"\r\n\r\n\ti", b"\r\n\ti", ()),
    ("spaces at the end of a line", b"Bob, \r", b"Bob,\t  \r", ("body",)),
    ("spaces within a line", b"Hello  B", b"Hello B", ("body",)),
    ("spaces where none were", b"Hello  B", b"Hel lo  B", ()),
    ("no white lines at the end", b"  \r\n\r\n \t\r\n", b"", ("body",)),
    ("more empty lines at the end", b" \t\r\n", b" \t\r\n\r\n\r\n", ("any",)),
    ("a footer", b" \t\r\n", b" \t\r\n-- \r\nThe list\r\n", ()),
    ("a tag before the subject", b"Subject: two", b"Subject: [list] two", ()),
    ("spaces in the subject", b"two   words", b"two words", ("head",)),
    ("a subject folded elsewhere", b"two   words\t \r\n ", b"two\r\n\twords ", ("head",)),
    ("a name in another case", b"\nSubject:", b"\nSUBJECT:", ("head",)),
    ("no space behind the colon", b"Subject: two", b"Subject:two", ("head",)),
    ("a header gone", b"Date: Fri, 15 Jan 2027 07:59:00 +0000\r\n", b"", ()),
    ("a header more that is not signed", b"Date:", b"X-List: yes\r\nDate:", ("any",)),
    ("headers in another order", HEAD, HEAD[31:] + HEAD[:31], ("any",)),
    ("a second subject above", b"To:bob", b"Subject: free\r\nTo:bob", ("any",)),
    ("a second subject below", b"Date:", b"Subject: free\r\nDate:", ()),
]


def changes():
    cases = []
    for kind in PAIRS:
        signed = sign(MESSAGE, template(kind))
        head, body = (part == "relaxed" for part in kind.split("/"))
        for name, before, after, borne in CHANGES:
            passes = "any" in borne or ("head" in borne and head) or ("body" in borne and body)
            assert before in signed, name
            changed = signed.replace(before, after)
            cases.append(case(f"{name}, {kind}", changed, "pass" if passes else "fail"))
    return cases


BODIES = [
    ("no body", b""),
    ("an empty line", b"\r\n"),
    ("empty lines", b"\r\n\r\n\r\n"),
    ("no end of line", b"text"),
    ("empty lines before text", b"\r\n\r\ntext\r\n"),
    ("a white line", b" \r\n"),
    ("white lines", b" \r\n\t\r\n \t \r\n"),
    ("white lines behind text", b"text\r\n \r\n\t\r\n\r\n"),
    ("spaces before text", b"  text\t\there\r\n"),
    ("one letter", b"a\r\n"),
    ("a lone CR", b"te\rxt\r\n"),
    ("a CR before a line end", b"text\r\r\n"),
    ("CRs at the end", b"text\r\n\r\r"),
    ("no break but NUL", b"te\0xt\0\r\n\0\r\n"),
    ("other white space", b"te\x0bxt\x0c\r\n\x0c\r\n"),
    ("Latin-1", b"Gr\xfc\xdfe\xa0\r\n"),
    ("UTF-8", "Grüße 雪\u00a0\u2028\r\n".encode()),
    ("a dot", b".\r\n..\r\n"),
    ("long lines", b"x y " * 2000 + b"\r\n" + b" " * 3000 + b"\r\n"),
    ("looks like headers", b"From: eve@e.example\r\n\r\ntext\r\n"),
]


def bodies():
    cases = []
    for name, body in BODIES:
        for kind in ("simple", "relaxed"):
            message = HEAD + b"\r\n" + body
            cases.append(case(f"{name}, {kind}", sign(message, template(f"relaxed/{kind}"))))
    # Its rules begin with the ends of lines, and the last line has one.
    message = sign(HEAD + b"\r\ntext\r\n", template()).removesuffix(b"\r\n") + b" \t"
    section = "RFC 6376 section 3.4.4: white space at the end of the last line goes, too"
    cases.append(case("white space without an end of line", message, differs=section))
    return cases


def line_ends():
    """Lines that end by LF alone, as some programs send them: they are lines, for Postfix too."""
    lines = [
        ("every line ended by LF", b"\r\n", b"\n", True),
        ("one line of the body ended by LF", b"Bob, \r\n", b"Bob, \n", True),
        ("one header ended by LF", b"folded  \r\n", b"folded  \n", True),
        ("a header folded by LF", b",\r\n \tcarl", b",\n \tcarl", True),
        ("an LF within a line", b"Hello  Bob", b"Hello \n Bob", False),
        ("an LF less between two lines", b"Bob, \r\n\r\n", b"Bob, \n", False),
        ("a line ended by CR", b"Bob, \r\n", b"Bob, \r", False),
        ("a line ended by LF CR", b"Bob, \r\n", b"Bob, \n\r", False),
    ]
    cases = []
    for kind in PAIRS:
        signed = sign(MESSAGE, template(kind))
        for name, before, after, passes in lines:
            assert before in signed, name
            words = "pass" if passes else "fail"
            cases.append(case(f"{name}, {kind}", signed.replace(before, after), words))
        own = sign(MESSAGE.replace(b"\r\n", b"\n"), template(kind))
        cases.append(case(f"signed with LF, {kind}", own))
    return cases


def both(name, head, names="from:to:subject", words="pass", change=None, differs=None):
    """A head, signed in both ways and perhaps changed then."""
    cases = []
    for kind in ("simple", "relaxed"):
        message = sign(head + b"\r\nText\r\n", template(f"{kind}/simple", names=names))
        message = message.replace(*change) if change else message
        cases.append(case(f"{name}, {kind}", message, words, differs=differs))
    return cases


def headers():
    author = b"From: a@a.example\r\n"
    two = author + b"X: 1\r\nx: 2\r\n"
    whites = author + b"Subject: \t \r\n\t \r\n words \r\n"
    eight = "From: Jürgen <jü@a.example>\r\nSubject: 雪 und\u00a0Eis\r\n".encode()
    received = b"".join(b"Received: from %d\r\n" % number for number in range(30))
    long = author + b"To: " + b"b@b.example,\r\n " * 600 + b"c@b.example\r\n"
    above = (author, b"X: 3\r\n" + author)
    below = (b"x: 2", b"x: 2\r\nX: 3")
    swapped = (b"X: 1\r\nx: 2", b"x: 2\r\nX: 1")
    eve = (b"From: a", b"From: eve@b.example\r\nFrom: a")
    eve_below = (b"\r\n\r\n", b"\r\nFrom: eve@b.example\r\n\r\n")
    last = (
        "RFC 6376 section 5.4.2: what is signed is the last of a name; messages with two From "
        "are refused before"
    )
    return [
        *both("UTF-8 in headers", eight),
        *both("Latin-1 in headers", author + b"Subject: Gr\xfc\xdfe\xa0\r\n"),
        *both("white lines in a header", whites),
        *both("an empty header", author + b"Subject:\r\nTo: \r\n"),
        *both("a long header", long),
        *both("a long line", author + b"Subject: " + b"x" * 9000 + b"\r\n"),
        *both("colons in a header", author + b"Subject: a:b: c;d=e\r\n"),
        *both("a CR in a header", author + b"Subject: a\rb\r\n"),
        *both("all of a name", two, "from:x:X"),
        *both("one of a name less", two, "from:x:x", "fail", (b"X: 1\r\n", b"")),
        *both("one of a name more above", two, "from:x", change=above),
        *both("one of a name more below", two, "from:x", "fail", below),
        *both("one of a name more than is signed", two, "from:x:x:x", "fail", above),
        *both("signed more often than there", two, "from:x:x:x:x:nothing:nothing"),
        *both("in another order", two, "from:x:x", "fail", swapped),
        *both("thirty of a name", author + received, "from" + ":received" * 31),
        *both("a second From above", author, change=eve, differs=last),
        *both("a second From above, signed twice", author, "from:from", "fail", eve),
        *both("a second From below", author, words="fail", change=eve_below),
    ]


def several():
    """Messages with more than one signature."""
    one = sign(MESSAGE, template())
    ed25519 = template(key="ed25519")
    mixed = sign(one, ed25519, "ed25519")
    over = sign(one, template(names="from:dkim-signature"))
    again = sign(MESSAGE, template(names="from:dkim-signature"))
    many = MESSAGE
    for _ in range(6):
        many = sign(many, template())
    own = "RFC 6376 section 3.5: a signature does not name itself in h="
    return [
        case("two signatures", mixed, "pass pass"),
        case(
            "the second broken",
            mixed.replace(b"d=a.example; s=rsa1024", b"d=a.example; s=another"),
            "pass fail",
        ),
        case("the first broken", mixed.replace(b"s=ed25519", b"s=short-ed25519"), "permerror pass"),
        case("one over another", over, "pass pass"),
        case(
            "one over another that changed", over.replace(b"h=from:to", b"h=from: to"), "fail fail"
        ),
        case("one over none that is there", again, differs=own),
        case("six of a kind", many, "pass " * 6),
        case("no signature", MESSAGE, ""),
        case(
            "SHA-1",
            sign(MESSAGE, template().replace("sha256", "sha1"), hasher=hashlib.sha1),
            "policy",
            differs="RFC 8301 section 3.1: rsa-sha1 is not used to verify",
        ),
    ]


def cases():
    return [
        *kinds(),
        *changes(),
        *bodies(),
        *line_ends(),
        *headers(),
        *several(),
        *tags(),
        *keys(),
        *lengths(),
        *times(),
    ]
