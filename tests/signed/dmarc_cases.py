"""Policies of DMARC and who passed, judged by authheaders and by hand.

Suffixes are `com`, `net`, `org`, `uk` and `co.uk`. In a row stand the domain of From, what SPF
and DKIM found as `result domain`, the policies by name, and the result with the policy that
applies.
"""

import authheaders
from authheaders.dmarc_lookup import DMARCException
from authres import DKIMAuthenticationResult, SPFAuthenticationResult

A = "example.com"
REJECT = {A: "v=DMARC1; p=reject"}


def policy(text, name=A):
    return {name: f"v=DMARC1; {text}"}


MISTAKE = "RFC 7489 section 6.3: an unknown or unreadable tag is passed over"
NO_POLICY = "RFC 7489 section 6.6.3: without a readable p= and with rua= it is p=none"
UNREADABLE = "RFC 7489 section 6.6.3: without a valid p= and without rua= nothing is applied"
BELOW = "RFC 7489 section 6.3: sp= is for subdomains only"

# From, SPF, DKIM, policies, expected, section by which authheaders is wrong.
ROWS = [
    (A, "pass example.com", "none", REJECT, "pass reject", None),
    (A, "fail example.com", "none", REJECT, "fail reject", None),
    (A, "softfail example.com", "none", REJECT, "fail reject", None),
    (A, "neutral example.com", "none", REJECT, "fail reject", None),
    (A, "pass example.net", "none", REJECT, "fail reject", None),
    (A, "pass notexample.com", "none", REJECT, "fail reject", None),
    (A, "pass x.example.com", "none", REJECT, "pass reject", None),
    (A, "pass com", "none", REJECT, "fail reject", None),
    (A, "none", "pass example.com", REJECT, "pass reject", None),
    (A, "none", "fail example.com", REJECT, "fail reject", None),
    (A, "none", "pass example.net", REJECT, "fail reject", None),
    (A, "none", "pass x.y.example.com", REJECT, "pass reject", None),
    (A, "fail example.com", "pass example.com", REJECT, "pass reject", None),
    (A, "pass example.com", "fail example.com", REJECT, "pass reject", None),
    (A, "pass example.net", "pass example.org", REJECT, "fail reject", None),
    (A, "none", "none", REJECT, "fail reject", None),
    (A, "none", "none", policy("p=none"), "fail none", None),
    (A, "none", "none", policy("p=quarantine"), "fail quarantine", None),
    (A, "pass example.com", "none", policy("p=none"), "pass none", None),
    (A, "pass example.com", "pass example.com", {}, "none", None),
    (A, "none", "none", policy("p=reject", "example.net"), "none", None),
    (A, "none", "none", policy("p=reject", "com"), "none", None),
    (A, "pass x.example.com", "none", policy("p=reject; aspf=s"), "fail reject", None),
    (A, "pass example.com", "none", policy("p=reject; aspf=s"), "pass reject", None),
    (A, "none", "pass x.example.com", policy("p=reject; adkim=s"), "fail reject", None),
    (A, "none", "pass example.com", policy("p=reject; adkim=s"), "pass reject", None),
    (A, "pass x.example.com", "none", policy("p=reject; adkim=s"), "pass reject", None),
    (A, "none", "pass x.example.com", policy("p=reject; aspf=s"), "pass reject", None),
    (A, "pass x.example.com", "none", policy("p=reject; aspf=r; adkim=r"), "pass reject", None),
    ("x.example.com", "pass example.com", "none", REJECT, "pass reject", None),
    ("x.example.com", "pass y.example.com", "none", REJECT, "pass reject", None),
    ("x.example.com", "none", "pass y.z.example.com", REJECT, "pass reject", None),
    ("x.example.com", "none", "none", REJECT, "fail reject", None),
    ("x.example.com", "none", "none", policy("p=none; sp=reject"), "fail reject", None),
    ("x.example.com", "none", "none", policy("p=reject; sp=none"), "fail none", None),
    (A, "none", "none", policy("p=reject; sp=none"), "fail reject", BELOW),
    (A, "none", "none", policy("p=none; sp=reject"), "fail none", BELOW),
    ("x.y.example.com", "none", "none", policy("p=reject"), "fail reject", None),
    (
        "x.example.com",
        "none",
        "none",
        REJECT | policy("p=none", "x.example.com"),
        "fail none",
        None,
    ),
    (
        "y.x.example.com",
        "none",
        "none",
        REJECT | policy("p=none", "x.example.com"),
        "fail reject",
        None,
    ),
    ("x.example.com", "pass example.com", "none", policy("p=reject; aspf=s"), "fail reject", None),
    (
        "example.co.uk",
        "pass other.co.uk",
        "none",
        policy("p=reject", "example.co.uk"),
        "fail reject",
        None,
    ),
    (
        "example.co.uk",
        "pass x.example.co.uk",
        "none",
        policy("p=reject", "example.co.uk"),
        "pass reject",
        None,
    ),
    ("x.example.co.uk", "none", "none", policy("p=reject", "co.uk"), "none", None),
    ("x.example.co.uk", "none", "none", policy("p=reject", "example.co.uk"), "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1;p=reject"}, "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1 ; p = reject ; "}, "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1; P=Reject"}, "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1; p=REJECT"}, "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1"}, "none", None),
    (A, "none", "none", {A: "v=DMARC1; rua=mailto:a@example.com"}, "fail none", NO_POLICY),
    (A, "none", "none", {A: "v=DMARC1; p=what; rua=mailto:a@example.com"}, "fail none", NO_POLICY),
    (A, "none", "none", {A: "v=DMARC1; p=what"}, "none", UNREADABLE),
    (A, "none", "none", {A: "v=DMARC1; sp=reject"}, "none", None),
    (A, "none", "none", {A: "v=spf1 -all"}, "none", None),
    (A, "none", "none", {A: "p=reject; v=DMARC1"}, "none", None),
    (A, "none", "none", {A: "v=DMARC2; p=reject"}, "none", None),
    (
        A,
        "none",
        "none",
        {A: "v=DMARC12; p=reject"},
        "none",
        "RFC 7489 section 6.3: the version is DMARC1 and nothing else",
    ),
    (A, "none", "none", {A: "v=dmarc1; p=reject"}, "none", None),
    (A, "none", "none", {A: "v=DMARC1; p=reject; x=y; fo=1"}, "fail reject", None),
    (A, "none", "none", {A: "v=DMARC1; p=reject; nonsense"}, "fail reject", MISTAKE),
    (A, "pass x.example.com", "none", policy("p=reject; aspf=x"), "pass reject", MISTAKE),
    (A, "none", "none", policy("p=reject; pct=50; ri=x"), "fail reject", None),
    (
        A,
        "temperror example.com",
        "none",
        REJECT,
        "temperror reject",
        "RFC 7489 section 6.6.2: a temporary error is no failure, and no policy is applied",
    ),
    (
        A,
        "none",
        "temperror example.com",
        REJECT,
        "temperror reject",
        "RFC 7489 section 6.6.2: a temporary error is no failure, and no policy is applied",
    ),
    (A, "temperror example.net", "none", REJECT, "fail reject", None),
    (A, "permerror example.com", "none", REJECT, "fail reject", None),
    (A, "none", "policy example.com", REJECT, "fail reject", None),
    (A, "none", "neutral example.com", REJECT, "fail reject", None),
    (A, "none", "permerror example.com", REJECT, "fail reject", None),
]


def found(domain, spf, dkim, policies):
    word, _, sender = spf.partition(" ")
    spf = SPFAuthenticationResult(result=word, smtp_mailfrom="x@" + sender)
    word, _, signer = dkim.partition(" ")
    dkim = DKIMAuthenticationResult(result=word, header_d=signer)
    names = {f"_dmarc.{name}": text for name, text in policies.items()}
    try:
        result, _, _, wish = authheaders.dmarc_per_from(domain, spf, dkim, names.get)
    except DMARCException:
        return "permerror"
    return f"{result} {wish}".strip()


def judged():
    rows = []
    for domain, spf, dkim, policies, expected, differs in ROWS:
        said = found(domain, spf, dkim, policies)
        if (said == expected) == bool(differs):
            raise SystemExit(f"{domain} {spf} {dkim} {policies}: {expected}, {said}, {differs}")
        row = {"from": domain, "spf": spf, "dkim": dkim, "policies": policies}
        row |= {"expected": expected, "authheaders": said}
        rows.append(row | ({"differs": differs} if differs else {}))
    return rows
