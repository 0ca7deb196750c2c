"""Signatures whose tags are odd: written in odd ways, for odd keys, lengths and times."""

from signer import NOW, sign

HEAD = b"From: Anna <anna@a.example>\r\nTo: bob@b.example\r\nSubject: Lunch\r\n"
BODY = b"Hello Bob,\r\n\r\nsee you at noon.\r\n"
MESSAGE = HEAD + b"\r\n" + BODY
RSA = (
    " v=1; a=rsa-sha256; c=relaxed/relaxed; d=a.example; s=rsa1024; h=from:to:subject; "
    "bh=@BH@; b=@B@"
)


def case(name, message, words="pass", differs=None):
    return name, message, words.split(), "none", differs


def with_tag(name, words="pass", differs=None, **tags):
    """The usual signature with other tags; None leaves one out."""
    parts = dict(part.strip().split("=", 1) for part in RSA.split(";")) | tags
    text = " " + "; ".join(f"{tag}={value}" for tag, value in parts.items() if value is not None)
    return case(name, sign(MESSAGE, text), words, differs)


def changed(name, words, before, after, differs=None, template=RSA):
    """A signature that was made, and a tag of it that was changed."""
    message = sign(MESSAGE, template)
    assert before in message, name
    return case(name, message.replace(before, after, 1), words, differs)


def written(name, template, words="pass", differs=None, **more):
    return case(name, sign(MESSAGE, template, **more), words, differs)


FOLDED = (
    "\r\n\tv = 1 ;\r\n a\t=\r\n rsa-sha256 ; c = relaxed/relaxed\r\n ; d=a.example;s=rsa1024 ;\r\n"
    "  h = from :\r\n\tTo: Subject\r\n ;bh=\r\n @BH@ ;\r\n b\r\n =\r\n @B@ \r\n ; n=1"
)
SCRIPT = "bücher.example"
LABELS = "RFC 8616 section 5: domains in d=, s= and i= may be written in other scripts"
AROUND = "RFC 6376 section 3.7: space around the value of b= is left out with it"
NOT_SIGNED = "RFC 6376 section 5.4: From is always signed"


def tags():
    return [
        written("folded everywhere", FOLDED, differs=AROUND, fold="\r\n \t "),
        written(
            "folded everywhere, simple",
            FOLDED.replace("relaxed", "simple"),
            differs=AROUND,
            fold=" ",
        ),
        written("b first", " b=@B@; v=1; a=rsa-sha256; d=a.example; s=rsa1024; h=from; bh=@BH@"),
        written(
            "b in the middle", " v=1; b=@B@; a=rsa-sha256; d=a.example; s=rsa1024; h=from; bh=@BH@"
        ),
        written(
            "b with space around",
            " v=1; b = @B@ ; a=rsa-sha256; d=a.example; s=rsa1024; h=from; bh=@BH@",
            differs=AROUND,
        ),
        written("bh last", " v=1; a=rsa-sha256; d=a.example; s=rsa1024; h=from; b=@B@; bh=@BH@"),
        written("a semicolon at the end", RSA + ";"),
        written("a semicolon and space at the end", RSA + ";\r\n "),
        written("space, a semicolon and space at the end", RSA + " ;\r\n ", differs=AROUND),
        written("no spaces", RSA.replace(" ", "")),
        written("b in many pieces", RSA, fold="\r\n "),
        written("z with b= in it", RSA.replace("; bh", "; z=Subject:=20b=3Dx; bh")),
        written(
            "a value with b = in it",
            RSA.replace("; bh", "; zz=a b = c; bh"),
            differs="RFC 6376 section 3.5: only the tag b is left out of what is signed",
        ),
        case("a name in capitals", sign(MESSAGE, RSA, name="DKIM-SIGNATURE")),
        with_tag("an unknown tag", xx="yes"),
        with_tag("an unknown tag without a value", xx=""),
        with_tag("a tag with an underscore", x_y="1"),
        with_tag("a note of UTF-8", n="grüß"),
        changed("a note of Latin-1", "neutral", b" v=1;", b" v=1; n=\xfc;"),
        with_tag("c missing", c=None),
        with_tag("c of one word", c="relaxed"),
        with_tag("c of one word, simple", c="simple"),
        with_tag(
            "c in capitals",
            c="Relaxed/SIMPLE",
            differs="RFC 5234 section 2.3: the words of RFC 6376 section 3.5 have no case",
        ),
        changed("c of three words", "neutral", b"c=relaxed/relaxed", b"c=relaxed/relaxed/relaxed"),
        changed("c unknown", "neutral", b"c=relaxed/", b"c=nowsp/"),
        changed("c unknown for bodies", "neutral", b"/relaxed", b"/nowsp"),
        changed("c empty", "neutral", b"c=relaxed/relaxed", b"c="),
        changed("another c", "fail", b"c=relaxed/relaxed", b"c=simple/relaxed"),
        changed("another algorithm", "permerror", b"a=rsa-sha256", b"a=ed25519-sha256"),
        changed("an unknown algorithm", "neutral", b"a=rsa-sha256", b"a=rsa-sha512"),
        changed("no algorithm", "neutral", b" a=rsa-sha256;", b""),
        changed("no version", "neutral", b" v=1;", b""),
        changed("another version", "neutral", b" v=1;", b" v=2;"),
        changed("version 01", "neutral", b" v=1;", b" v=01;"),
        changed("no domain", "neutral", b" d=a.example;", b""),
        changed("an empty domain", "neutral", b" d=a.example;", b" d=;"),
        changed("another domain", "permerror", b" d=a.example;", b" d=b.example;"),
        changed("a domain that is none", "neutral", b" d=a.example;", b" d=a(example;"),
        changed("a domain with a space", "neutral", b" d=a.example;", b" d=a. example;"),
        changed("no selector", "neutral", b" s=rsa1024;", b""),
        changed("a selector with a space", "neutral", b" s=rsa1024;", b" s=rsa 1024;"),
        changed("another selector", "permerror", b" s=rsa1024;", b" s=none;"),
        changed("no h", "neutral", b" h=from:to:subject;", b""),
        changed("an empty h", "neutral", b" h=from:to:subject;", b" h=;"),
        changed("a name less in h", "fail", b"h=from:to:subject;", b"h=from:to;"),
        changed(
            "a name more in h that is not there",
            "fail",
            b"h=from:to:subject;",
            b"h=from:to:subject:x;",
        ),
        changed("no body hash", "neutral", b"bh=", b"xh="),
        changed("an empty body hash", "neutral", b"; bh=", b"; bh=; x="),
        changed("a body hash that is no base64", "neutral", b"bh=", b"bh=!"),
        changed("another body hash", "fail", b"bh=", b"bh=AAAA"),
        changed("no signature in it", "neutral", b"; b=", b"; bb="),
        changed("an empty signature", "neutral", b"; b=", b"; b=; x="),
        changed("a signature that is no base64", "neutral", b"; b=", b"; b=?"),
        changed("a signature without an end", "neutral", b"=\r\nFrom", b"\r\nFrom"),
        changed("another signature", "fail", b"; b=", b"; b=Zm9v"),
        changed(
            "a signature with zeros before",
            "fail",
            b"; b=",
            b"; b=AAAA",
            "RFC 8017 section 8.2.2: a signature is as long as the modulus",
        ),
        changed("a tag twice", "neutral", b" v=1;", b" v=1; v=1;"),
        changed("an unknown tag twice", "neutral", b" v=1;", b" v=1; x1=1; x1=2;"),
        changed("the signature twice", "neutral", b"; b=", b"; b=AAAA; b="),
        changed("two semicolons", "neutral", b" v=1;", b" v=1;;"),
        changed("a tag without a name", "neutral", b" v=1;", b" v=1; =1;"),
        changed("a tag without a value", "neutral", b" v=1;", b" v=1; novalue;"),
        changed("a name with a digit first", "neutral", b" v=1;", b" v=1; 1x=1;"),
        case("no tags", b"DKIM-Signature: \r\n" + MESSAGE, "neutral"),
        case("no list", b"DKIM-Signature: signed by Anna\r\n" + MESSAGE, "neutral"),
        with_tag("q", q="dns/txt"),
        with_tag("q with another method", "neutral", q="http"),
        with_tag(
            "q with several methods",
            q="http : dns/txt",
            differs="RFC 6376 section 3.5: q is a list, of which unknown methods are passed over",
        ),
        with_tag("i of the domain", i="@a.example"),
        with_tag("i in capitals", i="Anna@A.EXAMPLE"),
        with_tag("i of a subdomain", i="anna@news.a.example"),
        with_tag("i with two signs", i="a@b@news.a.example"),
        with_tag("i in quoted-printable", i="an=20na=3D1@a.example"),
        with_tag("i of another domain", "neutral", i="anna@b.example"),
        with_tag("i of a domain that ends the same", "neutral", i="anna@ba.example"),
        with_tag("i of the domain above", "neutral", i="anna@example"),
        with_tag("i that is no address", "neutral", i="anna"),
        with_tag("i with UTF-8", i="jü@a.example"),
        with_tag("d in capitals", d="A.Example"),
        with_tag("s in capitals", s="RSA1024"),
        with_tag("d of a subdomain", d="news.a.example"),
        with_tag("d in another script", d=SCRIPT),
        with_tag("d in another script, encoded", d="xn--bcher-kva.example"),
        with_tag("s in another script", d=SCRIPT, s="sé"),
        with_tag(
            "i in another script than d",
            d="xn--bcher-kva.example",
            i="anna@" + SCRIPT,
            differs=LABELS,
        ),
        with_tag(
            "i encoded, d in another script",
            d=SCRIPT,
            i="anna@news.xn--bcher-kva.example",
            differs=LABELS,
        ),
        with_tag("h in capitals", h="FROM:To:SUBJECT"),
        with_tag("h with spaces", h=" from \t: to :subject "),
        with_tag("h without From", "neutral", NOT_SIGNED, h="to:subject"),
        with_tag("h with From in two", "neutral", NOT_SIGNED, h="fr om:to:subject"),
        with_tag("h with a name in two", h="from:sub ject"),
        with_tag("h with a colon at the end", h="from:to:"),
        with_tag(
            "h with itself",
            h="from:dkim-signature:dkim-signature",
            differs="RFC 6376 section 3.5: a signature does not name itself in h=",
        ),
    ]


def keys():
    """Keys as they are published: by selector, and what we say."""
    cases = []
    hashes = "RFC 6376 section 3.6.1: h= lists the hashes that may be used"
    services = "RFC 6376 section 3.6.1: s= is a list, with space around its colons"
    first = "RFC 6376 section 3.6.1: v= is the first tag"
    alphabet = "RFC 6376 section 3.6.1: p= is base64, in which nothing else may be"
    for selector, word, differs in [
        ("bare", "pass", None),
        ("unnamed", "pass", None),
        ("spaced", "pass", None),
        ("notes", "pass", None),
        ("hyphen", "permerror", "RFC 6376 section 3.2: names of tags are letters, digits and _"),
        ("testing", "pass", None),
        ("strict", "pass", None),
        ("both", "pass", None),
        ("email", "pass", None),
        ("any", "pass", None),
        ("several", "pass", services),
        ("hashes", "pass", None),
        ("sha256", "pass", None),
        ("sha1", "permerror", hashes),
        ("gone", "permerror", None),
        ("gone-too", "permerror", None),
        ("empty", "permerror", None),
        ("version", "permerror", None),
        ("late", "permerror", first),
        ("twice", "permerror", None),
        ("keyless", "permerror", None),
        ("kind", "permerror", None),
        ("says-ed25519", "permerror", None),
        ("says-rsa", "permerror", None),
        ("report", "permerror", None),
        ("unpadded", "permerror", None),
        ("letters", "permerror", alphabet),
        ("cut", "permerror", None),
        ("words", "permerror", None),
        ("loose", "permerror", None),
        ("another", "fail", None),
    ]:
        cases.append(with_tag(f"key: {selector}", word, differs, s=selector))
    ed25519 = RSA.replace("rsa-sha256", "ed25519-sha256")
    subdomain = "RFC 6376 section 3.6.1: with t=s, i= has the very domain of d="
    return cases + [
        written("key: too short", RSA.replace("rsa1024", "rsa512"), "policy", key="rsa512"),
        written(
            "key: short-ed25519",
            ed25519.replace("rsa1024", "short-ed25519"),
            "permerror",
            key="ed25519",
        ),
        written(
            "key: says-ed25519, by Ed25519",
            ed25519.replace("rsa1024", "says-ed25519"),
            "permerror",
            key="ed25519",
        ),
        written(
            "key: says-rsa, by Ed25519",
            ed25519.replace("rsa1024", "says-rsa"),
            "permerror",
            key="ed25519",
        ),
        written("key: of Ed25519 for RSA", RSA.replace("rsa1024", "ed25519"), "permerror"),
        with_tag("key: strict, i of the domain", s="strict", i="anna@a.example"),
        with_tag(
            "key: strict, i of a subdomain",
            "permerror",
            subdomain,
            s="strict",
            i="anna@news.a.example",
        ),
        with_tag(
            "key: both, i of a subdomain", "permerror", subdomain, s="both", i="@news.a.example"
        ),
    ]


def lengths():
    whole = len(BODY)
    shorter = "RFC 6376 section 3.5: l= is not larger than the body"
    rest = "RFC 6376 section 8.2: what is behind l= is anybody's, and is not believed here"
    signed = sign(MESSAGE, RSA.replace("; bh", f"; l={whole}; bh"))
    relaxed = sign(HEAD + b"\r\nText  here \r\n\r\n", RSA.replace("; bh", "; l=11; bh"))
    nothing = sign(HEAD + b"\r\n", RSA.replace("; bh", "; l=0; bh"))
    return [
        case("l of the whole", signed),
        case("l and a footer", signed + b"-- \r\nThe list\r\n", "policy", rest),
        case("l and empty lines", signed + b"\r\n\r\n"),
        case("l and another body", signed.replace(b"noon", b"nine"), "fail"),
        case("l and a shorter body", signed.replace(b"see you at noon.\r\n", b""), "fail"),
        case("l counts what is canonical", relaxed),
        case("l of nothing", nothing),
        case("l of nothing, and a body", nothing + b"Text\r\n", "policy", rest),
        with_tag("l of a part", "policy", rest, l="5"),
        with_tag("l larger than the body", "fail", shorter, l=str(whole + 1)),
        with_tag("l as large as a number can be", "fail", shorter, l="9" * 76),
        with_tag("l larger than a number can be", "fail", l="9" * 77),
        changed("l empty", "neutral", b"; bh", b"; l=; bh"),
        changed("l negative", "neutral", b"; bh", b"; l=-1; bh"),
        changed("l that is no number", "neutral", b"; bh", b"; l=12a; bh"),
    ]


def times():
    ahead = "RFC 6376 section 3.5: a time in the future may be passed over, and clocks go wrong"
    leeway = "RFC 6376 section 3.5: some hours after x= may be granted, and are not"
    return [
        with_tag("t", t=str(NOW - 60)),
        with_tag("t of long ago", t="1"),
        with_tag("t in an hour", t=str(NOW + 3600)),
        with_tag("t in a year", t=str(NOW + 31_536_000), differs=ahead),
        with_tag("t in the far future", t="9" * 30, differs=ahead),
        with_tag("t and x", t=str(NOW - 60), x=str(NOW + 60)),
        with_tag("x in a second", x=str(NOW + 1)),
        with_tag("x an hour ago", "policy", leeway, x=str(NOW - 3600)),
        with_tag("x yesterday", "policy", x=str(NOW - 86_400)),
        with_tag("x in the far future", x="9" * 30),
        with_tag("x before t", "neutral", t=str(NOW - 60), x=str(NOW - 120)),
        with_tag(
            "x at t",
            "neutral",
            "RFC 6376 section 3.5: x= is greater than t=",
            t=str(NOW),
            x=str(NOW),
        ),
        with_tag("t that is no number", "neutral", t="now"),
        with_tag("x that is no number", "neutral", x="0x7fffffff"),
        with_tag("t empty", "neutral", t=""),
    ]
